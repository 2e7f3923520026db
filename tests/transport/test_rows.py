"""Rows that are made block by block are those of a copy, to the bit."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skotw._transport.blocks import Block, Compute
from skotw._transport.cost import LOG2E, EuclideanCost, cosine_cost, squared_euclidean_cost, squared_rows, unit_rows
from skotw._transport.rows import LazyRows, fetch, in_order, reference_of
from skotw._transport.standardise import Standardise

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, 2.0, (50, 6))
Z = RNG.normal(3.0, 2.0, (7, 6))
ORDER = RNG.permutation(50)
BLOCKS = [Block(0, 0, 20), Block(0, 20, 27), Block(0, 27, 50)]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@dtypes
@pytest.mark.parametrize("order", [None, ORDER, ORDER[:30]])
@pytest.mark.parametrize("standardised", [False, True])
def test_lazy_rows_are_those_of_a_standardised_copy_in_that_order(dtype, order, standardised):
    A = X.astype(dtype)
    A.flags.writeable = False
    scaler = Standardise.fit(A, None, Compute())
    rows, copy = LazyRows(A), A
    if standardised:
        rows, copy = scaler.lazily(A), scaler.transform(A, Compute())
    if order is not None:
        rows, copy = rows.in_order(order), copy[order]
    assert rows.shape == copy.shape
    assert rows.dtype == reference_of(rows).dtype == dtype
    work = {}
    for block in (Block(0, 0, 20), Block(0, 20, 27)):
        assert_array_equal(fetch(rows, block, work), copy[block.rows], strict=True)
    assert_array_equal(rows[:], copy)
    assert_array_equal(rows.copied(Compute(2, block_bytes=3 * copy[0].nbytes)), copy, strict=True)
    assert_array_equal(rows[np.array([3, 1])], copy[[3, 1]])


def unaligned(A):
    """The same array at an odd address, as numbers lie after a network."""
    room = np.empty(A.nbytes + 1, dtype=np.uint8)
    out = room[1:].view(A.dtype).reshape(A.shape)
    out[...] = A
    assert not out.flags.aligned
    return out


LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "columns": lambda A: np.pad(A, ((0, 0), (0, 1)))[:, :-1],
    "every second column": lambda A: np.repeat(A, 2, axis=1)[:, ::2],
    "unaligned": unaligned,
}


@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_any_memory_are_gathered_without_a_copy_of_all_for_each_block(dtype, layout):
    A = np.random.default_rng(1).normal(size=(20_000, 8)).astype(dtype)
    order = np.random.default_rng(2).permutation(len(A))
    rows, work = LazyRows(LAYOUTS[layout](A)).in_order(order), {}
    fetch(rows, Block(0, 0, 200), work)
    tracemalloc.start()
    found = fetch(rows, Block(0, 100, 300), work)
    some = rows[10:50]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(found, A[order[100:300]], strict=True)
    assert_array_equal(some, A[order[10:50]], strict=True)
    assert peak < A.nbytes / 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sample_of_rows_of_any_memory_copies_no_others(layout):
    A = LAYOUTS[layout](np.random.default_rng(1).normal(size=(20_000, 8)))
    some = np.random.default_rng(2).permutation(len(A))[:500]
    tracemalloc.start()
    rows = LazyRows(A).in_order(some)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_array_equal(rows[:], A[some], strict=True)
    assert_array_equal(rows.in_order(np.arange(400, 500))[:], A[some[400:]], strict=True)
    assert peak < A.nbytes / 10


def test_an_order_of_rows_in_order_is_one_of_the_rows_themselves():
    rows = LazyRows(X).in_order(ORDER).in_order(np.arange(50)[::-1])
    assert_array_equal(rows[:], X[ORDER][::-1])


@dtypes
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "euclidean"])
@pytest.mark.parametrize("columns", [slice(0, 7), slice(2, 4)])  # more than features, and fewer
def test_costs_of_lazy_rows_are_those_of_a_copy(dtype, metric, columns):
    A, B, lazy = X.astype(dtype), Z.astype(dtype), LazyRows(X.astype(dtype)).in_order(ORDER)
    B[0] = A[ORDER[3]]  # a pair at distance zero

    def cost(rows):
        if metric == "cosine":
            return cosine_cost(unit_rows(rows, Compute()), B)
        center = B.mean(axis=0)
        squared = squared_euclidean_cost(squared_rows(rows, Compute(), center), B, center)
        return squared if metric == "sqeuclidean" else EuclideanCost(squared)

    ours, theirs = cost(lazy), cost(A[ORDER])
    assert ours.shape == theirs.shape == (50, 7)
    p, b = RNG.dirichlet(np.ones(50)), np.full(7, 1 / 7)
    # summed in the order in which the rows lie
    assert_allclose(ours.mean(p, b, Compute()), theirs.mean(p, b, Compute()), rtol=8 * np.finfo(dtype).eps)
    work = {}
    for block in BLOCKS:
        L, expected = (c.kernel(2.0).block(block, columns, w) for c, w in ((ours, work), (theirs, {})))
        assert_array_equal(L, expected, strict=True)


@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean"])
@pytest.mark.parametrize("kind", ["array", "lazy", "sparse", "torch"])
def test_costs_of_some_rows_are_those_of_all(metric, kind):
    if kind == "torch":
        torch = pytest.importorskip("torch")
    make = {"array": np.array, "lazy": lambda A: LazyRows(A).in_order(ORDER), "sparse": sparse.csr_array}
    make["torch"] = lambda A: torch.asarray(A)
    some, columns = np.array([40, 3, 3, 17]), make["array" if kind == "lazy" else kind](Z)
    if metric == "cosine":
        rows, measure = unit_rows(make[kind](X), Compute()), cosine_cost
    else:
        rows, measure = squared_rows(make[kind](X), Compute()), squared_euclidean_cost
    of_all, of_some = (
        np.asarray(measure(part, columns).kernel(1.0).block(Block(0, 0, part.shape[0]), slice(None), {}))
        for part in (rows, in_order(rows, some))
    )
    assert_allclose(of_some, of_all[some], rtol=1e-12)


def test_lazy_rows_whose_squares_leave_the_floats_are_replaced():
    A = X.copy()
    A[ORDER[5]] *= 1e200
    A[ORDER[6]] *= 1e-200
    before = A.copy()
    rows = unit_rows(LazyRows(A).in_order(ORDER), Compute())
    norms = np.linalg.norm(rows.unscaled[:] * rows.scale[:, None], axis=1)
    np.testing.assert_allclose(norms, 1.0)
    assert_array_equal(A, before)


@pytest.mark.parametrize("center", [None, Z.mean(axis=0)])
def test_squared_rows_give_squared_distances(center):
    rows = squared_rows(LazyRows(X).in_order(ORDER), Compute(), center)
    kernel = squared_euclidean_cost(rows, Z, center).kernel(1.0)
    distances = ((X[ORDER][:, None] - Z) ** 2).sum(axis=2)
    for block in BLOCKS:
        found = (kernel.constant - kernel.block(block, slice(None), {})) / LOG2E
        assert_allclose(found, distances[block.rows], rtol=1e-10)
