"""Sample weights for dask arrays and data frames, which no machine holds at once: needs dask (``skotw[dask]``)."""

try:
    import dask
    import dask.array as da
    import dask.dataframe as dd
    import pandas as pd
    from dask.dataframe.dispatch import concat
except ImportError as error:
    raise ImportError(
        "skotw.dask needs dask with its arrays and data frames, which are an extra: pip install skotw[dask], or pip "
        "install '.[dask]' in a checkout."
    ) from error

from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skotw._compat import Interval, fit_context, num_samples, safe_indexing
from skotw._typing import ArrayLike, MatrixLike, RandomState
from skotw._validation import (
    check_index,
    check_weights,
    clean_labels,
    set_all_or_none,
    takes_no,
    unchanged_on_error,
)
from skotw._weighter.containers import Container
from skotw._weighter.embedding import embed
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.input import Given, check_chunk
from skotw._weighter.labels import target_kind
from skotw._weighter.model import Stream
from skotw._weighter.settings import Settings, can_stream, is_supervised

__all__ = ["DaskSampleWeighter"]

_REVIEWED_ROWS = (
    "Pass the rows that were reviewed, and their right labels, as X_meta and y_meta. Give them the weight 0 in "
    "sample_weight, so that they do not count as training rows as well."
)
_FAN_IN = 8  # parts that one task adds up
_LEAST_PER_LABEL = 30  # rows of a label that the sample aims at, however many labels there are


