r"""What rows are worth to nearest neighbours that trusted rows judge: the third belief of ``prior="confidence"``.

Let training rows be sorted by their distance from a trusted row of class :math:`y'_j`, and let :math:`a_l` be 1 where
row l has that label. The Shapley value of row i for the k-nearest-neighbour classifier that the trusted row judges is,
by the recursion of Jia et al. [1]_ summed up,

.. math::

   s_{ij} = \frac{a_i}{\max(k, i)} - \sum_{l > i} a_l \left( \frac 1 {\max(k, l - 1)} - \frac 1 {\max(k, l)} \right) :

its own vote less that of the rows behind it, whose factors add up to as much. A row is worth what it agrees with near
trusted rows *beyond what others of its label and theirs do there*, and one that misleads is worth less than nothing. Of
rows never seen the same is asked where they would stand.

.. [1] R. Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms", VLDB 2019.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from skotw._compat import num_samples, safe_indexing
from skotw.meta._sampling import choose_evenly

from .supervised import balanced, choose_rows

__all__ = ["NeighbourValue"]

_N_NEIGHBOURS = 5
_MAX_JUDGES = 64
# Of more training rows so many tell where a row stands.
_MAX_SORTED = 2500
_ROWS_AT_A_TIME = 4096
# Into so many parts per sorted distance their range is cut: a look tells how many are less, for most to the last one.
_CELLS_PER_ROW = 4
# Distances no further apart, relative to the typical one, are equal but for rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class NeighbourValue:
    """Value of any rows under any label.

    Attributes
    ----------
    judges : {ndarray, CSR matrix} of shape (Q, d)
        Trusted rows.
    codes : ndarray of shape (Q,)
    mass : ndarray of shape (Q,)
        Of sum 1, the same in all classes.
    distances : ndarray of shape (Q, n_sorted)
        Of training rows from each, ascending.
    vote, behind : ndarray of shape (Q, n_sorted + 1)
        Vote of a row that stands behind so many of these, and of all that stand behind it.
    typical : ndarray of shape (n_classes,)
        Mean value of the training rows that carry each label, those below 0 counting as 0.
    """

    judges: object
    codes: np.ndarray
    mass: np.ndarray
    distances: np.ndarray
    vote: np.ndarray
    behind: np.ndarray
    typical: np.ndarray

    @classmethod
    def fit(cls, rows, codes, weight, meta, meta_codes, meta_weight, rng):
        """Of training rows and trusted ones, {ndarray, CSR matrix}, with their classes and weights."""
        asked = choose_evenly(meta, meta_codes, _MAX_JUDGES)
        judges, judge_codes = safe_indexing(meta, asked), meta_codes[asked]
        mass = balanced(judge_codes, meta_weight[asked])
        n_classes = int(meta_codes.max()) + 1
        kept = choose_rows(codes, _MAX_SORTED, rng)
        # those that stay stand for the others of their label
        total, left = (np.bincount(codes[of], weight[of], n_classes) for of in (slice(None), kept))
        kept_weight = weight[kept] * (total / np.where(left > 0, left, 1.0))[codes[kept]]
        away = _distances(judges, safe_indexing(rows, kept))
        distances, vote, behind = _sorted_votes(away, codes[kept] == judge_codes[:, None], kept_weight)
        value = cls(judges, judge_codes, mass / mass.sum(), distances, vote, behind, np.ones(n_classes))
        own = value.of_labels(safe_indexing(rows, kept))[np.arange(len(kept)), codes[kept]]
        typical = np.bincount(codes[kept], np.maximum(own, 0.0) * kept_weight, n_classes)
        return replace(value, typical=typical / np.where(total > 0, total, 1.0))

    def of_labels(self, rows):
        """Value of rows under each label, (n, n_classes)."""
        n = num_samples(rows)
        out = np.empty((n, len(self.typical)))
        shares = np.where(self.codes == np.arange(len(self.typical))[:, None], self.mass, 0.0)
        for first in range(0, n, _ROWS_AT_A_TIME):
            block = slice(first, min(first + _ROWS_AT_A_TIME, n))
            places = self._ranks.of(_distances(self.judges, rows[block]))
            out[block] = (shares @ self.vote.take(places) - self.mass @ self.behind.take(places)).T
        return out

    @cached_property
    def _ranks(self):
        return _Ranks.among(self.distances)

    def __getstate__(self):
        # made anew in no time
        return {name: value for name, value in vars(self).items() if name != "_ranks"}

    def relative(self, rows):
        """The same as multiples of what rows of each label that agree are typically worth; 0 where none is."""
        worth = self.typical > 0
        return np.where(worth, self.of_labels(rows) / np.where(worth, self.typical, 1.0), 0.0)


def _distances(judges, rows):
    """In double precision, in which differences of squares keep more than what counts as rounding."""
    return euclidean_distances(judges.astype(np.float64, copy=False), rows.astype(np.float64, copy=False))


def _sorted_votes(away, agrees, weight):
    """Of each judge ascending distances, and the votes of whoever stands behind so many rows and of all behind it."""
    quantum = _ROUNDING * away.mean(axis=1, keepdims=True)
    quantum[quantum == 0] = 1.0
    # whichever way equal rows come, those that agree come last
    order = np.argsort(2.0 * np.rint(away / quantum) + agrees, axis=1)
    agrees, before = np.take_along_axis(agrees, order, axis=1), np.cumsum(weight[order], axis=1)
    none = np.zeros((len(away), 1))
    vote = 1.0 / np.maximum(_N_NEIGHBOURS, np.concatenate([none, before], axis=1))
    losses = agrees * (vote[:, :-1] - vote[:, 1:])
    behind = np.concatenate([np.cumsum(losses[:, ::-1], axis=1)[:, ::-1], none], axis=1)
    return np.sort(away, axis=1) - 2.0 * quantum, vote, behind


@dataclass(frozen=True, eq=False)
class _Ranks:
    """How many of the ascending numbers in a row are at most as large as others: a search for which a look does mostly.

    Attributes
    ----------
    ended : ndarray of shape (Q, n + 1)
        Ascending, and NaN, which is at most as large as nothing.
    low, scale : ndarray of shape (Q, 1)
        The least, and cells per unit from there on.
    starts : ndarray of shape (Q, n_cells + 2)
        Index in ``ended``, as if flat, of the first number that lies in the cell or beyond it.
    """

    ended: np.ndarray
    low: np.ndarray
    scale: np.ndarray
    starts: np.ndarray

    @classmethod
    def among(cls, ascending):
        """Of numbers of shape (Q, n)."""
        n_rows, n = ascending.shape
        width = _CELLS_PER_ROW * n + 2
        low, span = ascending[:, :1], ascending[:, -1:] - ascending[:, :1]
        scale = np.where(span > 0, (width - 2) / np.where(span > 0, span, 1.0), 1.0)
        cells = _cells(ascending, low, scale, width)
        counts = np.bincount(cells.ravel(), minlength=n_rows * width).reshape(n_rows, width)
        starts = np.cumsum(counts, axis=1) - counts + np.arange(n_rows)[:, None] * (n + 1)
        return cls(np.concatenate([ascending, np.full((n_rows, 1), np.nan)], axis=1), low, scale, starts)

    def of(self, values):
        """Of each value (Q, m) the index in ``ended``, as if flat, of the first number beyond it."""
        cells = _cells(values, self.low, self.scale, self.starts.shape[1])
        places = self.starts.take(cells)
        places += self.ended.take(places) <= values
        more = np.flatnonzero(self.ended.take(places) <= values)  # than one in the cell
        first, last, values = places.ravel()[more], self.starts.take(cells.ravel()[more] + 1), values.ravel()[more]
        while np.any(first < last):
            middle = (first + last) // 2
            within = self.ended.take(middle) <= values
            first, last = np.where(within, middle + 1, first), np.where(within, last, middle)
        places.ravel()[more] = first
        return places


def _cells(values, low, scale, width):
    """Index of the part of the range where values lie, as if flat: for larger values never less."""
    parts = values - low
    parts *= scale
    cells = np.clip(parts, 0, width - 2, out=parts).astype(np.intp)
    cells += np.arange(len(values))[:, None] * width
    return cells
