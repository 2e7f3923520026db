"""Make labels wrong, to a known recipe."""

from __future__ import annotations

import numbers
from typing import Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_random_state, indexable

from skotw._compat import safe_indexing
from skotw._typing import ArrayLike, RandomState
from skotw._validation import encode_labels

Labels = TypeVar("Labels")


@overload
def flip_labels(  # numpydoc ignore=GL08
    y: Labels,
    rate: float | dict[Any, float] | None = ...,
    *,
    kind: str = ...,
    transition: ArrayLike | None = ...,
    random_state: RandomState = ...,
    return_mask: Literal[False] = ...,
) -> Labels: ...


@overload
def flip_labels(  # numpydoc ignore=GL08
    y: Labels,
    rate: float | dict[Any, float] | None = ...,
    *,
    kind: str = ...,
    transition: ArrayLike | None = ...,
    random_state: RandomState = ...,
    return_mask: Literal[True],
) -> tuple[Labels, NDArray[np.bool_]]: ...


def flip_labels(
    y: Any,
    rate: float | dict[Any, float] | None = None,
    *,
    kind: str = "symmetric",
    transition: ArrayLike | None = None,
    random_state: RandomState = None,
    return_mask: bool = False,
) -> Any:
    """Replace a share of the labels by labels of other classes.

    A flip always changes the label. So ``rate`` is the share of labels that end up wrong. Some
    benchmarks redraw a share r of the labels from *all* K classes instead. That makes only
    r (K - 1) / K of them wrong.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Class labels of any type. They are not changed in place.
    rate : float, or dict of {label: float} for ``kind="class-dependent"``, default=None
        Share of the labels to flip, in [0, 1]. In a dict, classes that are left out keep their
        labels.
    kind : {"symmetric", "pair", "class-dependent"}, default="symmetric"
        Which label a flipped one gets:

        - "symmetric": one of the other classes, all equally likely.
        - "pair": the next class in sorted order. After the last one comes the first.
        - "class-dependent": as ``transition`` says. With a dict as ``rate`` instead, each class
          flips at its own rate to the others, all equally likely.
    transition : array-like of shape (n_classes, n_classes), default=None
        For ``kind="class-dependent"``: entry (k, l) is the share of class k that gets label l,
        classes in sorted order. Every row sums to 1. The diagonal is the share that stays.
    random_state : int, RandomState instance or None, default=None
        Chooses the rows and their new labels. Pass an int for the same flips at every call.
    return_mask : bool, default=False
        Whether to return which labels were flipped.

    Returns
    -------
    y_flipped : container of the type of y
        The labels after the flips.
    mask : ndarray of shape (n_samples,), dtype bool
        True where the label was flipped. Only with ``return_mask=True``.

    Raises
    ------
    ValueError
        If a rate lies outside [0, 1], ``transition`` is no matrix of shares with rows that sum to
        1, ``y`` has fewer than two classes, or the arguments do not fit the kind.

    See Also
    --------
    make_long_tailed : Make the classes unequal. Do that first, while the labels are right.

    Notes
    -----
    The *number* of flips is fixed, not drawn: ``rate * n_samples`` rounded to one of the two
    nearest whole numbers, and likewise ``rate * n_c`` in each class. The rounding is random. So every
    single label flips with probability ``rate`` exactly, and to each other class with exactly the
    probability asked for. Results vary less from seed to seed than if a coin were tossed for every
    label, above all in rare classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skotw.datasets import flip_labels
    >>> y = np.repeat(["cat", "dog", "owl"], 100)
    >>> y_noisy, flipped = flip_labels(y, 0.3, random_state=0, return_mask=True)
    >>> int(flipped.sum()), bool(np.all((y_noisy != y) == flipped))
    (90, True)
    """
    (y,) = indexable(y)
    classes, codes = encode_labels(y)
    if classes.size < 2:
        raise ValueError(f"Flipping needs at least two classes. y has only {classes.tolist()[0]!r}.")
    shares = _transition_matrix(rate, kind, transition, classes)
    new_codes = _draw_labels(codes, shares, check_random_state(random_state))
    mask = new_codes != codes

    # A flipped label is copied from a row that has it: that keeps the container, its dtype and its
    # categories, whatever they are.
    _, row_of_class = np.unique(codes, return_index=True)
    source = np.where(mask, row_of_class[new_codes], np.arange(codes.size))
    y_flipped = safe_indexing(y, source)
    if hasattr(y, "iloc"):
        y_flipped.index = y.index
    return (y_flipped, mask) if return_mask else y_flipped