class DaskSampleWeighter(BaseEstimator):
    """Learn the weights of training rows that dask holds in chunks, on one machine or a cluster.

    It is :class:`~skotw.OTSampleWeighter` for dask collections. ``fit`` computes with the scheduler or cluster that
    dask is set to. The trusted rows and a sample of the training rows, both in memory, settle the embedding,
    ``cost_scale``, ``reg="auto"`` and the reliability of the labels. Then every chunk adds one number per class and
    trusted row. Nothing else travels. The weights are lazy, in the same chunks as the rows. The guide has more
    (:doc:`/guide/clusters`).

    Parameters
    ----------
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned. None is ``OTSampleWeighter()``.
    sample_size : int, default=50_000
        About how many rows the sample has. They must fit into memory. Rare labels are drawn more often, and count for
        less in turn. Rows without weight are not drawn. Where there are no more rows than this, all are taken, and get
        the weights of :meth:`skotw.OTSampleWeighter.fit`.
    random_state : int, RandomState instance or None, default=None
        Seeds the draw of the sample.

    Attributes
    ----------
    sample_weight_ : dask Array of shape (n_samples,), or dask Series
        The weights, with the sum of the given ``sample_weight`` (mean 1 without). For an array X they are an array in
        the same chunks. For a data frame X they are a series with its index and partitions. They are computed when
        they are asked for, from the rows as they are then.
    weighter_ : OTSampleWeighter
        The fitted weighter, which weighs rows in memory and needs no dask. Its ``label_reliability_`` and ``reg_``
        come from the sample.

    See Also
    --------
    skotw.OTSampleWeighter.merge : The same for whatever else runs on several machines.

    Notes
    -----
    Three passes read the chunks anew, unless they are persisted. One draws the sample and one learns, in ``fit``. One
    weighs, when the weights are computed. Before them ``y`` and ``sample_weight`` alone are read and counted, so that
    every chunk hands on its share of the sample and no more. One thread learns a chunk unless the weighter has
    ``n_jobs``. Tasks hold a copy of their chunk. Tasks that are run again, on another worker perhaps, give the same
    numbers bit for bit.

    Progress is dask's: the dashboard of a cluster names the tasks ``count``, ``draw``, ``learn`` and ``weigh``, and
    ``dask.diagnostics.ProgressBar`` shows a bar elsewhere.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from sklearn.datasets import make_classification
    >>> from skotw.dask import DaskSampleWeighter
    >>> X, y = make_classification(1020, weights=[0.9], class_sep=2.0, random_state=0)
    >>> X, y, X_meta, y_meta = X[:1000], y[:1000], X[1000:], y[1000:]
    >>> X, y = da.from_array(X, chunks=(250, -1)), da.from_array(y, chunks=250)
    >>> w = DaskSampleWeighter().fit(X, y, X_meta, y_meta).sample_weight_
    >>> w
    dask.array<weigh, shape=(1000,), dtype=float64, chunksize=(250,), chunktype=numpy.ndarray>
    >>> bool(w[y == 1].sum().compute() > 400)  # a tenth of the rows, and nearly half of the weight
    True
    """

    _parameter_constraints = {
        "weighter": [OTSampleWeighter, None],
        "sample_size": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        weighter: OTSampleWeighter | None = None,
        *,
        sample_size: int = 50_000,
        random_state: RandomState = None,
    ) -> None:
        self.weighter = weighter
        self.sample_size = sample_size
        self.random_state = random_state

    @takes_no("y_verified", remedy=_REVIEWED_ROWS)
    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        *,
        sample_weight: Any = None,
        sample_weight_meta: ArrayLike | None = None,
    ) -> Self:
        """Learn how to weigh the training rows, and leave the weights to be computed.

        Parameters
        ----------
        X : dask Array or dask DataFrame of shape (n_samples, n_features)
            Training rows.
        y : the same kind of collection, of shape (n_samples,) or (n_samples, n_outputs), default=None
            Training labels: an array with an array, and a series or frame with a frame.
        X_meta : array-like, sparse matrix or data frame of shape (n_meta, n_features), default=None
            Trusted rows. They are few, so a dask collection of them is computed. Without them class prototypes of the
            sample take their place.
        y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Labels of the trusted rows.
        sample_weight : the same kind of collection as ``y``, of shape (n_samples,), default=None
            How much each row counts beforehand: weight k is k copies of the row, 0 is none.
        sample_weight_meta : array-like of shape (n_meta,), default=None
            How much each trusted row counts within its class.

        Returns
        -------
        self : DaskSampleWeighter
            Fitted weighter. The lazy weights are in ``sample_weight_``.

        Raises
        ------
        TypeError
            If X, y or ``sample_weight`` are no dask collections, or not of one kind, or reviewed rows come as
            ``y_verified``.
        ValueError
            As :meth:`skotw.OTSampleWeighter.fit`, with the number of the chunk where one is to blame. Also if the
            chunks of X, y and ``sample_weight`` do not pair up. Also if ``reg_prior > 0``, ``max_weight``,
            ``solver="gradient"``, ``embedding="supervised"`` or ``prior="confidence"`` ask for all rows at once. After
            any error the weighter is as it was before.

        Warns
        -----
        UserWarning
            As :meth:`skotw.OTSampleWeighter.fit`, of the sample.
        """
        weighter = OTSampleWeighter() if self.weighter is None else clone(self.weighter)
        _refuse_all_at_once(weighter)
        chunks = _Chunks.of(X, y, sample_weight)
        X_meta, y_meta, sample_weight_meta = dask.compute(X_meta, y_meta, sample_weight_meta, traverse=False)
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        by_label = y is not None and _have_labels(y_meta, weighter.target_type)
        settings = Settings.of(weighter)
        finite = settings.embeds_by_itself and settings.metric not in ("precomputed", "nan_euclidean")
        plan = _Plan(seed, by_label, finite)
        with unchanged_on_error(self):
            sample = _sample(chunks, plan, self.sample_size)
            if sample is None:
                raise ValueError(
                    "No row counts: all chunks of X are empty, or sample_weight is zero for every row. At least two "
                    "rows must have a positive weight."
                )
            settled = clone(weighter).set_params(verbose=0)  # one line is for the whole fit
            with _naming_the_sample(num_samples(sample.X)):
                settled.fit(
                    sample.X,
                    sample.y,
                    X_meta,
                    y_meta,
                    sample_weight=sample.weight_of_all(),
                    sample_weight_meta=sample_weight_meta,
                )
            intake, model = settled._intake, settled._model
            sums = _total(chunks.tasks(_learn, (intake, _one_thread(model))), _merge)
            fitted = replace(Stream(model.basis, *sums, None).fitted(), reliability=model.reliability)
            weighter._publish(intake, fitted, settled.potentials_)
            self.weighter_ = weighter
            self.sample_weight_ = self._lazy_weights(chunks)
        return self

    def weigh(self, X: Any, y: Any = None, *, sample_weight: Any = None) -> Any:
        """Lazy weights of any rows, seen or not, under the fitted model.

        Parameters
        ----------
        X : dask Array or dask DataFrame of shape (n_samples, n_features)
            Rows. Those in memory are for ``weighter_.weigh``.
        y : the same kind of collection, of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels, where the model was fitted with labels.
        sample_weight : the same kind of collection as ``y``, of shape (n_samples,), default=None
            How much each row counts beforehand.

        Returns
        -------
        weights : dask Array of shape (n_samples,), or dask Series
            On the scale of ``sample_weight_``, and made as it is.

        Raises
        ------
        TypeError
            If X, y or ``sample_weight`` are no dask collections, or not of one kind.
        ValueError
            If their chunks do not pair up. What is wrong within a chunk is told when the weights are computed.
        """
        check_is_fitted(self)
        return self._lazy_weights(_Chunks.of(X, y, sample_weight))

    def set_params(self, **params: Any) -> Self:
        """Set parameters, all of them or none.

        Parameters
        ----------
        **params : dict
            Parameters by name, those of the weighter as ``weighter__name``.

        Returns
        -------
        self : DaskSampleWeighter
            The weighter. What it has learned stays, and does not change with its parameters.

        Raises
        ------
        ValueError
            If a name is unknown, or of a parameter of ``weighter=None``. Nothing is set then.
        """
        return set_all_or_none(self, params, {"weighter": "OTSampleWeighter()"})

    def _lazy_weights(self, chunks):
        model, dtype = _one_thread(self.weighter_._model), np.asarray(self.weighter_.potentials_).dtype
        if chunks.is_frame:
            meta = pd.Series(dtype=dtype, name="sample_weight")
        else:
            meta = np.empty(0, dtype)
        return chunks.map(_weigh, (self.weighter_._intake, model, dtype), meta)


