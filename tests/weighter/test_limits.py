"""Limits of the mathematics that weights must hold, whatever the sizes, masses, ties and scales.

POT and scikit-learn are the oracles; where neither knows the answer, a closed form of a limit is.
"""

from functools import partial

import numpy as np
import ot
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances
from sklearn.utils.class_weight import compute_sample_weight

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split
from skotw.metrics import mislabel_auc

# Sets drawn at random, few rows with many ties among them, and limits look like mistakes.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "The weights have collapsed",
        "The training labels contradict",
        ".* trusted rows are also training rows",
        ".* of the numbers of the trusted rows lie",
        "X_meta has .* rows and X has",
    )
]
METRICS = ["cosine", "sqeuclidean", "euclidean", "cityblock"]
few = settings(max_examples=25)
Weighter = partial(OTSampleWeighter, embedding=None)


class Case:
    """A random transport problem with every class on both sides."""

    def __init__(self, seed, n, m, k, d, ties, scale, dtype=np.float64):
        rng = np.random.default_rng(seed)
        n, m = max(n, k), max(m, k)
        draw = (lambda size: rng.integers(-2, 3, size)) if ties else (lambda size: rng.normal(size=size))
        self.X = (draw((n, d)) * scale).astype(dtype)
        self.X_meta = (draw((m, d)) * scale).astype(dtype)
        self.y = rng.permutation(np.r_[np.arange(k), rng.integers(0, k, n - k)])
        self.y_meta = rng.permutation(np.r_[np.arange(k), rng.integers(0, k, m - k)])
        self.sw = rng.uniform(0.1, 3.0, n)
        self.sw_meta = rng.uniform(0.1, 3.0, m)
        self.class_mass = dict(enumerate(rng.uniform(0.1, 3.0, k).tolist()))
        self.rng, self.k = rng, k

    @property
    def sets(self):
        return self.X, self.y, self.X_meta, self.y_meta

    @property
    def weights(self):
        return {"sample_weight": self.sw, "sample_weight_meta": self.sw_meta}

    def measures(self, prior, class_mass, sw, sw_meta):
        """p and b by their definition."""
        mass = np.array([class_mass[c] for c in range(self.k)])
        b = mass[self.y_meta] * sw_meta / np.bincount(self.y_meta, weights=sw_meta)[self.y_meta]
        p = sw.copy()
        if prior == "balanced":
            p *= (mass / np.bincount(self.y, weights=sw))[self.y]
        return p / p.sum(), b / b.sum()

    def cost(self, metric, label_weight, scale):
        X, X_meta = self.X.astype(float), self.X_meta.astype(float)
        # by differences: scikit-learn's Euclidean distance of equal rows is a rounding error, and no zero
        D = pairwise_distances(X, X_meta, metric="cosine") if metric == "cosine" else cdist(X, X_meta, metric)
        return (1 - label_weight) * D / scale + label_weight * (self.y[:, None] != self.y_meta[None, :])


def cases(max_n=30, dtype=np.float64, scales=(1e-6, 1.0, 1e5)):
    return st.builds(
        partial(Case, dtype=dtype),
        seed=st.integers(0, 2**32 - 1),
        n=st.integers(2, max_n),
        m=st.integers(1, 12),
        k=st.integers(2, 4),
        d=st.integers(1, 5),
        ties=st.booleans(),
        scale=st.sampled_from(scales),
    )


def log_uniform(low, high):
    return st.floats(np.log10(low), np.log10(high)).map(lambda x: 10.0**x)


def assert_same(actual, desired, tolerance):
    """Relative to the weight, or to the mean weight where that is larger."""
    assert_allclose(actual, desired, rtol=tolerance, atol=tolerance * np.mean(desired))


def tolerance(reg, dtype=np.float64):
    return (1e-12 if dtype == np.float64 else 1e-4) * max(1.0, 0.1 / reg)


# ------------------------------------------------------------------------------------------------
# 1. The semi-relaxed problem, with POT as the oracle


def _pot(C, p, b, reg, rho, stop=1e-16):
    T = ot.unbalanced.sinkhorn_unbalanced(
        p, b, C, reg, reg_m=(rho, np.inf), reg_type="kl", numItermax=20_000, stopThr=stop
    )
    return T.sum(axis=1), T


