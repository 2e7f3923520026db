"""Triton kernels that fuse what :class:`skotw._transport.half_precision.Plain` does one after the other."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor


@triton.jit
def _finish(
    total,
    E,
    P,
    SCALE,
    ROW_GROUP,
    COLUMN_GROUP,
    EVERY,
    OWN,
    i,
    first_column,
    n,
    m,
    other,
    BM: tl.constexpr,
    BN: tl.constexpr,
    KEEP: tl.constexpr,
    ROWS: tl.constexpr,
    LABELLED: tl.constexpr,
):
    """What follows the product on a tile of E."""
    kernel = tl.exp2(total).to(tl.float16)
    if KEEP:
        E.store([i * BM, first_column], kernel)
    rows, columns = i * BM + tl.arange(0, BM), first_column + tl.arange(0, BN)
    if LABELLED:
        row_group = tl.load(ROW_GROUP + rows, mask=rows < n, other=-1)
        column_group = tl.load(COLUMN_GROUP + columns, mask=columns < m, other=-2)
        own = row_group[:, None] == column_group[None, :]
    if ROWS:
        scale = tl.load(SCALE + columns, mask=columns < m, other=0.0)
        weighted = kernel.to(tl.float32) * scale[None, :]
        if LABELLED:
            weighted = tl.where(own, weighted, weighted * other)
        tl.store(EVERY + (first_column // BN) * n + rows, tl.sum(weighted, 1), mask=rows < n)
    else:
        p = tl.load(P + rows, mask=rows < n, other=0.0)
        weighted = kernel.to(tl.float32) * p[:, None]
        tl.store(EVERY + i * m + columns, tl.sum(weighted, 0), mask=columns < m)
        if LABELLED:
            tl.store(OWN + i * m + columns, tl.sum(tl.where(own, weighted, 0.0), 0), mask=columns < m)


@triton.jit
def _product_kernel(
    A,
    B,
    E,
    P,
    SCALE,
    ROW_GROUP,
    COLUMN_GROUP,
    EVERY,
    OWN,
    n,
    m,
    K,
    other,
    n_programs,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
    TALL: tl.constexpr,
    HALVES: tl.constexpr,
    KEEP: tl.constexpr,
    ROWS: tl.constexpr,
    LABELLED: tl.constexpr,
    FLATTEN: tl.constexpr,
):
    """E = 2^(A B^T) in float16, and sums over it that each tile of E leaves for itself.

    Each tile of rows leaves its sums of p_i E_ij in a row of EVERY, and of OWN. For ROWS each tile of columns leaves
    its sums of E_ij scale_j, of columns of other groups ``other`` times that, in a row of EVERY.
    """
    n_down, n_across = tl.cdiv(n, BM), tl.cdiv(m, BN)
    for tile in tl.range(tl.program_id(0), n_down * n_across, n_programs, flatten=FLATTEN):
        # tiles that run at the same time share rows and columns, which the cache then has
        band = tile // (TALL * n_across)
        height = tl.minimum(n_down - band * TALL, TALL)
        inside = tile % (TALL * n_across)
        i, j = band * TALL + inside % height, inside // height
        total = tl.zeros((BM, BN), dtype=tl.float32)
        for k in range(0, K, BK):
            total = tl.dot(A.load([i * BM, k]), B.load([j * BN, k]).T, total)
        if HALVES:  # fewer registers at a time
            left, right = tl.split(tl.permute(tl.reshape(total, (BM, 2, BN // 2)), (0, 2, 1)))
            _finish(
                left,
                E,
                P,
                SCALE,
                ROW_GROUP,
                COLUMN_GROUP,
                EVERY,
                OWN,
                i,
                j * BN,
                n,
                m,
                other,
                BM,
                BN // 2,
                KEEP,
                ROWS,
                LABELLED,
            )
            _finish(
                right,
                E,
                P,
                SCALE,
                ROW_GROUP,
                COLUMN_GROUP,
                EVERY,
                OWN,
                i,
                j * BN + BN // 2,
                n,
                m,
                other,
                BM,
                BN // 2,
                KEEP,
                ROWS,
                LABELLED,
            )
        else:
            _finish(
                total,
                E,
                P,
                SCALE,
                ROW_GROUP,
                COLUMN_GROUP,
                EVERY,
                OWN,
                i,
                j * BN,
                n,
                m,
                other,
                BM,
                BN,
                KEEP,
                ROWS,
                LABELLED,
            )


@triton.jit
def _row_sums_kernel(
    E,
    SCALE,
    ROW_GROUP,
    COLUMN_GROUP,
    OUT,
    n,
    m,
    stride,
    other,
    BM: tl.constexpr,
    BN: tl.constexpr,
    LABELLED: tl.constexpr,
):
    """sum_j E_ij scale_j, of columns of other groups ``other`` times that."""
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    at = rows.to(tl.int64)[:, None] * stride
    if LABELLED:
        row_group = tl.load(ROW_GROUP + rows, mask=rows < n, other=-1)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, m, BN):
        columns = start + tl.arange(0, BN)
        inside = columns < m
        scale = tl.load(SCALE + columns, mask=inside, other=0.0)
        kernel = tl.load(E + at + columns[None, :], mask=(rows < n)[:, None] & inside[None, :], other=0.0)
        part = kernel.to(tl.float32) * scale[None, :]
        if LABELLED:
            column_group = tl.load(COLUMN_GROUP + columns, mask=inside, other=-2)
            part = tl.where(row_group[:, None] == column_group[None, :], part, part * other)
        total += part
    tl.store(OUT + rows, tl.sum(total, 1), mask=rows < n)


class Fused:
    """Blocks by one kernel for each of the two passes.

    Parameters
    ----------
    tile : (rows, columns, features)
        What a program works on at a time.
    stages, warps, tall : int
        Depth of its pipeline, its warps, and how many tiles of rows go through the columns together.
    flatten : bool
        One loop over tiles and features, so that a tile's end overlaps the next one's start.
    halves : bool
        Whether the end of a tile works on one half after the other.
    n_programs : int, optional
        As many as the device runs at once.
    """

    def __init__(
        self,
        tile: tuple[int, int, int] = (128, 256, 64),
        stages: int = 3,
        warps: int = 8,
        tall: int = 8,
        flatten: bool = True,
        halves: bool = True,
        n_programs: int | None = None,
    ) -> None:
        self.tile, self.stages, self.warps, self.tall, self.flatten = tile, stages, warps, tall, flatten
        self.halves, self.n_programs = bool(halves), n_programs

    def prepare(self, n_rows: int, width: int, kept: bool, device: Any) -> None:
        """As :meth:`Plain.prepare`."""
        self.release()
        size = max(2 * -(-n_rows // self.tile[0]) * width, 0 if kept else self._n_across(width) * n_rows)
        self.sums = torch.empty((size,), dtype=torch.float32, device=device)

    def _n_across(self, m: int) -> int:
        return -(-m // self.tile[1]) * (1 + self.halves)

    def release(self) -> None:
        """As :meth:`Plain.release`."""
        self.sums = None

    def column_sums(self, A: Any, tile: Any, E: Any | None, rows: Any, labelled: bool) -> tuple[Any, Any | None]:
        """As :meth:`Plain.column_sums`."""
        n_down, m = -(-A.shape[0] // self.tile[0]), tile.factors.shape[0]
        every, own = self.sums[: 2 * n_down * m].reshape(2, n_down, m)
        self._run(A, tile, E, rows.p, rows, every, own, 1.0, labelled, False)
        return every.sum(0, dtype=torch.float64), own.sum(0, dtype=torch.float64) if labelled else None

    def row_sums(
        self, A: Any | None, tile: Any, E: Any | None, scale: Any, other: float, rows: Any, labelled: bool
    ) -> Any:
        """As :meth:`Plain.row_sums`."""
        scale = scale.float()
        if E is None:
            n, n_across = A.shape[0], self._n_across(tile.factors.shape[0])
            parts = self.sums[: n_across * n].reshape(n_across, n)
            self._run(A, tile, None, scale, rows, parts, parts, other, labelled, True)
            return parts.sum(0)
        (n, m), BM, BN = E.shape, 16, 256
        out = torch.empty(n, dtype=torch.float32, device=E.device)
        groups = rows.group, tile.group
        _row_sums_kernel[(-(-n // BM),)](
            E, scale, *groups, out, n, m, E.stride(0), other, BM=BM, BN=BN, LABELLED=labelled, num_warps=4
        )
        return out

    def _run(
        self,
        A: Any,
        tile: Any,
        E: Any | None,
        values: Any,
        rows: Any,
        every: Any,
        own: Any,
        other: float,
        labelled: bool,
        of_rows: bool,
    ) -> None:
        (n, K), m, (BM, BN, BK) = A.shape, tile.factors.shape[0], self.tile
        n_tiles = -(-n // BM) * -(-m // BN)
        n_programs = self.n_programs or torch.cuda.get_device_properties(A.device).multi_processor_count
        n_programs = min(n_programs, n_tiles)
        _product_kernel[(n_programs,)](
            TensorDescriptor.from_tensor(A, [BM, BK]),
            TensorDescriptor.from_tensor(tile.factors, [BN, BK]),
            A if E is None else TensorDescriptor.from_tensor(E, [BM, BN // (1 + self.halves)]),
            values,
            values,
            rows.group,
            tile.group,
            every,
            own,
            n,
            m,
            K,
            other,
            n_programs,
            BM=BM,
            BN=BN,
            BK=BK,
            TALL=self.tall,
            HALVES=self.halves,
            KEEP=E is not None,
            ROWS=of_rows,
            LABELLED=labelled,
            FLATTEN=self.flatten,
            num_warps=self.warps,
            num_stages=self.stages,
        )
