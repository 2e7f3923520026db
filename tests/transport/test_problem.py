"""The transport problem's own quantities, against the formulas that define them."""

import numpy as np
import pytest

from skotw._transport.blocks import Partition
from skotw._transport.problem import Problem

N_GROUPS, M = 3, 7
COUNTS = [4, 3, 5]
EPS, RHO, RATE = 0.2, 0.7, 3.0
rng = np.random.default_rng(0)
LOG_MASS = np.log(rng.dirichlet(np.ones(M)))
LOG_RATIO = np.log(rng.uniform(0.1, 1.0, N_GROUPS))
LABEL_COST = 0.6
OWNER = np.array([0, 0, 0, 1, 1, 2, 2])
DIFFERENT = np.arange(N_GROUPS)[:, None] != OWNER
SLICES = (slice(0, 3), slice(3, 5), slice(5, 7))
SOFT_PROBLEM = Problem(EPS, RHO, RATE, LOG_MASS, LOG_RATIO, OWNER, LABEL_COST)
HARD_PROBLEM = Problem(EPS, RHO, RATE, LOG_MASS, LOG_RATIO, OWNER, np.inf)


@pytest.mark.parametrize(("rho", "damping"), [(0.0, 0.0), (EPS, 0.5), (3 * EPS, 0.75)])
def test_damping_is_the_share_that_the_prior_takes_back(rho, damping):
    problem = Problem(EPS, rho, RATE, LOG_MASS, LOG_RATIO, OWNER, LABEL_COST)
    assert problem.damping == pytest.approx(damping)


def test_one_problem_reaches_every_column():
    partition = Partition.of(COUNTS, 2)
    assert [SOFT_PROBLEM.columns(group) for group in range(N_GROUPS)] == [slice(0, M)] * N_GROUPS
    ((blocks, reached),) = SOFT_PROBLEM.components(partition)
    assert reached == slice(0, M)
    assert (blocks.blocks[0].start, blocks.blocks[-1].stop) == (0, sum(COUNTS))


def test_hard_labels_make_a_problem_of_every_group_with_rows_and_columns():
    assert [HARD_PROBLEM.columns(group) for group in range(N_GROUPS)] == list(SLICES)
    partition = Partition.of([4, 0, 5], 2)
    owner = np.array([0, 0, 0, 1, 1, 1, 1])
    problem = Problem(EPS, RHO, RATE, LOG_MASS, LOG_RATIO, owner, np.inf)
    ((blocks, reached),) = problem.components(partition)  # group 1 has no rows, group 2 no columns
    assert reached == slice(0, 3)
    assert [(block.start, block.stop) for block in blocks.blocks] == [(0, 2), (2, 4)]
    both = list(HARD_PROBLEM.components(partition))
    assert [columns for _, columns in both] == [SLICES[0], SLICES[2]]
    assert [{block.group for block in blocks.blocks} for blocks, _ in both] == [{0}, {2}]


@pytest.mark.parametrize("problem", [SOFT_PROBLEM, HARD_PROBLEM], ids=["soft", "hard"])
def test_label_costs_are_nothing_within_a_group(problem):
    np.testing.assert_array_equal(problem.label_costs(), np.where(DIFFERENT, problem.label_cost, 0.0))


@pytest.mark.parametrize("problem", [SOFT_PROBLEM, HARD_PROBLEM], ids=["soft", "hard"])
def test_potentials_give_every_column_its_mass(problem):
    """(2): sum_i p_i exp((g_j - C_ij) / eps) = 1."""
    d, a = rng.uniform(0.0, 1.0, (sum(COUNTS), M)), rng.uniform(0.5, 2.0, sum(COUNTS))
    groups = np.repeat(np.arange(N_GROUPS), COUNTS)
    bare = a[:, None] * np.exp(-RATE * d)
    with np.errstate(divide="ignore"):
        normalisers = np.log([bare[groups == group].sum(axis=0) for group in range(N_GROUPS)])
    g = problem.free_potentials(normalisers)

    p = a * np.exp(LOG_RATIO)[groups]
    C = EPS * RATE * d + np.where(DIFFERENT, problem.label_cost, 0.0)[groups]
    np.testing.assert_allclose((p[:, None] * np.exp((g - C) / EPS)).sum(axis=0), 1.0, rtol=1e-12)


def test_a_group_without_rows_has_no_part_in_the_potentials():
    normalisers = np.zeros((N_GROUPS, M))
    without = Problem(EPS, RHO, RATE, LOG_MASS, np.array([*LOG_RATIO[:2], -np.inf]), OWNER, LABEL_COST)
    p, d = np.exp(LOG_RATIO[:2]), DIFFERENT[:2] * LABEL_COST
    expected = -EPS * np.log((p[:, None] * np.exp(-d / EPS)).sum(axis=0))
    np.testing.assert_allclose(without.free_potentials(normalisers), expected, rtol=1e-13)
