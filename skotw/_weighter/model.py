"""The transport between embedded training rows and embedded meta rows: settle, solve, weigh.

Everything here is checked and embedded already. Rows may be NumPy arrays, CSR matrices or tensors; what is per group
or per column is NumPy. Each step takes a value and returns another; none is written to.

    settle -> Start -> solve -> Fitted                        all rows at once
                    -> Stream.begin, .learn, .merge -> Fitted   chunk by chunk
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skotw._transport import exact, gradient, relaxed
from skotw._transport.arrays import beside, dtype_of, like, like_rows, namespace, take, to_numpy
from skotw._transport.blocks import Partition, one_blas_thread, rows_per_block
from skotw._transport.cost import SumCost, constant_cost
from skotw._transport.kernel_histograms import BANDWIDTH
from skotw._transport.label_shares import own_label_shares
from skotw._transport.leave_one_out import own_class_votes
from skotw._transport.problem import Problem
from skotw._transport.rows import LazyRows, reference_of
from skotw._validation import check_weights, named, warn
from skotw.meta._prototypes import group_prototypes
from skotw.meta._sampling import choose_evenly

from .auto_reg import CANDIDATES, UNKNOWN_REG, choose_reg
from .compute import compute_of
from .feature_cost import FeatureMetric
from .label_reliability import LabelReliability, ReliabilityMeter
from .labels import Target
from .max_weight import Cap
from .sets import Meta, SortedRows
from .settings import Settings

__all__ = ["Fitted", "Reduction", "Start", "Stream", "effective_sizes", "settle", "solve"]

# Trusted samples that judge reg="auto".
_MAX_ASKED = 64
# From this information on votes would move reg by less than three in a hundred, and are not counted.
_ALL_BUT_RIGHT = 0.99
# Arrays of shape (classes, candidates, samples) that their votes take.
_TABLES_OF_VOTES = 8
# What neighbours say of rows that mislead, at the most: a forest takes nodes for pure that hold no more, and AdaBoost
# takes logarithms.
_NEXT_TO_NOTHING = 1e-20
# Rows around a trusted row of which it says what they are worth to their neighbours.
_ROWS_TOLD_ABOUT = 100
# Training rows that trusted samples meet at the most, for the reliability of the labels and for votes: of all classes
# together, and of one class where there are many. What chance adds by that is small beside what it leaves by the choice
# of 64 trusted samples: about a tenth of the standard error of the reliability.
_ROWS_MET, _ROWS_VOTING, _ROWS_OF_A_CLASS = 2**15, 2**14, 2**8
# Rows that take no more memory, nor a quarter of what may be taken, are sorted and standardised once, not in each of
# the ten walks over them.
_FEW_BYTES = 2**26
# Rows of which what is but a number per row is held in double precision.
_ROWS_AT_A_TIME = 2**16


@dataclass(frozen=True)
class Reduction:
    """Sums over all rows, all of which are here; those of rows that others have are a subclass's to add.

    Attributes
    ----------
    reliability : bool
        Whether the reliability of the labels is measured.
    """

    reliability: bool = True

    def sum(self, values):
        """Sum of an array that everyone has."""
        return values

    def logsumexp(self, values):
        """Log of the sum of the exponentials of an array that everyone has."""
        return values

    def mean(self, cost, p, b, compute):
        """Mean cost under p x b, with p up to a factor."""
        return cost.mean(p / p.sum(), b, compute)


@dataclass(frozen=True, eq=False)
class Basis:
    """What rows are measured by, settled by all of them or by the first.

    Attributes
    ----------
    settings : Settings
    metric : FeatureMetric
    target : Target
        Of the meta samples, or of the rows where there are none.
    columns : Meta
        Meta samples or prototypes, sorted by group.
    group_mass : ndarray of shape (G,)
        Mass of each group of the meta side, up to a factor.
    cost_scale, label_scale : float
        Units of the feature cost and of a continuous label cost.
    reg : float
    trust, doubt : float
        Exponents of the belief in labels of the trusted rows' models, and of neighbours.
    worth : float
        What a label is worth of a right one, to which what neighbours say adds.
    """

    settings: Settings
    metric: FeatureMetric
    target: Target
    columns: Meta
    group_mass: np.ndarray
    cost_scale: float = 1.0
    label_scale: float = 1.0
    reg: float = UNKNOWN_REG
    trust: float = 0.0
    doubt: float = 0.0
    worth: float = 1.0

    @property
    def compute(self):
        """Threads, and memory as it is set now."""
        return compute_of(self.settings.n_jobs)

    def sort(self, rows, *, many_walks=False):
        """Rows group by group, as the metric takes them; dense NumPy rows stay where they are.

        With ``many_walks`` few such rows are copied once, instead of gathered and standardised in each walk.
        """
        counts = np.bincount(rows.codes, minlength=self.target.n_groups)
        Z, values, weight, order, index = rows.Z, rows.values, rows.weight, None, rows.index
        if np.any(rows.codes[1:] < rows.codes[:-1]):
            # of few bits, which are sorted by counting
            order = np.argsort(rows.codes.astype(np.min_scalar_type(len(counts))), kind="stable")
            Z = LazyRows(Z) if isinstance(Z, np.ndarray) else Z
            Z = Z.in_order(order) if isinstance(Z, LazyRows) else take(Z, order)
            if np.any(weight != weight[0]):  # else they are the same in any order
                weight = weight[order]
            values = None if values is None else values[order]
            index = order if index is None else index[order]
        compute = self.compute
        most = min(_FEW_BYTES, compute.cache_bytes // 4)
        if many_walks and isinstance(Z, LazyRows) and math.prod(Z.shape) * Z.dtype.itemsize <= most:
            Z = Z.copied(compute)
        measured, reference = self.metric.rows(Z, compute, index), reference_of(rows.Z)[:0]
        return self.believe(SortedRows(measured, values, weight, counts, order, index, reference), rows)

    def believe(self, ordered, rows):
        """The same sorted rows with what is believed of their labels now."""
        if rows.beliefs is None:
            return ordered
        of_all, of_trusted, of_neighbours = rows.beliefs[:, np.arange(len(rows.codes)), rows.codes]
        by_neighbours = np.maximum(self.worth + of_neighbours, _NEXT_TO_NOTHING) ** self.doubt
        belief, beliefs = of_all * of_trusted**self.trust * by_neighbours, rows.beliefs[:2].prod(axis=0)
        if ordered.order is not None:
            belief, beliefs = belief[ordered.order], beliefs[ordered.order]
        return replace(ordered, belief=belief, beliefs=beliefs)

    def marginals(self, group_prior, columns):
        """Columns whose group has rows, their mass b, and log(p_i / a_i) of each group, a_i summing to its prior."""
        codes, weight = columns.target.meta_codes, columns.weight
        present = group_prior > 0
        active = present[codes].nonzero()[0]
        mass = self.group_mass * present
        mass /= mass.sum()
        within = np.bincount(codes, weights=weight, minlength=len(mass))
        b = weight[active] * (mass / within)[codes[active]]
        with np.errstate(divide="ignore"):
            if self.settings.prior == "uniform":
                log_ratio = np.where(present, -np.log(group_prior.sum()), -np.inf)
            else:
                log_ratio = np.log(mass) - np.log(np.where(present, group_prior, 1.0))
        return active, b, log_ratio

    def problem(self, target, b, log_ratio, eps):
        """The transport to columns of that target and mass."""
        lam = float(self.settings.label_weight)
        label_cost = lam if target.kind == "classes" else 0.0
        if self.settings.label_cost == "hard":
            label_cost = np.inf
        # label costs that go by pairs ride with the features, whose unit is then that of C
        rate = 1.0 if target.meta_values is not None else (1.0 - lam) / self.cost_scale
        rho = float(self.settings.reg_prior)
        return Problem(eps, rho, rate / eps, np.log(b), log_ratio, target.meta_codes, label_cost)

    def feature_cost(self, ordered, columns):
        """Cost of the features of pairs of rows and columns, where it counts."""
        if self.settings.label_weight < 1.0:
            # rows may come from elsewhere than those of the fit; precomputed costs have numbers of columns there
            given = self.metric.metric == "precomputed"
            Z = columns.Z if given else beside(columns.Z, ordered.reference)
            return self.metric.cost(ordered.rows, Z, ordered.index)
        return constant_cost(len(ordered.weight), len(columns.weight), ordered.reference)

    def cost(self, ordered, columns):
        """Cost that goes by pairs of rows and columns."""
        lam = float(self.settings.label_weight)
        features = self.feature_cost(ordered, columns)
        labels = columns.target.pair_cost(ordered.values, self.label_scale, features.reference)
        if labels is None:
            return features
        return SumCost(features, (1.0 - lam) / self.cost_scale, labels, lam)

    def label_costs(self, columns):
        """Label cost between each group and each column, (G, M)."""
        lam, target = float(self.settings.label_weight), columns.target
        if self.settings.label_cost == "hard":
            return np.where(target.meta_codes == np.arange(target.n_groups)[:, None], 0.0, np.inf)
        if target.kind == "classes":
            return np.where(target.meta_codes == np.arange(target.n_groups)[:, None], 0.0, lam)
        return lam * (target.labels[:, None] != target.meta_values[None]).mean(axis=2)

    def partition(self, counts, cost, *, tiled, copies=1):
        """Blocks as wide as the solver's tiles, or as all columns, and as the rows that are gathered for them.

        ``copies`` of all columns are held at once.
        """
        reference, compute = cost.reference, self.compute
        width = copies * cost.shape[1]
        if tiled:
            width = exact.tile_width(cost, width, compute) or width
        if math.isfinite(cost.work) and isinstance(reference, np.ndarray):
            width = max(width, int(cost.work))
        return Partition.of(counts, rows_per_block(compute, width, dtype_of(reference).itemsize, reference))


def _differences(basis, other):
    """What two bases disagree about, in words of the public parameters; empty where sums under both add up."""
    # embeddings, and whatever else came from other rows, show in what became of the meta set
    names = [
        name
        for name in basis.settings.changed(other.settings)
        if name in ("metric", "label_weight", "label_cost", "prior", "n_prototypes")
    ]
    columns, others = basis.columns, other.columns
    if not (_same_target(basis.target, other.target) and _same_target(columns.target, others.target)):
        return [*names, "the trusted labels"]
    if not _alike(columns.weight, others.weight):
        names.append("sample_weight_meta")
    if not _alike(columns.Z, others.Z):
        names.append("the trusted rows, or what the embedding makes of them")
    if not _alike(basis.group_mass, other.group_mass):
        names.append("class_mass")
    params, other_params = basis.metric.params, other.metric.params  # of other metrics, which are named, others
    if not all(_alike(params[name], other_params[name]) for name in params.keys() & other_params.keys()):
        names.append("the variances that the metric took from the rows")
    names.extend(name for name in ("cost_scale", "reg") if not _alike(getattr(basis, name), getattr(other, name)))
    if not _alike(basis.label_scale, other.label_scale):
        names.append("the unit of the label cost")
    return names


def _same_target(a, b):
    def equal(x, y):
        return (x is None and y is None) or (x is not None and y is not None and np.array_equal(x, y))

    parts = ((a.labels, b.labels), (a.meta_codes, b.meta_codes), (a.meta_values, b.meta_values))
    categories = [] if a.categories is None or b.categories is None else zip(a.categories, b.categories, strict=False)
    return a.kind == b.kind and all(equal(x, y) for x, y in [*parts, *categories])


def _alike(a, b):
    """Equal up to what sums in another order leave."""
    if sparse.issparse(a) or sparse.issparse(b):
        if not (sparse.issparse(a) and sparse.issparse(b) and a.shape == b.shape):
            return False
        gap, size, dtype = abs(a - b).max(), abs(b).max(), a.dtype
    else:
        a, b = (np.asarray(x if np.isscalar(x) else to_numpy(x)) for x in (a, b))
        if a.shape != b.shape:
            return False
        gap, size, dtype = np.max(np.abs(a - b), initial=0.0), np.max(np.abs(b), initial=0.0), a.dtype
    return bool(gap <= (1e-5 if dtype == np.float32 else 1e-10) * size)


# ---------------------------------------------------------------------------------------------
# Settling


@dataclass(frozen=True, eq=False)
class Start:
    """All rows, or the first of a stream, sorted and prepared, with the basis that they settle.

    Attributes
    ----------
    basis : Basis
    ordered : SortedRows
    group_weight, group_prior : ndarray of shape (G,)
        Sum of the sample weights of each group, and of these times the belief in the labels.
    meter : ReliabilityMeter or None
        Has met the rows; None where the reliability is not asked, and where no more rows will come.
    reliability : LabelReliability or None
    """

    basis: Basis
    ordered: SortedRows
    group_weight: np.ndarray
    group_prior: np.ndarray
    meter: ReliabilityMeter | None
    reliability: LabelReliability | None


def settle(checked, reduction=None, *, stream=False, reliability=None, learned=False):
    """Settle what rows are measured by.

    Parameters
    ----------
    checked : Input
    reduction : Reduction, optional
    stream : bool
        More rows will come, so that it is too early to miss a class.
    reliability : LabelReliability, optional
        Of the labels, where it is known already.
    learned : bool
        Whether a network learns these labels with these weights, which ``reg="auto"`` then allows for.

    Returns
    -------
    Start
    """
    reduction = reduction or Reduction()
    settings, rows, meta, target = checked.intake.settings, checked.chunk.rows, checked.meta, checked.target
    origin = columns = Meta(rows.Z, target, rows.weight) if meta is None else meta
    with one_blas_thread():
        metric = FeatureMetric.of(settings.metric, rows.Z, rows.weight, origin.Z)
        if meta is None or settings.n_prototypes is not None:
            columns = _prototypes(origin, settings.n_prototypes or 1)
    order = np.argsort(columns.target.meta_codes, kind="stable")
    if settings.metric == "precomputed":
        columns = replace(columns, Z=np.arange(len(order)))
    basis = Basis(settings, metric, target, columns.take(order), _group_mass(settings.class_mass, origin))
    ordered, compute = basis.sort(rows, many_walks=True), basis.compute
    sums = np.bincount(rows.codes, weights=rows.weight, minlength=target.n_groups)
    group_weight = reduction.sum(sums)
    if not stream:
        _warn_absent(target, group_weight)
    basis = _with_scales(basis, ordered, _group_prior(ordered, group_weight, reduction), reduction)
    meter = None
    if target.kind == "classes" and meta is not None and meta.Z is not None and reduction.reliability:
        with one_blas_thread():
            meter = ReliabilityMeter.of(
                metric,
                meta.Z,
                meta.target.meta_codes,
                meta.weight,
                target.n_groups,
                basis.cost_scale,
                compute.cache_bytes,
            )
        # in a stream rows count alike whatever the size of their chunk
        met = ordered if stream else _some(ordered, _ROWS_MET)
        meter = meter.meet(met, compute).summed(reduction.sum)
    if reliability is None:
        reliability = _estimate(meter, target, group_weight)
    if checked.precision is not None:
        precision, se = (values[group_weight > 0] for values in checked.precision)
        reliability = replace(reliability, precision=precision, precision_se=se)
    if meter is not None:
        present = group_weight > 0
        squares = reduction.sum(np.bincount(rows.codes, rows.weight**2, target.n_groups))
        reliability.warn_of_contradiction(group_weight[present] ** 2 / squares[present])
    if not stream:
        meter = None  # its histograms may be the largest of all
    if rows.beliefs is not None:
        # of what all labels are worth together trusted ones hold this share, and what rests on them alone counts by it
        information, n_rows = reliability.label_information(), group_weight.sum()
        trust = len(meta.weight) / (len(meta.weight) + information * n_rows)
        reached = _ROWS_TOLD_ABOUT * np.bincount(meta.target.meta_codes, minlength=target.n_groups).min()
        # squared: no row is thrown away on the word of a few trusted ones where many others speak for it
        doubt = (1.0 - information) * reached**2 / (reached**2 + n_rows**2)
        basis = replace(basis, trust=trust, doubt=doubt, worth=information)
        ordered = basis.believe(ordered, rows)
    group_prior = _group_prior(ordered, group_weight, reduction)
    reg = settings.reg
    if isinstance(reg, str):
        reg = _choose_reg(basis, ordered, meta, group_prior, reliability, reduction, learned)
    return Start(replace(basis, reg=float(reg)), ordered, group_weight, group_prior, meter, reliability)


def _group_prior(ordered, group_weight, reduction):
    """Sum of the prior weights of each group, before groups get their mass."""
    if ordered.belief is None:
        return group_weight
    groups = np.repeat(np.arange(len(ordered.counts)), ordered.counts)
    return reduction.sum(np.bincount(groups, ordered.prior, len(ordered.counts)))


def _with_scales(basis, ordered, group_prior, reduction):
    """Units of the feature cost and of a continuous label cost: their means under p x b."""
    active, b, log_ratio = basis.marginals(group_prior, basis.columns)
    columns = basis.columns.take(active)
    p = np.repeat(np.exp(log_ratio), ordered.counts)
    p *= ordered.prior
    cost_scale, label_scale = basis.settings.cost_scale, 1.0
    if cost_scale is None:
        mean = reduction.mean(basis.metric.cost(ordered.rows, columns.Z, ordered.index), p, b, basis.compute)
        cost_scale = mean if np.isfinite(mean) and mean > 0 else 1.0
    if columns.target.kind == "continuous":
        differences = columns.target.pair_cost(ordered.values, 1.0, np.empty(0))
        label_scale = reduction.mean(differences, p, b, basis.compute) or 1.0
    return replace(basis, cost_scale=float(cost_scale), label_scale=label_scale)


def _choose_reg(basis, ordered, meta, group_prior, reliability, reduction, learned):
    """What ``reg="auto"`` comes to, judged by the meta samples themselves."""
    settings, target = basis.settings, basis.target
    lonely = meta is None or target.kind != "classes" or (group_prior > 0).sum() < 2
    if lonely or settings.label_weight == 1.0:
        return UNKNOWN_REG
    # a network learns by heart whatever label has some weight: it needs sharp weights unless all labels are right
    information = reliability.posterior.all_right if learned else reliability.label_information()
    if information > _ALL_BUT_RIGHT:
        return CANDIDATES[0]
    asked = choose_evenly(meta.Z, meta.target.meta_codes, _MAX_ASKED, least=2)
    asked = asked[np.argsort(meta.target.meta_codes[asked], kind="stable")]
    columns = Meta(asked, meta.target.take(asked), meta.weight[asked])
    active, b, log_ratio = basis.marginals(group_prior, columns)
    target, index = columns.target.take(active), asked[active]
    tables = _TABLES_OF_VOTES * 8 * len(CANDIDATES) * target.n_groups * len(index)
    if tables > basis.compute.cache_bytes:
        return UNKNOWN_REG
    Z_asked = index if settings.metric == "precomputed" else take(meta.Z, index)
    ordered = _some(ordered, _ROWS_VOTING)
    cost = basis.metric.cost(ordered.rows, Z_asked, ordered.index)
    unit = group_prior.sum() / reduction.sum(np.array(float(len(ordered.weight))))
    a, log_ratio = ordered.prior / unit, log_ratio + np.log(unit)
    problems = [basis.problem(target, b, log_ratio, eps) for eps in CANDIDATES]
    rate, codes = 1.0 / (basis.cost_scale * BANDWIDTH), target.meta_codes
    partition = basis.partition(ordered.counts, cost, tiled=False, copies=len(CANDIDATES))
    votes = own_class_votes(cost, a, problems, rate, partition, basis.compute, reduction.sum)
    return choose_reg(votes, codes, information)


def _some(ordered, n_rows):
    """The rows, or a sample of about that many."""
    return ordered.sample(max(n_rows // len(ordered.counts), _ROWS_OF_A_CLASS))


def _estimate(meter, target, group_weight):
    """Reliability of the labels met so far; None where there are no classes."""
    if target.kind != "classes":
        return None
    if meter is None:
        return LabelReliability.unknown(int((group_weight > 0).sum()))
    with one_blas_thread():
        return meter.estimate()


# ---------------------------------------------------------------------------------------------
# Solving


@dataclass(frozen=True, eq=False)
class Fitted:
    """The solution, for rows seen or not: numbers per group and per column, and no row.

    Attributes
    ----------
    basis : Basis
    group_weight, group_prior : ndarray of shape (G,)
        Sum of the sample weights of each group, and of these times the belief in the labels.
    potentials : ndarray of shape (n_active,)
    objective : float
    n_iter : int
    reliability : LabelReliability or None
    cap : Cap or None
        Where ``max_weight`` asks for it.
    """

    basis: Basis
    group_weight: np.ndarray
    group_prior: np.ndarray
    potentials: np.ndarray
    objective: float
    n_iter: int
    reliability: LabelReliability | None
    cap: Cap | None = None

    @property
    def target(self):
        """What the labels are measured against."""
        return self.basis.target

    @property
    def group_mass(self):
        """Mass of each group of the meta side, up to a factor."""
        return self.basis.group_mass

    @property
    def total(self):
        """Sum of the sample weights seen."""
        return float(self.group_weight.sum())

    @property
    def groups(self):
        """Groups with training rows."""
        return (self.group_weight > 0).nonzero()[0]

    def weigh(self, rows):
        """Weights of any rows, float64 ndarray."""
        self._check_groups(rows)
        return self.weigh_sorted(self.basis.sort(rows))

    def weigh_sorted(self, ordered):
        """The same of rows that the basis has sorted, in the order in which they came."""
        cost = self.basis.cost(ordered, self._transport[0])
        partition = self.basis.partition(ordered.counts, cost, tiled=False)
        log_ratio = self._log_ratio(ordered, cost, partition)
        if self.cap is None:
            log_weight = log_ratio + np.log(ordered.weight)
        else:
            log_weight = self.cap.log_weight(log_ratio, partition.codes, ordered.weight)
        # a density is unbounded far from the training rows; the largest float stands for more
        largest = np.log(np.finfo(dtype_of(ordered.reference)).max) - 1.0
        return ordered.back(np.exp(np.minimum(log_weight, largest)))

    def capped(self, weights, ordered, cost):
        """The same with the cap of ``max_weight``, and the sorted rows' weights under it."""
        n_groups, codes = len(ordered.counts), np.repeat(np.arange(len(ordered.counts)), ordered.counts)
        free, limits = to_numpy(weights).astype(np.float64), np.finfo(dtype_of(weights))
        if free.min() < self.total * limits.tiny / limits.eps:  # some have underflowed: their logarithms have not
            log_ratio = self._log_ratio(ordered, cost, self.basis.partition(ordered.counts, cost, tiled=False))
        else:
            log_ratio = np.log(free / ordered.weight)
        mass = np.bincount(codes, weights=free, minlength=n_groups)
        cap = Cap.of(self.basis.settings.max_weight, log_ratio, mass, codes, ordered.weight, n_groups)
        return replace(self, cap=cap), like(np.exp(cap.log_weight(log_ratio, codes, ordered.weight)), weights)

    def _log_ratio(self, ordered, cost, partition):
        """Log of weight over row weight, before the cap."""
        problem = self._transport[1]
        density = relaxed.log_density(cost, problem, self.potentials, partition, self.basis.compute)
        if ordered.belief is not None:
            with np.errstate(divide="ignore"):  # rows that mislead weigh nothing
                density = density + np.log(ordered.belief)
        return density + problem.log_ratio[partition.codes] + np.log(self.total)

    def plan(self, rows):
        """Rows of the plan, float64 ndarray of shape (n, active columns)."""
        self._check_groups(rows)
        basis = self.basis
        ordered = basis.sort(rows)
        columns, problem = self._transport
        cost = basis.cost(ordered, columns)
        partition = basis.partition(ordered.counts, cost, tiled=False)
        with np.errstate(divide="ignore"):
            log_p = np.log(ordered.prior) + problem.log_ratio[partition.codes]
        return ordered.back(relaxed.plan(cost, problem, self.potentials, log_p, partition, basis.compute))

    @property
    def has_labels(self):
        """Whether rows have labels among others, by which they fall into groups."""
        return self.target.labels is not None

    def label_shares_of(self, rows):
        """The same of any rows."""
        self._check_groups(rows)
        return self.label_shares(self.basis.sort(rows))

    def label_shares(self, ordered):
        """Share of a row's own label in what it weighs under all labels, and the group of the label with most.

        Weights are those before the cap, without the factor of the prior that goes by the label alone, without the
        belief of neighbours, and with the whole belief of the trusted rows' models: no weight gathers around these
        rows by it. The rows must
        have been sorted by the basis; what is returned is in the order in which they came.
        """
        basis = self.basis
        columns, problem = self._transport
        cost = basis.feature_cost(ordered, columns)
        rate = (1.0 - float(basis.settings.label_weight)) / (basis.cost_scale * problem.eps)
        partition = basis.partition(ordered.counts, cost, tiled=False)
        costs = basis.label_costs(columns)
        belief = None if ordered.beliefs is None else np.log(ordered.beliefs)
        found = own_label_shares(cost, problem, rate, costs, self.potentials, partition, basis.compute, belief)
        return tuple(ordered.back(values) for values in found)

    def with_columns_like(self, Z):
        """The same with its columns in the library and on the device of some rows."""
        columns = replace(self.basis.columns, Z=like_rows(self.basis.columns.Z, Z))
        return replace(self, basis=replace(self.basis, columns=columns))

    @cached_property
    def _transport(self):
        """Active columns, and their problem."""
        return _transport(self.basis, self.group_prior)

    def __getstate__(self):
        # the problem is made anew in no time, and weighing leaves no trace
        return {name: value for name, value in vars(self).items() if name != "_transport"}

    def _check_groups(self, rows):
        unseen = np.setdiff1d(np.unique(rows.codes), self.groups)
        if len(unseen):
            names = self.target.group_names()
            raise ValueError(
                f"y has classes that had no training rows: {named([names[g] for g in unseen])}. Fit with rows "
                "of them, or leave these rows out."
            )


