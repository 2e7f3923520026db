"""The exact solver: tiles of the kernel, and the formula that it must give."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from skotw._transport import exact, relaxed
from skotw._transport.arrays import namespace
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import InnerProductCost, cosine_cost, unit_rows
from skotw._transport.problem import Problem

pytestmark = pytest.mark.usefixtures("ways_to_sum")
NUMPY = namespace(np.empty(0))


class Solved:
    """One problem of three classes whose kernel takes more or less work, in different ways."""

    def __init__(self, dtype, n_features):
        rng = np.random.default_rng(0)
        self.counts, self.a = np.array([50, 30, 20]), rng.uniform(0.5, 2.0, 100)
        self.X = rng.standard_normal((100, n_features)).astype(dtype)
        self.Z = rng.standard_normal((24, n_features)).astype(dtype)

    def weights(self, rate=5.0, **limits):
        log_ratio = -np.log(3 * np.add.reduceat(self.a, [0, 50, 80]))
        problem = Problem(0.1, 0.0, rate, np.full(24, -np.log(24.0)), log_ratio, np.repeat([0, 1, 2], 8), 0.5)
        compute = Compute(2, **limits)
        cost = cosine_cost(unit_rows(self.X, compute), self.Z)
        self.width = exact.tile_width(cost, 24, compute)
        self.posed = cost, problem, Partition.of(self.counts, 8), compute
        result = exact.solve(cost, self.a, *self.posed[1:])
        return result.weights, result.potentials


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [5.0, 2000.0])  # at the latter bare kernels underflow
def test_tiles_of_any_width_and_none_give_the_same_weights(monkeypatch, dtype, rate):
    solved = Solved(dtype, 48)
    expected = solved.weights(rate, cache_bytes=0)
    assert solved.width == 0
    tolerance = 1e-12 if dtype == np.float64 else 1e-4 * max(1.0, rate / 100)
    for columns in (24, 10, 3):
        monkeypatch.setattr(exact, "TILE_COLUMNS", columns)
        monkeypatch.setattr(exact, "LEAST_COLUMNS", 1)
        weights, potentials = solved.weights(rate)
        assert 0 < solved.width <= columns
        np.testing.assert_allclose(weights, expected[0], rtol=tolerance)
        np.testing.assert_allclose(potentials, expected[1], rtol=tolerance)
    np.testing.assert_allclose(expected[0].sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize("n_features", [8, 48])  # of which the kernel is evaluated twice, and held
def test_rows_of_any_norm_weigh_by_their_directions(n_features):
    solved = Solved(np.float64, n_features)
    expected, potentials = solved.weights()
    solved.X *= np.random.default_rng(1).uniform(0.1, 10.0, (100, 1))
    np.testing.assert_allclose(solved.weights()[0], expected, rtol=1e-12)
    X, Z = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (solved.X, solved.Z))
    groups = np.repeat([0, 1, 2], solved.counts)
    p = solved.a / (3 * np.bincount(groups, solved.a)[groups])
    C = 5.0 * 0.1 * (1.0 - X @ Z.T) + 0.5 * (groups[:, None] != np.repeat([0, 1, 2], 8))  # rate times eps
    np.testing.assert_allclose(expected, dense(p, C, np.full(24, 1 / 24), 0.1)[0], rtol=1e-12)
    cost, problem, partition, compute = solved.posed
    density = relaxed.log_density(cost, problem, potentials, partition, compute)
    np.testing.assert_allclose(p * np.exp(density), expected, rtol=1e-12)


def test_tiles_are_as_wide_as_memory_and_work_make_worthwhile():
    def width(n_rows, n_columns, n_features, compute=None, met=None):
        rows = np.zeros((1, n_features), dtype=np.float32)
        cost = InnerProductCost(np.broadcast_to(rows, (n_rows, n_features)), rows)
        return exact.tile_width(cost, n_columns, compute or Compute(), met)

    assert width(1000, 500, 16) == 0  # as quick to evaluate twice
    assert width(1000, 100, 64) == 100
    assert width(1000, 400, 64) == 208  # in two halves, not 256 and 144, but for a multiple of 16
    most = exact.TILE_BYTES // 4
    assert width(most // 100, 1000, 64) == 100
    assert width(most // 50, 1000, 64) == 0  # so few columns fit that the rows would be read too often
    assert width(most // 50, 1000, 512) == 256  # dear enough to take more memory
    assert width(1000, 500, 512, Compute(cache_bytes=4 * 1000 * 50)) == 0  # unless there is none
    assert width(10**6, 50, 64) == 0
    assert width(10**6, 50, 64, met=1000) == 50  # of the few that meet these columns


def test_hard_mode_holds_the_kernel_of_one_class_at_a_time(monkeypatch):
    sizes = []
    monkeypatch.setattr(exact, "empty", lambda shape, X: (sizes.append(shape[0]), np.empty(shape, X.dtype))[1])
    monkeypatch.setattr(exact, "CHEAP", 0)
    problem, p, C, b = posed(np.random.default_rng(6).uniform(0.0, 1.0, 100), np.inf, 0.1)
    result, (w, g, _) = exact.solve(*problem), dense(p, C, b, 0.1)
    assert sizes == [50 * 4]  # rows and columns of the largest
    np.testing.assert_allclose(result.weights, w, rtol=1e-12)
    np.testing.assert_allclose(result.potentials, g, rtol=1e-12)


# ---- against the dense formula


def posed(d, label_cost, eps, dtype=np.float64, counts=(50, 30, 20), per_group=4, seed=1):
    """A problem whose costs d + 0 (rows, columns) are taken to one feature: arguments of solve, p, C and b."""
    rng = np.random.default_rng(seed)
    codes, columns = np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts)), per_group)
    a, b = rng.uniform(0.5, 2.0, len(codes)), rng.dirichlet(np.ones(len(columns)))
    mass = np.bincount(columns, weights=b)
    ratio = mass / np.bincount(codes, weights=a)
    problem = Problem(eps, 0.0, 1.0 / eps, np.log(b), np.log(ratio), columns, label_cost)
    rows, ones = (-d[:, None]).astype(dtype), np.ones((len(columns), 1), dtype)
    cost = InnerProductCost(rows, ones)
    C = -rows.astype(np.float64) + np.where(codes[:, None] == columns, 0.0, label_cost)
    return (cost, a, problem, Partition.of(counts, 8), Compute(2)), a * ratio[codes], C, b


def dense(p, C, b, eps):
    """Weights, potentials and objective by (2)."""
    with np.errstate(divide="ignore"):
        L = np.log(p)[:, None] - C / eps
    g = -eps * logsumexp(L, axis=0)
    return np.exp(L + g / eps) @ b, g, b @ g


@pytest.mark.parametrize("level", [-45, -38, -33, -26, -25, -24, -10, 0, 20, 29, 30, 31, 35, 37, 40])
@pytest.mark.parametrize("label_cost", [0.5, np.inf])
def test_kernels_at_the_ends_of_the_floating_range_lose_no_digits(level, label_cost):
    """Their sums are about 10^level, of rows that are e^12 and e^24 apart."""
    eps = 0.1
    d = eps * (np.tile([0.0, 0.1, 12.0, 24.0, 24.2], 20) - level * np.log(10.0))
    problem, p, C, b = posed(d, label_cost, eps, np.float32)
    result, (w, g, objective) = exact.solve(*problem), dense(p, C, b, eps)
    np.testing.assert_allclose(result.weights, w, rtol=2e-4)
    np.testing.assert_allclose(result.potentials, g, atol=2e-5)
    np.testing.assert_allclose(result.objective, objective, atol=2e-5)
    # of a stream as well, which knows of no label cost
    normalisers = exact.log_normalisers(*problem)
    np.testing.assert_allclose(problem[2].free_potentials(normalisers), g, atol=2e-5)


@pytest.mark.parametrize("least", [-30.0, -85.0, -110.0])
def test_a_class_of_next_to_no_mass_keeps_its_digits_in_float32(least):
    (cost, a, problem, partition, compute), p, C, b = posed(np.linspace(0.0, 1.0, 100), 0.5, 0.1, np.float32)
    shift = np.array([0.0, least, 0.0])
    problem = replace(problem, log_ratio=problem.log_ratio + shift, log_mass=problem.log_mass + np.repeat(shift, 4))
    p, b = p * np.exp(np.repeat(shift, [50, 30, 20])), b * np.exp(np.repeat(shift, 4))
    result, (w, g, _) = exact.solve(cost, a, problem, partition, compute), dense(p, C, b, 0.1)
    np.testing.assert_allclose(result.weights, w, rtol=1e-4, atol=1e-37)
    np.testing.assert_allclose(result.potentials, g, atol=2e-5)


@pytest.mark.parametrize("label_cost", [0.0, 0.5, 3.0, 1e3, np.inf])
@pytest.mark.parametrize("scale", [1.0, 1e4])  # at the latter bare kernels underflow, of a class as a whole too
def test_weights_potentials_and_objective_are_those_of_the_formula(label_cost, scale):
    rng = np.random.default_rng(2)
    d = scale * (rng.uniform(0.0, 1.0, 100) + np.repeat([0.0, 0.5, 0.0], [50, 30, 20]))
    problem, p, C, b = posed(d, label_cost, 0.1)
    result, (w, g, objective) = exact.solve(*problem), dense(p, C, b, 0.1)
    np.testing.assert_allclose(result.weights, w, rtol=1e-12 * scale, atol=1e-300)
    np.testing.assert_allclose(result.potentials, g, rtol=1e-12)
    np.testing.assert_allclose(result.objective, objective, rtol=1e-12)
    np.testing.assert_allclose(exact.free_potentials(*problem), g, rtol=1e-12)
    np.testing.assert_allclose(problem[2].free_potentials(exact.log_normalisers(*problem)), g, rtol=1e-12)


@pytest.mark.parametrize("label_cost", [0.5, np.inf])
def test_relaxed_objective_is_that_of_its_plan(label_cost):
    d = np.random.default_rng(3).uniform(0.0, 1.0, 100)
    (cost, a, problem, partition, compute), p, C, b = posed(d, label_cost, 0.1)
    problem = replace(problem, rho=0.3)
    result = relaxed.solve(cost, a, problem, partition, compute)
    T = relaxed.plan(cost, problem, result.potentials, np.log(p), partition, compute)
    np.testing.assert_allclose(T.sum(axis=1), result.weights, rtol=1e-8)
    np.testing.assert_allclose(T.sum(axis=0), b, rtol=1e-8)
    w, held = result.weights, T > 0
    divergence = np.sum(T[held] * np.log(T[held] / np.outer(p, b)[held]))
    value = np.sum(T[held] * C[held]) + problem.eps * divergence + problem.rho * np.sum(w * np.log(w / p))
    np.testing.assert_allclose(result.objective, value, rtol=1e-8)


# ---- many groups


@pytest.mark.parametrize("rows_per_block", [1, 8, 33, 4096])
@pytest.mark.parametrize("columns", [1000, 40, 7])
def test_blocks_and_tiles_may_end_anywhere_in_a_group(monkeypatch, rows_per_block, columns):
    monkeypatch.setattr(exact, "TILE_COLUMNS", columns)
    monkeypatch.setattr(exact, "LEAST_COLUMNS", 1)
    monkeypatch.setattr(exact, "CHEAP", 0)
    d = np.random.default_rng(4).uniform(0.0, 1.0, 190)
    counts = (0, *range(1, 20))  # a group without rows keeps its columns
    codes, groups = np.repeat(np.arange(20), counts), np.repeat(np.arange(20), 3)
    log_ratio = np.r_[-np.inf, -np.log(np.arange(1.0, 20.0))] - np.log(19)
    problem = Problem(0.1, 0.0, 10.0, np.full(60, -np.log(60)), log_ratio, groups, 0.2)
    cost = InnerProductCost(-d[:, None], np.ones((60, 1)))
    result = exact.solve(cost, np.ones(190), problem, Partition.of(counts, rows_per_block), Compute(2))
    C = d[:, None] + 0.2 * (codes[:, None] != groups)
    w, g, _ = dense(np.exp(log_ratio)[codes], C, np.full(60, 1 / 60), 0.1)
    np.testing.assert_allclose(result.weights, w, rtol=1e-11)
    np.testing.assert_allclose(result.potentials, g, rtol=1e-11)


@pytest.mark.parametrize("far", ["first", "second", "third"])
def test_one_tile_whose_kernel_underflows_leaves_the_others_as_they_are(monkeypatch, far):
    # its sums are taken anew, when rows have been given what the tile before it holds, and not twice
    monkeypatch.setattr(exact, "TILE_COLUMNS", 5)
    monkeypatch.setattr(exact, "LEAST_COLUMNS", 1)
    monkeypatch.setattr(exact, "CHEAP", 0)
    rows, columns = np.random.default_rng(6).uniform(0.5, 1.0, (70, 1)), np.ones((13, 1))
    tile = {"first": slice(0, 5), "second": slice(5, 10), "third": slice(10, 13)}[far]
    columns[tile] *= 1e3
    groups, column_group = np.repeat([0, 1], [40, 30]), np.repeat([0, 1], [7, 6])
    problem = Problem(0.1, 0.0, 10.0, np.full(13, -np.log(13)), -np.log([80.0, 60.0]), column_group, 0.2)
    redone, maxima = [], exact._Tile.maxima
    monkeypatch.setattr(exact._Tile, "maxima", lambda self: redone.append(self.columns) or maxima(self))
    result = exact.solve(InnerProductCost(-rows, columns), np.ones(70), problem, Partition.of([40, 30], 8), Compute(2))
    assert redone == [tile]
    C = rows @ columns.T + 0.2 * (groups[:, None] != column_group)
    w, g, _ = dense(np.array([1 / 80, 1 / 60])[groups], C, np.full(13, 1 / 13), 0.1)
    np.testing.assert_allclose(result.weights, w, rtol=1e-9)
    np.testing.assert_allclose(result.potentials, g, rtol=1e-11)


def test_a_solve_needs_no_table_of_groups_and_columns():
    n_groups, per_group = 400, 10
    X = np.random.default_rng(5).standard_normal((4000, 8)).astype(np.float32)
    columns = np.repeat(np.arange(n_groups), per_group)
    problem = Problem(0.1, 0.0, 5.0, np.full(4000, -np.log(4000)), np.full(n_groups, -np.log(4000)), columns, 0.5)
    compute = Compute(cache_bytes=2**20, block_bytes=2**18)
    cost = cosine_cost(unit_rows(X, compute), X)
    partition = Partition.of(np.full(n_groups, 10), 16)
    tracemalloc.start()
    exact.solve(cost, np.ones(4000), problem, partition, compute)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_groups * len(columns) * 8 / 4
