"""Rows in float16: the weights of float64, whatever fits into memory."""

import importlib.util
import os
from dataclasses import replace

import numpy as np
import pytest

from skotw._transport import device_memory, exact, half_precision, relaxed
from skotw._transport.arrays import to_numpy
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import EuclideanCost, cosine_cost, squared_euclidean_cost, squared_rows, unit_rows
from skotw._transport.problem import Problem

torch = pytest.importorskip("torch")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None


class Posed:
    """Rows of a few classes, columns of each, and the problem between them."""

    def __init__(self, metric="cosine", reg=0.1, label_cost=0.5, sizes=(300, 90, 60), d=512, per_group=12, seed=0):
        rng = np.random.default_rng(seed)
        self.metric, self.sizes = metric, np.array(sizes)
        codes, group = (np.repeat(np.arange(len(sizes)), n) for n in (sizes, per_group))
        centres = rng.standard_normal((len(sizes), d))
        self.X = (rng.standard_normal((len(codes), d)) + centres[codes]).astype(np.float32)
        self.Z = (rng.standard_normal((len(group), d)) + centres[group]).astype(np.float32)
        self.a, b = rng.uniform(0.1, 3.0, len(codes)), rng.dirichlet(np.full(len(group), 3.0))
        ratio = np.bincount(group, weights=b) / np.bincount(codes, weights=self.a)
        unit = 1.0 if metric == "cosine" else 2.0 * d
        self.problem = Problem(reg, 0.0, 0.5 / unit / reg, np.log(b), np.log(ratio), group, label_cost)
        self.partition = Partition.of(sizes, 64)

    def cost(self, dtype=np.float32, device="cpu"):
        X, Z = self.X.astype(dtype), self.Z.astype(dtype)
        if device is not None:
            X, Z = (torch.as_tensor(rows, device=device) for rows in (X, Z))
        if self.metric == "cosine":
            return cosine_cost(unit_rows(X, Compute()), Z)
        center = Z.mean(0)
        return squared_euclidean_cost(squared_rows(X, Compute(), center), Z, center)

    def exact(self):
        """In float64."""
        return exact.solve(self.cost(np.float64, None), self.a, self.problem, self.partition, Compute())

    def half(self, backend=None, device="cpu", **options):
        return half_precision.solve(self.cost(device=device), self.a, self.problem, self.partition, backend, **options)


def assert_equal(result, expected, rtol=1e-3):
    weights = to_numpy(result.weights).astype(np.float64)
    np.testing.assert_allclose(weights, expected.weights, rtol=rtol)
    assert np.median(np.abs(weights / expected.weights - 1.0)) < 3e-4
    np.testing.assert_allclose(result.potentials, expected.potentials, atol=1e-4)
    np.testing.assert_allclose(result.objective, expected.objective, atol=1e-5)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-5)


def out_of_memory():
    return torch.cuda.OutOfMemoryError("CUDA out of memory.")


# ---- the weights of float64


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize("label_cost", [0.0, 0.5, np.inf])
@pytest.mark.parametrize("reg", [0.05, 0.1, 0.4])
def test_equals_float64(metric, label_cost, reg):
    posed = Posed(metric, reg, label_cost, d=512 if reg > 0.05 else 2048)
    assert_equal(posed.half(), posed.exact())


def test_one_group_needs_no_labels():
    posed = Posed(sizes=(300,))
    assert_equal(posed.half(), posed.exact())


def test_groups_without_rows_or_columns():
    posed = Posed(sizes=(300, 90, 60))
    rows, columns = np.r_[0:300, 390:450], np.r_[0:24]
    posed.X, posed.a, posed.Z = posed.X[rows], posed.a[rows], posed.Z[columns]
    log_mass = posed.problem.log_mass[columns]
    log_mass = log_mass - np.log(np.exp(log_mass).sum())
    log_ratio = np.array([posed.problem.log_ratio[0], -np.inf, posed.problem.log_ratio[2]])
    group = posed.problem.column_group[columns]
    posed.problem = replace(posed.problem, log_mass=log_mass, log_ratio=log_ratio, column_group=group)
    posed.partition = Partition.of([300, 0, 60], 64)
    assert_equal(posed.half(), posed.exact())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_unit_of_the_features_does_not_matter(scale):
    posed = Posed("sqeuclidean")
    expected = posed.exact()
    posed.X, posed.Z = posed.X * np.float32(scale), posed.Z * np.float32(scale)
    posed.problem = replace(posed.problem, rate=posed.problem.rate / scale**2)
    result = posed.half()
    weights = to_numpy(result.weights)
    np.testing.assert_allclose(weights, expected.weights, rtol=1e-3)


