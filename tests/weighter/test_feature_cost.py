"""The feature cost: its share in the whole, what it must not be, and the rows that an error names."""

import numpy as np
import ot
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.spatial.distance import cdist

from skotw import OTSampleWeighter, OTWeightedClassifier, ot_sample_weight
from skotw._weighter.feature_cost import FeatureMetric
from skotw.metrics import transport_distance


def example(n=40, n_meta=9, n_features=3, seed=0):
    """X, X_meta and a generator."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_features)), rng.normal(size=(n_meta, n_features)) + 0.3, rng


# ---- the share of features and labels, against a dense formula


def dense_weights(d, s, label_cost, lam, reg):
    """The row sums of the plan under C = (1 - lam) d / s + lam l, uniform measures, by POT."""
    n, m = d.shape
    C = (1 - lam) * d / s + lam * label_cost
    p, b = np.full(n, 1 / n), np.full(m, 1 / m)
    plan = ot.unbalanced.sinkhorn_unbalanced(
        p, b, C, reg, reg_m=(0, np.inf), reg_type="kl", stopThr=1e-14, numItermax=2000
    )
    return n * plan.sum(axis=1)


def columns_cost(y, y_meta):
    return np.mean(y[:, None, :] != y_meta[None, :, :], axis=2)


@pytest.mark.parametrize("metric", ["cityblock", "cosine", "sqeuclidean", "euclidean"])
@pytest.mark.parametrize("lam", [0.2, 0.7, 0.0])
@pytest.mark.parametrize("cost_scale", [None, 3.0])
@pytest.mark.parametrize("kind", ["continuous", "columns"])
def test_costs_that_go_by_pairs_have_their_shares(metric, lam, cost_scale, kind):
    X, X_meta, rng = example()
    if kind == "continuous":
        y, y_meta = rng.gamma(2.0, size=len(X)), rng.gamma(2.0, size=len(X_meta))
        label_cost = np.abs(y[:, None] - y_meta[None, :])
        label_cost /= label_cost.mean()
    else:
        y, y_meta = (np.column_stack([rng.integers(0, k, n) for k in (2, 3, 2)]) for n in (len(X), len(X_meta)))
        y[:3], y_meta[:3] = np.arange(3)[:, None] % [2, 3, 2], np.arange(3)[:, None] % [2, 3, 2]
        label_cost = columns_cost(y, y_meta)
    d = cdist(X, X_meta, metric)
    s = cost_scale
    if s is None:
        s = np.sqrt((d**2).mean()) if metric == "euclidean" else d.mean()
    weighter = OTSampleWeighter(
        metric=metric, label_weight=lam, cost_scale=cost_scale, reg=0.15, prior="uniform", class_mass="meta",
        embedding=None, target_type=kind,
    )  # fmt: skip
    weights = weighter.fit_weights(X, y, X_meta, y_meta)
    assert_allclose(weights, dense_weights(d, s, label_cost, lam, 0.15), rtol=1e-8)
    assert_allclose(weighter.cost_scale_, s, rtol=1e-10)
    assert_allclose(weighter.weigh(X, y), weights, rtol=1e-10)


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "euclidean"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_distances_of_trusted_rows_are_those_of_the_metric(metric, container):
    A, B, _ = example(6, 5)
    A[2] = B[1]
    found = FeatureMetric.of(metric, container(A), np.ones(6), container(B))
    assert_allclose(found.distances(container(A), container(B)), cdist(A, B, metric), atol=1e-8)


# ---- scale


@pytest.mark.parametrize("scale", [1e-320, 1e-310, 1e-200, 1e-20, 1e20, 1e200, 1e307])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_cosine_does_not_depend_on_the_scale_of_a_row(scale, container):
    X, X_meta, rng = example(60, 12)
    y, y_meta = rng.integers(0, 2, 60), np.repeat([0, 1], 6)
    factor, factor_meta = np.where(rng.random((60, 1)) < 0.5, scale, 1.0), np.ones((12, 1))
    factor_meta[::3] = scale
    settings = {"embedding": None, "metric": "cosine"}
    expected = OTSampleWeighter(**settings).fit(X, y, X_meta, y_meta)
    scaled = OTSampleWeighter(**settings).fit(container(X * factor), y, container(X_meta * factor_meta), y_meta)
    rtol = 1e-9 if scale > 1e-300 else 0.05 if scale < 1e-315 else 1e-3  # such numbers have few digits
    assert_allclose(scaled.sample_weight_, expected.sample_weight_, rtol=rtol)
    assert_allclose(scaled.reg_, expected.reg_, rtol=rtol)
    assert_allclose(scaled.label_reliability_.overall, expected.label_reliability_.overall, rtol=rtol)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_squares_that_leave_the_floats_are_refused(metric, container):
    X, X_meta, rng = example()
    y, y_meta = rng.integers(0, 2, len(X)), np.arange(len(X_meta)) % 2
    weighter = OTSampleWeighter(metric=metric, embedding=None)
    with pytest.raises(ValueError, match=f"{metric}.*below what float64 holds.*by a large constant"):
        weighter.fit(container(X * 1e-160), y, container(X_meta * 1e-160), y_meta)
    far = X.copy()
    far[17] *= 1e160
    with pytest.raises(ValueError, match=f"{metric}.*row 17 of X exceed what float64 holds.*by a small constant"):
        weighter.fit(container(far), y, container(X_meta), y_meta)
    # dense rows are measured from the mean of the trusted ones
    with pytest.raises(ValueError, match=r"those of (a trusted row|row 0 of X) exceed"):
        weighter.set_params(cost_scale=1.0).fit(container(X * 0), y, container(X_meta * 1e160), y_meta)
    # rows at one point have no distances to lose
    weights = OTSampleWeighter(metric=metric, embedding=None).fit_weights(
        container(X * 0), np.arange(len(X)) % 2, container(X_meta * 0), y_meta
    )
    assert_allclose(weights, 1.0)


def test_euclidean_distances_far_from_one_are_those_of_rows_near_it():
    X, X_meta, rng = example()
    y, y_meta = rng.integers(0, 2, len(X)), np.arange(len(X_meta)) % 2
    settings = {"metric": "sqeuclidean", "embedding": None}
    expected = ot_sample_weight(X, y, X_meta, y_meta, **settings)
    for scale in (1e-140, 1e150):
        assert_allclose(ot_sample_weight(X * scale, y, X_meta * scale, y_meta, **settings), expected, rtol=1e-9)


def test_costs_beyond_the_floats_in_their_unit_are_refused():
    X, X_meta, _ = example()
    y, y_meta = np.arange(len(X)) % 2, np.arange(len(X_meta)) % 2
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="in units of 1e-310 are not finite"):
        OTSampleWeighter(cost_scale=1e-310).fit(X, y, X_meta, y_meta)
    settings = {"reg": 1e-310, "cost_scale": 1.0}
    message = "cost_scale=1 and reg=1e-310 exceed the largest float"
    with np.errstate(all="ignore"):
        with pytest.raises(ValueError, match=message):
            OTSampleWeighter(**settings).fit(X, y, X_meta, y_meta)
        with pytest.raises(ValueError, match=message):
            OTSampleWeighter(**settings).partial_fit(X, y, X_meta, y_meta)


# ---- costs that are no costs


def constant_row(X):
    X[7] = 1.0


def zero_row(X):
    X[:] = np.abs(X)
    X[7] = 0.0


def incomplete_row(X):
    X[7, 1:] = np.nan


def nothing(X):
    pass


def value_near(value):
    """A metric that returns ``value`` for row 7 of the example."""
    mark = example()[0][7, 0]
    return lambda a, b: value if mark in (a[0], b[0]) else np.abs(a - b).sum()


BROKEN = [
    ("correlation", constant_row, nothing, "nan"),
    ("braycurtis", zero_row, zero_row, "nan"),
    ("nan_euclidean", incomplete_row, lambda X: X[:, 0].fill(np.nan), "nan"),
    (value_near(np.nan), nothing, nothing, "nan"),
    (value_near(np.inf), nothing, nothing, "inf"),
    (value_near(-0.5), nothing, nothing, "-0.5"),
]


@pytest.mark.parametrize(("metric", "spoil", "spoil_meta", "value"), BROKEN)
@pytest.mark.parametrize("reg", ["auto", 0.1])
@pytest.mark.parametrize("cost_scale", [None, 1.0])
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("solver", ["exact", "gradient"])
def test_costs_that_are_not_finite_are_refused(metric, spoil, spoil_meta, value, reg, cost_scale, labels, solver):
    X, X_meta, _ = example()
    spoil(X)
    spoil_meta(X_meta)
    labels = {"y": np.arange(len(X)) % 2, "y_meta": np.arange(len(X_meta)) % 2} if labels else {}
    name = metric if isinstance(metric, str) else "lambda"
    weighter = OTSampleWeighter(metric=metric, embedding=None, reg=reg, cost_scale=cost_scale, solver=solver)
    message = f"metric='?<?{name}.*cost {value} between (row 7 of X|the trusted row), .*at least 0: drop or change"
    with pytest.raises(ValueError, match=message):
        weighter.fit(X, X_meta=X_meta, **labels)


def test_rows_are_named_as_they_stand_in_x():
    """Whatever weightless rows were dropped, and however classes sort them."""
    X, X_meta, rng = example()
    y, y_meta = rng.integers(0, 2, len(X)), np.arange(len(X_meta)) % 2
    weight = np.ones(len(X))
    weight[[0, 3, 20]] = 0.0
    broken = X.copy()
    broken[11] = 1.0
    settings = {"metric": "correlation", "embedding": None}
    calls = {
        "fit": lambda w: w.fit(broken, y, X_meta, y_meta, sample_weight=weight),
        "partial_fit": lambda w: w.partial_fit(broken, y, X_meta, y_meta, sample_weight=weight),
        "next": lambda w: w.partial_fit(X, y, X_meta, y_meta).partial_fit(broken, y, sample_weight=weight),
        "weigh": lambda w: w.fit(X, y, X_meta, y_meta).weigh(broken, y, sample_weight=weight),
        "plan": lambda w: w.fit(X, y, X_meta, y_meta).transport_plan(broken, y),
        "classifier": lambda w: OTWeightedClassifier(weighter=w).fit(broken, y, weight, X_meta=X_meta, y_meta=y_meta),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"'correlation' gives the cost nan between row 11 of X, \[1, 1, 1\]"):
            call(OTSampleWeighter(**settings))
    with pytest.raises(ValueError, match="'correlation' gives the cost nan between row 11 of X and trusted row 0"):
        transport_distance(broken, X_meta, metric="correlation")


def test_a_trusted_row_without_costs_is_shown():
    X, X_meta, _ = example()
    X_meta[4] = 2.0
    with pytest.raises(ValueError, match=r"and the trusted row \[2, 2, 2\]"):
        ot_sample_weight(X, np.arange(len(X)) % 2, X_meta, np.arange(9) % 2, metric="correlation", embedding=None)


@pytest.mark.filterwarnings("ignore:.* trusted rows are also training rows")
def test_rounding_below_zero_is_no_negative_cost():
    X, X_meta, _ = example()
    y, y_meta = np.arange(len(X)) % 2, np.arange(len(X_meta)) % 2

    def shifted(a, b):
        return np.abs(a - b).sum() - 1e-15

    X[:9] = X_meta  # at -1e-15
    exact, rounded = (
        ot_sample_weight(X, y, X_meta, y_meta, metric=metric, embedding=None) for metric in ("cityblock", shifted)
    )
    assert_allclose(rounded, exact, rtol=1e-9)
    assert transport_distance(X[:9], X_meta, metric=shifted, cost_scale=1.0) >= 0.0


@pytest.mark.parametrize("metric", ["seuclidean", "mahalanobis"])
def test_a_constant_column_does_not_depend_on_the_unit_of_weights(metric):
    X, X_meta, rng = example()
    y, y_meta, weight = np.arange(len(X)) % 2, np.arange(len(X_meta)) % 2, rng.uniform(0.5, 2.0, len(X))
    for rows in (X, X_meta):
        rows *= 1e-8
        rows[:, 0] = 1e4
    X_meta[0, 0] += 1e-6
    settings = {"metric": metric, "embedding": None, "reg": 0.1}
    expected = ot_sample_weight(X, y, X_meta, y_meta, sample_weight=weight, **settings)
    for factor in (1 / weight.sum(), 0.1, 1 / 3, 7.0):
        found = ot_sample_weight(X, y, X_meta, y_meta, sample_weight=factor * weight, **settings)
        assert_allclose(found, factor * expected, rtol=1e-9)
