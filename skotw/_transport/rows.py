"""Rows in another order than they lie in, fetched block by block: no second copy of them is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skotw._transport.arrays import scratch
from skotw._transport.blocks import Block


@dataclass(frozen=True, eq=False)
class GatheredRows:
    """Rows ``X[order]`` of a dense NumPy array.

    Walking blocks of them takes as long as walking the array itself, whose rows are long enough to be read at full
    speed wherever they lie.
    """

    X: NDArray[Any]
    order: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.order), int(self.X.shape[1])

    @property
    def reference(self) -> NDArray[Any]:
        """No rows, of the dtype of all."""
        return self.X[:0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        return self.X[self.order[rows]]

    def fetch(self, block: Block, work: dict[str, Any]) -> NDArray[Any]:
        """The block's rows, in the thread's scratch memory."""
        out = scratch(work, "rows", (block.n_rows, self.shape[1]), self.X)
        # clipping takes the rows straight into the memory, which is otherwise kept as it was for a bad index
        return np.take(self.X, self.order[block.rows], axis=0, out=out, mode="clip")


@dataclass(frozen=True, eq=False)
class SquaredRows:
    """Rows ``(x - center, |x - center|^2, 1)`` of dense NumPy rows, made block by block.

    Attributes
    ----------
    X : ndarray or GatheredRows of shape (N, d)
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
    def reference(self) -> NDArray[Any]:
        """No rows, of the dtype of all."""
        return reference_of(self.X)

    def differences(self) -> NDArray[Any]:
        """x - center of all rows, at once."""
        return np.asarray(self.X[:] - (0.0 if self.center is None else self.center))

    def fetch(self, block: Block, work: dict[str, Any]) -> NDArray[Any]:
        """The block's rows, in the thread's scratch memory."""
        out = scratch(work, "squared", (block.n_rows, self.shape[1]), self.reference)
        np.subtract(fetch(self.X, block, work), 0.0 if self.center is None else self.center, out=out[:, :-2])
        out[:, -2] = self.squares[block.rows]
        out[:, -1] = 1.0
        return out


def fetch(rows: Any, block: Block, work: dict[str, Any]) -> Any:
    """The block's rows of an array, CSR matrix or one of the above."""
    return rows.fetch(block, work) if isinstance(rows, GatheredRows | SquaredRows) else rows[block.rows]


def reference_of(rows: Any) -> Any:
    """An array of the library, dtype and device of dense rows, or one for the dtype of sparse ones."""
    if isinstance(rows, GatheredRows | SquaredRows):
        return rows.reference
    return np.empty(0, dtype=rows.dtype) if sparse.issparse(rows) else rows
