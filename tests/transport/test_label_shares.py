"""Shares of the own label in the weights under all labels, against the sums written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.label_shares import own_label_shares
from skotw._transport.problem import Problem

rng = np.random.default_rng(0)
N, M, G, EPS = 30, 7, 3, 0.2
D, LABEL_COSTS, B, POTENTIALS = rng.random((N, M)), rng.random((G, M)), rng.random(M), rng.normal(size=M)
CODES = np.sort(rng.integers(G, size=N))


def shares(rho=0.0, label_costs=LABEL_COSTS, log_prior=None, log_ratio=None, d=D, block_rows=4, dtype=np.float64):
    cost = FunctionCost(d.shape, lambda i, j: d[i:j].astype(dtype), np.empty(0, dtype=dtype))
    log_ratio = np.zeros(G) if log_ratio is None else log_ratio
    problem = Problem(EPS, rho, np.nan, np.log(B), log_ratio, np.zeros(M, dtype=np.intp), np.nan)
    partition = Partition.of(np.bincount(CODES, minlength=G), block_rows)
    return own_label_shares(cost, problem, 1.5, label_costs, POTENTIALS, partition, Compute(2), log_prior)


def expected(rho=0.0, label_costs=LABEL_COSTS, log_prior=0.0, d=D):
    terms = np.log(B) + POTENTIALS / EPS - 1.5 * d[:, None] - label_costs / EPS
    log_h = logsumexp(terms, axis=2) * EPS / (rho + EPS) + log_prior
    return np.exp(log_h - logsumexp(log_h, axis=1, keepdims=True))


@pytest.mark.parametrize("rho", [0.0, 0.7])
@pytest.mark.parametrize("block_rows", [1, 4, 100])
def test_sums_written_out(rho, block_rows):
    share, best = shares(rho, block_rows=block_rows)
    assert_allclose(share, expected(rho)[np.arange(N), CODES], rtol=1e-12)
    assert_array_equal(best, expected(rho).argmax(axis=1))


def test_belief_by_row_and_label():
    log_prior = rng.normal(size=(N, G))
    share, best = shares(log_prior=log_prior)
    assert_allclose(share, expected(log_prior=log_prior)[np.arange(N), CODES], rtol=1e-12)
    assert_array_equal(best, expected(log_prior=log_prior).argmax(axis=1))


def test_labels_that_reach_no_column_of_others():
    own = np.where(np.arange(M) % G == np.arange(G)[:, None], 0.0, np.inf)
    assert_allclose(shares(label_costs=own)[0], expected(label_costs=own)[np.arange(N), CODES], rtol=1e-12)


def test_groups_without_rows_share_nothing():
    log_h = np.where(np.arange(G) == 1, -np.inf, np.log(expected()))
    expected_share = np.exp(log_h - logsumexp(log_h, axis=1, keepdims=True))
    share, best = shares(log_ratio=np.where(np.arange(G) == 1, -np.inf, 0.3))
    others = CODES != 1
    assert_allclose(share[others], expected_share[np.arange(N), CODES][others], rtol=1e-12)
    assert not np.any(best == 1)


def test_rows_far_from_all_columns():
    """In float32 their kernels are zero, and their shares are not."""
    far = D + 1000.0
    share, _ = shares(d=far, dtype=np.float32)
    assert_allclose(share, shares()[0], rtol=2e-3)  # 1e-4 of the cost in float32
