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
from typing import Any, TypeGuard

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
DEVICES = ("cuda",)
SHARE = 0.75  # of the free memory
BLOCK_BYTES = 2**30  # what a block takes beside the kernel
KEPT_COLUMNS = 512  # where fewer fit, the kernel is evaluated twice instead
SAMPLE = 4096
ROWS_OF_ERROR = 512
TOP = 15.0  # log2 of about the largest float16
MARGINS = 6.0, 14.0  # octaves that a row may exceed those of the sample by; the second, should the first overflow
PIECES = 3
ROW_MULTIPLE = 256  # of blocks
FUSED_FROM = 2**40  # multiplications
ALIGNMENT = 64  # of the number of features
LEAST_OVER_NOISE = 1e4  # of a density in float16
SUBNORMAL = 2.0**-25 / math.sqrt(3.0)  # root mean square of what is rounded off a subnormal number


def suits(cost: Cost, problem: Problem, partition: Partition) -> TypeGuard[InnerProductCost]:
    """Whether a cost may be evaluated in half precision at all; how precisely, its features decide."""
    if not isinstance(cost, InnerProductCost) or not is_torch_array(cost.reference):
        return False
    if cost.reference.device.type not in DEVICES or dtype_of(cost.reference) != np.float32:
        return False
    n_entries = cost.shape[0] * cost.shape[1] // (partition.n_groups if problem.hard else 1)
    return bool(n_entries >= LEAST_ENTRIES and cost.work >= LEAST_FEATURES and _has_mixed_product())


@lru_cache(maxsize=1)
def _has_mixed_product() -> bool:
    """Whether torch multiplies float16 matrices to a float32 one: from 2.8 on."""
    import torch

    return hasattr(torch.ops.aten.mm, "dtype_out")


def solve(
    cost: InnerProductCost,
    a: NDArray[Any],
    problem: Problem,
    partition: Partition,
    backend: Any | None = None,
    memory: int | None = None,
    keep: bool = True,
) -> TransportResult | None:
    """Minimiser of (1) for rho = 0, as :func:`skotw._transport.exact.solve`.

    Parameters
    ----------
    cost, a, problem, partition
        As there; the rows are torch tensors.
    backend : object, optional
        What evaluates blocks: :class:`Plain`, or a :class:`skotw._transport.fused_kernels.Fused`.
    memory : int, optional
        Bytes that may be taken beside the result; by default most of what the device has left.
    keep : bool
        Whether what fits of the kernel is kept between its two uses.

    Returns
    -------
    TransportResult or None
        None where half precision does not do: TOLERANCE is not met, or numbers leave its range.
    """
    import torch

    backend = backend or _best_backend(cost)
    weights = torch.zeros(cost.shape[0], dtype=torch.float32, device=cost.reference.device)
    potentials = np.full(cost.shape[1], np.inf)
    budget = int(SHARE * free_bytes(cost.reference)) if memory is None else memory
    with torch.no_grad(), torch.cuda.device(weights.device if weights.is_cuda else -1):
        prior = _Prior.of(a, problem, partition, weights)
        if not prior.in_range:
            return None
        for blocks, columns in problem.components(partition):
            rows = slice(blocks.blocks[0].start, blocks.blocks[-1].stop)
            part = _Component(cost, problem, partition, prior, rows, columns, backend, budget, keep)
            try:
                part.solve(weights, potentials)
            except _OutOfRange:
                return None
            finally:
                backend.release()
            budget = part.budget
    objective = float(np.exp(problem.log_mass) @ potentials)
    return TransportResult(weights, potentials, 1, True, objective)


def _best_backend(cost: InnerProductCost) -> Any:
    """Triton's kernels where they work and gain more than compiling them takes."""
    n_rows, n_columns = cost.shape
    device = cost.reference.device
    if n_rows * n_columns * cost.rows.shape[1] < FUSED_FROM or not _fused_works(device):
        return Plain()
    from skotw._transport.fused_kernels import Fused

    return Fused()


