"""How far the training labels can be trusted."""

from dataclasses import dataclass

import numpy as np

from ._transport import reliability
from ._transport._arrays import take, to_numpy
from ._transport._blocks import Partition, rows_per_block

_MAX_QUERIES = 64
_MAX_HISTOGRAMS = 2**18  # of one group and query each: 0.8 GB
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
        Over all classes, in [0, 1]; NaN where it cannot be known. Where precision differs much between labels, as
        when a rare class drowns in flipped rows of a frequent one, it comes out too high (by up to 0.26 in
        ``benchmarks/label_reliability.py``).
    per_class : ndarray of shape (n_classes,)
        For each class, in the order of ``classes_``: of what looks like the class, rows being drawn evenly from all
        labels, how much carries its label, relative to clean labels and to chance. A class whose rows were given
        other labels falls, not the label that received them. Classes with fewer than two meta samples have NaN.
    standard_error : float
        Of ``overall`` before it is clipped, by the choice of the trusted samples (jackknife within classes). Large
        where they are few, or where the features hardly tell the classes apart; NaN with ``overall``.
    """

    overall: float
    per_class: np.ndarray
    standard_error: float

    @classmethod
    def unknown(cls, n_classes):
        """What can be said without trusted samples."""
        return cls(np.nan, np.full(n_classes, np.nan), np.nan)

    def label_information(self):
        """Trusted labels that one training label is worth, for ``meta_weight="auto"``.

        A label that is right with probability 1/K + (1 - 1/K) r tells about a small change of the class probabilities
        r^2 times what a right one tells: the score shrinks by r, and Fisher's information by its square. A few trusted
        samples that happen to lie badly must not make right labels count for little, so that r is taken one standard
        error above its estimate. 1 where it is unknown.
        """
        return 1.0 if np.isnan(self.overall) else min(1.0, self.overall + self.standard_error) ** 2


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
        self.counts = np.bincount(codes, minlength=n_groups)
        room = min(_MAX_QUERIES, _MAX_HISTOGRAMS // n_groups)
        self.queries = _choose_queries(Z_meta, codes, self.counts, room)
        asked = take(Z_meta, self.queries)
        if metric.metric == "precomputed":
            self.columns, everything = self.queries, np.arange(len(codes))
        else:
            self.columns, everything = asked, Z_meta
        self.distances = metric.distances(asked, everything) if len(self.queries) else None
        self.weight = weight
        self.histograms = np.zeros((n_groups, len(self.queries), reliability.N_BINS))

    def add(self, rows, a, counts, compute):
        """Meet training rows as the metric prepares them, sorted by group."""
        if not len(self.queries):
            return
        cost = self.metric.cost(rows, self.columns)
        itemsize = to_numpy(cost.reference[:0]).dtype.itemsize
        partition = Partition.of(counts, rows_per_block(compute, len(self.queries), itemsize))
        self.histograms += reliability.kernel_histograms(cost, a, self.scale, partition, compute)

    def estimate(self):
        """Reliability of the labels met so far, :class:`LabelReliability` over the groups with rows."""
        present = np.flatnonzero(self.histograms.sum(axis=(1, 2)) > 0)
        n_groups = len(present)
        use = np.isin(self.codes[self.queries], present)
        if n_groups < 2 or not use.any():
            return LabelReliability.unknown(n_groups)
        known = np.isin(self.codes, present)
        index = np.cumsum(known) - 1
        group = self.codes[self.queries[use]]
        draws = np.maximum(self.counts - 1, 1)
        a = reliability.expected_shares(self.histograms[:, use], draws, group)
        queries, codes = index[self.queries[use]], np.searchsorted(present, group)
        b, without = reliability.leave_one_out_shares(
            self.distances[np.ix_(use, known)], self.weight[known], queries, self.codes[known], self.scale
        )
        n_queries = np.bincount(codes, minlength=n_groups)
        chance = draws[present] / draws[present].sum()
        with np.errstate(invalid="ignore"):
            above_a, above_b = (np.bincount(codes, share, n_groups) / n_queries - chance for share in (a, b))
        overall = _ratio(np.nanmean(above_a), np.nanmean(above_b))
        per_class = np.array([_ratio(*parts) for parts in zip(above_a, above_b, strict=True)])
        error = np.nan
        if not np.isnan(overall):
            error = _jackknife(a, without, codes, queries, np.searchsorted(present, self.codes[known]), chance)
        return LabelReliability(overall, per_class, error)


def _ratio(top, bottom):
    """Equation (4), in [0, 1]; NaN where the features do not tell classes apart."""
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom > _LEAST_SEPARATION else np.nan


def _jackknife(a, b_without, codes, queries, groups, chance):
    """Standard error of equation (4): each trusted sample left out in turn, as a query and as a neighbour.

    Parameters
    ----------
    a : ndarray of shape (Q,)
    b_without : ndarray of shape (Q, M)
    codes : ndarray of shape (Q,)
        Class of each query, out of those with rows.
    queries : ndarray of shape (Q,)
        Which of the M samples each query is.
    groups : ndarray of shape (M,)
        Class of each sample.
    chance : ndarray of shape (n_groups,)
    """
    one_hot = np.arange(len(chance))[:, None] == codes
    sums = []  # by class, of a, of b and of the number of queries, without each sample
    for values in (a[:, None], b_without, 1.0):
        values = np.broadcast_to(values, b_without.shape).copy()
        values[np.arange(len(queries)), queries] = 0.0
        sums.append(one_hot @ values)
    with np.errstate(invalid="ignore"):
        top, bottom = (np.nanmean(total / sums[2] - chance[:, None], axis=0) for total in sums[:2])
    if not (bottom > 0).all():
        return np.inf
    sizes = np.bincount(groups)
    ratio = top / bottom
    deviation = ratio - (np.bincount(groups, ratio) / np.maximum(sizes, 1))[groups]
    return float(np.sqrt(np.sum(deviation**2 * ((sizes - 1) / np.maximum(sizes, 1))[groups])))


def _choose_queries(Z_meta, codes, counts, room):
    """Meta samples to ask, evenly over the classes with two or more, whatever their order."""
    eligible = np.flatnonzero(counts >= 2)
    if not len(eligible) or room < 1:
        return np.array([], dtype=np.intp)
    if counts[eligible].sum() <= room:
        return np.flatnonzero(counts[codes] >= 2)
    key = np.asarray(to_numpy(Z_meta.sum(axis=1)), dtype=np.float64).ravel()
    chosen = []
    for group in eligible:
        rows = np.flatnonzero(codes == group)
        rows = rows[np.argsort(key[rows], kind="stable")]
        quota = max(1, room // len(eligible))
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(quota, len(rows))).astype(np.intp)])
    return np.concatenate(chosen)[: max(room, 1)]