@few
@given(
    case=cases(),
    metric=st.sampled_from(METRICS),
    prior=st.sampled_from(["uniform", "balanced"]),
    reg=log_uniform(0.05, 100.0),
    label_weight=st.sampled_from([0.0, 0.3, 0.5]),
    weighted=st.booleans(),
)
def test_exact_solution_is_that_of_pot(case, metric, prior, reg, label_weight, weighted):
    sw, sw_meta = (case.sw, case.sw_meta) if weighted else (np.ones(len(case.y)), np.ones(len(case.y_meta)))
    w = Weighter(metric=metric, prior=prior, reg=reg, label_weight=label_weight, class_mass=case.class_mass).fit(
        *case.sets, sample_weight=sw, sample_weight_meta=sw_meta
    )
    p, b = case.measures(prior, case.class_mass, sw, sw_meta)
    D = pairwise_distances(case.X, case.X_meta, metric=metric)
    mean = np.sqrt(p @ D**2 @ b) if metric == "euclidean" else p @ D @ b
    unit = np.abs(case.X).max() ** 2 if metric == "sqeuclidean" else np.abs(case.X).max()
    if mean > 1e-6 * (1.0 if metric == "cosine" else unit):  # else the unit of the cost is rounding noise
        assert_allclose(w.cost_scale_, mean, rtol=1e-9)
    C = case.cost(metric, label_weight, w.cost_scale_)
    if C.max() / reg > 300:  # beyond what POT's bare exponentials hold
        return
    expected, T = _pot(C, p, b, reg, 0.0)
    assert_allclose(T.sum(axis=0), b, rtol=1e-10)
    assert_same(w.sample_weight_, expected * sw.sum(), tolerance(reg) * max(1.0, C.max()))
    # the plan's columns are the meta samples, sorted by class
    order = np.argsort(case.y_meta, kind="stable")
    plan = w.transport_plan(case.X, case.y, sample_weight=sw)
    assert_same(plan, T[:, order], tolerance(reg) * max(1.0, C.max()))
    assert_allclose(w.objective_, np.sum(T * C) + reg * _kl(T, p, b), rtol=1e-8, atol=1e-8 * max(1.0, reg))


def _kl(T, p, b):
    ratio = np.where(T > 0, T / (p[:, None] * b), 1.0)
    return np.sum(T * np.log(ratio))


@few
@given(case=cases(dtype=np.float32), metric=st.sampled_from(METRICS), reg=log_uniform(0.05, 100.0))
def test_exact_solution_in_float32(case, metric, reg):
    w = Weighter(metric=metric, reg=reg, prior="uniform").fit(*case.sets)
    assert w.sample_weight_.dtype == np.float32
    n = len(case.y)
    p, b = case.measures("uniform", dict.fromkeys(range(case.k), 1.0), np.ones(n), np.ones(len(case.y_meta)))
    C = case.cost(metric, 0.5, w.cost_scale_)
    if C.max() / reg < 300:
        assert_same(w.sample_weight_, _pot(C, p, b, reg, 0.0)[0] * n, tolerance(reg, np.float32) * max(1.0, C.max()))


@few
@given(
    case=cases(max_n=20),
    prior=st.sampled_from(["uniform", "balanced"]),
    reg=log_uniform(0.1, 1.0),
    ratio=log_uniform(0.01, 20.0),
)
def test_relaxed_solution_is_that_of_pot(case, prior, reg, ratio):
    rho = reg * ratio
    w = Weighter(prior=prior, reg=reg, reg_prior=rho, cost_scale=1.0).fit(*case.sets, **case.weights)
    p, b = case.measures(prior, dict.fromkeys(range(case.k), 1.0), case.sw, case.sw_meta)
    expected, _ = _pot(case.cost("cosine", 0.5, 1.0), p, b, reg, rho)
    assert_same(w.sample_weight_, expected * case.sw.sum(), 1e-7)


