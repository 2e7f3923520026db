"""How far the training labels can be trusted, read off the features of trusted samples.

For a trusted query q and a class c, let ``S_c`` be the kernel value of a row *labelled* c in the training set, and
``T_c`` that of another *trusted* row of class c; of all classes but c, each with equal probability, they are ``S_r``
and ``T_r``. Four mean shares, by (5) of :mod:`skotw._transport.kernel_histograms`, are all that follows is made of:

    a = E[S_c / (S_c + S_r)],  b = E[T_c / (T_c + T_r)],  y_c = E[S_c / (S_c + T_c)],  y_r = E[S_c / (S_c + T_r)].

**Reliability.** Let c be the query's own class. With two classes of rows as the query sees them, alike and not alike, a
row labelled c being alike with probability p_c and one labelled l with q_lc,

    a - 1/2 = p_c (1 - q_lc) (b - 1/2) - (1 - p_c) q_lc (b - 1/2) = (p_c - q_lc) (b - 1/2),

and the mean of p_c - q_lc over all pairs is (mean p - 1/K) / (1 - 1/K), whichever labels are mistaken for which. Hence

    r = (mean a - 1/2) / (mean b - 1/2).                                                                   (4)

**Precision of one label.** A row labelled c is of class c with probability p, and of another else. Beside a trusted row
whose class is known it has the share

    y_c = p / 2 + (1 - p) (1 - b),        y_r = p b + (1 - p) / 2,        so y_c + y_r + b - 3/2 = 2 p (b - 1/2),   (7)

linear in p; what is not of class c looks alike to queries of class c. With two classes that holds for queries of the
other class as well, whose b is below 1/2, and the two kinds of queries give p by least squares. (4) compares rows of
two labels, and for two classes sees the sum of their precisions only. Where models of the labels take part their scores
tell the precision better, and :mod:`skotw._weighter.label_precision` takes the place of (7).

**Standard errors** are those of the jackknife: what would change without one trusted row, which takes part as a query
and as one of those that queries meet, to first order.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from skotw._transport.arrays import dtype_of, take
from skotw._transport.blocks import Partition, rows_per_block
from skotw._transport.kernel_histograms import N_BINS, bin_positions, kernel_histograms, share_table
from skotw._validation import warn
from skotw.meta._sampling import choose_evenly

from .feature_cost import FeatureMetric

_MAX_QUERIES = 64
# Trusted samples whose neighbours are this little better than chance cannot judge labels.
_LEAST_SEPARATION = 0.02
# Labels contradict where the mean precision is below half of chance, and zero this many standard errors off.
_CONTRADICTION_SE = 3.0
# Queries below which standard errors are not to be relied upon.
_FEWEST_QUERIES = 6
# A share with a larger standard error is unknown: one that may be anything in [0, 1] has the standard deviation 0.29.
LARGEST_SE = 0.25
# Nor does a precision tell anything that is this far below zero, beside three standard errors. Wrong labels cannot make
# it so. Training rows can that lie elsewhere than all trusted rows, as where X_meta has missed the scaling of X.
_BELOW_ZERO = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class LabelReliability:
    r"""Estimate of how far the training labels can be trusted.

    The *precision* of a label is the share of the training rows carrying it that really are of that class, by
    ``sample_weight``. The *reliability* is the mean precision on a scale where 1 says that all labels are right and 0
    that they say nothing: with ``K`` classes a reliability ``r`` stands for a mean precision of ``1/K + (1 - 1/K) r``.

    Attributes
    ----------
    overall : float
        Reliability r of all labels, in [0, 1]. NaN where it cannot be known. With a standard error above 1/4 it says
        nothing.
    overall_se : float
        Its standard error.
    precision : ndarray of shape (n_classes,)
        Precision of each label in the order of ``classes_``, in [0, 1]. NaN where it is unknown: for classes that have
        fewer than two trusted rows or were not asked; where the features do not tell the class from others by two
        standard errors; where its own standard error is above 1/4; and where no precision explains what was seen,
        because the training rows of the class lie elsewhere than the trusted rows. With ``embedding="supervised"`` or
        ``prior="confidence"`` it is a posterior mean, read off scores of models that have not seen the rows. Else it
        is read off distances.
    precision_se : ndarray of shape (n_classes,)
        Their standard errors. They know of the few trusted rows, not of the number of training rows, which the models'
        scores know of as well. NaN where the features do not tell the class from others.
    unclipped : float
        ``overall`` before it was clipped to [0, 1]. Labels that contradict the trusted rows altogether have
        ``-1 / (K - 1)``.
    own_share, trusted_share : ndarray of shape (n_queries,)
        For each trusted row asked: the share of its own label among training rows, and of its own class among the other
        trusted rows. 1/2 is chance.
    query_class : ndarray of shape (n_queries,)
        Index of its class.

    Notes
    -----
    ``overall`` is the plain estimate. It is a ratio, and few trusted rows leave it wrong by chance. ``posterior_mean``
    and ``posterior_interval`` say what is known of r by one who believed beforehand, at even odds, that all labels are
    right. The weights of :class:`~skotw.OTWeightedClassifier` and ``reg="auto"`` go by the mean of r^2 under that
    belief.

    All of this rests on features that tell right labels from wrong ones. Some errors *follow the features*, as those of
    labels made by keywords or by another model do. They look perfectly reliable, because rows that look alike carry the
    same label, right or wrong. So do labels that the network which made the features has learned by heart.
    """

    overall: float
    overall_se: float
    precision: np.ndarray
    precision_se: np.ndarray
    unclipped: float = np.nan
    own_share: np.ndarray = field(default_factory=lambda: np.empty(0))
    trusted_share: np.ndarray = field(default_factory=lambda: np.empty(0))
    query_class: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))

    @classmethod
    def unknown(cls, n_classes):
        """What can be said without trusted samples."""
        return cls(np.nan, np.nan, np.full(n_classes, np.nan), np.full(n_classes, np.nan))

    def __repr__(self):
        shown = [with_error(*pair) for pair in zip(self.precision[:10], self.precision_se[:10], strict=True)]
        more = [f"{len(self.precision) - 10} more"] if len(self.precision) > 10 else []
        overall = with_error(self.overall, self.overall_se)
        return f"LabelReliability(overall={overall}, precision=[{', '.join(shown + more)}])"

    @property
    def posterior(self):
        """What is known of r, :class:`Posterior`."""
        return posterior_reliability(self.own_share, self.trusted_share, self.query_class)

    @property
    def posterior_mean(self):
        """Mean of r under all that is known; 3/4, the mean a priori, where nothing could be asked."""
        return self.posterior.mean

    @property
    def posterior_interval(self):
        """Interval in which r lies with probability 0.9; (0.1, 1.0), that a priori, where nothing could be asked."""
        return self.posterior.interval

    def label_information(self):
        """Trusted labels that one training label is worth, for ``meta_weight="auto"`` and ``reg="auto"``.

        A label that is right with probability 1/K + (1 - 1/K) r tells about a small change of the class probabilities
        r^2 times what a right one tells: the score shrinks by r, and Fisher's information by its square. The
        reliability being known from a few trusted rows only, it is the posterior mean of r^2.
        """
        return self.posterior.information

    def contradiction(self, n_rows):
        """Say so where labels are wrong more often than by chance, which no noise does; else None.

        Parameters
        ----------
        n_rows : ndarray of shape (n_classes,)
            Effective number of training rows with each label: of few, many may be wrong.
        """
        K = len(self.precision)
        if len(self.query_class) < _FEWEST_QUERIES or not self.unclipped < -0.5 / (K - 1):
            return None
        chance = (1.0 / n_rows).sum() / (K * (K - 1))  # variance of r where each label is right with probability 1 / K
        if self.unclipped < -_CONTRADICTION_SE * np.sqrt(self.overall_se**2 + chance / K):
            return (
                "The training labels contradict the trusted ones. Rows that look like trusted rows of a class carry "
                f"its label less often than by chance (reliability {self.unclipped:.2f} ± {self.overall_se:.2f}, where "
                "0 is chance). Look whether classes are encoded otherwise in y_meta than in y. Look whether the rows "
                "of X and y are in the same order, and those of X_meta and y_meta. Look whether the sets are swapped."
            )
        return None

    def warn_of_contradiction(self, n_rows):
        """Warn of it."""
        if message := self.contradiction(n_rows):
            warn(message)


def with_error(value, se):
    """A share and its standard error as text, "unknown" where that is too large to say anything."""
    if np.isnan(value) or se > LARGEST_SE:
        return "unknown"
    return f"{value:.2f}" if np.isnan(se) else f"{value:.2f} ± {se:.2f}"


# Values of r, and what integrates values at them, times r^0, r^1 and r^2, by the trapezoidal rule.
_GRID = np.linspace(0.0, 1.0, 2001)
_GRID_POWERS = np.vander(_GRID, 3, increasing=True).T * _GRID[1]
_GRID_POWERS[:, [0, -1]] /= 2.0


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of the reliability r of all labels.

    Attributes
    ----------
    mean : float
        Of r.
    information : float
        Mean of r^2.
    all_right : float
        Probability that r is 1.
    density : ndarray of shape (2001,)
        That of values of r from 0 to 1, beside the probability that r is 1.
    """

    mean: float
    information: float
    all_right: float
    density: np.ndarray

    @property
    def interval(self):
        """Between which r lies with probability 0.9, and on either side of which with 0.05."""
        below = np.cumsum(self.density)
        below = (below - 0.5 * (self.density[0] + self.density)) * _GRID[1]
        low, high = (_GRID[min(np.searchsorted(below, share), len(_GRID) - 1)] for share in (0.05, 0.95))
        return float(low), float(high)


