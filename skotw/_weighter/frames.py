"""What data frames are: their columns as numbers and categories, two frames side by side, and both in one.

Narwhals reads frames of every library. What is left to the libraries themselves is what it does not know: pandas' index
and its unordered categories.
"""

import datetime as dt
import re
from contextlib import contextmanager

import narwhals.stable.v2 as nw
import numpy as np
from narwhals.exceptions import DuplicateError

from skotw._validation import is_frame, is_missing, is_number, like_columns, named

__all__ = [
    "category_column",
    "column_kinds",
    "column_names",
    "frame_values",
    "is_frame",
    "join_frames",
    "note_of_text_columns",
    "number_column",
    "number_columns",
    "paired_columns",
    "paired_numbers",
]

_TEXT = (nw.String, nw.Categorical, nw.Enum)
_DATES = (nw.Date, nw.Datetime, nw.Duration, nw.Time)
_NESTED = (nw.List, nw.Array, nw.Struct)
# What libraries say where they met no number.
_OF_TEXT = re.compile(r"convert|dtype|string|category|categorical", re.IGNORECASE)


def column_names(X):
    """Names of the columns, each of which there is once.

    Raises
    ------
    ValueError
        If several columns have the same name.
    """
    if hasattr(X, "iloc") and X.columns.is_unique:
        return list(X.columns)
    return list(_frame(X).columns)


def _frame(X):
    try:
        return nw.from_native(X, eager_only=True)
    except DuplicateError as error:
        names = list(X.columns)
        twice = sorted({name for name in names if names.count(name) > 1}, key=str)
        raise ValueError(
            f"The data frame has several columns of the same name: {', '.join(map(repr, twice))}. Give every column a "
            "name of its own."
        ) from error


# ---------------------------------------------------------------------------------------------
# Columns


def column_kinds(X):
    """Kind of every column by its name, "number" or "category".

    Raises
    ------
    ValueError
        If a column is neither.
    """
    if _plain_dtypes(X) is not None:
        return dict.fromkeys(column_names(X), "number")
    kinds = {column.name: _kind(column) for column in _frame(X).iter_columns()}
    for name, kind in kinds.items():
        if kind not in {"number", "category"}:
            raise ValueError(
                f"Column {name!r} holds {kind}, which the default embedding cannot place. Turn it into numbers or "
                "categories, drop it, or pass embedding= a transformer that does."
            )
    return kinds


@contextmanager
def note_of_text_columns(X, user, remedy):
    """Add a note to an error of ``user``, text, that looks as if it came of columns of X without numbers."""
    try:
        yield
    except Exception as error:
        if is_frame(X) and _OF_TEXT.search(str(error)):
            names = [column.name for column in _frame(X).iter_columns() if _kind(column) != "number"]
            if names:
                one = len(names) == 1
                columns, holds, them = ("Column", "holds", "it") if one else ("Columns", "hold", "them")
                error.add_note(
                    f"{columns} {named(names)} of X {holds} no numbers. {user} did not take {them}. {remedy}"
                )
        raise


def _kind(column):
    dtype = column.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        return "number"
    if isinstance(dtype, _TEXT):
        return "category"
    if isinstance(dtype, _DATES):
        return "dates or durations"
    if isinstance(dtype, _NESTED):
        return "lists or records"
    native = getattr(column.to_native().dtype, "kind", "O")
    if native in "biuf":
        return "number"  # sparse columns of pandas
    return "complex numbers" if native == "c" else _kind_of_objects(column)


def _kind_of_objects(column):
    """Kind of a column of Python objects: numbers in such a column are numbers."""
    values = [value for value in column.to_list() if not is_missing(value)]
    if values and all(map(is_number, values)):
        return "number"
    for value in values:
        if isinstance(value, dt.date | dt.time | dt.timedelta | np.datetime64 | np.timedelta64):
            return "dates or durations"
        if isinstance(value, complex | np.complexfloating):
            return "complex numbers"
        if isinstance(value, list | tuple | set | dict | np.ndarray):
            return "lists or records"
    return "category"


def number_column(X, name):
    """A column as float64, missing values as NaN.

    Raises
    ------
    ValueError
        If it holds anything but numbers.
    """
    return _numbers(_frame(X).get_column(name))


def number_columns(X, names):
    """Several such columns as one array."""
    if hasattr(X, "iloc") and len(names) < X.shape[1]:
        X = X[names]
    values = _plain_values(X) if len(names) == X.shape[1] else None
    if values is not None:
        return values
    frame = _frame(X)
    return np.column_stack([_numbers(frame.get_column(name)) for name in names])


