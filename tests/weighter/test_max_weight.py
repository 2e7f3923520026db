"""The cap on weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

from skotw import OTSampleWeighter
from skotw._weighter.max_weight import Cap

RNG = np.random.default_rng(0)


def capped(log_ratio, a, max_weight, mass=1.0):
    codes = np.zeros(len(a), dtype=int)
    cap = Cap.of(max_weight, log_ratio, np.array([mass]), codes, a, 1)
    return np.exp(cap.log_weight(log_ratio, codes, a)), cap


@pytest.mark.parametrize("max_weight", [1.0, 1.3, 2.0, 50.0])
@pytest.mark.parametrize("spread", [0.5, 3.0])
def test_excess_is_shared_in_proportion(max_weight, spread):
    a, log_ratio = RNG.uniform(0.5, 2.0, 40), RNG.normal(0.0, spread, 40)
    r = np.exp(log_ratio)
    mass = a @ r
    limit = max_weight * mass / a.sum()
    t = brentq(lambda s: a @ np.minimum(np.exp(s) * r, limit) - mass, 0.0, 50.0) if max_weight > 1 else 100.0
    assert_allclose(capped(log_ratio, a, max_weight, mass)[0], a * np.minimum(np.exp(t) * r, limit), rtol=1e-9)


def test_the_next_rows_take_the_excess_however_small_their_weights_are():
    # exp(-900) is no float; the mass of three rows is as much as the cap leaves
    w, _ = capped(np.array([0.0, -900.0, -901.0, -5000.0]), np.ones(4), 1.6, mass=4.0)
    rest = 4.0 - 3.2
    assert_allclose(w, [1.6, 1.6, rest, 0.0], rtol=1e-12)
    w, _ = capped(np.array([0.0, -900.0, -901.0, -5000.0]), np.ones(4), 2.5, mass=4.0)
    assert_allclose(w, 1.5 * np.array([0.0, 1.0, np.exp(-1.0), 0.0]) / (1 + np.exp(-1.0)) + [2.5, 0, 0, 0], rtol=1e-12)


def test_rows_without_any_weight_share_what_is_left_by_their_row_weight():
    w, cap = capped(np.array([0.0, -np.inf, -np.inf]), np.array([1.0, 1.0, 3.0]), 2.0, mass=5.0)
    assert_allclose(w, [2.0, 0.75, 2.25])
    # as does an unseen one, beside one that has a weight
    unseen = np.exp(cap.log_weight(np.array([-np.inf, -1e6]), np.zeros(2, int), np.ones(2)))
    assert_allclose(unseen, [0.75, 2.0])


def test_a_cap_that_all_reach_is_the_mean():
    assert_allclose(capped(RNG.normal(0.0, 1e5, 1000), np.ones(1000), 1.0, mass=1000.0)[0], 1.0, rtol=1e-9)


@pytest.mark.parametrize("n", [6, 10, 14, 22, 30, 46, 98, 206, 1998])
def test_a_limit_that_half_of_the_rows_fill_exactly(n):
    w, _ = capped(-1e5 * np.arange(float(n)), np.full(n, 0.1), 2.0, mass=0.1 * n)
    assert_allclose(w, np.repeat([0.2, 0.0], n // 2), rtol=1e-9, atol=1e-12)


def test_groups_keep_their_mass_each():
    codes, a, log_ratio = np.repeat([0, 2], [20, 30]), RNG.uniform(0.5, 2, 50), RNG.normal(0, 2, 50)
    mass = np.bincount(codes, weights=a * np.exp(log_ratio))
    cap = Cap.of(1.5, log_ratio, mass, codes, a, 3)
    w = np.exp(cap.log_weight(log_ratio, codes, a))
    assert_allclose(np.bincount(codes, weights=w), mass, rtol=1e-12)
    assert np.all(w <= 1.5 * (mass / np.maximum(np.bincount(codes, weights=a), 1e-9))[codes] * a * (1 + 1e-12))


# ---- in the weighter


@pytest.mark.filterwarnings("ignore:The weights have collapsed")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("label_cost", ["hard", "auto"])
@pytest.mark.parametrize("reg", [1e-3, 1e-5, 1e-8, 1e-13])
@pytest.mark.parametrize("max_weight", [None, 1.0, 2.0])
def test_no_mass_is_lost_however_small_reg_is(dtype, label_cost, reg, max_weight):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 5)).astype(dtype), np.arange(300) % 3
    X_meta, y_meta = rng.normal(size=(30, 5)).astype(dtype), np.arange(30) % 3
    weighter = OTSampleWeighter(reg=reg, max_weight=max_weight, label_cost=label_cost, n_jobs=1)
    w = weighter.fit_weights(X, y, X_meta, y_meta).astype(np.float64)
    assert_allclose(np.bincount(y, weights=w), 100.0, rtol=1e-6 if dtype == np.float32 else 1e-10)
    assert max_weight is None or w.max() <= max_weight * (1 + 1e-6)
    # what weigh knows is the potentials, whose last digit is C / reg times the machine's
    bound = max(1e-5 if dtype == np.float32 else 1e-10, 1e-15 / reg)
    assert_allclose(weighter.weigh(X, y), w, rtol=bound, atol=bound * w.max())


def test_capped_weights_of_unseen_rows_are_those_of_the_training_rows():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(120, 4)).astype(np.float32), np.arange(120) % 3
    weighter = OTSampleWeighter(reg=1e-3, max_weight=2.0, label_cost="hard").fit(X, y, X[:9] + 0.1, y[:9])
    order = rng.permutation(120)[:50]
    assert_allclose(weighter.weigh(X[order], y[order]), weighter.sample_weight_[order], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1.0 / 300, 1e30])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_weight": 2.0},
        {"reg_prior": 0.1},
        {"solver": "gradient"},
        {"n_prototypes": 2},
        {"metric": "cityblock"},
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_unit_of_sample_weight_scales_the_weights_and_nothing_else(factor, params, dtype):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(120, 3)), np.full(120, 0.1)].astype(dtype)
    y, sw = np.arange(120) % 3, rng.uniform(0.5, 2.0, 120)
    X_meta, y_meta = rng.normal(size=(15, 4)).astype(dtype), np.arange(15) % 3
    one, other = (OTSampleWeighter(**params).fit(X, y, X_meta, y_meta, sample_weight=w) for w in (sw, sw * factor))
    rtol = 1e-4 if dtype == np.float32 else 1e-9
    assert_allclose(other.sample_weight_ / factor, one.sample_weight_, rtol=rtol)
    # per unit of sample_weight
    assert_allclose(other.weigh(X, y, sample_weight=sw), one.weigh(X, y, sample_weight=sw), rtol=rtol)
    for name in ("reg_", "cost_scale_", "effective_sample_size_", "potentials_"):
        assert_allclose(getattr(other, name), getattr(one, name), rtol=rtol, err_msg=name)
    assert_array_equal(np.isnan(other.label_reliability_.overall), np.isnan(one.label_reliability_.overall))


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_the_unit_of_sample_weight_does_not_matter_to_a_stream(factor):
    rng = np.random.default_rng(0)
    X, y, sw = rng.normal(size=(90, 3)), np.arange(90) % 3, rng.uniform(0.5, 2.0, 90)
    one, other = OTSampleWeighter(), OTSampleWeighter()
    for weighter, w in ((one, sw), (other, sw * factor)):
        weighter.partial_fit(X[:50], y[:50], X[:12] + 0.1, y[:12], sample_weight=w[:50])
        weighter.partial_fit(X[50:], y[50:], sample_weight=w[50:])
    assert_allclose(other.weigh(X, y), one.weigh(X, y), rtol=1e-9)
    assert_allclose(other.reg_, one.reg_, rtol=1e-9)


@pytest.mark.parametrize("factor", [1e-10, 1e10])
def test_the_unit_of_sample_weight_does_not_matter_to_a_frame(factor):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=60), "constant": np.full(60, 0.1)})
    X_meta = pd.DataFrame({"a": rng.normal(size=9), "constant": rng.normal(size=9)})
    y, sw = np.arange(60) % 3, rng.uniform(0.5, 2.0, 60)
    one, other = (
        OTSampleWeighter(reg=0.1).fit_weights(X, y, X_meta, np.arange(9) % 3, sample_weight=w)
        for w in (sw, sw * factor)
    )
    assert_allclose(other / factor, one, rtol=1e-9)
