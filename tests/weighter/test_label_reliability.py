"""Label reliability: its direction, its closed form, and what it must not depend on."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from skotw import OTSampleWeighter
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.kernel_histograms import BANDWIDTH, BINS_PER_OCTAVE, N_BINS, expected_shares, kernel_histograms
from skotw._weighter.feature_cost import FeatureMetric
from skotw._weighter.label_reliability import LabelReliability, ReliabilityMeter
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


def test_finds_the_labels_that_are_wrong(blobs):
    X, y, X_meta, y_meta = blobs
    y = y.copy()
    y[np.flatnonzero(y == 2)[::2]] = 0
    estimate = reliability(X, y, X_meta, y_meta)
    # a third of the label 0 is of class 2, no other label is wrong
    np.testing.assert_allclose(estimate.overall, ((2 / 3 + 3) / 4 - 1 / 4) / (1 - 1 / 4), atol=0.05)
    # rows of class 2 lie beyond the other classes as class 0 sees them, and count as worse than not alike
    np.testing.assert_allclose(estimate.per_class, [2 / 3, 1, 1 - (1 / 3) / 3, 1], atol=0.2)
    assert estimate.per_class[0] < estimate.per_class[2] - 0.1 < estimate.per_class[[1, 3]].min() - 0.2


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


@pytest.mark.parametrize("n_groups", [2, 3, 5])
def test_expected_shares_equal_the_mean_over_all_pairs_of_rows(n_groups):
    rng = np.random.default_rng(1)
    codes, query_group = np.repeat(np.arange(n_groups), 6), np.array([0, 1, 0])
    values = np.exp2(-rng.integers(0, 60, (len(codes), 3)) / BINS_PER_OCTAVE)
    weight = rng.uniform(0.5, 2.0, len(codes))
    expected = []
    for q, own in enumerate(query_group):
        pairs = []
        for other in set(range(n_groups)) - {own}:
            i, j = np.flatnonzero(codes == own), np.flatnonzero(codes == other)
            share = values[i, q][:, None] / (values[i, q][:, None] + values[j, q])
            pairs.append(weight[i] @ share @ weight[j] / (weight[i].sum() * weight[j].sum()))
        expected.append(np.mean(pairs))
    np.testing.assert_allclose(expected_shares(histograms_of(values, codes, weight), query_group), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_are_alike_or_not_give_the_precision_whatever_the_confusion(seed):
    """Classes as points at equal distances, any long tail and any confusion matrix: equation (4) is exact."""
    rng = np.random.default_rng(seed)
    K = int(rng.integers(2, 6))
    y = np.repeat(np.arange(K), rng.integers(5, 200, K))
    confusion = rng.dirichlet(np.full(K, 0.5), K) + 2 * np.eye(K)
    given = np.array([rng.choice(K, p=confusion[c] / confusion[c].sum()) for c in y])
    if len(np.unique(given)) < K:
        pytest.skip("a label that no row carries has no precision")
    y_meta = np.repeat(np.arange(K), rng.integers(2, 5, K))
    points = np.eye(K)
    estimate = OTSampleWeighter(embedding=None).fit(points[y], given, points[y_meta], y_meta).label_reliability_
    alike = np.array([[np.mean(y[given == label] == c) for c in range(K)] for label in range(K)])
    precision = np.diag(alike)
    np.testing.assert_allclose(estimate.overall, (precision.mean() - 1 / K) / (1 - 1 / K), atol=1e-4)
    others = (alike.sum(axis=0) - precision) / (K - 1)
    np.testing.assert_allclose(estimate.per_class, np.clip(precision - others, 0, 1), atol=1e-4)


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


def test_trusted_samples_meet_the_others_and_not_themselves():
    rng = np.random.default_rng(4)
    Z, weight, codes = rng.normal(size=(8, 3)), rng.uniform(0.5, 2.0, 8), np.array([0, 1, 0, 2, 1, 0, 2, 1])
    meter = ReliabilityMeter(FeatureMetric("euclidean"), Z, codes, weight, 3, 0.7)
    for q, query in enumerate(meter.queries):
        others = np.delete(np.arange(8), query)
        mass = [weight[others[codes[others] == c]].sum() for c in range(3)]
        np.testing.assert_allclose(meter.trusted[:, q].sum(axis=1), mass, rtol=1e-9)
        position = BINS_PER_OCTAVE * np.log2(np.e) * np.linalg.norm(Z - Z[query], axis=1) / (0.7 * BANDWIDTH)
        reached = meter.trusted[:, q].sum(axis=0) @ np.arange(N_BINS)
        np.testing.assert_allclose(reached, weight @ np.minimum(position, N_BINS - 1), rtol=1e-4)


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
        known = LabelReliability(r, np.full(2, r))
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
