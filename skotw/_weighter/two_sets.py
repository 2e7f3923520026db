"""What looks wrong about a meta set beside its training set: what is refused, and what is legal but seldom meant."""

import numpy as np
from scipy import sparse
from scipy.special import pdtrc

from skotw._compat import num_samples
from skotw._validation import on_host, warn

from .containers import is_records
from .frames import frame_values, is_frame, paired_columns, paired_numbers
from .row_keys import factors, hash_numbers, hash_sparse, mixed

__all__ = [
    "TAKE_THEM_OUT",
    "THROUGH_THE_SAME_STEPS",
    "refuse_other_kinds",
    "warn_far",
    "warn_of_mistakes",
    "warn_repeated",
]

THROUGH_THE_SAME_STEPS = (
    "The trusted rows must go through the same steps as X: build the pipeline with "
    "skotw.make_weighted_pipeline, or put it inside, OTWeightedClassifier(make_pipeline(...)). By hand, transform "
    "X_meta by what was fitted to X."
)
TAKE_THEM_OUT = "Take them out of X, as skotw.meta.balanced_meta_split does."
# A meta set of more than so many rows per training row is no meta set.
_SWAPPED = 10
# Warn when this share of the trusted rows' numbers lies further outside the range of its feature than half that range.
_FAR_SHARE = 0.2
_LEAST_ROWS_FOR_A_RANGE = 20
_MOST_ROWS_FOR_A_RANGE = 2000
# Warn when as many meta rows would be like training rows by chance with less than this probability.
_CHANCE = 1e-3
_ALIKE_UNSEEN = 0.1
_BITS_OF_A_LOOK = 16
# Features among which the one is looked for that tells most rows apart: pixels of images are many.
_MOST_FEATURES = 4096


def refuse_other_kinds(X, X_meta):
    """Refuse sets of which one went through steps that make another kind of rows.

    Raises
    ------
    ValueError
    """
    shapes = [getattr(rows, "shape", ()) for rows in (X, X_meta)]
    if all(len(shape) == 2 for shape in shapes) and shapes[0][1] != shapes[1][1]:
        raise ValueError(f"X_meta has {shapes[1][1]} features and X has {shapes[0][1]}. {THROUGH_THE_SAME_STEPS}")
    if is_frame(X) != is_frame(X_meta) and not (is_frame(X_meta) and isinstance(X, np.ndarray)):
        # bagging, among others, makes arrays of frames
        kinds = ["a data frame" if is_frame(rows) else f"of type {type(rows).__name__}" for rows in (X, X_meta)]
        raise ValueError(f"X is {kinds[0]} and X_meta is {kinds[1]}. {THROUGH_THE_SAME_STEPS}")


def warn_of_mistakes(X, X_meta, *, prototypes_meant, stream=False):
    """Warn of a meta set that is missing or swapped with X, missed the steps of X, or is a part of X.

    Parameters
    ----------
    X, X_meta : rows as they came; ``X_meta`` may be None
    prototypes_meant : bool
        Whether prototypes were asked for.
    stream : bool
        X is but a first chunk.
    """
    if X_meta is None:
        if not prototypes_meant:
            warn(
                "There are no trusted rows. The mean of each class of the training rows, wrong labels included, takes "
                "their place. Pass X_meta and y_meta, trusted rows and their labels. If the means are meant, set "
                "n_prototypes=1."
            )
        return
    n, n_meta = num_samples(X), num_samples(X_meta)
    if n_meta > _SWAPPED * n and not stream:
        warn(
            f"X_meta has {n_meta} rows and X has {n}, though the trusted rows are meant to be the few. Look whether "
            "the sets are swapped: the order is fit(X, y, X_meta, y_meta)."
        )
    X, X_meta = _numbers_of_frames(X, X_meta)
    warn_far(X, X_meta, stream=stream)
    warn_repeated(X, X_meta)


def _numbers_of_frames(X, X_meta):
    """Frames of the same columns, all of them plain numbers, as two arrays; all else as it is."""
    frames = is_frame(X) and is_frame(X_meta) and set(X.columns) == set(X_meta.columns)
    return (paired_numbers(X, X_meta) if frames else None) or (X, X_meta)


