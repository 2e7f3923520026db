"""Whether later chunks of a stream lie where the first did, by which the units of all of them were settled."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.frozen import FrozenEstimator

from skotw._transport.arrays import to_numpy

__all__ = ["Drift", "settled_by_rows"]

_MAX_ROWS = 1024  # of a chunk that are looked at
# Later chunks lie elsewhere if this share of a feature's values is outside of twice the first chunk's range, or if the
# feature's mean moves by its deviation; each and four standard errors, which chance does not give.
_SHARE, _STANDARD_ERRORS = 0.1, 4.0


def settled_by_rows(basis, embedding):
    """What the first rows settled, by the names of public parameters as far as there are any."""
    settings = basis.settings
    kept = embedding is None or isinstance(settings.embedding, FrozenEstimator)
    # the default embedding learns nothing from sparse rows
    kept = kept or not (getattr(embedding, "is_frame_", True) or hasattr(embedding, "scaler_"))
    settled = {
        "embedding": not kept,
        "cost_scale": settings.cost_scale is None,
        "reg": isinstance(settings.reg, str),
        "the metric": bool(basis.metric.params),
        "the unit of the label cost": basis.target.kind == "continuous",
    }
    return [name for name, by_rows in settled.items() if by_rows]


@dataclass(frozen=True, eq=False)
class Drift:
    """Where the embedded rows of the first chunk lie, and what later ones have of that.

    Attributes
    ----------
    n_first, n_later : int
        Rows looked at.
    low, high : ndarray of shape (d,)
        Twice the first chunk's range.
    mean, deviation : ndarray of shape (d,)
        Of the first chunk.
    outside, total : ndarray of shape (d,)
        Later rows outside of that range, and the sum of their values, of those outside the nearest that is inside.
    """

    n_first: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    outside: np.ndarray
    total: np.ndarray
    n_later: int = 0

    @classmethod
    def of(cls, Z):
        """Of the first chunk."""
        Z = _some(Z)
        if sparse.issparse(Z):
            low, high = (np.asarray(bound.toarray()).ravel() for bound in (Z.min(axis=0), Z.max(axis=0)))
            low = np.minimum(low, 0.0)
            mean, square = (np.asarray(part.mean(axis=0)).ravel() for part in (Z, Z.multiply(Z)))
            deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        else:
            low, high, mean, deviation = Z.min(axis=0), Z.max(axis=0), Z.mean(axis=0), Z.std(axis=0)
        half, zeros = (high - low) / 2, np.zeros(Z.shape[1])
        return cls(Z.shape[0], low - half, high + half, mean, deviation, zeros, zeros)

    def meet(self, Z):
        """The same after a later chunk."""
        Z = _some(Z)
        if sparse.issparse(Z):
            entries = Z.tocoo()
            column, values = entries.col, entries.data
            inside = np.clip(values, self.low[column], self.high[column])
            outside, total = (np.bincount(column, weights, len(self.mean)) for weights in (inside != values, inside))
        else:
            inside = np.clip(Z, self.low, self.high)
            outside, total = (inside != Z).sum(axis=0), inside.sum(axis=0)
        n_later = self.n_later + Z.shape[0]
        return replace(self, outside=self.outside + outside, total=self.total + total, n_later=n_later)

    def has_left(self):
        """Whether later rows lie elsewhere."""
        n = self.n_later
        chance = _STANDARD_ERRORS * np.sqrt(_SHARE * (1 - _SHARE) / n)
        moved = np.abs(self.total / n - self.mean)
        allowed = self.deviation * (1 + _STANDARD_ERRORS * np.sqrt(1 / n + 1 / self.n_first))
        return bool(np.any(self.outside / n > _SHARE + chance) or np.any((moved > allowed) & (self.deviation > 0)))


def _some(Z):
    """Rows of a chunk, evenly spaced."""
    some = Z[:: -(-Z.shape[0] // _MAX_ROWS)]
    return some if sparse.issparse(some) else to_numpy(some).astype(np.float64)