def posterior_reliability(own_share, trusted_share, query_class):
    r"""What trusted samples leave known of the reliability r of all labels.

    With few trusted rows the ratio (4) is wrong by chance, and its square as well. Query q disagrees with a reliability
    r by :math:`e_q(r) = (a_q - 1/2) - r (b_q - 1/2)`; the mean m(r) of these, within classes and then over classes, is
    normal about 0 with the variance :math:`s^2(r) = \sum_c \mathrm{var}_c \, e(r) / (m_c C^2) + 0.005^2`. A priori r
    is 1 with probability 1/2, and anything in [0, 1] with the other half. Where r is 1, an m above 0 speaks neither
    for nor against it: the training rows then only lie better than the trusted ones.

    Parameters
    ----------
    own_share, trusted_share, query_class : ndarray of shape (n_queries,)
        As in :class:`LabelReliability`.

    Returns
    -------
    Posterior
        That a priori, of information 2/3, where nothing was asked.
    """
    if not len(query_class):
        return Posterior(0.75, 2.0 / 3.0, 0.5, np.full_like(_GRID, 0.5))
    counts = np.bincount(query_class)
    n_classes, several = np.count_nonzero(counts), counts > 1
    # m is linear in r, e being so, and s2 is quadratic: by powers of r, from the second down
    shares = np.array([0.5 - trusted_share, own_share - 0.5])
    means = np.array([np.bincount(query_class, share) for share in shares]) / np.maximum(counts, 1)
    if several.any():  # classes with one query are taken to vary as the others do
        around, n_free = shares - means[:, query_class], (counts - 1)[several]
        squares = np.array([np.bincount(query_class, part) for part in _square(around)])[:, several]
        n_single = np.count_nonzero(counts == 1)
        variance = (squares / (n_free * counts[several])).sum(axis=1) + squares.sum(axis=1) * n_single / n_free.sum()
    elif n_classes > 1:
        variance = _square(shares - shares.mean(axis=1)[:, None]).sum(axis=1) * n_classes / (n_classes - 1)
    else:
        variance = np.array([0.0, 0.0, 0.25])
    slope, constant = means.sum(axis=1) / n_classes
    m = slope * _GRID + constant
    quadratic, linear, least = variance / n_classes**2
    s2 = np.maximum((quadratic * _GRID + linear) * _GRID + least, 0.0) + 0.005**2
    log_likelihood = -0.5 * (m**2 / s2 + np.log(s2))
    peak = log_likelihood.max()
    likelihood = np.exp(log_likelihood - peak)
    at_one = math.exp(-0.5 * (min(m[-1], 0.0) ** 2 / s2[-1] + math.log(s2[-1])) - peak)
    evidence, mean, square = (_GRID_POWERS @ likelihood + at_one).tolist()
    return Posterior(mean / evidence, square / evidence, at_one / evidence, likelihood / evidence)


