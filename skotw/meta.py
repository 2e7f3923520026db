"""Where trusted examples come from: a balanced split of the data, or prototypes of each class."""

from __future__ import annotations

import numbers

import numpy as np
from array_api_compat import array_namespace, device
from scipy.sparse import issparse
from sklearn.cluster import KMeans
from sklearn.metrics import euclidean_distances
from sklearn.utils import check_array, check_random_state, check_scalar, indexable
from sklearn.utils.validation import check_consistent_length
from threadpoolctl import threadpool_limits

from ._compat import safe_indexing
from ._transport._arrays import to_numpy
from ._validation import check_weights, encode_labels

__all__ = ["balanced_meta_split", "class_prototypes"]

_MAX_KMEANS_ITER = 300
# Scores this close are a tie, which the order of the rows breaks: rounding must not.
_TIE = 1e-6


def balanced_meta_split(X, y, n_per_class=10, random_state=None):
    """Set the same number of rows of every class aside as a meta set.

    The counterpart of :func:`~sklearn.model_selection.train_test_split` for trusted examples: the
    rows that you check by hand, or whose labels you already trust. It only chooses rows, it does
    not make them right: split before noise is added, or correct the labels that it hands out.

    Parameters
    ----------
    X : array-like, sparse matrix, data frame or list, of n_samples rows
        The data; rows of any kind and of any number of dimensions.
    y : array-like of shape (n_samples,)
        Class labels of any type.
    n_per_class : int, default=10
        Number of rows of every class that go to the meta set.
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
        If a class has fewer than ``n_per_class + 1`` rows, since the training set must keep one
        row of every class. The message names the classes.

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
    X, y = indexable(X, y)
    classes, codes = encode_labels(y)
    counts = np.bincount(codes)
    small = counts <= n_per_class
    if small.any():
        named = ", ".join(f"{label!r} ({n})" for label, n in zip(classes[small].tolist(), counts[small], strict=True))
        raise ValueError(
            f"n_per_class={n_per_class} needs at least {n_per_class + 1} rows of every class, one "
            f"of which stays in the training set; too few rows of: {named}. Lower n_per_class, or "
            "leave these classes out or merge them."
        )

    in_meta = np.zeros(codes.size, dtype=bool)
    sizes = np.full(classes.size, n_per_class)
    in_meta[_draw_per_class(codes, sizes, check_random_state(random_state))] = True
    train, meta = np.flatnonzero(~in_meta), np.flatnonzero(in_meta)
    return (
        safe_indexing(X, train),
        safe_indexing(y, train),
        safe_indexing(X, meta),
        safe_indexing(y, meta),
    )


def class_prototypes(X, y, *, sample_weight=None, n_prototypes=1):
    r"""Summarise every class by a few points: its mean, or the centres of its clusters.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Embedded rows: prototypes are means, so the distances in ``X`` should make sense.
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
        The prototypes, class by class, of the floating type of ``X``; dense also for sparse ``X``.
        ``n`` is at most ``n_classes * n_prototypes``.
    labels : ndarray of shape (n,)
        The class of each prototype. A class whose rows all have weight zero is not there.
    mass : ndarray of shape (n,)
        Weight of the rows that each prototype stands for; within a class it sums to the weight of
        the class (its number of rows when ``sample_weight`` is None).

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
    largest :math:`w_i d_i^2`, where :math:`d_i` is the distance from the mean of the class, and
    each further one the row with the largest :math:`w_i d_i^2` for the distance from the centres
    so far: the most likely outcome of each draw of k-means++ [1]_. Equal rows are merged
    beforehand and ties go to the row that sorts first, so neither repetition of rows nor their
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
    X = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
    classes, codes = encode_labels(y)
    check_consistent_length(X, y)
    if sample_weight is not None:
        sample_weight = check_weights(sample_weight, "sample_weight", X.shape[0])
    prototypes, groups, mass = _class_prototypes(X, codes, classes.size, sample_weight, n_prototypes)
    return prototypes, classes[groups], mass


def _class_prototypes(Z, codes, n_groups, sample_weight, n_prototypes):
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
    with threadpool_limits(limits=1):
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


def _draw_per_class(codes, sizes, rng):
    """Draw ``sizes[c]`` rows of every class c, in random order; the first ones if rng is None."""
    order = np.arange(codes.size) if rng is None else rng.permutation(codes.size)
    by_class = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes)
    rank = np.arange(codes.size) - np.repeat(np.cumsum(counts) - counts, counts)
    drawn = np.zeros(codes.size, dtype=bool)
    drawn[by_class[rank < np.repeat(sizes, counts)]] = True
    return order[drawn[order]]


def _choose_evenly(Z, codes, room, least=0):
    """Indices of about ``room`` samples, as many of each class, whatever the order of the rows.

    Parameters
    ----------
    Z : array of shape (M, d) or None
        Rows by which the samples of a class are spread; None takes them as they come.
    codes : ndarray of shape (M,)
        Class of each sample.
    room : int
    least : int, default=0
        As many of each class at any rate, where it has them; 0 lets classes go without where there is no room.

    Returns
    -------
    indices : ndarray
        All of them where there is room.
    """
    if len(codes) <= room:
        return np.arange(len(codes))
    key = np.arange(len(codes)) if Z is None else np.asarray(to_numpy(Z.sum(axis=1)), np.float64).ravel()
    groups = np.unique(codes)
    if least == 0 and len(groups) > room:
        groups = groups[np.linspace(0, len(groups) - 1, room).astype(np.intp)]
    quota = max(least, room // len(groups))
    chosen = []
    for group in groups:
        rows = np.flatnonzero(codes == group)
        rows = rows[np.argsort(key[rows], kind="stable")]
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(quota, len(rows))).astype(np.intp)])
    return np.concatenate(chosen)
