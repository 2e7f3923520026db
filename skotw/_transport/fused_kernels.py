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
        # rows and columns are in the order of their groups, and most tiles hold no pair of one group
        least_row, most_row = tl.load(ROW_GROUP + i * BM), tl.load(ROW_GROUP + tl.minimum(i * BM + BM, n) - 1)
        least_column = tl.load(COLUMN_GROUP + tl.minimum(first_column, m - 1))
        most_column = tl.load(COLUMN_GROUP + tl.minimum(first_column + BN, m) - 1)
        mixed = (least_row <= most_column) & (least_column <= most_row)
        row_group = tl.load(ROW_GROUP + rows, mask=rows < n, other=-1)
        column_group = tl.load(COLUMN_GROUP + columns, mask=columns < m, other=-2)
    if ROWS:
        scale = tl.load(SCALE + columns, mask=columns < m, other=0.0)
        weighted = kernel.to(tl.float32) * scale[None, :]
        sums = tl.sum(weighted, 1)
        if LABELLED:
            sums *= other
            if mixed:
                own = row_group[:, None] == column_group[None, :]
                sums += (1.0 - other) * tl.sum(tl.where(own, weighted, 0.0), 1)
        tl.store(EVERY + (first_column // BN) * n + rows, sums, mask=rows < n)
    else:
        p = tl.load(P + rows, mask=rows < n, other=0.0)
        weighted = kernel.to(tl.float32) * p[:, None]
        tl.store(EVERY + i * m + columns, tl.sum(weighted, 0), mask=columns < m)
        if LABELLED:
            sums = tl.zeros((BN,), dtype=tl.float32)
            if mixed:
                own = row_group[:, None] == column_group[None, :]
                sums += tl.sum(tl.where(own, weighted, 0.0), 0)
            tl.store(OWN + i * m + columns, sums, mask=columns < m)


@triton.jit
def _finish_parts(
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
    PARTS: tl.constexpr,
):
    """The same one part after the other, which takes fewer registers and less shared memory at a time."""
    if PARTS == 1:
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
            first_column,
            n,
            m,
            other,
            BM,
            BN,
            KEEP,
            ROWS,
            LABELLED,
        )
    else:
        left, right = tl.split(tl.permute(tl.reshape(total, (BM, 2, BN // 2)), (0, 2, 1)))
        _finish_parts(
            left,
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
            BM,
            BN // 2,
            KEEP,
            ROWS,
            LABELLED,
            PARTS // 2,
        )
        _finish_parts(
            right,
            E,
            P,
            SCALE,
            ROW_GROUP,
            COLUMN_GROUP,
            EVERY,
            OWN,
            i,
            first_column + BN // 2,
            n,
            m,
            other,
            BM,
            BN // 2,
            KEEP,
            ROWS,
            LABELLED,
            PARTS // 2,
        )


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
    PARTS: tl.constexpr,
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
        _finish_parts(
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
            PARTS,
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
        if LABELLED:
            column_group = tl.load(COLUMN_GROUP + columns, mask=inside, other=-2)
            own = row_group[:, None] == column_group[None, :]
            total += kernel.to(tl.float32) * tl.where(own, scale[None, :], (scale * other)[None, :])
        else:
            total += kernel.to(tl.float32) * scale[None, :]
    tl.store(OUT + rows, tl.sum(total, 1), mask=rows < n)


@triton.jit
def _convert_kernel(
    X,
    SCALE,
    OUT,
    n,
    d,
    stride,
    out_stride,
    factor,
    SCALED: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Rows in float16, each multiplied by its scale and by a factor of all."""
    rows, columns = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    inside = (rows < n)[:, None] & (columns < d)[None, :]
    at = rows.to(tl.int64)[:, None]
    values = tl.load(X + at * stride + columns[None, :], mask=inside, other=0.0)
    if SCALED:
        scale = tl.load(SCALE + rows, mask=rows < n, other=0.0)
        values *= (scale * factor)[:, None]
    else:
        values *= factor
    tl.store(OUT + at * out_stride + columns[None, :], values.to(tl.float16), mask=inside)


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
    parts : int
        A power of two: in how many parts the end of a tile goes through its columns.
    n_programs : int, optional
        As many as the device runs at once.
    row_tile : (rows, columns, warps)
        The same for the sums over a kernel that was kept.
    """

    def __init__(
        self,
        tile: tuple[int, int, int] = (256, 128, 64),
        stages: int = 3,
        warps: int = 8,
        tall: int = 16,
        flatten: bool = True,
        parts: int = 2,
        n_programs: int | None = None,
        row_tile: tuple[int, int, int] = (64, 128, 4),
    ) -> None:
        self.tile, self.stages, self.warps, self.tall, self.flatten = tile, stages, warps, tall, flatten
        self.parts, self.n_programs, self.row_tile = parts, n_programs, row_tile

    def bytes_per_row(self, width: int, kept: bool) -> int:
        """As :meth:`Plain.bytes_per_row`."""
        return 4 * max(-(-2 * width // self.tile[0]), 0 if kept else self._n_across(width))

    def write(self, X: Any, scale: Any | None, factor: float, out: Any) -> None:
        """As :meth:`Plain.write`."""
        (n, d), BM, BN = X.shape, 4, 1024
        X = X if X.stride(1) == 1 else X.contiguous()
        grid = -(-n // BM), -(-d // BN)
        strides, scaled = (X.stride(0), out.stride(0)), scale is not None
        _convert_kernel[grid](X, scale if scaled else X, out, n, d, *strides, factor, SCALED=scaled, BM=BM, BN=BN)

    def prepare(self, n_rows: int, width: int, kept: bool, device: Any) -> None:
        """As :meth:`Plain.prepare`."""
        self.release()
        size = max(2 * -(-n_rows // self.tile[0]) * width, 0 if kept else self._n_across(width) * n_rows)
        self.sums = torch.empty((size,), dtype=torch.float32, device=device)

    def _n_across(self, m: int) -> int:
        return -(-m // self.tile[1]) * self.parts

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
        (n, m), (BM, BN, warps) = E.shape, self.row_tile
        out = torch.empty(n, dtype=torch.float32, device=E.device)
        groups = rows.group.int(), tile.group.int()
        _row_sums_kernel[(-(-n // BM),)](
            E, scale, *groups, out, n, m, E.stride(0), other, BM=BM, BN=BN, LABELLED=labelled, num_warps=warps
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
            A if E is None else TensorDescriptor.from_tensor(E, [BM, BN // self.parts]),
            values,
            values,
            rows.group.int(),
            tile.group.int(),
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
            PARTS=self.parts,
            KEEP=E is not None,
            ROWS=of_rows,
            LABELLED=labelled,
            FLATTEN=self.flatten,
            num_warps=self.warps,
            num_stages=self.stages,
        )