def test_relaxation_bridges_free_weights_and_the_prior():
    case = Case(0, 40, 9, 3, 4, ties=False, scale=1.0)
    p, _ = case.measures("balanced", dict.fromkeys(range(3), 1.0), case.sw, case.sw_meta)
    free = Weighter(reg=0.1).fit(*case.sets, **case.weights).sample_weight_
    distances = []
    for rho in (1e-6, 0.01, 0.1, 1.0, 10.0, 1e4):
        w = Weighter(reg=0.1, reg_prior=rho).fit(*case.sets, **case.weights).sample_weight_
        distances.append(np.abs(w / case.sw.sum() - p).sum())
        if rho == 1e-6:
            assert_same(w, free, 1e-4)
    assert np.all(np.diff(distances) < 0)
    assert distances[-1] < 1e-3


@pytest.mark.parametrize("reg_prior", [0.0, 0.3])
def test_hard_label_cost_solves_each_class_by_itself(reg_prior):
    case = Case(1, 60, 12, 3, 4, ties=False, scale=1.0)
    settings = {"reg": 0.2, "reg_prior": reg_prior, "label_weight": 0.4, "cost_scale": 1.0}
    w = Weighter(label_cost="hard", **settings).fit(*case.sets, **case.weights).sample_weight_
    for c in range(case.k):
        rows, meta = case.y == c, case.y_meta == c
        alone = Weighter(prior="uniform", **settings).fit(
            case.X[rows],
            X_meta=case.X_meta[meta],
            sample_weight=case.sw[rows],
            sample_weight_meta=case.sw_meta[meta],
        )
        share = case.sw.sum() / case.k / case.sw[rows].sum()
        assert_same(w[rows], alone.sample_weight_ * share, 1e-8 if reg_prior else 1e-12)


# ------------------------------------------------------------------------------------------------
# 2. The label cost alone


@few
@given(case=cases(), reg=log_uniform(1e-3, 1e3), metric=st.sampled_from(METRICS), weighted=st.booleans())
def test_label_cost_alone_balances_under_the_balanced_prior(case, reg, metric, weighted):
    w = Weighter(label_weight=1.0, reg=reg, metric=metric)
    sw = case.sw if weighted else np.ones(len(case.y))
    balanced = sw / np.bincount(case.y, weights=sw)[case.y] * sw.sum() / case.k
    assert_same(w.fit_weights(*case.sets, sample_weight=sw), balanced, tolerance(reg))
    if not weighted:
        assert_same(w.sample_weight_, compute_sample_weight("balanced", case.y), tolerance(reg))


@few
@given(case=cases())
def test_label_cost_alone_balances_as_reg_vanishes(case):
    w = Weighter(label_weight=1.0, reg=1e-2, prior="uniform").fit_weights(*case.sets)
    assert_same(w, compute_sample_weight("balanced", case.y), tolerance(1e-2))


@few
@given(case=cases(), reg=log_uniform(0.01, 100.0))
def test_label_cost_alone_knows_classes_only(case, reg):
    w = Weighter(label_weight=1.0, reg=reg, prior="uniform", class_mass=case.class_mass).fit_weights(*case.sets)
    for c in range(case.k):
        assert np.ptp(w[case.y == c]) <= 1e-12 * w.max()


@few
@given(case=cases(), prior=st.sampled_from(["uniform", "balanced"]), reg=log_uniform(0.01, 10.0))
def test_hard_label_cost_gives_classes_their_mass(case, prior, reg):
    w = Weighter(label_cost="hard", reg=reg, prior=prior, class_mass=case.class_mass).fit(*case.sets, **case.weights)
    total = case.sw.sum()
    masses = np.bincount(case.y, weights=w.sample_weight_) / total
    assert_allclose(masses, w.class_mass_, rtol=1e-12)
    given_mass = np.array(list(case.class_mass.values()))
    assert_allclose(w.class_mass_, given_mass / given_mass.sum(), rtol=1e-12)


# ------------------------------------------------------------------------------------------------
# 3. No regularisation, and nothing but regularisation


@few
@given(case=cases(), prior=st.sampled_from(["uniform", "balanced"]), metric=st.sampled_from(METRICS))
def test_weights_tend_to_the_prior_as_reg_grows(case, prior, metric):
    p, _ = case.measures(prior, dict.fromkeys(range(case.k), 1.0), case.sw, case.sw_meta)
    largest = max(1.0, pairwise_distances(case.X, case.X_meta, metric=metric).max())
    for reg in (1e3, 1e6, 1e9):
        w = Weighter(reg=reg * largest, prior=prior, metric=metric, cost_scale=1.0)
        weights = w.fit_weights(*case.sets, **case.weights)
        # exp(+-C/eps) lies within C/eps of 1
        assert_same(weights, p * case.sw.sum(), 3.0 / reg + 1e-12)