def _refuse_all_at_once(weighter):
    if is_supervised(weighter.embedding):
        raise ValueError(
            "A supervised embedding is learned from all rows at once, and no chunk has them. Leave embedding at its "
            "default, or fit s = OTSampleWeighter(embedding='supervised') to a random sample in memory and pass "
            "embedding=FrozenEstimator(s.embedding_)."
        )
    try:
        can_stream(weighter)
    except AttributeError as error:
        name = str(error).partition("=")[0]
        remedy = "To bound weights, cap those that come out, by dask.array.minimum." if name == "max_weight" else ""
        raise ValueError(
            f"{name}={getattr(weighter, name)!r} needs all rows at once, and no chunk has them. Leave {name} at its "
            f"default. {remedy}".strip()
        ) from error


def _have_labels(y_meta, target_type):
    """Whether labels are such that a sample of rows can be drawn by them."""
    if target_type == "auto" and y_meta is not None:
        target_type = target_kind(y_meta, target_type, "y_meta")
    return target_type != "continuous"


def _one_thread(model):
    """A model for tasks, of which dask runs as many as it has threads for."""
    settings = model.basis.settings
    if settings.n_jobs is not None:
        return model
    return replace(model, basis=replace(model.basis, settings=replace(settings, n_jobs=1)))


# ---------------------------------------------------------------------------------------------
# Chunks


