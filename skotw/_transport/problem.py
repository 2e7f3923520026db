"""The transport problem and its solution.

    min over T >= 0, T^T 1 = b of  <T, C> + eps KL(T | p x b) + rho KL(T 1 | p),      w = T 1        (1)

with ``C_ij = eps * rate * d_ij + label_cost[group_i, j]`` and ``p_i = a_i * ratio[group_i]``: everything that
depends on labels alone is a (groups, M) table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skotw._transport.blocks import Partition


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
    label_cost : ndarray of shape (G, M)
        Label cost; infinite where no mass may move.
    columns : tuple of G slices, optional
        Hard mode: the consecutive columns of finite label cost of each group, disjoint. (1) then falls into
        an independent problem per group. None: one problem.
    """

    eps: float
    rho: float
    rate: float
    log_mass: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    label_cost: NDArray[np.float64]
    columns: tuple[slice, ...] | None = None

    @property
    def damping(self) -> float:
        """rho / (rho + eps): how much of the density ratio the prior takes back."""
        return self.rho / (self.rho + self.eps)

    def group_columns(self, group: int) -> slice:
        """Columns that rows of the group may reach."""
        return slice(0, len(self.log_mass)) if self.columns is None else self.columns[group]

    def components(self, partition: Partition) -> Iterator[tuple[Partition, slice]]:
        """The independent problems: their row blocks and their columns."""
        if self.columns is None:
            yield partition, slice(0, len(self.log_mass))
        else:
            for group, columns in enumerate(self.columns):
                blocks = partition.only(group)
                if blocks.blocks and columns.stop > columns.start:
                    yield blocks, columns

    def of_columns(self, columns: slice) -> Problem:
        """The same problem on some columns; they are independent where rho = 0."""
        mass, cost = self.log_mass[columns], self.label_cost[:, columns]
        return replace(self, log_mass=mass, label_cost=cost, columns=None)

    def column_bias(self, potentials: NDArray[np.float64]) -> NDArray[np.float64]:
        """log b_j + (g_j - label_cost_gj) / eps of shape (G, M): what a row of group g adds to -d rate."""
        return self.log_mass + (potentials - self.label_cost) / self.eps

    def free_potentials(self, log_normalisers: NDArray[np.float64]) -> NDArray[np.float64]:
        """g_j = -eps logsumexp_i(log p_i - C_ij / eps), from the sums over the rows of each group.

        Parameters
        ----------
        log_normalisers : ndarray of shape (G, M)
            A_gj = log sum over the rows i of group g of a_i exp(-rate d_ij).
        """
        terms = self.log_ratio[:, None] + log_normalisers - self.label_cost / self.eps
        return -self.eps * np.asarray(logsumexp(terms, axis=0), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class TransportResult:
    """Solution of (1).

    Attributes
    ----------
    weights : array of shape (N,)
        w, in the library, dtype and device of the features, or float64 where the solver says so.
    potentials : ndarray of shape (M,)
        g, in units of the cost.
    log_normalisers : ndarray of shape (G, M) or None
        A_gj of :meth:`Problem.free_potentials`, where the solver has them.
    n_iter : int
        Passes of a closed form, or iterations.
    converged : bool
        Whether the tolerance was met.
    objective : float
        Value of (1), which at the optimum is <b, g>.
    """

    weights: Any
    potentials: NDArray[np.float64]
    log_normalisers: NDArray[np.float64] | None
    n_iter: int
    converged: bool
    objective: float
