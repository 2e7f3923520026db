"""Feature costs by name: how far a training row is from a meta sample."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import pairwise_distances

from skotw._compat import BOOLEAN_METRICS, PAIRWISE_METRICS
from skotw._transport.arrays import empty, like, to_numpy
from skotw._transport.blocks import Block, Compute
from skotw._transport.cost import (
    LOG2E,
    EuclideanCost,
    FunctionCost,
    cosine_cost,
    squared_euclidean_cost,
    squared_rows,
    unit_rows,
)
from skotw._transport.rows import SquaredRows, reference_of
from skotw._transport.standardise import is_constant
from skotw._validation import check_costs

__all__ = ["GEMM_METRICS", "METRICS", "FeatureMetric"]

_EUCLIDEAN = ("euclidean", "l2", "sqeuclidean")
GEMM_METRICS = ("cosine", *_EUCLIDEAN)
METRICS = tuple(sorted({*PAIRWISE_METRICS, "sqeuclidean", "precomputed"} - {"wminkowski"}))


@dataclass(frozen=True, eq=False)
class FeatureMetric:
    """A metric with all that it takes from the training rows, so that unseen rows get the same costs.

    Attributes
    ----------
    metric : str or callable
        One of :data:`METRICS`, or a function of two rows that returns a finite number of at least 0.
    params : dict
        Variances of "seuclidean", inverse covariance of "mahalanobis".
    center : ndarray or None
        Origin of the Euclidean metrics on dense rows.
    """

    metric: object
    params: dict = field(default_factory=dict)
    center: np.ndarray | None = None

    @classmethod
    def of(cls, metric, Z, sample_weight, Z_meta):
        """Read what the metric needs off the training rows.

        Parameters
        ----------
        metric : str or callable
        Z : {ndarray, tensor, CSR matrix} of shape (n_samples, n_features)
        sample_weight : ndarray of shape (n_samples,)
        Z_meta : the same of shape (n_meta, n_features), or None for "precomputed"
        """
        if metric in _EUCLIDEAN and not sparse.issparse(Z):
            return cls(metric, center=np.asarray(to_numpy(Z_meta).astype(np.float64).mean(axis=0)))
        if metric in ("seuclidean", "mahalanobis"):
            share = sample_weight / sample_weight.sum()
            mean = share @ to_numpy(Z)
            deviation = to_numpy(Z) - mean
            variance = share @ deviation**2
            constant = is_constant(variance, mean, len(share))
            if metric == "seuclidean":
                return cls(metric, {"V": np.where(constant, 1.0, variance)})
            deviation[:, constant] = 0.0
            covariance = (deviation * share[:, None]).T @ deviation
            return cls(metric, {"VI": np.linalg.pinv(covariance, hermitian=True)})
        return cls(metric)

    def rows(self, Z, compute, index=None):
        """Training rows as :meth:`cost` takes them; ``index`` has their numbers in X, if those are others.

        Dense NumPy rows are not copied.
        """
        if self.metric == "cosine":
            return unit_rows(Z, compute)
        if self.metric in _EUCLIDEAN:
            rows = squared_rows(Z, compute, self._origin(reference_of(Z)))
            self._check_squares(_column(rows, -2), lambda i: f"row {_number(i, index)} of X")
            return rows
        return Z

    def cost(self, rows, Z_meta, index=None):
        """Cost between rows and meta samples, evaluated block by block.

        Parameters
        ----------
        rows : array or CSR matrix of n_samples rows
            From :meth:`rows`. With "precomputed" the costs themselves.
        Z_meta : {ndarray, tensor, CSR matrix} of shape (n_meta, n_features)
            As they come. With "precomputed" the columns to take.
        index : ndarray of shape (n_samples,), optional
            The rows' numbers in X, by which errors name them; else they are as they come.

        Returns
        -------
        Cost
            Finite, and at least 0 up to rounding: that of a function raises ValueError for a block where it is not,
            and all others are so by their rows.
        """
        if self.metric == "precomputed":
            shape = (rows.shape[0], len(Z_meta))
            return FunctionCost(shape, lambda i, j: rows[i:j][:, Z_meta], reference_of(rows)[:0, 0])
        if self.metric == "cosine":
            return cosine_cost(rows, Z_meta)
        if self.metric in _EUCLIDEAN:
            squared = squared_euclidean_cost(rows, Z_meta, self._origin(Z_meta))
            self._check_meta_squares(rows, squared.columns)
            return squared if self.metric == "sqeuclidean" else EuclideanCost(squared)
        reference = empty((0,), reference_of(rows))
        if not isinstance(reference, np.ndarray):
            raise ValueError(
                f"metric={self.metric!r} takes NumPy arrays; for tensors use one of {GEMM_METRICS}, or pass arrays."
            )

        def function(start, stop):
            return self._pairwise(rows[start:stop], Z_meta, lambda i: f"row {_number(start + i, index)} of X")

        return FunctionCost((rows.shape[0], Z_meta.shape[0]), function, reference)

    def distances(self, A, B):
        """Dense ndarray of the costs between a few trusted rows."""
        if self.metric == "precomputed":
            return np.array(to_numpy(A), dtype=np.float64)[:, B]
        if self.metric not in GEMM_METRICS:
            return np.array(self._pairwise(A, B, lambda _: "the trusted row"), dtype=np.float64)
        A, B = (X.astype(np.float64) if sparse.issparse(X) else to_numpy(X).astype(np.float64) for X in (A, B))
        kernel = self.cost(self.rows(A, Compute()), B).kernel(1.0 / LOG2E)
        return kernel.constant - kernel.block(Block(0, 0, A.shape[0]), slice(None), {})

    def _origin(self, Z):
        return None if self.center is None else like(self.center, Z)

    def _check_squares(self, squares, name):
        """No cost overflows where no square exceeds a sixteenth of the largest float."""
        info = np.finfo(squares.dtype)
        sound = squares < info.max / 16
        if not sound.all():
            row = name(int(np.argmin(sound)))
            raise ValueError(
                f"metric={self.metric!r} squares distances, and those of {row} exceed what {info.dtype} holds. "
                "Multiply all rows by a small constant first."
            )

    def _check_meta_squares(self, rows, columns):
        """Squares of the meta samples, and whether all squares of both sides underflow."""
        squares = -_column(columns, -1)
        self._check_squares(squares, lambda _: "a trusted row")
        info = np.finfo(squares.dtype)
        least = float(info.tiny) / float(info.eps)
        if squares.max() > least or _column(rows, -2).max() > least:
            return
        features = rows.differences() if isinstance(rows, SquaredRows) else rows[:, : rows.shape[1] - 2]
        for Z in (features, columns[:, : columns.shape[1] - 2]):
            if (Z != 0).sum() > 0:
                raise ValueError(
                    f"metric={self.metric!r} squares distances, and all of them are below what {info.dtype} holds. "
                    "Multiply all rows by a large constant first."
                )

    def _pairwise(self, A, B, name):
        """Costs between rows A and trusted rows B, checked; ``name(i)`` is what an error calls row i of A."""
        if self.metric in BOOLEAN_METRICS:
            A, B = A.astype(bool), B.astype(bool)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataConversionWarning)
            costs = pairwise_distances(A, B, metric=self.metric, **self.params)
        return check_costs(
            costs, self.metric, lambda i, j: f"{name(i)}, {_shown(A, i)}, and the trusted row {_shown(B, j)}"
        )


def _number(i, index):
    return i if index is None else index[i]


def _column(Z, k):
    """One column, as an ndarray."""
    if isinstance(Z, SquaredRows):
        return Z.squares  # the column before the last
    column = Z[:, [Z.shape[1] + k]].toarray() if sparse.issparse(Z) else to_numpy(Z[:, k])
    return column.ravel()


def _shown(Z, i):
    """A row's first embedded values."""
    row = (Z[[i]].toarray() if sparse.issparse(Z) else Z[i : i + 1]).ravel()
    values = ", ".join(f"{value:.3g}" for value in row[:4])
    return f"[{values}{', ...' if len(row) > 4 else ''}]"
