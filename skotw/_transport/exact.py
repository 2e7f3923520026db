"""The free marginal (rho = 0): a closed form.

Without a constraint on the row sums every column normalises by itself,

    g_j = -eps logsumexp_i(log p_i - C_ij / eps),        w_i = p_i sum_j b_j exp((g_j - C_ij) / eps)       (2)

so the exact minimiser takes the M normalisers and then the N weights. Where a block of the kernel E = 2^L is cheap to
evaluate it is evaluated for each of the two. Else columns are taken in tiles whose kernel fits the memory budget: each
entry is evaluated once, used for its column's sum, and used again for its row's. Either way both uses see the same
numbers to the bit, so that w sums to the right total whatever the cancellation in C / eps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport import half_precision
from skotw._transport.arrays import dtype_of, empty, like, namespace, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks
from skotw._transport.cost import LOG2E, Cost, Kernel, exponents
from skotw._transport.device_memory import free_bytes, on_accelerator, on_cuda, with_less_memory
from skotw._transport.group_tables import OTHER, OWN, Layout, PerGroup, Run
from skotw._transport.power_sums import PowerSums, power_sums
from skotw._transport.problem import Problem, TransportResult

BlockStep = Callable[[Block, dict[str, Any]], None]

TILE_COLUMNS = 256  # wider tiles gain less than fresh memory costs
LEAST_COLUMNS = 80  # narrower ones read the rows too often
ROUND_COLUMNS = 16  # of which products take several at a time
TILE_BYTES = 100 * 2**20  # unless an entry is dear: fresh memory takes time, too
CHEAP, DEAR = 32, 128  # work of an entry: up to the one it is evaluated twice, above the other it is dear


class _RowWeights:
    """p_i = a_i * ratio of the row's group, up to a factor, in the library of the features.

    Attributes
    ----------
    weights : array of shape (N,)
        p_i / max p.
    ones : array of shape (rows of a block,)
    least : float
        Smallest of the positive weights.
    top : float
        log of max p.
    """

    def __init__(self, a: NDArray[Any], log_ratio: NDArray[np.float64], partition: Partition, reference: Any) -> None:
        self._a, self._log_ratio, self._counts = a, log_ratio, np.diff(partition.edges)
        unit = float(log_ratio[self._counts > 0].max())
        ratio: Any = np.exp(log_ratio - unit)
        p: Any
        if on_cuda(reference):  # the host takes longer than the solution does
            xp = namespace(reference)
            weight, ratio, counts = (xp.asarray(x, device=reference.device) for x in (a, ratio, self._counts))
            p = ratio.repeat_interleave(counts, output_size=len(a)) * weight.double()
        else:
            p = np.repeat(ratio, self._counts)
            p *= a
        peak = float(p.max())
        p /= peak
        # rows without prior mass are absent, and underflow no further
        self.least, self.top = float(p.min()) or float(p[p > 0].min()), unit + math.log(peak)
        self.weights = like(p, reference) if isinstance(p, np.ndarray) else p.to(reference.dtype)
        self.ones = like(np.ones(min(partition.block_rows, len(p))), reference)

    @cached_property
    def logarithm(self) -> Any:
        """Base-2 logarithm of the weights, which may have underflowed."""
        with np.errstate(divide="ignore"):
            log_p = np.log(self._a) + np.repeat(self._log_ratio, self._counts)
        return like((log_p - self.top) * LOG2E, self.weights)


@dataclass(eq=False)
class _Tile:
    """The kernel on some columns, and its sums over rows: S_kj over those to which row k of a table applies.

    ``E_ij = 2^L_ij``, and S_kj sums ``p_i E_ij``. Where that leaves the floating range, p_i and a factor of the column
    join the exponent: ``E_ij = p_i 2^(L_ij - shift_kj)``. ``storage`` holds E between its two uses, each block in a
    place that it has in other tiles of these blocks as well, ``stride`` entries for a row.
    """

    kernel: Kernel
    columns: slice
    rows: _RowWeights
    blocks: Partition
    layout: Layout
    compute: Compute
    powers: PowerSums
    storage: Any | None
    stride: int
    shift: NDArray[np.float64] | None = None  # of the shape of the table
    _shift: Any | None = None  # the same in the features' library

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)

    @property
    def reference(self) -> Any:
        return self.rows.weights

    def _exponents(self, block: Block, work: dict[str, Any]) -> tuple[Any, Any | None]:
        """log2 of E on the block, in scratch memory, and what its rows are yet to be multiplied by."""
        scaled = self.shift is not None or not self.powers.free_scale
        L, scale = exponents(self.kernel, block, self.columns, work, scaled=scaled)
        if self.shift is not None:
            for run in self.layout.runs(block, self.columns):
                L[run.rows] -= run.of(self._shift)[None, :]
            L += self.rows.logarithm[block.rows][:, None]
        return L, scale

    def _stored(self, block: Block) -> Any | None:
        """Where E of the block is held."""
        if self.storage is None:
            return None
        start = (block.start - self.blocks.blocks[0].start) * self.stride
        return self.storage[start : start + block.n_rows * self.width].reshape((block.n_rows, self.width))

    def sums(self, before: BlockStep | None = None) -> NDArray[np.float64]:
        """S, of (rows of the table, width); ``before`` is called with each block before its kernel is evaluated."""
        over_rows = self.powers.over_rows
        weights, ones, bare = self.rows.weights, self.rows.ones, self.shift is None

        def block_sums(block: Block, work: dict[str, Any]) -> list[tuple[Run, Any]]:
            if before is not None:
                before(block, work)
            (L, scale), E = self._exponents(block, work), self._stored(block)
            row = weights[block.rows] if bare else ones[: block.n_rows]
            runs = list(self.layout.runs(block, self.columns))
            return [(run, over_rows(*(run.part(values) for values in (L, row, E, scale)))) for run in runs]

        with np.errstate(over="ignore", invalid="ignore"):  # what fails is redone with a shift
            return self._collect(block_sums, 0.0, np.add)

    def row_sums(self, block: Block, work: dict[str, Any], factors: Any) -> Iterator[tuple[Run, Any]]:
        """sum_j E_ij factor_j, with the row of the table of factors that applies."""
        stored = self._stored(block)
        L, scale = self._exponents(block, work) if stored is None else (None, None)
        for run in self.layout.runs(block, self.columns):
            factor = run.of(factors)
            if stored is None:
                yield run, self.powers.over_columns(run.part(L), factor, run.part(scale))
            else:
                yield run, self.powers.stored_over_columns(run.part(stored), factor)

    def maxima(self) -> NDArray[np.float64]:
        """Largest log2 of p_i 2^L_ij."""
        xp, logarithm = namespace(self.reference), self.rows.logarithm

        def block_maxima(block: Block, work: dict[str, Any]) -> list[tuple[Run, Any]]:
            L = self.kernel.block(block, self.columns, work)
            L += logarithm[block.rows][:, None]
            runs = self.layout.runs(block, self.columns)
            return [(run, to_numpy(xp.max(L[run.rows], axis=0))) for run in runs]

        return self._collect(block_maxima, -np.inf, np.maximum)

    def _collect(
        self,
        function: Callable[[Block, dict[str, Any]], list[tuple[Run, Any]]],
        start: float,
        combine: Callable[..., Any],
    ) -> NDArray[np.float64]:
        """Combine what the function gives for each run, in a table."""
        table = np.full((self.layout.size, self.width), start)

        def put(block: Block, values: list[tuple[Run, Any]]) -> None:
            for run, value in values:
                run.put(value, table, combine)

        for_blocks(function, self.blocks, self.compute, namespace(self.reference), put)
        return table

    def lossless(self, totals: NDArray[np.float64], sums: NDArray[np.float64]) -> bool:
        """Whether bare sums, and totals of them, lie where nothing that counts has under- or overflowed."""
        info = np.finfo(dtype_of(self.reference))
        low, high = float(info.tiny) * 1e13, float(info.max) * 1e-8
        return bool(self.rows.least > low and np.all(totals > low) and np.all(sums < high))

    def set_shift(self, shift: NDArray[np.float64]) -> None:
        """Take the shift as the features' dtype has it, so that sums and their logarithms know the same one."""
        self._shift = like(np.where(np.isfinite(shift), shift, 0.0), self.reference)
        self.shift = to_numpy(self._shift).astype(np.float64)

    @property
    def log_unit(self) -> NDArray[np.float64]:
        """What turns log S into the logarithm of sums of p_i exp(-rate d_ij), of the shape of the table."""
        shift = np.zeros((self.layout.size, self.width)) if self.shift is None else self.shift
        return self.rows.top - self.kernel.constant / LOG2E + shift / LOG2E


