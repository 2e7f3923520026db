"""The transport problem and its solution.

    min over T >= 0, T^T 1 = b of  <T, C> + eps KL(T | p x b) + rho KL(T 1 | p),      w = T 1        (1)

with ``p_i = a_i * ratio[group_i]`` and ``C_ij = eps * rate * d_ij``, plus the label cost unless row and column are of
one group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport.blocks import Partition
from skotw._transport.group_tables import OwnAndOther


@dataclass(frozen=True, eq=False)
class Problem:
    """What (1) needs beside the feature cost and the row weights.

    Attributes
    ----------
    eps : float
        Entropic regularisation.
    rho : float
        Strength of KL(T 1 | p); 0 leaves the row marginal free.
    rate : float
        Feature cost of (1) is ``eps * rate * d_ij``.
    log_mass : ndarray of shape (M,)
        log b_j.
    log_ratio : ndarray of shape (G,)
        log of p_i / a_i for the rows of a group; -inf for a group without rows.
    column_group : ndarray of shape (M,)
        Group of each column, sorted.
    label_cost : float
        Cost between a row and a column of different groups. Infinite, hard mode, it lets no mass move between groups:
        (1) falls into an independent problem per group.
    """

    eps: float
    rho: float
    rate: float
    log_mass: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    column_group: NDArray[np.intp]
    label_cost: float

    @property
    def damping(self) -> float:
        """rho / (rho + eps): how much of the density ratio the prior takes back."""
        return self.rho / (self.rho + self.eps)

    @property
    def hard(self) -> bool:
        return bool(np.isinf(self.label_cost))

    @cached_property
    def column_edges(self) -> list[int]:
        """Columns ``edges[g]`` to ``edges[g + 1]`` are those of group g."""
        edges: list[int] = np.searchsorted(self.column_group, np.arange(len(self.log_ratio) + 1)).tolist()
        return edges

    def layout(self, partition: Partition) -> OwnAndOther:
        """How tables of what follows from labels apply to the rows."""
        return OwnAndOther(partition.edges, self.column_edges)

    def columns(self, group: int) -> slice:
        """Columns that the rows of a block of this group may reach, in the partition of :meth:`blocks`."""
        return slice(*self.column_edges[group : group + 2]) if self.hard else slice(0, len(self.log_mass))

    def blocks(self, partition: Partition) -> Partition:
        """Blocks whose rows may all reach the same columns."""
        return partition if self.hard else partition.merged()

    def components(self, partition: Partition) -> Iterator[tuple[Partition, slice]]:
        """The independent problems: their row blocks and their columns."""
        if not self.hard:
            yield partition.merged(), self.columns(0)
            return
        for group in range(partition.n_groups):
            rows, columns = partition.only(group), self.columns(group)
            if rows.blocks and columns.stop > columns.start:
                yield rows, columns

    def label_costs(self) -> NDArray[np.float64]:
        """Label cost between each group and each column, (G, M): only for what is kept by group."""
        costs = np.full((len(self.log_ratio), len(self.log_mass)), self.label_cost)
        costs[self.column_group, np.arange(len(self.log_mass))] = 0.0
        return costs

    def free_potentials(self, log_normalisers: NDArray[np.float64]) -> NDArray[np.float64]:
        """g_j = -eps logsumexp_i(log p_i - C_ij / eps), from the sums over the rows of each group.

        Parameters
        ----------
        log_normalisers : ndarray of shape (G, M)
            A_gj = log sum over the rows i of group g of a_i exp(-rate d_ij).
        """
        terms = self.log_ratio[:, None] + log_normalisers - self.label_costs() / self.eps
        return -self.eps * np.asarray(np.logaddexp.reduce(terms, axis=0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class TransportResult:
    """Solution of (1).

    Attributes
    ----------
    weights : array of shape (N,)
        w, in the library, dtype and device of the features, or float64 where the solver says so.
    potentials : ndarray of shape (M,)
        g, in units of the cost.
    n_iter : int
        Passes of a closed form, or iterations.
    converged : bool
        Whether the tolerance was met.
    objective : float
        Value of (1), which at the optimum is <b, g>.
    """

    weights: Any
    potentials: NDArray[np.float64]
    n_iter: int
    converged: bool
    objective: float
