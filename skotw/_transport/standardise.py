"""Columns to mean zero and variance one, block by block, on any array library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import dtype_of, empty, functions, like, namespace, on_device, scratch, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks, rows_per_block, sum_blocks
from skotw._transport.rows import LazyRows


def is_constant(variance: NDArray[np.float64], mean: NDArray[np.float64], n_rows: float) -> NDArray[np.bool_]:
    """Whether a column's variance, from so many rows of any weight in float64, is what rounding leaves of zero."""
    eps = np.finfo(np.float64).eps
    return np.asarray(variance <= n_rows * eps * variance + (n_rows * mean * eps) ** 2)


@dataclass(frozen=True, eq=False)
class Standardise:
    """What scikit-learn's ``StandardScaler`` does to dense arrays, on threads, and on tensors where they are.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        A constant column, as of a dead unit, keeps its scale, by ``StandardScaler``'s own bound on rounding. The bound
        grows with the number of rows, not with their weights, whose unit has no meaning here.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        X: Any,
        weight: NDArray[Any] | None,
        compute: Compute,
        total: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.asarray,
    ) -> Standardise:
        """Weighted moments in float64; ``total`` adds up what several processes have."""
        xp, fn = namespace(X), functions(X)
        a = np.ones(int(X.shape[0])) if weight is None else weight
        weights = fn.asarray(a, dtype=fn.float64, **on_device(X))
        partition = _partition(X, compute)

        def mean_of_rows(center: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
            """Of the rows, or of their squared deviations from ``center``."""
            origin = None if center is None else like(center, weights)

            def block_sum(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
                rows = scratch(work, "rows", (block.n_rows, int(X.shape[1])), weights)
                rows[...] = X[block.rows, :]
                if origin is not None:
                    rows -= origin
                    rows *= rows
                return to_numpy(fn.matmul(weights[block.rows], rows))

            sums = sum_blocks(block_sum, partition, compute, xp, np.zeros((1, int(X.shape[1]))))
            return np.asarray(total(sums[0]) / mass)

        mass, n_rows = total(np.array([a.sum(dtype=np.float64), len(a)])).tolist()
        with np.errstate(over="ignore", invalid="ignore"):  # whoever checks the outcome finds it
            mean = mean_of_rows()
            variance = mean_of_rows(mean)
            return cls(mean, np.where(is_constant(variance, mean, n_rows), 1.0, np.sqrt(variance)))

    def lazily(self, X: NDArray[Any]) -> LazyRows:
        """The rows of :meth:`transform`, made where they are needed."""
        return LazyRows(X, mean=like(self.mean, X), scale=like(self.scale, X))

    def transform(self, X: Any, compute: Compute) -> Any:
        """Standardised rows, in the dtype of X."""
        fn = functions(X)
        mean, scale, out = like(self.mean, X), like(self.scale, X), empty(tuple(X.shape), X)

        def scale_rows(block: Block, work: dict[str, Any]) -> None:
            rows = out[block.rows, :]
            fn.subtract(X[block.rows, :], mean, out=rows)
            fn.divide(rows, scale, out=rows)

        with np.errstate(over="ignore", invalid="ignore"):
            for_blocks(scale_rows, _partition(X, compute), compute, namespace(X))
        return out


def _partition(X: Any, compute: Compute) -> Partition:
    size = rows_per_block(compute, int(X.shape[1]), max(dtype_of(X).itemsize, np.dtype(np.float64).itemsize), X)
    return Partition.of([int(X.shape[0])], size)