def tile_width(cost: Cost, n_columns: int, compute: Compute, n_rows: int | None = None) -> int:
    """Columns whose kernel is held at a time; 0 to hold none, as it is cheap or the budget too small.

    ``n_rows`` are the rows that meet these columns, all of them where it is None.
    """
    n_rows = cost.shape[0] if n_rows is None else n_rows
    bytes_per_column = max(1, n_rows * dtype_of(cost.reference).itemsize)
    if on_accelerator(cost.reference):
        width = min(n_columns, min(compute.cache_bytes, free_bytes(cost.reference) // 4) // bytes_per_column)
        return 0 if width < min(n_columns, LEAST_COLUMNS) else -(-n_columns // -(-n_columns // width))
    if cost.work <= CHEAP:
        return 0
    dear = cost.work > DEAR
    memory = compute.cache_bytes if dear else min(compute.cache_bytes, TILE_BYTES)
    widest = min(n_columns, TILE_COLUMNS, memory // bytes_per_column)
    if widest < min(n_columns, LEAST_COLUMNS):
        return 0
    n_tiles = -(-n_columns // widest)
    width = -(-n_columns // n_tiles)
    return min(widest, -(-width // ROUND_COLUMNS) * ROUND_COLUMNS)


def _tiles(
    kernel: Kernel,
    rows: _RowWeights,
    columns: slice,
    blocks: Partition,
    layout: Layout,
    compute: Compute,
    powers: PowerSums,
    storage: Any | None,
    width: int,
) -> Iterator[_Tile]:
    """Tiles of the columns, whose kernels share one piece of memory; for ``width`` 0 one tile that holds none."""
    step = width or columns.stop - columns.start
    for start in range(columns.start, columns.stop, step):
        tile = slice(start, min(start + step, columns.stop))
        yield _Tile(kernel, tile, rows, blocks, layout, compute, powers, storage if width else None, width)


@with_less_memory
def log_normalisers(
    cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute
) -> NDArray[np.float64]:
    """A_gj of :meth:`Problem.free_potentials`, (G, M): all that one chunk of a stream adds to the model."""
    rows = _RowWeights(a, np.zeros(partition.n_groups), partition, cost.reference)
    layout, kernel = PerGroup(partition.n_groups), cost.kernel(problem.rate)
    powers = power_sums(cost.reference, math.prod(cost.shape))
    out = np.full((partition.n_groups, cost.shape[1]), -np.inf)
    for blocks, columns in problem.components(partition) if problem.hard else [(partition, problem.columns(0))]:
        (tile,) = _tiles(kernel, rows, columns, blocks, layout, compute, powers, None, width=0)
        groups = sorted({block.group for block in blocks.blocks})
        sums = tile.sums()[groups]
        if not tile.lossless(sums, sums):
            tile.set_shift(tile.maxima())
            sums = tile.sums()[groups]
        with np.errstate(divide="ignore"):
            out[groups, columns] = np.log(sums) + tile.log_unit[groups]
    return out


class _Columns:
    """The solution on the columns of one tile: each normalises by itself, labels included.

    ``before`` is called with each block before its kernel is evaluated.
    """

    def __init__(self, tile: _Tile, problem: Problem, before: BlockStep | None = None) -> None:
        self.tile, self.problem = tile, problem
        sums = tile.sums(before)
        label = problem.label_cost / problem.eps
        self.other = np.exp(-label)  # what the label cost leaves of a kernel between groups
        with np.errstate(over="ignore", invalid="ignore"):
            self.total = sums[OWN] + self.other * sums[OTHER]
        if not tile.lossless(self.total, sums):
            maxima, label = tile.maxima(), label * LOG2E
            own = np.maximum(maxima[OWN], maxima[OTHER] - label)
            tile.set_shift(np.stack([np.maximum(maxima[OWN] + label, maxima[OTHER]), own]))
            self.other = 1.0  # it is in the exponent
            self.total = tile.sums().sum(axis=0)

    @property
    def potentials(self) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            return np.asarray(-self.problem.eps * (np.log(self.total) + self.tile.log_unit[OWN]))

    def rows(self, weights: Any) -> BlockStep:
        """weights_i += sum_j T_ij, for the rows of a block."""
        tile = self.tile
        mass = np.exp(self.problem.log_mass[tile.columns])
        own = np.divide(mass, self.total, out=np.zeros_like(mass), where=self.total > 0)
        scale = like(np.stack([own * self.other, own]), weights)

        def add(block: Block, work: dict[str, Any]) -> None:
            out, prior = weights[block.rows], tile.rows.weights[block.rows]
            for run, value in tile.row_sums(block, work, scale):
                out[run.rows] += value if tile.shift is not None else value * prior[run.rows]

        return add


def _solve_columns(
    cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute, weights: Any | None = None
) -> NDArray[np.float64]:
    """Potentials of the columns; what the columns give to each row is added to ``weights``.

    Between two tiles there is one walk for both: a block's kernel on the one is used for the last time just before that
    on the other takes its place, which the cache then holds.
    """
    potentials = np.full(cost.shape[1], np.inf)
    rows = _RowWeights(a, problem.log_ratio, partition, cost.reference)
    layout, kernel = problem.layout(partition), cost.kernel(problem.rate)
    powers = power_sums(cost.reference, math.prod(cost.shape))
    parts = [(blocks, columns, blocks.span, 0) for blocks, columns in problem.components(partition)]
    storage = None
    if weights is not None:
        parts = [(*part[:3], tile_width(cost, part[1].stop - part[1].start, compute, part[2])) for part in parts]
        size = max((n_rows * width for *_, n_rows, width in parts), default=0)
        storage = empty((size,), cost.reference)
    for blocks, columns, _, width in parts:
        last = None
        for tile in _tiles(kernel, rows, columns, blocks, layout, compute, powers, storage, width):
            last = _Columns(tile, problem, None if last is None else last.rows(weights))
            potentials[tile.columns] = last.potentials
        if last is not None and weights is not None:
            for_blocks(last.rows(weights), blocks, compute, namespace(weights))
    return potentials


@with_less_memory
def free_potentials(
    cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute
) -> NDArray[np.float64]:
    """g of (2), without the weights; parameters as in :func:`solve`."""
    return _solve_columns(cost, a, problem, partition, compute)


@with_less_memory
def solve(cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute) -> TransportResult:
    """Exact minimiser of (1) for rho = 0.

    Parameters
    ----------
    cost : Cost
        Feature cost of shape (N, M).
    a : ndarray of shape (N,)
        Positive row weights; p_i = a_i * ratio of the row's group.
    problem, partition, compute
        See the classes.

    Returns
    -------
    TransportResult
    """
    if half_precision.suits(cost, problem, partition):
        result = half_precision.solve(cost, a, problem, partition)
        if result is not None:
            return result
    weights = like(np.zeros(cost.shape[0]), cost.reference)
    potentials = _solve_columns(cost, a, problem, partition, compute, weights)
    objective = float(np.exp(problem.log_mass) @ potentials)
    return TransportResult(weights, potentials, 1, True, objective)
