"""Feature costs by name: how far a training row is from a meta sample."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import euclidean_distances, pairwise_distances

from skotw._compat import BOOLEAN_METRICS, PAIRWISE_METRICS
from skotw._transport.arrays import empty, like, to_numpy
from skotw._transport.cost import (
    EuclideanCost,
    FunctionCost,
    cosine_cost,
    squared_euclidean_cost,
    squared_rows,
    unit_rows,
)

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
        One of :data:`METRICS`, or a function of two rows that returns a number.
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
            deviation = to_numpy(Z) - share @ to_numpy(Z)
            if metric == "seuclidean":
                variance = share @ deviation**2
                return cls(metric, {"V": np.where(variance > 0, variance, 1.0)})
            covariance = (deviation * share[:, None]).T @ deviation
            return cls(metric, {"VI": np.linalg.pinv(covariance, hermitian=True)})
        return cls(metric)

    def rows(self, Z, compute):
        """Training rows as :meth:`cost` takes them."""
        if self.metric == "cosine":
            return unit_rows(Z, compute)
        if self.metric in _EUCLIDEAN:
            return squared_rows(Z, compute, self._origin(Z))
        return Z

    def cost(self, rows, Z_meta):
        """Cost between rows and meta samples, evaluated block by block.

        Parameters
        ----------
        rows : array or CSR matrix of n_samples rows
            From :meth:`rows`. With "precomputed" the costs themselves.
        Z_meta : {ndarray, tensor, CSR matrix} of shape (n_meta, n_features)
            As they come. With "precomputed" the columns to take.
        """
        if self.metric == "precomputed":
            shape = (rows.shape[0], len(Z_meta))
            return FunctionCost(shape, lambda i, j: rows[i:j][:, Z_meta], rows[:0, 0])
        if self.metric == "cosine":
            return cosine_cost(rows, Z_meta)
        if self.metric in _EUCLIDEAN:
            squared = squared_euclidean_cost(rows, Z_meta, self._origin(Z_meta))
            return squared if self.metric == "sqeuclidean" else EuclideanCost(squared)
        reference = empty((0,), rows)
        if not isinstance(reference, np.ndarray):
            raise ValueError(
                f"metric={self.metric!r} takes NumPy arrays; for tensors use one of {GEMM_METRICS}, or pass arrays."
            )
        shape = (rows.shape[0], Z_meta.shape[0])
        return FunctionCost(shape, lambda i, j: self._pairwise(rows[i:j], Z_meta), reference)

    def distances(self, A, B):
        """Dense ndarray of the costs between a few rows."""
        if self.metric == "precomputed":
            return np.array(to_numpy(A), dtype=np.float64)[:, B]
        if self.metric in GEMM_METRICS:
            A, B = (X if sparse.issparse(X) else to_numpy(X) for X in (A, B))
            if self.metric == "sqeuclidean":  # scipy's takes no sparse rows
                return euclidean_distances(A, B, squared=True).astype(np.float64)
            return pairwise_distances(A, B, metric=self.metric).astype(np.float64)
        return np.asarray(self._pairwise(A, B), dtype=np.float64)

    def _origin(self, Z):
        return None if self.center is None else like(self.center, Z)

    def _pairwise(self, A, B):
        if self.metric in BOOLEAN_METRICS:
            A, B = A.astype(bool), B.astype(bool)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataConversionWarning)
            return pairwise_distances(A, B, metric=self.metric, **self.params)
