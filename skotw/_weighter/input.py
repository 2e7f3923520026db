"""The checks of both sets: what was given becomes one value, checked and embedded.

Nothing here writes to an estimator, so that an error leaves it as it was.
"""

from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import is_array_api_obj
from scipy.sparse import issparse
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from skotw._compat import num_samples, safe_indexing
from skotw._transport.arrays import like, like_rows
from skotw._transport.blocks import Block, Partition, for_blocks
from skotw._transport.rows import reference_of
from skotw._validation import check_index, check_weights, is_plain, named, on_host

from .compute import compute_of
from .confidence import Confidence
from .containers import Container, has_one_dimension, host_rows, is_pair, is_text, number_rows
from .embedding import embed, embed_lazily, fit_embedding, float_dtypes
from .feature_cost import GEMM_METRICS
from .frames import column_names, frame_values, is_frame
from .label_precision import label_precision
from .labels import Target, target_kind
from .sets import Meta, Rows
from .settings import Settings
from .supervised import OutOfFold, SupervisedEmbedding
from .verified import Verified

__all__ = ["Chunk", "Given", "Input", "Intake", "check_chunk", "check_sets", "check_settings", "check_trusted_once"]

# Rows of which models are asked at once: a part of them all, so that threads end together, but within these bounds.
_PARTS_TOLD = 8
_FEWEST_TOLD, _MOST_TOLD = 4096, 2**14


@dataclass(frozen=True, eq=False)
class Given:
    """Rows, labels and weights as they came."""

    X: object
    y: object = None
    X_meta: object = None
    y_meta: object = None
    sample_weight: object = None
    sample_weight_meta: object = None
    y_verified: object = None


# Number and names of features are scikit-learn's to check, which keeps them on an estimator and names its class.
_Keeper = type("OTSampleWeighter", (BaseEstimator,), {})


