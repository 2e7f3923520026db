"""Histograms of kernel values, and the expected shares that follow from them."""

import numpy as np
import pytest

from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.kernel_histograms import (
    BANDWIDTH,
    BINS_PER_OCTAVE,
    N_BINS,
    bin_positions,
    kernel_histograms,
    share_table,
)


def histogram(values, weight):
    """Histogram of kernel values that lie on bin edges, of sum 1."""
    bins = np.rint(-np.log2(values) * BINS_PER_OCTAVE).astype(int)
    return np.bincount(bins, weight, N_BINS) / weight.sum()


@pytest.mark.parametrize("largest", [60, N_BINS - 1])
def test_expected_shares_equal_the_mean_over_all_pairs_of_rows(largest):
    rng = np.random.default_rng(1)
    S, R = (np.exp2(-rng.integers(0, largest, n) / BINS_PER_OCTAVE) for n in (6, 9))
    w, v = rng.uniform(0.5, 2.0, len(S)), rng.uniform(0.5, 2.0, len(R))
    expected = (w / w.sum()) @ (S[:, None] / (S[:, None] + R)) @ (v / v.sum())
    n_bins = largest + 1
    found = histogram(S, w)[:n_bins] @ share_table(n_bins) @ histogram(R, v)[:n_bins]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


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
    for group, rows in enumerate((slice(0, 10), slice(10, 30))):
        binned = bin_positions(costs[rows], 1.0)
        np.testing.assert_allclose(histograms[group] @ np.arange(N_BINS), weight[rows] @ binned)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_costs_that_are_not_finite_become_no_index(library, bad):
    costs = np.ones((30, 4))
    costs[17, 2] = bad
    if library == "torch":
        costs = pytest.importorskip("torch").asarray(costs)
    cost = FunctionCost((30, 4), lambda i, j: costs[i:j], costs[:0, 0])
    with pytest.raises(ValueError, match="in units of 2 are not finite"):
        kernel_histograms(cost, np.ones(30), 2.0, Partition.of([10, 20], 7), Compute(2))