def _square(linear):
    """Coefficients of the squares of polynomials of the first degree, (3, Q) from (2, Q), the highest first."""
    slope, constant = linear
    return np.array([slope**2, 2.0 * slope * constant, constant**2])


@dataclass(frozen=True, eq=False)
class ReliabilityMeter:
    """What trusted samples have met of the training rows: the histograms behind the shares above.

    Attributes
    ----------
    metric : FeatureMetric
    codes : ndarray of shape (M,)
        Group of each meta sample.
    weight : ndarray of shape (M,)
    scale : float
        Mean feature cost.
    queries : ndarray of shape (Q,)
        Meta samples that are asked.
    columns : array of shape (Q, d), or of shape (Q,) where precomputed
        What the metric takes for them.
    positions : ndarray of shape (Q, M)
        Bins in which they meet the meta samples.
    histograms : ndarray of shape (n_groups, Q, N_BINS), or () before any
        Of the rows met.
    mass : ndarray of shape (n_groups,)
        Sum of their weights.
    """

    metric: FeatureMetric
    codes: np.ndarray
    weight: np.ndarray
    scale: float
    queries: np.ndarray
    columns: object
    positions: np.ndarray
    histograms: np.ndarray
    mass: np.ndarray

    @classmethod
    def of(cls, metric, Z_meta, codes, weight, n_groups, scale, max_bytes):
        """Of meta samples, before any rows are met.

        Parameters
        ----------
        metric : FeatureMetric
        Z_meta : array of shape (M, d), or the (M, M) costs among the meta samples where precomputed
        codes, weight : ndarray of shape (M,)
        n_groups : int
        scale : float
        max_bytes : int
            Memory that may be taken. A query needs histograms of all groups; where there is no room for 64 queries
            fewer are asked, and where there is none for two the reliability stays unknown.
        """
        eligible = (np.bincount(codes, minlength=n_groups)[codes] >= 2).nonzero()[0]
        room = _n_queries(n_groups, len(codes), max_bytes)
        queries = eligible[choose_evenly(take(Z_meta, eligible), codes[eligible], room) if room >= 2 else []]
        columns, everything = take(Z_meta, queries), Z_meta
        positions = np.empty((0, len(codes)))
        if metric.metric == "precomputed":
            everything = np.arange(len(codes))
        if len(queries):
            positions = bin_positions(metric.distances(columns, everything), scale)
        if metric.metric == "precomputed":
            columns = queries
        nothing, mass = np.zeros(()), np.zeros(n_groups)  # to which anything adds up
        return cls(metric, codes, weight, scale, queries, columns, positions, nothing, mass)

    def meet(self, ordered, compute):
        """The same after it has met training rows, :class:`SortedRows`."""
        groups = np.repeat(np.arange(len(self.mass)), ordered.counts)
        mass = self.mass + np.bincount(groups, ordered.weight, len(self.mass))
        if not len(self.queries):
            return replace(self, mass=mass)
        cost = self.metric.cost(ordered.rows, self.columns, ordered.index)
        # a block has several arrays of its size
        n_rows = rows_per_block(compute, 4 * len(self.queries), dtype_of(cost.reference).itemsize)
        partition = Partition.of(ordered.counts, n_rows)
        new = kernel_histograms(cost, ordered.weight, self.scale, partition, compute)
        new += self.histograms
        return replace(self, mass=mass, histograms=new)

    def merge(self, other):
        """The same after it has met what either has."""
        return replace(self, histograms=self.histograms + other.histograms, mass=self.mass + other.mass)

    def summed(self, total):
        """The same after it has met what all have of which ``total`` is the sum."""
        return replace(self, histograms=total(self.histograms), mass=total(self.mass))

    def estimate(self):
        """Reliability of the labels met so far, :class:`LabelReliability` over the groups with rows."""
        has_rows = self.mass > 0
        present, known = has_rows.nonzero()[0], has_rows[self.codes]
        asked = known[self.queries].nonzero()[0]
        if len(present) < 2 or not len(asked):
            return LabelReliability.unknown(len(present))
        codes, weight, row = self.codes, self.weight, self.queries
        histograms, mass, positions = self.histograms, self.mass, self.positions
        if len(present) < len(mass):  # classes without rows take no part
            met = known.nonzero()[0]
            codes, weight, row = np.searchsorted(present, codes[met]), weight[met], np.searchsorted(met, row[asked])
            histograms, mass, positions = (
                histograms[np.ix_(present, asked)],
                mass[present],
                positions[np.ix_(asked, met)],
            )
        filled = histograms.reshape(-1, N_BINS).any(axis=0).nonzero()[0]
        last_bin = max(int(filled[-1]), int(positions.max()) + 1)
        return _estimate(histograms, mass, _Trusted(codes, weight, positions, row, last_bin + 1))


