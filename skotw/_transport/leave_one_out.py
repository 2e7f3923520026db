"""How trusted samples would be classified by the training rows, weighted without them.

The columns of the transport are independent where rho = 0, so that the weights without trusted sample q are

    w_i^(-q) = w_i - T_iq,

with no further solution. A kernel vote V of the rows, each class of rows having its mass back, then says what q is:

    P_q(c) ~ mass_c sum_{i in c} w_i^(-q) V_iq / sum_{i in c} w_i^(-q).                                    (6)

Kernels of several eps, each half of the one before, are powers of one kernel: E, E^2, E^4, ... So two passes over the
rows serve all of them, and what they leave are sums per class and column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import dtype_of, functions, like, namespace, scratch, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, sum_groups
from skotw._transport.cost import Cost
from skotw._transport.problem import Problem


def own_class_votes(
    cost: Cost,
    a: NDArray[Any],
    problems: Sequence[Problem],
    vote_rate: float,
    partition: Partition,
    compute: Compute,
    total: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.asarray,
) -> NDArray[np.float64]:
    """P_q(c) of (6) for the class c of q.

    Parameters
    ----------
    cost : Cost
        Feature cost of shape (N, M).
    a : ndarray of shape (N,)
        Positive row weights, of mean one.
    problems : sequence of R Problem
        The same one for several eps, whose rates double from each to the next.
    vote_rate : float
        Decay of the kernel V.
    partition, compute
        See the classes.
    total : callable
        Adds up what several processes have.

    Returns
    -------
    ndarray of shape (R, M)
        NaN for an eps at which the kernel of some column underflows. Also NaN for a column that is all that its
        group has.
    """
    reference = cost.reference
    xp, fn = namespace(reference), functions(reference)
    n_groups, n_columns, n_eps = partition.n_groups, cost.shape[1], len(problems)
    rate, column_group = problems[0].rate, problems[0].column_group
    kernel = cost.kernel(rate)
    row_weights = like(a, reference)
    ones = like(np.ones(min(partition.block_rows, partition.n_rows)), reference)

    def exponents(block: Block, work: dict[str, Any]) -> Any:
        # at most 0: powers of a kernel that is above 1 overflow, in single precision soon
        L = kernel.block(block, slice(None), work)
        L -= kernel.constant
        return L

    def powers(L: Any, work: dict[str, Any]) -> Any:
        """E, E^2, E^4, ... of the block, (R, n, M)."""
        E = scratch(work, "powers", (n_eps * L.shape[0], n_columns), L).reshape((n_eps, *L.shape))
        fn.exp2(L, out=E[0])
        for r in range(1, n_eps):
            fn.multiply(E[r - 1], E[r - 1], out=E[r])
        return E

    def block_sums(block: Block, runs: list[tuple[int, slice]], work: dict[str, Any]) -> list[NDArray[Any]]:
        row, E = row_weights[block.rows], powers(exponents(block, work), work)
        return [to_numpy(fn.matmul(row[rows], E[:, rows])) for _, rows in runs]

    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        sums = total(sum_groups(block_sums, partition, compute, xp, np.zeros((n_groups, n_eps, n_columns))))
        eps = np.array([[problem.eps] for problem in problems])
        # log of a group's part of the sum over all rows of p_i exp(-C_iq / eps), but for the sum that stands in sums
        log_part = problems[0].log_ratio[:, None, None] - problems[0].label_costs()[:, None, :] / eps
        log_normaliser = np.logaddexp.reduce(log_part + np.log(sums), axis=0)
        log_scale = problems[0].log_mass + log_part - log_normaliser  # T_iq = a_i E_iq scale_gq
        scale = np.exp(np.where(sums > 0, log_scale, -np.inf))
        scales = like(scale, reference)

        def block_votes(block: Block, runs: list[tuple[int, slice]], work: dict[str, Any]) -> list[NDArray[Any]]:
            row, L = row_weights[block.rows], exponents(block, work)
            V = fn.multiply(L, vote_rate / rate, out=scratch(work, "votes", tuple(L.shape), L))
            V = fn.exp2(V, out=V)
            V = fn.multiply(V, row[:, None], out=V)
            E = powers(L, work)
            # what the rows weigh, a_i apart
            mass = [fn.matmul(E[:, rows], scales[group][:, :, None])[:, :, 0] for group, rows in runs]
            EV = fn.multiply(E, V, out=E)
            votes = [fn.matmul(of, V[rows]) for of, (_, rows) in zip(mass, runs, strict=True)]
            own = [fn.matmul(ones[: of.shape[1]], EV[:, rows]) for of, (_, rows) in zip(mass, runs, strict=True)]
            return [np.array([to_numpy(of) for of in both]) for both in zip(votes, own, strict=True)]

        both = total(sum_groups(block_votes, partition, compute, xp, np.zeros((n_groups, 2, n_eps, n_columns))))
        votes, own = both[:, 0], both[:, 1] * scale
        moved = scale * sums  # what column q sends to each group
        mass = moved.sum(axis=2, keepdims=True)
        least = np.sqrt(np.finfo(dtype_of(reference)).eps)
        rest, left = _difference(mass, moved, least), _difference(votes, own, least)
        share = np.where(rest > 0, left / rest, 0.0) * mass  # (G, R, M)
        of_own = share[column_group, :, np.arange(n_columns)].T / share.sum(axis=0)
    sound = np.isfinite(scale.max(axis=(0, 2))) & (log_normaliser.min(axis=1) > -np.inf)
    alone = np.bincount(column_group)[column_group] < 2
    return np.where(sound[:, None] & ~alone, of_own, np.nan)


def _difference(whole: NDArray[np.float64], part: NDArray[np.float64], least: np.floating[Any]) -> NDArray[np.float64]:
    """What a column leaves: nothing where the share that is left is below ``least``, since that is a rounding error."""
    difference = whole - part
    return np.where(difference > least * whole, difference, 0.0)