@dataclass(frozen=True, eq=False)
class _Chunks:
    """Rows, labels and weights whose chunks pair up: three arrays, or three data frames.

    A task is a function of (number of the chunk, :class:`Given`, what all tasks share).
    """

    X: Any
    y: Any
    weight: Any

    @classmethod
    def of(cls, X, y, weight):
        if isinstance(X, dd.DataFrame):
            return cls(X, _frame_like(X, y, "y"), _frame_like(X, weight, "sample_weight"))
        if not isinstance(X, da.Array):
            raise TypeError(
                f"X must be a dask Array or a dask DataFrame; got {type(X).__name__}. For rows in memory "
                "use OTSampleWeighter, or make chunks of them by dask.array.from_array."
            )
        if X.ndim != 2:
            raise ValueError(f"X must have two dimensions, rows and features; got {X.ndim}.")
        X = _whole_rows(X)
        return cls(X, _array_like(X, y, "y"), _array_like(X, weight, "sample_weight"))

    @property
    def first(self):
        """The collection whose chunks the others have."""
        return next(part for part in (self.X, self.y, self.weight) if part is not None)

    @property
    def is_frame(self):
        return not isinstance(self.first, da.Array)

    def to_count(self, *, by_label):
        """The labels and weights that tell how many rows count, or what else has as many rows and is read sooner."""
        y = self.y if by_label or self.weight is None else None
        if self.is_frame:
            y = self.X[[]] if y is None and self.weight is None else y  # not len(X), which forgets X.partitions
            # simplify asks files for these columns alone, and joins no partitions
            return _Chunks(None, *(None if part is None else part.simplify() for part in (y, self.weight)))
        return _Chunks(self.X if y is None and self.weight is None else None, y, self.weight)

    def map(self, function, shared, meta):
        """Collection of what a task makes of each chunk, in the same chunks."""
        declared = None if self.X is None else self.X._meta if self.is_frame else self.X.shape[1]
        # one value for all tasks, so that it travels to each worker once
        shared = dask.delayed((function, shared, declared), traverse=False)
        name = function.__name__.removeprefix("_")  # as the dashboard shows it
        if self.is_frame:
            numbers = dd.from_pandas(pd.Series(range(self.first.npartitions)), chunksize=1, sort=False)
            parts = [None if part is None else _as_cut(part) for part in (self.X, self.y, self.weight)]
            return dd.map_partitions(
                _on_partition,
                next(part for part in parts if part is not None),  # whose divisions the result has
                *parts,
                numbers,
                shared,
                meta=meta,
                token=name,
                align_dataframes=False,
                enforce_metadata=False,
            )
        parts = [(self.X, "ij"), (self.y, "ik"), (self.weight, "ik")]
        parts = [(None, None) if part is None else (part, index[: part.ndim]) for part, index in parts]
        parts.append((da.arange(self.first.numblocks[0], chunks=1), "i"))
        values = da.blockwise(
            _on_block,
            "i",
            *(argument for pair in parts for argument in pair),
            shared=shared,
            token=name,
            dtype=meta.dtype,
            meta=meta,
            align_arrays=False,
            concatenate=None,
        )
        # blockwise takes the chunks from the numbers, of which each has one
        return da.Array(values.dask, values.name, chunks=(self.first.chunks[0],), dtype=meta.dtype, meta=meta)

    def tasks(self, function, shared):
        """One delayed value per chunk, in their order."""
        meta = pd.Series(dtype=object) if self.is_frame else np.empty(0, dtype=object)
        return list(np.ravel(self.map(function, shared, meta).to_delayed()))


def _whole_rows(X):
    """An array whose chunks hold whole rows."""
    return X.rechunk({1: -1}) if X.ndim == 2 and X.numblocks[1] > 1 else X


