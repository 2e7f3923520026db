"""Rows that are made block by block, of rows that lie in another order or another scale.

No copy of X is held where it lies in memory row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skotw._transport.arrays import scratch, take
from skotw._transport.blocks import Block, Compute, Partition, for_blocks, rows_per_block


@dataclass(frozen=True, eq=False)
class LazyRows:
    """Rows ``(X[order] - mean) / scale`` of a dense NumPy array, made where and when a block needs them.

    Walking blocks of them takes about as long as walking the array itself, whose rows are long enough to be read at
    full speed wherever they lie.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    order : ndarray of shape (N,) or None
        Row numbers of a C-contiguous X; None for all as they lie.
    mean, scale : ndarray of shape (d,) or None
        Of the dtype of X; None to take rows as they are.
    """

    X: NDArray[Any]
    order: NDArray[np.intp] | None = None
    mean: NDArray[Any] | None = None
    scale: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.X if self.order is None else self.order), int(self.X.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.X.dtype

    @property
    def reference(self) -> NDArray[Any]:
        """No rows, of the dtype of all."""
        return self.X[:0]

    def in_order(self, order: NDArray[np.intp]) -> LazyRows:
        """These rows, or some of them, in another order; if they do not lie in one piece, copies of them."""
        if self.order is not None:
            return replace(self, order=self.order[order])
        if len(order) < len(self.X) and not self.X.flags.c_contiguous:
            return replace(self, X=self.X[order])
        return replace(self, X=np.ascontiguousarray(self.X), order=order)

    def as_they_lie(self) -> LazyRows:
        """All rows of X, read from the first to the last, which takes less time than any other order."""
        return replace(self, order=None)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if self.order is None:
            taken, out = self.X[rows], None
        else:
            index = self.order[rows]
            taken = out = self._take(index, np.empty((len(index), self.shape[1]), dtype=self.dtype))
        return taken if self.mean is None else self._standardised(taken, out)

    def fetch(self, block: Block, work: dict[str, Any]) -> NDArray[Any]:
        """The block's rows, in the thread's scratch memory."""
        return self._made(block, scratch(work, "rows", (block.n_rows, self.shape[1]), self.X))

    def copied(self, compute: Compute) -> NDArray[Any]:
        """All rows at once."""
        if self.order is None and self.mean is None:
            return self.X
        out = np.empty(self.shape, dtype=self.dtype)
        size = rows_per_block(compute, self.shape[1], self.dtype.itemsize)

        def make(block: Block, work: dict[str, Any]) -> None:
            self._made(block, out[block.rows])

        for_blocks(make, Partition.of([self.shape[0]], size), compute, np)
        return out

    def _made(self, block: Block, out: NDArray[Any]) -> NDArray[Any]:
        """The block's rows, in that memory unless they lie in X as they are."""
        rows = self.X[block.rows]
        if self.order is not None:
            rows = self._take(self.order[block.rows], out)
        return rows if self.mean is None else self._standardised(rows, out)

    def _take(self, index: NDArray[np.intp], out: NDArray[Any]) -> NDArray[Any]:
        # as bytes: of numbers across the bounds of words, as a network brings them, np.take copies all at each call;
        # clipping takes rows straight into the memory, which is otherwise kept as it was for a bad index
        np.take(self.X.view(np.uint8), index, axis=0, out=out.view(np.uint8), mode="clip")
        return out

    def _standardised(self, rows: NDArray[Any], out: NDArray[Any] | None) -> NDArray[Any]:
        mean, scale = self.mean, self.scale
        assert mean is not None
        assert scale is not None
        out = np.asarray(np.subtract(rows, mean, out=out))
        np.divide(out, scale, out=out)
        return out


@dataclass(frozen=True, eq=False)
class SquaredRows:
    """Rows ``(x - center, |x - center|^2, 1)`` of dense NumPy rows, made block by block.

    Attributes
    ----------
    X : ndarray or LazyRows of shape (N, d)
    center : ndarray of shape (d,) or None
    squares : ndarray of shape (N,)
        |x - center|^2.
    """

    X: Any
    center: NDArray[Any] | None
    squares: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.X.shape[0]), int(self.X.shape[1]) + 2

    @property
    def reference(self) -> Any:
        """No rows, of the dtype of all."""
        return reference_of(self.X)

    def differences(self) -> NDArray[Any]:
        """x - center of all rows, at once."""
        return np.asarray(self.X[:] - (0 if self.center is None else self.center))

    def in_order(self, order: NDArray[np.intp]) -> SquaredRows:
        """These rows, or some of them, in another order."""
        return replace(self, X=in_order(self.X, order), squares=self.squares[order])

    def fetch(self, block: Block, work: dict[str, Any]) -> Any:
        """The block's rows, in the thread's scratch memory."""
        out = scratch(work, "squared", (block.n_rows, self.shape[1]), self.reference)
        np.subtract(fetch(self.X, block, work), 0 if self.center is None else self.center, out=out[:, :-2])
        out[:, -2] = self.squares[block.rows]
        out[:, -1] = 1.0
        return out


def fetch(rows: Any, block: Block, work: dict[str, Any]) -> Any:
    """The block's rows of an array, CSR matrix or one of the above."""
    return rows.fetch(block, work) if isinstance(rows, LazyRows | SquaredRows) else rows[block.rows]


def in_order(rows: Any, order: NDArray[np.intp]) -> Any:
    """Rows of any kind by an index; dense NumPy rows stay where they are."""
    rows = LazyRows(rows) if isinstance(rows, np.ndarray) else rows
    return rows.in_order(order) if hasattr(rows, "in_order") else take(rows, order)


def reference_of(rows: Any) -> Any:
    """An array of the library, dtype and device of dense rows, or one for the dtype of sparse ones."""
    if isinstance(rows, LazyRows | SquaredRows):
        return rows.reference
    return np.empty(0, dtype=rows.dtype) if sparse.issparse(rows) else rows
