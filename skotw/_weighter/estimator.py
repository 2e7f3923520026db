"""OTSampleWeighter: check, embed, hand over to the transport, publish the result."""

from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skotw._compat import (
    HasMethods,
    Interval,
    StrOptions,
    available_if,
    fit_context,
    num_samples,
    validate_parameter_constraints,
)
from skotw._transport.arrays import like
from skotw._typing import Array, ArrayLike, MatrixLike, Metric, RandomState
from skotw._validation import set_all_or_none, takes_no, unchanged_on_error, warn
from skotw.metrics import effective_sample_size

from .compute import one_blas_thread_of
from .drift import Drift, settled_by_rows
from .feature_cost import METRICS
from .input import Given, Intake, check_chunk, check_sets
from .labels import TARGET_TYPES
from .model import Stream, effective_sizes, settle, solve
from .report import RowGroups, ShowsReport, WeightReport, report_of
from .sets import SortedRows, are_copies, bits_of
from .settings import Settings, can_stream
from .two_sets import refuse_other_kinds, warn_of_mistakes

__all__ = ["OTSampleWeighter", "ot_sample_weight"]


# Below this share of the effective size of the prior weights, a few rows are all that counts.
_COLLAPSE = 0.1

# Types of parameters whose values say it all.
_PLAIN = (str, float, int, bool, type(None))

# What fit may set and partial_fit may not, or the reverse, or one fit and not the next.
_FITTED = (
    "sample_weight_",
    "effective_sample_size_",
    "label_confidence_",
    "classes_",
    "n_features_in_",
    "feature_names_in_",
)

# What the weighter may lack although its class has it.
_ON_DEMAND = ("sample_weight_", "effective_sample_size_", "label_confidence_")


class _NotOfChunks:
    """An attribute that ``partial_fit`` leaves out; where the weighter has it, that hides this."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, weighter, owner=None):
        if weighter is None:
            return self
        message = f"'{type(weighter).__name__}' object has no attribute {self.name!r}"
        if getattr(weighter, "_stream", None) is not None:
            message += ". partial_fit weighs no rows: call weigh(X, y) for the weights of any of them."
        raise AttributeError(message)


@dataclass(frozen=True, eq=False)
class _TrainingRows:
    """Embedded training rows, which nothing but their labels' confidence needs after a fit."""

    ordered: SortedRows
    kept: np.ndarray | None
    n_given: int
    bits: int | None  # None for copies

    @classmethod
    def of(cls, ordered, chunk, compute):
        bits = None if are_copies(ordered.rows, chunk.rows.Z) else bits_of(ordered.rows, compute)
        return cls(ordered, chunk.kept, chunk.n_given, bits)

    def are_unchanged(self, compute):
        """Whether they are what they were; rows that are X itself may have been written to."""
        return self.bits is None or bits_of(self.ordered.rows, compute) == self.bits

    def label_shares(self, fitted):
        """Confidence, group, and most confident group of each row; NaN and -1 for rows that took no part."""
        counts = self.ordered.counts
        codes = self.ordered.back(np.repeat(np.arange(len(counts)), counts))
        share, best = fitted.label_shares(self.ordered)
        if self.kept is None:
            return share, codes, best
        found, of_all = (share, codes, best), [np.full(self.n_given, rest) for rest in (np.nan, -1, -1)]
        for all_rows, values in zip(of_all, found, strict=True):
            all_rows[self.kept] = values
        return tuple(of_all)


class _OnDemand:
    """``label_confidence_``, computed when it is first asked for; where the weighter has it, that hides this."""

    def __get__(self, weighter, owner=None):
        if weighter is None:
            return self
        fitted, rows = getattr(weighter, "_model", None), getattr(weighter, "_training_rows", None)
        message = f"'{type(weighter).__name__}' object has no attribute 'label_confidence_'"
        if fitted is None:
            raise AttributeError(message)
        if not fitted.has_labels:
            raise AttributeError(f"{message}. {_NO_CLASSES}")
        if rows is None:
            raise AttributeError(f"{message}. No training rows are kept: call label_confidence(X, y).")
        if not rows.are_unchanged(fitted.basis.compute):
            raise AttributeError(
                f"{message}. It is computed when it is first asked for, and X has been written to since fit. Call "
                "label_confidence(X, y) with the rows as they were, or fit again."
            )
        return weighter._label_shares()[0]


_TRUSTED = ("X_meta", "y_meta", "sample_weight_meta", "y_verified")
_OF_THE_FIT = (
    "The trusted rows are those that the weighter was fitted with. Leave them out. To change them, fit anew. For rows "
    "that have been reviewed since, pass their right labels as y."
)
_NO_CLASSES = "The confidence of labels compares classes, and the weighter was fitted without any."


