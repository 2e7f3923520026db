"""What rows come in: data frames, sparse matrices, arrays and lists of numbers, and records such as texts."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import is_array_api_obj, is_torch_array
from scipy import sparse
from sklearn import get_config

from skotw._validation import is_missing, like_columns, named, on_host

from .frames import column_names, frame_values, is_frame, join_frames

__all__ = [
    "Container",
    "has_one_dimension",
    "host_rows",
    "is_pair",
    "is_records",
    "is_text",
    "join_rows",
    "number_rows",
]

_NO_NUMBERS = (
    "Pass a data frame, whose text columns become categories, or embedding= a transformer that makes numbers of them."
)
_DATES = "Turn them into numbers, or pass embedding= a transformer that does."


@dataclass(frozen=True)
class Container:
    """What the training rows came in, for the rows that are to be compared with them.

    Attributes
    ----------
    kind : {"frame", "sparse", "records", "array"}
    empty : data frame or None
        The training frame without its rows.
    """

    kind: str
    empty: object = None

    @classmethod
    def of(cls, X):
        if is_frame(X):
            return cls("frame", X[:0])
        return cls("sparse" if sparse.issparse(X) else "records" if is_records(X) else "array")

    def bring(self, X, name, *, needs_frame):
        """Rows in this container: frames with the columns in this order, sparse rows made dense and the reverse.

        Raises
        ------
        ValueError
            If columns are missing, or rows are no frame where ``needs_frame``.
        """
        if self.kind == "frame":
            if not is_frame(X) and needs_frame:
                raise ValueError(
                    f"The training rows are a data frame and {name} is not. Pass them as a frame with the same "
                    f"columns: {column_names(self.empty)}."
                )
            return self._with_columns(X, name) if is_frame(X) else X
        if is_frame(X) and self.kind in {"array", "sparse"}:
            X = frame_values(X)
        if self.kind == "array" and sparse.issparse(X):
            return X.toarray()
        if self.kind == "sparse" and not sparse.issparse(X):
            return sparse.csr_array(np.asarray(number_rows(X, name), dtype=np.float64))
        return X

    def _with_columns(self, X, name):
        wanted, columns = column_names(self.empty), column_names(X)
        if columns == wanted:
            return X
        lacking = [column for column in wanted if column not in columns]
        unknown = [column for column in columns if column not in wanted]
        if lacking or unknown:
            raise ValueError(
                f"The feature names should match those of the training rows. {name} lacks {lacking or 'none'} and has "
                f"{unknown or 'none'} that they lack."
            )
        return like_columns(X, self.empty)


def is_records(X):
    """Whether X holds one thing per row that is no row of numbers: a text, bytes, a record, tokens of any number."""
    if is_frame(X) or sparse.issparse(X) or getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__") or not len(X):
        return False
    first = next(iter(X))
    if isinstance(first, list | tuple | np.ndarray):
        return len({len(row) if hasattr(row, "__len__") else -1 for row in X}) > 1
    return isinstance(first, str | bytes | dict)


def is_text(X):
    """Whether X holds one text per row."""
    return is_records(X) and isinstance(next(iter(X)), str | bytes)


def host_rows(X):
    """Rows as scikit-learn's estimators take them: tensors as arrays, all else as it is."""
    return X if is_frame(X) or sparse.issparse(X) else on_host(X)


def is_pair(X):
    """Whether X holds rows and their labels."""
    return isinstance(X, tuple | list) and [len(getattr(part, "shape", ())) for part in X[:3]] == [2, 1]


def has_one_dimension(X):
    """Whether X holds single numbers in place of rows."""
    return not is_frame(X) and not is_records(X) and np.ndim(X) == 1 and len(X) > 0


def number_rows(X, name):
    """Rows of numbers as an array, or as they are where they are sparse or tensors.

    Raises
    ------
    ValueError, TypeError
        If they are no numbers.
    """
    if sparse.issparse(X):
        return X
    if is_records(X):
        raise ValueError(
            f"{name} holds {_described(X)}, and the default embedding takes rows of numbers and data frames. Pass "
            f"embedding= a transformer that makes numbers of them, such as {_suited(X)}."
        )
    if is_array_api_obj(X) and not isinstance(X, np.ndarray) and get_config()["array_api_dispatch"]:
        return X.detach() if is_torch_array(X) else X
    X = np.asarray(on_host(X))
    if X.dtype.kind in "mM":
        raise ValueError(f"{name} holds dates or durations. {_DATES}")
    return _as_numbers(X, name) if X.dtype.kind in "OUST" else X


def _described(X):
    first = next(iter(X))
    if isinstance(first, str | bytes):
        return "texts"
    return "records" if isinstance(first, dict) else f"rows of type {type(first).__name__} that are no rows of numbers"


def _suited(X):
    return "DictVectorizer()" if isinstance(next(iter(X)), dict) else "TfidfVectorizer()"


def _as_numbers(X, name):
    """An array of objects or text as float64."""
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError):  # also of pandas' NA
        numbers = np.empty(X.shape)
    for place, value in np.ndenumerate(X):
        try:
            numbers[place] = np.nan if is_missing(value) else float(value)
        except (TypeError, ValueError) as error:
            message = f"{name} holds {named([value])} in row {place[0]}, which is no number: {error}. {_NO_NUMBERS}"
            raise type(error)(message) from error
    return numbers


# ---------------------------------------------------------------------------------------------
# Both sets in one container, of the kind of X


def join_rows(X, X_meta):
    """Rows of X, then of X_meta, in X's own container, column types and categories.

    Parameters
    ----------
    X : {ndarray, sparse matrix, data frame, sequence}
    X_meta : rows of the same features
    """
    if is_frame(X):
        return join_frames(X, X_meta)
    if is_records(X):
        if hasattr(X, "iloc"):
            import pandas as pd

            return pd.concat([X, pd.Series(list(X_meta))], ignore_index=True)
        return np.concatenate([X, np.asarray(X_meta)]) if isinstance(X, np.ndarray) else [*X, *X_meta]
    X_meta = frame_values(X_meta) if is_frame(X_meta) else X_meta
    if sparse.issparse(X):
        X_meta = sparse.csr_array(X_meta if sparse.issparse(X_meta) else np.asarray(on_host(X_meta)))
        # joined rows are on no few diagonals
        X, form = (sparse.csr_array(X), "csr") if X.format == "dia" else (X, X.format)
        return sparse.vstack([X, type(X)(X_meta.astype(_dtype(X, X_meta)))], format=form)
    X = np.asarray(on_host(X))
    X_meta = X_meta.toarray() if sparse.issparse(X_meta) else np.asarray(on_host(X_meta))
    return np.concatenate([X, X_meta.astype(_dtype(X, X_meta))])


def _dtype(X, X_meta):
    """Type of joined numbers: X's own, unless whole numbers would cut those of X_meta."""
    return X.dtype if X.dtype.kind in "fO" else np.result_type(X.dtype, X_meta.dtype)