def _transport(basis, group_prior):
    """Columns whose group has rows, and the problem of transport to them."""
    active, b, log_ratio = basis.marginals(group_prior, basis.columns)
    columns = basis.columns.take(active)
    return columns, basis.problem(columns.target, b, log_ratio, basis.reg)


def solve(start):
    """Weights of all rows at once, and what they leave for rows never seen.

    Returns
    -------
    fitted : Fitted
    weights : array of shape (n,)
        In the order in which the rows came; their sum is that of the sample weights.
    """
    basis, ordered = start.basis, start.ordered
    columns, problem = _transport(basis, start.group_prior)
    unit = float(ordered.prior.mean())
    a = ordered.prior if unit == 1.0 else ordered.prior / unit
    problem = replace(problem, log_ratio=problem.log_ratio + np.log(unit))
    cost = basis.cost(ordered, columns)
    if basis.settings.solver == "gradient":
        result = _solve_gradient(basis, cost, a, problem, ordered.counts)
    else:
        solver = relaxed if problem.rho > 0 else exact
        partition = basis.partition(ordered.counts, cost, tiled=solver is exact)
        result = solver.solve(cost, a, problem, partition, basis.compute)
    if not result.converged:
        warn(
            f"The weights did not converge in {result.n_iter} iterations. Raise reg, or lower reg_prior.",
            ConvergenceWarning,
        )
    potentials = _finite(result.potentials, basis)
    fitted = Fitted(
        basis, start.group_weight, start.group_prior, potentials, result.objective, result.n_iter, start.reliability
    )
    weights = result.weights * fitted.total
    if basis.settings.max_weight is not None:
        fitted, weights = fitted.capped(weights, ordered, cost)
    return fitted, ordered.back(weights)