def _array_like(X, values, name):
    """An array with one value or row per row of X, in chunks that pair with those of X."""
    if values is None:
        return None
    if not isinstance(values, da.Array):
        raise TypeError(
            f"X is a dask Array and {name} is of type {type(values).__name__}. Pass a dask Array: "
            f"{name}.to_dask_array() of a dask series, or dask.array.from_array({name}, chunks=X.chunks[0])."
        )
    values, wanted = _whole_rows(values), X.chunks[0]
    if values.ndim > 2:
        raise ValueError(f"{name} must have one dimension, or two; got {values.ndim}.")
    unknown = np.isnan([*values.chunks[0], *wanted]).any()
    if not unknown and values.shape[0] != X.shape[0]:
        raise ValueError(f"{name} has {values.shape[0]} values for the {X.shape[0]} rows of X. It needs one per row.")
    if unknown and len(values.chunks[0]) != len(wanted):
        raise ValueError(
            f"X has {len(wanted)} chunks of rows and {name} has {len(values.chunks[0])}, of sizes that dask does not "
            f"know. Call X.compute_chunk_sizes() and {name}.compute_chunk_sizes() first, so that they can be paired."
        )
    return values if unknown or values.chunks[0] == wanted else values.rechunk({0: wanted})


def _frame_like(X, values, name):
    """A series or frame with one value or row per row of X, in the same partitions."""
    if values is None:
        return None
    if not isinstance(values, dd.Series | dd.DataFrame):
        raise TypeError(
            f"X is a dask DataFrame and {name} is of type {type(values).__name__}. Pass a dask Series, such as a "
            "column of the frame that X comes from, or make X an array by X.to_dask_array(lengths=True)."
        )
    known = X.known_divisions and values.known_divisions
    if values.npartitions != X.npartitions or (known and values.divisions != X.divisions):
        raise ValueError(
            f"X and {name} are cut into partitions differently. Take both from one frame, or cut one like the other: "
            f"{name}.repartition(divisions=X.divisions)."
        )
    return values


def _as_cut(frame):
    """The same partitions, kept from dask's optimiser.

    That joins partitions of files of which few columns are read, by itself in each collection, and those of rows and
    labels would pair no more. Files are read once for both, since what reads them has one name.
    """
    parts = frame.to_delayed(optimize_graph=False)
    return dd.from_delayed(parts, meta=frame._meta, divisions=frame.divisions, verify_meta=False)


def _on_block(X, y, weight, number, shared):
    """A task on one block of each array; a list holds the one block along an axis that the result lacks."""
    function, shared, n_features = shared
    X, y, weight = (part[0] if isinstance(part, list) else part for part in (X, y, weight))
    with _naming_the_chunk(int(number[0])):
        if X is not None and X.shape[1] != n_features:
            raise ValueError(
                f"This chunk of X has {X.shape[1]} features, and X has {n_features} by its shape. Look at what made "
                "the chunk."
            )
        return function(int(number[0]), Given(X, y, sample_weight=weight), shared)


def _on_partition(_, X, y, weight, number, shared):
    """A task on one partition of each frame."""
    function, shared, declared = shared
    number = int(number.iloc[0])
    with _naming_the_chunk(number):
        X = None if X is None else _as_declared(X, declared)
        return function(number, Given(X, y, sample_weight=weight), shared)


def _as_declared(X, declared):
    """A partition with the columns, in their order, that its frame says it has."""
    X = Container.of(declared).bring(X, "X", needs_frame=True)
    numbers = pd.api.types.is_numeric_dtype
    for name, dtype in X.dtypes.items() if len(X) else ():
        if numbers(declared[name].dtype) and not numbers(dtype):
            raise ValueError(
                f"Column {name!r} of this chunk of X holds {dtype}, and X.dtypes says numbers. Correct the meta of "
                "the frame."
            )
    return X


@contextmanager
def _naming_the_chunk(number):
    """Notes on an error in which chunk it happened."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This happened in chunk {number} of X, counted from 0.")
        raise


@contextmanager
def _naming_the_sample(n_rows):
    """Notes on an error that names a row which rows are counted."""
    try:
        yield
    except Exception as error:
        if "row " in str(error):
            error.add_note(f"Rows of X are counted within the sample of {n_rows} rows that was drawn of them.")
        raise


def _total(tasks, merge):
    """What the tasks' results add up to, in a tree; the order of sums, hence every bit, is always the same."""
    while len(tasks) > 1:
        groups = [tasks[i : i + _FAN_IN] for i in range(0, len(tasks), _FAN_IN)]
        tasks = [dask.delayed(merge)(group) for group in groups]
    return tasks[0].compute()