# ---------------------------------------------------------------------------------------------
# A meta set that missed the steps through which X went


def warn_far(X, X_meta, *, stream=False, remedy=THROUGH_THE_SAME_STEPS):
    """Warn of a meta set that missed the steps through which X went; with ``stream`` X is but a first chunk."""
    n_samples = num_samples(X)
    if n_samples < _LEAST_ROWS_FOR_A_RANGE:
        return
    share = _far_share(X, X_meta, slice(None, None, -(-n_samples // _MOST_ROWS_FOR_A_RANGE)))
    if share > _FAR_SHARE and n_samples > _MOST_ROWS_FOR_A_RANGE:
        share = _far_share(X, X_meta, slice(None))  # some rows may have missed a rare class that lies apart
    if share > _FAR_SHARE:
        or_so = ", or as if the first chunk were no random part of the rows" if stream else ""
        warn(
            f"{share:.0%} of the numbers of the trusted rows lie far outside the range of the training features. It "
            f"looks as if X had been transformed and X_meta had not{or_so}. {remedy}",
        )


def _far_share(X, X_meta, some):
    """Share of the numbers of the meta set that lie far outside the range of those of some training rows."""
    far, n_values = 0, 0
    for column, meta in _number_pairs(X, X_meta, some):
        column = np.asfortranarray(column)  # of which bounds are found in half the time
        low, high = np.fmin.reduce(column, axis=0), np.fmax.reduce(column, axis=0)
        width = high - low
        varies = np.isfinite(width) & (width > 0)
        outside = ((meta < low - width / 2) | (meta > high + width / 2)) & varies
        far, n_values = far + np.count_nonzero(outside), n_values + len(meta) * np.count_nonzero(varies)
    return far / n_values if n_values else 0.0


def _number_pairs(X, X_meta, some):
    """Float arrays, of some training rows and of the trusted rows, that cover the dense numbers of X."""
    if is_frame(X) and is_frame(X_meta):
        if set(X.columns) == set(X_meta.columns):
            yield from paired_columns(X[some], X_meta, numbers_only=True)
        return
    pair = [_plain_numbers(rows) for rows in (X, X_meta)]
    if all(rows is not None for rows in pair):
        yield tuple(np.asarray(rows, dtype=np.float64) for rows in (pair[0][some], pair[1]))


def _plain_numbers(X):
    """Rows as an array of numbers, where they are one or become one by looking; else None."""
    if type(X) is not np.ndarray:
        if sparse.issparse(X) or is_records(X):
            return None
        X = np.asarray(frame_values(X) if is_frame(X) else on_host(X))
    return X if X.ndim == 2 and X.dtype.kind in "biuf" and X.shape[1] else None


# ---------------------------------------------------------------------------------------------
# Meta rows that are training rows as well


def warn_repeated(X, X_meta, *, rows="rows", remedy=TAKE_THEM_OUT):
    """Warn of meta rows that are training rows too, more than rows of X that repeat each other would explain.

    ``rows`` is what they are called.
    """
    hashed = _hashed(X, X_meta)
    if hashed is None:
        return
    suspects, meta, all_keys = hashed
    repeated = np.isin(meta, suspects).sum()
    if not repeated:
        return
    # Few distinct values per feature make rows alike by chance, and then rows of X are alike as well. Twice as often is
    # granted to the meta rows, whose classes have other shares; beyond that their number is one of rare events. That no
    # rows of X are alike does not mean that none could be, as where few features are all zero.
    counts = np.unique(all_keys(), return_counts=True)[1]
    alike = (counts[counts > 1].sum() + _ALIKE_UNSEEN) / counts.sum()
    if pdtrc(repeated - 1, 2 * alike * len(meta)) < _CHANCE:
        warn(
            f"{repeated} of {len(meta)} trusted {rows} are also training {rows}. They count twice, vouch for their own "
            f"labels, and leak into the test folds of a cross-validation. {remedy}",
        )


def _hashed(X, X_meta):
    """Hashes of the training rows that may be meta rows, of the meta rows, and a way to those of all training rows.

    None for rows that have no hash, and where no training row may be a meta row. Rows of both sets have the same hash
    where they are equal.
    """
    X, X_meta = _numbers_of_frames(X, X_meta)
    if sparse.issparse(X) or sparse.issparse(X_meta):
        if not all(sparse.issparse(rows) or _plain_numbers(rows) is not None for rows in (X, X_meta)):
            return None
        keys = hash_sparse(sparse.csr_array(X))
        return keys, hash_sparse(sparse.csr_array(X_meta)), lambda: keys
    if is_frame(X) and is_frame(X_meta):
        return _hashed_frames(X, X_meta) if set(X.columns) == set(X_meta.columns) else None
    if is_records(X) and is_records(X_meta):
        try:
            keys, meta = (np.array([hash(row) for row in rows]) for rows in (X, X_meta))
        except TypeError:
            return None
        return keys, meta, lambda: keys
    pair = [_plain_numbers(rows) for rows in (X, X_meta)]
    if any(rows is None for rows in pair) or pair[0].shape[1] != pair[1].shape[1]:
        return None
    return _hashed_arrays(*pair)


def _hashed_arrays(X, X_meta):
    X_meta = X_meta.astype(X.dtype) if X.dtype.kind == "f" else X_meta
    # hashing all rows is dear, and most can be told apart by the one feature in which the meta rows differ most
    step = -(-X.shape[1] // _MOST_FEATURES)
    sorted_meta = np.sort(X_meta[:, ::step], axis=0)
    best = int((sorted_meta[1:] != sorted_meta[:-1]).sum(axis=0).argmax())
    suspects = _is_among(X[:, best * step].copy(), sorted_meta[:, best]).nonzero()[0]
    return (hash_numbers(X[suspects]), hash_numbers(X_meta), lambda: hash_numbers(X)) if len(suspects) else None


def _hashed_frames(X, X_meta):
    suspects = np.arange(num_samples(X))
    for column, meta in paired_columns(X, X_meta, numbers_only=True):
        suspects = suspects[_is_among(column[suspects], np.sort(meta))]
    keys, meta = _hash_frames(X, X_meta, suspects)
    return keys, meta, lambda: keys if len(suspects) == num_samples(X) else _hash_frames(X, X_meta)[0]


def _hash_frames(X, X_meta, suspects=slice(None)):
    """Hashes of some rows of X, and of those of X_meta."""
    keys, of_meta = np.zeros(num_samples(X), dtype=np.uint64)[suspects], np.zeros(num_samples(X_meta), dtype=np.uint64)
    # rows are taken of the columns' arrays: old polars waits forever for rows of a frame with columns of objects
    for (column, meta), factor in zip(paired_columns(X, X_meta), factors(X.shape[1]), strict=True):
        keys += factor * _hash_column(column[suspects])
        of_meta += factor * _hash_column(meta)
    return keys, of_meta


def _hash_column(column):
    return mixed(np.array(list(map(hash, column)), dtype=np.int64) if column.dtype.kind == "O" else column)


def _is_among(values, known):
    """Whether each value is among some in ascending order, NaN last."""
    # a search takes long, and one look tells for most that they are not
    if values.dtype != known.dtype:
        values, known = values.astype(np.float64), known.astype(np.float64)  # as they are compared
    seen = np.zeros(1 << _BITS_OF_A_LOOK, dtype=bool)
    seen[_few_bits(known)] = True
    out = seen[_few_bits(values)] | (values != values)
    some = out.nonzero()[0]
    place = np.searchsorted(known, values[some]).clip(max=len(known) - 1)
    out[some] = (known[place] == values[some]) | ((values[some] != values[some]) & (known[-1] != known[-1]))
    return out


def _few_bits(values):
    """A hash of some bits; equal values have the same one, NaN apart."""
    if values.dtype.kind != "f":
        values = values.astype(np.int64)
    elif values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    with np.errstate(invalid="ignore"):
        bits = (values + values.dtype.type(0)).view(f"u{values.dtype.itemsize}")  # -0.0 is 0.0
    width = 8 * bits.dtype.itemsize
    return bits * bits.dtype.type(0x9E3779B97F4A7C15 >> (64 - width) | 1) >> bits.dtype.type(width - _BITS_OF_A_LOOK)
