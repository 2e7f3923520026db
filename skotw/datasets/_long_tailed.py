"""Subsample a data set to the exponential class profile of the long-tail literature."""

from __future__ import annotations

import numbers
from typing import Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state, check_scalar, indexable

from skotw._compat import safe_indexing
from skotw._typing import ArrayLike, RandomState
from skotw._validation import check_index, encode_labels
from skotw.meta._sampling import draw_per_class

_CLASS_ORDERS = ("sorted", "frequency", "random")

Rows = TypeVar("Rows")
Labels = TypeVar("Labels")


@overload
def make_long_tailed(  # numpydoc ignore=GL08
    X: Rows,
    y: Labels,
    imbalance_factor: float,
    *,
    n_max: int | None = ...,
    class_order: str | ArrayLike = ...,
    shuffle: bool = ...,
    random_state: RandomState = ...,
    return_indices: Literal[False] = ...,
) -> tuple[Rows, Labels]: ...


@overload
def make_long_tailed(  # numpydoc ignore=GL08
    X: Rows,
    y: Labels,
    imbalance_factor: float,
    *,
    n_max: int | None = ...,
    class_order: str | ArrayLike = ...,
    shuffle: bool = ...,
    random_state: RandomState = ...,
    return_indices: Literal[True],
) -> tuple[Rows, Labels, NDArray[np.intp]]: ...


def make_long_tailed(
    X: Any,
    y: Any,
    imbalance_factor: float,
    *,
    n_max: int | None = None,
    class_order: str | ArrayLike = "sorted",
    shuffle: bool = True,
    random_state: RandomState = None,
    return_indices: bool = False,
) -> Any:
    r"""Keep exponentially fewer rows of each further class.

    Classes are ranked from the head, 0, to the tail, K - 1. Of the class of rank k it keeps

    .. math:: n_k = \lfloor n_{max} \, IF^{-k / (K - 1)} \rfloor

    rows, and at least one. So the largest class has ``imbalance_factor`` times the rows of the
    smallest. Long-tailed CIFAR is made with this profile [1]_, including the rounding: 10 classes of
    5000 rows at an imbalance factor of 100 leave 12,406 rows, as in the literature.

    Parameters
    ----------
    X : array-like, sparse matrix, data frame or list, of n_samples rows
        The data: rows of any kind and of any number of dimensions.
    y : array-like of shape (n_samples,)
        Class labels of any type.
    imbalance_factor : float
        Rows of the largest class over rows of the smallest, at least 1 (every class equal).
    n_max : int, default=None
        Rows of the head. By default as many as the data allow: the largest number for which every
        class has enough rows.
    class_order : {"sorted", "frequency", "random"} or array of shape (n_classes,), default="sorted"
        Which class is the head and which the tail. "sorted" takes the labels in sorted order, the
        first as the head, as the long-tailed benchmarks do. "frequency" makes the most frequent
        class the head, and equal classes go in sorted order. That keeps the most rows of data that
        are imbalanced already. "random" draws the order with ``random_state``. An array lists
        every class, the head first.
    shuffle : bool, default=True
        Whether to draw the rows of each class at random and to return all rows in random order.
        False keeps the first rows of each class, in their order, without randomness.
    random_state : int, RandomState instance or None, default=None
        Chooses the rows, and the order of the classes if that is random. Pass an int for the same
        rows at every call.
    return_indices : bool, default=False
        Whether to return the indices of the rows as well.

    Returns
    -------
    X_long_tailed, y_long_tailed : containers of the types given
        The rows that are kept. CSR if ``X`` is sparse.
    indices : ndarray of shape (n_kept,)
        Their indices in ``X``. Only with ``return_indices=True``.

    Raises
    ------
    ValueError
        If ``imbalance_factor`` is below 1 or not finite, ``y`` has fewer than two classes,
        ``class_order`` does not list every class once, or a class has fewer rows than the profile
        asks for (the message names it, and the ``n_max`` that would do).

    See Also
    --------
    flip_labels : Make some of the labels wrong.

    References
    ----------
    .. [1] Y. Cui, M. Jia, T.-Y. Lin, Y. Song and S. Belongie. "Class-Balanced Loss Based on
           Effective Number of Samples". CVPR 2019. https://arxiv.org/abs/1901.05555

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skotw.datasets import make_long_tailed
    >>> X, y = load_digits(return_X_y=True)
    >>> X_lt, y_lt = make_long_tailed(X, y, 20, n_max=100, random_state=0)
    >>> np.bincount(y_lt)
    array([100,  71,  51,  36,  26,  18,  13,   9,   6,   5])
    """
    check_scalar(imbalance_factor, "imbalance_factor", numbers.Real, min_val=1)
    if not np.isfinite(imbalance_factor):
        raise ValueError(f"imbalance_factor must be finite; got {imbalance_factor}.")
    check_index(X=X, y=y)
    X, y = indexable(X, y)
    classes, codes = encode_labels(y)
    if classes.size < 2:
        raise ValueError(f"A long tail needs at least two classes. y has only {classes.tolist()[0]!r}.")
    rng = check_random_state(random_state)
    counts = np.bincount(codes)
    rank = _class_ranks(class_order, classes, counts, rng)
    profile = float(imbalance_factor) ** (-rank / (classes.size - 1))

    most = _largest_head(profile, counts)
    if n_max is None:
        n_max = most
    check_scalar(n_max, "n_max", numbers.Integral, min_val=1)
    sizes = _class_sizes(profile, n_max)
    short = np.flatnonzero(sizes > counts)
    if short.size:
        named = ", ".join(
            f"{label!r} has {counts[c]} of {sizes[c]}" for c, label in zip(short, classes[short].tolist(), strict=True)
        )
        raise ValueError(
            f"n_max={n_max} asks for more rows than there are: class {named}. Use n_max={most} or "
            "less, None for as many as the data allow, or another class_order."
        )

    indices = draw_per_class(codes, sizes, rng if shuffle else None)
    subset = safe_indexing(X, indices), safe_indexing(y, indices)
    return (*subset, indices) if return_indices else subset


def _class_ranks(class_order, classes, counts, rng):
    """Rank of every class, 0 for the head."""
    if not isinstance(class_order, str):
        head_first = _listed_order(class_order, classes)
    elif class_order == "sorted":
        head_first = np.arange(classes.size)
    elif class_order == "frequency":
        head_first = np.argsort(-counts, kind="stable")
    elif class_order == "random":
        head_first = rng.permutation(classes.size)
    else:
        raise ValueError(
            f"class_order must be one of {', '.join(_CLASS_ORDERS)} or a list of the classes; got {class_order!r}."
        )
    return np.argsort(head_first)


def _listed_order(class_order, classes):
    listed, known = np.asarray(class_order).tolist(), classes.tolist()
    if len(listed) != len(known) or set(listed) != set(known):
        raise ValueError(f"class_order must list every class of y once, the head first: {known}; got {listed}.")
    return np.array([known.index(label) for label in listed])


def _class_sizes(profile, n_max):
    # The published sizes are rounded down. The margin keeps whole numbers whole: 5000 / 100 must
    # not become 49 by the rounding of the power.
    return np.maximum(1, np.floor(n_max * profile * (1 + 1e-9)).astype(int))


def _largest_head(profile, counts):
    """Largest n_max for which no class runs out of rows; at least 1."""
    n_max = int(np.min((counts + 1) / profile))
    while n_max > 1 and np.any(_class_sizes(profile, n_max) > counts):
        n_max -= 1
    return n_max
