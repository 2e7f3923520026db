"""Rows and trusted samples on their way into the transport."""

import numpy as np
import pytest

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


def test_some_trusted_samples_keep_what_belongs_to_them():
    target = Target.of(np.array(["b", "a", "c", "a"]), 4, "classes", by_cell=False)
    meta = Meta(np.arange(8.0).reshape(4, 2), target, np.array([1.0, 2.0, 3.0, 4.0]))
    some = meta.take(np.array([3, 0]))
    np.testing.assert_array_equal(some.Z, [[6.0, 7.0], [0.0, 1.0]])
    np.testing.assert_array_equal(some.weight, [4.0, 1.0])
    np.testing.assert_array_equal(some.target.labels[some.target.meta_codes], ["a", "b"])
    np.testing.assert_array_equal(some.target.labels, target.labels)  # the groups stay