def _plain_dtypes(X):
    """Types of the columns where all are numbers of NumPy, or of the frame's library if that is not pandas; else None.

    Such a frame is read as a whole, where column by column would take fifty times as long.
    """
    if hasattr(X, "iloc"):
        dtypes = X.dtypes.tolist()
        plain = all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes)
    else:
        dtypes = list(_frame(X).schema.values())
        plain = all(dtype.is_numeric() or dtype == nw.Boolean for dtype in dtypes)
    return dtypes if dtypes and plain else None


def _plain_values(X):
    """Such a frame as an array of float64, missing values as NaN; else None."""
    return None if _plain_dtypes(X) is None else _read(X)


def _read(X):
    """A frame of plain numbers as an array of float64."""
    if hasattr(X, "iloc"):
        return np.ascontiguousarray(X.to_numpy(dtype=np.float64))
    return np.ascontiguousarray(_frame(X).select(nw.all().cast(nw.Float64)).to_numpy())


def _numbers(column):
    dtype = column.dtype
    if dtype.is_numeric() or dtype == nw.Boolean:
        return column.cast(nw.Float64).to_numpy()
    values = column.to_list()
    for row, value in enumerate(values):
        if not (is_missing(value) or is_number(value)):
            raise ValueError(
                f"Column {column.name!r} holds numbers in the training rows, and {value!r} in row {row} of these rows."
            )
    return np.array([np.nan if is_missing(value) else float(value) for value in values], dtype=np.float64)


def category_column(X, name):
    """A column as text, since categories of mixed types cannot be sorted; missing values are None."""
    return np.array(_words(_frame(X).get_column(name)), dtype=object)


def _words(column):
    return [value if type(value) is str else _word(value) for value in column.to_list()]


def _word(value):
    if is_missing(value):
        return None
    # a whole number is the same category where a missing value beside it has made it a float
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def frame_values(X):
    """A frame as an array: of float64 where all of its columns are numbers."""
    values = _plain_values(X)
    if values is not None:
        return values
    frame = _frame(X)
    if all(_kind(column) == "number" for column in frame.iter_columns()) and frame.columns:
        return np.column_stack([_numbers(column) for column in frame.iter_columns()])
    return frame.to_numpy()


def paired_numbers(X, X_meta):
    """Both frames, with the same columns, as arrays of float64; None where not all columns are plain numbers."""
    X_meta = like_columns(X_meta, X)
    dtypes = _plain_dtypes(X)
    if dtypes is None or _plain_dtypes(X_meta) is None:
        return None
    values, of_meta = _read(X), _read(X_meta)
    # as which the other's will be read
    single = [dtype == (np.float32 if isinstance(dtype, np.dtype) else nw.Float32) for dtype in dtypes]
    return values, np.where(single, of_meta.astype(np.float32), of_meta) if any(single) else of_meta


def paired_columns(X, X_meta, *, numbers_only=False):
    """Columns of both frames side by side: arrays of float64 where both hold numbers, else of text.

    Parameters
    ----------
    X, X_meta : data frames with the same columns, in any order
    """
    of_meta = _frame(X_meta)
    for column in _frame(X).iter_columns():
        meta = of_meta.get_column(column.name)
        if _kind(column) == _kind(meta) == "number":
            values = _numbers(meta)
            single = column.dtype == nw.Float32  # as which the other's numbers will be read
            yield _numbers(column), values.astype(np.float32).astype(np.float64) if single else values
        elif not numbers_only:
            yield tuple(np.array(_words(side), dtype=object) for side in (column, meta))


# ---------------------------------------------------------------------------------------------
# Two frames in one


def join_frames(X, X_meta):
    """Rows of X, then of X_meta, in X's column types and categories."""
    column_names(X)
    X_meta = like_columns(X_meta, X)
    return _join_pandas(X, X_meta) if hasattr(X, "iloc") else _join_polars(X, X_meta)


def _join_pandas(X, X_meta):
    import pandas as pd

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
        elif meta.dtype == object and _kind(nw.from_native(meta, series_only=True)) == "number":
            # numbers that do not fit into whole ones are not cut
            X_meta[name] = number_column(X_meta, name)
            if (X_meta[name] % 1 == 0).all():
                X_meta[name] = X_meta[name].astype(kind)
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
