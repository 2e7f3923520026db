"""The relaxed marginal (rho > 0), and densities of rows under given potentials.

Alternating maximisation of the dual of (1),

    g_j = -eps logsumexp_i(log p_i + (f_i - C_ij) / eps)
    f_i = -rho / (rho + eps) * eps logsumexp_j(log b_j + (g_j - C_ij) / eps)                              (3)

with the translation of f that maximises the dual along constants after each step, without which the count of
iterations grows with rho / eps. Both halves of an iteration share one evaluation of the cost.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport import exact
from skotw._transport.arrays import dtype_of, empty, like, namespace, scratch, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks
from skotw._transport.cost import LOG2E, Cost, Kernel, exponents
from skotw._transport.device_memory import with_less_memory
from skotw._transport.power_sums import power_sums
from skotw._transport.problem import Problem, TransportResult

MAX_ITER = 10_000
NOTICEABLE = 1e-5  # error of a base-2 logarithm
MOST_BITS = 100.0  # between the factors of columns, of the 126 that float32 has below one


class _Rows:
    """Row sums of exp((g_j - C_ij) / eps) b_j, block by block, for potentials that change."""

    def __init__(self, cost: Cost, problem: Problem, partition: Partition, n_stored: int) -> None:
        self.reference = cost.reference
        self.kernel: Kernel = cost.kernel(problem.rate)
        self.problem = problem
        self.n_columns = cost.shape[1]
        self.power_sums = power_sums(cost.reference, math.prod(cost.shape))
        self.n_stored = n_stored  # the rows whose cost is held between evaluations
        self.storage = empty((n_stored, self.n_columns), cost.reference) if n_stored else None
        self.filled: set[int] = set()
        self.layout = problem.layout(partition)
        self.blocks = problem.blocks(partition)

    def set_potentials(self, potentials: NDArray[np.float64]) -> None:
        """Take what a column adds to L: on rows of its own group, and on others."""
        problem = self.problem
        own = (problem.log_mass + potentials / problem.eps) * LOG2E - self.kernel.constant
        label = 0.0 if problem.hard else problem.label_cost / problem.eps * LOG2E
        bias = np.stack([own - label, own])
        self.bias = like(bias, self.reference)
        # what the dtype of the rows drops matters once costs are many times eps, of which most cancels
        rest = bias - to_numpy(self.bias)
        self.rest = like(rest, self.reference) if np.abs(rest).max() > NOTICEABLE else None
        self.top = float(bias.max())
        self.factors = like(np.exp2(bias - self.top), self.reference) if bias.min() > self.top - MOST_BITS else None

    def log2_sums(self, block: Block, work: dict[str, Any]) -> Any:
        """The rows' base-2 logsumexp alone: the kernel times a vector, where that loses nothing that counts."""
        if self.factors is not None:
            xp, columns = namespace(self.reference), self.problem.columns(block.group)
            with np.errstate(over="ignore", invalid="ignore"):  # what fails is redone
                L, scale = exponents(self.kernel, block, columns, work, scaled=not self.power_sums.free_scale)
                sums = scratch(work, "sums", (block.n_rows, 1), self.reference)[:, 0]
                for run in self.layout.runs(block, columns):
                    factors = run.of(self.factors[:, columns])
                    sums[run.rows] = self.power_sums.over_columns(L[run.rows], factors, run.part(scale))
            info = np.finfo(dtype_of(self.reference))
            if float(xp.min(sums)) > float(info.tiny) * 1e13 and float(xp.max(sums)) < float(info.max) * 1e-8:
                # in float64 even of float32 sums: what stands before the point would cost digits of the weight
                return np.log2(to_numpy(sums), dtype=np.float64) + self.top
        return self.logsumexp(block, work)[2]

    def logsumexp(self, block: Block, work: dict[str, Any]) -> tuple[Any, Any, Any]:
        """E = 2^(L + bias - m) on the columns in reach, its row maxima m and the rows' base-2 logsumexp."""
        columns = self.problem.columns(block.group)
        xp = namespace(self.reference)
        if self.storage is None or block.stop > self.n_stored:
            L = self.kernel.block(block, columns, work)
        else:
            stored = self.storage[block.rows, columns]
            if block.start not in self.filled:
                stored[...] = self.kernel.block(block, columns, work)
                self.filled.add(block.start)
            L = scratch(work, "biased", tuple(stored.shape), self.reference)
            L[...] = stored
        for run in self.layout.runs(block, columns):
            part = L[run.rows]
            part += run.of(self.bias[:, columns])[None, :]
            if self.rest is not None:
                part += run.of(self.rest[:, columns])[None, :]
        peak = xp.max(L, axis=1)
        peak = xp.where(xp.isfinite(peak), peak, xp.zeros_like(peak))
        L -= peak[:, None]
        E = xp.exp2(L, out=L)
        return E, peak, xp.log2(xp.sum(E, axis=1)) + peak


@with_less_memory
def log_density(
    cost: Cost,
    problem: Problem,
    potentials: NDArray[np.float64],
    partition: Partition,
    compute: Compute,
) -> NDArray[np.float64]:
    """log of w_i / p_i = (sum_j b_j exp((g_j - C_ij) / eps))^(eps / (rho + eps)) for the cost's rows.

    Returns
    -------
    ndarray of shape (N,), float64
    """
    rows = _Rows(cost, problem, partition, 0)
    rows.set_potentials(potentials)
    out = np.empty(cost.shape[0])

    def block_density(block: Block, work: dict[str, Any]) -> None:
        out[block.rows] = to_numpy(rows.log2_sums(block, work))

    with np.errstate(divide="ignore"):
        for_blocks(block_density, rows.blocks, compute, namespace(cost.reference))
    return out * ((1.0 - problem.damping) / LOG2E)


