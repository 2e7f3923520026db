"""OTWeightedRegressor: learn weights, then fit any regressor with them."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils import column_or_1d, get_tags

from skotw._compat import fit_context, num_samples
from skotw._validation import check_index, check_weights, warn

from .base import BaseOTWeighted, Sets

__all__ = ["OTWeightedRegressor"]


class OTWeightedRegressor(RegressorMixin, BaseOTWeighted):
    r"""Learn sample weights by optimal transport for a continuous target, then fit any regressor with them.

    The counterpart of :class:`OTWeightedClassifier` where the label cost is the absolute difference of targets: rows
    whose target and features are near those of a trusted row gain, so that targets which are rare in training and
    frequent among the trusted rows count more, and wrong targets count less.

    Parameters
    ----------
    estimator : regressor or None, default=None
        Any regressor, pipeline or nested meta-estimator; None is :class:`~sklearn.linear_model.Ridge` at its defaults.
        It gets X as it came.
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned; None is ``OTSampleWeighter()``. Its ``target_type="auto"`` means
        "continuous" here, also for whole numbers.
    include_meta : bool, default=True
        Whether the trusted rows join the training set.
    meta_weight : {"auto", "balanced"} or float in [0, 1], default="auto"
        How much the trusted rows weigh where they join: a number is their share of the total weight; "auto" and
        "balanced" both give each the weight 1, since without classes there is nothing to balance.
    on_unweighted : {"raise", "bootstrap"}, default="raise"
        What to do with a regressor that takes no ``sample_weight``: raise an error, or fit it to as many rows, drawn
        with replacement and with probabilities that go by the weights.
    sample_weight_name : str, default="auto"
        Keyword by which the weights reach ``estimator.fit``. "auto" finds it: ``sample_weight``, that of a pipeline's
        last step, or that of what is nested deeper.
    random_state : int, RandomState instance or None, default=None
        Seeds the bootstrap. The inner estimator keeps its own.

    Attributes
    ----------
    estimator_ : regressor
        The fitted inner regressor.
    weighter_ : OTSampleWeighter or None
        The fitted weighter; None without trusted rows.
    sample_weight_ : ndarray of shape (n_samples,)
        Weights of the training rows in the fit of ``estimator_``.
    sample_weight_meta_ : ndarray of shape (n_meta,)
        Weights of the trusted rows there, empty where none join. Together the two sum to the sum of the given
        ``sample_weight`` (n_samples without) plus one per trusted row that joins.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features of X, where it has names that are all strings.

    See Also
    --------
    OTWeightedClassifier : The same for classes.
    OTSampleWeighter : The weights alone.

    Examples
    --------
    >>> import numpy as np
    >>> from skotw import OTWeightedRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, X_meta = rng.uniform(size=(200, 1)), rng.uniform(size=(20, 1))
    >>> y, y_meta = X[:, 0].copy(), X_meta[:, 0]
    >>> y[:80] = 1 - y[:80]  # wrong targets
    >>> reg = OTWeightedRegressor().fit(X, y, X_meta=X_meta, y_meta=y_meta)
    >>> bool(reg.sample_weight_[:80].mean() < 0.7 * reg.sample_weight_[80:].mean())
    True
    """

    _default_estimator = Ridge

    def __init__(
        self,
        estimator=None,
        *,
        weighter=None,
        include_meta=True,
        meta_weight="auto",
        on_unweighted="raise",
        sample_weight_name="auto",
        random_state=None,
    ):
        self.estimator = estimator
        self.weighter = weighter
        self.include_meta = include_meta
        self.meta_weight = meta_weight
        self.on_unweighted = on_unweighted
        self.sample_weight_name = sample_weight_name
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None, *, X_meta=None, y_meta=None, **fit_params):
        """Learn the weights and fit the regressor.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows, of any kind that ``estimator`` and the weighter's embedding take.
        y : array-like of shape (n_samples,)
            Training targets.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand, against 1 for a trusted row.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows. A 1-tuple ``(X_meta,)`` is unwrapped: as such a meta set of n_samples rows is not sliced by
            searches.
        y_meta : array-like of shape (n_meta,), default=None
            Trusted targets, or a 1-tuple of them.
        **fit_params : dict
            Further arguments of ``estimator.fit``: with metadata routing those that it requests, without as they are.
            Where trusted rows join, an argument with one value per row needs values for them as well, at the end.

        Returns
        -------
        self : OTWeightedRegressor
            Fitted regressor.

        Raises
        ------
        ValueError
            If the two sets do not fit together, or the estimator takes no weights (see ``on_unweighted``).

        Warns
        -----
        UserWarning
            If there are no trusted rows, so that every row keeps its ``sample_weight``, or if they look as if they had
            been sliced or had missed a transformation, or are training rows as well.
        """
        return self._fit_all(X, y, sample_weight, X_meta, y_meta, fit_params)

    def _new_weighter(self):
        weighter = super()._new_weighter()
        return weighter.set_params(target_type="continuous") if weighter.target_type == "auto" else weighter

    def _fit_weighter(self, X, y, sample_weight, X_meta, y_meta):
        check_index(X=X, y=y)
        y = y if y is None else column_or_1d(y, warn=True)
        if y is None or X_meta is not None or y_meta is not None:
            return super()._fit_weighter(X, y, sample_weight, X_meta, y_meta)
        warn(
            "Without trusted rows a continuous target says nothing of weights: every row keeps its sample_weight. Pass "
            "X_meta and y_meta.",
        )
        self.weighter_ = None
        return Sets(X, y, sample_weight, None, None, X, y)

    def _weigh(self, sets, fit, fit_params, random_state):
        if self.weighter_ is not None:
            return super()._weigh(sets, fit, fit_params, random_state)
        n_samples = num_samples(sets.X)
        given = sets.sample_weight
        return self._set_weights(
            sets, np.ones(n_samples) if given is None else check_weights(given, "sample_weight", n_samples)
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags = get_tags(self._get_estimator()).regressor_tags or tags.regressor_tags
        return tags
