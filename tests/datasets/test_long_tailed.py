"""The exponential profile, on every kind of input."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits

from skotw.datasets import make_long_tailed


def rows_and_labels(counts, labels=None):
    y = np.repeat(np.arange(len(counts)) if labels is None else labels, counts)
    return np.arange(y.size)[:, np.newaxis], y


# Sizes of the training sets that the long-tail literature calls CIFAR-10-LT and CIFAR-100-LT.
@pytest.mark.parametrize(
    ("n_classes", "per_class", "imbalance_factor", "total"),
    [(10, 5000, 10, 20431), (10, 5000, 100, 12406), (100, 500, 10, 19573), (100, 500, 100, 10847)],
)
def test_sizes_are_the_published_ones(n_classes, per_class, imbalance_factor, total):
    X, y = rows_and_labels([per_class] * n_classes)
    _, y_lt = make_long_tailed(X, y, imbalance_factor, random_state=0)
    sizes = np.bincount(y_lt)
    assert y_lt.size == total
    assert sizes[0] == per_class
    assert sizes[-1] == per_class / imbalance_factor


@given(
    counts=st.lists(st.integers(1, 300), min_size=2, max_size=8),
    imbalance_factor=st.floats(1, 1e6),
    class_order=st.sampled_from(["sorted", "frequency", "random"]),
    seed=st.integers(0, 100),
)
def test_profile_and_largest_head(counts, imbalance_factor, class_order, seed):
    X, y = rows_and_labels(counts)
    options = {"class_order": class_order, "random_state": seed}
    X_lt, y_lt = make_long_tailed(X, y, imbalance_factor, **options)
    sizes = np.sort(np.bincount(y_lt, minlength=len(counts)))[::-1]
    ideal = sizes[0] * imbalance_factor ** (-np.arange(len(counts)) / (len(counts) - 1))
    assert np.all(sizes >= 1)
    assert np.all(np.abs(sizes - np.maximum(ideal, 1)) < 1 + 1e-6)
    # Rows are kept as they are, none twice.
    assert np.unique(X_lt).size == X_lt.size
    assert_array_equal(y[X_lt[:, 0]], y_lt)
    # One more row in the head would be too many.
    make_long_tailed(X, y, imbalance_factor, n_max=int(sizes[0]), **options)
    with pytest.raises(ValueError, match="asks for more rows"):
        make_long_tailed(X, y, imbalance_factor, n_max=int(sizes[0]) + 1, **options)


def test_class_orders():
    X, y = rows_and_labels([20, 60, 40], labels=["a", "b", "c"])

    def sizes(class_order):
        _, y_lt = make_long_tailed(X, y, 4, n_max=20, class_order=class_order, random_state=0)
        return Counter(y_lt.tolist())

    assert sizes("sorted") == {"a": 20, "b": 10, "c": 5}
    assert sizes("frequency") == {"a": 5, "b": 20, "c": 10}
    assert sizes(["c", "a", "b"]) == {"a": 10, "b": 5, "c": 20}
    assert sorted(sizes("random").values()) == [5, 10, 20]


def test_random_order_depends_on_the_seed():
    X, y = rows_and_labels([50] * 6)
    heads = set()
    for seed in range(20):
        _, y_lt = make_long_tailed(X, y, 10, class_order="random", random_state=seed)
        heads.add(int(np.bincount(y_lt).argmax()))
    assert len(heads) > 2


def test_seed_and_shuffle():
    X, y = load_digits(return_X_y=True)

    def indices(**options):
        return make_long_tailed(X, y, 10, return_indices=True, **options)[2]

    assert_array_equal(indices(random_state=3), indices(random_state=3))
    assert not np.array_equal(indices(random_state=3), indices(random_state=4))
    assert np.any(np.diff(indices(random_state=3)) < 0)
    # Without shuffling: the first rows of each class, in their order.
    in_order = indices(shuffle=False)
    assert np.all(np.diff(in_order) > 0)
    for c in range(10):
        of_class = np.flatnonzero(y == c)
        kept = in_order[y[in_order] == c]
        assert_array_equal(kept, of_class[: kept.size])


def test_all_rows_are_equally_likely():
    X, y = rows_and_labels([10, 10])
    drawn = np.zeros(20)
    for seed in range(1000):
        _, _, indices = make_long_tailed(X, y, 2, n_max=8, random_state=seed, return_indices=True)
        drawn[indices] += 1
    # Five standard deviations of a binomial share of 8 / 10 and of 4 / 10.
    assert np.all(np.abs(drawn / 1000 - np.repeat([0.8, 0.4], 10)) < 5 * np.sqrt(0.24 / 1000))


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "list", "pandas", "polars", "images"])
def test_containers(kind):
    X, y = load_digits(return_X_y=True)
    labels = np.array([f"digit {c}" for c in y])
    options = {"random_state": 0, "return_indices": True}
    _, _, indices = make_long_tailed(X, labels, 20, **options)
    data, given_labels = X, labels
    if kind in {"csr", "csc", "coo"}:
        data = sparse.coo_array(X).asformat(kind)
    elif kind == "list":
        data, given_labels = X.tolist(), labels.tolist()
    elif kind == "images":
        data = X.reshape(-1, 8, 8)
    else:
        library = pytest.importorskip(kind)
        data, given_labels = library.DataFrame(X), library.Series(labels)
    X_lt, y_lt, same = make_long_tailed(data, given_labels, 20, **options)
    assert_array_equal(same, indices)
    assert type(y_lt) is type(given_labels)
    assert_array_equal(np.asarray(y_lt), labels[indices])
    # As everywhere in scikit-learn, selecting rows turns sparse matrices into CSR.
    assert type(X_lt) is (sparse.csr_array if sparse.issparse(data) else type(data))
    dense = X_lt.toarray() if sparse.issparse(X_lt) else np.asarray(X_lt)
    assert_array_equal(dense.reshape(indices.size, -1), X[indices])
    if kind == "pandas":
        assert_array_equal(X_lt.index, indices)


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"imbalance_factor": 0.5}, ValueError, "imbalance_factor == 0.5, must be >= 1"),
        ({"imbalance_factor": np.inf}, ValueError, "must be finite"),
        ({"imbalance_factor": np.nan}, ValueError, "must be finite"),
        ({"imbalance_factor": "10"}, TypeError, "imbalance_factor must be an instance of"),
        ({"n_max": 0}, ValueError, "n_max == 0, must be >= 1"),
        ({"n_max": 1.5}, TypeError, "n_max must be an instance of"),
        ({"n_max": 13}, ValueError, r"class 'a' has 12 of 13\. Use n_max=12 or less"),
        ({"n_max": 40}, ValueError, "'a' has 12 of 40, 'b' has 12 of 20"),
        ({"class_order": "reverse"}, ValueError, "sorted, frequency, random or a list"),
        ({"class_order": ["a", "b"]}, ValueError, r"\['a', 'b', 'c'\]; got \['a', 'b'\]"),
        ({"class_order": ["a", "b", "d"]}, ValueError, "must list every class of y once"),
        ({"class_order": ["a", "b", "c", "c"]}, ValueError, "must list every class of y once"),
        ({"y": ["a"] * 36}, ValueError, "at least two classes. y has only 'a'"),
        ({"y": np.linspace(0, 1, 36)}, ValueError, "Unknown label type: continuous"),
        ({"y": ["a", "b"]}, ValueError, "inconsistent numbers of samples"),
    ],
)
def test_errors(changed, error, match):
    X, y = rows_and_labels([12, 12, 12], labels=["a", "b", "c"])
    arguments = {"X": X, "y": y, "imbalance_factor": 4, "n_max": 4} | changed
    with pytest.raises(error, match=match):
        make_long_tailed(**arguments)
