"""Prototypes of each class: its mean, or the centres of a weighted k-means without randomness."""

from __future__ import annotations

import numbers

import numpy as np
from array_api_compat import array_namespace, device
from scipy.sparse import issparse
from sklearn.cluster import KMeans
from sklearn.metrics import euclidean_distances
from sklearn.utils import check_array, check_scalar
from sklearn.utils.validation import check_consistent_length
from threadpoolctl import threadpool_limits

from skotw._transport.blocks import one_blas_thread
from skotw._typing import Array, ArrayLike, MatrixLike
from skotw._validation import check_index, check_weights, encode_labels, on_host

__all__ = ["class_prototypes", "group_prototypes"]

_MAX_KMEANS_ITER = 300
# Scores this close are a tie, which the order of the rows breaks: rounding must not.
_TIE = 1e-6


def class_prototypes(
    X: MatrixLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, n_prototypes: int = 1
) -> tuple[Array, Array, Array]:
    r"""Summarise every class by a few points: its mean, or the centres of its clusters.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Embedded rows. Prototypes are means, so distances in ``X`` should make sense.
    y : array-like of shape (n_samples,)
        Class labels of any type.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts. A row repeated k times is the same as one row of weight k, and a
        row of weight zero is the same as no row.
    n_prototypes : int, default=1
        Prototypes per class. A class with fewer distinct rows than that gets its distinct rows.

    Returns
    -------
    prototypes : ndarray of shape (n, n_features)
        The prototypes, class by class, of the floating type of ``X``. Dense also for sparse ``X``.
        ``n`` is at most ``n_classes * n_prototypes``.
    labels : ndarray of shape (n,)
        The class of each prototype. A class whose rows all have weight zero is not there.
    mass : ndarray of shape (n,)
        Weight of the rows that each prototype stands for. Within a class it sums to the weight of
        the class, which is its number of rows when ``sample_weight`` is None.

    Raises
    ------
    ValueError
        If ``X`` holds NaN or infinity, the lengths differ, or the weights are negative, not finite
        or all zero.

    See Also
    --------
    balanced_meta_split : Trusted rows of the data itself.

    Notes
    -----
    One prototype is the weighted mean of the class. More are the centres of a weighted k-means,

    .. math:: \min_{c_1, \dots, c_k} \sum_i w_i \min_j \lVert x_i - c_j \rVert^2 ,

    found by Lloyd's algorithm. There is no randomness. The first centre is the row with the
    largest :math:`w_i d_i^2`, where :math:`d_i` is the distance from the mean of the class. Each
    further one is the row with the largest :math:`w_i d_i^2` for the distance from the centres so
    far. That is the most likely outcome of each draw of k-means++ [1]_. Equal rows are merged
    beforehand, and ties go to the row that sorts first. So neither repetition of rows nor their
    order matters.

    References
    ----------
    .. [1] D. Arthur and S. Vassilvitskii. "k-means++: The Advantages of Careful Seeding". SODA
           2007.

    Examples
    --------
    >>> from skotw.meta import class_prototypes
    >>> X = [[0.0], [1.0], [10.0], [4.0]]
    >>> prototypes, labels, mass = class_prototypes(X, ["a", "a", "a", "b"], n_prototypes=2)
    >>> for label, prototype, m in zip(labels, prototypes, mass):
    ...     print(label, prototype, m)
    a [10.] 1.0
    a [0.5] 2.0
    b [4.] 1.0
    """
    check_scalar(n_prototypes, "n_prototypes", numbers.Integral, min_val=1)
    check_index(X=X, y=y, sample_weight=sample_weight)
    X = check_array(on_host(X), accept_sparse="csr", dtype=[np.float64, np.float32])
    classes, codes = encode_labels(y)
    check_consistent_length(X, y)
    if sample_weight is not None:
        sample_weight = check_weights(sample_weight, "sample_weight", X.shape[0])
    prototypes, groups, mass = group_prototypes(X, codes, classes.size, sample_weight, n_prototypes)
    return prototypes, classes[groups], mass


def group_prototypes(Z, codes, n_groups, sample_weight, n_prototypes):
    """Compute prototypes of the groups of rows of ``Z``; nothing is checked.

    Parameters
    ----------
    Z : array or sparse CSR of shape (n_samples, n_features)
        Floating type. Any array library for ``n_prototypes=1``, NumPy or SciPy beyond.
    codes : integer array of shape (n_samples,), in [0, n_groups)
        In the library, and on the device, of ``Z``, as are the weights.
    n_groups : int
    sample_weight : array of shape (n_samples,) or None
        At least one is positive.
    n_prototypes : int

    Returns
    -------
    prototypes, group_codes, mass : arrays of n rows, sorted by group
    """
    if sample_weight is None:
        sample_weight = _ones_per_row(Z)
    if n_prototypes > 1:
        codes = _split_groups(Z, codes, n_groups, sample_weight, n_prototypes)
        n_groups *= n_prototypes
    prototypes, codes, mass = _group_means(Z, codes, n_groups, sample_weight)
    return prototypes, codes // n_prototypes, mass


def _ones_per_row(Z):
    if issparse(Z) or isinstance(Z, np.ndarray):
        return np.ones(Z.shape[0])
    return array_namespace(Z).ones(Z.shape[0], dtype=Z.dtype, device=device(Z))


