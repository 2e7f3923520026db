"""Metrics: closed forms, invariances, POT and SciPy as oracles, and the direction of each."""

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu, wasserstein_distance

from skotw.metrics import (
    class_weight_mass,
    effective_sample_size,
    mislabel_auc,
    transport_distance,
)

BAD_WEIGHTS = [
    ([1, -1, 1], "w must not be negative"),
    ([0, 0, 0], "w is zero for every row"),
    ([1, np.nan, 1], "w contains NaN"),
    ([[1], [1], [1]], "w must have shape"),
]

# ------------------------------------------------------------------------------------------------
# effective_sample_size


@given(
    w=arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)).filter(np.any),
    scale=st.sampled_from([1e-250, 1.0, 1e250]),
)
def test_effective_sample_size(w, scale):
    w = np.where(w < 1e-6, 0, w)
    if not w.any():
        w[0] = 1
    size = effective_sample_size(w * scale)
    assert 1 - 1e-12 <= size <= np.count_nonzero(w) * (1 + 1e-12)
    assert_allclose(size, w.sum() ** 2 / np.sum(w**2))


@pytest.mark.parametrize("n", [1, 7])
def test_effective_sample_size_of_equal_weights(n):
    assert effective_sample_size(np.full(n, 0.3)) == pytest.approx(n)
    assert effective_sample_size(np.eye(n)[0]) == 1


@pytest.mark.parametrize(("w", "match"), BAD_WEIGHTS)
def test_effective_sample_size_errors(w, match):
    with pytest.raises(ValueError, match=match):
        effective_sample_size(w)


# ------------------------------------------------------------------------------------------------
# class_weight_mass


def test_class_weight_mass():
    y = np.array(["b", "a", "b", "c"])
    mass = class_weight_mass([1, 2, 3, 0], y)
    assert mass == pytest.approx({"a": 1 / 3, "b": 2 / 3, "c": 0})
    assert list(mass) == ["a", "b", "c"]
    assert class_weight_mass([1e300, 1e300], [7, 8]) == {7: 0.5, 8: 0.5}
    assert all(type(value) is float for value in mass.values())


@pytest.mark.parametrize(("w", "match"), [*BAD_WEIGHTS, ([1, 1], "one weight per row")])
def test_class_weight_mass_errors(w, match):
    with pytest.raises(ValueError, match=match):
        class_weight_mass(w, [0, 1, 1])


# ------------------------------------------------------------------------------------------------
# mislabel_auc


def test_mislabel_auc_directions():
    y = np.repeat([0, 1], 10)
    wrong = np.tile([True, False, False, False, False], 4)
    assert mislabel_auc(np.where(wrong, 1, 2), y, wrong) == 1
    assert mislabel_auc(np.where(wrong, 2, 1), y, wrong) == 0
    # Weights by class alone know nothing, however unequal the classes.
    assert mislabel_auc(np.where(y == 1, 100, 1), y, wrong) == 0.5


def test_mislabel_auc_is_the_probability_of_the_right_order():
    rng = np.random.default_rng(0)
    w, y, wrong = rng.integers(1, 6, 200), rng.integers(0, 3, 200), rng.uniform(size=200) < 0.3
    areas = []
    for c in range(3):
        right_rows, wrong_rows = w[(y == c) & ~wrong], w[(y == c) & wrong]
        statistic = mannwhitneyu(right_rows, wrong_rows).statistic
        areas.append(statistic / (right_rows.size * wrong_rows.size))
    assert mislabel_auc(w, y, wrong) == pytest.approx(np.mean(areas))
    # A class without wrong labels has nothing to say.
    more = np.r_[w, 1, 9], np.r_[y, 3, 3], np.r_[wrong, False, False]
    assert mislabel_auc(*more) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize(
    ("w", "mislabelled", "match"),
    [
        *((w, [True, False, False], match) for w, match in BAD_WEIGHTS),
        ([1, 1], [True, False, False], "one weight per row"),
        ([1, 1, 1], [True, False], "inconsistent numbers of samples"),
        ([1, 1, 1], [1, 0, 0], "boolean mask; got an array of int64"),
        ([1, 1, 1], [False, False, True], "No class holds both"),
    ],
)
def test_mislabel_auc_errors(w, mislabelled, match):
    with pytest.raises(ValueError, match=match):
        mislabel_auc(w, [0, 0, 1], mislabelled)


# ------------------------------------------------------------------------------------------------
# transport_distance


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return {
        "X": rng.normal(size=(30, 3)),
        "X_meta": rng.normal(size=(8, 3)) + 0.5,
        "y": rng.integers(0, 3, 30),
        "y_meta": rng.integers(0, 3, 8),
        "sample_weight": rng.exponential(size=30),
        "sample_weight_meta": rng.exponential(size=8),
    }


def test_one_dimension_is_the_wasserstein_distance(sides):
    u, v = sides["X"][:, :1], sides["X_meta"][:, :1]
    p, b = sides["sample_weight"], sides["sample_weight_meta"]
    distance = transport_distance(u, v, sample_weight=p, sample_weight_meta=b, metric="euclidean", cost_scale=1)
    assert distance == pytest.approx(wasserstein_distance(u[:, 0], v[:, 0], p, b), rel=1e-10)


