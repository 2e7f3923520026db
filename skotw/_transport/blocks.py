"""Rows in blocks: how the N x M cost is walked without ever being held.

Rows are sorted by group (by class, say). What is added up for each group takes blocks that lie inside one.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from threading import Lock, Thread, current_thread
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from array_api_compat import is_numpy_namespace
from numpy.typing import NDArray
from threadpoolctl import OpenBLASController, ThreadpoolController

from skotw._transport.device_memory import on_accelerator

T = TypeVar("T")
DEVICE_BLOCK_BYTES = 2**27


@dataclass(frozen=True)
class Compute:
    """What the machine may spend.

    Attributes
    ----------
    n_threads : int
        Threads over row blocks (NumPy only; other libraries run their own).
    block_bytes : int
        Aimed-at size of one block of the cost: small enough for a core's cache.
    cache_bytes : int
        Memory in which evaluated blocks may be kept between passes; the others are evaluated again.
    """

    n_threads: int = 1
    block_bytes: int = 2**21
    cache_bytes: int = 2**30


class Block(NamedTuple):
    """Rows ``start`` to ``stop``, all of one group of a partition."""

    group: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def n_rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Partition:
    """N rows, sorted by group, cut into blocks of at most ``block_rows`` that each lie inside one group.

    Attributes
    ----------
    edges : tuple of G + 1 int
        Rows ``edges[g]`` to ``edges[g + 1]`` are those of group g.
    block_rows : int
    blocks : tuple of Block
    """

    edges: tuple[int, ...]
    block_rows: int
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, counts: Sequence[int] | NDArray[np.intp], rows_per_block: int) -> Partition:
        """Cut consecutive groups of ``counts`` rows into blocks of at most ``rows_per_block``."""
        edges = (0, *accumulate(map(int, counts)))
        ends = enumerate(pairwise(edges))
        blocks = [block for group, (first, last) in ends for block in _cut(group, first, last, rows_per_block)]
        return cls(edges, rows_per_block, tuple(blocks))

    @property
    def n_rows(self) -> int:
        return self.edges[-1]

    @property
    def n_groups(self) -> int:
        return len(self.edges) - 1

    @property
    def span(self) -> int:
        """Rows from the first of the first block to the last of the last."""
        return self.blocks[-1].stop - self.blocks[0].start if self.blocks else 0

    @property
    def codes(self) -> NDArray[np.intp]:
        """Group of each row."""
        return np.repeat(np.arange(self.n_groups, dtype=np.intp), np.diff(self.edges))

    def only(self, group: int) -> Partition:
        """The blocks of one group."""
        blocks = _cut(group, self.edges[group], self.edges[group + 1], self.block_rows)
        return replace(self, blocks=tuple(blocks))

    def halved(self) -> Partition:
        """The same in blocks of half as many rows."""
        return Partition.of(np.diff(self.edges), max(1, self.block_rows // 2))

    def merged(self) -> Partition:
        """All rows as one group: blocks do not stop where groups do."""
        return Partition.of([self.n_rows], self.block_rows)

    def runs(self, block: Block) -> list[tuple[int, slice]]:
        """Groups of the rows of any block, and where in the block they lie."""
        start, runs = block.start, []
        for group in range(bisect_right(self.edges, start) - 1, self.n_groups):
            if start == block.stop:
                break
            stop = min(self.edges[group + 1], block.stop)
            if start < stop:
                runs.append((group, slice(start - block.start, stop - block.start)))
            start = stop
        return runs


def _cut(group: int, first: int, last: int, size: int) -> list[Block]:
    return [Block(group, start, min(start + size, last)) for start in range(first, last, size)]


def rows_per_block(compute: Compute, n_columns: int, itemsize: int, X: Any | None = None) -> int:
    """Rows of a block: its cost fills ``block_bytes``, within what keeps a GEMM and Python efficient.

    On the device of a tensor ``X`` a block is one of few, since each makes the host wait for it.
    """
    if X is not None and on_accelerator(X):
        return max(1, DEVICE_BLOCK_BYTES // max(1, n_columns * itemsize))
    return min(max(1, compute.block_bytes // max(1, n_columns * itemsize)), 4096)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")  # scans the loaded libraries: milliseconds that are paid once


class _OneBlasThread:
    """A limit of the whole process with any number of users at once: the first sets it and the last takes it back.

    Were each to set and restore by itself, one that begins within another and ends after it would restore the other's
    limit, for good.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.n_users = 0
        self.n_threads = 1  # what BLAS may use without the limit
        self.limit: Any = None
        self.owner: Thread | None = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.n_users:
                self.n_threads = _current_blas_threads()
                self.limit, self.owner = _blas().limit(limits=1), current_thread()
            self.n_users += 1

    def __exit__(self, *raised: object) -> None:
        with self.lock:
            self.n_users -= 1
            if self.n_users:
                return
            # threadpoolctl 3.8 lets one Python thread at a time set limits of OpenBLAS, and ignores all others
            release = getattr(OpenBLASController, "clear_controlling_thread", lambda force=False: None)
            release(force=self.owner is not current_thread())
            self.limit.restore_original_limits()
            release()
            self.limit = self.owner = None