class OTSampleWeighter(ShowsReport, BaseEstimator):
    r"""Learn how much each training row should count, by optimal transport to a few trusted rows.

    You give it training rows, whose labels may be wrong or unbalanced, and a few trusted rows. It gives back
    ``sample_weight_``, one weight per training row. Rows that look like trusted rows of their own class gain. Rows of
    rare classes gain. Rows whose label does not fit their features lose. Pass the weights to ``fit(...,
    sample_weight=)`` of any estimator.

    The guide explains how to get trusted rows (:doc:`/guide/trusted_rows`), how to choose the parameters
    (:doc:`/guide/settings`), and how to go on when something looks wrong (:doc:`/guide/troubleshooting`).

    It is an estimator but no transformer: weights are not features. In a pipeline, pass
    ``pipe.fit(X, y, clf__sample_weight=weighter.fit_weights(X, y, X_meta, y_meta))``.

    Parameters
    ----------
    reg : float or "auto", default="auto"
        How far the weight may spread from the nearest neighbours of the trusted rows. Small values gather it on few
        rows. Large values lead back to ``prior``. The unit is the mean distance between training rows and trusted rows.
        "auto" chooses reg in [0.025, 0.4] by leave-one-out on the trusted rows: the more the labels can be trusted, the
        nearer to 0.4. Of more than 16,384 training rows it looks at a sample. It is 0.1 where nothing can be compared:
        without classes, with one trusted row per class, with ``label_weight=1``, or with so many classes that the
        comparison would exceed scikit-learn's ``working_memory``.
        For covariate shift 0.1 is often too large (:doc:`/guide/regression_groups_shift`).
    embedding : "scale", "supervised", None, transformer or classifier, default="scale"
        Where distances are measured.

        - "scale" standardises the columns of arrays. It imputes, scales and one-hot encodes the columns of data frames.
          It leaves sparse matrices as they are.
        - "supervised" fits models of the labels, and compares rows by what models that have not seen them say of them:
          by the square roots of class probabilities, as means of a logistic regression and of 40 trees. These are
          fitted, with balanced classes, to the rows as "scale" makes them, or to TF-IDF of texts. Missing values of
          arrays are imputed. Sparse rows have the linear model alone. At most 5,000 rows are fitted to, and the
          rest are predicted. It needs classes and trusted rows, and all rows at once.
        - None takes X as it is.
        - A transformer is cloned and fitted to the training rows. Within :class:`sklearn.frozen.FrozenEstimator` it is
          used as it is.
        - A classifier with ``predict_proba`` is cloned and takes the place of the models of "supervised", on X as it
          comes: out of bag where it offers ``oob_score``, and out of fold elsewhere.
    prior : {"balanced", "uniform", "confidence"}, default="balanced"
        Weights before any transport, times ``sample_weight``.

        - "balanced": each class holds the mass that it has among the trusted rows.
        - "uniform": all rows count the same, as in the paper.
        - "confidence": as "balanced", and within its class a row counts by how likely its label is. Models of all rows
          that have not seen this one say so, times models of the trusted rows alone. The latter count by the share that
          trusted labels hold of what all labels are worth. A row also counts by what it is worth to nearest neighbours
          that trusted rows judge, the more the less labels can be trusted. A row that misleads them weighs next to
          nothing where rows are few. The more rows there are beside the trusted ones, the less their models and their
          neighbours count. It needs classes and trusted rows. A classifier that is given as ``embedding`` has no
          neighbours.

        Without classes, "balanced" is "uniform".
    class_mass : {"balanced", "meta"} or dict, default="balanced"
        Share of each class in the total weight: the same for all, that of the trusted rows as they come ("meta"), or
        {class: mass}, which is normalised. Use "meta" for calibrated probabilities where trusted rows were drawn at
        random.
    target_type : {"auto", "classes", "continuous", "columns"}, default="auto"
        What y holds: class labels of any type, a continuous target, or several label columns, such as (label, group) or
        a multilabel indicator. "auto" tells from y.
    n_prototypes : int or None, default=None
        How many means of trusted rows, per class, stand for the trusted rows; 1 is the paper's mean of the class. None
        takes the trusted rows themselves. Where there are no trusted rows, prototypes of the training rows take their
        place: one per class, and a warning says so unless this is set.
    max_weight : float or None, default=None
        Largest weight per unit of ``sample_weight``, relative to the mean of the class (of all rows where there are no
        classes). The excess goes to the other rows of the class, so that the mass of the class stays.
    random_state : int, RandomState instance or None, default=None
        Seeds a clone of ``embedding`` where that has no seed, and the models of ``embedding="supervised"`` and
        ``prior="confidence"`` with their folds. For these None is a constant: the same rows in the same order have the
        same weights. Nothing else is random.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)
        The weights. They have the sum of the given ``sample_weight``, and mean 1 where none was given. Rows that were
        reviewed have the weight 0. Absent after ``partial_fit``, which weighs no rows.
    potentials_ : ndarray of shape (n_columns,)
        Dual potentials g of the trusted rows (or prototypes), sorted by class, in units of the cost.
    cost_scale_ : float
        Unit of the feature cost.
    reg_ : float
        The ``reg`` that was used.
    label_reliability_ : LabelReliability or None
        How far the training labels can be trusted. ``overall`` is 1 where all labels are right, and 0 where they say
        nothing. ``precision`` is the precision of each label of ``classes_``: the share of its rows that are right.
        ``overall_se`` and ``precision_se`` are their standard errors. ``posterior_mean`` and ``posterior_interval`` say
        what is known of ``overall`` where few trusted rows leave much to chance. Values are NaN where they cannot be
        known: with one trusted row per class, with features that do not tell classes apart, or with so many classes
        that the computation exceeds ``working_memory``. Errors that follow the features are not seen. ``fit`` looks at
        a sample of more than 32,768 training rows. None where there are no classes.
    classes_ : ndarray of shape (n_classes,) or list of tuple
        Classes with training rows, sorted. Combinations of labels for several label columns. Absent where there are no
        classes.
    class_mass_ : ndarray of shape (n_classes,)
        Share of each class in the mass of the trusted rows.
    effective_sample_size_ : float
        How many rows of equal weight ``sample_weight_`` is worth, by Kish's formula. Absent like it.
    label_confidence_ : ndarray of shape (n_samples,)
        How much speaks for the label of each training row, in [0, 1], as :meth:`label_confidence` has it. NaN for rows
        without weight. It is computed when it is first asked for, or when the weighter is pickled. Until then the
        weighter keeps the embedded rows, which may be X itself: where X is written to meanwhile, asking raises an
        error. Absent without classes, and after ``partial_fit``.
    objective_ : float
        Value of the minimised objective.
    n_iter_ : int
        Number of iterations. It is 1 for the closed form.
    embedding_ : transformer or None
        The fitted embedding. A supervised one knows the rows of both sets again, by their values in the dtype that they
        had in ``fit``, and gives them what models say that have not seen them.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features of X, where it has names that are all strings.

    Other Parameters
    ----------------
    metric : str or callable, default="cosine"
        Distance between embedded rows: "cosine", "euclidean" or "sqeuclidean", which are fast, any metric of
        :func:`~sklearn.metrics.pairwise_distances`, or a function of two rows that returns a finite number of at least
        0. With "precomputed", ``X`` is the matrix of costs of shape (n_samples, n_meta), and ``X_meta``, which only the
        reliability needs, that of shape (n_meta, n_meta).
    label_weight : float in [0, 1], default=0.5
        Share of the label cost in the cost. 0 looks at features only, and 1 at labels only.
    label_cost : {"auto", "hard"}, default="auto"
        "auto" is 0 for the same class and 1 for another. For several label columns it is the mean over the columns, and
        for a continuous target the absolute difference in units of its mean. With "hard", mass moves within a class
        only: the mass of every class is exact, and the work falls to an n_classes-th.
    reg_prior : float, default=0.0
        How strongly the weights are drawn to ``prior``, by the Kullback-Leibler divergence. 0 leaves them free.
    cost_scale : float or None, default=None
        Unit of the feature cost. None is the mean cost, so that ``reg`` has no unit.
    solver : {"exact", "gradient"}, default="exact"
        "exact" is the closed form, or an alternating scheme if ``reg_prior > 0``. "gradient" is the paper's route, for
        comparison: gradient steps on a weight vector, each through one more sweep of POT's Sinkhorn. It holds the
        matrix of costs.
    n_jobs : int or None, default=None
        Threads over blocks of rows. None means as many as BLAS may use, and -1 all processors.
    verbose : int, default=0
        1 prints one line per solve, and the progress of ``solver="gradient"``.

    See Also
    --------
    ot_sample_weight : The weights in one call.
    skotw.meta.balanced_meta_split : Sets trusted rows aside.

    Notes
    -----
    With training rows :math:`(x_i, y_i)` of prior :math:`p_i`, trusted rows :math:`(x'_j, y'_j)` of mass :math:`b_j`
    (the paper's *meta set*) and the ground cost

    .. math:: C_{ij} = (1 - \lambda) \, d(z_i, z'_j) / s + \lambda \, \ell(y_i, y'_j)

    the weights are the row sums :math:`w = T \mathbf 1` of the minimiser of

    .. math:: \langle T, C \rangle + \varepsilon \, \mathrm{KL}(T \mid p b^\top)
              + \rho \, \mathrm{KL}(T \mathbf 1 \mid p)
              \quad \text{over } T \ge 0,\; T^\top \mathbf 1 = b

    where :math:`\lambda` is ``label_weight``, :math:`\varepsilon` is ``reg`` and :math:`\rho` is ``reg_prior``. For
    :math:`\rho = 0` and a uniform prior this is the objective of [1]_, and its exact minimiser is a closed form.
    :doc:`/theory` derives it.

    Memory stays within scikit-learn's ``working_memory``, plus some numbers per row, plus what a given embedding makes
    of the rows. The default embedding does not copy arrays of more than 64 MiB that lie in memory row by row. Other
    arrays, sparse matrices and tensors are copied once, to sort them.

    References
    ----------
    .. [1] D. Guo, Z. Li, M. Zheng, H. Zhao, M. Zhou and H. Zha. "Learning to Re-weight Examples with Optimal Transport
           for Imbalanced Classification". NeurIPS 2022, arXiv:2208.02951.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw import OTSampleWeighter
    >>> from skotw.datasets import flip_labels
    >>> from skotw.meta import balanced_meta_split
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> y, wrong = flip_labels(y, 0.2, random_state=0, return_mask=True)
    >>> weighter = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    >>> weighter.sample_weight_.shape
    (135,)
    >>> bool(weighter.sample_weight_[wrong].mean() < weighter.sample_weight_[~wrong].mean() / 2)
    True
    """

    sample_weight_ = _NotOfChunks()
    effective_sample_size_ = _NotOfChunks()
    label_confidence_ = _OnDemand()

    __metadata_request__fit = {"X_meta": True, "y_meta": True, "y_verified": True}
    __metadata_request__partial_fit = {"X_meta": True, "y_meta": True, "y_verified": True}

    _parameter_constraints = {
        "metric": [StrOptions(set(METRICS)), callable],
        "label_weight": [Interval(Real, 0, 1, closed="both")],
        "label_cost": [StrOptions({"auto", "hard"})],
        "reg": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "reg_prior": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions({"balanced", "uniform", "confidence"})],
        "class_mass": [StrOptions({"balanced", "meta"}), dict],
        "target_type": [StrOptions(set(TARGET_TYPES))],
        "n_prototypes": [Interval(Integral, 1, None, closed="left"), None],
        "embedding": [
            StrOptions({"scale", "supervised"}),
            HasMethods(["fit", "transform"]),
            HasMethods(["fit", "predict_proba"]),
            None,
        ],
        "cost_scale": [Interval(Real, 0, None, closed="neither"), None],
        "max_weight": [Interval(Real, 1, None, closed="left"), None],
        "solver": [StrOptions({"exact", "gradient"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        reg: float | str = "auto",
        embedding: Any = "scale",
        prior: str = "balanced",
        class_mass: str | dict[Any, float] = "balanced",
        target_type: str = "auto",
        n_prototypes: int | None = None,
        max_weight: float | None = None,
        random_state: RandomState = None,
        metric: Metric = "cosine",
        label_weight: float = 0.5,
        label_cost: str = "auto",
        reg_prior: float = 0.0,
        cost_scale: float | None = None,
        solver: str = "exact",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.reg = reg
        self.embedding = embedding
        self.prior = prior
        self.class_mass = class_mass
        self.target_type = target_type
        self.n_prototypes = n_prototypes
        self.max_weight = max_weight
        self.random_state = random_state
        self.metric = metric
        self.label_weight = label_weight
        self.label_cost = label_cost
        self.reg_prior = reg_prior
        self.cost_scale = cost_scale
        self.solver = solver
        self.n_jobs = n_jobs
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        sample_weight_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
    ) -> Self:
        """Learn the weights of a training set.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows; anything that ``embedding`` takes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Training labels. None, with ``y_meta=None``, compares features only.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows. Without them prototypes of the training rows take their place.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Labels of the trusted rows. Every class of ``y`` must be among them.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand. Weight k is k copies of the row, and 0 is none.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class.
        y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``. Mark all others
            by NaN, None, the missing values of pandas, or a mask. Reviewed rows are the trusted rows, by their
            ``sample_weight``. They are no training rows: their label in ``y`` is not looked at, and their weight is 0.

        Returns
        -------
        self : OTSampleWeighter
            Fitted weighter; the weights are in ``sample_weight_``.

        Raises
        ------
        ValueError
            If rows or labels of the two sets cannot be compared, or no trusted row has a class of ``y``. If weights are
            negative, not finite or all zero. If embedded rows are not finite, or the metric gives a cost that is
            negative or not finite. If parameters contradict each other. If rows and labels have the same pandas index
            in another order. If ``y_verified`` has not one value per row, has labels of none or all of the rows, or
            comes beside ``X_meta``. After any error the weighter is as it was before.

        Warns
        -----
        UserWarning
            If there are no trusted rows and ``n_prototypes`` is None. If the trusted rows look as if they had missed a
            transformation that X went through, are training rows as well, or are over ten times as many. If they
            have classes without training rows, which take no part. If the training labels contradict the trusted ones.
            If a given ``reg`` is so small that a few rows have all the weight.
        sklearn.exceptions.ConvergenceWarning
            If the iterations of ``reg_prior > 0`` or ``solver="gradient"`` end before they converge.
        """
        given = Given(X, y, X_meta, y_meta, sample_weight, sample_weight_meta, y_verified)
        settings = Settings.of(self)
        with unchanged_on_error(self), one_blas_thread_of(settings, X):
            checked = _checked(given, settings)
            start = settle(checked)
            fitted, weights = solve(start)
            if not isinstance(settings.reg, str):
                _warn_of_collapse(*effective_sizes(start, weights), settings.reg)
            chunk = checked.chunk
            rows = _TrainingRows.of(start.ordered, chunk, fitted.basis.compute) if fitted.has_labels else None
            groups = RowGroups.of(start.ordered, chunk)
            self._publish(checked.intake, fitted, chunk.reference, chunk.scatter(weights), rows=rows, groups=groups)
        return self

    def fit_weights(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        sample_weight_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
    ) -> Array:
        """Learn the weights of a training set and return them.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Training labels.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Labels of the trusted rows.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class.
        y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``; NaN or None
            for all others.

        Returns
        -------
        sample_weight : ndarray of shape (n_samples,)
            ``sample_weight_`` of the fitted weighter.
        """
        return self.fit(
            X,
            y,
            X_meta,
            y_meta,
            sample_weight=sample_weight,
            sample_weight_meta=sample_weight_meta,
            y_verified=y_verified,
        ).sample_weight_

    @available_if(can_stream)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike | None = None,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        sample_weight_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
    ) -> Self:
        """Learn from one chunk of a stream; the trusted rows come with the first chunk.

        Chunks in any order and of any size leave the same model as :meth:`fit` on all rows, up to what the first chunk
        settles. It settles the embedding, ``cost_scale`` and ``reg="auto"`` where these are not given, the variances of
        "seuclidean" and "mahalanobis", and the unit of the label cost of a continuous target. If chunks are sorted, or
        several weighters are to be merged, settle these on a random sample, as the example does. Later chunks that lie
        elsewhere than the first are warned of, once. The guide has more (:doc:`/guide/clusters`).

        Parameters stay as they were at the first chunk. Only ``verbose`` and ``n_jobs`` may change, the latter for the
        next fit. One number per class and trusted row is carried from chunk to chunk.

        No rows are weighed: there is no ``sample_weight_``, and :meth:`weigh` gives the weights of any rows under what
        has been learned so far.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of this chunk.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels. The classes of the trusted rows may come in any chunk.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows, with the first chunk only.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Labels of the trusted rows, with the first chunk only.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class, with the first chunk only.
        y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of those rows of the first chunk that somebody has reviewed, in place of ``X_meta`` and ``y_meta``,
            as in :meth:`fit`. Reviewed rows of other chunks go to the first one as ``X_meta`` and ``y_meta``, and have
            the weight 0 in their chunk.

        Returns
        -------
        self : OTSampleWeighter
            Weighter updated by the chunk; an empty one changes nothing.

        Raises
        ------
        ValueError
            As in :meth:`fit`. Also if a later chunk brings other trusted rows, or parameters have changed. The chunk is
            not learned then, and the stream may go on.
        AttributeError
            If ``reg_prior > 0``, ``max_weight`` or ``solver="gradient"`` ask for all rows at once.

        See Also
        --------
        merge : Adds what another weighter has learned.

        Examples
        --------
        What the rows settle comes from a random sample, and two machines learn the chunks of a half each:

        >>> import numpy as np
        >>> from sklearn.datasets import make_classification
        >>> from sklearn.frozen import FrozenEstimator
        >>> from skotw import OTSampleWeighter
        >>> X, y = make_classification(430, random_state=0)
        >>> X, y, X_meta, y_meta = X[:400], y[:400], X[400:], y[400:]
        >>> sample = np.random.default_rng(0).choice(400, 100, replace=False)
        >>> s = OTSampleWeighter().fit(X[sample], y[sample], X_meta, y_meta)
        >>> params = {"embedding": FrozenEstimator(s.embedding_), "cost_scale": s.cost_scale_, "reg": s.reg_}
        >>> halves = []
        >>> for rows in np.array_split(np.argsort(X[:, 0]), 2):
        ...     weighter = OTSampleWeighter(**params)
        ...     first, second = np.array_split(rows, 2)
        ...     weighter.partial_fit(X[first], y[first], X_meta, y_meta).partial_fit(X[second], y[second])
        ...     halves.append(weighter)
        OTSampleWeighter(...)
        OTSampleWeighter(...)
        >>> weighter = halves[0].merge(halves[1])
        >>> whole = OTSampleWeighter(**params).fit(X, y, X_meta, y_meta)
        >>> np.allclose(weighter.weigh(X, y), whole.sample_weight_)
        True
        """
        given = Given(X, y, X_meta, y_meta, sample_weight, sample_weight_meta, y_verified)
        settings, stream = Settings.of(self), getattr(self, "_stream", None)
        with unchanged_on_error(self):
            if stream is None:
                self._validate_params()  # which the decorator leaves out after a fit
                checked = _checked(given, settings, stream=True)
                intake, chunk = checked.intake, checked.chunk
                stream = Stream.begin(settle(checked, stream=True))
                settled = settled_by_rows(stream.basis, intake.embedding)
                drift = Drift.of(chunk.rows.Z) if settled else None
            else:
                _check_same_stream(given, stream.basis.settings.changed(settings))
                intake = self._intake
                if num_samples(X) == 0:
                    intake.check(X, "X", least=0)
                    return self
                chunk = check_chunk(given, intake, stream.basis.target)
                stream = stream.learn(chunk.rows)
                drift = _told(self._drift, chunk.rows.Z, settled_by_rows(stream.basis, intake.embedding))
            self._publish(intake, stream.fitted(), chunk.reference, stream=stream, drift=drift)
        return self

    @available_if(can_stream)
    def merge(self, other: Self) -> Self:
        """Add what another weighter has learned from chunks of its own.

        Weighters that learn parts of a training set by :meth:`partial_fit`, on as many machines as you like, end where
        one would that learns all of it: merge them in any order. They must measure rows alike. Give all of them the
        same fitted embedding, ``cost_scale``, ``reg`` and trusted rows, as :meth:`partial_fit` shows.

        Parameters
        ----------
        other : OTSampleWeighter
            After ``partial_fit``; it stays as it is.

        Returns
        -------
        self : OTSampleWeighter
            Weighter that has learned the chunks of both.

        Raises
        ------
        TypeError
            If ``other`` is no OTSampleWeighter.
        sklearn.exceptions.NotFittedError
            If one of the two has learned no chunk by ``partial_fit``.
        ValueError
            If the two measure rows differently, naming by what.
        AttributeError
            If ``reg_prior > 0``, ``max_weight`` or ``solver="gradient"`` ask for all rows at once.
        """
        if not isinstance(other, OTSampleWeighter):
            raise TypeError(f"merge takes another OTSampleWeighter; got {type(other).__name__}.")
        streams = [getattr(weighter, "_stream", None) for weighter in (self, other)]
        if None in streams:
            raise NotFittedError(
                f"{'This' if streams[0] is None else 'The other'} weighter has learned no chunk: call partial_fit "
                "first, on both. What fit has learned cannot be merged."
            )
        differ = streams[0].differences(streams[1])
        if differ:
            raise ValueError(
                f"The two weighters measure rows differently, by {', '.join(differ)}. Give every part the same trusted "
                "set, cost_scale, reg and fitted embedding, as sklearn.frozen.FrozenEstimator keeps it."
            )
        with unchanged_on_error(self):
            stream = streams[0].merge(streams[1])
            self._publish(self._intake, stream.fitted(), self.potentials_, stream=stream, drift=self._drift)
        return self

    @takes_no(*_TRUSTED, remedy=_OF_THE_FIT)
    def weigh(self, X: MatrixLike, y: ArrayLike | None = None, *, sample_weight: ArrayLike | None = None) -> Array:
        """Weights of any rows, seen or not, under the fitted model.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels, where the model was fitted with labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.

        Returns
        -------
        weights : ndarray of shape (n_samples,)
            On the scale of ``sample_weight_``. The training rows get their ``sample_weight_`` back. Where models of the
            labels take part, these are known again by their values: pass them in the dtype that they had in ``fit``. A
            float32 copy of float64 rows counts as rows that the models have not seen.

        Raises
        ------
        ValueError
            If y is missing, or has labels that had no training rows.
        """
        check_is_fitted(self)
        chunk = check_chunk(Given(X, y, sample_weight=sample_weight), self._intake, self._model.target)
        return chunk.scatter(self._model.weigh(chunk.rows))

    @takes_no(*_TRUSTED, remedy=_OF_THE_FIT)
    def label_confidence(self, X: MatrixLike, y: ArrayLike) -> NDArray[np.float64]:
        r"""How much speaks for the labels of any rows, seen or not.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels, of classes that had training rows.

        Returns
        -------
        confidence : ndarray of shape (n_samples,)
            In [0, 1]. The training rows get their ``label_confidence_`` back, if they have the dtype that they had in
            ``fit``, as for :meth:`weigh`.

        Raises
        ------
        ValueError
            If the weighter was fitted without classes, or y has labels that had no training rows.

        See Also
        --------
        skotw.find_label_errors : Ranks the labels of a training set, and says how many may be wrong.

        Notes
        -----
        For a row x and a label c let :math:`h_c(x)` be what :meth:`weigh` gives x under the label c, without the factor
        by which the prior balances classes, and before ``max_weight``. The confidence of the label y is
        :math:`h_y(x) / \sum_c h_c(x)`. With ``prior="confidence"`` the belief in each label is part of it, out of fold
        for the rows that the models have seen. What models of the trusted rows alone say then counts in full, however
        many rows there are. What the row is worth to neighbours is no part of it. :doc:`/guide/label_errors` shows how
        to use it.

        Examples
        --------
        >>> from skotw import OTSampleWeighter
        >>> X, y = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [0.9, 0.1]], [0, 0, 1, 1]
        >>> weighter = OTSampleWeighter().fit(X, y, [[0.0, 1.1], [1.1, 0.0]], [0, 1])
        >>> weighter.label_confidence([[0.0, 0.9], [0.0, 0.9]], [0, 1]).round(1)
        array([1., 0.])
        """
        check_is_fitted(self)
        if not self._model.has_labels:
            raise ValueError(_NO_CLASSES)
        chunk = check_chunk(Given(X, y), self._intake, self._model.target)
        return self._model.label_shares_of(chunk.rows)[0]

    @takes_no(*_TRUSTED, remedy=_OF_THE_FIT)
    def transport_plan(
        self, X: MatrixLike, y: ArrayLike | None = None, *, sample_weight: ArrayLike | None = None
    ) -> Array:
        """Rows of the transport plan.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels, where the model was fitted with labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.

        Returns
        -------
        plan : ndarray of shape (n_samples, n_columns)
            Mass that each trusted row (or prototype), sorted by class, sends to each row. Over the training rows it
            sums to 1. Its row sums are the weights before ``max_weight``, divided by their total.
        """
        check_is_fitted(self)
        chunk = check_chunk(Given(X, y, sample_weight=sample_weight), self._intake, self._model.target)
        return chunk.scatter(self._model.plan(chunk.rows))

    def report(self) -> WeightReport:
        """Say what became of the training rows, class by class, and what to change.

        Returns
        -------
        report : WeightReport
            ``print(report)`` shows it as text and a notebook as a table; ``report.to_frame()`` has the classes as a
            data frame of pandas. Per class: ``count``, ``mass_before`` and ``mass_after`` (shares of the given and of
            the learned weights), ``effective_size``, and ``precision`` of the labels with its standard error
            ``precision_se``. ``heaviest`` and ``lightest`` are the rows that carry most and least, as (row, label,
            weight). ``warnings`` name what looks wrong, and the parameter to change.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the weighter is not fitted.
        ValueError
            If it was fitted by :meth:`partial_fit`, which weighs no rows, or in one of several processes.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skotw import OTSampleWeighter
        >>> from skotw.meta import balanced_meta_split
        >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
        >>> report = OTSampleWeighter().fit(X, y, X_meta, y_meta).report()
        >>> report.count
        array([45, 45, 45])
        >>> report.mass_before.round(2)
        array([0.33, 0.33, 0.33])
        >>> report.warnings
        ()
        """
        check_is_fitted(self)
        if self._row_groups is None:
            raise ValueError(
                "A report needs the weights of all rows, which neither partial_fit nor one of several processes has. "
                "Call fit on a sample of the rows, and ask that weighter."
            )
        return report_of(self._model, self._row_groups, self.sample_weight_)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, all of them or none.

        Parameters
        ----------
        **params : dict
            Parameters by name, those of the embedding as ``embedding__name``.

        Returns
        -------
        self : OTSampleWeighter
            The weighter. What it has learned stays, and does not change with its parameters.

        Raises
        ------
        ValueError
            If a name is unknown; nothing is set then.
        """
        return set_all_or_none(self, params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        takes_no_gaps = self.embedding is None or (isinstance(self.embedding, str) and self.embedding == "scale")
        tags.input_tags.allow_nan = not takes_no_gaps
        tags.array_api_support = True
        tags.target_tags.required = False
        return tags

    def _label_shares(self):
        """Confidence, group, and most confident group of each training row; afterwards the rows are needed no more."""
        if not self._model.has_labels:
            raise ValueError(_NO_CLASSES)
        found = self._training_rows.label_shares(self._model)
        self.label_confidence_, self._training_rows = found[0], None
        return found

    def _forget_rows(self):
        """Do without the rows that ``label_confidence_`` would need."""
        self._training_rows = None

    def __getstate__(self):
        # its numbers take the place of the rows, which may be large; there are none where X has been written to
        if getattr(self, "_training_rows", None) is not None and not hasattr(self, "label_confidence_"):
            self._forget_rows()
        return super().__getstate__()

    def __dir__(self):
        """Names of what the weighter has; notebooks ask for all of it, and that must compute nothing."""
        # not scikit-learn's, which asks for each attribute whether it is there
        has = {name: name in vars(self) for name in _ON_DEMAND}
        return [name for name in object.__dir__(self) if (has[name] if name in has else hasattr(self, name))]

    def _validate_params(self):
        values = [getattr(self, name) for name in self._parameter_constraints]
        if all(type(value) in _PLAIN for value in values):
            _validate_once(type(self), *values)
        else:
            super()._validate_params()

    def _publish(self, intake, fitted, reference, sample_weight=None, stream=None, drift=None, rows=None, groups=None):
        """Take over what a fit has found, without a trace of an earlier one; ``reference`` is like the rows."""
        for name in _FITTED:
            vars(self).pop(name, None)
        self._intake, self._model, self._stream, self._drift = intake, fitted, stream, drift
        self._training_rows, self._row_groups = rows, groups
        vars(self).update(intake.features)
        self.embedding_ = intake.whole_embedding
        self.potentials_ = like(fitted.potentials, reference)
        self.objective_ = fitted.objective
        self.n_iter_ = fitted.n_iter
        self.cost_scale_ = fitted.basis.cost_scale
        self.reg_ = fitted.basis.reg
        self.label_reliability_ = fitted.reliability
        groups_met = fitted.groups
        mass = fitted.group_mass[groups_met]
        self.class_mass_ = like(mass / mass.sum(), reference)
        if fitted.target.kind == "classes":
            self.classes_ = fitted.target.labels[groups_met]
        elif names := fitted.target.group_names():
            self.classes_ = [names[group] for group in groups_met]
        if sample_weight is not None:
            self.sample_weight_ = sample_weight
            self.effective_sample_size_ = effective_sample_size(sample_weight)
        if self.verbose:
            line = f"{fitted.total:g} rows, {len(fitted.potentials)} columns: reg {self.reg_:.3g}, "
            line += f"objective {self.objective_:.4g}, {self.n_iter_} iteration(s)"
            if sample_weight is not None:
                line += f", effective sample size {self.effective_sample_size_:.1f}"
            print(f"[OTSampleWeighter] {line}")  # noqa: T201 (verbose is asked for)


@lru_cache(maxsize=256, typed=True)
def _validate_once(weighter, *values):
    """Refuse parameters out of their constraints; a search checks the same ones in every fold."""
    constraints = weighter._parameter_constraints
    params = dict(zip(constraints, values, strict=True))
    validate_parameter_constraints(constraints, params, caller_name=weighter.__name__)


def _checked(given, settings, *, stream=False):
    """Both sets, checked, by themselves and beside each other."""
    rows = settings.metric != "precomputed"
    if rows and given.X_meta is not None:
        refuse_other_kinds(given.X, given.X_meta)
    checked = check_sets(given, Intake(settings), stream=stream)
    if rows and given.y_verified is None:  # which is of X itself
        warn_of_mistakes(given.X, given.X_meta, prototypes_meant=settings.n_prototypes is not None, stream=stream)
    return checked


def _warn_of_collapse(size, prior_size, reg):
    if size < _COLLAPSE * prior_size:
        warn(
            f"The weights have collapsed onto a few rows: all rows count as {size:.1f}, and prior weights would make "
            f"them {prior_size:.1f}. reg={reg:.3g} is too small for these rows. Raise it, or cap weights by "
            "max_weight."
        )


def _check_same_stream(given, changed):
    """Refuse what only a first chunk may bring."""
    if given.y_verified is not None:
        raise ValueError(
            "The trusted rows came with the first chunk and stay, so that later ones take no y_verified. Give reviewed "
            "rows the weight 0 in sample_weight. To make them trusted rows, start anew with a clone of the weighter, "
            "and pass those of all chunks to the first as X_meta and y_meta."
        )
    if given.X_meta is not None or given.y_meta is not None or given.sample_weight_meta is not None:
        raise ValueError(
            "The trusted rows came with the first chunk and stay. Leave X_meta and y_meta out of later "
            "ones, or start anew with a clone of the weighter."
        )
    if changed:
        raise ValueError(
            f"Parameters stay as they were at the first chunk, and these have changed: {', '.join(changed)}. Set them "
            "back, or start anew with a clone of the weighter."
        )


def _told(drift, Z, settled):
    """Warn once where later chunks lie elsewhere than the first; None from then on."""
    if drift is None or not (drift := drift.meet(Z)).has_left():
        return drift
    warn(
        f"Later chunks lie elsewhere than the first one, which has settled {', '.join(settled)}. The weights differ "
        "from those of fit on all rows. If chunks are sorted, settle these on a random sample of all rows: fit s = "
        "OTSampleWeighter() to the sample and the trusted rows, and stream to "
        "OTSampleWeighter(embedding=FrozenEstimator(s.embedding_), cost_scale=s.cost_scale_, reg=s.reg_)."
    )
    return None


def ot_sample_weight(
    X: MatrixLike,
    y: ArrayLike | None = None,
    X_meta: MatrixLike = None,
    y_meta: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    sample_weight_meta: ArrayLike | None = None,
    y_verified: ArrayLike | None = None,
    **params: Any,
) -> Array:
    """Learn sample weights by optimal transport to a few trusted rows, in one call.

    It is to :func:`~sklearn.utils.class_weight.compute_sample_weight` what a look at the features adds. The guide
    explains where trusted rows come from (:doc:`/guide/trusted_rows`).

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Training labels. None, with ``y_meta=None``, compares features only.
    X_meta : the same as X, of shape (n_meta, n_features), default=None
        Trusted rows. Without them prototypes of the training rows take their place.
    y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
        Labels of the trusted rows. Every class of ``y`` must be among them.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts beforehand.
    sample_weight_meta : array-like of shape (n_meta,), default=None
        How much each trusted row counts within its class.
    y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``; NaN or None for
        all others. The weight of reviewed rows is 0.
    **params : dict
        Parameters of :class:`OTSampleWeighter`.

    Returns
    -------
    sample_weight : ndarray of shape (n_samples,)
        Weights, with the sum of the given ``sample_weight`` (mean 1 without) over the rows that are not reviewed.

    Raises
    ------
    ValueError
        As :meth:`OTSampleWeighter.fit`.

    See Also
    --------
    OTSampleWeighter : The same as an object that can weigh further rows.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skotw import ot_sample_weight
    >>> X = [[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [0.0, 0.9]]
    >>> y = [0, 0, 1, 1]
    >>> X_meta, y_meta = [[0.0, 1.1], [1.1, 0.0]], [0, 1]
    >>> w = ot_sample_weight(X, y, X_meta, y_meta)
    >>> bool(w[3] < w[2] / 5)  # labelled 1, and looks like 0
    True
    >>> clf = LogisticRegression().fit(X, y, sample_weight=w)
    """
    return OTSampleWeighter(**params).fit_weights(
        X,
        y,
        X_meta,
        y_meta,
        sample_weight=sample_weight,
        sample_weight_meta=sample_weight_meta,
        y_verified=y_verified,
    )
