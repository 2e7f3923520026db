"""OTWeightedRegressor: learn weights, then fit any regressor with them."""

from typing import Any, Self

import numpy as np
from scipy.stats import beta
from sklearn.base import RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skotw._compat import num_samples
from skotw._typing import Array, ArrayLike, MatrixLike, RandomState
from skotw._validation import check_index, check_weights, on_host, one_column, warn
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.input import Given

from .base import BaseOTWeighted, Sets, learns_weights

__all__ = ["OTWeightedRegressor"]

# Warn of targets that differ so much by chance with less than this probability.
_CHANCE = 1e-3


class OTWeightedRegressor(RegressorMixin, BaseOTWeighted):
    r"""Learn sample weights by optimal transport for a continuous target, then fit any regressor with them.

    It is :class:`OTWeightedClassifier` for numbers: the label cost is the absolute difference of targets. Rows whose
    target and features are near those of a trusted row gain. So targets that are rare in training and frequent among
    the trusted rows count more, and wrong targets count less. The guide has more
    (:doc:`/guide/regression_groups_shift`).

    Parameters
    ----------
    estimator : regressor or None, default=None
        Any regressor, pipeline or nested meta-estimator. None is :class:`~sklearn.linear_model.Ridge` at its defaults.
        It gets X as it came.
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned. None is ``OTSampleWeighter()``. Its ``target_type="auto"`` means
        "continuous" here, also for whole numbers.
    include_meta : bool, default=True
        Whether the trusted rows join the training set.
    meta_weight : {"auto", "balanced"} or float in [0, 1], default="auto"
        How much the trusted rows weigh where they join. A number is their share of the total weight. "auto" and
        "balanced" both give each the weight 1, since without classes there is nothing to balance.
    random_state : int, RandomState instance or None, default=None
        Seeds the bootstrap. The inner estimator keeps its own.

    Attributes
    ----------
    estimator_ : regressor
        The fitted inner regressor.
    weighter_ : OTSampleWeighter or None
        The fitted weighter. None without trusted rows.
    sample_weight_ : ndarray of shape (n_samples,)
        Weights of the rows of X in the fit of ``estimator_``. Reviewed rows have theirs among them, or 0 where trusted
        rows do not join.
    sample_weight_meta_ : ndarray of shape (n_meta,)
        Weights of the trusted rows there, empty where none join. Together the two sum to the sum of the given
        ``sample_weight`` (n_samples without) plus one per trusted row that joins.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features of X, where it has names that are all strings.

    Other Parameters
    ----------------
    on_unweighted : {"raise", "bootstrap"}, default="raise"
        What to do with a regressor that takes no ``sample_weight``, or in which a sampler draws rows. "raise" is an
        error. "bootstrap" fits it to as many rows, drawn with replacement, with probabilities that go by the weights.
    sample_weight_name : str, default="auto"
        Keyword by which the weights reach ``estimator.fit``. "auto" finds it: ``sample_weight``, that of a pipeline's
        last step, or that of what is nested deeper.

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
        estimator: Any = None,
        *,
        weighter: OTSampleWeighter | None = None,
        include_meta: bool = True,
        meta_weight: float | str = "auto",
        random_state: RandomState = None,
        on_unweighted: str = "raise",
        sample_weight_name: str = "auto",
    ) -> None:
        self.estimator = estimator
        self.weighter = weighter
        self.include_meta = include_meta
        self.meta_weight = meta_weight
        self.random_state = random_state
        self.on_unweighted = on_unweighted
        self.sample_weight_name = sample_weight_name

    @learns_weights
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
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
            Trusted rows. A 1-tuple ``(X_meta,)`` is unwrapped: in one, as many as n_samples rows are not sliced by
            searches.
        y_meta : array-like of shape (n_meta,), default=None
            Trusted targets, or a 1-tuple of them.
        y_verified : array-like of shape (n_samples,), default=None
            Targets of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``; NaN, None,
            the missing values of pandas, or a mask for all others. Searches slice it as they do y. Reviewed rows are
            the trusted ones, and are trained on with this target, each counting as its ``sample_weight`` says.
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
            If the two sets do not fit together, or the estimator takes no weights (see ``on_unweighted``) or draws rows
            inside. After any error the regressor is as it was before.
        TypeError
            If the trusted rows are passed by position or by another name.

        Warns
        -----
        UserWarning
            As :meth:`OTSampleWeighter.fit`; without trusted rows every row keeps its ``sample_weight``. Also if the
            trusted rows look as if they had been sliced, or their targets as if they had missed a transformation, as
            under :class:`~sklearn.compose.TransformedTargetRegressor`.
        """
        check_index(X=X, y=y)
        y = y if y is None else one_column(y)
        return self._fit_all(Given(X, y, X_meta, y_meta, sample_weight, y_verified=y_verified), fit_params)

    def predict(self, X: MatrixLike) -> Array:
        """Predict with the fitted inner regressor.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predicted targets.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @property
    def _stands_for(self):
        return {**super()._stands_for, "weighter": "OTSampleWeighter()"}

    def _default_weighter(self, y_trusted, random_state):
        return OTSampleWeighter()

    def _new_weighter(self, y_trusted, random_state):
        weighter = super()._new_weighter(y_trusted, random_state)
        return weighter.set_params(target_type="continuous") if weighter.target_type == "auto" else weighter

    def _fit_weighter(self, given, random_state):
        trusted = (given.X_meta, given.y_meta, given.y_verified)
        if given.y is None or any(part is not None for part in trusted):
            sets = super()._fit_weighter(given, random_state)
            if sets.verified is None:
                _warn_other_targets(sets.given.y, sets.given.y_meta, "y_meta")
            else:
                _warn_other_targets(sets.given.y[sets.verified.others], sets.verified.labels, "y_verified")
            return sets
        warn(
            "Without trusted rows a continuous target says nothing of weights. Every row keeps its sample_weight. "
            "Pass X_meta and y_meta, or y_verified.",
        )
        self.weighter_ = None
        return Sets(given, given.X, given.y)

    def _weigh(self, sets):
        if self.weighter_ is not None:
            return super()._weigh(sets)
        n_samples, weight = num_samples(sets.given.X), sets.given.sample_weight
        weight = np.ones(n_samples) if weight is None else check_weights(weight, "sample_weight", n_samples)
        return self._set_weights(sets, weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags = get_tags(self._get_estimator()).regressor_tags or tags.regressor_tags
        return tags


def _warn_other_targets(y, y_meta, name):
    """Warn where most targets of one set lie outside the range of the other, more than chance would explain.

    Of n values the share of the population outside their range has the distribution Beta(2, n - 1).
    """
    sets = [np.asarray(on_host(values), dtype=np.float64).ravel() for values in (y, y_meta)]
    for (values, reference), names in zip((sets, sets[::-1]), (("y", name), (name, "y")), strict=True):
        if len(reference) < 2:
            continue
        share = np.mean((values < reference.min()) | (values > reference.max()))
        if share > 0.5 and beta.sf(share, 2, len(reference) - 1) < _CHANCE:
            warn(
                f"{share:.0%} of the targets in {names[0]} lie outside the range of those in {names[1]}, as if y had "
                f"been transformed and {name} had not. TransformedTargetRegressor transforms y alone: put it inside, "
                "OTWeightedRegressor(TransformedTargetRegressor(...))."
            )
            return
