"""The paper's own route: the weight vector as a parameter, learned by gradient steps through Sinkhorn.

    min over theta of  L(w) = min over T in U(w, b) of  <T, C> + eps KL(T | p x b)  +  rho KL(w | p),
    w = softmax(theta)

By the envelope theorem dL/dw is f + rho log(w / p), with the row potential f of the inner problem, which POT's
log-domain Sinkhorn gives. The gradient is taken in the geometry of the simplex, where theta moves along dL/dw itself,
and not along w dL/dw, which hardly moves small weights. The step is the inverse of eps + rho, the curvature of L there
but for the directions in which Sinkhorn is slow.

Those are dealt with by never letting Sinkhorn run: it makes one sweep for each step, from potentials that move with
theta, and both converge together. Run to the end for every step it would take thousands of sweeps, and the steps would
have to be shorter by as much. For rho = 0 the first step arrives, since a sweep from f = 0 finds the g of the closed
form. At the end Sinkhorn does run until its marginals hold, and tells the gradient that is left at w.

It holds the N x M cost, and at the optimum it agrees with :mod:`skotw._transport.exact`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from skotw._transport.arrays import namespace, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks
from skotw._transport.cost import LOG2E, Cost
from skotw._transport.problem import Problem, TransportResult

MAX_ITER = 10_000
TOLERANCE = 1e-8  # of a step in theta, at its largest
LAST_SWEEPS = 1_000
LAST_TOLERANCE = 1e-9  # of the column marginal
GRADIENT_LEFT = 1e-4  # in units of eps + rho: the relative error of weights that it stands for
LEAST_LOG_WEIGHT = -230.0  # log-domain Sinkhorn has no gradient at zero


class _Inner:
    """min over T in U(w, b) of <T, C> + eps KL(T | p x b), by Sinkhorn sweeps that go on from the last potentials."""

    def __init__(
        self, C: NDArray[np.float64], log_p: NDArray[np.float64], log_b: NDArray[np.float64], eps: float
    ) -> None:
        self.eps, self.b = eps, np.exp(log_b)
        # -eps H(T) under C - eps log(p x b) is eps KL(T | p x b) up to a constant
        self.C = C - eps * (log_p[:, None] + log_b[None, :])
        self.u, self.v = np.zeros(len(log_p)), np.zeros(len(log_b))  # f / eps and g / eps

    def sweep(self, log_w: NDArray[np.float64], most: int = 1, tolerance: float = 0.0) -> None:
        import ot  # here, since it imports torch where it finds it

        with warnings.catch_warnings():
            # the caller looks at the gradient
            warnings.filterwarnings("ignore", message="Sinkhorn did not converge")
            _, log = ot.bregman.sinkhorn_log(
                np.exp(log_w),
                self.b,
                self.C,
                self.eps,
                numItermax=most,
                stopThr=tolerance,
                warmstart=(self.u, self.v),
                log=True,
            )
        self.u, self.v = log["log_u"], log["log_v"]


def log_softmax(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """log softmax(theta), away from -inf."""
    return np.asarray(np.maximum(theta - logsumexp(theta), LEAST_LOG_WEIGHT))


def solve(
    cost: Cost,
    a: NDArray[Any],
    problem: Problem,
    partition: Partition,
    compute: Compute,
    report: Callable[[int, float, float], object] = lambda step, objective, change: None,
) -> TransportResult:
    """Learn the weights by gradient steps.

    Parameters
    ----------
    cost, a, problem, partition, compute
        As in :func:`skotw._transport.exact.solve`; the label cost is finite.
    report : callable
        Told after each step its number, the objective by the dual, and the largest change of theta.

    Returns
    -------
    TransportResult
        ``n_iter`` counts the gradient steps; the weights are float64 NumPy.
    """
    eps, rho, log_b = problem.eps, problem.rho, problem.log_mass
    log_p = np.log(a) + problem.log_ratio[partition.codes]
    log_p -= logsumexp(log_p)
    inner = _Inner(dense_cost(cost, problem, partition, compute), log_p, log_b, eps)
    b, curvature = inner.b, eps + rho

    def value_and_slope() -> tuple[float, NDArray[np.float64]]:
        """L by the dual, and dL/dw less its mean, which is nothing on the simplex."""
        w, ratio = np.exp(log_w), log_w - log_p
        slope = eps * inner.u + rho * ratio
        return float(w @ slope + eps * (b @ inner.v)), slope - w @ slope

    log_w, change, step = log_softmax(log_p), np.inf, 0
    tolerance = TOLERANCE * max(1.0, rho / eps * 1e-3)  # rounding is magnified by rho / eps
    while change > tolerance and step < MAX_ITER:
        step += 1
        inner.sweep(log_w)
        objective, slope = value_and_slope()
        stepped = log_softmax(log_w - slope / curvature)
        inner.u = inner.u + stepped - log_w  # the columns of T stay as they are
        change = float(np.max(np.abs(stepped - log_w)))
        log_w = stepped
        report(step, objective, change)
    inner.sweep(log_w, LAST_SWEEPS, LAST_TOLERANCE)
    objective, slope = value_and_slope()
    w = np.exp(log_w)
    left = float(np.sqrt(w @ slope**2)) / curvature
    # at the optimum f + rho log(w / p) is constant; that constant belongs to g
    potentials = eps * inner.v + float(w @ (eps * inner.u + rho * (log_w - log_p)))
    return TransportResult(w / w.sum(), potentials, step, left <= GRADIENT_LEFT, objective)


def dense_cost(cost: Cost, problem: Problem, partition: Partition, compute: Compute) -> NDArray[np.float64]:
    """C_ij of (1) for all rows and columns, (N, M)."""
    out = np.empty(cost.shape)
    kernel = cost.kernel(problem.rate)

    def block_costs(block: Block, work: dict[str, Any]) -> None:
        L = to_numpy(kernel.block(block, slice(0, cost.shape[1]), work)).astype(np.float64)
        labels = np.where(problem.column_group == block.group, 0.0, problem.label_cost)
        out[block.rows] = (kernel.constant - L) * (problem.eps / LOG2E) + labels

    for_blocks(block_costs, partition, compute, namespace(cost.reference))
    return out