def test_equal_numbers_are_an_assignment(sides):
    X, X_meta = sides["X"][:8], sides["X_meta"]
    cost = np.linalg.norm(X[:, np.newaxis] - X_meta, axis=2) ** 2
    rows, columns = linear_sum_assignment(cost)
    distance = transport_distance(X, X_meta, metric="sqeuclidean")
    assert distance == pytest.approx(cost[rows, columns].mean() / cost.mean(), rel=1e-10)


def test_labels_alone_are_the_total_variation(sides):
    distance = transport_distance(**sides, label_weight=1)
    p = np.bincount(sides["y"], weights=sides["sample_weight"])
    b = np.bincount(sides["y_meta"], weights=sides["sample_weight_meta"])
    total_variation = np.abs(p / p.sum() - b / b.sum()).sum() / 2
    assert distance == pytest.approx(total_variation, rel=1e-10)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean", "manhattan"])
def test_combined_cost(sides, metric):
    power = 2 if metric == "euclidean" else 1
    p = sides["sample_weight"] / sides["sample_weight"].sum()
    b = sides["sample_weight_meta"] / sides["sample_weight_meta"].sum()
    dist = {"manhattan": "cityblock"}.get(metric, metric)
    feature_cost = ot.dist(sides["X"], sides["X_meta"], metric=dist)
    scale = (p @ feature_cost**power @ b) ** (1 / power)
    label_cost = sides["y"][:, np.newaxis] != sides["y_meta"]
    cost = 0.7 * feature_cost / scale + 0.3 * label_cost
    distance = transport_distance(**sides, metric=metric, label_weight=0.3)
    assert distance == pytest.approx(ot.emd2(p, b, cost), rel=1e-8)


def test_same_measure_is_at_distance_zero(sides):
    X, y, w = sides["X"], sides["y"], sides["sample_weight"]
    order = np.random.default_rng(1).permutation(30)
    distance = transport_distance(X, X[order], y, y[order], sample_weight=w, sample_weight_meta=3 * w[order])
    assert distance == pytest.approx(0, abs=1e-10)


def test_repetition_is_weight_and_zero_is_absence(sides):
    times = np.arange(30) % 4
    repeated = sides | {
        "X": np.repeat(sides["X"], times, axis=0),
        "y": np.repeat(sides["y"], times),
        "sample_weight": None,
    }
    for reg in (0, 0.1):
        weighted = transport_distance(**sides | {"sample_weight": times}, reg=reg)
        assert weighted == pytest.approx(transport_distance(**repeated, reg=reg), rel=1e-7)


def test_scale_of_the_features_does_not_matter(sides):
    for metric in ("euclidean", "sqeuclidean"):
        expected = transport_distance(**sides, metric=metric)
        for scale in (1e-30, 1e30):
            scaled = {name: sides[name] * scale for name in ("X", "X_meta")}
            distance = transport_distance(**sides | scaled, metric=metric)
            assert distance == pytest.approx(expected, rel=1e-8)


def test_identical_points():
    assert transport_distance(np.ones((4, 2)), np.ones((3, 2)), metric="euclidean") == 0
    # Zero vectors are at cosine distance 1 from everything.
    assert transport_distance(np.zeros((4, 2)), np.ones((3, 2))) == pytest.approx(1)


def test_better_weights_are_nearer():
    rng = np.random.default_rng(0)
    trusted = np.vstack([rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) + 6])
    y_trusted = np.repeat([0, 1], 20)
    X = np.vstack([rng.normal(size=(90, 2)), rng.normal(size=(30, 2)) + 6])
    truth = np.repeat([0, 1], [90, 30])
    y = truth.copy()
    y[:20] = 1  # wrong
    options = {"metric": "euclidean", "cost_scale": 4.0}

    def distance(weight):
        return transport_distance(X, trusted, y, y_trusted, sample_weight=weight, **options)

    balanced = np.where(truth == 0, 1 / 90, 1 / 30)
    without_wrong = np.where(y == truth, np.where(truth == 0, 1 / 70, 1 / 30), 0)
    assert distance(without_wrong) < distance(balanced) < distance(None)


def test_entropic_plan_costs_more_and_never_counts_the_entropy(sides):
    exact = transport_distance(**sides)
    distances = [transport_distance(**sides, reg=reg) for reg in (0.01, 0.1, 1.0, 1e6)]
    assert np.all(np.diff([exact, *distances]) > 0)
    assert distances[0] == pytest.approx(exact, abs=0.01)
    # A plan that is all entropy is the product of the two measures: scaled features then cost 1.
    p = np.bincount(sides["y"], weights=sides["sample_weight"]) / sides["sample_weight"].sum()
    b = np.bincount(sides["y_meta"], weights=sides["sample_weight_meta"])
    product_cost = 0.5 + 0.5 * (1 - p @ b / b.sum())
    mean = transport_distance(**sides, metric="sqeuclidean", reg=1e6)
    assert mean == pytest.approx(product_cost, rel=1e-5)


