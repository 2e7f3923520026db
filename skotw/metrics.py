"""What weights do: how many rows they use, whom they favour, and how close they bring the data."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import euclidean_distances, pairwise_distances, roc_auc_score
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length

from ._typing import ArrayLike, MatrixLike, Metric
from ._validation import (
    check_costs,
    check_index,
    check_same_family,
    check_weights,
    clean_labels,
    encode_labels,
    like_columns,
    on_host,
)

__all__ = [
    "class_weight_mass",
    "effective_sample_size",
    "mislabel_auc",
    "transport_distance",
]

# Far above what the solvers need; POT warns if one is reached.
_MAX_PIVOTS = 10_000_000
_MAX_SINKHORN_ITER = 10_000


def effective_sample_size(w: ArrayLike) -> float:
    r"""Count the rows of equal weight that would say as much: Kish's effective size.

    Parameters
    ----------
    w : array-like of shape (n_samples,)
        Weights, on any scale: a NumPy array, a list, or a tensor on any device.

    Returns
    -------
    size : float
        :math:`(\sum_i w_i)^2 / \sum_i w_i^2`, between 1 (one row has all the weight) and
        n_samples (all weights equal).

    Raises
    ------
    ValueError
        If the weights are not one-dimensional, negative, not finite or all zero.

    See Also
    --------
    class_weight_mass : Where the weight is, class by class.

    References
    ----------
    .. [1] L. Kish. "Survey Sampling". Wiley, 1965.

    Examples
    --------
    >>> from skotw.metrics import effective_sample_size
    >>> effective_sample_size([1, 1, 1, 1])
    4.0
    >>> effective_sample_size([1, 1, 0, 0])
    2.0
    """
    w = check_weights(w, "w")
    w = w / w.max()  # so that the squares neither overflow nor underflow
    return float(w.sum() ** 2 / np.square(w).sum())


def class_weight_mass(w: ArrayLike, y: ArrayLike) -> dict[Any, float]:
    """Share of the total weight that each class holds.

    Parameters
    ----------
    w : array-like of shape (n_samples,)
        Weights, on any scale: a NumPy array, a list, or a tensor on any device.
    y : array-like of shape (n_samples,)
        Class labels of any type.

    Returns
    -------
    mass : dict of {label: float}
        The share of each class, labels in sorted order. The shares sum to 1.

    Raises
    ------
    ValueError
        If the lengths differ, or the weights are not one-dimensional, negative, not finite or all
        zero.

    See Also
    --------
    effective_sample_size : How evenly the weight is spread over the rows.

    Examples
    --------
    >>> from skotw.metrics import class_weight_mass
    >>> class_weight_mass([1, 1, 2, 4], ["cat", "cat", "cat", "dog"])
    {'cat': 0.5, 'dog': 0.5}
    """
    check_index(w=w, y=y)
    classes, codes = encode_labels(y)
    w = check_weights(w, "w", codes.size)
    mass = np.bincount(codes, weights=w / w.max())
    return dict(zip(classes.tolist(), (mass / mass.sum()).tolist(), strict=True))


def mislabel_auc(w: ArrayLike, y: ArrayLike, mislabelled: ArrayLike) -> float:
    """How well weights tell wrong labels from right ones, within each class.

    Take two rows with the same given label, one right and one wrong. The result is the probability
    that the right one weighs more, where ties count one half. It is averaged over the classes that
    hold both kinds. 1 is perfect. 0.5 is no better than weights by class alone. Below 0.5 the weights
    favour the wrong labels.

    Parameters
    ----------
    w : array-like of shape (n_samples,)
        Weights, on any scale: a NumPy array, a list, or a tensor on any device.
    y : array-like of shape (n_samples,)
        The given class labels, wrong ones included.
    mislabelled : array-like of shape (n_samples,), dtype bool
        Which labels are wrong, such as the mask of :func:`skotw.datasets.flip_labels`.

    Returns
    -------
    auc : float
        The area under the ROC curve within a class, averaged over classes with equal weight.

    Raises
    ------
    ValueError
        If ``mislabelled`` is not boolean, no class holds both kinds, the lengths differ, or the
        weights are not one-dimensional, negative, not finite or all zero.

    See Also
    --------
    skotw.datasets.flip_labels : Makes labels wrong and returns which.

    Examples
    --------
    >>> from skotw.metrics import mislabel_auc
    >>> mislabel_auc([3, 2, 1, 9, 5], [0, 0, 0, 1, 1], [False, False, True, False, True])
    1.0
    """
    check_index(w=w, y=y, mislabelled=mislabelled)
    classes, codes = encode_labels(y)
    w = check_weights(w, "w", codes.size)
    wrong = clean_labels(mislabelled, "mislabelled")
    check_consistent_length(w, wrong)
    if wrong.dtype != bool:
        raise ValueError(f"mislabelled must be a boolean mask; got an array of {wrong.dtype}. True marks wrong labels.")
    in_classes = [codes == c for c in range(classes.size)]
    areas = [roc_auc_score(~wrong[rows], w[rows]) for rows in in_classes if wrong[rows].any() and not wrong[rows].all()]
    if not areas:
        raise ValueError(
            "No class holds both right and wrong labels. So there is nothing to tell apart. Look whether "
            "mislabelled belongs to these rows."
        )
    return float(np.mean(areas))


def transport_distance(
    X: MatrixLike,
    X_meta: MatrixLike = None,
    y: ArrayLike | None = None,
    y_meta: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    sample_weight_meta: ArrayLike | None = None,
    metric: Metric = "cosine",
    label_weight: float = 0.5,
    cost_scale: float | None = None,
    reg: float = 0.0,
) -> float:
    r"""Optimal-transport distance between weighted training rows and trusted rows.

    The least cost of moving the mass of the training rows onto the trusted rows. To move mass from
    training row i to trusted row j costs
    ``(1 - label_weight) * d(x_i, x'_j) / cost_scale + label_weight * [y_i != y'_j]``.
    Good weights bring it down.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features), or (n_samples, n_meta) if metric="precomputed"
        Training rows as they should be compared: embed or scale them beforehand.
    X_meta : {array-like, sparse matrix} of shape (n_meta, n_features), default=None
        Trusted rows. Left out if the feature costs are precomputed.
    y, y_meta : array-like of shape (n_samples,) and (n_meta,), default=None
        Class labels. Without them the features alone make the cost.
    sample_weight, sample_weight_meta : array-like of shape (n_samples,) and (n_meta,), default=None
        Masses of the rows, on any scale. Each set is divided by its sum. Equal by default.
    metric : str or callable, default="cosine"
        A metric of :func:`~sklearn.metrics.pairwise_distances`, or "precomputed".
    label_weight : float, default=0.5
        Share of the label cost, in [0, 1]. Plays no part without labels.
    cost_scale : float, default=None
        The feature cost is divided by it. By default it is the mean feature cost under the two
        measures (for metric="euclidean" the root of the mean square), or 1 where that is 0. That
        depends on the weights: **to compare weights, pass one value to all calls**, such as
        ``cost_scale_`` of a fitted weighter.
    reg : float, default=0.0
        Entropic regularisation, in units of the cost. 0 solves the linear programme exactly.

    Returns
    -------
    distance : float
        The transport cost :math:`\langle T, C \rangle`. With ``reg > 0`` it is the cost of the
        plan that minimises cost plus ``reg`` times the relative entropy, *without* the entropy
        itself: never below the exact distance, and no longer zero between equal measures.

    Raises
    ------
    ValueError
        If labels are given on one side only, cannot be compared or are not classes, a length or a
        shape does not fit, a cost is negative or not finite, a mass is negative, not finite or
        zero throughout, or a parameter is out of its range.

    See Also
    --------
    skotw.OTSampleWeighter : Learns the weights.

    Notes
    -----
    POT [1]_ solves the problem: by the network simplex for ``reg=0``, by Sinkhorn's algorithm in the
    log domain otherwise. Both hold the whole matrix of n_samples x n_meta costs. Use ``reg`` to judge
    regularised plans, not for speed. The smaller ``reg``, the more iterations it takes, and the exact
    solution is often faster.

    For targets that are not classes, pass the combined cost: ``metric="precomputed"`` and
    ``cost_scale=1``, without labels.

    References
    ----------
    .. [1] R. Flamary et al. "POT: Python Optimal Transport". JMLR 22(78), 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skotw.metrics import transport_distance
    >>> X, X_meta = np.array([[0.0], [1.0], [9.0]]), np.array([[0.0], [1.0]])
    >>> args = dict(metric="euclidean", cost_scale=1.0)
    >>> print(round(transport_distance(X, X_meta, **args), 6))
    2.833333
    >>> print(round(transport_distance(X, X_meta, sample_weight=[1, 1, 0], **args), 6))
    0.0
    """
    _check_numbers(label_weight=label_weight, cost_scale=cost_scale, reg=reg)
    if (y is None) != (y_meta is None):
        raise ValueError("Labels are compared between the two sets. Give both y and y_meta, or neither.")

    check_index(X=X, y=y, sample_weight=sample_weight)
    check_index(X_meta=X_meta, y_meta=y_meta, sample_weight_meta=sample_weight_meta)
    cost = _feature_cost(on_host(X), on_host(like_columns(X_meta, X)), metric)
    p = _masses(sample_weight, "sample_weight", cost.shape[0])
    b = _masses(sample_weight_meta, "sample_weight_meta", cost.shape[1])
    cost /= _mean_cost(cost, p, b, metric) if cost_scale is None else cost_scale
    if y is not None:
        cost = (1.0 - label_weight) * cost + label_weight * _label_cost(y, y_meta, cost.shape)

    # Rows without mass would be log(0) to Sinkhorn, and only slow the simplex down.
    rows, columns = p > 0, b > 0
    cost = np.ascontiguousarray(cost[rows][:, columns])
    return _solve(p[rows], b[columns], cost, reg)


# The numbers that transport_distance takes: what is legal, and the same in words.
_RANGES = {
    "label_weight": (lambda value: 0 <= value <= 1, "a number in [0, 1]"),
    "cost_scale": (lambda value: 0 < value < np.inf, "None or a finite number above 0"),
    "reg": (lambda value: 0 <= value < np.inf, "a finite number of at least 0"),
}


def _check_numbers(**numbers_by_name):
    for name, value in numbers_by_name.items():
        is_legal, wanted = _RANGES[name]
        if name == "cost_scale" and value is None:
            continue
        if not isinstance(value, numbers.Real) or not is_legal(value):
            raise ValueError(f"{name} must be {wanted}; got {value!r}.")


def _feature_cost(X, X_meta, metric):
    if isinstance(metric, str) and metric == "precomputed":
        if X_meta is not None:
            raise ValueError(
                "With metric='precomputed', X holds the costs between all training rows and all trusted rows. Leave "
                "X_meta out."
            )
        cost = check_array(X, dtype=np.float64, copy=True, input_name="X")
    else:
        if X_meta is None:
            raise ValueError("X_meta is missing. Pass the trusted rows. Only metric='precomputed' does without.")
        is_sparse = issparse(X) or issparse(X_meta)
        if isinstance(metric, str) and metric == "sqeuclidean" and is_sparse:  # scipy's takes no sparse rows
            cost = euclidean_distances(X, X_meta, squared=True).astype(np.float64)
        else:
            cost = pairwise_distances(X, X_meta, metric=metric).astype(np.float64)
    return check_costs(cost, metric, lambda i, j: f"row {i} of X and trusted row {j}")


def _mean_cost(cost, p, b, metric):
    # The mean distance has no closed form; the root of the mean square does, and the weighter,
    # which never holds the whole matrix, uses that for "euclidean".
    if isinstance(metric, str) and metric == "euclidean":
        top = cost.max() or 1.0
        return top * np.sqrt(p @ (cost / top) ** 2 @ b) or 1.0
    return p @ cost @ b or 1.0


def _label_cost(y, y_meta, shape):
    """0 where the labels agree, 1 where they differ."""
    both = []
    for labels, name, n in ((y, "y", shape[0]), (y_meta, "y_meta", shape[1])):
        labels = clean_labels(labels, name)
        if labels.shape != (n,):
            raise ValueError(f"{name} must have shape ({n},), one label per row; got {labels.shape}.")
        if type_of_target(labels, input_name=name).startswith("continuous"):
            raise ValueError(
                f"{name} is continuous, and only classes are compared here. Pass the combined "
                "cost with metric='precomputed' and cost_scale=1, without labels."
            )
        both.append(labels)
    check_same_family(*both, "y")
    _, codes = np.unique(np.concatenate(both), return_inverse=True)
    return (codes[: shape[0], np.newaxis] != codes[shape[0] :]).astype(np.float64)


def _masses(weight, name, n):
    w = np.ones(n) if weight is None else check_weights(weight, name, n)
    w = w / w.max()
    return w / w.sum()


def _solve(p, b, cost, reg):
    import ot  # which imports torch where it finds it

    if reg == 0:
        return float(ot.emd2(p, b, cost, numItermax=_MAX_PIVOTS))
    return float(ot.sinkhorn2(p, b, cost, reg, method="sinkhorn_log", numItermax=_MAX_SINKHORN_ITER, warn=True))
