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
        tables = [
            _sorted_votes(away, codes[kept] == code, kept_weight)
            for away, code in zip(euclidean_distances(judges, safe_indexing(rows, kept)), judge_codes, strict=True)
        ]
        distances, vote, behind = (np.stack(of) for of in zip(*tables, strict=True))
        value = cls(judges, judge_codes, mass / mass.sum(), distances, vote, behind, np.ones(n_classes))
        own = value.of_labels(safe_indexing(rows, kept))[np.arange(len(kept)), codes[kept]]
        typical = np.bincount(codes[kept], np.maximum(own, 0.0) * kept_weight, n_classes)
        return replace(value, typical=typical / np.where(total > 0, total, 1.0))

    def of_labels(self, rows):
        """Value of rows under each label, (n, n_classes)."""
        n = num_samples(rows)
        out = np.zeros((n, len(self.typical)))
        for first in range(0, n, _ROWS_AT_A_TIME):
            block = slice(first, min(first + _ROWS_AT_A_TIME, n))
            part = out[block]
            away = euclidean_distances(self.judges, rows[block])
            for judge, code in enumerate(self.codes):
                place = np.searchsorted(self.distances[judge], away[judge], side="right")
                part[:, code] += self.mass[judge] * self.vote[judge, place]
                part -= (self.mass[judge] * self.behind[judge, place])[:, None]
        return out

    def relative(self, rows):
        """The same as multiples of what rows of each label that agree are typically worth; 0 where none is."""
        worth = self.typical > 0
        return np.where(worth, self.of_labels(rows) / np.where(worth, self.typical, 1.0), 0.0)


def _sorted_votes(away, agrees, weight):
    """Ascending distances, and the votes of whoever stands behind so many rows and of all behind it."""
    quantum = _ROUNDING * away.mean() or 1.0
    # whichever way equal rows come, those that agree come last
    order = np.lexsort((agrees, np.rint(away / quantum)))
    agrees, weight = agrees[order], weight[order]
    vote = 1.0 / np.maximum(_N_NEIGHBOURS, np.concatenate([[0.0], np.cumsum(weight)]))
    losses = agrees * (vote[:-1] - vote[1:])
    behind = np.concatenate([np.cumsum(losses[::-1])[::-1], [0.0]])
    return np.sort(away) - 2.0 * quantum, vote, behind
