"""The paper's own route: the weight vector as a parameter, learned by gradient steps through Sinkhorn.

    min over theta of  L(w) = min over T in U(w, b) of  <T, C> + eps KL(T | p x b)  +  rho KL(w | p),
    w = softmax(theta)

By the envelope theorem dL/dw is the row potential f of the inner problem, which POT's log-domain Sinkhorn gives; the
steps are L-BFGS's. It holds the N x M cost, and at the optimum it agrees with :mod:`skotw._transport.exact`.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax, xlogy

from skotw._transport.problem import TransportResult

MAX_ITER = 500
SINKHORN_ITER = 2_000
SINKHORN_TOLERANCE = 1e-9


class _Objective:
    """L and its gradient in theta; each Sinkhorn run starts from the potentials of the last."""

    def __init__(
        self,
        C: NDArray[np.float64],
        p: NDArray[np.float64],
        b: NDArray[np.float64],
        eps: float,
        rho: float,
    ) -> None:
        self.p, self.b, self.eps, self.rho = p, b, eps, rho
        # -eps H(T) under C - eps log(p x b) is eps KL(T | p x b) up to a constant
        self.C = C - eps * np.log(p)[:, None] - eps * np.log(b)[None, :]
        self.warmstart: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def inner(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Potentials (f, g) of min over T in U(w, b) of <T, C> + eps KL(T | p x b)."""
        import ot  # here, since it imports torch where it finds it

        with warnings.catch_warnings():
            # a run cut short early on only makes that gradient coarser; the last one is checked
            warnings.filterwarnings("ignore", message="Sinkhorn did not converge")
            _, log = ot.bregman.sinkhorn_log(
                w,
                self.b,
                self.C,
                self.eps,
                numItermax=SINKHORN_ITER,
                stopThr=SINKHORN_TOLERANCE,
                warmstart=self.warmstart,
                log=True,
            )
        self.warmstart = (log["log_u"], log["log_v"])
        return self.eps * log["log_u"], self.eps * log["log_v"]

    def __call__(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = weights_of(theta)
        f, g = self.inner(w)
        slope = f + self.rho * (np.log(w / self.p) + 1.0)
        value = float(w @ f + self.b @ g + self.rho * np.sum(xlogy(w, w / self.p)))
        return value, w * (slope - w @ slope)


def weights_of(theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """softmax(theta), away from zero, where log-domain Sinkhorn has no gradient."""
    w: NDArray[np.float64] = np.maximum(softmax(theta), 1e-100)
    return w


def solve(
    C: NDArray[np.float64],
    p: NDArray[np.float64],
    b: NDArray[np.float64],
    eps: float,
    rho: float,
) -> TransportResult:
    """Learn the weights of N samples by gradient steps.

    Parameters
    ----------
    C : ndarray of shape (N, M)
        Finite cost.
    p : ndarray of shape (N,)
        Prior, positive, of sum 1.
    b : ndarray of shape (M,)
        Mass of the meta samples, positive, of sum 1.
    eps, rho : float
        Regularisation of (1).

    Returns
    -------
    TransportResult
        ``n_iter`` counts the gradient steps.
    """
    objective = _Objective(C, p, b, eps, rho)
    # the gradient in theta scales with w ~ 1/N: L-BFGS sees N times the objective
    scale = float(len(p))

    def scaled(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(theta)
        return scale * value, scale * gradient

    found = minimize(
        scaled,
        np.log(p),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITER, "ftol": 1e-14, "gtol": 1e-7, "maxcor": 20},
    )
    w = weights_of(found.x)
    f, g = objective.inner(w)
    # at the optimum f + rho log(w / p) is constant; that constant belongs to g
    potentials = g + float(w @ (f + rho * np.log(w / p)))
    value = float(found.fun) / scale
    return TransportResult(w / w.sum(), potentials, int(found.nit), bool(found.success), value)
