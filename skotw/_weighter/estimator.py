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
from skotw._validation import set_all_or_none, unchanged_on_error, warn
from skotw.metrics import effective_sample_size

from .compute import one_blas_thread_of
from .drift import Drift, settled_by_rows
from .feature_cost import METRICS
from .input import Given, Intake, check_chunk, check_sets
from .labels import TARGET_TYPES
from .model import Stream, effective_sizes, settle, solve
from .report import RowGroups, ShowsReport, WeightReport, report_of
from .sets import SortedRows
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
        return weighter._label_shares()[0]


_NO_CLASSES = "The confidence of labels compares classes, and the weighter was fitted without any."


class OTSampleWeighter(ShowsReport, BaseEstimator):
    r"""Learn how much each training sample should count, by optimal transport to trusted ones.

    Mass that lies on a few trusted examples, the *meta set*, is transported to the training samples at a cost that
    grows with the distance of their features and with the disagreement of their labels. What arrives at a training
    sample is its weight. Samples that look like trusted samples of their own class gain, and so do rare classes;
    samples whose label does not fit their features lose. The weights go into ``fit(..., sample_weight=)`` of any
    estimator.

    It is an estimator but no transformer: weights are not features. In a pipeline, pass
    ``pipe.fit(X, y, clf__sample_weight=weighter.fit_weights(X, y, X_meta, y_meta))``.

    Parameters
    ----------
    metric : str or callable, default="cosine"
        Distance between embedded features: "cosine", "euclidean", "sqeuclidean" (evaluated as one matrix
        product), any metric of :func:`~sklearn.metrics.pairwise_distances`, a function of two rows that returns a
        finite number of at least 0, or "precomputed": then ``X`` is the matrix of costs of shape (n_samples, n_meta),
        and ``X_meta``, which only the reliability needs, that of shape (n_meta, n_meta).
    label_weight : float in [0, 1], default=0.5
        Share of the label cost in the ground cost; 0 looks at features only, 1 at labels only.
    label_cost : {"auto", "hard"}, default="auto"
        "auto": 0 for the same class and 1 for another; for several label columns the mean over the columns; for a
        continuous target the absolute difference in units of its mean. "hard": mass moves within a class only,
        so class masses are exact and the work falls to an n_classes-th.
    reg : float or "auto", default="auto"
        Entropic regularisation, in units of the mean feature cost. Small: weight concentrates on the nearest
        neighbours of the meta samples. Large: weights tend to the prior. "auto", between 0.025 and 0.4: under which
        weights the training rows classify trusted samples best by a kernel vote, each being left out of the weights
        that judge it; nearer to 0.4 the more the labels can be trusted. 0.1 where that cannot be asked: without
        classes, with one trusted sample per class, with ``label_weight=1``, or with so many classes that the votes
        would exceed scikit-learn's ``working_memory``.
    reg_prior : float, default=0.0
        Strength of the Kullback-Leibler divergence that draws the weights to the prior; 0 leaves them free, and
        infinity would return the prior.
    prior : {"balanced", "uniform", "confidence"}, default="balanced"
        Weights before any transport, times ``sample_weight``. "balanced": each class holds the mass it has among
        the meta samples. "uniform": all rows alike, as in the paper. Without classes both are uniform. "confidence":
        "balanced", with the rows of a class sharing its mass by how much their labels are believed: by the probability
        of the label under models of all rows that have not seen this one, times that under models of the trusted rows
        alone, the latter to the power of the share that trusted labels hold of what all are worth. It needs classes and
        trusted rows; models and cost are those of ``embedding="supervised"``.
    class_mass : {"balanced", "meta"} or dict, default="balanced"
        Mass of each class among the meta samples: the same for all, that of the meta rows as they come, or
        {class: mass}, which is normalised.
    target_type : {"auto", "classes", "continuous", "columns"}, default="auto"
        What y holds: class labels of any type, a continuous target, or several label columns such as (label,
        group) or a multilabel indicator. "auto" tells from y.
    n_prototypes : int or None, default=None
        Transport to this many prototypes per class instead of the meta samples themselves; 1 is the paper's mean of
        the class. Without a meta set the prototypes come from the training rows: one per class, of which a warning
        tells unless it is set.
    embedding : "scale", "supervised", None, transformer or classifier, default="scale"
        Where distances are measured. "scale" standardises the columns of arrays, leaves sparse matrices as they are,
        and imputes, scales and one-hot encodes the columns of data frames. None takes X as it is. A transformer is
        cloned and fitted on the training rows, and one that is fitted is used as it is within
        :class:`sklearn.frozen.FrozenEstimator`. "supervised" compares rows by what models of the labels say of them
        which have not seen them, as the paper compares them by features of a trained network: by the square roots of
        their class probabilities, means of a logistic regression and of 40 trees, fitted class-balanced to the
        training rows and the trusted ones. The rows given are those of "scale", or TF-IDF of texts; on sparse rows the
        linear model is alone. The probabilities are out of fold (five folds) and out of bag. At most 5,000 rows are
        fitted to, all of rare classes, and the rest are predicted. A classifier with ``predict_proba`` is cloned and
        takes the place of both models, on X as it comes: out of bag where it offers ``oob_score``, else out of
        fold. It needs classes and trusted rows, and all rows at once.
    cost_scale : float or None, default=None
        Unit of the feature cost; None is its mean under the prior and the meta masses, so that ``reg`` has no unit.
    max_weight : float or None, default=None
        Cap on a sample's weight per unit of ``sample_weight``, relative to the mean of its class (of all rows where
        there are no classes). The excess goes to the other samples of the class, so that class masses stay.
    solver : {"exact", "gradient"}, default="exact"
        "exact" is the closed form (an alternating scheme if ``reg_prior > 0``). "gradient" is the paper's route: a
        softmax-parametrised weight vector learned by gradient steps, each through one more sweep of POT's Sinkhorn,
        for comparison; it holds the matrix of costs.
    n_jobs : int or None, default=None
        Threads over blocks of rows. None means as many as BLAS may use, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seeds the unset random states of a clone of ``embedding``, and the models of ``embedding="supervised"`` and
        ``prior="confidence"`` with their folds, for which None is a constant: the same rows in the same order have the
        same weights. In another order they have other folds. Nothing else is random.
    verbose : int, default=0
        1 prints one line per solve, and the progress of ``solver="gradient"``.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)
        The weights, with the sum of the given ``sample_weight`` (mean 1 without), reviewed rows apart, which have the
        weight 0. Absent after ``partial_fit``, which weighs no rows.
    potentials_ : ndarray of shape (n_columns,)
        Dual potentials g of the meta samples (or prototypes), sorted by class, in units of the cost.
    cost_scale_ : float
        Unit of the feature cost.
    reg_ : float
        Entropic regularisation.
    label_reliability_ : LabelReliability or None
        How far the training labels can be trusted, if errors do not follow the features. ``overall`` is 1 where all
        labels are right and 0 where they say
        nothing; ``precision`` is, for each class of ``classes_``, the share of the rows with its label that really are
        of the class. Both have standard errors, ``overall_se`` and ``precision_se``, and are NaN where they cannot be
        known: with one trusted sample per class, features that do not tell classes apart, or so many classes that the
        histograms of two trusted samples exceed ``working_memory``. ``posterior_mean`` and
        ``posterior_interval`` are what is known of ``overall`` beside what few trusted rows leave to chance. None where
        there are no classes.
    classes_ : ndarray of shape (n_classes,) or list of tuple
        Classes with training rows, sorted; combinations of labels for several label columns. Absent where there are
        no classes.
    class_mass_ : ndarray of shape (n_classes,)
        Mass of each class among the meta samples, sum 1.
    effective_sample_size_ : float
        Kish's effective size of ``sample_weight_``, and absent like it.
    label_confidence_ : ndarray of shape (n_samples,)
        How much speaks for the label of each training row, in [0, 1]: the share of its own label in what the row would
        weigh under each of them, as :meth:`label_confidence` has it. NaN for rows without weight. Computed when first
        asked for, or pickled; until then the weighter keeps the embedded rows, of an array X itself: where that is
        written to meanwhile, call :meth:`label_confidence`. Absent without classes, and after ``partial_fit``.
    objective_ : float
        Value of the minimised objective.
    n_iter_ : int
        Iterations; 1 for the closed form.
    embedding_ : transformer or None
        The fitted embedding. A supervised one knows the rows that its models have seen again, and gives them what
        others say of them.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of features of X, where it has names that are all strings.

    See Also
    --------
    ot_sample_weight : The weights in one call.
    skotw.meta.balanced_meta_split : Sets trusted rows aside.

    Notes
    -----
    With training samples :math:`(x_i, y_i)` of prior :math:`p_i`, meta samples :math:`(x'_j, y'_j)` of mass
    :math:`b_j` and the ground cost

    .. math:: C_{ij} = (1 - \lambda) \, d(z_i, z'_j) / s + \lambda \, \ell(y_i, y'_j)

    the weights are the row sums :math:`w = T \mathbf 1` of the minimiser of

    .. math:: \langle T, C \rangle + \varepsilon \, \mathrm{KL}(T \mid p b^\top)
              + \rho \, \mathrm{KL}(T \mathbf 1 \mid p)
              \quad \text{over } T \ge 0,\; T^\top \mathbf 1 = b

    where :math:`\lambda` is ``label_weight``, :math:`\varepsilon` is ``reg`` and :math:`\rho` is ``reg_prior``. For
    :math:`\rho = 0` and a uniform prior this is the objective of [1]_, whose exact minimiser is closed form. Memory
    stays within scikit-learn's ``working_memory``, plus some numbers per row, plus what a given embedding makes of the
    rows. The default one does not copy arrays of more than 16 MiB. Sparse matrices and tensors are copied once, to sort
    them.

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
    __metadata_request__partial_fit = {"X_meta": True, "y_meta": True}

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
        metric: Metric = "cosine",
        label_weight: float = 0.5,
        label_cost: str = "auto",
        reg: float | str = "auto",
        reg_prior: float = 0.0,
        prior: str = "balanced",
        class_mass: str | dict[Any, float] = "balanced",
        target_type: str = "auto",
        n_prototypes: int | None = None,
        embedding: Any = "scale",
        cost_scale: float | None = None,
        max_weight: float | None = None,
        solver: str = "exact",
        n_jobs: int | None = None,
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.metric = metric
        self.label_weight = label_weight
        self.label_cost = label_cost
        self.reg = reg
        self.reg_prior = reg_prior
        self.prior = prior
        self.class_mass = class_mass
        self.target_type = target_type
        self.n_prototypes = n_prototypes
        self.embedding = embedding
        self.cost_scale = cost_scale
        self.max_weight = max_weight
        self.solver = solver
        self.n_jobs = n_jobs
        self.random_state = random_state
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
            Trusted rows. Without them class prototypes of the training rows take their place.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Trusted labels. Every class of ``y`` must be among them.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand: weight k is k copies of the row, 0 is none.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class.
        y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of those rows of X that somebody has reviewed, in the place of ``X_meta`` and ``y_meta``. All others
            are marked by NaN, None, the missing values of pandas, or a mask. Reviewed rows are the trusted ones, by
            their ``sample_weight``, and are no training rows: their label in ``y`` is not looked at, and their weight
            is 0.

        Returns
        -------
        self : OTSampleWeighter
            Fitted weighter; the weights are in ``sample_weight_``.

        Raises
        ------
        ValueError
            If rows or labels of the two sets cannot be compared, a training class is absent from the meta set, weights
            are negative, not finite or all zero, embedded rows are not finite, the metric gives a cost that is negative
            or not finite, parameters contradict each other, or rows and labels have the same pandas index in another
            order; if ``y_verified`` has not one value per row, or labels of none or all of them, or comes beside
            ``X_meta``. After any error the weighter is as it was before.

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
            rows = _TrainingRows(start.ordered, chunk.kept, chunk.n_given) if fitted.has_labels else None
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
            Trusted labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class.
        y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of those rows of X that somebody has reviewed, in the place of ``X_meta`` and ``y_meta``; NaN or None
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
    ) -> Self:
        """Learn from one chunk of a stream; the meta set comes with the first chunk.

        Only one number per class and meta sample is carried from chunk to chunk, so that chunks in any order and of any
        size leave the same model as :meth:`fit` on all rows, up to what the first of them settles: the embedding,
        ``cost_scale`` and ``reg="auto"`` where they are not given, the variances of "seuclidean" and "mahalanobis", and
        the unit of the label cost of a continuous target. Chunks that are sorted must not do that, and neither must
        each of several weighters that are to be merged: settle these on a random sample, as the example does. Later
        chunks that lie elsewhere than the first are warned of, once. Parameters stay from the first chunk on; only
        ``verbose`` and ``n_jobs`` may change, the latter for the next fit.

        No rows are weighed: there is no ``sample_weight_``, and :meth:`weigh` gives the weights of any rows under what
        has been learned so far.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows of this chunk.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels; classes of the meta set may come in any chunk.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows, with the first chunk only.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Trusted labels, with the first chunk only.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class, with the first chunk only.

        Returns
        -------
        self : OTSampleWeighter
            Weighter updated by the chunk; an empty one changes nothing.

        Raises
        ------
        ValueError
            As in :meth:`fit`; also if a later chunk brings another meta set, or parameters have changed. The chunk is
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
        given = Given(X, y, X_meta, y_meta, sample_weight, sample_weight_meta)
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
        same fitted embedding, ``cost_scale``, ``reg`` and meta set, as :meth:`partial_fit` shows.

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
                f"The two weighters measure rows differently, by {', '.join(differ)}. Give every part the same meta "
                "set, cost_scale, reg and fitted embedding, as sklearn.frozen.FrozenEstimator keeps it."
            )
        with unchanged_on_error(self):
            stream = streams[0].merge(streams[1])
            self._publish(self._intake, stream.fitted(), self.potentials_, stream=stream, drift=self._drift)
        return self

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
            On the scale of ``sample_weight_``, which is what the training rows get back.

        Raises
        ------
        ValueError
            If y is missing, or has labels that had no training rows.
        """
        check_is_fitted(self)
        chunk = check_chunk(Given(X, y, sample_weight=sample_weight), self._intake, self._model.target)
        return chunk.scatter(self._model.weigh(chunk.rows))

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
            In [0, 1]; the training rows get ``label_confidence_`` back.

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
        :math:`h_y(x) / \sum_c h_c(x)`, from one evaluation of the cost for all labels. With ``prior="confidence"`` the
        belief in each label is part of it, out of fold for the rows that the models have seen. What models of the
        trusted rows alone say then counts in full, however many rows there are: to find wrong labels, all that is known
        of a single row is worth asking.

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
            Mass that each meta sample (or prototype), sorted by class, sends to each row. Over the training rows it
            sums to 1; its row sums are the weights before ``max_weight``, divided by their total.
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
        tags.input_tags.allow_nan = not (self.embedding is None or isinstance(self.embedding, str))
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
        if getattr(self, "_training_rows", None) is not None:
            self.label_confidence_  # noqa: B018 (it takes the place of the rows, which may be large)
        return super().__getstate__()

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
        mass = fitted.group_mass[fitted.groups]
        self.class_mass_ = like(mass / mass.sum(), reference)
        names = fitted.target.group_names()
        if fitted.target.kind == "classes":
            self.classes_ = fitted.target.labels[fitted.groups]
        elif names:
            self.classes_ = [names[group] for group in fitted.groups]
        line = f"{fitted.total:g} rows, {len(fitted.potentials)} columns: reg {self.reg_:.3g}, "
        line += f"objective {self.objective_:.4g}, {self.n_iter_} iteration(s)"
        if sample_weight is not None:
            self.sample_weight_ = sample_weight
            self.effective_sample_size_ = effective_sample_size(sample_weight)
            line += f", effective sample size {self.effective_sample_size_:.1f}"
        if self.verbose:
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
            f"them {prior_size:.1f}. reg={reg:.3g} is too small for these rows: raise it, or cap weights by max_weight."
        )


def _check_same_stream(given, changed):
    """Refuse what only a first chunk may bring."""
    if given.X_meta is not None or given.y_meta is not None or given.sample_weight_meta is not None:
        raise ValueError(
            "The meta set came with the first chunk and stays; leave X_meta and y_meta out of later "
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
        f"Later chunks lie elsewhere than the first one, which has settled {', '.join(settled)}: the weights differ "
        "from those of fit on all rows. If chunks are sorted, settle these on a random sample of all rows: with "
        "s = OTSampleWeighter().fit(sample and meta set), stream to OTSampleWeighter(embedding=FrozenEstimator("
        "s.embedding_), cost_scale=s.cost_scale_, reg=s.reg_)."
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
    """Learn sample weights by optimal transport to a few trusted examples, in one call.

    The counterpart of :func:`~sklearn.utils.class_weight.compute_sample_weight` that also looks at features.

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Training labels. None, with ``y_meta=None``, compares features only.
    X_meta : the same as X, of shape (n_meta, n_features), default=None
        Trusted rows. Without them class prototypes of the training rows take their place.
    y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
        Trusted labels. Every class of ``y`` must be among them.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts beforehand.
    sample_weight_meta : array-like of shape (n_meta,), default=None
        How much each trusted row counts within its class.
    y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels of those rows of X that somebody has reviewed, in the place of ``X_meta`` and ``y_meta``; NaN or None for
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
