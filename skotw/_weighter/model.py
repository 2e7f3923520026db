"""The transport between embedded training rows and embedded meta rows: settle, solve, weigh.

Everything here is checked and embedded already. Rows may be NumPy arrays, CSR matrices or tensors; what is per group
or per column is NumPy.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skotw._transport import exact, gradient, relaxed
from skotw._transport.arrays import dtype_of, like, like_rows, namespace, take, to_numpy
from skotw._transport.blocks import Partition, for_blocks, one_blas_thread, rows_per_block
from skotw._transport.cost import LOG2E, SumCost, constant_cost
from skotw._transport.kernel_histograms import BANDWIDTH
from skotw._transport.leave_one_out import own_class_votes
from skotw._transport.problem import Problem
from skotw._validation import check_weights, named, warn
from skotw.meta._prototypes import group_prototypes
from skotw.meta._sampling import choose_evenly

from .auto_reg import CANDIDATES, UNKNOWN_REG, choose_reg
from .compute import compute_of
from .feature_cost import FeatureMetric
from .label_reliability import LabelReliability, ReliabilityMeter
from .labels import Target
from .max_weight import cap_factor
from .sets import Meta, SortedRows

# Trusted samples that judge reg="auto".
_MAX_ASKED = 64
# Arrays of shape (classes, candidates, samples) that their votes take.
_TABLES_OF_VOTES = 8


class TransportModel:
    """What is settled by the first rows, and what solving leaves for rows never seen.

    Parameters
    ----------
    settings : dict
        Parameters of :class:`~skotw.OTSampleWeighter`.
    rows : Rows
        Training rows; with ``stream`` the first of them.
    meta : Meta or None
        None takes the class prototypes of the rows.
    target : Target
        Of the meta samples, or of the rows where there are none.
    stream : bool
        More rows will come.
    """

    def __init__(self, settings, rows, meta, target, *, stream=False):
        self.settings = settings
        origin = Meta(rows.Z, target, rows.weight) if meta is None else meta
        columns = origin
        with one_blas_thread():
            self.metric = FeatureMetric.of(settings["metric"], rows.Z, rows.weight, origin.Z)
            if meta is None or settings["n_prototypes"] is not None:
                columns = _prototypes(origin, settings["n_prototypes"] or 1)
        order = np.argsort(columns.target.meta_codes, kind="stable")
        if settings["metric"] == "precomputed":
            columns = replace(columns, Z=np.arange(len(order)))
        self.columns = columns.take(order)
        self.group_mass = _group_mass(settings["class_mass"], origin)
        self.target = target
        n_groups = target.n_groups
        self.group_weight = np.zeros(n_groups)
        self.log_normalisers = np.full((n_groups, len(order)), -np.inf)
        ordered = self._sorted(rows)
        group_weight = self._sum_by_group(rows)
        if not stream:
            _warn_absent(target, group_weight)
        self._settle_scales(ordered, rows, group_weight)
        self.reliability, self._meter = None, None
        if target.kind == "classes":
            self.reliability = LabelReliability.unknown(int((group_weight > 0).sum()))
            if meta is not None and meta.Z is not None:
                self._meter = self._new_meter(meta)
                self._meter_add(ordered)
                present = group_weight > 0
                squares = self._total(np.bincount(rows.codes, rows.weight**2, target.n_groups))
                self.reliability.warn_of_contradiction(group_weight[present] ** 2 / squares[present])
        self.reg = settings["reg"]
        if self.reg == "auto":
            self.reg = UNKNOWN_REG if meta is None else self._choose_reg(ordered, meta, group_weight)
        self.reg = float(self.reg)
        if not stream:
            self._meter = None
        self._first = (rows, ordered)  # spares sorting and preparing them again
        self._fresh = True

    # ---- solving

    def solve(self, rows):
        """Weights of all rows at once: array of shape (n,), sum 1 before the scale of the sample weights."""
        ordered = self._take_first(rows)
        self.group_weight = self._sum_by_group(rows)
        self._update_problem()
        unit = float(ordered.weight.mean())
        a = ordered.weight / unit
        problem = replace(self.problem, log_ratio=self.problem.log_ratio + np.log(unit))
        cost = self._cost(ordered)
        if self.settings["solver"] == "gradient":
            result = self._solve_gradient(cost, a, problem, ordered.counts)
        else:
            solver = relaxed if problem.rho > 0 else exact
            partition = self._partition(ordered.counts, cost, solver is exact)
            result = solver.solve(cost, a, problem, partition, self.compute)
        if not result.converged:
            warn(
                f"The weights did not converge in {result.n_iter} iterations: raise reg, or lower reg_prior.",
                ConvergenceWarning,
            )
        self.potentials, self.objective = self._finite(result.potentials), result.objective
        self.n_iter = result.n_iter
        weights = ordered.back(result.weights) * self.total
        return self._fit_cap(weights, rows)

    def _solve_gradient(self, cost, a, problem, counts):
        size = cost.shape[0] * cost.shape[1] * 8
        if size > self.compute.cache_bytes:
            raise ValueError(
                f"solver='gradient' holds the {cost.shape[0]} x {cost.shape[1]} matrix of costs, more than "
                "scikit-learn's working_memory allows. Use solver='exact', or raise it by "
                "sklearn.set_config(working_memory=...)."
            )
        partition = self._partition(counts, cost, tiled=False)
        C = problem.label_cost[partition.codes] + problem.eps * _dense(cost, problem.rate, partition, self.compute)
        p = a * np.exp(problem.log_ratio)[partition.codes]
        return gradient.solve(C, p / p.sum(), np.exp(problem.log_mass), problem.eps, problem.rho)

    def learn(self, rows):
        """Add one chunk of a stream."""
        first = self._fresh
        ordered = self._take_first(rows)
        if not first:
            self._meter_add(ordered)
        everything = np.arange(len(self.columns.weight))
        unit = float(ordered.weight.mean())
        cost = self._cost(ordered, everything)
        no_mass, no_ratio = np.ones(len(everything)), np.zeros(self.target.n_groups)
        problem = self._problem(self.columns.target, no_mass, no_ratio, self.reg)
        partition = self._partition(ordered.counts, cost, tiled=False)
        chunk = exact.log_normalisers(cost, ordered.weight / unit, problem, partition, self.compute)
        self.log_normalisers = np.logaddexp(self.log_normalisers, self._join(chunk + np.log(unit)))
        self.group_weight = self.group_weight + self._sum_by_group(rows)
        self._update_problem()
        self.potentials = self._finite(self.problem.free_potentials(self.log_normalisers[:, self.active]))
        self.objective = float(np.exp(self.problem.log_mass) @ self.potentials)
        self.n_iter = 1
        self.cap = None

    def _finite(self, potentials):
        """Costs are finite, but in units of the regularisation they may not be."""
        if not np.isfinite(potentials).all():
            raise ValueError(
                f"Costs in units of cost_scale={self.cost_scale:g} and reg={self.reg:g} exceed the largest float: "
                "raise cost_scale or reg."
            )
        return potentials

    def _meter_add(self, ordered):
        if self._meter is not None:
            self._meter.add(ordered, self.compute)
            with one_blas_thread():
                self.reliability = self._meter.estimate()

    # ---- rows under the fitted model

    def weigh(self, rows):
        """Weights of any rows, float64 ndarray."""
        self._check_groups(rows)
        ordered = self._sorted(rows)
        cost = self._cost(ordered)
        partition = self._partition(ordered.counts, cost, tiled=False)
        density = relaxed.log_density(cost, self.problem, self.potentials, partition, self.compute)
        codes = partition.codes
        log_weight = density + self.problem.log_ratio[codes] + np.log(ordered.weight * self.total)
        if self.cap is not None:
            limit, factor = self.cap
            raised = log_weight + np.log(factor[codes])
            log_weight = np.minimum(raised, np.log(limit[codes] * ordered.weight))
        # a density is unbounded far from the training rows; the largest float stands for more
        largest = np.log(np.finfo(dtype_of(rows.Z)).max) - 1.0
        return ordered.back(np.exp(np.minimum(log_weight, largest)))

    def plan(self, rows):
        """Rows of the plan, float64 ndarray of shape (n, active columns)."""
        self._check_groups(rows)
        ordered = self._sorted(rows)
        cost = self._cost(ordered)
        partition = self._partition(ordered.counts, cost, tiled=False)
        log_p = np.log(ordered.weight) + self.problem.log_ratio[partition.codes]
        plan = relaxed.plan(cost, self.problem, self.potentials, log_p, partition, self.compute)
        return ordered.back(plan)

    @property
    def total(self):
        """Sum of the sample weights seen."""
        return float(self.group_weight.sum())

    @property
    def groups(self):
        """Groups with training rows."""
        return np.flatnonzero(self.group_weight > 0)

    @property
    def compute(self):
        """Threads and memory as they are set now."""
        return compute_of(self.settings["n_jobs"])

    # ---- sums over rows, which are all here

    def _total(self, values):
        return values

    def _sum_by_group(self, rows):
        return self._total(np.bincount(rows.codes, weights=rows.weight, minlength=self.target.n_groups))

    def _mean(self, cost, p, b):
        """Mean cost under p x b, with p up to a factor."""
        return cost.mean(p / p.sum(), b, self.compute)

    def _join(self, log_normalisers):
        return log_normalisers

    # ---- parts

    def _take_first(self, rows):
        """Rows sorted and prepared; those that settled the model are so already."""
        first, self._first, self._fresh = self._first, None, False
        return first[1] if first is not None and first[0] is rows else self._sorted(rows)

    def _sorted(self, rows):
        counts = np.bincount(rows.codes, minlength=self.target.n_groups)
        Z, values, weight, order, index = rows.Z, rows.values, rows.weight, None, rows.index
        if np.any(rows.codes[1:] < rows.codes[:-1]):
            order = np.argsort(rows.codes, kind="stable")
            Z, weight = take(Z, order), weight[order]
            values = None if values is None else values[order]
            index = order if index is None else index[order]
        reference = Z.data[:0] if sparse.issparse(Z) else Z[:0, :]
        return SortedRows(self.metric.rows(Z, self.compute, index), values, weight, counts, order, index, reference)

    def _marginals(self, group_weight, columns):
        """Columns whose group has rows, their mass b, and log(p_i / a_i) of each group."""
        codes, weight = columns.target.meta_codes, columns.weight
        present = group_weight > 0
        active = np.flatnonzero(present[codes])
        mass = np.where(present, self.group_mass, 0.0)
        mass = mass / mass.sum()
        within = np.bincount(codes, weights=weight, minlength=len(mass))
        b = weight[active] * (mass / within)[codes[active]]
        with np.errstate(divide="ignore"):
            if self.settings["prior"] == "balanced":
                log_ratio = np.log(mass) - np.log(np.where(present, group_weight, 1.0))
            else:
                log_ratio = np.where(present, -np.log(group_weight.sum()), -np.inf)
        return active, b, log_ratio

    def _update_problem(self):
        self.active, b, log_ratio = self._marginals(self.group_weight, self.columns)
        self.problem = self._problem(self.columns.target.take(self.active), b, log_ratio, self.reg)

    def _problem(self, target, b, log_ratio, eps):
        lam = float(self.settings["label_weight"])
        differ = target.group_cost()
        columns = None
        if self.settings["label_cost"] == "hard":
            label_cost = np.where(differ > 0, np.inf, 0.0)
            edges = np.searchsorted(target.meta_codes, np.arange(target.n_groups + 1))
            columns = tuple(map(slice, edges[:-1].tolist(), edges[1:].tolist()))
        else:
            label_cost = lam * differ
        # label costs that go by pairs ride with the features, whose unit is then that of C
        rate = 1.0 if target.meta_values is not None else (1.0 - lam) / self.cost_scale
        rho = float(self.settings["reg_prior"])
        return Problem(eps, rho, rate / eps, np.log(b), log_ratio, label_cost, columns)

    def _cost(self, ordered, active=None):
        """Cost that goes by pairs of rows and columns."""
        columns = self.columns.take(self.active if active is None else active)
        lam = float(self.settings["label_weight"])
        if lam < 1.0:
            features = self.metric.cost(ordered.rows, columns.Z, ordered.index)
        else:
            features = constant_cost(len(ordered.weight), len(columns.weight), ordered.reference)
        labels = columns.target.pair_cost(ordered.values, self.label_scale, features.reference)
        if labels is None:
            return features
        return SumCost(features, (1.0 - lam) / self.cost_scale, labels, lam)

    def _settle_scales(self, ordered, rows, group_weight):
        """Units of the feature cost and of a continuous label cost: their means under p x b."""
        active, b, log_ratio = self._marginals(group_weight, self.columns)
        columns = self.columns.take(active)
        p = ordered.weight * np.repeat(np.exp(log_ratio), ordered.counts)
        self.cost_scale = self.settings["cost_scale"]
        if self.cost_scale is None:
            mean = self._mean(self.metric.cost(ordered.rows, columns.Z, ordered.index), p, b)
            self.cost_scale = mean if np.isfinite(mean) and mean > 0 else 1.0
        self.cost_scale = float(self.cost_scale)
        self.label_scale = 1.0
        if columns.target.kind == "continuous":
            differences = columns.target.pair_cost(ordered.values, 1.0, np.empty(0))
            self.label_scale = self._mean(differences, p, b) or 1.0

    def _choose_reg(self, ordered, meta, group_weight):
        """What ``reg="auto"`` comes to, judged by the meta samples themselves."""
        if self.target.kind != "classes" or self.settings["label_weight"] == 1.0 or (group_weight > 0).sum() < 2:
            return UNKNOWN_REG
        known = not np.isnan(self.reliability.overall)
        information = self.reliability.label_information() if known else 0.0
        if information == 1.0:
            return CANDIDATES[0]
        asked = choose_evenly(meta.Z, meta.target.meta_codes, _MAX_ASKED, least=2)
        columns = Meta(asked, meta.target.take(asked), meta.weight[asked])
        active, b, log_ratio = self._marginals(group_weight, columns)
        target, index = columns.target.take(active), asked[active]
        tables = _TABLES_OF_VOTES * 8 * len(CANDIDATES) * target.n_groups * len(index)
        if tables > self.compute.cache_bytes:
            return UNKNOWN_REG
        precomputed = self.settings["metric"] == "precomputed"
        cost = self.metric.cost(ordered.rows, index if precomputed else take(meta.Z, index), ordered.index)
        unit = group_weight.sum() / self._total(np.array(float(len(ordered.weight))))
        a, log_ratio = ordered.weight / unit, log_ratio + np.log(unit)
        problems = [self._problem(target, b, log_ratio, eps) for eps in CANDIDATES]
        rate, codes = 1.0 / (self.cost_scale * BANDWIDTH), target.meta_codes
        partition = self._partition(ordered.counts, cost, tiled=False)
        votes = own_class_votes(cost, a, problems, rate, codes, partition, self.compute, self._total)
        return choose_reg(votes, codes, information)

    def _new_meter(self, meta):
        codes, n_groups = meta.target.meta_codes, self.target.n_groups
        with one_blas_thread():
            memory = self.compute.cache_bytes
            return ReliabilityMeter(self.metric, meta.Z, codes, meta.weight, n_groups, self.cost_scale, memory)

    def _partition(self, counts, cost, tiled):
        """Blocks as wide as the solver's tiles, or as all columns."""
        itemsize = dtype_of(cost.reference).itemsize
        width = cost.shape[1]
        if tiled:
            width = exact.tile_width(cost, width, self.compute) or width
        return Partition.of(counts, rows_per_block(self.compute, width, itemsize))

    def _check_groups(self, rows):
        unseen = np.setdiff1d(np.unique(rows.codes), self.groups)
        if len(unseen):
            names = self.target.group_names()
            raise ValueError(
                f"y has classes that had no training rows: {named([names[g] for g in unseen])}. Fit with rows "
                "of them, or leave these rows out."
            )

    def _fit_cap(self, weights, rows):
        """Cap each group's weights, the excess going to its other rows; remembered for :meth:`weigh`."""
        self.cap = None
        if self.settings["max_weight"] is None:
            return weights
        groups = self.target.n_groups
        limit, factor = np.ones(groups), np.ones(groups)
        out = to_numpy(weights).astype(np.float64)
        for group in self.groups:
            members = np.flatnonzero(rows.codes == group)
            a = rows.weight[members]
            ratio = out[members] / a
            mean = out[members].sum() / a.sum()
            limit[group] = self.settings["max_weight"] * mean
            factor[group] = cap_factor(ratio, a, limit[group])
            out[members] = a * np.minimum(ratio * factor[group], limit[group])
        self.cap = (limit, factor)
        return like(out, weights)


