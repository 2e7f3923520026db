"""The free marginal (rho = 0): a closed form.

Without a constraint on the row sums every column normalises by itself,

    g_j = -eps logsumexp_i(log p_i - C_ij / eps),        w_i = p_i sum_j b_j exp((g_j - C_ij) / eps)       (2)

so the exact minimiser takes the M normalisers and then the N weights. Where a block of the kernel E = 2^L is cheap to
evaluate it is evaluated for each of the two. Else columns are taken in tiles whose kernel fits the memory budget: each
entry is evaluated once, used for its column's sum, and used again for its row's. Either way both uses see the same
numbers to the bit, so that w sums to the right total whatever the cancellation in C / eps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import dtype_of, empty, functions, like, namespace, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks, sum_blocks
from skotw._transport.cost import LOG2E, Cost, Kernel
from skotw._transport.problem import Problem, TransportResult

TILE_COLUMNS = 128  # wider tiles gain next to nothing
LEAST_COLUMNS = 80  # narrower ones read the rows too often
TILE_BYTES = 80 * 2**20  # unless an entry is dear: fresh memory takes time, too
CHEAP, DEAR = 32, 128  # work of an entry: up to the one it is evaluated twice, above the other it is dear


@dataclass(eq=False)
class _Tile:
    """The kernel on some columns, and its sums S_gj = sum over the rows of group g of a_i E_ij.

    ``E_ij = 2^(L_ij - shift_gj)`` with or without the row weight; ``storage`` holds E between the two uses.
    """

    kernel: Kernel
    columns: slice
    a: Any | None  # row weights, where they are not all one
    storage: Any | None
    reference: Any
    shift: NDArray[np.float64] | None = None  # (G, m)
    sums: NDArray[np.float64] | None = None

    @property
    def width(self) -> int:
        return int(self.columns.stop - self.columns.start)

    def evaluate(self, block: Block, work: dict[str, Any], fresh: bool) -> Any:
        """a_i E_ij on the block; stored ones are fetched unless ``fresh``."""
        out = None
        if self.storage is not None:
            part = self.storage[block.start * self.width : block.stop * self.width]
            out = part.reshape((block.n_rows, self.width))
            if not fresh:
                return out
        L = self.kernel.block(block, self.columns, work, out)
        if self.shift is not None:
            L -= like(self.shift[block.group], self.reference)[None, :]
        return self.functions.exp2(L, out=L)

    @cached_property
    def functions(self) -> Any:
        return functions(self.reference)

    def column_sums(self, partition: Partition, compute: Compute) -> NDArray[np.float64]:
        xp, matmul = namespace(self.reference), self.functions.matmul
        ones = like(np.ones(max(block.n_rows for block in partition.blocks)), self.reference)

        def block_sums(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
            row = ones[: block.n_rows] if self.a is None else self.a[block.rows]
            return to_numpy(matmul(row, self.evaluate(block, work, fresh=True)))

        sums = np.zeros((partition.n_groups, self.width))
        with np.errstate(over="ignore", invalid="ignore"):  # what fails is redone with a shift
            return sum_blocks(block_sums, partition, compute, xp, sums)

    def column_maxima(self, partition: Partition, compute: Compute) -> NDArray[np.float64]:
        xp = namespace(self.reference)

        def block_maxima(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
            return to_numpy(xp.max(self.kernel.block(block, self.columns, work), axis=0))

        maxima = np.full((partition.n_groups, self.width), -np.inf)
        sum_blocks(block_maxima, partition, compute, xp, maxima, combine=np.maximum)
        return np.where(np.isfinite(maxima), maxima, 0.0)

    def normalise(self, partition: Partition, compute: Compute) -> None:
        """The sums; with a shift by the column's maximum in each group only where a bare 2^L fails."""
        self.sums = self.column_sums(partition, compute)
        info = np.finfo(dtype_of(self.reference))
        low, high = float(info.tiny) * 1e13, float(info.max) * 1e-8
        present = np.zeros(partition.n_groups, dtype=bool)
        present[[block.group for block in partition.blocks]] = True
        if not np.all((self.sums[present] > low) & (self.sums[present] < high)):
            self.shift = self.column_maxima(partition, compute)
            self.sums = self.column_sums(partition, compute)

    @property
    def log(self) -> NDArray[np.float64]:
        """A_gj = log sum over the rows i of group g of a_i exp(-rate d_ij)."""
        assert self.sums is not None
        with np.errstate(divide="ignore"):
            logs = np.log(self.sums) - self.kernel.constant / LOG2E
        return logs if self.shift is None else logs + self.shift / LOG2E

    def add_rows(
        self,
        weights: Any,
        log_scale: NDArray[np.float64],
        partition: Partition,
        compute: Compute,
    ) -> None:
        """weights_i += sum_j E_ij exp(log_scale_gj), up to the row weight."""
        log_scale = log_scale - self.kernel.constant / LOG2E
        if self.shift is not None:
            log_scale = log_scale + self.shift / LOG2E
        assert self.sums is not None
        scale = like(np.exp(np.where(self.sums > 0, log_scale, -np.inf)), self.reference)
        matmul = self.functions.matmul

        def block_rows(block: Block, work: dict[str, Any]) -> None:
            E = self.evaluate(block, work, fresh=False)
            weights[block.rows] += matmul(E, scale[block.group])

        for_blocks(block_rows, partition, compute, namespace(self.reference))


