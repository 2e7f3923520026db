"""Tiles of the kernel in the exact solver."""

import numpy as np
import pytest

from skotw._transport import exact
from skotw._transport.arrays import namespace
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import cosine_cost, unit_rows
from skotw._transport.problem import Problem

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
        result = exact.solve(cost, self.a, problem, Partition.of(self.counts, 8), compute)
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


def test_tiles_are_as_wide_as_memory_and_work_make_worthwhile():
    def width(n_rows, n_columns, n_features, compute=None):
        rows = np.zeros((1, n_features), dtype=np.float32)
        cost = cosine_cost(unit_rows(np.broadcast_to(rows, (n_rows, n_features)), Compute()), rows)
        return exact.tile_width(cost, n_columns, compute or Compute())

    assert width(1000, 500, 16) == 0  # as quick to evaluate twice
    assert width(1000, 100, 64) == 100
    assert width(1000, 200, 64) == 100  # in two halves, not 128 and 72
    most = exact.TILE_BYTES // 4
    assert width(most // 100, 1000, 64) == 100
    assert width(most // 50, 1000, 64) == 0  # so few columns fit that the rows would be read too often
    assert width(most // 50, 1000, 512) == 125  # dear enough to take more memory
    assert width(1000, 500, 512, Compute(cache_bytes=4 * 1000 * 50)) == 0  # unless there is none