def test_a_class_of_next_to_no_weight_keeps_its_digits():
    posed = Posed()
    posed.a = posed.a * np.repeat([1.0, 1e-6, 1e-9], posed.sizes)
    assert_equal(posed.half(), posed.exact())


@pytest.mark.parametrize("label_cost", [0.5, np.inf])
def test_rows_far_from_all_columns_are_weighed_in_float32(monkeypatch, label_cost):
    monkeypatch.setattr(half_precision, "TOLERANCE", 1.0)
    posed = Posed(reg=0.015, label_cost=label_cost)
    posed.X[7] = -posed.Z.sum(0)  # nothing of its kernel is in the range of float16
    expected, found = posed.exact(), to_numpy(posed.half().weights)
    assert expected.weights[7] < 1e-8 * expected.weights.max()
    np.testing.assert_allclose(found[7], expected.weights[7], rtol=1e-3)
    np.testing.assert_allclose(found, expected.weights, rtol=1e-2)


# ---- memory


class Counted(half_precision.Plain):
    """What a solve asks of its backend."""

    def __init__(self):
        super().__init__()
        self.evaluated = self.converted = 0
        self.widths = []

    def write(self, X, scale, factor, out):
        self.converted += X.shape[0]
        super().write(X, scale, factor, out)

    def prepare(self, n_rows, width, kept, device):
        self.widths.append(width if kept else 0)
        super().prepare(n_rows, width, kept, device)

    def _evaluate(self, A, tile, E):
        self.evaluated += A.shape[0] * tile.factors.shape[0]
        return super()._evaluate(A, tile, E)


N_ENTRIES, N_SAMPLED = 450 * 36, 450  # the sample of these is all rows


def test_a_kernel_that_is_kept_is_evaluated_once():
    posed, counted = Posed(), Counted()
    assert_equal(posed.half(counted), posed.exact())
    assert counted.evaluated == N_ENTRIES
    assert counted.converted == 450 + N_SAMPLED
    assert counted.widths == [40]  # of which 36 are columns


@pytest.mark.parametrize("memory", [None, 150_000])
def test_without_it_every_entry_is_evaluated_twice(memory):
    posed, counted = Posed(), Counted()
    assert_equal(posed.half(counted, keep=False, memory=memory), posed.exact())
    assert counted.evaluated == 2 * N_ENTRIES
    assert counted.converted == (450 if memory is None else 2 * 450) + N_SAMPLED
    assert counted.widths == [0]


def test_too_little_memory_for_tiles_has_every_entry_evaluated_twice():
    posed, counted = Posed(), Counted()
    assert_equal(posed.half(counted, memory=70_000), posed.exact())
    assert counted.evaluated == 2 * N_ENTRIES


@pytest.mark.parametrize(("memory", "shared"), [(115_000, False), (212_000, True)])
def test_tiles_of_the_kernel(monkeypatch, memory, shared):
    monkeypatch.setattr(half_precision, "KEPT_COLUMNS", 8)
    monkeypatch.setattr(half_precision, "BLOCK_BYTES", 2**14)
    monkeypatch.setattr(half_precision, "TOLERANCE", 1.0)
    posed, counted = Posed(d=50, per_group=100), Counted()
    # each tile has a shift of its own
    expected = to_numpy(posed.half().weights)
    np.testing.assert_allclose(to_numpy(posed.half(counted, memory=memory).weights), expected, rtol=5e-4)
    n_tiles = len(counted.widths)
    assert n_tiles > 1
    assert 0 < max(counted.widths) < 300
    assert counted.evaluated == 450 * 300
    assert counted.converted == (450 if shared else n_tiles * 450) + N_SAMPLED
    # what is taken of memory is within what was given
    kernel, rows, columns = 2 * 450 * max(counted.widths), 2 * 64 * 450 * shared, 2 * 64 * 300
    assert kernel + rows + columns < memory


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8, 13])
def test_memory_that_ends_at_any_product_changes_nothing(monkeypatch, at):
    posed = Posed()
    monkeypatch.setattr(half_precision, "BLOCK_BYTES", 2**16)
    expected = posed.half()
    product, calls = half_precision.product, []

    def failing(*args):
        calls.append(None)
        if len(calls) == at:
            raise out_of_memory()
        return product(*args)

    monkeypatch.setattr(half_precision, "product", failing)
    result = posed.half()
    assert len(calls) > at
    np.testing.assert_allclose(to_numpy(result.weights), to_numpy(expected.weights), rtol=3e-4)
    np.testing.assert_allclose(to_numpy(result.weights).sum(), 1.0, rtol=1e-5)


