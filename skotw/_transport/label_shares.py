"""How much of a row's weight under all labels falls to its own, from one pass over the cost.

Under label c a row has, for each unit of its prior weight p_i under that label, the weight

    H_ic = (sum_j b_j exp((g_j - C_ij - l_cj) / eps))^(eps / (rho + eps)),

where C is the cost of features alone and l that of labels. The kernel is evaluated once, for all labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skotw._transport.arrays import functions, like, namespace, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks
from skotw._transport.cost import LOG2E, Cost
from skotw._transport.problem import Problem


def own_label_shares(
    cost: Cost,
    problem: Problem,
    rate: float,
    label_costs: NDArray[np.float64],
    potentials: NDArray[np.float64],
    partition: Partition,
    compute: Compute,
    log_prior: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """H_iy / sum_c H_ic for the label y of each row, and the label whose H is largest.

    Parameters
    ----------
    cost : Cost
        Feature cost of shape (N, M).
    problem : Problem
        Of the columns; its own rate and label cost are not used.
    rate : float
        The feature cost is ``eps * rate * d_ij``.
    label_costs : ndarray of shape (G, M)
        Cost l between a row of each group and each column; may be infinite.
    potentials : ndarray of shape (M,)
    partition : Partition
        Rows by the group that their label makes.
    compute : Compute
    log_prior : ndarray of shape (N, G), optional
        log of a factor of H that goes by row and label.

    Returns
    -------
    share : ndarray of shape (N,)
    best : ndarray of shape (N,)
        The first of equals.
    """
    fn, xp = functions(cost.reference), namespace(cost.reference)
    kernel = cost.kernel(rate)
    bias = like((problem.log_mass + potentials / problem.eps) * LOG2E - kernel.constant, cost.reference)
    factors = like(np.exp(-label_costs.T / problem.eps), cost.reference)
    present = np.isfinite(problem.log_ratio)  # groups that have rows
    share, best = np.empty(partition.n_rows), np.empty(partition.n_rows, dtype=np.intp)

    def block_shares(block: Block, work: dict[str, Any]) -> None:
        L = kernel.block(block, slice(None), work)
        L += bias[None, :]
        peak = xp.max(L, axis=1)  # it is the same for all labels
        L -= xp.where(xp.isfinite(peak), peak, xp.zeros_like(peak))[:, None]
        sums = to_numpy(fn.matmul(fn.exp2(L, out=L), factors)).astype(np.float64)
        log_h = np.where(present, np.log(sums) * (1.0 - problem.damping), -np.inf)
        if log_prior is not None:
            log_h += log_prior[block.rows]
        best[block.rows] = np.argmax(log_h, axis=1)
        with np.errstate(invalid="ignore"):
            share[block.rows] = np.exp(log_h[:, block.group] - logsumexp(log_h, axis=1))

    with np.errstate(divide="ignore", under="ignore"):
        for_blocks(block_shares, partition, compute, xp)
    return share, best