def effective_sizes(start, weights, reduction=None):
    """How many rows of ``sample_weight`` 1 the weights are worth, and those of the prior would be.

    Kish's sizes, but for rows of weight k counting as k of them.
    """
    reduction = reduction or Reduction()
    basis, ordered = start.basis, start.ordered
    weights, total, squares = to_numpy(weights), 0.0, 0.0
    for first in range(0, len(weights), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        w = weights[rows if ordered.order is None else ordered.order[rows]].astype(np.float64)
        # no dot product of rows, whose threads would go on spinning
        total, squares = total + w.sum(), squares + np.sum(w * (w / ordered.weight[rows]))
    total, squares = reduction.sum(np.array([total, squares]))
    size = total**2 / squares
    ratio = np.exp(basis.marginals(start.group_prior, basis.columns)[2])
    squares = start.group_weight
    if ordered.belief is not None:
        groups = np.repeat(np.arange(len(ratio)), ordered.counts)
        squares = reduction.sum(np.bincount(groups, ordered.prior * ordered.belief, len(ratio)))
    prior_size = (ratio @ start.group_prior) ** 2 / (ratio**2 @ squares)
    return float(size), float(prior_size)


def _finite(potentials, basis):
    """Costs are finite, but in units of the regularisation they may not be."""
    if not np.isfinite(potentials).all():
        raise ValueError(
            f"Costs in units of cost_scale={basis.cost_scale:g} and reg={basis.reg:g} exceed the largest float: "
            "raise cost_scale or reg."
        )
    return potentials


def _solve_gradient(basis, cost, a, problem, counts):
    size = cost.shape[0] * cost.shape[1] * 8
    if size > basis.compute.cache_bytes:
        raise ValueError(
            f"solver='gradient' holds the {cost.shape[0]} x {cost.shape[1]} matrix of costs, more than "
            "scikit-learn's working_memory allows. Use solver='exact', or raise it by "
            "sklearn.set_config(working_memory=...)."
        )
    partition = basis.partition(counts, cost, tiled=False)
    report = _print_progress if basis.settings.verbose else lambda *progress: None
    a = np.maximum(a, np.finfo(np.float64).tiny)  # it walks on logarithms
    return gradient.solve(cost, a, problem, partition, basis.compute, report)


# ---------------------------------------------------------------------------------------------
# Chunks


@dataclass(frozen=True, eq=False)
class Stream:
    """What chunks add up to.

    Attributes
    ----------
    basis : Basis
        Settled by the first chunk.
    group_weight : ndarray of shape (G,)
        Sum of the sample weights of each group.
    log_normalisers : ndarray of shape (G, M)
        log of the sum over the rows of each group of their weight times exp(-rate d_ij).
    meter : ReliabilityMeter or None
    """

    basis: Basis
    group_weight: np.ndarray
    log_normalisers: np.ndarray
    meter: ReliabilityMeter | None

    @classmethod
    def begin(cls, start, reduction=None):
        """The stream of these rows alone."""
        normalisers = (reduction or Reduction()).logsumexp(_log_normalisers(start.basis, start.ordered))
        return cls(start.basis, start.group_weight, normalisers, start.meter)

    def learn(self, rows):
        """The stream with one chunk more."""
        ordered = self.basis.sort(rows)
        return replace(
            self,
            group_weight=self.group_weight + np.bincount(rows.codes, rows.weight, self.basis.target.n_groups),
            log_normalisers=np.logaddexp(self.log_normalisers, _log_normalisers(self.basis, ordered)),
            meter=None if self.meter is None else self.meter.meet(ordered, self.basis.compute),
        )

    def differences(self, other):
        """What the streams disagree about, in words of the public parameters; empty where their sums add up."""
        names = _differences(self.basis, other.basis)
        queries = [0 if stream.meter is None else len(stream.meter.queries) for stream in (self, other)]
        return names if names or queries[0] == queries[1] else ["scikit-learn's working_memory"]

    def merge(self, other):
        """The stream of both streams' chunks; the bases must be alike."""
        return replace(
            self,
            group_weight=self.group_weight + other.group_weight,
            log_normalisers=np.logaddexp(self.log_normalisers, other.log_normalisers),
            meter=None if self.meter is None else self.meter.merge(other.meter),
        )

    def fitted(self):
        """The solution for the rows learned so far."""
        basis = self.basis
        active = np.flatnonzero((self.group_weight > 0)[basis.columns.target.meta_codes])
        _, problem = _transport(basis, self.group_weight)
        potentials = _finite(problem.free_potentials(self.log_normalisers[:, active]), basis)
        objective = float(np.exp(problem.log_mass) @ potentials)
        reliability = _estimate(self.meter, basis.target, self.group_weight)
        return Fitted(basis, self.group_weight, self.group_weight, potentials, objective, 1, reliability)


def _log_normalisers(basis, ordered):
    """What these rows add to the sums over the rows of each group."""
    columns = basis.columns
    unit = float(ordered.weight.mean())
    cost = basis.cost(ordered, columns)
    no_mass, no_ratio = np.ones(len(columns.weight)), np.zeros(basis.target.n_groups)
    problem = basis.problem(columns.target, no_mass, no_ratio, basis.reg)
    partition = basis.partition(ordered.counts, cost, tiled=False)
    return exact.log_normalisers(cost, ordered.weight / unit, problem, partition, basis.compute) + np.log(unit)


# ---------------------------------------------------------------------------------------------
# Parts


def _prototypes(origin, k):
    """K prototypes per group, with the weight that each stands for."""
    Z, target = origin.Z, origin.target
    rows, codes, weight = Z, target.meta_codes, origin.weight
    if not isinstance(Z, np.ndarray) and not sparse.issparse(Z):
        if k > 1:
            rows = to_numpy(Z)  # they are clustered on the host
        else:
            codes, weight = namespace(Z).asarray(codes, device=Z.device), like(weight, Z)
    means, groups, mass = group_prototypes(rows, codes, target.n_groups, weight, int(k))
    groups = to_numpy(groups).astype(np.intp)
    mass = to_numpy(mass).astype(np.float64)
    values = target.labels[groups] if target.kind == "columns" else target.meta_values
    of = Target(target.kind, target.labels, groups, values, target.categories)
    return Meta(like_rows(means, Z), of, mass)


def _group_mass(class_mass, origin):
    """Mass of each group of the meta side, up to a factor."""
    n_groups = origin.target.n_groups
    if isinstance(class_mass, dict):
        names = origin.target.group_names()
        unknown = [name for name in class_mass if name not in names]
        missing = [name for name in names if name not in class_mass]
        if unknown or missing:
            raise ValueError(
                "class_mass must name every class of the trusted rows and no other. Unknown: "
                f"{named(unknown) or 'none'}; missing: {named(missing) or 'none'}."
            )
        mass = check_weights([class_mass[name] for name in names], "class_mass", n_groups)
        if not (mass > 0).all():
            raise ValueError(
                "class_mass must be positive for every class. To leave out a class, leave out the trusted rows of it."
            )
        return mass
    if class_mass == "meta":
        return np.bincount(origin.target.meta_codes, weights=origin.weight, minlength=n_groups)
    return np.ones(n_groups)


def _warn_absent(target, group_weight):
    absent = (group_weight == 0).nonzero()[0]
    if len(absent):
        names = target.group_names()
        warn(
            f"The trusted rows have classes without training rows: {named([names[g] for g in absent])}. These trusted "
            "rows take no part in the transport.",
        )


def _print_progress(step, objective, change):
    # printed, since verbose asks for it
    if step < 10 or step % 10 == 0:
        print(f"[gradient] step {step}: objective {objective:.6g}, largest change of log w {change:.1e}")  # noqa: T201
