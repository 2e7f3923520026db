"""Prototypes are means and know no order."""

import array_api_compat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import pairwise_distances

from skotw.meta import class_prototypes
from skotw.meta._prototypes import group_prototypes


def as_sets(prototypes, labels, mass):
    """Sort the prototypes, which come in no order that matters."""
    table = np.column_stack([np.unique(labels, return_inverse=True)[1], mass, prototypes])
    return table[np.lexsort(np.round(table, 8).T[::-1])]


def assert_same_prototypes(results, expected, tolerance=1e-10):
    assert results[0].shape == expected[0].shape
    assert_array_equal(results[1], expected[1])
    assert_allclose(as_sets(*results), as_sets(*expected), rtol=tolerance, atol=tolerance)


def test_one_prototype_is_the_weighted_mean():
    X, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).exponential(size=y.size)
    names = np.array(["setosa", "versicolor", "virginica"])
    prototypes, labels, mass = class_prototypes(X, names[y], sample_weight=weight)
    assert_array_equal(labels, names)
    for c in range(3):
        assert_allclose(prototypes[c], np.average(X[y == c], axis=0, weights=weight[y == c]))
        assert_allclose(mass[c], weight[y == c].sum())


def test_mass_counts_rows_without_weights():
    X, y = load_iris(return_X_y=True)
    for k in (1, 3):
        _, labels, mass = class_prototypes(X, y, n_prototypes=k)
        assert_array_equal(labels, np.repeat([0, 1, 2], k))
        assert_allclose(np.bincount(labels, weights=mass), 50)
        assert_array_equal(mass, np.round(mass))


@pytest.mark.parametrize("k", [2, 5])
def test_more_prototypes_are_centres_of_a_good_k_means(k):
    X, y = load_digits(return_X_y=True)
    weight = np.random.default_rng(0).exponential(size=y.size)
    prototypes, labels, mass = class_prototypes(X, y, sample_weight=weight, n_prototypes=k)
    ours = theirs = 0.0
    for c in range(10):
        rows, centres = y == c, prototypes[labels == c]
        distance = pairwise_distances(X[rows], centres)
        nearest = distance.argmin(axis=1)
        # A fixed point of Lloyd's algorithm: centres are the means of the rows nearest to them.
        for j, centre in enumerate(centres):
            own = weight[rows] * (nearest == j)
            assert_allclose(centre, own @ X[rows] / own.sum())
            assert_allclose(mass[labels == c][j], own.sum())
        ours += weight[rows] @ distance.min(axis=1) ** 2
        random = KMeans(k, n_init=1, random_state=0).fit(X[rows], sample_weight=weight[rows])
        theirs += random.inertia_
    # No worse than random initial centres.
    assert ours < 1.02 * theirs


# Coarse grids are full of repeated rows and of ties between centres.
GRID = st.integers(4, 14).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, (n, 2), elements=st.integers(-2, 2)).map(lambda X: X / 3),
        arrays(np.int64, n, elements=st.integers(0, 1)),
        arrays(np.int64, n, elements=st.integers(1, 4)),
    )
)
CLOUD = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).normal(size=(30, 3)),
        np.random.default_rng(seed).integers(0, 2, 30),
        np.random.default_rng(seed).integers(1, 5, 30),
    )
)


@given(data=GRID | CLOUD, k=st.integers(1, 5), scale=st.sampled_from([1.0, 0.1, 1 / 3]))
@settings(max_examples=200)
def test_repetition_is_weight_and_zero_is_absence(data, k, scale):
    X, y, times = data
    rng = np.random.default_rng(0)
    weighted = class_prototypes(X, y, sample_weight=scale * times, n_prototypes=k)
    repeated = class_prototypes(
        np.repeat(X, times, axis=0),
        np.repeat(y, times),
        sample_weight=np.full(times.sum(), scale),
        n_prototypes=k,
    )
    assert_same_prototypes(repeated, weighted)

    extra = rng.normal(scale=10, size=(3, X.shape[1]))
    with_absent = class_prototypes(
        np.vstack([extra, X]),
        np.r_[0, 1, 2, y],
        sample_weight=np.r_[np.zeros(3), scale * times],
        n_prototypes=k,
    )
    assert_same_prototypes(with_absent, weighted)

    order = rng.permutation(y.size)
    permuted = class_prototypes(X[order], y[order], sample_weight=scale * times[order], n_prototypes=k)
    assert_same_prototypes(permuted, weighted)


@given(data=GRID, k=st.integers(1, 30))
def test_no_more_prototypes_than_distinct_rows(data, k):
    X, y, times = data
    prototypes, labels, mass = class_prototypes(X, y, sample_weight=times, n_prototypes=k)
    for c in np.unique(y):
        distinct = np.unique(X[y == c], axis=0)
        centres = prototypes[labels == c]
        assert len(centres) == min(k, len(distinct))
        assert len(np.unique(centres, axis=0)) == len(centres)
        assert_allclose(mass[labels == c].sum(), times[y == c].sum())
        if k >= len(distinct):
            assert_allclose(np.sort(centres, axis=0), np.sort(distinct, axis=0))