def test_entropic_plan_is_that_of_pot(sides):
    cost = ot.dist(sides["X"], sides["X_meta"])
    cost /= cost.mean()
    plan = ot.sinkhorn(np.full(30, 1 / 30), np.full(8, 1 / 8), cost, 0.2, stopThr=1e-12)
    distance = transport_distance(sides["X"], sides["X_meta"], metric="sqeuclidean", reg=0.2)
    assert distance == pytest.approx(np.sum(plan * cost), rel=1e-6)


def test_sinkhorn_that_stops_early_warns(sides, monkeypatch):
    monkeypatch.setattr("skotw.metrics._MAX_SINKHORN_ITER", 2)
    with pytest.warns(UserWarning, match="Sinkhorn did not converge"):
        transport_distance(**sides, reg=0.001)


def test_metrics_and_containers(sides):
    X, X_meta = np.maximum(sides["X"], 0), np.maximum(sides["X_meta"], 0)
    labels = np.array(["a", "b", "c"])
    words = {"y": labels[sides["y"]], "y_meta": labels[sides["y_meta"]].tolist()}
    arguments = sides | {"metric": "sqeuclidean", "X": X, "X_meta": X_meta}
    expected = transport_distance(**arguments)
    cost = np.linalg.norm(X[:, np.newaxis] - X_meta, axis=2) ** 2
    before = cost.copy()
    for changed in (
        words,
        {"X": sparse.csr_array(X), "X_meta": sparse.csr_array(X_meta), "metric": "euclidean"},
        {"metric": lambda a, b: float(np.sum((a - b) ** 2))},
        {"metric": "precomputed", "X": cost, "X_meta": None},
    ):
        reference = expected
        if changed.get("metric") == "euclidean":
            reference = transport_distance(**arguments | {"metric": "euclidean"})
        assert transport_distance(**arguments | changed) == pytest.approx(reference, rel=1e-8)
    assert np.array_equal(cost, before)

    pandas = pytest.importorskip("pandas")
    frames = {"X": pandas.DataFrame(X), "X_meta": pandas.DataFrame(X_meta)}
    frames |= {name: pandas.Series(words[name], dtype="category") for name in words}
    assert transport_distance(**arguments | frames) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"reg": -1}, "reg must be a finite number of at least 0; got -1"),
        ({"reg": "auto"}, "got 'auto'"),
        ({"reg": np.nan}, "reg must be"),
        ({"label_weight": 1.5}, r"label_weight must be a number in \[0, 1\]"),
        ({"cost_scale": 0}, "cost_scale must be None or a finite number above 0"),
        ({"y_meta": None}, "Give both y and y_meta"),
        ({"y": None}, "Give both y and y_meta"),
        ({"X_meta": None}, "Only metric='precomputed' does without"),
        ({"metric": "precomputed"}, "Leave X_meta out"),
        (
            {"metric": "precomputed", "X_meta": None, "X": np.full((30, 8), np.nan)},
            "X contains NaN",
        ),
        (
            {"metric": "precomputed", "X_meta": None, "X": -np.ones((30, 8))},
            "cost -1 between row 0 of X",
        ),
        ({"metric": lambda a, b: np.inf}, "the cost inf between row 0 of X and trusted row 0. Costs must be finite"),
        ({"metric": "manhatten"}, "manhatten"),
        ({"X": np.zeros((30, 4))}, "Incompatible dimension"),
        ({"X_meta": np.zeros(3)}, "Expected 2D array"),
        ({"sample_weight": np.ones(8)}, r"sample_weight must have shape \(30,\)"),
        ({"sample_weight_meta": -np.ones(8)}, "sample_weight_meta must not be negative"),
        ({"sample_weight_meta": np.zeros(8)}, "sample_weight_meta is zero for every row"),
        ({"y": np.zeros(8)}, r"y must have shape \(30,\), one label per row; got \(8,\)"),
        ({"y_meta": np.linspace(0, 1, 8)}, "y_meta is continuous"),
        ({"y_meta": ["a"] * 8}, "y and y_meta cannot be compared.*Give both the same type"),
    ],
)
def test_transport_distance_errors(sides, changed, match):
    with pytest.raises(ValueError, match=match):
        transport_distance(**sides | changed)


# ------------------------------------------------------------------------------------------------
# Tensors


def test_tensors_count_like_arrays(sides):
    torch = pytest.importorskip("torch")
    w, y = sides["sample_weight"], sides["y"]
    wrong = np.arange(30) % 4 == 0
    tensors = {name: torch.from_numpy(value) for name, value in sides.items()}
    assert effective_sample_size(tensors["sample_weight"]) == effective_sample_size(w)
    assert class_weight_mass(tensors["sample_weight"], tensors["y"]) == class_weight_mass(w, y)
    auc = mislabel_auc(tensors["sample_weight"], tensors["y"], torch.from_numpy(wrong))
    assert auc == mislabel_auc(w, y, wrong)
    assert transport_distance(**tensors) == transport_distance(**sides)