def _prototypes(origin, k):
    """K prototypes per group, with the weight that each stands for."""
    Z, target = origin.Z, origin.target
    codes, weight = target.meta_codes, origin.weight
    if not isinstance(Z, np.ndarray) and not sparse.issparse(Z):
        codes, weight = namespace(Z).asarray(codes, device=Z.device), like(weight, Z)
    means, groups, mass = group_prototypes(Z, codes, target.n_groups, weight, int(k))
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
                "class_mass must name every class of the meta set and no other. Unknown: "
                f"{named(unknown) or 'none'}; missing: {named(missing) or 'none'}."
            )
        mass = check_weights([class_mass[name] for name in names], "class_mass", n_groups)
        if not (mass > 0).all():
            raise ValueError(
                "class_mass must be positive for every class; leave out the meta rows of a class that is not to count."
            )
        return mass
    if class_mass == "meta":
        return np.bincount(origin.target.meta_codes, weights=origin.weight, minlength=n_groups)
    return np.ones(n_groups)


def _warn_absent(target, group_weight):
    absent = np.flatnonzero(group_weight == 0)
    if len(absent):
        names = target.group_names()
        warn(
            f"The meta set has classes without training rows: {named([names[g] for g in absent])}. Their meta "
            "samples take no part in the transport.",
        )


def _dense(cost, rate, partition, compute):
    """Rate * d_ij for all rows and columns."""
    out = np.empty(cost.shape)
    kernel = cost.kernel(rate)

    def block_costs(block, work):
        L = to_numpy(kernel.block(block, slice(0, cost.shape[1]), work)).astype(np.float64)
        out[block.rows] = (kernel.constant - L) / LOG2E

    for_blocks(block_costs, partition, compute, namespace(cost.reference))
    return out
