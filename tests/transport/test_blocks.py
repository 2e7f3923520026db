"""Blocks on threads."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skotw._transport.arrays import namespace
from skotw._transport.blocks import (
    Compute,
    Partition,
    blas_threads,
    for_blocks,
    one_blas_thread,
    sum_blocks,
    sum_groups,
)
from skotw.meta import _prototypes, class_prototypes

NUMPY = namespace(np.empty(0))


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


def test_sums_of_groups_do_not_depend_on_where_blocks_and_groups_end():
    values = np.random.default_rng(0).standard_normal((1000, 3))
    counts = [0, 3, 400, 0, 1, 596, 0]

    def totals(n_threads, block_rows):
        def of_runs(block, runs, work):
            assert sum(rows.stop - rows.start for _, rows in runs) == block.n_rows <= block_rows
            return [values[block.rows][rows].sum(axis=0) for _, rows in runs]

        partition = Partition.of(counts, block_rows)
        return sum_groups(of_runs, partition, Compute(n_threads), NUMPY, np.zeros((7, 3)))

    expected = [part.sum(axis=0) for part in np.split(values, np.cumsum(counts)[:-1])]
    for block_rows in (1, 7, 2000):
        np.testing.assert_allclose(totals(1, block_rows), expected, rtol=1e-12, atol=1e-12)
        for n_threads in (2, 8):
            np.testing.assert_array_equal(totals(n_threads, block_rows), totals(1, block_rows))


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


FORK = """
import os, numpy as np
from skotw._transport.arrays import namespace
from skotw._transport.blocks import Compute, Partition, for_blocks

def walk():
    done = []
    for_blocks(lambda block, work: done.append(block), Partition.of([100], 1), Compute(2), namespace(np.empty(0)))
    return len(done)

assert walk() == 100
child = os.fork()
if not child:
    os._exit(0 if walk() == 100 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_process_has_helpers_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=30)


def test_blocks_do_not_wait_for_helpers_that_are_busy():
    """Work that is asked for within a block, by as many threads as there are helpers."""

    def outer(block, work):
        for_blocks(lambda inner, work: done.append(inner), Partition.of([20], 1), Compute(4), NUMPY)

    done = []
    for_blocks(outer, Partition.of([20], 1), Compute(300), NUMPY)
    assert len(done) == 400


# ---- the limit on BLAS, which all threads of the process share


@pytest.fixture
def two_blas_threads():
    before = blas_allows()
    allow_blas(2)
    if blas_allows() != 2:
        pytest.skip("BLAS of one thread")
    yield
    allow_blas(before)


def allow_blas(n_threads):
    """Set it for good, in a thread that ends: threadpoolctl lets a living one keep others from it."""
    thread = threading.Thread(target=threadpool_limits, kwargs={"limits": n_threads, "user_api": "blas"})
    thread.start()
    thread.join()


def blas_allows():
    return max(lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas")


def test_overlapping_limits_of_two_threads_leave_blas_as_it_was(two_blas_threads):
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            leave.wait(timeout=10)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        entered.wait(timeout=10)
        assert blas_allows() == 1
        assert blas_threads() == 2  # what a second fit may use
    assert blas_allows() == 1  # the other is still at work
    leave.set()
    thread.join()
    assert blas_allows() == blas_threads() == 2


def test_an_error_takes_the_limit_back(two_blas_threads):
    with pytest.raises(ZeroDivisionError), one_blas_thread(), one_blas_thread():
        1 / 0  # noqa: B018
    assert blas_allows() == 2


def test_prototypes_of_two_threads_leave_blas_as_it_was(two_blas_threads, monkeypatch):
    entered, leave = threading.Event(), threading.Event()
    cluster = _prototypes._cluster

    def summarise():
        class_prototypes([[0.0], [1.0], [3.0]], [0, 0, 0], n_prototypes=2)

    second = threading.Thread(target=summarise)

    def meet(*args):
        if threading.current_thread() is second:
            entered.set()
            leave.wait(timeout=10)
        else:
            second.start()
            entered.wait(timeout=10)
        return cluster(*args)

    monkeypatch.setattr(_prototypes, "_cluster", meet)
    summarise()
    leave.set()
    second.join()
    assert blas_allows() == 2