@few
@given(
    case=cases(scales=(1.0,)), metric=st.sampled_from(["sqeuclidean", "cityblock"]), label=st.sampled_from([0.0, 0.5])
)
def test_mass_goes_to_the_nearest_as_reg_vanishes(case, metric, label):
    # whole numbers: two costs are equal, or half a unit apart
    X, X_meta = np.round(case.X), np.round(case.X_meta)
    w = Weighter(reg=0.01, prior="uniform", metric=metric, cost_scale=1.0, label_weight=label)
    weights = w.fit_weights(X, case.y, X_meta, case.y_meta, **case.weights)
    case.X, case.X_meta = X, X_meta
    _, b = case.measures("uniform", dict.fromkeys(range(case.k), 1.0), case.sw, case.sw_meta)
    C = case.cost(metric, label, 1.0)
    nearest = (C.min(axis=0) == C) * case.sw[:, None]
    expected = (nearest / nearest.sum(axis=0)) @ b
    assert_same(weights, expected * case.sw.sum(), tolerance(0.01))


def test_each_trusted_sample_feeds_its_nearest_row_at_tiny_reg():
    case = Case(3, 50, 8, 2, 3, ties=False, scale=1.0)
    w = Weighter(reg=1e-6, metric="euclidean", label_weight=0.0, class_mass="meta")
    weights = w.fit_weights(*case.sets)
    nearest = pairwise_distances(case.X, case.X_meta).argmin(axis=0)
    assert_allclose(weights, np.bincount(nearest, minlength=50) * 50 / 8, atol=1e-6)


# ------------------------------------------------------------------------------------------------
# 4. Equal data gives equal numbers

settings_drawn = st.fixed_dictionaries(
    {
        "metric": st.sampled_from(METRICS),
        "reg": st.one_of(log_uniform(0.02, 10.0), st.just("auto")),
        "prior": st.sampled_from(["balanced", "uniform"]),
        "label_cost": st.sampled_from(["auto", "hard"]),
        "class_mass": st.sampled_from(["balanced", "meta"]),
        "n_prototypes": st.sampled_from([None, None, 1]),
        "max_weight": st.sampled_from([None, 1.5]),
    }
)
unit_scales = (1.0,)


def _close(w, other, scale=1.0):
    reg = min(w.reg_, other.reg_)
    # tiny mean costs magnify what rounding leaves of a distance
    # and the votes of reg="auto" are differences, of which rounding leaves half of the digits
    drift = abs(other.reg_ / w.reg_ - 1.0)
    assert drift < 1e-6
    return tolerance(reg) * 100 * scale + 20 * drift / reg


@few
@given(case=cases(scales=unit_scales), params=settings_drawn, data=st.data())
def test_repeated_row_is_a_row_of_that_weight(case, params, data):
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(case.y), max_size=len(case.y))))
    _, first = np.unique(case.y, return_index=True)
    times[first] = np.maximum(times[first], 1)  # every class stays
    if np.sum(times > 0) < 2:
        times[:2] = 1
    rows = np.repeat(np.arange(len(case.y)), times)
    weighted = Weighter(**params).fit(*case.sets, sample_weight=times)
    repeated = Weighter(**params).fit(case.X[rows], case.y[rows], case.X_meta, case.y_meta)
    share = np.bincount(rows, weights=repeated.sample_weight_, minlength=len(times))
    assert_same(weighted.sample_weight_, share, _close(weighted, repeated))
    assert_array_equal(weighted.sample_weight_[times == 0], 0.0)