_ONE_BLAS_THREAD = _OneBlasThread()


def _current_blas_threads() -> int:
    counts = [lib.num_threads for lib in _blas().lib_controllers]
    return max(counts, default=1)


def blas_threads() -> int:
    """Threads that NumPy's BLAS may use, which environment variables and thread limits govern, ours apart."""
    with _ONE_BLAS_THREAD.lock:
        return _ONE_BLAS_THREAD.n_threads if _ONE_BLAS_THREAD.n_users else _current_blas_threads()


def one_blas_thread() -> AbstractContextManager[None]:
    """BLAS stays on one thread while row blocks run on several: measured faster than the reverse.

    Products of other steps stay on one as well: BLAS threads that have worked go on spinning for tens of milliseconds,
    beside the threads of what comes next. Threads may enter and leave in any order.
    """
    return _ONE_BLAS_THREAD


def for_blocks(
    function: Callable[[Block, dict[str, Any]], T],
    partition: Partition,
    compute: Compute,
    xp: Any,
    consume: Callable[[Block, T], object] | None = None,
) -> None:
    """Run ``function(block, work)`` on every block, and ``consume(block, result)`` in the blocks' order.

    ``work`` is a dictionary of scratch buffers that no other thread touches meanwhile. The order in which results are
    consumed, hence every bit of a sum over blocks, is the same for any number of threads; no two are consumed at once.
    """
    ours = is_numpy_namespace(xp)
    # a thread is worth its start from about one full block on
    n_threads = min(compute.n_threads, partition.span // partition.block_rows) if ours else 1
    with one_blas_thread() if ours else nullcontext():
        if n_threads <= 1:
            work: dict[str, Any] = {}
            for block in partition.blocks:
                result = function(block, work)
                if consume is not None:
                    consume(block, result)
            return
        queue = _Queue(function, partition.blocks, consume)
        # this thread works as well: waiting for others, it would be woken for each block
        others = [_helpers().submit(queue.work) for _ in range(n_threads - 1)]
        try:
            queue.work()
        finally:
            started = [other for other in others if not other.cancel()]
            wait(started)
        for other in started:
            other.result()


@lru_cache(maxsize=1)
def _helpers() -> ThreadPoolExecutor:
    """Threads that have helped and stay for the next blocks, since starting them takes half a millisecond."""
    return ThreadPoolExecutor(max_workers=256, thread_name_prefix="skotw")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads stay with the parent


class _Queue(Generic[T]):
    """Blocks that threads take one by one, and results that wait for those before them."""

    def __init__(
        self,
        function: Callable[[Block, dict[str, Any]], T],
        blocks: Sequence[Block],
        consume: Callable[[Block, T], object] | None,
    ) -> None:
        self.function, self.blocks, self.consume = function, blocks, consume
        self.errors = np.geterr()  # of the thread that calls; others start with the default
        self.lock = Lock()
        self.taken = self.consumed = 0
        self.results: dict[int, T] = {}

    def work(self) -> None:
        """Until no block is left; after an error in any thread none is."""
        scratch: dict[str, Any] = {}
        try:
            with np.errstate(**self.errors):
                while (index := self._take()) is not None:
                    self._put(index, self.function(self.blocks[index], scratch))
        except BaseException:
            with self.lock:
                self.taken = len(self.blocks)
            raise

    def _take(self) -> int | None:
        with self.lock:
            if self.taken == len(self.blocks):
                return None
            self.taken += 1
            return self.taken - 1

    def _put(self, index: int, result: T) -> None:
        if self.consume is None:
            return
        with self.lock:
            self.results[index] = result
            while self.consumed in self.results:
                self.consume(self.blocks[self.consumed], self.results.pop(self.consumed))
                self.consumed += 1


def sum_blocks(
    function: Callable[[Block, dict[str, Any]], Any],
    partition: Partition,
    compute: Compute,
    xp: Any,
    out: NDArray[np.float64],
    combine: Callable[..., Any] = np.add,
) -> NDArray[np.float64]:
    """Combine the blocks' arrays into ``out[group]`` in float64, in the same order for any thread count."""

    def add(block: Block, value: Any) -> None:
        combine(out[block.group], value, out=out[block.group])

    for_blocks(function, partition, compute, xp, add)
    return out


def sum_groups(
    function: Callable[[Block, list[tuple[int, slice]], dict[str, Any]], Iterable[NDArray[Any]]],
    partition: Partition,
    compute: Compute,
    xp: Any,
    out: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Add arrays to ``out[group]`` in float64, as :func:`sum_blocks`, of blocks that do not stop where groups do.

    ``function(block, runs, work)`` returns one array for each of the block's runs, which :meth:`Partition.runs` has.
    """

    def of_runs(block: Block, work: dict[str, Any]) -> tuple[list[tuple[int, slice]], Iterable[NDArray[Any]]]:
        runs = partition.runs(block)
        return runs, function(block, runs, work)

    def add(block: Block, found: tuple[list[tuple[int, slice]], Iterable[NDArray[Any]]]) -> None:
        for (group, _), value in zip(*found, strict=True):
            out[group] += value

    for_blocks(of_runs, partition.merged(), compute, xp, add)
    return out
