"""Votes on trusted samples, each left out of the weights that judge it."""

from dataclasses import replace

import numpy as np
import pytest

from skotw._transport import exact
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import FunctionCost
from skotw._transport.leave_one_out import own_class_votes
from skotw._transport.problem import Problem

COUNTS, COLUMNS = np.array([14, 9, 11]), np.repeat([0, 1, 2], [2, 4, 3])
EPS, VOTE_RATE = (0.4, 0.2, 0.1), 4.0


@pytest.mark.parametrize("label_cost", [0.0, 0.5, np.inf])
def test_votes_are_those_of_the_solution_without_the_sample(label_cost):
    rng = np.random.default_rng(0)
    n, m = COUNTS.sum(), len(COLUMNS)
    codes = np.repeat([0, 1, 2], COUNTS)
    D, a = rng.uniform(0.1, 2.0, (n, m)), rng.uniform(0.5, 2.0, n)
    log_ratio = np.log([0.2, 0.3, 0.5] / np.bincount(codes, weights=a))
    b = rng.dirichlet(np.ones(m))
    partition, compute = Partition.of(COUNTS, 5), Compute(2)

    def problem(eps, columns):
        return Problem(eps, 0.0, 0.5 / eps, np.log(b[columns]), log_ratio, COLUMNS[columns], label_cost)

    def cost(columns):
        values = D[:, columns]
        return FunctionCost(values.shape, lambda i, j: values[i:j], np.empty(0))

    everything = np.arange(m)
    problems = [problem(eps, everything) for eps in EPS]
    votes = own_class_votes(cost(everything), a, problems, VOTE_RATE, partition, compute)
    for r, eps in enumerate(EPS):
        whole = exact.solve(cost(everything), a, problems[r], partition, compute).weights
        for q in everything:
            rest = np.delete(everything, q)
            w = exact.solve(cost(rest), a, problem(eps, rest), partition, compute).weights
            # each class of rows gets back the mass that it has with the sample
            w = w * (np.bincount(codes, whole) / np.bincount(codes, w))[codes]
            of_class = np.bincount(codes, weights=w * np.exp(-VOTE_RATE * D[:, q]))
            np.testing.assert_allclose(votes[r, q], of_class[COLUMNS[q]] / of_class.sum(), rtol=1e-10)


def test_a_factor_on_the_masses_changes_nothing():
    rng = np.random.default_rng(1)
    D, a = rng.uniform(0.1, 2.0, (34, 9)), np.ones(34)
    problem = Problem(0.2, 0.0, 2.5, np.full(9, -np.log(9)), -np.log(3.0 * COUNTS), COLUMNS, 0.5)
    cost, partition = FunctionCost(D.shape, lambda i, j: D[i:j], np.empty(0)), Partition.of(COUNTS, 5)
    one, other = (
        own_class_votes(cost, a, [p], VOTE_RATE, partition, Compute())
        for p in (problem, replace(problem, log_ratio=problem.log_ratio + 5.0))
    )
    np.testing.assert_allclose(other, one, rtol=1e-12)