@few
@given(case=cases(scales=unit_scales), params=settings_drawn, data=st.data())
def test_repeated_trusted_row_is_one_of_that_weight(case, params, data):
    params["reg"] = 0.1  # the reliability counts trusted rows, whatever their weight
    m = len(case.y_meta)
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=m, max_size=m)))
    _, first = np.unique(case.y_meta, return_index=True)
    times[first] = np.maximum(times[first], 1)
    rows = np.repeat(np.arange(m), times)
    weighted = Weighter(**params).fit(*case.sets, sample_weight_meta=times)
    repeated = Weighter(**params).fit(case.X, case.y, case.X_meta[rows], case.y_meta[rows])
    assert_same(weighted.sample_weight_, repeated.sample_weight_, _close(weighted, repeated))


@few
@given(case=cases(scales=unit_scales), params=settings_drawn)
def test_row_of_zero_weight_is_absent(case, params):
    sw = case.sw.copy()
    n = len(case.y)
    X = np.vstack([case.X, case.rng.normal(size=(3, case.X.shape[1])) * 10])
    y = np.r_[case.y, case.rng.integers(0, case.k, 3)]
    order = case.rng.permutation(n + 3)
    with_zeros = Weighter(**params).fit(
        X[order], y[order], case.X_meta, case.y_meta, sample_weight=np.r_[sw, np.zeros(3)][order]
    )
    without = Weighter(**params).fit(*case.sets, sample_weight=sw)
    expected = np.r_[without.sample_weight_, np.zeros(3)][order]
    assert_same(with_zeros.sample_weight_, expected, _close(without, with_zeros))


@few
@given(case=cases(scales=unit_scales), params=settings_drawn)
def test_order_of_rows_does_not_matter(case, params):
    rows, meta = case.rng.permutation(len(case.y)), case.rng.permutation(len(case.y_meta))
    w = Weighter(**params).fit(*case.sets, **case.weights)
    shuffled = Weighter(**params).fit(
        case.X[rows],
        case.y[rows],
        case.X_meta[meta],
        case.y_meta[meta],
        sample_weight=case.sw[rows],
        sample_weight_meta=case.sw_meta[meta],
    )
    assert_same(shuffled.sample_weight_, w.sample_weight_[rows], _close(w, shuffled))


@few
@given(case=cases(), params=settings_drawn)
def test_weigh_returns_the_training_weights(case, params):
    w = Weighter(**params).fit(*case.sets, **case.weights)
    again = w.weigh(case.X, case.y, sample_weight=case.sw)
    assert_same(again, w.sample_weight_, _close(w, w))
    assert_allclose(w.sample_weight_.sum(), case.sw.sum(), rtol=1e-12 if w.reg_ >= 0.1 else 1e-11)


@few
@given(case=cases(scales=unit_scales), params=settings_drawn)
def test_weights_of_unseen_rows_depend_on_the_row_alone(case, params):
    w = Weighter(**params).fit(*case.sets, **case.weights)
    X = case.rng.normal(size=(5, case.X.shape[1]))
    y = case.rng.integers(0, case.k, 5)
    whole = w.weigh(X, y)
    assert_same(whole, [w.weigh(X[[i]], y[[i]])[0] for i in range(5)], _close(w, w))
    assert_same(w.weigh(X, y, sample_weight=np.full(5, 3.0)), 3 * whole, _close(w, w))


