"""The split is balanced and disjoint."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris

from skotw.meta import balanced_meta_split


@pytest.mark.parametrize("n_per_class", [1, 10, 49])
def test_split_is_balanced_and_a_partition(n_per_class):
    _, y = load_iris(return_X_y=True)
    rows = np.arange(y.size)
    train, y_train, meta, y_meta = balanced_meta_split(rows, y, n_per_class, random_state=0)
    assert_array_equal(np.bincount(y_meta), [n_per_class] * 3)
    assert_array_equal(np.sort(np.concatenate([train, meta])), rows)
    assert_array_equal(y[train], y_train)
    assert_array_equal(y[meta], y_meta)
    # In the order of the input.
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(meta) > 0)


def test_split_follows_the_seed():
    rows, y = np.arange(60), np.repeat(["a", "b"], 30)
    meta = [balanced_meta_split(rows, y, 5, random_state=seed)[2] for seed in (0, 0, 1)]
    assert_array_equal(meta[0], meta[1])
    assert np.any(meta[0] != meta[2])


def test_all_rows_are_equally_likely():
    rows, y = np.arange(20), np.repeat([0, 1], [5, 15])
    drawn = np.zeros(20)
    for seed in range(1000):
        drawn[balanced_meta_split(rows, y, 3, random_state=seed)[2]] += 1
    # Five standard deviations of a binomial share of 3 / 5 and of 3 / 15.
    assert np.all(np.abs(drawn / 1000 - np.repeat([0.6, 0.2], [5, 15])) < 5 * np.sqrt(0.24 / 1000))


@pytest.mark.parametrize("kind", ["csr", "csc", "list", "pandas", "polars", "images"])
def test_split_keeps_containers(kind):
    X, y = load_digits(return_X_y=True)
    labels = np.array([f"digit {c}" for c in y])
    expected = balanced_meta_split(X, labels, random_state=0)
    data, given_labels = X, labels
    if kind in {"csr", "csc"}:
        data = sparse.csr_array(X).asformat(kind)
    elif kind == "list":
        data, given_labels = X.tolist(), labels.tolist()
    elif kind == "images":
        data = X.reshape(-1, 8, 8)
    else:
        library = pytest.importorskip(kind)
        data, given_labels = library.DataFrame(X), library.Series(labels)
    parts = balanced_meta_split(data, given_labels, random_state=0)
    for part, expected_part in zip(parts, expected, strict=True):
        dense = part.toarray() if sparse.issparse(part) else np.asarray(part)
        assert_array_equal(dense.reshape(expected_part.shape), expected_part)
    for part, whole in zip(parts, (data, given_labels) * 2, strict=True):
        assert type(part) is (sparse.csr_array if sparse.issparse(whole) else type(whole))


@pytest.mark.parametrize(
    ("n_per_class", "y", "error", "match"),
    [
        (3, list("aaaabbbcc"), ValueError, r"at least 4 rows of every class.*'b' \(3\), 'c' \(2\)"),
        (0, list("aabb"), ValueError, "n_per_class == 0, must be >= 1"),
        (0.5, list("aabb"), TypeError, "n_per_class must be an instance of int"),
        (1, [0.1, 0.2, 0.3, 0.4], ValueError, "Unknown label type: continuous"),
    ],
)
def test_split_errors(n_per_class, y, error, match):
    with pytest.raises(error, match=match):
        balanced_meta_split(np.zeros((len(y), 2)), y, n_per_class)


def test_split_wants_a_label_per_row():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        balanced_meta_split(np.zeros((5, 2)), [0, 1, 0, 1], 1)
