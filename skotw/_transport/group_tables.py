"""Values for a row and a column that depend on the row's group alone.

The label cost has two values: nothing on the columns of a row's own group, and the same on all others. Whatever follows
from labels is then a table of two rows, so that many groups need no (groups, M) table.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import namespace
from skotw._transport.blocks import Block

OTHER, OWN = 0, 1


@dataclass(frozen=True)
class Run:
    """Consecutive rows of a block to which the same values of a table apply.

    Attributes
    ----------
    rows : slice
        Within the block.
    pieces : tuple of (row of the table, slice of columns)
        All columns, in their order.
    """

    rows: slice
    pieces: tuple[tuple[int, slice], ...]

    def of(self, table: Any) -> Any:
        """The table's values for these rows, (m,)."""
        if len(self.pieces) == 1:
            return table[self.pieces[0][0]]
        parts = [table[row][columns] for row, columns in self.pieces]
        return np.concatenate(parts) if isinstance(table, np.ndarray) else namespace(table).concat(parts)

    def part(self, values: Any | None) -> Any | None:
        """What these rows have of an array of the block's rows, if there is one."""
        return None if values is None else values[self.rows]

    def put(self, values: NDArray[Any], table: NDArray[np.float64], combine: Callable[..., Any] = np.add) -> None:
        """Combine (m,) values of these rows into the table."""
        for row, columns in self.pieces:
            combine(table[row, columns], values[columns], out=table[row, columns])


class Layout(Protocol):
    """Which rows of a table apply to which rows of a block."""

    @property
    def size(self) -> int:
        """Rows of the table."""
        ...

    def runs(self, block: Block, columns: slice) -> Iterator[Run]:
        """The block's rows in runs, for a table of these columns."""
        ...


@dataclass(frozen=True)
class PerGroup:
    """One row for each group; blocks lie inside groups."""

    size: int

    def runs(self, block: Block, columns: slice) -> Iterator[Run]:
        yield Run(slice(0, block.n_rows), ((block.group, slice(0, columns.stop - columns.start)),))


@dataclass(frozen=True)
class OwnAndOther:
    """One row for the columns of a row's own group and one for the others; rows and columns are sorted by group.

    Attributes
    ----------
    row_edges, column_edges : sequence of G + 1 int
        Rows, and columns, ``edges[g]`` to ``edges[g + 1]`` are those of group g.
    """

    row_edges: Sequence[int]
    column_edges: Sequence[int]

    @property
    def size(self) -> int:
        return 2

    def runs(self, block: Block, columns: slice) -> Iterator[Run]:
        m = columns.stop - columns.start
        done = block.start
        first = max(bisect_right(edges, start) for edges, start in self._starts(block, columns)) - 1
        for group in range(first, len(self.row_edges) - 1):
            start, c = max(self.row_edges[group], block.start), self.column_edges[group] - columns.start
            if start >= block.stop or c >= m:
                break
            stop, d = min(self.row_edges[group + 1], block.stop), self.column_edges[group + 1] - columns.start
            c, d = max(c, 0), min(d, m)
            if start >= stop or c >= d:
                continue
            if start > done:
                yield Run(slice(done - block.start, start - block.start), ((OTHER, slice(0, m)),))
            pieces = ((OTHER, slice(0, c)), (OWN, slice(c, d)), (OTHER, slice(d, m)))
            rows = slice(start - block.start, stop - block.start)
            yield Run(rows, tuple(piece for piece in pieces if piece[1].stop > piece[1].start))
            done = stop
        if done < block.stop:
            yield Run(slice(done - block.start, block.n_rows), ((OTHER, slice(0, m)),))

    def _starts(self, block: Block, columns: slice) -> Iterator[tuple[Sequence[int], int]]:
        yield self.row_edges, block.start
        yield self.column_edges, columns.start