@few
@given(
    case=cases(max_n=60, scales=unit_scales),
    params=settings_drawn,
    reg_prior=st.sampled_from([0.0, 0.2]),
    memory=st.sampled_from([1e-4, 1e-3, 0.01]),
)
def test_block_size_does_not_matter(case, params, reg_prior, memory):
    if params["reg"] == "auto":  # the memory bounds the count of queries too
        params["reg"] = 0.1
    weighter = Weighter(**params, reg_prior=reg_prior)
    w = weighter.fit_weights(*case.sets, **case.weights)
    with config_context(working_memory=memory):
        small = weighter.fit_weights(*case.sets, **case.weights)
    assert_same(small, w, 1e-8 if reg_prior else 100 * tolerance(params["reg"]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg_prior", [0.0, 0.2])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_thread_count_does_not_change_a_bit(metric, reg_prior, dtype):
    case = Case(4, 1500, 64, 3, 5, ties=False, scale=1.0, dtype=dtype)
    with config_context(working_memory=0.02):  # blocks small enough for several tasks
        first, second = (
            Weighter(metric=metric, reg_prior=reg_prior, n_jobs=n_jobs).fit(*case.sets) for n_jobs in (1, 2)
        )
        assert_array_equal(first.sample_weight_, second.sample_weight_)
        assert_array_equal(first.potentials_, second.potentials_)
        assert first.reg_ == second.reg_
        assert first.cost_scale_ == second.cost_scale_
        assert_array_equal(first.weigh(case.X, case.y), second.weigh(case.X, case.y))


@few
@given(
    case=cases(max_n=60),
    metric=st.sampled_from(METRICS),
    reg=log_uniform(0.02, 10.0),
    prior=st.sampled_from(["balanced", "uniform"]),
    label_cost=st.sampled_from(["auto", "hard"]),
    data=st.data(),
)
def test_stream_ends_where_fit_does(case, metric, reg, prior, label_cost, data):
    # costs within [0, 10 or so] whatever the metric; rounding noise is not scaled up to that
    noise = 1e-3 if metric == "cosine" else 1e-3 * np.abs(case.X_meta).max() ** (2 if metric == "sqeuclidean" else 1)
    scale = max(1e-300, noise, pairwise_distances(case.X, case.X_meta, metric=metric).max()) / 3
    whole = Weighter(metric=metric, reg=reg, prior=prior, label_cost=label_cost, cost_scale=scale)
    stream = Weighter(metric=metric, reg=reg, prior=prior, label_cost=label_cost, cost_scale=scale)
    whole.fit(*case.sets, **case.weights)
    n = len(case.y)
    cuts = sorted(data.draw(st.sets(st.integers(2, max(2, n - 1)), max_size=4)) - {n})
    order = case.rng.permutation(n)
    for chunk in np.split(order, cuts):
        first = chunk is not None and not hasattr(stream, "potentials_")
        meta = {"X_meta": case.X_meta, "y_meta": case.y_meta, "sample_weight_meta": case.sw_meta} if first else {}
        stream.partial_fit(case.X[chunk], case.y[chunk], sample_weight=case.sw[chunk], **meta)
    assert_allclose(stream.potentials_, whole.potentials_, rtol=1e-12, atol=1e-12 * max(1.0, reg))
    assert_allclose(stream.objective_, whole.objective_, rtol=1e-11, atol=1e-12 * max(1.0, reg))
    weights = stream.weigh(case.X, case.y, sample_weight=case.sw)
    assert_same(weights, whole.sample_weight_, 10 * tolerance(reg))
    assert_allclose(stream.class_mass_, whole.class_mass_)
    assert_array_equal(stream.classes_, whole.classes_)


def test_stream_may_bring_a_class_late():
    case = Case(5, 60, 9, 3, 4, ties=False, scale=1.0)
    settings = {"reg": 0.1, "cost_scale": 1.0}
    order = np.argsort(case.y, kind="stable")
    stream = Weighter(**settings)
    stream.partial_fit(case.X[order[:10]], case.y[order[:10]], case.X_meta, case.y_meta)
    assert_array_equal(stream.classes_, [0])
    for chunk in np.array_split(order[10:], 5):
        stream.partial_fit(case.X[chunk], case.y[chunk])
    whole = Weighter(**settings).fit(*case.sets)
    assert_array_equal(stream.classes_, [0, 1, 2])
    assert_allclose(stream.potentials_, whole.potentials_, rtol=1e-12)
    assert_same(stream.weigh(case.X, case.y), whole.sample_weight_, 1e-12)


def test_fit_after_a_stream_starts_anew():
    case = Case(6, 40, 9, 3, 4, ties=False, scale=1.0)
    w = Weighter(reg=0.1).partial_fit(*case.sets)
    w.partial_fit(case.X, case.y)
    assert_same(w.fit_weights(*case.sets), Weighter(reg=0.1).fit_weights(*case.sets), 1e-15)


# ------------------------------------------------------------------------------------------------
# 5. Direction


@few
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(METRICS), reg=log_uniform(0.05, 1.0))
def test_rows_nearer_to_the_trusted_one_weigh_more(seed, metric, reg):
    rng = np.random.default_rng(seed)
    z = rng.uniform(1.0, 2.0, 4)
    aside = np.array([z[1], -z[0], z[3], -z[2]])
    steps = np.linspace(0.0, 3.0, 12)
    X = z + rng.permutation(steps)[:, None] * aside
    w = Weighter(metric=metric, reg=reg).fit_weights(X, X_meta=z[None, :])
    order = np.argsort(pairwise_distances(X, z[None, :], metric=metric)[:, 0])
    assert np.all(np.diff(w[order]) < 0)


@pytest.mark.parametrize(
    ("prior", "reg", "reg_prior"),
    [
        ("balanced", 0.02, 0.0),
        ("balanced", "auto", 0.0),
        ("balanced", "auto", 0.1),
        ("uniform", 0.02, 0.0),  # without the prior the label cost must do it, which calls for a small reg
        ("uniform", 0.05, 0.0),
    ],
)
def test_rare_classes_gain(prior, reg, reg_prior):
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=0)
    X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=0)
    w = OTSampleWeighter(prior=prior, reg=reg, reg_prior=reg_prior).fit_weights(X, y, X_meta, y_meta)
    counts = np.bincount(y)
    mean = np.bincount(y, weights=w) / counts
    rare, frequent = counts <= np.sort(counts)[2], counts >= np.sort(counts)[-3]
    assert mean[rare].min() > 1.5 * mean[frequent].max()


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("params", [{}, {"prior": "uniform"}, {"label_cost": "hard"}, {"reg_prior": 0.1}])
def test_mislabelled_rows_lose(share, params):
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=1)
    noisy, wrong = flip_labels(y, share, random_state=1, return_mask=True)
    w = OTSampleWeighter(**params).fit_weights(X, noisy, X_meta, y_meta)
    for c in range(10):
        members = noisy == c
        assert w[members & wrong].mean() < 0.95 * w[members & ~wrong].mean()
    # the more labels are wrong, the less those weigh
    assert w[wrong].mean() < (0.9 if share == 0.1 else 0.6) * w[~wrong].mean()
    assert mislabel_auc(w, noisy, wrong) > 0.9