def _transition_matrix(rate, kind, transition, classes):
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(_KINDS)}; got {kind!r}.")
    if kind == "class-dependent":
        return _class_dependent(rate, transition, classes)
    if transition is not None:
        raise ValueError(
            f"transition goes with kind='class-dependent', not with kind={kind!r}. Leave it out, or change kind."
        )
    if isinstance(rate, dict):
        raise ValueError(
            f"One rate per class goes with kind='class-dependent', not {kind!r}. Pass one number, or change kind."
        )
    rates = np.full(classes.size, _check_rate(rate, "rate"))
    return _spread(rates, _KINDS[kind](classes.size))


def _class_dependent(rate, transition, classes):
    is_matrix = transition is not None and rate is None
    is_rates = transition is None and isinstance(rate, dict)
    if not (is_matrix or is_rates):
        raise ValueError(
            "kind='class-dependent' takes either transition=, a matrix of shape (n_classes, "
            "n_classes), or a dict {label: rate} as rate."
        )
    if is_matrix:
        return _check_transition(transition, classes)
    known = classes.tolist()
    unknown = sorted(set(rate) - set(known), key=str)
    if unknown:
        raise ValueError(f"rate names labels that y does not have: {unknown}. y has {known}.")
    rates = [_check_rate(rate.get(label, 0.0), f"rate of class {label!r}") for label in known]
    return _spread(np.array(rates), _to_any_other(classes.size))


def _check_rate(rate, name):
    if not isinstance(rate, numbers.Real) or not 0 <= rate <= 1:
        raise ValueError(f"{name} must be a number in [0, 1], a share of the labels; got {rate!r}.")
    return float(rate)


def _check_transition(transition, classes):
    shares = check_array(transition, dtype=np.float64, input_name="transition")
    if shares.shape != (classes.size, classes.size):
        raise ValueError(
            f"transition must have shape ({classes.size}, {classes.size}), a row and a column for "
            f"each class of y in sorted order, {classes.tolist()}; got {shares.shape}."
        )
    sums = shares.sum(axis=1)
    if (shares < 0).any() or not np.allclose(sums, 1.0):
        raise ValueError(
            "transition must hold shares: no negative entry, and rows that sum to 1. Its minimum "
            f"is {shares.min()} and its rows sum to {sums.tolist()}."
        )
    return shares / sums[:, np.newaxis]


def _to_any_other(n_classes):
    return (1.0 - np.eye(n_classes)) / (n_classes - 1)


def _to_next(n_classes):
    return np.roll(np.eye(n_classes), 1, axis=1)


# Where the flipped labels of every class go, as shares; "class-dependent" brings its own.
_KINDS = {"symmetric": _to_any_other, "pair": _to_next, "class-dependent": None}


def _spread(rates, targets):
    return np.diag(1.0 - rates) + rates[:, np.newaxis] * targets


def _draw_labels(codes, shares, rng):
    """Draw new codes: fixed numbers of flips, on random rows of each class."""
    counts = np.bincount(codes)
    n_flips = _rounded(counts * (1.0 - np.diag(shares)), rng)
    new_codes = codes.copy()
    for c in np.flatnonzero(n_flips):
        rows = rng.permutation(np.flatnonzero(codes == c))[: n_flips[c]]
        new_codes[rows] = _targets(shares[c], c, rows.size, rng)
    return new_codes


def _rounded(expected, rng):
    """Round each number, and their sum, up or down at random, right on average.

    The cumulated numbers are rounded down after one common shift, uniform in [0, 1): systematic
    sampling. The margin keeps sums that are whole but for rounding, such as 3 * 0.1 * 10, whole.
    """
    edges = np.floor(np.r_[0.0, np.round(np.cumsum(expected), 9)] + rng.uniform())
    return np.minimum(np.diff(edges).astype(int), np.ceil(expected).astype(int))


def _targets(shares, c, n, rng):
    """Codes other than c for n labels, in proportion to the shares; systematic sampling again."""
    others = np.flatnonzero((shares > 0) & (np.arange(shares.size) != c))
    cumulated = np.cumsum(shares[others])
    points = (np.arange(n) + rng.uniform()) / n * cumulated[-1]
    chosen = np.searchsorted(cumulated, points, side="right")
    return others[np.minimum(chosen, others.size - 1)]