def plan(
    cost: Cost,
    problem: Problem,
    potentials: NDArray[np.float64],
    log_p: NDArray[np.float64],
    partition: Partition,
    compute: Compute,
) -> NDArray[np.float64]:
    """T_ij = p_i b_j exp((f_i + g_j - C_ij) / eps) of shape (N, M), with f from (3)."""
    rows = _Rows(cost, problem, partition, 0)
    rows.set_potentials(potentials)
    out = np.zeros(cost.shape)

    def block_plan(block: Block, work: dict[str, Any]) -> None:
        E, peak, log2_ratio = rows.logsumexp(block, work)
        peak, log2_ratio = (to_numpy(x).astype(np.float64) for x in (peak, log2_ratio))
        scale = np.exp2(peak - problem.damping * log2_ratio + log_p[block.rows] * LOG2E)
        out[block.rows, problem.columns(block.group)] = to_numpy(E) * scale[:, None]

    for_blocks(block_plan, rows.blocks, compute, namespace(cost.reference))
    return out


@with_less_memory
def solve(cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute) -> TransportResult:
    """Minimiser of (1) for rho > 0, started at that for rho = 0.

    Parameters and returns as in :func:`skotw._transport.exact.solve`; the weights are float64 NumPy.
    """
    tolerance = 1e-10 if np.finfo(dtype_of(cost.reference)).eps < 1e-10 else 2e-6
    groups = partition.codes
    with np.errstate(divide="ignore"):  # rows without prior mass are absent
        log_p = np.log(a) + problem.log_ratio[groups]
    p = np.exp(log_p)
    # In hard mode each group is a problem of its own, with its own translation; else all are one.
    component = np.zeros_like(groups)
    owner = np.zeros(cost.shape[1], dtype=np.intp)
    if problem.hard:
        component, owner = groups, problem.column_group
    b = np.exp(problem.log_mass)
    mass = np.bincount(owner, weights=b, minlength=partition.n_groups).astype(np.float64)
    totals = _Totals(component, p, mass)

    potentials = exact.free_potentials(cost, a, problem, partition, compute)
    bytes_per_row = cost.shape[1] * dtype_of(cost.reference).itemsize
    n_stored = int(min(cost.shape[0], compute.cache_bytes // bytes_per_row))
    rows = _Rows(cost, problem, partition, n_stored)
    remainder = 1.0 - problem.damping
    scale = max(1.0, problem.rho / problem.eps * 1e-5)  # log1p's rounding, magnified by rho / eps
    converged, n_iter = False, 0
    while not converged and n_iter < MAX_ITER:
        n_iter += 1
        rows.set_potentials(potentials)
        log_columns, log_ratio = _iteration(rows, log_p, compute)
        shift = totals.log_excess(remainder * log_ratio) * (problem.rho / problem.eps)
        step = -(log_columns - problem.log_mass + shift[owner])
        potentials = potentials + problem.eps * step
        converged = bool(np.max(np.abs(step)) <= tolerance * scale)
    # What the tolerance left of the total goes into g as a translation, so that g alone gives the weights.
    density = log_density(cost, problem, potentials, partition, compute)
    rest = totals.log_excess(density)
    weights = p * np.exp(density - rest[component])
    potentials = potentials - (problem.rho + problem.eps) * rest[owner]
    objective = float(b @ potentials)
    return TransportResult(weights, potentials, n_iter, converged, objective)


class _Totals:
    """log of the total weight over the mass it should have, in each independent problem."""

    def __init__(self, component: NDArray[np.intp], p: NDArray[np.float64], mass: NDArray[np.float64]) -> None:
        self.component, self.p, self.mass = component, p, mass
        self.prior = np.bincount(component, weights=p, minlength=len(mass)) - mass

    def log_excess(self, log_density: NDArray[np.float64]) -> NDArray[np.float64]:
        """log(sum_i p_i exp(log_density_i) / mass), by expm1 since the density is near 1 for large rho."""
        gain = self.p * np.expm1(log_density)
        excess = np.bincount(self.component, weights=gain, minlength=len(self.mass)) + self.prior
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.mass > 0, np.log1p(excess / self.mass), 0.0)


def _iteration(
    rows: _Rows, log_p: NDArray[np.float64], compute: Compute
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log of the column sums of T under the current g and the f that (3) derives from it; log(w / p)."""
    xp = namespace(rows.reference)
    damping = rows.problem.damping
    log_ratio = np.empty(len(log_p))

    def block_step(block: Block, work: dict[str, Any]) -> tuple[NDArray[np.float64], float]:
        E, peak, ratio = rows.logsumexp(block, work)
        peak, ratio = (to_numpy(x).astype(np.float64) for x in (peak, ratio))
        log_ratio[block.rows] = ratio / LOG2E
        # rows enter the column sums with p_i exp(f_i / eps) 2^peak_i; scaled to 1 against underflow
        log2_row = log_p[block.rows] * LOG2E - damping * ratio + peak
        top = float(log2_row.max())
        sums = np.zeros(rows.n_columns)
        sums[rows.problem.columns(block.group)] = to_numpy(xp.matmul(like(np.exp2(log2_row - top), rows.reference), E))
        return sums, top

    log2_columns = np.full(rows.n_columns, -np.inf)

    def add(block: Block, step: tuple[NDArray[np.float64], float]) -> None:
        sums, top = step
        with np.errstate(divide="ignore"):
            np.logaddexp2(log2_columns, np.log2(sums) + top, out=log2_columns)

    for_blocks(block_step, rows.blocks, compute, xp, add)
    return log2_columns / LOG2E, log_ratio