@lru_cache(maxsize=16)
def _fused_works(device: Any) -> bool:
    """Whether Triton's kernels compile for a device, which is not ours to foresee, and give what torch gives."""
    import torch

    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (9, 0):
        return False
    try:
        from skotw._transport.fused_kernels import Fused

        A, B, p = torch.randn((300, 64)), torch.randn((520, 64)) / 8, torch.rand(300)
        A, B, p = A.half().to(device), B.half().to(device), p.half().float().to(device)
        group, column_group = (torch.arange(n, device=device) // 200 for n in (300, 520))
        rows = BlockRows(p, p.half(), torch.zeros_like(p.half()), group, torch.ones(2, device=device), 0)
        tile = _Tile(slice(0, 520), B, np.zeros(520), column_group, 300, None, A)
        scale, found = torch.rand(520, dtype=torch.float64).to(device), []
        for backend in (Plain(), Fused()):
            backend.prepare(300, 520, False, device)
            E = torch.full((300, 520), torch.nan, dtype=torch.float16, device=device)
            sums = backend.column_sums(A, tile, E, rows, True)
            found.append([*sums, *(backend.row_sums(A, tile, kept, scale, 0.1, rows, True) for kept in (E, None))])
        return all(torch.allclose(x, y, rtol=1e-3) for x, y in zip(*found, strict=True))
    except Exception:  # plain torch does it as well
        return False


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
        given = torch.as_tensor(a, dtype=torch.float64, device=device)
        largest = torch.zeros(len(counts), dtype=torch.float64, device=device)
        largest.scatter_reduce_(0, group, given, "amax")
        share = given / largest[group]
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
        What is subtracted from L.
    group : tensor of shape (m,)
    block_rows : int
    kept : tensor of shape (n, >= m), or None
        The kernel.
    rows : tensor of shape (block_rows, K), or None
        Scratch memory for the factors of a block, unless those of all rows are at hand.
    """

    columns: slice
    factors: Any
    shift: NDArray[np.float64]
    group: Any
    block_rows: int
    kept: Any | None
    rows: Any


@dataclass(frozen=True, eq=False)
class _SolvedTile:
    width: int
    potentials: NDArray[np.float64]
    largest_scale: float
    density: Any


class _OutOfRange(Exception):  # noqa: N818 (no error: another route is taken)
    """Half precision does not do."""


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
        keep: bool,
    ) -> None:
        import torch

        self.torch, self.cost, self.problem, self.prior, self.backend = torch, cost, problem, prior, backend
        self.rows, self.columns, self.budget, self.keep = rows, columns, budget, keep
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
        self.sample: Any = None
        self.all_rows: Any = None  # their factors in float16, where tiles or passes share them

    @property
    def other(self) -> float:
        """What the label cost leaves of a kernel between groups."""
        return math.exp(-self.label)

    @property
    def labelled(self) -> bool:
        return self.other < 1.0

    # ---- the two passes

    def solve(self, weights: Any, potentials: NDArray[np.float64]) -> None:
        """Put the component's weights and potentials; raises _OutOfRange where half precision does not do."""
        torch, n_columns = self.torch, len(self.log_mass)
        density = torch.zeros(self.rows.stop - self.rows.start, dtype=torch.float32, device=weights.device)
        noise, done = 0.0, 0
        while done < n_columns:
            tile = self._attempt(done, n_columns - done)
            if tile is None:
                self._spend_less()
                continue
            # a tile's numbers count once it is complete, however often it was begun
            density += tile.density
            noise += tile.width * (SUBNORMAL * tile.largest_scale) ** 2
            start = self.columns.start + done
            potentials[start : start + tile.width] = tile.potentials
            done += tile.width
        out = weights[self.rows]
        torch.mul(density, self.prior.relative[self.rows], out=out)
        faint = torch.nonzero(density < LEAST_OVER_NOISE * math.sqrt(noise))[:, 0]
        self._weigh_again(faint, out, potentials[self.columns])

    def _attempt(self, first: int, n_columns: int) -> _SolvedTile | None:
        """The solution on the next columns; None where memory ended."""
        try:
            return self._solve_tile(first, n_columns)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        return None  # now that the error is gone, and with it what its frames held

    def _spend_less(self) -> None:
        self.budget //= 2
        self.all_rows = None
        self.backend.release()

    def _solve_tile(self, first: int, n_columns: int) -> _SolvedTile:
        if self.sample is None:
            self._take_sample()
        width, block_rows, keep, share = self._plan(n_columns)
        columns = slice(first, first + width)
        log_mass, offset = self.log_mass[columns], self.column_offset[columns]
        if share and self.all_rows is None:
            self._convert_all()
        tile = self._tile(columns, block_rows, keep)
        for margin in MARGINS:
            self._set_shift(tile, margin)
            total = self._totals(tile)
            if np.all(np.isfinite(total)):
                break
        if not np.all(np.isfinite(total) & (total > 0)):
            raise _OutOfRange
        scale = np.exp(log_mass) / total
        density = self._densities(tile, scale)
        log_total = np.log(total) + (tile.shift + offset - self.constant) / LOG2E + self.prior.top
        return _SolvedTile(width, -self.problem.eps * log_total, float(scale.max()), density)

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
        step = max(1, min(BLOCK_BYTES, self.budget // 4) // (8 * len(potentials) + 8 * self.d))
        Z = (cost.columns[self.columns] * (problem.rate * LOG2E)).T
        column = (self.log_mass + potentials / problem.eps) * LOG2E - self.constant
        column = like(column, cost.reference)
        for start in range(0, index.shape[0], step):
            part = index[start : start + step]
            at = part + self.rows.start
            L = (cost.unscaled[at] if cost.row_scale is None else cost.unscaled[at] * cost.row_scale[at, None]) @ Z
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
        """The rows' factors in float16, in the tile's scratch memory unless all have some of their own."""
        if self.all_rows is not None:
            return self.all_rows[rows]
        return self._write(slice(self.rows.start + rows.start, self.rows.start + rows.stop), tile.rows)

    def _write(self, at: Any, out: Any) -> Any:
        cost, d = self.cost, self.d
        X = cost.unscaled[at, :d]
        out = out[: X.shape[0]]
        scale = None if cost.row_scale is None else cost.row_scale[at]
        self.backend.write(X, scale, self.row_factor, out[:, :d])
        if cost.squares:
            _split(cost.rows[at, d] * self.row_rate, out[:, d + PIECES : d + 2 * PIECES])
        return out

    def _convert_all(self) -> None:
        self.all_rows = self._room_for_rows(self.rows.stop - self.rows.start)
        self._write(self.rows, self.all_rows)

    def _room_for_rows(self, n: int) -> Any:
        out = self.torch.zeros((n, self.n_features), dtype=self.torch.float16, device=self.Z.device)
        out[:, self.d : self.d + PIECES] = 1.0
        return out

    def _kept(self, rows: slice, tile: _Tile) -> Any | None:
        """The memory of the block's kernel."""
        return None if tile.kept is None else tile.kept[rows, : tile.factors.shape[0]]

    # ---- preparation

    def _take_sample(self) -> None:
        """A few rows of each group: balance of the factors, error, and what the shift is estimated from."""
        torch = self.torch
        edges = np.clip(np.asarray(self.edges), self.rows.start, self.rows.stop)
        counts = np.diff(edges)
        taken = np.minimum(counts, -(-SAMPLE // int(np.count_nonzero(counts))))
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
        X = self.cost.unscaled[at, : self.d]
        if self.cost.row_scale is not None:
            X = X * self.cost.row_scale[at, None]
        rms = torch.sqrt(torch.stack([(self.Z * self.Z).mean(), (X * X).mean()]))
        some = X[:: max(1, X.shape[0] // ROWS_OF_ERROR)]
        pairs = torch.mm(some * some, (self.Z * self.Z).T).amax(1).mean()
        level_Z, level_X, pairs = torch.stack([*rms, pairs]).tolist()
        # both factors of about the same size, by a power of two
        ratio = level_Z / level_X if level_X > 0 and level_Z > 0 else 1.0
        self.row_factor = 2.0 ** round(0.5 * math.log2(ratio)) if math.isfinite(ratio) else 1.0
        if not 3.0 * 2.0**-11 * math.sqrt(2.0 / 3.0 * pairs) / LOG2E <= TOLERANCE:
            raise _OutOfRange
        self.sample = self._write(at, self._room_for_rows(X.shape[0]))

    def _tile(self, columns: slice, block_rows: int, keep: bool) -> _Tile:
        torch, d, device = self.torch, self.d, self.Z.device
        m, n = columns.stop - columns.start, self.rows.stop - self.rows.start
        width = -(-m // 8) * 8  # as products of float16 like it
        kept = torch.empty((n, width), dtype=torch.float16, device=device) if keep else None
        self.backend.prepare(min(block_rows, n), width, keep, device)
        rows = None if self.all_rows is not None else self._room_for_rows(min(block_rows, n))
        factors = torch.zeros((m, self.n_features), dtype=torch.float16, device=device)
        torch.mul(self.Z[columns], 1.0 / self.row_factor, out=factors[:, :d])
        factors[:, d + PIECES : d + 2 * PIECES] = 1.0
        group = self.column_group[columns]
        return _Tile(columns, factors, np.zeros(m), group, block_rows, kept, rows)

    def _set_shift(self, tile: _Tile, margin: float) -> None:
        """Make 2^(L - shift) a column's part of the density, times as much as float16 allows."""
        torch, shifts, peaks = self.torch, [], []
        pieces = tile.factors[:, self.d : self.d + PIECES]
        pieces.zero_()
        step = max(1, min(BLOCK_BYTES, self.budget // 4) // (32 * self.sample.shape[0]))
        for start in range(0, tile.factors.shape[0], step):
            part = slice(start, start + step)
            L = product(self.sample, tile.factors[part]).double()
            peaks.append(L.amax(0))
            L += torch.log2(self.sample_mass)[:, None]
            if self.labelled:
                L -= (self.sample_group[:, None] != tile.group[part]) * (self.label * LOG2E)
            shifts.append(torch.logsumexp(L / LOG2E, 0) * LOG2E)
        log_mass = torch.as_tensor(self.log_mass[tile.columns] * LOG2E, device=pieces.device)
        shift = torch.cat(shifts) - log_mass
        shift += (torch.cat(peaks) - shift).max() + (margin - TOP)
        tile.shift[:] = to_numpy(_split(-shift, pieces)) * -1.0

    def _plan(self, n_columns: int) -> tuple[int, int, bool, bool]:
        """Columns of the next tile, rows of a block, and whether the kernel is kept, and all rows in float16.

        Tiles that follow one another read all rows each. Their float16 version, if there is memory for it, saves
        converting them as often; with what is left tiles must not become much narrower.
        """
        n, K = self.rows.stop - self.rows.start, self.n_features
        rest = self.budget - 2 * K * n_columns  # the columns' factors
        block_bytes = min(BLOCK_BYTES, max(0, rest) // 4)
        rest -= block_bytes
        least, shared = min(n_columns, KEPT_COLUMNS), 2 * K * n
        width = min(n_columns, rest // (2 * n)) if self.keep else 0
        keep, share = width >= least, self.all_rows is not None
        if not keep:
            width, share = n_columns, share or shared <= rest
        else:
            beside = min(n_columns, (rest - shared) // (2 * n))
            share = share or (width < n_columns and beside >= max(least, width // 2))
            width = max(1, beside) if share else width
        per_row = self.backend.bytes_per_row(width, keep) + (0 if share else 2 * K)
        if block_bytes < per_row:
            raise too_little()
        block_rows = min(block_bytes // per_row, n)
        if block_rows > ROW_MULTIPLE:
            block_rows -= block_rows % ROW_MULTIPLE
        n_tiles = -(-n_columns // width)
        return -(-n_columns // n_tiles), int(block_rows), keep, share


def _split(values: Any, out: Any) -> Any:
    """Three float16 numbers for each value, in the columns of ``out``, and what they add up to."""
    rest = values
    for k in range(PIECES):
        out[:, k] = rest
        rest = rest - out[:, k].to(rest.dtype)
    return values - rest


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

    def __init__(self) -> None:
        self.L: Any = None
        self.E: Any = None

    def prepare(self, n_rows: int, width: int, kept: bool, device: Any) -> None:
        """Take the scratch memory of the blocks of a tile."""
        import torch

        self.release()
        self.L = torch.empty((n_rows * width,), dtype=torch.float32, device=device)
        self.E = None if kept else torch.empty((n_rows * width,), dtype=torch.float16, device=device)

    def release(self) -> None:
        """Give that memory back."""
        self.L = self.E = None

    def bytes_per_row(self, width: int, kept: bool) -> int:
        """Scratch memory that each row of a block takes."""
        return width * (4 if kept else 6)

    def write(self, X: Any, scale: Any | None, factor: float, out: Any) -> None:
        """Rows in float16, each multiplied by its scale and by a factor of all."""
        import torch

        torch.mul(X, factor if scale is None else scale[:, None] * factor, out=out)

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
