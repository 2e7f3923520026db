"""A balanced split: trusted rows of the data itself."""

import numbers
from typing import TypeVar

import numpy as np
from sklearn.utils import check_random_state, check_scalar, indexable

from skotw._compat import safe_indexing
from skotw._typing import RandomState
from skotw._validation import check_index, encode_labels

from ._sampling import draw_per_class

__all__ = ["balanced_meta_split"]

Rows = TypeVar("Rows")
Labels = TypeVar("Labels")


def balanced_meta_split(
    X: Rows, y: Labels, n_per_class: int = 10, random_state: RandomState = None
) -> tuple[Rows, Labels, Rows, Labels]:
    """Set the same number of rows of every class aside as trusted rows.

    It is :func:`~sklearn.model_selection.train_test_split` for trusted rows. These are rows whose
    labels you check by hand, or trust already. It only chooses rows, and does not make their labels
    right. Split before noise is added, or correct the labels that it hands out. The guide says how
    many rows to set aside (:doc:`/guide/trusted_rows`).

    Parameters
    ----------
    X : array-like, sparse matrix, data frame or list, of n_samples rows
        The data: rows of any kind and of any number of dimensions.
    y : array-like of shape (n_samples,)
        Class labels of any type.
    n_per_class : int, default=10
        Number of trusted rows of every class.
    random_state : int, RandomState instance or None, default=None
        Chooses the rows. Pass an int for the same split at every call.

    Returns
    -------
    X_train, y_train, X_meta, y_meta : containers of the types given
        The rows that stay, then the rows set aside: ``n_per_class`` of each class. No row is in
        both. Both parts keep the order of the input. Sparse ``X`` comes back as CSR.

    Raises
    ------
    ValueError
        If a class has fewer than ``n_per_class + 1`` rows. The training set must keep one row of
        every class. The message names the classes.

    See Also
    --------
    class_prototypes : Trusted points without trusted rows.
    skotw.OTSampleWeighter : Takes the four results, in this order, as arguments of ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw.meta import balanced_meta_split
    >>> X, y = load_iris(return_X_y=True)
    >>> X_train, y_train, X_meta, y_meta = balanced_meta_split(X, y, 5, random_state=0)
    >>> X_train.shape, X_meta.shape
    ((135, 4), (15, 4))
    """
    check_scalar(n_per_class, "n_per_class", numbers.Integral, min_val=1)
    check_index(X=X, y=y)
    X, y = indexable(X, y)
    classes, codes = encode_labels(y)
    counts = np.bincount(codes)
    small = counts <= n_per_class
    if small.any():
        named = ", ".join(f"{label!r} ({n})" for label, n in zip(classes[small].tolist(), counts[small], strict=True))
        raise ValueError(
            f"n_per_class={n_per_class} needs at least {n_per_class + 1} rows of every class, one of which stays in "
            f"the training set. There are too few rows of: {named}. Lower n_per_class, or leave these classes out, or "
            "merge them."
        )

    in_meta = np.zeros(codes.size, dtype=bool)
    sizes = np.full(classes.size, n_per_class)
    in_meta[draw_per_class(codes, sizes, check_random_state(random_state))] = True
    train, meta = np.flatnonzero(~in_meta), np.flatnonzero(in_meta)
    return (
        safe_indexing(X, train),
        safe_indexing(y, train),
        safe_indexing(X, meta),
        safe_indexing(y, meta),
    )
