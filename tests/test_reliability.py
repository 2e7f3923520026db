"""Label reliability: its direction, its closed form, and what it must not depend on."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from skotw import OTSampleWeighter
from skotw._reliability import LabelReliability
from skotw._transport._blocks import Compute, Partition
from skotw._transport._cost import FunctionCost
from skotw._transport.reliability import (
    BANDWIDTH,
    BINS_PER_OCTAVE,
    N_BINS,
    expected_shares,
    kernel_histograms,
    leave_one_out_shares,
)
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split


@pytest.fixture(scope="module")
def blobs():
    """Four well separated classes: X, y, X_meta, y_meta."""
    X, y = make_blobs(640, n_features=6, centers=4, cluster_std=1.0, random_state=0)
    return balanced_meta_split(X, y, 10, random_state=0)


def reliability(X, y, X_meta, y_meta, **fit_params):
    return OTSampleWeighter().fit(X, y, X_meta, y_meta, **fit_params).label_reliability_


def test_right_labels_of_separable_classes_are_trusted(blobs):
    estimate = reliability(*blobs)
    assert estimate.overall > 0.95
    assert (estimate.per_class > 0.9).all()


@pytest.mark.parametrize("seed", range(3))
def test_falls_as_labels_are_flipped(blobs, seed):
    X, y, X_meta, y_meta = blobs
    estimates = [
        reliability(X, flip_labels(y, rate, random_state=seed), X_meta, y_meta).overall for rate in (0.0, 0.3, 0.6)
    ]
    assert estimates[0] > estimates[1] + 0.1 > estimates[2] + 0.2
    # symmetric flips of equal classes leave a precision of 1 - rate
    np.testing.assert_allclose(estimates, [1.0, 1 - 0.3 * 4 / 3, 1 - 0.6 * 4 / 3], atol=0.1)


def test_finds_the_class_whose_rows_are_mislabelled(blobs):
    X, y, X_meta, y_meta = blobs
    y = y.copy()
    y[np.flatnonzero(y == 2)[::2]] = 0  # around trusted samples of class 2 labels lie, around no others
    estimate = reliability(X, y, X_meta, y_meta)
    assert estimate.per_class.argmin() == 2
    assert estimate.per_class[2] < 0.8 < estimate.per_class[[0, 1, 3]].min()
    # a third of the label 0 is wrong, no other: precisions 2/3, 1, 1, 1
    np.testing.assert_allclose(estimate.overall, ((2 / 3 + 3) / 4 - 1 / 4) / (1 - 1 / 4), atol=0.05)


def test_random_labels_are_worth_nothing(blobs):
    X, y, X_meta, y_meta = blobs
    shuffled = np.random.default_rng(7).permutation(y)
    assert reliability(X, shuffled, X_meta, y_meta).overall < 0.1


# ---- the closed form


def histograms_of(values, codes, weight):
    """Histograms of kernel values that lie on bin edges, (G, Q, bins)."""
    out = np.zeros((codes.max() + 1, values.shape[1], N_BINS))
    bins = np.rint(-np.log2(values) * BINS_PER_OCTAVE).astype(int)
    for q in range(values.shape[1]):
        np.add.at(out, (codes, q, bins[:, q]), weight)
    return out


def drawn_shares(values, codes, weight, draws, query_group, n_samples, rng):
    """Mean of S / (S + O) over draws of so many rows of each label."""
    shares = np.empty(values.shape[1])
    for q, own in enumerate(query_group):
        sums = np.zeros((len(draws), n_samples))
        for group, count in enumerate(draws):
            rows = np.flatnonzero(codes == group)
            drawn = rng.choice(rows, size=(n_samples, count), p=weight[rows] / weight[rows].sum())
            sums[group] = values[drawn, q].sum(axis=1)
        shares[q] = (sums[own] / sums.sum(axis=0)).mean()
    return shares


@pytest.mark.parametrize("draws", [(1, 1), (2, 1, 3), (5, 4, 3)])
def test_expected_shares_equal_the_mean_over_draws(draws):
    rng = np.random.default_rng(1)
    codes, query_group = np.repeat(np.arange(len(draws)), 6), np.array([0, 1, 0])
    values = np.exp2(-rng.integers(0, 40, (len(codes), 3)) / BINS_PER_OCTAVE)
    weight = rng.uniform(0.5, 2.0, len(codes))
    exact = expected_shares(histograms_of(values, codes, weight), np.array(draws), query_group)
    drawn = drawn_shares(values, codes, weight, draws, query_group, 10_000, rng)
    # the standard error of a mean of 10,000 numbers in [0, 1] is at most 0.005
    np.testing.assert_allclose(exact, drawn, atol=0.015)


def test_expected_share_of_a_single_draw_is_an_enumeration():
    """With one row of each label the expectation is a plain mean over all pairs."""
    rng = np.random.default_rng(2)
    values = np.exp2(-rng.integers(0, 60, (10, 2)) / BINS_PER_OCTAVE)
    codes = np.repeat([0, 1], 5)
    exact = expected_shares(histograms_of(values, codes, np.ones(10)), np.array([1, 1]), np.array([0, 0]))
    own, other = values[:5, None], values[None, 5:]
    np.testing.assert_allclose(exact, (own / (own + other)).mean(axis=(0, 1)), atol=1e-6)


@pytest.mark.parametrize("times", [1, 1000])
def test_expected_share_of_equal_kernels_is_the_share_of_rows(times):
    values, codes, draws = np.full((6, 3), 0.5), np.repeat([0, 1, 2], 2), times * np.array([2, 4, 5])
    shares = expected_shares(histograms_of(values, codes, np.ones(6)), draws, np.array([0, 1, 2]))
    np.testing.assert_allclose(shares, draws / draws.sum(), atol=1e-6)


def test_histograms_keep_the_mass_and_the_mean_position():
    rng = np.random.default_rng(3)
    costs, weight = rng.uniform(0.0, 2.0, (30, 4)), rng.uniform(0.5, 2.0, 30)
    cost = FunctionCost(costs.shape, lambda i, j: costs[i:j], np.empty(0))
    partition = Partition.of([10, 20], 7)
    histograms = kernel_histograms(cost, weight, 1.0, partition, Compute(2))
    for group, rows in enumerate((slice(0, 10), slice(10, 30))):
        np.testing.assert_allclose(histograms[group].sum(axis=1), weight[rows].sum())
        position = BINS_PER_OCTAVE * np.log2(np.e) * costs[rows] / BANDWIDTH
        np.testing.assert_allclose(histograms[group] @ np.arange(N_BINS), weight[rows] @ position)


def test_leave_one_out_shares_equal_a_direct_loop():
    rng = np.random.default_rng(4)
    distances, weight = rng.uniform(0.0, 1.0, (5, 8)), rng.uniform(0.5, 2.0, 8)
    query, groups = np.array([0, 2, 3, 5, 7]), np.array([0, 0, 0, 1, 1, 1, 2, 2])
    size = np.bincount(groups)
    expected = []
    for row, sample in enumerate(query):
        own = other = 0.0
        for j in set(range(8)) - {sample}:
            k = weight[j] * np.exp(-distances[row, j] / (0.7 * BANDWIDTH))
            if groups[j] == groups[sample]:
                own += k
            else:  # as many of each class: one less
                other += k * (size[groups[j]] - 1) / size[groups[j]]
        expected.append(own / (own + other))
    shares, without = leave_one_out_shares(distances, weight, query, groups, 0.7)
    np.testing.assert_allclose(shares, expected)
    # and without sample 4 as well, whose part the rest of its group takes
    row, sample = 0, 0
    k = weight * np.exp(-distances[row] / (0.7 * BANDWIDTH))
    own = k[[1, 2]].sum()
    group_1 = k[[3, 5]].sum() * weight[[3, 4, 5]].sum() / weight[[3, 5]].sum() * 2 / 3
    np.testing.assert_allclose(without[row, 4], own / (own + group_1 + k[[6, 7]].sum() / 2))
    np.testing.assert_allclose(without[row, sample], shares[row])


# ---- what it does not depend on


def assert_same(one, other):
    np.testing.assert_allclose(one.overall, other.overall, rtol=1e-9)
    np.testing.assert_allclose(one.per_class, other.per_class, rtol=1e-9)


@pytest.fixture(scope="module")
def noisy(blobs):
    X, y, X_meta, y_meta = blobs
    return X, flip_labels(y, 0.3, random_state=0), X_meta, y_meta


def test_repeated_rows_equal_weights(noisy):
    X, y, X_meta, y_meta = noisy
    times = np.random.default_rng(5).integers(0, 4, len(y))
    repeated = reliability(np.repeat(X, times, axis=0), np.repeat(y, times), X_meta, y_meta)
    assert_same(repeated, reliability(*noisy, sample_weight=times))


def test_order_of_the_rows_does_not_matter(noisy):
    X, y, X_meta, y_meta = noisy
    order = np.random.default_rng(6).permutation(len(y))
    assert_same(reliability(X[order], y[order], X_meta, y_meta), reliability(*noisy))


def test_chunks_add_up(noisy):
    X, y, X_meta, y_meta = noisy
    settings = {"embedding": None, "cost_scale": 0.8}
    whole = OTSampleWeighter(**settings).fit(*noisy)
    stream = OTSampleWeighter(**settings).partial_fit(X[:150], y[:150], X_meta, y_meta)
    early = stream.label_reliability_.overall
    stream.partial_fit(X[150:151], y[150:151]).partial_fit(X[151:], y[151:])
    assert early != stream.label_reliability_.overall
    assert_same(stream.label_reliability_, whole.label_reliability_)


def test_unknown_with_one_trusted_sample_per_class(noisy):
    X, y, X_meta, y_meta = noisy
    first = np.unique(y_meta, return_index=True)[1]
    weighter = OTSampleWeighter().fit(X, y, X_meta[first], y_meta[first])
    assert np.isnan(weighter.label_reliability_.overall)
    assert weighter.reg_ == 0.1


@pytest.mark.parametrize("n_meta", [(5, 5, 5), (3, 6, 10)])
def test_labels_that_say_nothing_give_exactly_zero(n_meta):
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0.0], [-4.0, 0.0], [0.0, 6.0]])
    rows = np.concatenate([centre + rng.normal(size=(30, 2)) for centre in centres])
    y_meta = np.repeat([0, 1, 2], n_meta)
    X_meta = centres[y_meta] + rng.normal(size=(len(y_meta), 2))
    # every row under every label: a draw meets class c by its share of the draw, whatever the kernel
    X, y = np.tile(rows, (3, 1)), np.repeat([0, 1, 2], len(rows))
    found = OTSampleWeighter().fit(X, y, X_meta, y_meta).label_reliability_
    np.testing.assert_allclose([found.overall, *found.per_class], 0.0, atol=1e-6)


def test_information_of_a_label_is_that_of_fisher():
    # a class of probability 1/2 + t, seen through labels of reliability r: right ones with probability (1 + r) / 2
    for r in (1.0, 0.5, 0.1):
        right = (1 + r) / 2
        seen = 0.5 * right + 0.5 * (1 - right)  # P(label = 1) at t = 0
        score = (2 * right - 1) * np.array([1 / seen, -1 / (1 - seen)])  # d log P / dt of either label
        fisher = seen * score[0] ** 2 + (1 - seen) * score[1] ** 2
        known = LabelReliability(r, np.full(2, r), 0.0)
        np.testing.assert_allclose(known.label_information(), fisher / 4.0)  # 4 is that of a right label
    assert LabelReliability.unknown(2).label_information() == 1.0


def test_unknown_where_only_absent_classes_have_two_trusted_samples(blobs):
    X, y, X_meta, y_meta = blobs
    rows = y < 2
    trusted = np.r_[[np.flatnonzero(y_meta == c)[0] for c in (0, 1)], np.flatnonzero(y_meta == 2)]
    with pytest.warns(UserWarning, match="without training rows"):
        estimate = reliability(X[rows], y[rows], X_meta[trusted], y_meta[trusted])
    assert np.isnan(estimate.overall)
    assert np.isnan(estimate.per_class).all()


# ---- how sure it is


def test_standard_error_is_that_of_repeated_draws_of_the_trusted_samples():
    X, y = make_blobs(6000, n_features=4, centers=3, cluster_std=4.0, random_state=3)
    given = flip_labels(y, 0.3, random_state=0)
    pool, train = np.arange(3000), np.arange(3000, 6000)
    estimates = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        meta = np.concatenate([rng.choice(pool[y[pool] == c], 10, replace=False) for c in range(3)])
        estimates.append(OTSampleWeighter().fit(X[train], given[train], X[meta], y[meta]).label_reliability_)
    spread = np.std([estimate.overall for estimate in estimates], ddof=1)
    errors = [estimate.standard_error for estimate in estimates]
    assert 0.5 * spread < np.median(errors) < 2 * spread


def test_more_trusted_samples_are_surer(blobs):
    X, y, X_meta, y_meta = blobs
    y = flip_labels(y, 0.3, random_state=0)
    few = np.concatenate([np.flatnonzero(y_meta == c)[:3] for c in range(4)])
    sure = OTSampleWeighter().fit(X, y, X_meta, y_meta).label_reliability_
    unsure = OTSampleWeighter().fit(X, y, X_meta[few], y_meta[few]).label_reliability_
    assert 0 < sure.standard_error < unsure.standard_error


def test_label_information_is_cautious():
    assert LabelReliability(0.5, np.ones(2), 0.1).label_information() == pytest.approx(0.36)
    assert LabelReliability(0.9, np.ones(2), 0.3).label_information() == 1.0
    assert LabelReliability.unknown(2).label_information() == 1.0
