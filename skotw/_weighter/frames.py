"""What data frames are, and their columns as arrays."""

import numpy as np
from scipy import sparse

__all__ = ["column_kind", "column_values", "is_frame", "numeric_columns"]


def is_frame(X):
    """Whether X is a pandas-like or polars-like data frame."""
    return hasattr(X, "columns") and hasattr(X, "__getitem__") and hasattr(X, "shape")


def _kind(X, name):
    kind = getattr(X[name].dtype, "kind", None)  # pandas, its nullable types among them
    return np.asarray(X[name][:0]).dtype.kind if kind is None else kind  # polars


def column_kind(X, name):
    kind = _kind(X, name)
    if kind in "mMc":
        raise ValueError(
            f"Column {name!r} holds dates, durations or complex numbers, which the default embedding cannot "
            "place. Turn it into numbers or categories, drop it, or pass embedding= a transformer that does."
        )
    return kind


def column_values(X, name, dtype):
    """One column; missing values are NaN among numbers and None among categories."""
    column = X[name]
    if dtype is object:
        values = np.asarray(column, dtype=object)
        missing = np.array([v is None or v != v or str(v) == "<NA>" for v in values], dtype=bool)
        # one type per column: categories of mixed types cannot be sorted
        values = np.array([str(v) for v in values], dtype=object)
        values[missing] = None
        return values
    if hasattr(column, "to_numpy") and hasattr(column, "isna"):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(column.cast(float) if hasattr(column, "cast") else column, dtype=np.float64)


def numeric_columns(X, X_meta):
    """Pairs of float arrays, of the training and of the trusted rows, that cover all dense numbers of X."""
    if is_frame(X) and is_frame(X_meta):
        for name in X.columns:
            if _kind(X, name) in "biuf" and _kind(X_meta, name) in "biuf":
                yield tuple(column_values(rows, name, np.float64) for rows in (X, X_meta))
    elif not (sparse.issparse(X) or sparse.issparse(X_meta)):
        pair = np.asarray(X), np.asarray(X_meta)
        if all(rows.ndim == 2 and rows.dtype.kind in "biuf" for rows in pair):
            yield pair