def _n_queries(n_groups, n_meta, max_bytes):
    """Queries for which there is room: histograms of all groups and of a chunk's, and tables of all trusted samples."""
    return min(_MAX_QUERIES, max_bytes // (8 * (3 * N_BINS * n_groups + 16 * n_meta)))


class _Trusted:
    """Trusted rows as queries meet them.

    Attributes
    ----------
    codes : ndarray of shape (M,)
    query_row, query_class : ndarray of shape (Q,)
    n_bins : int
    bins, upper_share : ndarray of shape (Q, M)
        Place of each row's bin in a table (Q, bins), and the share of its mass that goes to the next bin.
    share : ndarray of shape (Q, M)
        Weight of each row within its class, 0 for the query itself.
    gap : ndarray of shape (Q, M)
        What the mean of a class loses without the row, as a multiple of the row's own distance from the mean.
    """

    def __init__(self, codes, weight, positions, query_row, n_bins):
        self.codes, self.query_row, self.query_class, self.n_bins = codes, query_row, codes[query_row], n_bins
        n_queries = np.arange(len(query_row))
        lower = positions.astype(np.intp)
        self.bins, self.upper_share = lower + n_bins * n_queries[:, None], positions - lower
        self._n_rows = np.bincount(codes)
        self._class_of = codes + self.n_classes * n_queries[:, None]
        met = np.empty(positions.shape)
        met[...] = weight
        met[n_queries, query_row] = 0.0
        total = self._of_class(met)
        self.share = np.divide(met, total, out=met, where=total > 0)
        others = 1.0 - self.share
        # without a row that is alone in its class there would be no mean
        self.gap = np.divide(self.share, others, out=np.zeros_like(others), where=others > 1e-12)

    @property
    def n_classes(self):
        return len(self._n_rows)

    def _of_class(self, values):
        """Sums over each query's rows of a class, at every row of the class."""
        return np.bincount(self._class_of.ravel(), values.ravel(), len(values) * self.n_classes)[self._class_of]

    def histograms(self, values):
        """Table (Q, bins) of the values (Q, M) in the rows' bins."""
        upper, size = values * self.upper_share, len(values) * self.n_bins
        out = np.bincount(self.bins.ravel(), (values - upper).ravel(), size)
        out[1:] += np.bincount(self.bins.ravel(), upper.ravel(), size)[:-1]
        return out.reshape(-1, self.n_bins)

    def read(self, table):
        """What a table (Q, bins) has for the rows, (Q, M)."""
        lower = table.take(self.bins)
        return lower + self.upper_share * (table.take(self.bins + 1) - lower)

    def without_row(self, values):
        """What the class means of the rows' values (Q, M) gain if a row is left out, (Q, M)."""
        return self.gap * (self._of_class(self.share * values) - values)

    def jackknife(self, query_part, gains, row_part):
        """Standard errors of estimates, to which queries contribute (n, Q) and rows are worth (n, M).

        ``gains`` are those of :func:`_gains_without`, for the groups over which the mean of the queries is taken.
        """
        loss = row_part.copy()
        loss[:, self.query_row] += query_part @ gains
        order, first, kept = self._by_class
        loss -= (np.add.reduceat(loss[:, order], first, axis=1) / self._n_rows)[:, self.codes]
        return np.sqrt(loss**2 @ kept)

    @cached_property
    def _by_class(self):
        """Rows class by class, where each class starts, and the share of a row's class that is left without it."""
        order, first = np.argsort(self.codes, kind="stable"), np.cumsum(self._n_rows) - self._n_rows
        return order, first, (1.0 - 1.0 / self._n_rows)[self.codes]


def _gains_without(query_group):
    """What a sum of the queries' parts gains, per part (Q) and query (Q), if that query is left out of its group.

    The others of the group then count as much more.
    """
    others = np.bincount(query_group)[query_group] - 1
    gains = (query_group[:, None] == query_group) / np.maximum(others, 1)
    np.fill_diagonal(gains, -1.0 * (others > 0))
    return gains


@dataclass(frozen=True, eq=False)
class _Shares:
    """The shares of each query for its own class, and what they gain if a trusted row is left out.

    Of two classes y comes a second time, for the other class as c. The other shares say nothing new then: b is one less
    what it is for the own class.

    Attributes
    ----------
    a, b : ndarray of shape (Q,)
    y : ndarray of shape (L, Q)
        The sum of y_c and y_r; L is 2 for two classes, and else 1.
    b_rows : ndarray of shape (Q, M)
    y_rows : ndarray of shape (L, Q, M)
    """

    a: np.ndarray
    b: np.ndarray
    y: np.ndarray
    b_rows: np.ndarray
    y_rows: np.ndarray

    @classmethod
    def of(cls, histograms, mass, trusted):
        """Shares from histograms (K, Q, N_BINS) of the rows of K labels of that mass."""
        n_classes, own, n_bins = trusted.n_classes, trusted.query_class, trusted.n_bins
        table = share_table(n_bins)

        def of_rest(whole, own):
            return (n_classes * whole - own) / (n_classes - 1)

        S = histograms[own, np.arange(len(own)), :n_bins] / mass[own, None]
        mean_S = ((1.0 / n_classes / mass) @ histograms.reshape(n_classes, -1)).reshape(len(own), -1)[:, :n_bins]
        mine = trusted.codes == own[:, None]
        T, mean_T = trusted.histograms(trusted.share * mine), trusted.histograms(trusted.share) / n_classes
        S_rest, T_rest = of_rest(mean_S, S), of_rest(mean_T, T)
        # mean shares for a row in each bin: of S and of T beside it, and its own beside the rest
        of_S, of_T, beside_rest = S @ table, T @ table, T_rest @ table.T
        equal = np.where(mine, 1.0, 1.0 / (n_classes - 1))
        every_S = [of_S, S_rest @ table] if n_classes == 2 else [of_S]
        return cls(
            a=(of_S * S_rest).sum(axis=1),
            b=(of_T * T_rest).sum(axis=1),
            y=np.array([(of * (T + T_rest)).sum(axis=1) for of in every_S]),
            b_rows=trusted.without_row(equal * np.where(mine, trusted.read(beside_rest), trusted.read(of_T))),
            y_rows=np.array([trusted.without_row(equal * trusted.read(of)) for of in every_S]),
        )


def _estimate(histograms, mass, trusted):
    """:class:`LabelReliability` from histograms (K, Q, N_BINS) of the K groups of that mass."""
    n_classes, own = len(mass), trusted.query_class
    seen = _Shares.of(histograms, mass, trusted)
    b = seen.b - 0.5
    n_queries = np.bincount(own, minlength=n_classes)
    equal = 1.0 / n_queries[own]  # the queries of a class together count one
    # classes with one query vary beside each other, the others within
    gains = _gains_without(np.where(n_queries[own] > 1, own, n_classes))

    def standard_error(of_b, rows_of_y=0.0, of_queries=0.0):
        """Of sums over queries of factors (n, Q) times b, beside what else queries contribute and rows are worth."""
        return trusted.jackknife(of_b * b + of_queries, gains, of_b @ seen.b_rows + rows_of_y)

    # (4)
    asked_of = equal / np.count_nonzero(n_queries)
    overall = unclipped = overall_se = np.nan
    separation = asked_of @ b
    if separation > _LEAST_SEPARATION:
        part = asked_of / separation
        unclipped = part @ (seen.a - 0.5)
        overall_se = standard_error(-unclipped * part[None], of_queries=part * (seen.a - 0.5))[0]
        overall = min(max(unclipped, 0.0), 1.0)

    # (7): p = sum of g u over 2 g^2, where g = b - 1/2 and u = y + b - 3/2, over one kind of queries or both
    labels = (n_queries > 1).nonzero()[0]
    kinds = np.array([own, 1 - own] if n_classes == 2 else [own])
    signs = np.array([1.0, -1.0])[: len(kinds), None]  # the other class's queries have b below 1/2
    of = equal * (kinds == labels[:, None, None])  # (n, L, Q) for n labels
    g, u = (of * np.array([signs * b, seen.y + signs * b - 1.0])[:, None]).sum(axis=3)
    mean_of = of.mean(axis=1)
    separation = mean_of @ b
    separated = separation > np.maximum(_LEAST_SEPARATION, 2.0 * standard_error(mean_of))
    norm = np.where(separated, 2.0 * (g**2).sum(axis=1), 1.0)[:, None]
    p = (g * u / norm).sum(axis=1)
    of_y, of_b = of * (np.array([g, g + u - 4.0 * p[:, None] * g]) / norm)[..., None]
    rows_of_y = of_y.reshape(len(labels), kinds.size) @ seen.y_rows.reshape(kinds.size, -1)
    se = standard_error((of_b * signs).sum(axis=1), rows_of_y, (of_y * seen.y).sum(axis=1))
    precision, precision_se = np.full((2, n_classes), np.nan)
    told = separated & (se <= LARGEST_SE) & (p + 3.0 * se >= -_BELOW_ZERO)
    precision[labels[told]], precision_se[labels[separated]] = np.clip(p[told], 0.0, 1.0), se[separated]
    errors = precision, precision_se, float(unclipped)
    return LabelReliability(float(overall), float(overall_se), *errors, seen.a, seen.b, own)