def _has_no_weight(given):
    """Whether no row of the chunk counts, which is an error in a training set and none in a chunk of it."""
    n, weight = num_samples(given.X), given.sample_weight
    for name, values in (("y", given.y), ("sample_weight", weight)):
        if values is not None and num_samples(values) != n:
            raise ValueError(f"{name} has {num_samples(values)} values for the {n} rows of X. It needs one per row.")
    return n == 0 or (weight is not None and not np.any(weight))


# ---------------------------------------------------------------------------------------------
# The sample


@dataclass(frozen=True, eq=False)
class _Plan:
    """How rows are drawn.

    Attributes
    ----------
    seed : int
    by_label : bool
        Whether labels are to have the same number of rows, as far as they have so many.
    finite : bool
        Whether rows of arrays must be finite as they come.
    chances : Series or None
        Chance of a row to be drawn, by label; None before rows are counted.
    """

    seed: int
    by_label: bool
    finite: bool = False
    chances: pd.Series | None = None

    def for_all(self, n_rows, size):
        """The plan under which about ``size`` rows are drawn of ``n_rows`` by label."""
        left, level = float(size), np.inf
        counts = np.sort(n_rows.to_numpy())
        for k, count in enumerate(counts):
            share = left / (len(counts) - k)
            if count > share:
                level = max(share, _LEAST_PER_LABEL)
                break
            left -= count
        return replace(self, chances=np.minimum(1.0, level / n_rows))

    def check(self, X, numbers):
        """Refuse drawn rows while their numbers in the chunk are known."""
        if self.finite and len(numbers) and not isinstance(X, pd.DataFrame):
            embed(None, X, "X", kept=numbers)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Rows drawn from some chunks, in their order.

    Attributes
    ----------
    X : rows
    y : ndarray or None
    weight : ndarray of shape (n,) or None
    chances : ndarray of shape (n,)
        Chance that each row had to be drawn.
    """

    X: Any
    y: np.ndarray | None
    weight: np.ndarray | None
    chances: np.ndarray

    def weight_of_all(self):
        """Weights under which the sample stands for all rows; None where it is all rows, without weights."""
        if self.weight is None and (self.chances == 1.0).all():
            return None
        return (1.0 if self.weight is None else self.weight) / self.chances


def _sample(chunks, plan, size):
    """Rows drawn from all chunks; None where no row counts."""
    n_rows = _rows_by_label(chunks, plan)
    if n_rows is not None:
        plan = plan.for_all(n_rows, size)
    # where no row counts there may still be a chunk to blame
    return _join(dask.compute(*chunks.tasks(_draw, plan), traverse=False))


def _rows_by_label(chunks, plan):
    """Number of rows with weight by label, all under one where labels do not matter; None where there are none.

    Rows themselves are not read, unless there is nothing else to count.
    """
    if not (plan.by_label or chunks.is_frame or chunks.weight is not None or np.isnan(chunks.X.shape[0])):
        return pd.Series({0.0: chunks.X.shape[0]}) if len(chunks.X) else None
    return _total(chunks.to_count(by_label=plan.by_label).tasks(_count, plan), _add_up)


def _count(number, given, plan):
    """Number of rows with weight in one chunk by label; None where there are none.

    Where labels and weights do not pair, nothing is counted: the draw, which knows how many rows there are, refuses
    them.
    """
    weight = given.sample_weight
    n, *others = [num_samples(part) for part in (given.y, weight, given.X) if part is not None]
    if n == 0 or any(other != n for other in others) or (weight is not None and not np.any(weight)):
        return None
    weight = None if weight is None else check_weights(weight, "sample_weight", n)
    labels = clean_labels(given.y, "y") if plan.by_label else np.zeros(n)
    codes, names = _coded(labels if weight is None else labels[weight > 0])
    return pd.Series(np.bincount(codes), names)


def _add_up(counts):
    """Number of rows by label in several parts."""
    counts = [part for part in counts if part is not None]
    if len(counts) < 2:
        return counts[0] if counts else None
    counts = pd.concat(counts)
    return counts.groupby(level=list(range(counts.index.nlevels)), sort=False).sum()


def _coded(labels):
    """Code of each row's label, and the labels in the order of their codes."""
    if labels.ndim == 1:
        codes, names = pd.factorize(labels)
        return codes, pd.Index(names)
    groups = pd.DataFrame(labels).groupby(list(range(labels.shape[1])), sort=False)
    names = groups.size().index
    names.names = [None] * labels.shape[1]  # numbers would be looked up among the labels
    return groups.ngroup().to_numpy(), names


