"""The relaxed marginal on small problems, whose plans and optimality are written out on dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp, xlogy

from skotw._transport import exact, relaxed
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.problem import Problem

COUNTS, OWNER = np.array([6, 4, 5]), np.array([0, 0, 1, 1, 1, 2])
SLICES = (slice(0, 2), slice(2, 5), slice(5, 6))
GROUPS = np.repeat(np.arange(3), COUNTS)
EPS = 0.1

pytestmark = pytest.mark.usefixtures("ways_to_sum")


class Dense:
    """A problem of three classes on dense matrices, and as the core takes it."""

    def __init__(self, rho=0.3, *, hard=False, dtype=np.float64, balanced=True):
        rng = np.random.default_rng(1)
        self.d = rng.uniform(0.0, 2.0, (15, 6)).astype(dtype)
        self.a = rng.uniform(0.5, 2.0, 15)
        self.b = rng.dirichlet(np.full(6, 5.0))
        mass = np.bincount(OWNER, self.b) if balanced else np.bincount(GROUPS, self.a) / self.a.sum()
        ratio = mass / np.bincount(GROUPS, self.a)
        self.problem = Problem(EPS, rho, 0.5 / EPS, np.log(self.b), np.log(ratio), OWNER, np.inf if hard else 0.4)
        self.p = self.a * ratio[GROUPS]
        self.C = 0.5 * self.d.astype(np.float64) + self.problem.label_costs()[GROUPS]
        self.cost = FunctionCost(self.d.shape, lambda i, j: self.d[i:j], self.d[:0, 0])
        self.partition = Partition.of(COUNTS, 4)

    def solve(self, **limits):
        return relaxed.solve(self.cost, self.a, self.problem, self.partition, Compute(1, **limits))

    def row_potentials(self, g):
        """f of (3)."""
        damping = self.problem.rho / (self.problem.rho + EPS)
        return -damping * EPS * logsumexp((g - self.C) / EPS, axis=1, b=self.b)

    def plan(self, g):
        return self.p[:, None] * self.b * np.exp((self.row_potentials(g)[:, None] + g - self.C) / EPS)

    def value(self, T):
        """The objective of (1); its masses are those of the problem, and KL is that of measures."""
        cost = np.where(T > 0, self.C, 0.0)
        entropy = xlogy(T, T / (self.p[:, None] * self.b)).sum() - T.sum() + self.p.sum() * self.b.sum()
        w = T.sum(axis=1)
        return (
            (T * cost).sum() + EPS * entropy + self.problem.rho * (xlogy(w, w / self.p).sum() - w.sum() + self.p.sum())
        )


settings = pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
strengths = pytest.mark.parametrize("rho", [0.01, 0.3, 30.0])


@strengths
@settings
def test_solution_meets_the_columns_and_is_a_fixed_point(rho, hard):
    dense = Dense(rho, hard=hard)
    result = dense.solve()
    assert result.converged
    T = dense.plan(result.potentials)
    np.testing.assert_allclose(T.sum(axis=0), dense.b, rtol=1e-9)
    np.testing.assert_allclose(result.weights, T.sum(axis=1), rtol=1e-9)
    # w = p exp(-f / rho)
    f = dense.row_potentials(result.potentials)
    np.testing.assert_allclose(result.weights, dense.p * np.exp(-f / rho), rtol=1e-9)
    assert result.objective == pytest.approx(dense.b @ result.potentials, rel=1e-12)


@settings
def test_objective_is_that_of_the_plan_and_no_other_plan_is_better(hard):
    dense = Dense(hard=hard)
    result = dense.solve()
    T = dense.plan(result.potentials)
    assert result.objective == pytest.approx(dense.value(T), rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(10):
        other = T * rng.uniform(0.9, 1.1, T.shape)
        assert dense.value(other * dense.b / other.sum(axis=0)) > result.objective


@settings
def test_strong_prior_leaves_the_prior_and_a_weak_one_the_free_solution(hard):
    strong = Dense(1e5, hard=hard)
    np.testing.assert_allclose(strong.solve().weights, strong.p, rtol=1e-4)
    weak = Dense(1e-9, hard=hard)
    free = exact.solve(weak.cost, weak.a, replace(weak.problem, rho=0.0), weak.partition, Compute())
    np.testing.assert_allclose(weak.solve().weights, free.weights, rtol=1e-6)


@settings
def test_translation_keeps_the_count_of_iterations_small(hard):
    """Without it the count grows with rho / eps."""
    assert Dense(100.0, hard=hard).solve().n_iter < 150
    strongest = Dense(1e6, hard=hard).solve()  # rounding is magnified as well, and ends no later
    assert strongest.converged
    assert strongest.n_iter < 150


@settings
def test_totals_are_exact_whatever_the_tolerance_left(hard):
    dense = Dense(100.0, hard=hard)
    weights = dense.solve().weights
    if hard:
        np.testing.assert_allclose(np.bincount(GROUPS, weights), np.bincount(OWNER, dense.b), rtol=1e-14)
    assert weights.sum() == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_costs_that_are_held_and_those_that_are_evaluated_again_are_the_same(dtype):
    dense = Dense(dtype=dtype)
    row = 6 * np.dtype(dtype).itemsize
    results = [dense.solve(cache_bytes=n_rows * row).weights for n_rows in (0, 5, 14, 15, 1000)]
    for weights in results[1:]:
        np.testing.assert_array_equal(weights, results[0])


@pytest.mark.parametrize(("n_rows", "held"), [(0, []), (4, [0]), (11, [0, 4]), (14, [0, 4, 8]), (15, ...)])
def test_costs_are_held_as_far_as_memory_goes_and_evaluated_once(n_rows, held):
    dense = Dense()
    starts = [block.start for block in dense.problem.blocks(dense.partition).blocks]
    calls = []

    def counted(start, stop):
        calls.append(start)
        return dense.d[start:stop]

    dense.cost = FunctionCost(dense.d.shape, counted, dense.d[:0, 0])
    n_iter = dense.solve(cache_bytes=n_rows * 6 * 8).n_iter
    # once for the start, once or each time for the iterations, once for what the tolerance left
    held = starts if held is ... else held
    expected = [start for start in starts for _ in range(3 if start in held else n_iter + 2)]
    assert sorted(calls) == expected


def test_single_precision_reaches_the_solution():
    single, double = Dense(dtype=np.float32).solve(), Dense().solve()
    assert single.converged
    assert single.n_iter < double.n_iter
    np.testing.assert_allclose(single.weights, double.weights, rtol=1e-4)


@settings
@pytest.mark.parametrize("most", [1, 2])
def test_iterations_that_run_out_are_told_and_leave_potentials_that_give_the_weights(monkeypatch, most, hard):
    monkeypatch.setattr(relaxed, "MAX_ITER", most)
    dense = Dense(hard=hard)
    result = dense.solve()
    assert not result.converged
    assert result.n_iter == most
    assert result.weights.sum() == pytest.approx(1.0, rel=1e-14)
    log_density = relaxed.log_density(dense.cost, dense.problem, result.potentials, dense.partition, Compute())
    np.testing.assert_allclose(dense.p * np.exp(log_density), result.weights, rtol=1e-12)


@settings
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_density_and_plan_of_any_potentials(rho, hard):
    dense = Dense(rho, hard=hard)
    g = np.random.default_rng(2).uniform(-0.5, 0.5, 6)
    arguments = dense.cost, dense.problem, g
    log_density = relaxed.log_density(*arguments, dense.partition, Compute())
    log_ratio = logsumexp((g - dense.C) / EPS, axis=1, b=dense.b)
    np.testing.assert_allclose(log_density, log_ratio * EPS / (rho + EPS), rtol=1e-12)
    T = relaxed.plan(*arguments, np.log(dense.p), dense.partition, Compute())
    np.testing.assert_allclose(T, dense.plan(g), rtol=1e-12)
    np.testing.assert_allclose(T.sum(axis=1), dense.p * np.exp(log_density), rtol=1e-12)


def test_far_rows_keep_their_share_when_bare_kernels_underflow():
    """exp(-2 rate) is 0 in single precision here, and the shares in p still add up."""
    dense = Dense(0.3, dtype=np.float32)
    dense.problem = replace(dense.problem, rate=5.0 / EPS)
    dense.C = 5.0 * dense.d.astype(np.float64) + dense.problem.label_costs()[GROUPS]
    result = dense.solve()
    T = dense.plan(result.potentials)
    np.testing.assert_allclose(T.sum(axis=0), dense.b, rtol=1e-3)
    np.testing.assert_allclose(result.weights, T.sum(axis=1), rtol=1e-3)


@pytest.mark.parametrize("shape", ["plain", "far rows", "far columns", "near rows"])
@settings
def test_densities_by_one_product_lose_nothing_that_counts(monkeypatch, shape, hard):
    """Where a float32 kernel under- or overflows, or factors of columns do, logarithms step in."""
    dense = Dense(0.0, hard=hard, dtype=np.float32)
    g = np.random.default_rng(2).uniform(-0.5, 0.5, 6)
    if shape == "far rows":
        dense.d[3:7] += 40.0
    elif shape == "near rows":
        dense.d[3:7] -= 40.0
    elif shape == "far columns":
        g[::2] -= 20.0
    slow, by_logarithms = [], relaxed._Rows.logsumexp
    monkeypatch.setattr(relaxed._Rows, "logsumexp", lambda *args: slow.append(args) or by_logarithms(*args))
    found = relaxed.log_density(dense.cost, dense.problem, g, dense.partition, Compute())
    C = 0.5 * dense.d.astype(np.float64) + dense.problem.label_costs()[GROUPS]
    np.testing.assert_allclose(found, logsumexp((g - C) / EPS, axis=1, b=dense.b), rtol=1e-5, atol=1e-5)
    assert bool(slow) == (shape != "plain")


def test_density_of_float32_costs_keeps_its_digits_far_from_one():
    # two columns of one mass and powers of two as kernels: sums of them are exact in float32
    bits = np.array([[40.0, 41.0], [3.0, 4.0], [70.0, 69.0]], dtype=np.float32)
    cost = FunctionCost(bits.shape, lambda i, j: bits[i:j], bits[:0, 0])
    problem = Problem(1.0, 0.0, np.log(2.0), np.log([0.5, 0.5]), np.zeros(1), np.zeros(2, dtype=np.intp), 0.0)
    found = relaxed.log_density(cost, problem, np.zeros(2), Partition.of([3], 3), Compute())
    expected = np.log(0.75) - np.log(2.0) * bits.min(axis=1).astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