def test_one_hot_rows_do_not_depend_on_rounding():
    # Hundreds of distinct rows at the same few distances from each other.
    rng = np.random.default_rng(0)
    X = np.hstack([np.eye(6)[rng.integers(0, 6, 3000)] for _ in range(5)])
    y, weight = np.zeros(3000), rng.exponential(size=3000)
    expected = class_prototypes(X, y, sample_weight=weight, n_prototypes=6)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(3000)
        permuted = class_prototypes(X[order], y[order], sample_weight=3 * weight[order], n_prototypes=6)
        assert_allclose(permuted[2].sum(), 3 * expected[2].sum())
        assert_same_prototypes((permuted[0], permuted[1], permuted[2] / 3), expected)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
def test_sparse_equals_dense(kind, k):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 12)) * (rng.uniform(size=(200, 12)) < 0.3)
    X[:20] = X[20:40]  # repeated rows
    y, weight = rng.integers(0, 3, 200), rng.exponential(size=200)
    results = class_prototypes(kind(X), y, sample_weight=weight, n_prototypes=k)
    assert isinstance(results[0], np.ndarray)
    # k-means only finds local optima: rows that sort differently would be another start.
    assert_same_prototypes(results, class_prototypes(X, y, sample_weight=weight, n_prototypes=k), 1e-9)


def test_sparse_repetition_is_weight():
    rng = np.random.default_rng(0)
    X = sparse.csr_array((rng.uniform(size=(80, 6)) < 0.4).astype(float))
    y, times = rng.integers(0, 2, 80), rng.integers(0, 4, 80)
    weighted = class_prototypes(X, y, sample_weight=times, n_prototypes=3)
    rows = rng.permutation(np.repeat(np.arange(80), times))
    assert_same_prototypes(class_prototypes(X[rows], y[rows], n_prototypes=3), weighted)


def test_sparse_input_is_left_alone():
    X = sparse.csr_array(np.arange(12.0).reshape(6, 2))
    before = X.copy()
    class_prototypes(X, [0] * 6, n_prototypes=2)
    assert_array_equal(X.toarray(), before.toarray())
    assert X.nnz == before.nnz


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**100])
def test_float32_stays_float32_at_any_scale(k, scale):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    expected = class_prototypes(X, y, n_prototypes=k)
    results = class_prototypes((X * scale).astype(np.float32), y, n_prototypes=k)
    assert results[0].dtype == np.float32
    results = (results[0].astype(np.float64) / scale, *results[1:])
    assert_allclose(as_sets(*results), as_sets(*expected), rtol=1e-4, atol=1e-4)


def test_far_from_the_origin():
    # Squared distances from the origin have no digits left for the distances between rows.
    X = np.array([[0.0], [1.0], [5.0], [6.0], [10.0], [11.0]])
    prototypes, _, _ = class_prototypes(X + 1e9, np.zeros(6), n_prototypes=3)
    assert_array_equal(np.sort(prototypes[:, 0]) - 1e9, [0.5, 5.5, 10.5])


def test_integers_and_frames():
    pandas = pytest.importorskip("pandas")
    X, y = np.array([[0, 1], [1, 1], [5, 0]]), ["b", "b", "a"]
    prototypes, labels, mass = class_prototypes(pandas.DataFrame(X), pandas.Series(y))
    assert_array_equal(prototypes, [[5, 0], [0.5, 1]])
    assert_array_equal(labels, ["a", "b"])
    assert_array_equal(mass, [1, 2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_computes_the_same_means(dtype):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(100, 5)).astype(dtype)
    codes, weight = rng.choice([0, 1, 3], 100), rng.exponential(size=100).astype(dtype)
    weight[codes == 1] = 0
    for sample_weight in (weight, None):
        expected = group_prototypes(Z, codes, 4, sample_weight, 1)
        results = group_prototypes(
            torch.from_numpy(Z),
            torch.from_numpy(codes),
            4,
            None if sample_weight is None else torch.from_numpy(sample_weight),
            1,
        )
        assert all(array_api_compat.is_torch_array(result) for result in results)
        assert_array_equal(results[1].numpy(), [0, 1, 3] if sample_weight is None else [0, 3])
        assert results[0].numpy().dtype == expected[0].dtype == np.dtype(dtype)
        for result, value in zip(results, expected, strict=True):
            assert_allclose(result.numpy(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"n_prototypes": 0}, ValueError, "n_prototypes == 0, must be >= 1"),
        ({"n_prototypes": 1.5}, TypeError, "n_prototypes must be an instance of int"),
        ({"X": [[np.nan], [1], [2]]}, ValueError, "contains NaN"),
        ({"X": [1, 2, 3]}, ValueError, "Expected 2D array"),
        ({"y": [0, 1]}, ValueError, "inconsistent numbers of samples"),
        ({"y": [0.5, 0.25, 0.1]}, ValueError, "Unknown label type: continuous"),
        ({"sample_weight": [1, 1]}, ValueError, r"shape \(3,\), one weight per row; got \(2,\)"),
        ({"sample_weight": [[1], [1], [1]]}, ValueError, r"got \(3, 1\)"),
        ({"sample_weight": [1, -1, 1]}, ValueError, r"must not be negative; its minimum is -1\.0"),
        ({"sample_weight": [0, 0, 0]}, ValueError, "sample_weight is zero for every row"),
        ({"sample_weight": [1, np.inf, 1]}, ValueError, "sample_weight contains infinity"),
    ],
)
def test_prototype_errors(changed, error, match):
    with pytest.raises(error, match=match):
        class_prototypes(**({"X": [[0.0], [1.0], [2.0]], "y": [0, 1, 0]} | changed))