def test_memory_for_blocks_of_some_size_only(monkeypatch):
    posed = Posed()
    expected, product = posed.half(), half_precision.product
    sizes = []

    def limited(A, B, out=None):
        sizes.append(A.shape[0])
        if B.shape[0] == 36 and A.shape[0] != 450 and A.shape[0] > 40:
            raise out_of_memory()
        return product(A, B, out)

    monkeypatch.setattr(half_precision, "SAMPLE", 3)
    monkeypatch.setattr(half_precision, "BLOCK_BYTES", 2**17)
    monkeypatch.setattr(half_precision, "free_bytes", lambda X: 2**20)
    monkeypatch.setattr(half_precision, "product", limited)
    np.testing.assert_allclose(to_numpy(posed.half().weights), to_numpy(expected.weights), rtol=6e-4)
    assert max(sizes) > 40 >= sizes[-1]


def test_no_memory_for_one_row_says_what_to_do(monkeypatch):
    monkeypatch.setattr(half_precision, "free_bytes", lambda X: 1000)
    with pytest.raises(MemoryError, match="chunks to partial_fit"):
        Posed().half()


def test_other_errors_are_not_taken_for_memory(monkeypatch):
    def broken(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(half_precision, "product", broken)
    with pytest.raises(RuntimeError, match="something else"):
        Posed().half()


@pytest.mark.parametrize("solver", ["solve", "free_potentials", "log_normalisers", "relaxed"])
@pytest.mark.parametrize("at", [1, 4])
def test_memory_that_ends_in_float32_changes_nothing(monkeypatch, solver, at):
    posed = Posed()
    problem = replace(posed.problem, rho=0.5) if solver == "relaxed" else posed.problem
    function = relaxed.solve if solver == "relaxed" else getattr(exact, solver)

    def found():
        result = function(posed.cost(), posed.a, problem, posed.partition, Compute())
        return to_numpy(result.weights) if hasattr(result, "weights") else result

    expected, calls = found(), []
    kernel = type(posed.cost().kernel(1.0))
    block = kernel.block

    def failing(*args, **kwargs):
        calls.append(None)
        if len(calls) == at:
            raise out_of_memory()
        return block(*args, **kwargs)

    monkeypatch.setattr(kernel, "block", failing)
    np.testing.assert_allclose(found(), expected, rtol=1e-4)
    assert len(calls) > at


def test_no_memory_for_one_row_in_float32(monkeypatch):
    posed = Posed()

    def failing(*args, **kwargs):
        raise out_of_memory()

    monkeypatch.setattr(type(posed.cost().kernel(1.0)), "block", failing)
    with pytest.raises(MemoryError, match=r"X\.cpu\(\)"):
        exact.solve(posed.cost(), posed.a, posed.problem, posed.partition, Compute())


def test_libraries_name_their_errors_alike():
    class OutOfMemoryError(Exception):
        """As CuPy calls it."""

    assert device_memory.is_out_of_memory(out_of_memory())
    assert device_memory.is_out_of_memory(OutOfMemoryError())
    assert not device_memory.is_out_of_memory(MemoryError())


# ---- where float16 does not do


def test_few_features_or_a_small_reg_are_left_to_float32():
    assert Posed(reg=0.002).half() is None
    assert Posed(d=4).half() is None


def test_numbers_that_leave_float16_are_left_to_float32(monkeypatch):
    posed = Posed()
    monkeypatch.setattr(half_precision, "MARGINS", (-20.0,))
    assert posed.half() is None
    monkeypatch.setattr(half_precision, "MARGINS", (-20.0, 6.0))
    assert_equal(posed.half(), posed.exact())
    posed.a[0] = 1e-30
    assert posed.half() is None


def test_the_prior_by_torch_is_that_by_numpy(monkeypatch):
    posed = Posed()

    def found():
        return exact.solve(posed.cost(np.float64), posed.a, posed.problem, posed.partition, Compute())

    expected = found()
    used = []
    monkeypatch.setattr(exact, "on_cuda", lambda X: used.append(X) or True)
    np.testing.assert_allclose(to_numpy(found().weights), to_numpy(expected.weights), rtol=1e-12)
    assert used


def test_only_large_float32_products_on_a_gpu_go_this_way(monkeypatch):
    posed = Posed()
    cost = posed.cost()
    assert not half_precision.suits(cost, posed.problem, posed.partition)
    monkeypatch.setattr(half_precision, "DEVICES", ("cpu",))
    monkeypatch.setattr(half_precision, "LEAST_ENTRIES", 450 * 36)
    assert half_precision.suits(cost, posed.problem, posed.partition)
    assert not half_precision.suits(cost, replace(posed.problem, label_cost=np.inf), posed.partition)
    for other in (posed.cost(np.float64), posed.cost(device=None), Posed(d=16).cost(), EuclideanCost(cost)):
        assert not half_precision.suits(other, posed.problem, posed.partition)
    # and the solver takes it
    solved = exact.solve(cost, posed.a, posed.problem, posed.partition, Compute())
    np.testing.assert_array_equal(to_numpy(solved.weights), to_numpy(posed.half().weights))
    monkeypatch.setattr(half_precision, "TOLERANCE", 0.0)
    solved = exact.solve(cost, posed.a, posed.problem, posed.partition, Compute())
    np.testing.assert_allclose(to_numpy(solved.weights), posed.exact().weights, rtol=1e-5)


# ---- Triton


@pytest.mark.skipif(not INTERPRETED, reason="needs Triton and TRITON_INTERPRET=1")
@pytest.mark.parametrize("label_cost", [0.0, 0.5, np.inf])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize(("keep", "parts"), [(True, 2), (False, 2), (False, 1), (True, 4)])
def test_fused_kernels_equal_plain_torch(monkeypatch, metric, label_cost, keep, parts):
    from skotw._transport.fused_kernels import Fused

    posed = Posed(metric, label_cost=label_cost, sizes=(70, 40, 30), d=300, per_group=7)
    monkeypatch.setattr(half_precision, "BLOCK_BYTES", 2**16)
    monkeypatch.setattr(half_precision, "TOLERANCE", 1.0)
    fused = Fused((32, max(16, 8 * parts), 64), flatten=False, parts=parts, n_programs=3)
    plain, fused = posed.half(), posed.half(fused, keep=keep)
    np.testing.assert_allclose(to_numpy(fused.weights), to_numpy(plain.weights), rtol=3e-4)
    np.testing.assert_allclose(fused.potentials, plain.potentials, atol=1e-5)


# ---- on a GPU


@pytest.fixture(scope="module")
def large():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    posed = Posed(sizes=(20_000, 8_000, 2_003), d=1000, per_group=333)
    return posed, posed.exact()


@pytest.mark.cuda
@pytest.mark.parametrize("backend", ["plain", "fused"])
@pytest.mark.parametrize("keep", [True, False])
def test_cuda_equals_float64(monkeypatch, large, backend, keep):
    posed, expected = large
    monkeypatch.setattr(half_precision, "BLOCK_BYTES", 2**24)
    if backend == "fused":
        pytest.importorskip("triton")
        from skotw._transport.fused_kernels import Fused

        backend = Fused()
    else:
        backend = half_precision.Plain()
    result = posed.half(backend, "cuda", keep=keep)
    assert result.weights.device.type == "cuda"
    assert_equal(result, expected)


@pytest.mark.cuda
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize("label_cost", [0.0, np.inf])
def test_cuda_by_the_solver_itself(large, metric, label_cost):
    posed = Posed(metric, label_cost=label_cost, sizes=(9_000, 6_000, 3_001), d=1000, per_group=1000)
    expected = posed.exact()
    cost = posed.cost(device="cuda")
    assert half_precision.suits(cost, replace(posed.problem, label_cost=0.0), posed.partition)
    assert_equal(exact.solve(cost, posed.a, posed.problem, posed.partition, Compute()), expected)
    double = exact.solve(posed.cost(np.float64, "cuda"), posed.a, posed.problem, posed.partition, Compute())
    np.testing.assert_allclose(to_numpy(double.weights), expected.weights, rtol=1e-10)


@pytest.mark.cuda
def test_cuda_memory_that_really_ends(large):
    posed, expected = large
    cost = posed.cost(device="cuda")
    arguments = posed.a, posed.problem, posed.partition
    half_precision.solve(cost, *arguments)  # libraries take their memory once
    torch.cuda.empty_cache()
    # the kernel alone would take 60 MB
    limit = torch.cuda.memory_reserved() + 50e6
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    attempts = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            less = half_precision._Component._spend_less
            patch.setattr(half_precision._Component, "_spend_less", lambda part: (attempts.append(1), less(part)))
            result = half_precision.solve(cost, *arguments)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert attempts
    assert_equal(result, expected)


@pytest.mark.cuda
def test_cuda_fused_kernels_agree_with_torch(large):
    if torch.cuda.get_device_capability() >= (9, 0) and importlib.util.find_spec("triton"):
        assert half_precision._fused_works(torch.device("cuda", 0))