@dataclass(frozen=True, eq=False)
class Intake:
    """How rows are checked and embedded: those of either set, and those that come later.

    Attributes
    ----------
    settings : Settings
    features : dict or None
        ``n_features_in_`` and ``feature_names_in_`` of the training rows.
    embedding : transformer or None
        Fitted; what the models take, where there are some.
    widen : bool
        Whether embedded float32 rows are measured in float64.
    container : Container or None
        What the training rows came in.
    out_of_fold : OutOfFold or None
        Models of the labels, where they take part.
    confidence : Confidence or None
        For ``prior="confidence"``.
    """

    settings: Settings
    features: dict | None = None
    embedding: object = None
    widen: bool = False
    container: Container | None = None
    out_of_fold: OutOfFold | None = None
    confidence: Confidence | None = None

    @property
    def whole_embedding(self):
        """From rows as they come to rows as distances are measured between them."""
        return SupervisedEmbedding.of(self.embedding, self.out_of_fold) if self.settings.supervised else self.embedding

    def meet(self, X):
        """Training rows, checked, and the intake that knows their features."""
        container = Container.of(X)
        X, features = self._check(X, "X", 1)
        return replace(self, features=features, container=container), X

    def check(self, X, name, least=1):
        """Rows as the embedding takes them; arrays are checked here for the embeddings that are ours."""
        return self._check(X, name, least)[0]

    def fit(self, X, y, sample_weight, kept=None, *, lazily=False):
        """The intake with its embedding fitted to training rows, and those rows embedded, ``lazily`` where they can."""
        fitted = self
        if self.settings.metric != "precomputed":
            fitted = replace(self, embedding=self._fit_embedding(X, y, sample_weight))
        if lazily and self.settings.metric in GEMM_METRICS:
            Z = embed_lazily(fitted.embedding, X)
            if Z is not None:
                return fitted, Z
        Z = fitted.embed(X, "X", kept)
        if self.settings.asks_models:
            return fitted, Z
        if self.settings.metric in ("euclidean", "l2", "sqeuclidean") and _squares_leave_float32(Z):
            return replace(fitted, widen=True), Z.astype(np.float64)
        return fitted, Z

    def embed(self, X, name, kept=None):
        """Rows as distances are measured between them; ``kept`` says where they stood among those given."""
        metric = self.settings.metric
        if self.settings.learner is not None:
            return X  # it takes rows of any kind
        if metric == "precomputed" and not (X.min() >= 0 and np.isfinite(X.max())):  # each NaN where any cost is
            raise ValueError(
                f"metric='precomputed' takes costs that are finite and at least 0, and some in {name} are not. Drop or "
                "change such rows."
            )
        Z = embed(self.embedding, X, name, allow_nan=metric == "nan_euclidean", kept=kept)
        return Z.astype(np.float64) if self.widen else Z

    def with_models(self, rows, meta):
        """The intake with models of the labels, fitted to the rows and to the meta samples."""
        settings, codes = self.settings, meta.target.meta_codes
        n_threads = compute_of(settings.n_jobs).n_threads
        rng = check_random_state(0 if settings.random_state is None else settings.random_state)
        sets = host_rows(rows.Z), host_rows(meta.Z)
        both = (*sets, rows.codes, codes, rows.weight, meta.weight)
        models = OutOfFold.fit(settings.learner, *both, n_threads, rng)
        confidence = None
        if settings.prior == "confidence":
            confidence = Confidence.fit(settings.learner, *both, models, rng)
        return replace(self, out_of_fold=models, confidence=confidence)

    def measured(self, rows, told=None):
        """Rows as distances are measured between them, with the belief in their labels.

        ``told`` is what :meth:`told` has of them, where it has been asked already.
        """
        if self.out_of_fold is None:
            return rows
        told = self.told(host_rows(rows.Z)) if told is None else told
        beliefs = None if self.confidence is None else told[1:]
        return replace(rows, Z=self._roots(told[0], rows.Z), beliefs=beliefs)

    def told(self, rows):
        """Class probabilities of rows (n, n_classes), and after them what :class:`Confidence` has of the rows."""
        n, config = num_samples(rows), get_config()
        told = np.empty((1 if self.confidence is None else 4, n, self.out_of_fold.seen.shape[1]))

        def tell(block, work=None):
            some = rows if block.n_rows == n else rows[block.rows]
            with config_context(**config):  # which threads do not share
                told[0, block.rows] = probabilities = self.out_of_fold.probabilities(some)
                if self.confidence is not None:
                    told[1:, block.rows] = self.confidence.of_labels(some, probabilities)

        if self.settings.learner is None:
            at_a_time = min(max(-(-n // _PARTS_TOLD), _FEWEST_TOLD), _MOST_TOLD)
            for_blocks(tell, Partition.of([n], at_a_time), compute_of(self.settings.n_jobs), np)
        else:  # the user's, with threads of its own
            tell(Block(0, 0, n))
        return told

    def measured_sets(self, rows, meta):
        """The same of both sets, and precision and standard error of every label."""
        Z, Z_meta, meta_codes = host_rows(rows.Z), host_rows(meta.Z), meta.target.meta_codes
        told, told_meta = self.told(Z), self.out_of_fold.probabilities(Z_meta)
        numbers = (Z, Z_meta) if self.settings.learner is None else (None, None)  # which takes rows of any kind
        precision = label_precision(
            *numbers, rows.codes, meta_codes, rows.weight, meta.weight, told[0], told_meta
        )  # fmt: skip
        return self.measured(rows, told), replace(meta, Z=self._roots(told_meta, meta.Z)), precision

    def _roots(self, probabilities, Z):
        """Square roots in the library and dtype of rows, where they are an array."""
        if not self.settings.supervised:
            return Z
        roots = np.sqrt(probabilities)
        if self.settings.learner is not None:
            # rows come as they are: of tensors weights are such where scikit-learn is told to keep them
            kept = is_array_api_obj(Z) and get_config()["array_api_dispatch"] and not isinstance(Z, np.ndarray)
            return like(roots, Z[..., 0] * 1.0) if kept else roots
        return like(roots, Z.data if issparse(Z) else Z)

    def _check(self, X, name, least):
        if self._takes_as_it_is(X, least):
            return X, self.features or {"n_features_in_": X.shape[1]}
        keeper, reset = _Keeper(), self.features is None
        vars(keeper).update(self.features or {})
        ours, precomputed = self.settings.embeds_by_itself, self.settings.metric == "precomputed"
        reads_frames = ours and self.settings.embedding is not None and not precomputed
        texts = ours and self.settings.supervised and is_text(X)
        # then it has the columns of the training rows, as the container brings them
        known = self.container is not None and self.container.kind == "frame" and is_frame(X) and not precomputed
        if is_frame(X) and not known:
            column_names(X)  # each of which there must be once
        if self.container is not None and not precomputed:
            X = self.container.bring(X, name, needs_frame=reads_frames)
        X = on_host(X) if isinstance(X, np.ma.MaskedArray) else X
        if not (ours or precomputed) or (reads_frames and is_frame(X)) or texts:
            if not known:
                validate_data(keeper, X, reset=reset, skip_check_array=True)
            if num_samples(X) < least:
                raise ValueError(f"{name} has 0 sample(s), while a minimum of {least} is required.")
            return X, vars(keeper)
        if not is_frame(X):
            X = number_rows(X, name)
        rows = number_rows(frame_values(X), name) if is_frame(X) else X
        checks = {"accept_sparse": "csr", "dtype": float_dtypes(rows), "ensure_all_finite": False}
        checks["ensure_min_samples"] = least
        if name == "X" and not is_frame(X):
            return validate_data(keeper, rows, reset=reset, **checks), vars(keeper)
        validate_data(keeper, X, reset=reset, skip_check_array=True)
        return check_array(rows, **checks, input_name=name), vars(keeper)

    def _takes_as_it_is(self, X, least):
        """Whether the checks below would find nothing to change or to refuse."""
        if not (is_plain(X, 2) and len(X) >= least and self.settings.embeds_by_itself):
            return False
        of_array = self.container is None or self.container.kind == "array"
        return of_array and (self.features is None or self.features == {"n_features_in_": X.shape[1]})

    def _fit_embedding(self, X, y, sample_weight):
        settings = self.settings
        if settings.learner is not None:
            return None
        return fit_embedding(settings.embedding, X, y, sample_weight, settings.random_state, settings.n_jobs)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Rows with weight, and where they stand among the rows given (``kept`` None: all of them)."""

    rows: Rows
    kept: np.ndarray | None
    n_given: int

    @property
    def reference(self):
        """An array of the rows' library, dtype and device."""
        return reference_of(self.rows.Z)

    def scatter(self, values):
        """Values of all rows given, in the library and dtype of the rows, zero for those without weight."""
        values = like(values, self.reference) if isinstance(values, np.ndarray) else values
        if self.kept is None:
            return values
        out = like(np.zeros((self.n_given, *values.shape[1:])), self.reference)
        out[self.kept] = values
        return out


@dataclass(frozen=True, eq=False)
class Input:
    """Both sets, checked against each other and embedded.

    Attributes
    ----------
    intake : Intake
        For rows that come later.
    target : Target
        Of the meta samples, or of the training rows where there are none.
    chunk : Chunk
        The training rows; of a stream the first of them.
    meta : Meta or None
        None where class prototypes of the training rows are to step in.
    precision : tuple of two ndarrays of shape (n_groups,), or None
        Precision of every label and its standard error, where models told it.
    """

    intake: Intake
    target: Target
    chunk: Chunk
    meta: Meta | None
    precision: tuple[np.ndarray, np.ndarray] | None = None


def check_settings(settings):
    """Refuse combinations of parameters that make no sense."""
    if settings.metric == "precomputed":
        if settings.supervised or not settings.embeds_by_itself:
            raise ValueError("metric='precomputed' has no rows to embed: leave embedding at its default.")
        if settings.n_prototypes is not None:
            raise ValueError(
                "metric='precomputed' has no rows to average: leave n_prototypes at None, and give the "
                "costs to the prototypes instead."
            )
        if settings.prior == "confidence":
            raise ValueError(
                "metric='precomputed' has no rows for prior='confidence' to learn from: use prior='balanced'."
            )
    if settings.solver == "gradient" and settings.label_cost == "hard":
        raise ValueError("solver='gradient' needs finite costs: use label_cost='auto', or solver='exact'.")


def check_sets(given, intake, *, stream=False):
    """Check the two sets against each other, and settle how later rows are taken.

    Parameters
    ----------
    given : Given
    intake : Intake
        Knows the settings, and nothing yet of any rows.
    stream : bool
        More rows will come, of other classes perhaps.

    Returns
    -------
    Input
    """
    settings = intake.settings
    check_settings(settings)
    _check_given(given, settings)
    verified = Verified.of(given)
    intake, X_given = intake.meet(given.X)
    weight, weight_meta = given.sample_weight, given.sample_weight_meta
    if verified is not None:
        weight, weight_meta = verified.weights(weight)
    X, y, weight, kept = _drop_weightless(X_given, given.y, weight, "sample_weight")
    if len(weight) < 2:
        raise ValueError(
            f"Found {len(weight)} row(s) with a positive weight; n_samples=1 has nothing to be weighed against, and a "
            "minimum of 2 is required. Pass more rows, or larger weights in sample_weight."
        )
    alone = settings.metric != "precomputed" and given.X_meta is None and verified is None
    y_reference = y if alone else given.y_meta if verified is None else verified.labels
    name = "y" if alone else "y_meta" if verified is None else "y_verified"
    kind = None if y_reference is None else target_kind(y_reference, settings.target_type, name)
    _check_kind(kind, settings, alone)
    # prototypes, streams and models look at all rows
    lazily = not (alone or stream or settings.asks_models)
    intake, Z = intake.fit(X, y, None if np.all(weight == weight[0]) else weight, kept, lazily=lazily)
    by_cell = settings.prior != "uniform" or settings.n_prototypes is not None
    if alone:
        target = Target.of(y, len(weight), settings.target_type, by_cell, name)
        meta = None
    else:
        if verified is None:
            Z_meta, y_meta, meta_weight = _meta_rows(given, intake, Z)
        else:
            Z_meta, y_meta, meta_weight = _reviewed_rows(verified, X_given, weight_meta, intake, Z)
        target = Target.of(y_meta, len(meta_weight), settings.target_type, by_cell, name)
        meta = Meta(Z_meta, target, meta_weight)
    codes, values = target.encode(y, len(weight), "y")
    n_classes = target.n_groups if stream else np.count_nonzero(np.bincount(codes))
    if kind == "classes" and n_classes < 2:
        raise ValueError(
            f"y has one class, {named(target.labels[codes[:1]])}. Weights between classes need two or more. For "
            "weights from the features alone leave out y and y_meta."
        )
    rows, precision = Rows(Z, codes, values, weight, kept), None
    if settings.asks_models:
        intake = intake.with_models(rows, meta)
        rows, meta, precision = intake.measured_sets(rows, meta)
        if settings.learner is not None:  # which takes each set in its own library
            meta = replace(meta, Z=like_rows(meta.Z, rows.Z))
    return Input(intake, target, Chunk(rows, kept, num_samples(given.X)), meta, precision)


def check_chunk(given, intake, target):
    """Rows for a model that stands.

    Parameters
    ----------
    given : Given
        Without a meta set.
    intake : Intake
    target : Target

    Returns
    -------
    Chunk
    """
    check_index(X=given.X, y=given.y, sample_weight=given.sample_weight)
    X = intake.check(given.X, "X")
    X, y, weight, kept = _drop_weightless(X, given.y, given.sample_weight, "sample_weight")
    Z = intake.embed(X, "X", kept)
    codes, values = target.encode(y, len(weight), "y")
    rows = intake.measured(Rows(Z, codes, values, weight, kept))
    return Chunk(rows, kept, num_samples(given.X))


def _check_given(given, settings):
    """Which of the sets were given, and whether that makes sense."""
    X_meta, y, y_meta = given.X_meta, given.y, given.y_meta
    check_index(X=given.X, y=y, sample_weight=given.sample_weight, y_verified=given.y_verified)
    if given.y_verified is not None:
        check_trusted_once(given)
        if settings.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' takes costs to trusted rows that are not in X. Leave the reviewed rows out of "
                "X, and pass their labels as y_meta in place of y_verified."
            )
        return
    if settings.metric != "precomputed":
        check_index(X_meta=X_meta, y_meta=y_meta, sample_weight_meta=given.sample_weight_meta)
    if is_pair(X_meta):
        raise ValueError("X_meta is a pair of rows and labels. Pass them apart: X_meta=X_meta, y_meta=y_meta.")
    if X_meta is not None and has_one_dimension(X_meta):
        raise ValueError("X_meta has one dimension; trusted rows have two. Did you mean sample_weight=?")
    if settings.metric == "precomputed":
        if (y is None) != (y_meta is None):
            raise ValueError("metric='precomputed' needs y_meta, the labels of X's columns, together with y.")
        return
    if X_meta is not None and y_meta is None and y is not None:
        raise ValueError("X_meta was given without y_meta: pass the labels of the trusted rows.")
    if X_meta is None and y_meta is not None:
        raise ValueError("y_meta was given without X_meta: pass the trusted rows themselves.")
    if X_meta is None and given.sample_weight_meta is not None:
        raise ValueError(
            "sample_weight_meta was given without X_meta and y_meta. Pass the trusted rows and their labels, or leave "
            "it out."
        )
    if X_meta is None and y is None:
        raise ValueError(
            "OTSampleWeighter requires y to be passed, but the target y is None. Pass y, or X_meta for weights from "
            "the features alone."
        )


def check_trusted_once(given):
    """Refuse trusted rows beside ``y_verified``, which says all about them, and ``y_verified`` without y.

    Raises
    ------
    ValueError
    """
    if any(part is not None for part in (given.X_meta, given.y_meta, given.sample_weight_meta)):
        raise ValueError(
            "The trusted rows came twice, as y_verified and as X_meta and y_meta. Pass one of the two. To use both, "
            "append X_meta to X, and y_meta to y and to y_verified."
        )
    if given.y is None:
        raise ValueError("y_verified was given without y. Pass y, the labels of all rows as they came.")


def _check_kind(kind, settings, alone):
    """Whether the kind of labels has what the settings ask for; ``alone``: without a meta set."""
    if settings.asks_models and (alone or kind != "classes"):
        _refuse_for_models(kind, settings, alone)
    if kind == "continuous":
        if alone:
            raise ValueError(
                "Unknown label type: continuous. A continuous target has no classes whose prototypes could "
                "stand in for trusted rows. Pass X_meta and y_meta, or class labels."
            )
        if settings.n_prototypes is not None:
            raise ValueError("n_prototypes needs classes; leave it at None for a continuous target.")
    if kind == "columns" and settings.label_cost == "hard":
        raise ValueError(
            "label_cost='hard' moves mass within a class, and needs one column of class labels. Here there are several "
            "columns. Join them into one label per row, as in ['|'.join(map(str, row)) for row in y], and likewise in "
            "y_meta. Or use label_cost='auto'."
        )
    if (kind == "continuous" or kind is None) and settings.label_cost == "hard":
        raise ValueError(
            "label_cost='hard' moves mass within a class, and needs one column of class labels. Pass class labels, or "
            "use label_cost='auto'."
        )
    if (kind == "continuous" or kind is None) and not isinstance(settings.class_mass, str):
        raise ValueError("class_mass by class needs class labels; use 'balanced' or 'meta'.")


def _refuse_for_models(kind, settings, alone):
    """Say what the models of the labels lack."""
    asks = "A supervised embedding" if settings.supervised else "prior='confidence'"
    usual = [
        f"{name}={value!r}"
        for name, value, asked in (
            ("embedding", "scale", settings.supervised),
            ("prior", "balanced", settings.prior == "confidence"),
        )
        if asked
    ]
    usual = f"leave {' and '.join(usual)}, the default{'s' if len(usual) > 1 else ''}"
    if alone:
        raise ValueError(f"{asks} needs trusted rows. Pass X_meta and y_meta, or y_verified. To do without, {usual}.")
    if kind is None:
        raise ValueError(f"{asks} needs class labels. Pass y and y_meta. For weights from the features alone, {usual}.")
    held = "continuous numbers" if kind == "continuous" else "several label columns"
    raise ValueError(f"{asks} needs one column of class labels, and the labels are {held}. For such labels {usual}.")


def _meta_rows(given, intake, Z):
    """Embedded trusted rows, their labels and weights, without weightless ones."""
    X_meta, y_meta, weight = given.X_meta, given.y_meta, given.sample_weight_meta
    if intake.settings.metric == "precomputed":
        Z_meta, n_meta = _meta_costs(given, intake, Z), Z.shape[1]
        if weight is None:
            return Z_meta, y_meta, np.ones(n_meta)
        weight = check_weights(weight, "sample_weight_meta", n_meta)
        if not (weight > 0).all():
            raise ValueError(
                "metric='precomputed' takes positive sample_weight_meta: drop the columns of X whose weight is zero."
            )
        return Z_meta, y_meta, weight
    if num_samples(X_meta) == 0:
        raise ValueError("There are no trusted rows: X_meta has 0 sample(s), and a minimum of 1 is required.")
    X_meta = intake.check(X_meta, "X_meta")
    n_meta = num_samples(X_meta)
    if y_meta is not None and num_samples(y_meta) != n_meta:
        raise ValueError(
            f"y_meta has {num_samples(y_meta)} labels for the {n_meta} rows of X_meta; it needs one per row."
        )
    X_meta, y_meta, weight, kept = _drop_weightless(X_meta, y_meta, weight, "sample_weight_meta")
    Z_meta = intake.embed(X_meta, "X_meta", kept)
    if intake.settings.learner is not None:
        return Z_meta, y_meta, weight
    if Z_meta.shape[1] != Z.shape[1]:
        raise ValueError(
            f"X_meta has {Z_meta.shape[1]} features after the embedding, and X has {Z.shape[1]}. The transformer given "
            "as embedding must make as many of both."
        )
    return like_rows(Z_meta, Z if issparse(Z) else reference_of(Z)), y_meta, weight


def _reviewed_rows(verified, X, weight, intake, Z):
    """The same of rows of X that were reviewed."""
    trusted = np.flatnonzero(weight > 0)
    rows = verified.rows[trusted]
    Z_meta = intake.embed(safe_indexing(X, rows), "X", rows)
    Z_meta = Z_meta if intake.settings.learner is not None else like_rows(Z_meta, Z if issparse(Z) else reference_of(Z))
    return Z_meta, verified.labels[trusted], weight[trusted]


def _meta_costs(given, intake, Z):
    """Costs among the meta samples, which only the reliability needs; None without."""
    n_meta = Z.shape[1]
    if given.y_meta is not None and num_samples(given.y_meta) != n_meta:
        raise ValueError(
            f"With metric='precomputed' X must have one column per trusted row: it has {n_meta}, and "
            f"y_meta has {num_samples(given.y_meta)} labels."
        )
    if given.X_meta is None:
        return None
    Z_meta = intake.embed(intake.check(given.X_meta, "X_meta"), "X_meta")
    if Z_meta.shape[0] != n_meta:
        raise ValueError(
            f"With metric='precomputed' X has the costs to {n_meta} trusted rows, so X_meta must have shape "
            f"{(n_meta, n_meta)}, the costs among them. It has shape {tuple(Z_meta.shape)}."
        )
    return Z_meta


def _drop_weightless(X, y, weight, name):
    """Rows of positive weight, their labels and weights, and their indices (None: all of them)."""
    n_samples = num_samples(X)
    if weight is None:
        return X, y, np.ones(n_samples), None
    weight = check_weights(weight, name, n_samples)
    if (weight > 0).all():
        return X, y, weight, None
    kept = np.flatnonzero(weight > 0)
    y = None if y is None else safe_indexing(y, kept)
    return safe_indexing(X, kept), y, weight[kept], kept


def _squares_leave_float32(Z):
    """Whether rows are float32 of a scale whose squares, or their inverse, are not: they are measured in float64."""
    if not (issparse(Z) or isinstance(Z, np.ndarray)) or Z.dtype != np.float32 or not Z.shape[1]:
        return False
    peak = max(abs(Z.max()), abs(Z.min()))
    return bool(peak > 1e15 or 0 < peak < 1e-12)
