"""OTSampleWeighter: check, embed, hand over to the transport, publish the result."""

from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from skotw._compat import HasMethods, Interval, StrOptions, fit_context, num_samples, safe_indexing
from skotw._transport.arrays import like, like_rows
from skotw._validation import check_weights, named
from skotw.metrics import effective_sample_size

from .embedding import embed, fit_embedding, float_dtypes
from .feature_cost import METRICS
from .frames import is_frame
from .labels import TARGET_TYPES, Target, target_kind
from .model import TransportModel
from .sets import Meta, Rows

__all__ = ["OTSampleWeighter", "ot_sample_weight"]


def _can_stream(weighter):
    """Raise where a parameter needs all rows at once, so that there is no ``partial_fit``."""
    settings = {
        "reg_prior": weighter.reg_prior == 0,
        "max_weight": weighter.max_weight is None,
        "solver": weighter.solver == "exact",
    }
    for name, streams in settings.items():
        if not streams:
            raise AttributeError(
                f"{name}={getattr(weighter, name)!r} needs all rows at once: use fit, or leave {name} at its default "
                "for partial_fit."
            )
    return True


class OTSampleWeighter(BaseEstimator):
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
    prior : {"balanced", "uniform"}, default="balanced"
        Weights before any transport, times ``sample_weight``. "balanced": each class holds the mass it has among
        the meta samples. "uniform": all rows alike, as in the paper. Without classes both are uniform.
    class_mass : {"balanced", "meta"} or dict, default="balanced"
        Mass of each class among the meta samples: the same for all, that of the meta rows as they come, or
        {class: mass}, which is normalised.
    target_type : {"auto", "classes", "continuous", "columns"}, default="auto"
        What y holds: class labels of any type, a continuous target, or several label columns such as (label,
        group) or a multilabel indicator. "auto" tells from y.
    n_prototypes : int or None, default=None
        Transport to this many prototypes per class instead of the meta samples themselves; 1 is the paper's mean of
        the class. Without a meta set the prototypes, one per class unless set, come from the training rows.
    embedding : "scale", None or transformer, default="scale"
        Where distances are measured. "scale" standardises the columns of arrays, leaves sparse matrices as they are,
        and imputes, scales and one-hot encodes the columns of data frames. None takes X as it is. A transformer is
        cloned and fitted on the training rows.
    cost_scale : float or None, default=None
        Unit of the feature cost; None is its mean under the prior and the meta masses, so that ``reg`` has no unit.
    max_weight : float or None, default=None
        Cap on a sample's weight per unit of ``sample_weight``, relative to the mean of its class (of all rows where
        there are no classes). The excess goes to the other samples of the class, so that class masses stay.
    solver : {"exact", "gradient"}, default="exact"
        "exact" is the closed form (an alternating scheme if ``reg_prior > 0``). "gradient" is the paper's route: a
        softmax-parametrised weight vector learned by gradient steps through Sinkhorn, for comparison; it holds the
        matrix of costs.
    n_jobs : int or None, default=None
        Threads over blocks of rows. None means as many as BLAS may use, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seeds the unset random states of a clone of ``embedding``. Nothing else is random.
    verbose : int, default=0
        1 prints one line per solve.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)
        The weights, with the sum of the given ``sample_weight`` (mean 1 without). After ``partial_fit`` those of the
        last chunk's rows under what has been learned so far, on the scale of all rows.
    potentials_ : ndarray of shape (n_columns,)
        Dual potentials g of the meta samples (or prototypes), sorted by class, in units of the cost.
    cost_scale_ : float
        Unit of the feature cost.
    reg_ : float
        Entropic regularisation.
    label_reliability_ : LabelReliability or None
        How far the training labels can be trusted. ``overall`` is 1 where all labels are right and 0 where they say
        nothing; ``precision`` is, for each class of ``classes_``, the share of the rows with its label that really are
        of the class. Both have standard errors, ``overall_se`` and ``precision_se``, and are NaN where they cannot be
        known: with one trusted sample per class, features that do not tell classes apart, or so many classes that the
        histograms of two trusted samples exceed ``working_memory``. None where there are no classes.
    classes_ : ndarray of shape (n_classes,) or list of tuple
        Classes with training rows, sorted; combinations of labels for several label columns. Absent where there are
        no classes.
    class_mass_ : ndarray of shape (n_classes,)
        Mass of each class among the meta samples, sum 1.
    effective_sample_size_ : float
        Kish's effective size of ``sample_weight_``.
    objective_ : float
        Value of the minimised objective.
    n_iter_ : int
        Iterations; 1 for the closed form.
    embedding_ : transformer or None
        The fitted embedding.
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
    stays within scikit-learn's ``working_memory`` plus a copy of the embedded rows.

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

    __metadata_request__fit = {"X_meta": True, "y_meta": True}
    __metadata_request__partial_fit = {"X_meta": True, "y_meta": True}

    _parameter_constraints = {
        "metric": [StrOptions(set(METRICS)), callable],
        "label_weight": [Interval(Real, 0, 1, closed="both")],
        "label_cost": [StrOptions({"auto", "hard"})],
        "reg": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "reg_prior": [Interval(Real, 0, None, closed="left")],
        "prior": [StrOptions({"balanced", "uniform"})],
        "class_mass": [StrOptions({"balanced", "meta"}), dict],
        "target_type": [StrOptions(set(TARGET_TYPES))],
        "n_prototypes": [Interval(Integral, 1, None, closed="left"), None],
        "embedding": [StrOptions({"scale"}), HasMethods(["fit", "transform"]), None],
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
        metric="cosine",
        label_weight=0.5,
        label_cost="auto",
        reg="auto",
        reg_prior=0.0,
        prior="balanced",
        class_mass="balanced",
        target_type="auto",
        n_prototypes=None,
        embedding="scale",
        cost_scale=None,
        max_weight=None,
        solver="exact",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
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
        X,
        y=None,
        X_meta=None,
        y_meta=None,
        *,
        sample_weight=None,
        sample_weight_meta=None,
    ):
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

        Returns
        -------
        self : OTSampleWeighter
            Fitted weighter; the weights are in ``sample_weight_``.

        Raises
        ------
        ValueError
            If rows or labels of the two sets cannot be compared, a training class is absent from the meta set, weights
            are negative, not finite or all zero, embedded rows are not finite, the metric gives a cost that is negative
            or not finite, or parameters contradict each other.
        """
        self._check_parameters()
        chunk = self._start(X, y, X_meta, y_meta, sample_weight, sample_weight_meta)
        weights = self._model.solve(chunk.rows)
        self._publish(chunk.scatter(weights))
        return self

    def fit_weights(
        self,
        X,
        y=None,
        X_meta=None,
        y_meta=None,
        *,
        sample_weight=None,
        sample_weight_meta=None,
    ):
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
        ).sample_weight_

    @available_if(_can_stream)
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X,
        y=None,
        X_meta=None,
        y_meta=None,
        *,
        sample_weight=None,
        sample_weight_meta=None,
    ):
        """Learn from one chunk of a stream; the meta set comes with the first chunk.

        The embedding, ``cost_scale`` and ``reg="auto"`` are settled by the first chunk. Where they are given, chunks
        in any order and of any size leave the same model as :meth:`fit` on all rows: only one number per class and
        meta sample is carried from chunk to chunk.

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
            Weighter updated by the chunk. Use :meth:`weigh` for the final weights of earlier rows.

        Raises
        ------
        ValueError
            As in :meth:`fit`; also if a later chunk brings another meta set.
        AttributeError
            If ``reg_prior > 0``, ``max_weight`` or ``solver="gradient"`` ask for all rows at once.
        """
        self._check_parameters()
        if not getattr(self, "_streaming", False):
            chunk = self._start(X, y, X_meta, y_meta, sample_weight, sample_weight_meta, stream=True)
        else:
            if X_meta is not None or y_meta is not None or sample_weight_meta is not None:
                raise ValueError(
                    "The meta set came with the first chunk and stays; leave X_meta and y_meta out of later "
                    "ones, or start anew with a clone of the weighter."
                )
            chunk = self._chunk(X, y, sample_weight)
        self._model.learn(chunk.rows)
        self._publish(chunk.scatter(self._model.weigh(chunk.rows)))
        return self

    def weigh(self, X, y=None, *, sample_weight=None):
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
        chunk = self._chunk(X, y, sample_weight)
        return chunk.scatter(self._model.weigh(chunk.rows))

    def transport_plan(self, X, y=None, *, sample_weight=None):
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
        chunk = self._chunk(X, y, sample_weight)
        return chunk.scatter(self._model.plan(chunk.rows))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = not (self.embedding is None or isinstance(self.embedding, str))
        tags.array_api_support = True
        tags.target_tags.required = False
        return tags

    # ------------------------------------------------------------------ input

    def _check_parameters(self):
        """Combinations that make no sense."""
        if self.metric == "precomputed":
            if not (self.embedding is None or isinstance(self.embedding, str)):
                raise ValueError("metric='precomputed' has no rows to embed: leave embedding at its default.")
            if self.n_prototypes is not None:
                raise ValueError(
                    "metric='precomputed' has no rows to average: leave n_prototypes at None, and give the "
                    "costs to the prototypes instead."
                )
        if self.solver == "gradient" and self.label_cost == "hard":
            raise ValueError("solver='gradient' needs finite costs: use label_cost='auto', or solver='exact'.")

    def _start(self, X, y, X_meta, y_meta, sample_weight, sample_weight_meta, *, stream=False):
        """Check the two sets against each other and settle all that later rows are measured by."""
        self._check_sets(X, y, X_meta, y_meta, sample_weight_meta)
        X = self._check_rows(X, "X", reset=True)
        n_samples = num_samples(X)
        X, y, weight, kept = _drop_weightless(X, y, sample_weight, "sample_weight", n_samples)
        if len(weight) < 2:
            raise ValueError(
                f"Found {len(weight)} row(s) with a positive weight; n_samples=1 has nothing to be weighed "
                "against, and a minimum of 2 is required."
            )
        alone = self.metric != "precomputed" and X_meta is None
        y_reference = y if alone else y_meta
        kind = None if y_reference is None else target_kind(y_reference, self.target_type)
        self._check_kind(kind, alone)
        self.embedding_ = None
        if self.metric != "precomputed":
            weighted = None if np.all(weight == weight[0]) else weight
            self.embedding_ = self._fit_embedding(X, y, weighted)
        self._widen = False
        Z = self._embed(X, "X")
        self._widen = self.metric in ("euclidean", "l2", "sqeuclidean") and _squares_leave_float32(Z)
        Z = Z.astype(np.float64) if self._widen else Z
        by_cell = self.prior == "balanced" or self.n_prototypes is not None
        if alone:
            target = Target.of(y, len(weight), self.target_type, by_cell)
            meta = None
        else:
            Z_meta, y_meta, meta_weight = self._meta_rows(X_meta, y_meta, Z, sample_weight_meta)
            target = Target.of(y_meta, len(meta_weight), self.target_type, by_cell)
            meta = Meta(Z_meta, target, meta_weight)
        codes, values = target.encode(y, len(weight), "y")
        n_classes = target.n_groups if stream else np.count_nonzero(np.bincount(codes))
        if kind == "classes" and n_classes < 2:
            raise ValueError(
                f"y has one class, {named(target.labels[codes[:1]])}; weights between classes need two or more. For "
                "weights from the features alone leave out y and y_meta."
            )
        rows = Rows(Z, codes, values, weight, kept)
        self._streaming = stream
        self._model = self._new_model(rows, meta, target, stream)
        return _Chunk(rows, kept, n_samples)

    def _check_sets(self, X, y, X_meta, y_meta, sample_weight_meta):
        """Which of the four were given, and whether that makes sense."""
        numbers = X_meta is not None and not is_frame(X_meta) and np.ndim(X_meta) == 1 and num_samples(X_meta) > 0
        if numbers and not isinstance(X_meta[0], str):
            raise ValueError("X_meta has one dimension; trusted rows have two. Did you mean sample_weight=?")
        if self.metric == "precomputed":
            if (y is None) != (y_meta is None):
                raise ValueError("metric='precomputed' needs y_meta, the labels of X's columns, together with y.")
            return
        if X_meta is not None and y_meta is None and y is not None:
            raise ValueError("X_meta was given without y_meta: pass the labels of the trusted rows.")
        if X_meta is None and y_meta is not None:
            raise ValueError("y_meta was given without X_meta: pass the trusted rows themselves.")
        if X_meta is None and sample_weight_meta is not None:
            raise ValueError("sample_weight_meta was given without X_meta and y_meta.")
        if X_meta is None and y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass y, or X_meta "
                "for weights from the features alone."
            )

    def _check_kind(self, kind, alone):
        if kind == "continuous":
            if alone:
                raise ValueError(
                    "Unknown label type: continuous. A continuous target has no classes whose prototypes could "
                    "stand in for a meta set: pass X_meta and y_meta, or class labels."
                )
            if self.n_prototypes is not None:
                raise ValueError("n_prototypes needs classes; leave it at None for a continuous target.")
        if (kind in ("continuous", "columns") or kind is None) and self.label_cost == "hard":
            raise ValueError("label_cost='hard' moves mass within a class, and needs one column of class labels.")
        if (kind == "continuous" or kind is None) and isinstance(self.class_mass, dict):
            raise ValueError("class_mass by class needs class labels; use 'balanced' or 'meta'.")

    def _check_rows(self, X, name, *, reset):
        """Rows as the embedding takes them; arrays are checked here for the embeddings that are ours."""
        ours = self.embedding is None or isinstance(self.embedding, str)
        if self.metric != "precomputed" and (not ours or (self.embedding and is_frame(X))):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if num_samples(X) == 0:
                raise ValueError(f"{name} has 0 sample(s), while a minimum of 1 is required.")
            return X
        checks = {"accept_sparse": "csr", "dtype": float_dtypes(X), "ensure_all_finite": False}
        if name != "X":
            validate_data(self, X, reset=False, skip_check_array=True)
            return check_array(X, **checks, input_name=name)
        return validate_data(self, X, reset=reset, **checks)

    def _fit_embedding(self, X, y, sample_weight):
        return fit_embedding(self.embedding, X, y, sample_weight, self.random_state, self.n_jobs)

    def _new_model(self, rows, meta, target, stream):
        return TransportModel(self.get_params(deep=False), rows, meta, target, stream=stream)

    def _embed(self, X, name):
        Z = embed(self.embedding_, X, name, allow_nan=self.metric == "nan_euclidean")
        if self.metric == "precomputed" and Z.min() < 0:
            raise ValueError("metric='precomputed' takes costs, and some of them are negative.")
        return Z.astype(np.float64) if self._widen else Z

    def _meta_rows(self, X_meta, y_meta, Z, sample_weight_meta):
        """Embedded trusted rows, their labels and weights, without weightless ones."""
        if self.metric == "precomputed":
            Z_meta = self._meta_costs(X_meta, y_meta, Z)
            weight = np.ones(Z.shape[1])
            if sample_weight_meta is not None:
                weight = check_weights(sample_weight_meta, "sample_weight_meta", Z.shape[1])
                if not (weight > 0).all():
                    raise ValueError(
                        "metric='precomputed' takes positive sample_weight_meta: drop the columns of X whose "
                        "weight is zero."
                    )
            return Z_meta, y_meta, weight
        if num_samples(X_meta) == 0:
            raise ValueError("The meta set is empty: X_meta has 0 sample(s), a minimum of 1 is required.")
        X_meta = self._check_rows(X_meta, "X_meta", reset=False)
        if y_meta is not None:
            check_consistent_length(X_meta, y_meta)
        X_meta, y_meta, weight, _ = _drop_weightless(
            X_meta, y_meta, sample_weight_meta, "sample_weight_meta", num_samples(X_meta)
        )
        Z_meta = self._embed(X_meta, "X_meta")
        if Z_meta.shape[1] != Z.shape[1]:
            raise ValueError(f"X_meta has {Z_meta.shape[1]} features after the embedding, X has {Z.shape[1]}.")
        return like_rows(Z_meta, Z), y_meta, weight

    def _meta_costs(self, X_meta, y_meta, Z):
        """Costs among the meta samples, which only the reliability needs; None without."""
        n_meta = Z.shape[1]
        if y_meta is not None and num_samples(y_meta) != n_meta:
            raise ValueError(
                f"With metric='precomputed' X must have one column per meta sample: it has {n_meta}, and "
                f"y_meta has {num_samples(y_meta)} labels."
            )
        if X_meta is None:
            return None
        Z_meta = self._embed(self._check_rows(X_meta, "X_meta", reset=False), "X_meta")
        if Z_meta.shape[0] != n_meta:
            raise ValueError(
                f"With metric='precomputed' X has the costs to {n_meta} meta samples, so X_meta must have "
                f"shape {(n_meta, n_meta)}, the costs among them; got {tuple(Z_meta.shape)}."
            )
        return Z_meta

    def _chunk(self, X, y, sample_weight):
        """Checked and embedded rows for a model that stands."""
        X = self._check_rows(X, "X", reset=False)
        n_samples = num_samples(X)
        X, y, weight, kept = _drop_weightless(X, y, sample_weight, "sample_weight", n_samples)
        Z = self._embed(X, "X")
        codes, values = self._model.target.encode(y, len(weight), "y")
        return _Chunk(Rows(Z, codes, values, weight, kept), kept, n_samples)

    # ------------------------------------------------------------------ output

    def _publish(self, sample_weight):
        model = self._model
        self.sample_weight_ = sample_weight
        self.potentials_ = like(model.potentials, sample_weight)
        self.objective_ = model.objective
        self.n_iter_ = model.n_iter
        self.cost_scale_ = model.cost_scale
        self.reg_ = model.reg
        self.label_reliability_ = model.reliability
        self.effective_sample_size_ = effective_sample_size(sample_weight)
        mass = model.group_mass[model.groups]
        self.class_mass_ = like(mass / mass.sum(), sample_weight)
        self.__dict__.pop("classes_", None)
        names = model.target.group_names()
        if model.target.kind == "classes":
            self.classes_ = model.target.labels[model.groups]
        elif names:
            self.classes_ = [names[group] for group in model.groups]
        if self.verbose:
            print(  # noqa: T201 (verbose is asked for)
                f"[{type(self).__name__}] {len(sample_weight)} rows, {len(model.potentials)} columns: "
                f"reg {self.reg_:.3g}, objective {self.objective_:.4g}, {self.n_iter_} iteration(s), effective "
                f"sample size {self.effective_sample_size_:.1f}"
            )


def _squares_leave_float32(Z):
    """Whether rows are float32 of a scale whose squares, or their inverse, are not: they are measured in float64."""
    if not (issparse(Z) or isinstance(Z, np.ndarray)) or Z.dtype != np.float32 or not Z.shape[1]:
        return False
    peak = max(abs(Z.max()), abs(Z.min()))
    return bool(peak > 1e15 or 0 < peak < 1e-12)


class _Chunk:
    """Rows with weight, and where they stand among the rows given."""

    def __init__(self, rows, kept, n_given):
        self.rows, self.kept, self.n_given = rows, kept, n_given

    def scatter(self, values):
        """Values of all rows given, in the library and dtype of the rows, zero for those without weight."""
        dense = self.rows.Z.data if issparse(self.rows.Z) else self.rows.Z
        values = like(values, dense) if isinstance(values, np.ndarray) else values
        if self.kept is None:
            return values
        out = like(np.zeros((self.n_given, *values.shape[1:])), dense)
        out[self.kept] = values
        return out


def _drop_weightless(X, y, weight, name, n_samples):
    """Rows of positive weight, their labels and weights, and their indices (None: all of them)."""
    if weight is None:
        return X, y, np.ones(n_samples), None
    weight = check_weights(weight, name, n_samples)
    if (weight > 0).all():
        return X, y, weight, None
    kept = np.flatnonzero(weight > 0)
    y = None if y is None else safe_indexing(y, kept)
    return safe_indexing(X, kept), y, weight[kept], kept


def ot_sample_weight(X, y=None, X_meta=None, y_meta=None, *, sample_weight=None, sample_weight_meta=None, **params):
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
    **params : dict
        Parameters of :class:`OTSampleWeighter`.

    Returns
    -------
    sample_weight : ndarray of shape (n_samples,)
        Weights, with the sum of the given ``sample_weight`` (mean 1 without).

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
    >>> X_meta, y_meta = [[0.0, 1.0], [1.0, 0.0]], [0, 1]
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
    )
