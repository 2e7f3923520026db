"""Rows and trusted samples on their way into the transport."""

import numpy as np
import pytest

from skotw._transport.blocks import Compute
from skotw._weighter import sets
from skotw._weighter.labels import Target
from skotw._weighter.sets import Meta, SortedRows


def rows_in(order):
    return SortedRows(None, None, None, None, order, None, np.empty(0))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_values_of_sorted_rows_go_back_to_where_the_rows_came_from(library):
    make = np.asarray if library == "numpy" else pytest.importorskip("torch").tensor
    codes = np.array([2, 0, 1, 0, 2])
    order = np.argsort(codes, kind="stable")
    given = np.array([20.0, 0.5, 10.0, 1.5, 21.0])
    values = make(given[order])
    back = rows_in(order).back(values)
    assert type(back) is type(values)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(np.asarray(back), given)
    np.testing.assert_array_equal(np.asarray(values), given[order])  # left as they were


def test_values_of_rows_that_came_sorted_are_left_alone():
    values = np.arange(3.0)
    assert rows_in(None).back(values) is values


def rows_of(counts, weight, beliefs=None):
    """Rows in the order of their groups, numbered by their only feature; in X each stands 100 further down."""
    n = int(np.sum(counts))
    Z, number, belief = np.arange(float(n))[:, None], np.arange(n) + 100, None if beliefs is None else beliefs[:, 0]
    return SortedRows(Z, None, weight, np.array(counts), None, number, Z[:0], belief, beliefs)


def test_a_sample_of_few_rows_is_all_of_them():
    rows = rows_of([3, 5], np.ones(8))
    assert rows.sample(5) is rows


def test_a_sample_has_the_weight_of_its_groups_and_what_belongs_to_its_rows():
    rng = np.random.default_rng(0)
    counts, beliefs = [4000, 3, 0, 500], rng.random((4503, 4))
    rows = rows_of(counts, rng.exponential(size=4503), beliefs)
    some = rows.sample(400)
    np.testing.assert_array_equal(some.counts, [400, 3, 0, 400])
    groups, of_some = np.repeat(np.arange(4), counts), np.repeat(np.arange(4), some.counts)
    mass, of_all = (np.bincount(g, r.weight, 4) for g, r in ((of_some, some), (groups, rows)))
    np.testing.assert_allclose(mass, of_all, rtol=1e-12)
    number = some.index - 100
    np.testing.assert_array_equal(groups[number], of_some)
    np.testing.assert_array_equal(some.rows[:].ravel(), number)
    np.testing.assert_array_equal(some.belief, rows.belief[number])
    np.testing.assert_array_equal(some.beliefs, beliefs[number])
    np.testing.assert_array_equal(number[400:403], [4000, 4001, 4002])
    np.testing.assert_array_equal(some.weight[400:403], rows.weight[4000:4003])
    again = rows.sample(400)
    np.testing.assert_array_equal(again.index, some.index)


def test_a_row_is_drawn_as_often_as_its_weight_asks():
    weight = np.random.default_rng(1).exponential(size=2000) ** 4
    share = 300 * weight / weight.sum()
    drawn = np.bincount(rows_of([2000], weight).sample(300).index - 100, minlength=2000)
    assert share.max() > 5  # which must not be lost
    assert np.all(np.abs(drawn - share) < 2)  # a part of the line on either side, and those between
    assert np.all(drawn[share > 2] > 0)


def test_copies_are_drawn_as_a_row_of_their_weight():
    copies = np.random.default_rng(2).integers(1, 6, 1000)
    once, repeated = rows_of([1000], copies.astype(float)), rows_of([copies.sum()], np.ones(copies.sum()))
    number = np.repeat(np.arange(1000), copies)
    of_once, of_repeated = once.sample(200).index - 100, repeated.sample(200).index - 100
    np.testing.assert_array_equal(of_once, number[of_repeated])


def test_some_trusted_samples_keep_what_belongs_to_them():
    target = Target.of(np.array(["b", "a", "c", "a"]), 4, "classes", by_cell=False)
    meta = Meta(np.arange(8.0).reshape(4, 2), target, np.array([1.0, 2.0, 3.0, 4.0]))
    some = meta.take(np.array([3, 0]))
    np.testing.assert_array_equal(some.Z, [[6.0, 7.0], [0.0, 1.0]])
    np.testing.assert_array_equal(some.weight, [4.0, 1.0])
    np.testing.assert_array_equal(some.target.labels[some.target.meta_codes], ["a", "b"])
    np.testing.assert_array_equal(some.target.labels, target.labels)  # the groups stay


def test_bits_change_with_any_row_and_with_no_number_of_threads(monkeypatch):
    monkeypatch.setattr(sets, "_ROWS_AT_A_TIME", 10)
    X = np.random.default_rng(0).standard_normal((35, 3))
    bits = sets.bits_of(X, Compute(1))
    assert sets.bits_of(X, Compute(2)) == bits
    for row in (0, 9, 10, 34):
        changed = X.copy()
        changed[row, 1] += 1e-9
        assert sets.bits_of(changed, Compute(1)) != bits
    assert sets.bits_of(X[::-1], Compute(1)) != bits
