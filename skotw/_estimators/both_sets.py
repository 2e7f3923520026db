"""The meta set beside the training set: what must fit, what looks wrong, and both in one container."""

from collections import Counter
from itertools import pairwise

import numpy as np
from scipy import sparse
from scipy.special import pdtrc
from sklearn.utils import column_or_1d, gen_batches

from skotw._compat import num_samples
from skotw._validation import named, to_numpy, warn
from skotw._weighter.frames import is_frame, numeric_columns

_THROUGH_THE_SAME_STEPS = (
    "The trusted rows must go through the same steps as X: build the pipeline with "
    "skotw.make_weighted_pipeline, or put it inside, OTWeightedClassifier(make_pipeline(...))."
)
# Warn when this share of the meta set's numbers lies further outside the range of its feature than half that range.
_FAR_SHARE = 0.2
_LEAST_ROWS_FOR_A_RANGE = 20
# Warn when as many meta rows would be like training rows by chance with less than this probability.
_CHANCE = 1e-3
_ROWS_PER_BLOCK = 4096


def unwrap(value):
    """The content of a 1-tuple, in which a meta set survives slicing by cross-validation."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def check_meta_set(X, y, X_meta, y_meta, *, wrapped):
    """Trusted rows in the container of X, after a look at what would otherwise go wrong in silence.

    Parameters
    ----------
    X, X_meta : rows, as they came
    y, y_meta : labels
    wrapped : bool
        Whether ``X_meta`` came in a 1-tuple.

    Raises
    ------
    ValueError
        If the two sets differ in kind or in number of features, or y holds codes of the labels.
    """
    shapes = [getattr(rows, "shape", ()) for rows in (X, X_meta)]
    if all(len(shape) == 2 for shape in shapes) and shapes[0][1] != shapes[1][1]:
        raise ValueError(f"X_meta has {shapes[1][1]} features and X has {shapes[0][1]}. {_THROUGH_THE_SAME_STEPS}")
    if isinstance(X, np.ndarray) and is_frame(X_meta):
        X_meta = X_meta.to_numpy()  # bagging, among others, makes arrays of frames
    if is_frame(X) != is_frame(X_meta):
        kinds = ["a data frame" if is_frame(rows) else f"of type {type(rows).__name__}" for rows in (X, X_meta)]
        raise ValueError(f"X is {kinds[0]} and X_meta is {kinds[1]}. {_THROUGH_THE_SAME_STEPS}")
    _refuse_recoded(y, y_meta)
    if not wrapped and num_samples(X) == num_samples(X_meta):
        warn(
            f"The meta set has as many rows as X ({num_samples(X)}). Searches and cross-validation slice what is as "
            "long as X, so it may have been cut like a sample weight. Pass 1-tuples, X_meta=(X_meta,) and "
            "y_meta=(y_meta,), which are never cut.",
        )
    return X_meta


def _refuse_recoded(y, y_meta):
    """Some meta-estimators hand on codes in place of the labels, while the labels of the meta set stay as they were."""
    seen, trusted = (set(np.asarray(to_numpy(labels)).ravel().tolist()) for labels in (y, y_meta))
    codes = seen in (set(range(len(seen))), {-1, 1})
    if codes and not trusted <= seen and (len(seen) == 2 or not seen <= trusted):
        raise ValueError(
            f"y holds {named(sorted(seen))} and y_meta holds {named(sorted(trusted, key=str))}: y seems to have been "
            "recoded. OneVsRestClassifier and its like binarise labels; BaggingClassifier, VotingClassifier and some "
            "others number them. Turn the nesting around, OTWeightedClassifier(OneVsRestClassifier(...)), or, where "
            "labels are numbered, give y and y_meta as numbers from 0 on. If y has lost labels to a fold, stratify; "
            "if y never had them, take their rows out of the meta set."
        )


def warn_far(X, X_meta):
    """Warn of a meta set that missed the steps through which X went."""
    if num_samples(X) < _LEAST_ROWS_FOR_A_RANGE:
        return
    far, n_values = 0, 0
    for column, meta in numeric_columns(X, X_meta):
        low, high = np.nanmin(column, axis=0), np.nanmax(column, axis=0)
        varies = np.isfinite(high - low) & (high > low)
        reach = (high - low) / 2
        outside = ((meta < low - reach) | (meta > high + reach)) & varies
        far, n_values = far + outside.sum(), n_values + len(meta) * varies.sum()
    if far > _FAR_SHARE * n_values:
        warn(
            f"{far / n_values:.0%} of the meta set's numbers lie far outside the range of the training features, as if "
            f"X had been transformed and X_meta had not. {_THROUGH_THE_SAME_STEPS}",
        )


# ---------------------------------------------------------------------------------------------
# Both sets in one container, of the kind of X


def join_rows(X, X_meta):
    """Rows of X, then of X_meta, in X's own container, column types and categories.

    Parameters
    ----------
    X : {ndarray, sparse matrix, data frame, sequence}
    X_meta : rows of the same features
    """
    if sparse.issparse(X):
        return sparse.vstack([X, type(X)(X_meta).astype(X.dtype)], format=X.format)
    if hasattr(X, "iloc"):
        return _join_pandas(X, X_meta)
    if is_frame(X):
        return _join_polars(X, X_meta)
    if isinstance(X, list) and not isinstance(X[0], list):
        return [*X, *X_meta]  # documents
    X = np.asarray(X)
    X_meta = X_meta.toarray() if sparse.issparse(X_meta) else np.asarray(X_meta)
    return np.concatenate([X, X_meta.astype(X.dtype) if X.dtype.kind == "f" else X_meta])


def _join_pandas(X, X_meta):
    import pandas as pd

    if not is_frame(X):  # a Series of documents
        return pd.concat([X, pd.Series(X_meta)], ignore_index=True)
    X, X_meta = X.copy(deep=False), pd.DataFrame(X_meta, columns=X.columns)
    for name in X.columns:
        kind, meta = X[name].dtype, X_meta[name]
        if isinstance(kind, pd.CategoricalDtype):
            # concat turns categories that differ into strings, or objects
            values = meta.dropna().unique()
            known = [*kind.categories, *(value for value in values if value not in kind.categories)]
            union = pd.CategoricalDtype(known, kind.ordered)
            X[name], X_meta[name] = X[name].astype(union), meta.astype(union)
        elif meta.dtype != kind and kind.kind not in "biu":
            X_meta[name] = meta.astype(kind)
    unique = X.index.append(X_meta.index).is_unique
    return pd.concat([X, X_meta], ignore_index=not unique)


def _join_polars(X, X_meta):
    import polars as pl

    X_meta = X_meta.select(X.columns)
    for name, kind in X.schema.items():
        if isinstance(kind, pl.Enum):
            known = kind.categories.to_list()
            values = X_meta[name].cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()
            union = pl.Enum([*known, *(value for value in values if value not in known)])
            X, X_meta = (rows.with_columns(rows[name].cast(pl.String).cast(union)) for rows in (X, X_meta))
        elif kind in (pl.Float32, pl.Categorical):
            X_meta = X_meta.with_columns(X_meta[name].cast(kind))
    return pl.concat([X, X_meta], how="vertical_relaxed")


def join_labels(y, y_meta):
    """Labels of the training rows, then of the meta rows."""
    both = [np.asarray(to_numpy(labels)) for labels in (y, y_meta)]
    if all(labels.ndim == 2 and labels.shape[1] > 1 for labels in both):
        return np.concatenate(both)
    return np.concatenate([column_or_1d(labels) for labels in both])


# ---------------------------------------------------------------------------------------------
# Meta rows that are training rows as well


def warn_repeated(joined, n_samples):
    """Warn of meta rows that are training rows too, more of them than rows of X that repeat each other would explain.

    Parameters
    ----------
    joined : rows as :func:`join_rows` leaves them
    n_samples : int
        The first of them are training rows.
    """
    keys = _row_keys(joined)
    if keys is None:
        return
    train, meta = keys[:n_samples], keys[n_samples:]
    repeated = sum(map(set(train).__contains__, meta))
    if not repeated:
        return
    # Few distinct values per feature make rows alike by chance, and then rows of X are alike as well. Twice as often is
    # granted to the meta rows, whose classes have other shares; beyond that their number is one of rare events.
    alike = sum(count for count in Counter(train).values() if count > 1) / n_samples
    if pdtrc(repeated - 1, 2 * alike * len(meta)) < _CHANCE:
        warn(
            f"{repeated} of {len(meta)} meta rows are also training rows. They count twice, and leak into the test "
            "folds of a cross-validation. Take them out of X, as skotw.meta.balanced_meta_split does.",
        )


def _row_keys(X):
    """A hash of every row; None for rows that have none."""
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        X.sum_duplicates()
        rows = [slice(*ends) for ends in pairwise(X.indptr.tolist())]
        return [hash((X.indices[row].tobytes(), X.data[row].tobytes())) for row in rows]
    if hasattr(X, "iloc"):
        from pandas.util import hash_pandas_object

        return hash_pandas_object(X, index=False).tolist()
    if hasattr(X, "hash_rows"):
        return X.hash_rows().to_list()
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf" and X.shape[1]:
        # a block at a time, since the bytes are a copy of the rows
        blocks = (np.ascontiguousarray(X[rows]) for rows in gen_batches(len(X), _ROWS_PER_BLOCK))
        as_bytes = f"V{X.itemsize * X.shape[1]}"
        return [hash(row) for block in blocks for row in block.view(as_bytes).ravel().tolist()]
    return list(map(hash, X)) if isinstance(X, list) else None
