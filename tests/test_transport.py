"""The numerical core by itself: blocks on threads, tiles of the kernel, standardised columns."""

import threading

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from skotw._transport import exact
from skotw._transport._arrays import namespace, to_numpy
from skotw._transport._blocks import Compute, Partition, for_blocks, sum_blocks
from skotw._transport._cost import cosine_cost, unit_rows
from skotw._transport._problem import Problem
from skotw._transport.reliability import kernel_histograms
from skotw._transport.standardise import Standardise

NUMPY = namespace(np.empty(0))

# ---- blocks


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_blocks_are_all_run_once_and_consumed_in_order(n_threads):
    partition = Partition.of([7, 0, 25, 1], 3)
    run, consumed = [], []
    for_blocks(
        lambda block, work: (run.append(block), block.start)[1],
        partition,
        Compute(n_threads),
        NUMPY,
        lambda block, start: consumed.append((block, start)),
    )
    assert [block for block, _ in consumed] == list(partition.blocks)
    assert all(block.start == start for block, start in consumed)
    assert sorted(run, key=lambda block: block.start) == list(partition.blocks)


def test_sums_are_the_same_to_the_bit_for_any_number_of_threads():
    values = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32)
    partition = Partition.of([400, 600], 7)

    def total(n_threads):
        return sum_blocks(
            lambda block, work: values[block.rows].sum(axis=0), partition, Compute(n_threads), NUMPY, np.zeros((2, 3))
        )

    for n_threads in (2, 3, 8):
        np.testing.assert_array_equal(total(n_threads), total(1))
    np.testing.assert_allclose(total(1), [values[:400].sum(axis=0), values[400:].sum(axis=0)], rtol=1e-4)


def test_threads_have_scratch_memory_of_their_own():
    owners = {}
    together = threading.Barrier(2, timeout=10)

    def function(block, work):
        if not work:
            together.wait()  # both threads are at work
            work["owner"] = threading.get_ident()
        owners[block.start] = (work["owner"], threading.get_ident())

    for_blocks(function, Partition.of([40], 4), Compute(2), NUMPY)
    assert len({owner for owner, _ in owners.values()}) == 2
    assert all(owner == thread for owner, thread in owners.values())


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_in_a_block_comes_out_and_ends_the_work(n_threads):
    started = []

    def function(block, work):
        started.append(block.start)
        if block.start >= 8:
            raise ZeroDivisionError(f"row {block.start}")

    with pytest.raises(ZeroDivisionError, match="row"):
        for_blocks(function, Partition.of([4000], 4), Compute(n_threads), NUMPY)
    assert len(started) < 1000


def test_floating_point_errors_are_treated_as_where_the_work_was_asked_for():
    def overflow(block, work):
        return np.float32(3e38) * np.ones(1, np.float32) * 10

    partition = Partition.of([64], 4)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        for_blocks(overflow, partition, Compute(2), NUMPY)
    with np.errstate(over="ignore"):
        for_blocks(overflow, partition, Compute(2), NUMPY)  # a warning would be an error


# ---- tiles


class Solved:
    """One problem of three classes whose kernel takes more or less work, in different ways."""

    def __init__(self, dtype, n_features):
        rng = np.random.default_rng(0)
        self.counts, self.a = np.array([50, 30, 20]), rng.uniform(0.5, 2.0, 100)
        self.X = rng.standard_normal((100, n_features)).astype(dtype)
        self.Z = rng.standard_normal((24, n_features)).astype(dtype)

    def weights(self, rate=5.0, **limits):
        label_cost = 0.5 * (np.arange(3)[:, None] != np.repeat(np.arange(3), 8))
        log_ratio = -np.log(3 * np.add.reduceat(self.a, [0, 50, 80]))
        problem = Problem(0.1, 0.0, rate, np.full(24, -np.log(24.0)), log_ratio, label_cost)
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


# ---- standardised columns


def columns(dtype):
    """Rows with columns of all sorts: far from zero, tiny, constant, an indicator."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 6)) * [1.0, 5.0, 1e-6, 0.0, 1.0, 0.0] + [0.0, 200.0, 0.0, 0.1, 0.0, -3.0]
    X[:, 4] = X[:, 4] > 1
    weight = rng.uniform(0.1, 3.0, 300).astype(np.float32)  # which StandardScaler makes of weights for such rows
    return X.astype(dtype), weight.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block_bytes", [2**7, 2**21])
def test_standardised_as_by_scikit_learn(dtype, weighted, block_bytes):
    X, weight = columns(dtype)
    weight = weight if weighted else None
    compute = Compute(2, block_bytes=block_bytes)
    ours = Standardise.fit(X, weight, compute)
    theirs = StandardScaler().fit(X, sample_weight=weight)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-10)
    np.testing.assert_array_equal(ours.scale[[3, 5]], 1.0)
    Z = ours.transform(X, compute)
    assert Z.dtype == dtype
    np.testing.assert_allclose(Z, theirs.transform(X), atol=1e-9 if dtype == np.float64 else 1e-5)


def test_standardised_in_parts_that_other_processes_have():
    X, weight = columns(np.float64)
    whole = Standardise.fit(X, weight, Compute())
    parts = [(X[:100], weight[:100]), (X[100:], weight[100:])]
    # each moment of this part plus that of the other, which a second process would send
    mass = parts[1][1].sum()
    sums = parts[1][1] @ parts[1][0]
    squares = parts[1][1] @ (parts[1][0] - whole.mean) ** 2
    others = iter([mass, sums, squares])
    shared = Standardise.fit(*parts[0], Compute(), lambda values: values + next(others))
    np.testing.assert_allclose(shared.mean, whole.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(shared.scale, whole.scale, rtol=1e-12)


# ---- another array library


def test_standardised_and_binned_the_same_on_tensors():
    torch = pytest.importorskip("torch")
    X, weight = columns(np.float64)
    arrays, tensors = Standardise.fit(X, weight, Compute()), Standardise.fit(torch.from_numpy(X), weight, Compute())
    np.testing.assert_allclose(tensors.mean, arrays.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(tensors.scale, arrays.scale, rtol=1e-12)
    Z = arrays.transform(X, Compute())
    np.testing.assert_allclose(to_numpy(tensors.transform(torch.from_numpy(X), Compute())), Z, rtol=1e-12, atol=1e-12)
    partition = Partition.of([120, 180], 50)
    ours, theirs = (
        kernel_histograms(cosine_cost(unit_rows(rows, Compute()), rows[:7]), weight, 0.8, partition, Compute())
        for rows in (Z, torch.from_numpy(Z))
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-9)
