"""OTResampler: draw rows by their weight, for whatever takes no weights."""

from dataclasses import replace
from typing import Any, Self

from sklearn.utils import check_random_state

from skotw._typing import ArrayLike, MatrixLike, RandomState
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.input import Given

from .base import WeighsFirst, check_arguments, learns_weights
from .weight_routing import draw_rows, take_rows

__all__ = ["OTResampler"]


class OTResampler(WeighsFirst):
    """Draw a training set by weights that optimal transport learned.

    Use it for an estimator that takes no ``sample_weight``. As many rows as there are, trusted ones included, are drawn
    with replacement. Each has a probability that goes by its weight. It follows the convention of imbalanced-learn's
    samplers and is a step of :class:`imblearn.pipeline.Pipeline`. It does not need imbalanced-learn. The guide has more
    (:doc:`/guide/scikit_learn`).

    Parameters
    ----------
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned. None is ``OTSampleWeighter(embedding="supervised", prior="confidence")``
        where there are classes and trusted rows, and ``OTSampleWeighter()`` elsewhere.
    meta : tuple of two or None, default=None
        ``(X_meta, y_meta)``, the trusted rows and their labels, for pipelines without metadata routing, which hand
        nothing on to their samplers. As a parameter it is never sliced. It must look as X does at this step: make the
        sampler the first step, or pass transformed rows.
    include_meta : bool, default=True
        Whether trusted rows are among those that can be drawn.
    meta_weight : {"auto", "balanced"} or float in [0, 1], default="auto"
        How much the trusted rows weigh, as in :class:`OTWeightedClassifier`.
    random_state : int, RandomState instance or None, default=None
        Seeds the draw, and the models of the weighter that ``weighter=None`` stands for.

    Attributes
    ----------
    weighter_ : OTSampleWeighter
        The fitted weighter.
    sample_weight_ : ndarray of shape (n_samples,)
        Weights of the rows of X, reviewed ones included.
    sample_weight_meta_ : ndarray of shape (n_meta,)
        Weights of the trusted rows, empty where they take no part.
    sample_indices_ : ndarray of shape (n_drawn,)
        Rows drawn by ``fit_resample``. Absent after ``fit``. Index ``n_samples + j`` is row j of ``X_meta``.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features of X, where it has names that are all strings.

    See Also
    --------
    OTWeightedClassifier : Weights where the estimator takes them, which wastes no rows.

    Examples
    --------
    >>> from collections import Counter
    >>> from sklearn.datasets import make_classification
    >>> from skotw import OTResampler
    >>> from skotw.meta import balanced_meta_split
    >>> X, y = make_classification(200, weights=[0.9], class_sep=2.0, random_state=0)
    >>> X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=5, random_state=0)
    >>> X_drawn, y_drawn = OTResampler(random_state=0).fit_resample(X, y, X_meta=X_meta, y_meta=y_meta)
    >>> X_drawn.shape
    (200, 20)
    >>> 80 < Counter(y_drawn.tolist())[1] < 120
    True
    """

    # fit_resample is a method that imbalanced-learn adds to those between which metadata is routed
    __metadata_request__fit = {"X_meta": True, "y_meta": True, "y_verified": True}
    __metadata_request__fit_resample = {"X_meta": True, "y_meta": True, "y_verified": True}

    _parameter_constraints = {
        **WeighsFirst._parameter_constraints,
        "meta": [tuple, None],
    }

    def __init__(
        self,
        *,
        weighter: OTSampleWeighter | None = None,
        meta: Any = None,
        include_meta: bool = True,
        meta_weight: float | str = "auto",
        random_state: RandomState = None,
    ) -> None:
        self.weighter = weighter
        self.meta = meta
        self.include_meta = include_meta
        self.meta_weight = meta_weight
        self.random_state = random_state

    @learns_weights
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
    ) -> Self:
        """Learn the weights, and draw nothing.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Training labels.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows; ``meta`` where they are not given. A 1-tuple is unwrapped.
        y_meta : array-like of shape (n_meta,), default=None
            Labels of the trusted rows, or a 1-tuple of them.
        y_verified : array-like of shape (n_samples,), default=None
            Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``; NaN, None,
            the missing values of pandas, or a mask for all others.

        Returns
        -------
        self : OTResampler
            Fitted resampler.

        Raises
        ------
        ValueError
            If trusted rows come both as a parameter and as arguments, or the two sets do not fit together. After any
            error the resampler is as it was before.
        TypeError
            If the trusted rows are passed by position or by another name.

        Warns
        -----
        UserWarning
            As :meth:`OTSampleWeighter.fit`. Also if the trusted rows look as if they had been sliced.
        """
        given = Given(X, y, X_meta, y_meta, y_verified=y_verified)
        self._fit_sets(given, check_random_state(self.random_state))
        return self

    @learns_weights
    def fit_resample(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
    ) -> tuple[Any, Any]:
        """Learn the weights and draw rows by them.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Training labels.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows; ``meta`` where they are not given. A 1-tuple is unwrapped.
        y_meta : array-like of shape (n_meta,), default=None
            Labels of the trusted rows, or a 1-tuple of them.
        y_verified : array-like of shape (n_samples,), default=None
            Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``; NaN, None,
            the missing values of pandas, or a mask for all others.

        Returns
        -------
        X_resampled : the same as X, of shape (n_drawn, n_features)
            Drawn rows.
        y_resampled : ndarray of shape (n_drawn,)
            Their labels.

        Raises
        ------
        ValueError
            If trusted rows come both as a parameter and as arguments, or the two sets do not fit together.
        TypeError
            If the trusted rows are passed by position or by another name.
        """
        random_state = check_random_state(self.random_state)
        sets, weight = self._fit_sets(Given(X, y, X_meta, y_meta, y_verified=y_verified), random_state)
        drawn = draw_rows(weight, random_state)
        self.sample_indices_ = drawn if sets.rows is None else sets.rows[drawn]
        return tuple(take_rows(drawn, sets.X_train, sets.y_train))

    def _fit_sets(self, given, random_state):
        check_arguments(self, given)
        if self.meta is not None:
            if any(part is not None for part in (given.X_meta, given.y_meta, given.y_verified)):
                raise ValueError(
                    "The trusted rows came twice, as meta= and as X_meta, y_meta or y_verified. Leave one of them out."
                )
            if len(self.meta) != 2:
                raise ValueError(f"meta must be (X_meta, y_meta); got a tuple of {len(self.meta)}.")
            given = replace(given, X_meta=self.meta[0], y_meta=self.meta[1])
        sets = self._fit_weighter(given, random_state)
        self.__dict__.pop("sample_indices_", None)
        self._set_feature_attributes(self.weighter_)
        return sets, self._set_weights(sets, self.weighter_.sample_weight_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags
