"""A number for every row, by which the same row is known again."""

import hashlib
from functools import lru_cache

import numpy as np
from scipy import sparse

from skotw._compat import num_samples
from skotw._validation import on_host

from .frames import is_frame, paired_columns

__all__ = ["factors", "hash_numbers", "hash_sparse", "mixed", "row_keys"]

_ROWS_PER_BLOCK = 512


def row_keys(X):
    """Keys of rows of any kind, equal for equal rows, in this process and in any other.

    Returns
    -------
    keys : ndarray of shape (n,), dtype uint64
    """
    if sparse.issparse(X):
        return hash_sparse(sparse.csr_array(X))
    if is_frame(X):
        columns = [column for column, _ in paired_columns(X, X)]
        parts = zip(map(_of_column, columns), factors(len(columns)), strict=True)
        return sum((key * factor for key, factor in parts), np.zeros(num_samples(X), dtype=np.uint64))
    X = on_host(X)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "biuf":
        return hash_numbers(X)
    return np.array([_of_object(row) for row in X], dtype=np.uint64)


def mixed(values):
    """64 bits per value, none of them constant for small whole numbers; zero stays zero."""
    bits = values + 0.0 if values.dtype.kind == "f" else values  # -0.0 is 0.0
    bits = np.ascontiguousarray(bits).view(np.uint64)
    return bits ^ (bits >> np.uint64(32))


@lru_cache(maxsize=8)
def factors(n):
    """Odd factors, one per column."""
    return np.random.default_rng(0).integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def hash_numbers(X):
    keys = np.empty(len(X), dtype=np.uint64)
    odd = factors(X.shape[1])
    for start in range(0, len(X), _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        np.einsum("ij,j->i", mixed(X[block].astype(np.float64)), odd, out=keys[block])
    return keys


def hash_sparse(X):
    X = X.astype(np.float64)
    X.sum_duplicates()
    bits = mixed(X.data) * factors(X.shape[1])[X.indices]
    sums = np.r_[np.zeros(1, np.uint64), np.cumsum(bits, dtype=np.uint64)]
    return sums[X.indptr[1:]] - sums[X.indptr[:-1]]


def _of_column(column):
    if column.dtype.kind != "O":
        return mixed(column)
    words, index = np.unique(column.astype(str), return_inverse=True)
    return np.array(list(map(_of_object, words)), dtype=np.uint64)[index]


def _of_object(row):
    text = str(row) if isinstance(row, str) else repr(row)  # an array's texts are of a type of its own
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