def test_cap_takes_from_the_largest_and_keeps_class_masses():
    case = Case(7, 80, 9, 3, 4, ties=False, scale=1.0)
    free = Weighter(reg=0.1).fit(*case.sets, **case.weights)
    capped = Weighter(reg=0.1, max_weight=2.0).fit(*case.sets, **case.weights)
    mean = (np.bincount(case.y, weights=free.sample_weight_) / np.bincount(case.y, weights=case.sw))[case.y]
    density, before = (w.sample_weight_ / case.sw / mean for w in (capped, free))
    assert before.max() > 2.0
    assert density.max() <= 2.0 + 1e-12
    assert_allclose(*(np.bincount(case.y, weights=w.sample_weight_) for w in (capped, free)), rtol=1e-12)
    assert np.all(density[before < 1.9] >= before[before < 1.9] * (1 - 1e-12))
    assert capped.effective_sample_size_ > free.effective_sample_size_


@pytest.mark.parametrize("metric", METRICS)
def test_paper_route_agrees_with_the_closed_form(metric):
    case = Case(8, 12, 5, 2, 3, ties=False, scale=1.0)
    params = {"metric": metric, "reg": 0.3, "prior": "uniform"}
    exact = Weighter(**params).fit(*case.sets)
    learned = Weighter(**params, solver="gradient").fit(*case.sets)
    assert_allclose(learned.sample_weight_, exact.sample_weight_, rtol=2e-3)
    assert_allclose(learned.objective_, exact.objective_, rtol=1e-6)


@example(target=np.array([0.0, 1.0, 2.0, 3.0]))
@few
@given(target=st.lists(st.integers(-5, 5), min_size=4, max_size=8, unique=True).map(np.array))
def test_continuous_labels_cost_their_mean_difference(target):
    # features that say nothing: weights follow the label alone
    y = target + 0.5
    X, X_meta, y_meta = np.ones((len(y), 1)), np.ones((1, 1)), y[:1] + 0.25
    w = Weighter(reg=0.5, target_type="continuous").fit_weights(X, y, X_meta, y_meta)
    difference = np.abs(y - y_meta)
    expected = softmax(-0.5 * difference / difference.mean() / 0.5) * len(y)
    assert_same(w, expected, 1e-12)
