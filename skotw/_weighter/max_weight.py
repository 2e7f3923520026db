"""``max_weight``: a cap on weights whose excess goes to the other rows of the class."""

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

__all__ = ["Cap"]


@dataclass(frozen=True, eq=False)
class Cap:
    """Weights per unit of row weight, r_i, become min(limit, t r_i), with a factor t of the group.

    The factor has no bound: weights may be so small that their logarithms alone can tell them apart, and be all that is
    left to take the excess. It is therefore given by one row, the largest below the cap, and by what that row gets.

    Attributes
    ----------
    log_limit, log_pivot, log_share : ndarray of shape (n_groups,)
        The limit; r of that row; t r of it.
    """

    log_limit: np.ndarray
    log_pivot: np.ndarray
    log_share: np.ndarray

    @classmethod
    def of(cls, max_weight, log_ratio, mass, codes, row_weight, n_groups):
        """The cap under which each group keeps its mass.

        Parameters
        ----------
        max_weight : float
            Cap in units of the mean of the group, at least 1.
        log_ratio : ndarray of shape (n,)
            log of r_i before the cap, up to a term of the group.
        mass : ndarray of shape (n_groups,)
            Weight of all rows of the group.
        codes, row_weight : ndarray of shape (n,)
            Group and row weight of each row.
        n_groups : int
        """
        limit, pivot, share = np.zeros((3, n_groups))
        order = np.lexsort((-log_ratio, codes))
        edges = np.searchsorted(codes[order], np.arange(n_groups + 1))
        for group in np.flatnonzero(np.diff(edges)):
            rows = order[edges[group] : edges[group + 1]]
            a, r = row_weight[rows], log_ratio[rows]
            mean = mass[group] / a.sum()
            # all relative to the mean, so that any unit of weights will do
            k, level = _uncapped(r, a / a.sum(), max_weight)
            limit[group], pivot[group], share[group] = np.log(mean * max_weight), r[k], np.log(mean * level)
        return cls(limit, pivot, share)

    def log_weight(self, log_ratio, codes, row_weight):
        """Log of the capped weights of any rows; ``log_ratio`` as before, with the term of the group."""
        above = np.zeros_like(log_ratio)  # also where both are -inf
        np.subtract(log_ratio, self.log_pivot[codes], out=above, where=log_ratio != self.log_pivot[codes])
        return np.log(row_weight) + np.minimum(above + self.log_share[codes], self.log_limit[codes])


def _uncapped(r, a, limit):
    """Index of the largest of sorted log ratios that stays below the limit, and the ratio that it gets.

    With ``a`` of sum one: sum_i a_i min(t exp(r_i), limit) = 1 for t = level / exp(r_k).
    """

    def left_and_taken(k):
        """Mass that k rows at the limit leave, and what the others take while the next one has the ratio 1."""
        below = np.subtract(r[k:], r[k], out=np.zeros(len(r) - k), where=r[k:] != r[k])  # -inf beside -inf too
        return 1.0 - limit * a[:k].sum(), a[k:] @ np.exp(below)

    def fits(k):
        # what rounding leaves of the mass is no reason to go further: the level must not vanish
        left, taken = left_and_taken(k)
        return left <= limit * taken + 1e-12

    k = bisect_left(range(len(r) - 1), True, key=fits)
    left, taken = left_and_taken(k)
    return k, min(left / taken, limit)
