"""Costs as products: unit rows of any scale, and costs that a function gives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skotw._transport.blocks import Block, Compute
from skotw._transport.cost import LOG2E, UnitRows, cosine_cost, sum_blocks, unit_rows
from skotw._transport.rows import LazyRows

CONTAINERS = {"dense": np.asarray, "sparse": sparse.csr_array}


def cosine(X, Z):
    """1 - cos, in extended precision."""
    A, B = (Y.astype(np.longdouble) for Y in (X, Z))
    A, B = (Y / np.maximum(np.abs(Y).max(axis=1, keepdims=True), np.finfo(np.longdouble).tiny) for Y in (A, B))
    norms = np.sqrt((A**2).sum(1))[:, None] * np.sqrt((B**2).sum(1))
    return np.asarray(1.0 - np.where(norms > 0, A @ B.T / np.where(norms > 0, norms, 1), 0), np.float64)


def evaluated(cost):
    kernel = cost.kernel(1.0 / LOG2E)
    return kernel.constant - kernel.block(Block(0, 0, cost.shape[0]), slice(None), {})


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_columns", [2, 9])  # fewer than features, and more
def test_cosine_of_rows_whose_squares_leave_the_floats(container, dtype, n_columns):
    info = np.finfo(dtype)
    scales = [0.0, info.tiny, info.tiny / 100, np.sqrt(info.tiny), 1e-3 * np.sqrt(info.tiny), 1.0, np.sqrt(info.max)]
    scales += [1e3 * np.sqrt(info.max), info.max / 4]
    rng = np.random.default_rng(0)
    factors = np.array(scales, dtype=dtype)[:, None]
    X = rng.uniform(-1, 1, (len(scales), 5)).astype(dtype) * factors
    X[:, 3] = 0.0  # NaN if multiplied by infinity
    Z = (rng.uniform(-1, 1, (n_columns, 5)).astype(dtype) * factors[-n_columns:]).astype(dtype)
    make = CONTAINERS[container]
    cost = cosine_cost(unit_rows(make(X), Compute()), make(Z))
    tolerance = 16 * info.eps
    expected = cosine(X, Z)
    assert_allclose(evaluated(cost), expected, atol=tolerance)
    assert_array_equal(evaluated(cost)[0], 1.0)
    p, b = rng.dirichlet(np.ones(len(X))), rng.dirichlet(np.ones(len(Z)))
    assert_allclose(cost.mean(p, b, Compute()), p @ expected @ b, atol=tolerance)
    fresh = cosine_cost(unit_rows(make(X), Compute()), make(Z))  # of which the mean is asked first
    assert_allclose(fresh.mean(p, b, Compute()), p @ expected @ b, atol=tolerance)
    assert_array_equal(evaluated(fresh), evaluated(cost))


@pytest.mark.parametrize("container", ["numpy", "lazy", "torch"])
def test_norms_and_a_sum_of_unit_rows_take_one_walk(monkeypatch, container):
    rng = np.random.default_rng(0)
    X, order, p = rng.normal(size=(700, 5)), rng.permutation(700), rng.dirichlet(np.ones(700))
    if container == "torch":
        make = pytest.importorskip("torch").asarray
    else:
        make = {"numpy": np.asarray, "lazy": lambda X: LazyRows(X).in_order(order)}[container]
    walks = []
    monkeypatch.setattr("skotw._transport.cost.sum_blocks", lambda *args: walks.append(1) or sum_blocks(*args))
    first, known = unit_rows(make(X), Compute()), unit_rows(make(X), Compute())
    at_once, scale = first.weighted_sum(p), np.asarray(first.scale)
    assert len(walks) == 1
    same_scale, later = np.asarray(known.scale), known.weighted_sum(p)
    assert len(walks) == 3
    rows = X[order] if container == "lazy" else X
    assert_allclose(scale, 1 / np.linalg.norm(rows, axis=1), rtol=1e-14)
    assert_array_equal(scale, same_scale)
    assert_allclose(at_once, p @ (rows * scale[:, None]), rtol=0, atol=1e-15)
    assert_array_equal(at_once, later)


def test_rows_within_the_floats_are_not_copied():
    X = np.random.default_rng(0).normal(size=(10, 3))
    X[4] = 0.0
    rows = unit_rows(X, Compute())
    assert isinstance(rows, UnitRows)
    assert rows.unscaled is X


@pytest.mark.parametrize("container", CONTAINERS)
def test_unit_rows_leave_what_they_were_given(container):
    X = CONTAINERS[container](np.array([[1e-200, 2e-200], [3.0, 4.0]]))
    before = X.copy()
    evaluated(cosine_cost(unit_rows(X, Compute()), X))
    assert_array_equal((before != X).sum(), 0)
