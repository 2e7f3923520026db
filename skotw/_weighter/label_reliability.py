"""How far the training labels can be trusted."""

from dataclasses import dataclass

import numpy as np

from skotw._transport.arrays import take, to_numpy
from skotw._transport.blocks import Compute, Partition, rows_per_block
from skotw._transport.cost import FunctionCost
from skotw._transport.kernel_histograms import N_BINS, expected_shares, kernel_histograms
from skotw.meta._sampling import choose_evenly

_MAX_QUERIES = 64
_MAX_HISTOGRAMS = 2**17  # of one group and query each: 0.4 GB, twice
# Trusted samples whose neighbours are this little better than chance cannot judge labels.
_LEAST_SEPARATION = 0.02


@dataclass(frozen=True, eq=False)
class LabelReliability:
    r"""Estimate of how far the training labels can be trusted.

    With ``K`` classes a reliability ``r`` stands for a mean label precision of ``1/K + (1 - 1/K) r``, where the
    precision of a label is the share of the rows that carry it which really are of that class: 1 says that all
    labels are right, 0 that they say nothing.

    Attributes
    ----------
    overall : float
        Over all classes, in [0, 1]; NaN where it cannot be known.
    per_class : ndarray of shape (n_classes,)
        For each class, in the order of ``classes_``: how much likelier a row is of the class if it carries the label
        than if it carries another one, any with equal probability. 1 where the class's rows, and no others, carry its
        label; classes with fewer than two meta samples have NaN.
    """

    overall: float
    per_class: np.ndarray

    @classmethod
    def unknown(cls, n_classes):
        """What can be said without trusted samples."""
        return cls(np.nan, np.full(n_classes, np.nan))

    def label_information(self):
        """Trusted labels that one training label is worth, for ``meta_weight="auto"`` and ``reg="auto"``.

        A label that is right with probability 1/K + (1 - 1/K) r tells about a small change of the class probabilities
        r^2 times what a right one tells: the score shrinks by r, and Fisher's information by its square. 1 where the
        reliability is unknown.
        """
        return 1.0 if np.isnan(self.overall) else self.overall**2


class ReliabilityMeter:
    """Collects, chunk by chunk, what equation (4) of the mathematics page needs.

    Parameters
    ----------
    metric : FeatureMetric
    Z_meta : array of shape (M, d), or the (M, M) costs among the meta samples where precomputed
    codes : ndarray of shape (M,)
        Group of each meta sample.
    weight : ndarray of shape (M,)
    n_groups : int
    scale : float
        Mean feature cost.
    """

    def __init__(self, metric, Z_meta, codes, weight, n_groups, scale):
        self.metric, self.codes, self.scale = metric, codes, scale
        counts = np.bincount(codes, minlength=n_groups)
        eligible = np.flatnonzero(counts[codes] >= 2)
        room = max(1, min(_MAX_QUERIES, _MAX_HISTOGRAMS // n_groups))
        self.queries = eligible[choose_evenly(take(Z_meta, eligible), codes[eligible], room)]
        self.histograms = self.trusted = np.zeros((n_groups, len(self.queries), N_BINS))
        asked = take(Z_meta, self.queries)
        if metric.metric == "precomputed":
            self.columns, everything = self.queries, np.arange(len(codes))
        else:
            self.columns, everything = asked, Z_meta
        if len(self.queries):
            self.trusted = self._meet_others(metric.distances(asked, everything), counts, weight)

    def _meet_others(self, distances, counts, weight):
        """Histograms of the other trusted samples."""
        distances[np.arange(len(self.queries)), self.queries] = 0.0
        order = np.argsort(self.codes, kind="stable")
        D = distances.T[order]
        cost = FunctionCost(D.shape, lambda i, j: D[i:j], D[:0, 0])
        partition = Partition.of(counts, len(D))
        histograms = kernel_histograms(cost, weight[order], self.scale, partition, Compute())
        # at distance 0 lies the query itself
        histograms[self.codes[self.queries], np.arange(len(self.queries)), 0] -= weight[self.queries]
        return histograms

    def add(self, ordered, compute):
        """Meet training rows, :class:`SortedRows`."""
        if not len(self.queries):
            return
        cost = self.metric.cost(ordered.rows, self.columns, ordered.index)
        itemsize = to_numpy(cost.reference[:0]).dtype.itemsize
        partition = Partition.of(ordered.counts, rows_per_block(compute, len(self.queries), itemsize))
        self.histograms = self.histograms + kernel_histograms(cost, ordered.weight, self.scale, partition, compute)

    def estimate(self):
        """Reliability of the labels met so far, :class:`LabelReliability` over the groups with rows."""
        present = np.flatnonzero(self.histograms.sum(axis=(1, 2)) > 0)
        n_groups = len(present)
        use = np.isin(self.codes[self.queries], present)
        if n_groups < 2 or not use.any():
            return LabelReliability.unknown(n_groups)
        codes = np.searchsorted(present, self.codes[self.queries[use]])
        n_queries = np.bincount(codes, minlength=n_groups)
        shares = (expected_shares(h[np.ix_(present, use)], codes) for h in (self.histograms, self.trusted))
        with np.errstate(invalid="ignore"):
            a, b = (np.bincount(codes, share, n_groups) / n_queries - 0.5 for share in shares)
        per_class = np.array([_ratio(*parts) for parts in zip(a, b, strict=True)])
        return LabelReliability(_ratio(np.nanmean(a), np.nanmean(b)), per_class)


def _ratio(a, b):
    """Equation (4), in [0, 1]; NaN where the features do not tell classes apart."""
    return float(np.clip(a / b, 0.0, 1.0)) if b > _LEAST_SEPARATION else np.nan