def _draw(number, given, plan):
    """What one chunk has for the sample; None where it has no row that counts."""
    if _has_no_weight(given):
        return None
    X, y, n = given.X, given.y, num_samples(given.X)
    check_index(X=X, y=y, sample_weight=given.sample_weight)
    weight = None if given.sample_weight is None else check_weights(given.sample_weight, "sample_weight", n)
    y = None if y is None else clean_labels(y, "y") if plan.by_label else np.asarray(y)
    codes, names = _coded(y if plan.by_label else np.zeros(n))
    chances = plan.chances.reindex(names).to_numpy()[codes]
    rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(number,)))
    chosen = rng.random(n) < chances
    drawn = np.flatnonzero(chosen if weight is None else chosen & (weight > 0))
    X = safe_indexing(X, drawn)
    plan.check(X, drawn)
    y, weight = (None if values is None else values[drawn] for values in (y, weight))
    return _Sample(X, y, weight, chances[drawn])


def _join(samples):
    """The sample of several chunks, in their order."""
    samples = [sample for sample in samples if sample is not None]
    if not samples:
        return None
    y, weight, chances = (
        None if getattr(samples[0], name) is None else np.concatenate([getattr(sample, name) for sample in samples])
        for name in ("y", "weight", "chances")
    )
    return _Sample(_stacked([sample.X for sample in samples]), y, weight, chances)


def _stacked(parts):
    """Rows of several chunks as one."""
    if isinstance(parts[0], pd.DataFrame):
        return concat(parts, ignore_index=True)  # which unites categories
    return sparse.vstack(parts, format="csr") if sparse.issparse(parts[0]) else np.concatenate(parts)


# ---------------------------------------------------------------------------------------------
# The two passes


def _learn(number, given, shared):
    """What one chunk adds: the sums of weights by group, and the log normalisers by group and column."""
    intake, model = shared
    basis, n_groups = model.basis, model.target.n_groups
    stream = Stream(basis, np.zeros(n_groups), np.full((n_groups, len(basis.columns.weight)), -np.inf), None)
    if _has_no_weight(given):
        intake.check(given.X, "X", least=0)
    else:
        stream = stream.learn(check_chunk(given, intake, model.target).rows)
    return stream.group_weight, stream.log_normalisers


def _merge(parts):
    """What several parts add."""
    weights, normalisers = zip(*parts, strict=True)
    return np.sum(weights, axis=0), np.logaddexp.reduce(normalisers)


def _weigh(number, given, shared):
    """The weights of one chunk."""
    intake, model, dtype = shared
    if _has_no_weight(given):
        intake.check(given.X, "X", least=0)
        weights = np.zeros(num_samples(given.X))
    else:
        chunk = check_chunk(given, intake, model.target)
        weights = chunk.scatter(model.weigh(chunk.rows))
    weights = weights.astype(dtype, copy=False)
    return pd.Series(weights, given.X.index, name="sample_weight") if isinstance(given.X, pd.DataFrame) else weights
