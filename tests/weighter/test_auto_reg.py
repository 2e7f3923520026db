"""reg="auto": leave-one-out votes on the trusted samples, and what follows from them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.datasets import make_blobs

from skotw import OTSampleWeighter
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.leave_one_out import own_class_votes
from skotw._transport.problem import Problem
from skotw._weighter.auto_reg import CANDIDATES, UNKNOWN_REG, choose_reg
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split
from skotw.meta._sampling import choose_evenly

EPS = (0.4, 0.2, 0.1)


@pytest.fixture(scope="module")
def blobs():
    """Three overlapping classes: X, y, X_meta, y_meta."""
    X, y = make_blobs(460, n_features=5, centers=3, cluster_std=3.0, random_state=1)
    return balanced_meta_split(X, y, 8, random_state=0)


def test_range_is_the_documented_one():
    assert f'"auto" chooses reg in [{CANDIDATES.min():g}, {CANDIDATES.max():g}]' in OTSampleWeighter.__doc__


def problem(eps, label_cost, mass, log_ratio, columns):
    return Problem(eps, 0.0, 0.5 / eps, np.log(mass), log_ratio, columns, label_cost)


def votes_of(D, a, codes, columns, label_cost, log_ratio, rows_per_block=7, dtype=float, eps=EPS):
    """own_class_votes for dense costs D whose rows are sorted by group."""
    D = D.astype(dtype)
    mass = np.full(D.shape[1], 1.0 / D.shape[1])
    problems = [problem(e, label_cost.max(), mass, log_ratio, columns) for e in eps]
    cost = FunctionCost(D.shape, lambda i, j: D[i:j], np.empty(0, dtype))
    partition = Partition.of(np.bincount(codes), rows_per_block)
    return own_class_votes(cost, a, problems, 4.0, partition, Compute(2))


def example(rng, n=40, label_cost=0.5):
    codes, columns = np.sort(rng.integers(0, 3, n)), np.repeat([0, 1, 2], [2, 4, 3])
    a = rng.uniform(0.5, 2.0, n)
    D = rng.uniform(0.1, 2.0, (n, len(columns)))
    table = np.where(np.eye(3) > 0, 0.0, label_cost)
    log_ratio = -np.log(3 * np.bincount(codes, weights=a))
    return D, a, codes, columns, table, log_ratio


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize("label_cost", [0.5, np.inf])
def test_votes_are_those_of_the_weights_without_the_column(dtype, rtol, label_cost):
    """Equation (6), written out with the whole plan."""
    D, a, codes, columns, table, log_ratio = example(np.random.default_rng(0), label_cost=label_cost)
    n_columns = len(columns)
    expected = np.empty((len(EPS), n_columns))
    V = np.exp(-4.0 * D)
    for r, eps in enumerate(EPS):
        E = (a * np.exp(log_ratio)[codes])[:, None] * np.exp(-(0.5 * D + table[np.ix_(codes, columns)]) / eps)
        T = E / E.sum(0) / n_columns
        w = T.sum(1)
        for q, own in enumerate(columns):
            w_q = w - T[:, q]
            of = [w[codes == c].sum() * (w_q * V[:, q])[codes == c].sum() / w_q[codes == c].sum() for c in range(3)]
            expected[r, q] = of[own] / sum(of)
    assert_allclose(votes_of(D, a, codes, columns, table, log_ratio, dtype=dtype), expected, rtol=rtol)


@pytest.mark.filterwarnings("ignore:The weights have collapsed")
def test_hard_labels_give_the_votes_of_a_weighter_that_never_saw_the_sample(blobs):
    X, y, X_meta, y_meta = blobs
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    D, counts = cdist(X, X_meta), np.bincount(y)
    table = np.where(np.eye(3) > 0, 0.0, np.inf)
    votes = votes_of(D, np.ones(len(y)), y, y_meta, table, -np.log(3 * counts), rows_per_block=50)
    for q in (0, 9, 17):
        rest = np.arange(len(y_meta)) != q
        for r, reg in enumerate(EPS):
            w = OTSampleWeighter(
                metric="precomputed", label_cost="hard", embedding=None, cost_scale=1.0, reg=reg
            ).fit_weights(D[:, rest], y, None, y_meta[rest])
            mass = np.bincount(y, weights=w * np.exp(-4.0 * D[:, q]))
            assert_allclose(votes[r, q], mass[y_meta[q]] / mass.sum(), rtol=1e-9)


def test_a_repeated_row_is_a_row_of_that_weight():
    D, a, codes, columns, table, log_ratio = example(np.random.default_rng(1))
    times = np.random.default_rng(2).integers(1, 4, len(codes))
    unit = times.mean()
    once = votes_of(D, a * times / unit, codes, columns, table, log_ratio + np.log(unit))
    repeated = (np.repeat(values, times, axis=0) for values in (D, a, codes))
    assert_allclose(votes_of(*repeated, columns, table, log_ratio, rows_per_block=11), once, rtol=1e-10)


def test_a_column_that_is_all_that_its_group_has_is_not_judged():
    D, a, codes, columns, table, log_ratio = example(np.random.default_rng(3))
    columns = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2])
    votes = votes_of(D, a, codes, columns, table, log_ratio)
    assert np.isnan(votes[:, 0]).all()
    assert np.isfinite(votes[:, 1:]).all()


def test_kernels_that_underflow_are_no_candidates():
    D, a, codes, columns, table, log_ratio = example(np.random.default_rng(4))
    votes = votes_of(40 * D + 100, a, codes, columns, table, log_ratio, dtype=np.float32)
    assert np.isnan(votes[-1]).all()  # exp(-0.5 * 100 / 0.1)


# ---- the choice


def reg(X, y, X_meta, y_meta, **params):
    fit_params = {name: params.pop(name) for name in ("sample_weight",) if name in params}
    return OTSampleWeighter(**params).fit(X, y, X_meta, y_meta, **fit_params).reg_


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_call_for_less_regularisation(blobs, seed):
    X, y, X_meta, y_meta = blobs
    clean, noisy = (reg(X, flip_labels(y, rate, random_state=seed), X_meta, y_meta) for rate in (0.0, 0.4))
    assert CANDIDATES[-1] <= noisy < 0.7 * clean <= CANDIDATES[0]


def test_features_that_say_nothing_leave_all_candidates_alike():
    """The votes are chance at any reg, so that the choice is the middle of the candidates, and goes two thirds back."""
    X, y = np.ones((60, 2)), np.repeat([0, 1], 30)
    X_meta, y_meta = np.ones((8, 2)), np.repeat([0, 1], 4)
    middle = np.exp(np.log(CANDIDATES).mean())
    expected = middle ** (1 / 3) * CANDIDATES[0] ** (2 / 3)
    assert_allclose(reg(X, y, X_meta, y_meta, embedding=None), expected, rtol=1e-3)


def test_weights_of_zero_and_order_do_not_matter(blobs):
    X, y, X_meta, y_meta = blobs
    expected = reg(X, y, X_meta, y_meta)
    rows, columns = (np.random.default_rng(0).permutation(len(v)) for v in (y, y_meta))
    assert_allclose(reg(X[rows], y[rows], X_meta[columns], y_meta[columns]), expected, rtol=1e-9)
    weight = np.r_[np.ones(len(y)), np.zeros(20)]
    more = np.r_[X, X[:20] + 1], np.r_[y, (y[:20] + 1) % 3]
    assert_allclose(reg(*more, X_meta, y_meta, sample_weight=weight), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("params", "labels"),
    [({"label_weight": 1.0}, True), ({"target_type": "continuous"}, True), ({}, False), ({}, "one")],
)
def test_unknown_without_classes_or_features(blobs, params, labels):
    X, y, X_meta, y_meta = blobs
    if labels == "one":  # trusted sample per class
        first = np.unique(y_meta, return_index=True)[1]
        X_meta, y_meta = X_meta[first], y_meta[first]
    assert reg(X, *((y, X_meta, y_meta) if labels else (None, X_meta, None)), **params) == UNKNOWN_REG


def test_precomputed_costs_choose_as_the_features_do(blobs):
    X, y, X_meta, y_meta = blobs
    weighter = OTSampleWeighter(metric="euclidean", embedding=None).fit(X, y, X_meta, y_meta)
    D = cdist(X, X_meta)
    same = OTSampleWeighter(metric="precomputed", embedding=None, cost_scale=weighter.cost_scale_)
    assert_allclose(same.fit(D, y, cdist(X_meta, X_meta), y_meta).reg_, weighter.reg_, rtol=1e-6)


@pytest.mark.parametrize("counts", [[100, 100], [1, 300], [2] * 100, [30, 1, 50, 2]])
def test_of_many_trusted_samples_a_few_of_each_class_are_asked(counts):
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    Z = rng.normal(size=(len(codes), 3))
    chosen = choose_evenly(Z, codes, 64, least=2)
    taken = np.bincount(codes[chosen], minlength=len(counts))
    assert (taken >= np.minimum(counts, 2)).all()
    assert len(chosen) <= max(64, 2 * len(counts))
    order = rng.permutation(len(codes))
    assert set(order[choose_evenly(Z[order], codes[order], 64, least=2)]) == set(chosen)


def test_the_choice_does_not_depend_on_the_order_of_many_trusted_samples():
    X, y = make_blobs(700, n_features=5, centers=3, cluster_std=3.0, random_state=1)
    X, y, X_meta, y_meta = balanced_meta_split(X, flip_labels(y, 0.2, random_state=0), 50, random_state=0)
    order = np.random.default_rng(0).permutation(len(y_meta))
    assert_allclose(reg(X, y, X_meta[order], y_meta[order]), reg(X, y, X_meta, y_meta), rtol=1e-9)


def test_more_classes_than_memory_for_their_votes(blobs):
    X, y, X_meta, y_meta = blobs
    y = flip_labels(y, 0.2, random_state=0)
    assert reg(X, y, X_meta, y_meta) != UNKNOWN_REG
    with config_context(working_memory=0.01):
        assert reg(X, y, X_meta, y_meta) == UNKNOWN_REG


def test_of_more_classes_than_are_asked_some_of_all_are():
    codes = np.repeat(np.arange(300), 2)
    asked = codes[choose_evenly(None, codes, 64)]
    assert len(asked) == 64
    assert np.diff(np.r_[asked, 300]).max() <= 6


@pytest.mark.parametrize("information", [0.0, 0.3, 1.0])
def test_the_choice_goes_back_by_what_labels_are_worth(information):
    codes, n_candidates = np.repeat([0, 1], [3, 9]), len(CANDIDATES)
    # as classes weigh alike, whatever their number of samples, the second candidate wins by (0.3 + 0.1) / 2
    votes = np.zeros((n_candidates, 12))
    votes[1, :3], votes[1, 3:] = 0.3, 0.1
    share = np.ones(n_candidates)
    share[1] = np.exp(12 * 0.2)
    best = np.average(np.log(CANDIDATES), weights=share)
    expected = np.exp((1 - information) * best + information * np.log(CANDIDATES[0]))
    assert_allclose(choose_reg(votes, codes, information), expected, rtol=1e-12)


def test_candidates_that_underflow_have_no_share():
    votes = np.full((len(CANDIDATES), 4), 0.5)
    votes[2:] = np.nan
    assert_allclose(choose_reg(votes, np.array([0, 0, 1, 1]), 0.0), np.sqrt(CANDIDATES[0] * CANDIDATES[1]), rtol=1e-12)


def many_classes(seed=0):
    """Forty classes at the corners of a cube, three trusted samples of each."""
    rng = np.random.default_rng(seed)
    corners = (np.arange(40)[:, None] >> np.arange(6)) % 2 * 3.0
    y, y_meta = np.repeat(np.arange(40), 12), np.repeat(np.arange(40), 3)
    return corners[y] + rng.normal(size=(480, 6)), y, corners[y_meta] + rng.normal(size=(120, 6)), y_meta


@pytest.mark.parametrize("seed", range(2))
def test_of_over_32_classes_wrong_labels_call_for_less_regularisation(seed):
    """One of each would have no other of its class to be voted for."""
    X, y, X_meta, y_meta = many_classes(seed)
    clean, noisy = (reg(X, flip_labels(y, rate, random_state=seed), X_meta, y_meta) for rate in (0.0, 0.6))
    assert UNKNOWN_REG not in (clean, noisy)
    assert noisy < 0.9 * clean


def test_two_samples_of_each_of_many_classes_are_asked(monkeypatch):
    asked = []

    def votes(cost, a, problems, *args):
        asked.append(problems[0].column_group)
        return own_class_votes(cost, a, problems, *args)

    monkeypatch.setattr("skotw._weighter.model.own_class_votes", votes)
    X, y, X_meta, y_meta = many_classes()
    reg(X, flip_labels(y, 0.5, random_state=0), X_meta, y_meta)
    assert np.bincount(asked[0]).tolist() == [2] * 40


def test_labels_of_reliability_one_need_no_votes(monkeypatch):
    def votes(*args):
        raise AssertionError

    monkeypatch.setattr("skotw._weighter.model.own_class_votes", votes)
    points, y, y_meta = 5 * np.eye(3), np.arange(60) % 3, np.arange(12) % 3
    X_meta = points[y_meta] + np.random.default_rng(0).normal(size=(12, 3))
    weighter = OTSampleWeighter().fit(points[y], y, X_meta, y_meta)  # rows at the very centres of their classes
    assert weighter.label_reliability_.overall == 1.0
    assert weighter.label_reliability_.unclipped > 1.0
    assert weighter.reg_ == CANDIDATES[0]
    with pytest.raises(AssertionError):
        OTSampleWeighter().fit(points[y], flip_labels(y, 0.1, random_state=0), X_meta, y_meta)


def test_a_unit_that_is_small_beside_the_largest_cost_overflows_nothing():
    """Kernels start from 1 at a cost of 0, so that their powers are within single precision too."""
    X, y = make_blobs(460, n_features=5, centers=3, cluster_std=1.0, random_state=0)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 8, random_state=0)
    y = flip_labels(y, 0.3, random_state=0)
    single, double = (
        OTSampleWeighter(embedding="supervised").fit(X.astype(dtype), y, X_meta.astype(dtype), y_meta)
        for dtype in (np.float32, np.float64)
    )
    assert double.cost_scale_ < 0.2
    assert double.reg_ != UNKNOWN_REG
    assert_allclose(single.reg_, double.reg_, rtol=1e-3)
