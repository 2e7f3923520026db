"""The solution on a GPU: rows in half precision, sums in single.

A matrix product of float16 rows, accumulated in float32, takes a fraction of the time of a float32 one. What is rounded
is chosen so that weights keep their digits:

* of ``L_ij = <x_i, z_j> + r_i - shift_j``, the base-2 logarithm of a kernel, only the factors of the inner product are
  rounded. What is to be added is split into three float16 numbers that add up to it, and rides inside the product as
  further features; L itself is float32.
* The kernel ``E = 2^L`` is kept in float16 between its two uses, as what column j gives to the density w_i / p_i up to
  a constant: a shift for each column, estimated from a sample of rows, brings what counts to where float16 has all of
  its digits. Nothing else depends on the estimate.
* Both uses see the same E, whose errors therefore do not change the sum of the weights; sums are float32 over the rows
  of a block and float64 over blocks.
* Rows that are far from all columns, so that their E is made of subnormal numbers, are weighed again in float32.

For features of which many count, as those of a network, an inner product of d terms ends with a relative error of the
kernel of about ``rate |x||z| 2^-11 / sqrt(d)``. :data:`TOLERANCE` bounds three times the root mean square of it, which
is measured on a sample. A row that a single column serves adds 2^-12 by the rounding of E.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import is_torch_array
from numpy.typing import NDArray

from skotw._transport.arrays import dtype_of, like, to_numpy
from skotw._transport.blocks import Partition
from skotw._transport.cost import LOG2E, Cost, InnerProductCost
from skotw._transport.device_memory import free_bytes, is_out_of_memory, too_little
from skotw._transport.problem import Problem, TransportResult

TOLERANCE = 1e-3  # of the error that the rounded factors make in an entry of the kernel
LEAST_ENTRIES, LEAST_FEATURES = 2**24, 32  # smaller problems take no time, and few features little
SHARE = 0.75  # of the free memory
BLOCK_BYTES = 2**28
KEPT_COLUMNS = 256  # where fewer fit, the kernel is evaluated twice instead
SAMPLE = 4096
ROWS_OF_ERROR = 512
TOP = 15.0  # log2 of about the largest float16
MARGINS = 6.0, 14.0  # octaves that a row may exceed those of the sample by; the second, should the first overflow
PIECES = 3
ALIGNMENT = 64  # of the number of features
SUBNORMAL = 2.0**-25 / math.sqrt(3.0)  # root mean square of what is rounded off a subnormal number


def suits(cost: Cost, problem: Problem, partition: Partition) -> bool:
    """Whether a cost may be evaluated in half precision at all; how precisely, its features decide."""
    if not isinstance(cost, InnerProductCost) or not is_torch_array(cost.reference):
        return False
    if cost.reference.device.type != "cuda" or dtype_of(cost.reference) != np.float32:
        return False
    n_entries = cost.shape[0] * cost.shape[1] // (partition.n_groups if problem.hard else 1)
    return n_entries >= LEAST_ENTRIES and cost.work >= LEAST_FEATURES and _has_mixed_product()


@lru_cache(maxsize=1)
def _has_mixed_product() -> bool:
    """Whether torch multiplies float16 matrices to a float32 one: from 2.8 on."""
    import torch

    return hasattr(torch.ops.aten.mm, "dtype_out")


def solve(
    cost: InnerProductCost, a: NDArray[Any], problem: Problem, partition: Partition, backend: Any | None = None
) -> TransportResult | None:
    """Minimiser of (1) for rho = 0, as :func:`skotw._transport.exact.solve`.

    Parameters
    ----------
    cost, a, problem, partition
        As there; the rows are torch tensors.
    backend : object, optional
        What evaluates blocks: :class:`Plain`, or a :class:`skotw._transport.fused_kernels.Fused`.

    Returns
    -------
    TransportResult or None
        None where half precision does not do: TOLERANCE is not met, or numbers leave its range.
    """
    import torch

    backend = backend or _best_backend(cost.reference)
    weights = torch.zeros(cost.shape[0], dtype=torch.float32, device=cost.reference.device)
    potentials = np.full(cost.shape[1], np.inf)
    budget = int(SHARE * free_bytes(cost.reference))
    with torch.no_grad():
        prior = _Prior.of(a, problem, partition, weights)
        if not prior.in_range:
            return None
        for blocks, columns in problem.components(partition):
            rows = slice(blocks.blocks[0].start, blocks.blocks[-1].stop)
            part = _Component(cost, problem, partition, prior, rows, columns, backend, budget)
            if not part.solve(weights, potentials):
                return None
            budget = part.budget
    objective = float(np.exp(problem.log_mass) @ potentials)
    return TransportResult(weights, potentials, 1, True, objective)


def _best_backend(reference: Any) -> Any:
    return Plain()


# ---------------------------------------------------------------------------------------------
# What is known of rows and columns


@dataclass(frozen=True, eq=False)
class _Prior:
    """The prior measure, on the device.

    Attributes
    ----------
    relative : tensor of shape (N,)
        p_i / max p, float32.
    high, low : tensors of shape (N,)
        Two float16 numbers whose sum is p_i over the largest of its group.
    largest : tensor of shape (G,)
        That largest, over max p, float64.
    group : tensor of shape (N,)
    top : float
        log of max p.
    in_range : bool
        Whether float32 holds all of ``relative``.
    """

    relative: Any
    high: Any
    low: Any
    largest: Any
    group: Any
    top: float
    in_range: bool

    @classmethod
    def of(cls, a: NDArray[Any], problem: Problem, partition: Partition, like_this: Any) -> _Prior:
        import torch

        device = like_this.device
        counts = torch.as_tensor(np.diff(partition.edges), device=device)
        group = torch.repeat_interleave(torch.arange(len(counts), device=device), counts, output_size=partition.n_rows)
        a = torch.as_tensor(a, dtype=torch.float64, device=device)
        largest = torch.zeros(len(counts), dtype=torch.float64, device=device).scatter_reduce_(0, group, a, "amax")
        share = a / largest[group]
        log_largest = torch.log(largest) + torch.as_tensor(problem.log_ratio, device=device)
        top = float(log_largest.max())
        largest = torch.exp(log_largest - top)
        relative = share * largest[group]
        high = share.to(torch.float16)
        low = (share - high).to(torch.float16)
        return cls(relative.float(), high, low, largest, group, top, float(relative.min()) > 1e-25)


@dataclass(frozen=True, eq=False)
class _Tile:
    """Columns of which the kernel is kept, or evaluated twice.

    Attributes
    ----------
    columns : slice
        Within the component.
    factors : tensor of shape (m, K)
        float16, the shift among them.
    shift : ndarray of shape (m,)
    group : tensor of shape (m,)
    block_rows : int
    kept : tensor of shape (n, >= m), or None
        The kernel.
    rows : tensor of shape (block_rows, K)
        Scratch memory for the factors of a block.
    """

    columns: slice
    factors: Any
    shift: NDArray[np.float64]
    group: Any
    block_rows: int
    kept: Any | None
    rows: Any


@dataclass(frozen=True, eq=False)
class BlockRows:
    """What a backend knows of a block's rows.

    Attributes
    ----------
    p, high, low, group : tensors of shape (n,)
        See :class:`_Prior`.
    largest : tensor of shape (groups,)
        Of the block's groups.
    first : int
        First of them.
    """

    p: Any
    high: Any
    low: Any
    group: Any
    largest: Any
    first: int


# ---------------------------------------------------------------------------------------------
# One independent problem


class _Component:
    """Rows and columns between which mass moves."""

    def __init__(
        self,
        cost: InnerProductCost,
        problem: Problem,
        partition: Partition,
        prior: _Prior,
        rows: slice,
        columns: slice,
        backend: Any,
        budget: int,
    ) -> None:
        import torch

        self.torch, self.cost, self.problem, self.prior, self.backend = torch, cost, problem, prior, backend
        self.rows, self.columns, self.budget = rows, columns, budget
        self.edges = partition.edges
        device = cost.reference.device
        self.d = int(cost.rows.shape[1]) - 2 * cost.squares
        self.n_features = -(-(self.d + 2 * PIECES) // ALIGNMENT) * ALIGNMENT
        rate = problem.rate * LOG2E
        self.Z = cost.columns[columns, : self.d] * rate
        self.constant = rate * cost.constant
        # what the columns' own squares add to L: nothing that normalised columns know of
        self.column_offset = to_numpy(cost.columns[columns, -1]).astype(np.float64) * rate * cost.squares
        self.row_rate = -rate * cost.squares
        group = problem.column_group[columns]
        first, last = (bisect_right(self.edges, row) - 1 for row in (rows.start, rows.stop - 1))
        one_group = first == last == group[0] == group[-1]
        self.label = 0.0 if one_group else problem.label_cost / problem.eps
        self.column_group = torch.as_tensor(group, device=device)
        self.log_mass = problem.log_mass[columns]

    @property
    def other(self) -> float:
        """What the label cost leaves of a kernel between groups."""
        return math.exp(-self.label)

    @property
    def labelled(self) -> bool:
        return self.other < 1.0

    # ---- the two passes

    def solve(self, weights: Any, potentials: NDArray[np.float64]) -> bool:
        """Put the component's weights and potentials; False where half precision does not do."""
        torch = self.torch
        n = self.rows.stop - self.rows.start
        self._sample()
        if self.error > TOLERANCE:
            return False
        density = torch.zeros(n, dtype=torch.float32, device=weights.device)
        noise, done, margin = 0.0, 0, 0
        while done < len(self.log_mass):
            step = self._width(len(self.log_mass) - done)
            try:
                tile = self._tile(slice(done, done + step[0]), step[1], step[2], MARGINS[margin])
                total = self._totals(tile)
                if not np.all(np.isfinite(total)):
                    margin += 1
                    if margin == len(MARGINS):
                        return False
                    continue
                if not np.all(total > 0):
                    return False
                scale = np.exp(self.log_mass[tile.columns]) / total
                part = self._densities(tile, scale)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.budget //= 2
                tile = None
                if str(weights.device.type) == "cuda":
                    torch.cuda.empty_cache()
                continue
            # a tile's numbers count once it is complete, however often it was begun
            density += part
            noise += step[0] * (SUBNORMAL * float(scale.max())) ** 2
            log_total = np.log(total) + (tile.shift + self.column_offset[tile.columns] - self.constant) / LOG2E
            at = slice(self.columns.start + done, self.columns.start + done + step[0])
            potentials[at] = -self.problem.eps * (log_total + self.prior.top)
            done += step[0]
            tile = None
        out = weights[self.rows]
        torch.mul(density, self.prior.relative[self.rows], out=out)
        self._weigh_again(torch.nonzero(density < math.sqrt(noise) * 1e4)[:, 0], out, potentials[self.columns])
        return True

    def _totals(self, tile: _Tile) -> NDArray[np.float64]:
        """sum_i p_i E_ij, with what the label cost leaves of it."""
        torch, m = self.torch, tile.factors.shape[0]
        all_rows, own_rows = torch.zeros((2, m), dtype=torch.float64, device=tile.factors.device)
        for rows in self._blocks(tile):
            block = self._block_rows(rows)
            A, E = self._features(rows, tile), self._kept(rows, tile)
            every, own = self.backend.column_sums(A, tile, E, block, self.labelled)
            all_rows += every
            if own is not None:
                own_rows += own
        total = all_rows * self.other + own_rows * (1.0 - self.other) if self.labelled else all_rows
        return np.asarray(to_numpy(total))

    def _densities(self, tile: _Tile, scale: NDArray[np.float64]) -> Any:
        """sum_j E_ij b_j / total_j."""
        torch = self.torch
        out = torch.empty(self.rows.stop - self.rows.start, dtype=torch.float32, device=tile.factors.device)
        scales = torch.as_tensor(scale, device=out.device)
        for rows in self._blocks(tile):
            block, E = self._block_rows(rows), self._kept(rows, tile)
            A = self._features(rows, tile) if E is None else None
            out[rows] = self.backend.row_sums(A, tile, E, scales, self.other, block, self.labelled)
        return out

    def _weigh_again(self, index: Any, out: Any, potentials: NDArray[np.float64]) -> None:
        """Weights in float32 of rows whose kernel float16 does not hold."""
        torch, cost, problem = self.torch, self.cost, self.problem
        step = max(1, BLOCK_BYTES // (4 * len(potentials) + 4 * self.d))
        Z = (cost.columns[self.columns] * (problem.rate * LOG2E)).T
        column = (self.log_mass + potentials / problem.eps) * LOG2E - self.constant
        column = like(column, cost.reference)
        for start in range(0, index.shape[0], step):
            part = index[start : start + step]
            at = part + self.rows.start
            L = (cost.rows[at] if cost.row_scale is None else cost.rows[at] * cost.row_scale[at, None]) @ Z
            L += column
            if self.labelled:
                L -= (self.prior.group[at, None] != self.column_group) * (self.label * LOG2E)
            out[part] = torch.exp2(torch.logsumexp(L / LOG2E, 1) * LOG2E) * (
                self.prior.relative[at] * math.exp(self.prior.top)
            )

    # ---- blocks

    def _blocks(self, tile: _Tile) -> list[slice]:
        n = self.rows.stop - self.rows.start
        return [slice(s, min(s + tile.block_rows, n)) for s in range(0, n, tile.block_rows)]

    def _block_rows(self, rows: slice) -> BlockRows:
        prior, start, stop = self.prior, self.rows.start + rows.start, self.rows.start + rows.stop
        first, last = (bisect_right(self.edges, row) - 1 for row in (start, stop - 1))
        part = slice(start, stop)
        return BlockRows(
            prior.relative[part],
            prior.high[part],
            prior.low[part],
            prior.group[part],
            prior.largest[first : last + 1],
            first,
        )

    def _features(self, rows: slice, tile: _Tile) -> Any:
        """The rows' factors in float16, in the tile's scratch memory."""
        return self._write(slice(self.rows.start + rows.start, self.rows.start + rows.stop), tile.rows)

    def _write(self, at: Any, out: Any) -> Any:
        cost, d = self.cost, self.d
        X = cost.rows[at, :d]
        out = out[: X.shape[0]]
        scale = self.row_factor if cost.row_scale is None else cost.row_scale[at, None] * self.row_factor
        self.torch.mul(X, scale, out=out[:, :d])
        if cost.squares:
            _split(cost.rows[at, d] * self.row_rate, out[:, d + PIECES : d + 2 * PIECES])
        return out

    def _kept(self, rows: slice, tile: _Tile) -> Any | None:
        """The memory of the block's kernel."""
        return None if tile.kept is None else tile.kept[rows, : tile.factors.shape[0]]

    # ---- preparation

    def _sample(self) -> None:
        """A few rows of each group: balance of the factors, error, and what the shift is estimated from."""
        torch = self.torch
        edges = np.clip(np.asarray(self.edges), self.rows.start, self.rows.stop)
        counts = np.diff(edges)
        taken = np.minimum(counts, -(-SAMPLE // max(1, np.count_nonzero(counts))))
        within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
        index = np.repeat(edges[:-1], taken) + (
            (within + 0.5) * np.repeat(counts / np.maximum(taken, 1), taken)
        ).astype(np.intp)
        device = self.Z.device
        at = torch.as_tensor(index, device=device)
        # each stands for its share of its group
        share = torch.as_tensor(np.repeat(counts / np.maximum(taken, 1), taken), device=device)
        self.sample_mass = (self.prior.relative[at] * share).double()
        self.sample_mass /= self.sample_mass.sum()
        self.sample_group = self.prior.group[at]
        X = self.cost.rows[at, : self.d]
        if self.cost.row_scale is not None:
            X = X * self.cost.row_scale[at, None]
        rms = torch.sqrt(torch.stack([(self.Z * self.Z).mean(), (X * X).mean()]))
        some = X[:: max(1, X.shape[0] // ROWS_OF_ERROR)]
        pairs = torch.mm(some * some, (self.Z * self.Z).T).amax(1).mean()
        level_Z, level_X, pairs = torch.stack([*rms, pairs]).tolist()
        # both factors of about the same size, by a power of two
        ratio = level_Z / level_X if level_X > 0 and level_Z > 0 else 1.0
        self.row_factor = 2.0 ** round(0.5 * math.log2(ratio)) if math.isfinite(ratio) else 1.0
        self.error = 3.0 * 2.0**-11 * math.sqrt(2.0 / 3.0 * pairs) / LOG2E
        factors = torch.zeros((X.shape[0], self.n_features), dtype=torch.float16, device=device)
        factors[:, self.d : self.d + PIECES] = 1.0
        self.sample = self._write(at, factors)

    def _tile(self, columns: slice, block_rows: int, keep: bool, margin: float) -> _Tile:
        torch, d, device = self.torch, self.d, self.Z.device
        m, n = columns.stop - columns.start, self.rows.stop - self.rows.start
        width = -(-m // 8) * 8  # as products of float16 like it
        kept = torch.empty((n, width), dtype=torch.float16, device=device) if keep else None
        self.backend.prepare(min(block_rows, n), width, keep, device)
        rows = torch.zeros((min(block_rows, n), self.n_features), dtype=torch.float16, device=device)
        rows[:, d : d + PIECES] = 1.0
        factors = torch.zeros((m, self.n_features), dtype=torch.float16, device=device)
        torch.mul(self.Z[columns], 1.0 / self.row_factor, out=factors[:, :d])
        factors[:, d + PIECES : d + 2 * PIECES] = 1.0
        group = self.column_group[columns]
        shift = self._shift(factors, group, self.log_mass[columns], margin)
        _split(-shift, factors[:, d : d + PIECES])
        return _Tile(columns, factors, np.asarray(to_numpy(shift)), group, block_rows, kept, rows)

    def _shift(self, factors: Any, group: Any, log_mass: NDArray[np.float64], margin: float) -> Any:
        """log2 of what makes 2^(L - shift) a column's part of the density, as far up as float16 allows."""
        torch = self.torch
        m = factors.shape[0]
        peak, shifts = [], []
        step = max(1, BLOCK_BYTES // (16 * self.sample.shape[0]))
        for start in range(0, m, step):
            part = slice(start, start + step)
            L = product(self.sample, factors[part]).double()
            raw = L.amax(0)
            L += torch.log2(self.sample_mass)[:, None]
            if self.labelled:
                L -= (self.sample_group[:, None] != group[part]) * (self.label * LOG2E)
            shifts.append(torch.logsumexp(L / LOG2E, 0) * LOG2E)
            peak.append(raw)
        shift = torch.cat(shifts) - torch.as_tensor(log_mass * LOG2E, device=factors.device)
        highest = (torch.cat(peak) - shift).max()
        return (shift + (highest + margin - TOP)).float().double()

    def _width(self, n_columns: int) -> tuple[int, int, bool]:
        """Columns of the next tile, rows of a block, and whether the kernel is kept."""
        n = self.rows.stop - self.rows.start
        fixed = 2 * self.n_features * n_columns  # the columns' factors
        per_row = 6 * n_columns + 2 * self.n_features
        block_bytes = min(BLOCK_BYTES, max(0, self.budget - fixed) // 3)
        if block_bytes < per_row:
            raise too_little(fixed + 3 * per_row)
        block_rows = min(block_bytes // per_row, n)
        if block_rows > 128:
            block_rows -= block_rows % 128
        width = min(n_columns, (self.budget - fixed - block_bytes) // (2 * n))
        if width < min(n_columns, KEPT_COLUMNS):
            return n_columns, int(block_rows), False
        n_tiles = -(-n_columns // width)
        return -(-n_columns // n_tiles), int(block_rows), True


def _split(values: Any, out: Any) -> None:
    """Three float16 numbers that add up to each value, in the columns of ``out``."""
    rest = values
    for k in range(PIECES):
        out[:, k] = rest
        rest = rest - out[:, k].to(rest.dtype)


# ---------------------------------------------------------------------------------------------
# Plain torch


def product(A: Any, B: Any, out: Any | None = None) -> Any:
    """A B^T of float16 matrices, in float32."""
    import torch

    if A.device.type == "cuda":
        return torch.mm(A, B.T, out_dtype=torch.float32, out=out)
    return torch.mm(A.float(), B.T.float(), out=out)


class Plain:
    """Blocks by torch's own functions."""

    def prepare(self, n_rows: int, width: int, kept: bool, device: Any) -> None:
        """Take the scratch memory of the blocks of a tile."""
        import torch

        self.L = torch.empty((n_rows * width,), dtype=torch.float32, device=device)
        self.E = None if kept else torch.empty((n_rows * width,), dtype=torch.float16, device=device)

    def _evaluate(self, A: Any, tile: _Tile, E: Any | None) -> Any:
        import torch

        n, m = A.shape[0], tile.factors.shape[0]
        if E is None:
            E = self.E[: n * m].reshape(n, m)
        return torch.exp2(product(A, tile.factors, self.L[: n * m].reshape(n, m)), out=E)

    def column_sums(
        self, A: Any, tile: _Tile, E: Any | None, rows: BlockRows, labelled: bool
    ) -> tuple[Any, Any | None]:
        """E = 2^(A B^T), kept if it has memory; the sums of p_i E_ij over all rows, and over a column's own group."""
        import torch

        E = self._evaluate(A, tile, E)
        n_groups = rows.largest.shape[0]
        shares = torch.zeros((2 * n_groups, E.shape[0]), dtype=torch.float16, device=E.device)
        local = (rows.group - rows.first)[None, :]
        shares.scatter_(0, local, rows.high[None, :])
        shares.scatter_(0, local + n_groups, rows.low[None, :])
        sums = product(shares, E.T).double()
        sums = (sums[:n_groups] + sums[n_groups:]) * rows.largest[:, None]
        return sums.sum(0), (sums * _own(rows, tile)).sum(0) if labelled else None

    def row_sums(
        self, A: Any | None, tile: _Tile, E: Any | None, scale: Any, other: float, rows: BlockRows, labelled: bool
    ) -> Any:
        """sum_j E_ij scale_j, of columns of other groups ``other`` times that; E is evaluated unless it was kept."""
        import torch

        if E is None:
            E = self._evaluate(A, tile, None)
        largest = scale.max()
        relative = scale / largest
        high = relative.to(torch.float16)
        halves = torch.stack([high, (relative - high).to(torch.float16)])
        if not labelled:
            return product(E, halves).sum(1) * largest.float()
        own = _own(rows, tile)
        n_groups = own.shape[0]
        values = product(E, torch.cat([halves, own * halves[0], own * halves[1]]))
        at = (rows.group - rows.first)[:, None] + 2
        of_own = values.gather(1, at) + values.gather(1, at + n_groups)
        return (values[:, :2].sum(1) * other + of_own[:, 0] * (1.0 - other)) * largest.float()


def _own(rows: BlockRows, tile: _Tile) -> Any:
    """Whether a column is of each of the block's groups, (groups, m)."""
    import torch

    groups = torch.arange(rows.first, rows.first + rows.largest.shape[0], device=tile.group.device)
    return groups[:, None] == tile.group