def tile_width(cost: Cost, n_columns: int, compute: Compute) -> int:
    """Columns whose kernel is held at a time; 0 to hold none, as it is cheap or the budget too small."""
    if cost.work <= CHEAP:
        return 0
    bytes_per_column = max(1, cost.shape[0] * dtype_of(cost.reference).itemsize)
    memory = compute.cache_bytes if cost.work > DEAR else min(compute.cache_bytes, TILE_BYTES)
    width = min(n_columns, TILE_COLUMNS, memory // bytes_per_column)
    if width < min(n_columns, LEAST_COLUMNS):
        return 0
    n_tiles = -(-n_columns // width)
    return -(-n_columns // n_tiles)


def _tiles(cost: Cost, a: NDArray[Any], rate: float, columns: slice, width: int) -> Iterator[_Tile]:
    """Tiles of the columns, whose kernels share one piece of memory; for ``width`` 0 one tile that holds none."""
    kernel = cost.kernel(rate)
    weights = None if np.all(a == 1.0) else like(a, cost.reference)
    n_columns = columns.stop - columns.start
    storage = empty((cost.shape[0] * width,), cost.reference) if width else None
    width = width or n_columns
    for start in range(columns.start, columns.stop, width):
        tile = slice(start, min(start + width, columns.stop))
        yield _Tile(kernel, tile, weights, storage, cost.reference)


def log_normalisers(
    cost: Cost, a: NDArray[Any], problem: Problem, partition: Partition, compute: Compute
) -> NDArray[np.float64]:
    """A_gj of :meth:`Problem.free_potentials`, (G, M): all that one chunk of a stream adds to the model."""
    out = np.full((partition.n_groups, cost.shape[1]), -np.inf)
    for blocks, columns in problem.components(partition):
        for tile in _tiles(cost, a, problem.rate, columns, width=0):
            tile.normalise(blocks, compute)
            groups = sorted({block.group for block in blocks.blocks})
            out[groups, tile.columns] = tile.log[groups]
    return out


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
    M = cost.shape[1]
    weights = like(np.zeros(cost.shape[0]), cost.reference)
    potentials = np.full(M, np.inf)
    normalisers = np.full((partition.n_groups, M), -np.inf)
    for blocks, columns in problem.components(partition):
        groups = sorted({block.group for block in blocks.blocks})
        width = tile_width(cost, columns.stop - columns.start, compute)
        for tile in _tiles(cost, a, problem.rate, columns, width):
            tile.normalise(blocks, compute)
            part = problem.of_columns(tile.columns)
            normalisers[groups, tile.columns] = tile.log[groups]
            g = part.free_potentials(normalisers[:, tile.columns])
            potentials[tile.columns] = g
            log_scale = part.column_bias(g) + problem.log_ratio[:, None]
            tile.add_rows(weights, log_scale, blocks, compute)
    if not np.all(a == 1.0):
        weights = weights * like(a, cost.reference)
    objective = float(np.exp(problem.log_mass) @ potentials)
    return TransportResult(weights, potentials, normalisers, 1, True, objective)
