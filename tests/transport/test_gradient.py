"""The paper's route: gradient steps through Sinkhorn."""

import numpy as np
import ot
import pytest

from skotw import OTSampleWeighter
from skotw._transport import exact, gradient, relaxed
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.problem import Problem

COUNTS = np.array([40, 25, 15])


def posed(eps, rho):
    """Arguments of a solver: three classes, costs that tell them apart a little, weighted rows."""
    rng = np.random.default_rng(0)
    n, columns = COUNTS.sum(), np.repeat([0, 1, 2], [4, 3, 5])
    D, a = rng.uniform(0.0, 2.0, (n, 12)), rng.uniform(0.5, 2.0, n)
    edges = np.r_[0, np.cumsum(COUNTS)[:-1]]
    log_ratio = -np.log(3 * np.add.reduceat(a, edges))
    problem = Problem(eps, rho, 0.5 / eps, np.full(12, -np.log(12.0)), log_ratio, columns, 0.5)
    cost = FunctionCost(D.shape, lambda i, j: D[i:j], np.empty(0))
    return cost, a, problem, Partition.of(COUNTS, 7), Compute(2)


@pytest.mark.parametrize(
    ("eps", "rho", "rtol"), [(0.3, 0.0, 1e-9), (0.02, 0.0, 1e-9), (0.1, 0.1, 1e-6), (0.1, 5.0, 1e-5)]
)
def test_gradient_steps_end_where_the_other_solvers_do(eps, rho, rtol):
    problem = posed(eps, rho)
    learned, expected = gradient.solve(*problem), (relaxed if rho else exact).solve(*problem)
    assert learned.converged
    np.testing.assert_allclose(learned.weights, expected.weights, rtol=rtol)
    np.testing.assert_allclose(learned.potentials, expected.potentials, atol=rtol)
    np.testing.assert_allclose(learned.objective, expected.objective, rtol=1e-9)


def test_objective_is_that_of_the_plan_between_the_learned_weights_and_the_trusted_mass():
    cost, a, problem, partition, compute = posed(0.1, 0.3)
    result = gradient.solve(cost, a, problem, partition, compute)
    p = a * np.exp(problem.log_ratio)[partition.codes]
    p, b, w = p / p.sum(), np.exp(problem.log_mass), result.weights
    C = gradient.dense_cost(cost, problem, partition, compute)
    # at marginals w and b, KL(T | p x b) is that from w x b and KL(w | p)
    T = ot.sinkhorn(w, b, C, problem.eps, method="sinkhorn_log", stopThr=1e-12, numItermax=10_000)
    divergence = np.sum(T * np.log(T / np.outer(p, b)))
    value = np.sum(T * C) + problem.eps * divergence + problem.rho * np.sum(w * np.log(w / p))
    np.testing.assert_allclose(result.objective, value, rtol=1e-8)


def test_progress_is_reported_and_shrinks():
    told = []
    result = gradient.solve(*posed(0.1, 0.5), lambda *progress: told.append(progress))
    steps, objectives, changes = map(np.array, zip(*told, strict=True))
    np.testing.assert_array_equal(steps, np.arange(1, result.n_iter + 1))
    assert np.all(np.diff(changes) < 0)
    np.testing.assert_allclose(objectives[-1], result.objective, rtol=1e-9)


def test_too_few_steps_are_no_convergence(monkeypatch):
    monkeypatch.setattr(gradient, "MAX_ITER", 2)
    assert not gradient.solve(*posed(0.1, 5.0)).converged


def test_verbose_prints_the_steps(capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 2
    OTSampleWeighter(reg=0.1, reg_prior=0.1, solver="gradient", verbose=1).fit(X[6:], y[6:], X[:6], y[:6])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [f"[gradient] step {k}" for k in (1, 2, 3)]
    assert len(lines) < 40
