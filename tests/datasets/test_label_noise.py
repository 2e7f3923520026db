"""Flipped labels: how many, which, to what, on every kind of input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skotw.datasets import flip_labels

TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]])


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=7),
    rate=st.floats(0, 1),
    kind=st.sampled_from(["symmetric", "pair"]),
    seed=st.integers(0, 1000),
)
def test_number_of_flips(counts, rate, kind, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    y_noisy, mask = flip_labels(y, rate, kind=kind, random_state=seed, return_mask=True)
    # A flip always changes the label, and nothing else does.
    assert_array_equal(mask, y_noisy != y)
    assert np.all(np.isin(y_noisy, y))
    # Within one of the share, over all and in every class.
    assert abs(mask.sum() - rate * y.size) < 1 + 1e-6
    assert np.all(np.abs(np.bincount(y, weights=mask) - rate * np.array(counts)) < 1 + 1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_whole_numbers_are_exact(rate, seed):
    y = np.repeat(np.arange(7), 10 * np.arange(1, 8))
    _, mask = flip_labels(y, rate, random_state=seed, return_mask=True)
    assert_allclose(np.bincount(y, weights=mask), rate * np.bincount(y), atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "shares"),
    [
        ({"rate": 0.3}, 0.7 * np.eye(3) + 0.15 * (1 - np.eye(3))),
        ({"rate": 0.3, "kind": "pair"}, 0.7 * np.eye(3) + 0.3 * np.eye(3)[[1, 2, 0]]),
        ({"kind": "class-dependent", "transition": TRANSITION}, TRANSITION),
        (
            {"kind": "class-dependent", "rate": {0: 0.4, 2: 1}},
            np.array([[0.6, 0.2, 0.2], [0, 1, 0], [0.5, 0.5, 0]]),
        ),
    ],
    ids=["symmetric", "pair", "transition", "rates"],
)
def test_every_label_flips_with_the_probability_asked_for(arguments, shares):
    y = np.array([0, 1, 2, 0, 1, 2, 0])
    n_seeds = 4000
    seen = np.zeros((y.size, 3))
    for seed in range(n_seeds):
        seen[np.arange(y.size), flip_labels(y, random_state=seed, **arguments)] += 1
    expected = shares[y]
    assert np.all(seen[expected == 0] == 0)
    # Five standard deviations of a binomial share.
    assert np.all(np.abs(seen / n_seeds - expected) <= 5 * np.sqrt(expected * (1 - expected) / n_seeds))


def test_shares_of_a_large_sample():
    y = np.repeat([0, 1, 2], 10_000)
    y_noisy = flip_labels(y, kind="class-dependent", transition=TRANSITION, random_state=0)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (y, y_noisy), 1)
    assert_allclose(confusion, 10_000 * TRANSITION, atol=2)


def test_pair_goes_to_the_next_label_in_sorted_order():
    y = np.array(["b", "c", "a"])
    assert_array_equal(flip_labels(y, 1.0, kind="pair"), ["c", "a", "b"])


def test_seed():
    y = np.repeat([0, 1, 2], 50)
    assert_array_equal(flip_labels(y, 0.4, random_state=1), flip_labels(y, 0.4, random_state=1))
    assert np.any(flip_labels(y, 0.4, random_state=1) != flip_labels(y, 0.4, random_state=2))


def test_input_is_left_alone():
    y = np.repeat([0, 1], 20)
    flip_labels(y, 1.0)
    assert_array_equal(y, np.repeat([0, 1], 20))


@pytest.mark.parametrize(
    "y",
    [
        np.array([3, 5, 3, 5], dtype=np.int8),
        np.array([1.0, -1.0, 1.0, -1.0], dtype=np.float32),
        np.array([True, False, True, False]),
        np.array(["cat", "a longer dog", "cat", "a longer dog"]),
        np.array(["cat", "dog", "cat", "dog"], dtype=object),
    ],
    ids=lambda y: str(y.dtype),
)
def test_arrays_keep_their_type(y):
    flipped = flip_labels(y, 1.0)
    assert flipped.dtype == y.dtype
    assert_array_equal(flipped, y[[1, 0, 3, 2]])


def test_containers_keep_their_type():
    assert flip_labels(["x", "y", "x"], 1.0) == ["y", "x", "y"]

    pandas = pytest.importorskip("pandas")
    y = pandas.Series(["x", "y", "x"], index=[7, 3, 5], name="label", dtype="category")
    expected = pandas.Series(["y", "x", "y"], index=[7, 3, 5], name="label", dtype="category")
    pandas.testing.assert_series_equal(flip_labels(y, 1.0), expected)

    polars = pytest.importorskip("polars")
    y = polars.Series("label", ["x", "y", "x"], dtype=polars.Enum(["x", "y"]))
    flipped = flip_labels(y, 1.0)
    assert flipped.dtype == y.dtype
    assert flipped.name == "label"
    assert flipped.to_list() == ["y", "x", "y"]


CLASS_DEPENDENT = {"kind": "class-dependent", "rate": None}


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"rate": -0.1}, r"rate must be a number in \[0, 1\]"),
        ({"rate": 30}, "a share of the labels; got 30"),
        ({"rate": np.nan}, r"rate must be a number in \[0, 1\]"),
        ({"rate": None}, "got None"),
        ({"rate": "0.3"}, "got '0.3'"),
        ({"kind": "uniform"}, "symmetric, pair, class-dependent; got 'uniform'"),
        ({"transition": np.eye(3)}, "transition goes with kind='class-dependent'"),
        ({"rate": {0: 0.1}}, "One rate per class goes with kind='class-dependent'"),
        ({"kind": "class-dependent"}, "takes either transition="),
        (CLASS_DEPENDENT, "takes either transition="),
        (CLASS_DEPENDENT | {"rate": {0: 0.1}, "transition": np.eye(3)}, "takes either"),
        (CLASS_DEPENDENT | {"rate": 0.1, "transition": np.eye(3)}, "takes either"),
        (CLASS_DEPENDENT | {"rate": {0: 0.1, 9: 0.1}}, r"does not have: \[9\]"),
        (CLASS_DEPENDENT | {"rate": {0: 1.1}}, "rate of class 0 must be"),
        (CLASS_DEPENDENT | {"transition": np.eye(2)}, r"shape \(3, 3\).*got \(2, 2\)"),
        (CLASS_DEPENDENT | {"transition": 2 * np.eye(3)}, "rows that sum to 1"),
        (CLASS_DEPENDENT | {"transition": 2 * np.eye(3) - 1 / 3}, "no negative entry"),
        (CLASS_DEPENDENT | {"transition": np.full((3, 3), np.nan)}, "transition contains NaN"),
        ({"y": [1, 1, 1]}, "at least two classes. y has only 1"),
        ({"y": [0.1, 0.2, 0.3]}, "Unknown label type: continuous"),
        ({"y": [[0, 1], [1, 0]]}, "1d array"),
    ],
)
def test_errors(changed, match):
    arguments = {"y": [0, 1, 2, 0, 1, 2], "rate": 0.2} | changed
    with pytest.raises(ValueError, match=match):
        flip_labels(**arguments)