def _group_means(Z, codes, n_groups, sample_weight):
    """Weighted mean, code and total weight of every group that has weight."""
    xp = array_namespace(codes)
    means, groups, masses = [], [], []
    for group, rows in _rows_by_group(codes, n_groups):
        weight = sample_weight[rows]
        mass = xp.sum(weight)
        if float(mass) > 0.0:
            # One matrix product per group: sparse rows stay sparse, and only the rows of one
            # group are ever copied.
            share = xp.astype(weight / mass, Z.dtype, copy=False)
            means.append(share @ Z[rows])
            groups.append(group)
            masses.append(mass)
    groups = xp.asarray(groups, dtype=codes.dtype, device=device(codes))
    return xp.stack(means), groups, xp.stack(masses)


def _rows_by_group(codes, n_groups):
    """Yield each group that is not empty, with the indices of its rows."""
    xp = array_namespace(codes)
    order = xp.argsort(codes, stable=True)
    groups = xp.arange(n_groups + 1, dtype=codes.dtype, device=device(codes))
    edges = [int(edge) for edge in xp.searchsorted(codes[order], groups)]
    for group in range(n_groups):
        if edges[group] < edges[group + 1]:
            yield group, order[edges[group] : edges[group + 1]]


def _split_groups(Z, codes, n_groups, sample_weight, n_clusters):
    """Codes ``group * n_clusters + cluster``; rows of weight zero join the group's first cluster.

    They change no mean there, whatever they are.
    """
    split = codes * n_clusters
    # Threads add up rows in the order in which they happen to finish. On data full of ties (one-hot
    # columns) that last bit decides which cluster a row falls in.
    with one_blas_thread(), threadpool_limits(limits=1, user_api="openmp"):
        for _, rows in _rows_by_group(codes, n_groups):
            rows = rows[sample_weight[rows] > 0]
            if rows.size:
                split[rows] += _cluster(Z[rows], sample_weight[rows], n_clusters)
    return split


def _cluster(Z, sample_weight, n_clusters):
    """Cluster of every row, by weighted k-means without randomness. All weights are positive."""
    distinct, inverse = _distinct_rows(Z)
    weight = np.bincount(inverse, weights=sample_weight)
    if weight.size <= n_clusters:
        return inverse
    # For the same reason weights that differ by rounding only, such as sums in another order, are
    # made equal here. The means are computed later, from the weights as they came.
    weight = (weight / weight.max()).astype(np.float32).astype(np.float64)
    distinct = _rescaled(distinct, weight)
    centres = _initial_centres(distinct, weight, n_clusters)
    kmeans = KMeans(
        n_clusters=centres.shape[0],
        init=centres,
        n_init=1,
        max_iter=_MAX_KMEANS_ITER,
        # The stopping tolerance looks at the unweighted variance, which repetition changes.
        tol=0.0,
    )
    return kmeans.fit(distinct, sample_weight=weight).labels_[inverse]


def _distinct_rows(Z):
    """Find the distinct rows, in a fixed order, and for every row the index of its like."""
    if not issparse(Z):
        distinct, inverse = np.unique(Z, axis=0, return_inverse=True)
        return distinct, inverse.reshape(-1)  # NumPy 2.0 gives it two dimensions
    Z = Z.copy()
    Z.sum_duplicates()
    Z.eliminate_zeros()
    edges = list(zip(Z.indptr[:-1], Z.indptr[1:], strict=True))
    keys = [(Z.indices[lo:hi].tolist(), Z.data[lo:hi].tolist()) for lo, hi in edges]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    is_new = [True, *(keys[i] != keys[j] for i, j in zip(order[1:], order, strict=False))]
    inverse = np.empty(len(keys), dtype=np.intp)
    inverse[order] = np.cumsum(is_new) - 1
    return Z[np.asarray(order)[is_new]], inverse


def _rescaled(Z, weight):
    """Move ``Z`` to its weighted mean and divide it by a power of two; sparse ``Z`` in place.

    The partition stays the same, and squared distances keep their digits: they neither overflow
    nor cancel. Sparse rows keep their origin, and so stay sparse.
    """
    if not issparse(Z):
        Z = Z - ((weight / weight.sum()) @ Z).astype(Z.dtype)
    values = Z.data if issparse(Z) else Z
    _, exponent = np.frexp(np.abs(values).max())
    np.ldexp(values, -exponent, out=values)
    return Z


def _initial_centres(Z, weight, n_clusters):
    """Rows of largest weight times squared distance from the mean, then from the rows so far."""
    centre = (weight / weight.sum()) @ Z
    distance = euclidean_distances(Z, centre[np.newaxis], squared=True)[:, 0]
    chosen = []
    while len(chosen) < n_clusters and (score := weight * distance).max() > 0.0:
        row = np.flatnonzero(score >= (1.0 - _TIE) * score.max())[0]
        to_row = euclidean_distances(Z, Z[[row]], squared=True)[:, 0]
        distance = np.minimum(distance, to_row) if chosen else to_row
        chosen.append(row)
    centres = Z[chosen]
    return centres.toarray() if issparse(centres) else centres
