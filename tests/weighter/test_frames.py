"""Columns of data frames: which are numbers, which are categories, and which are neither."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skotw._weighter.containers import join_rows
from skotw._weighter.frames import (
    category_column,
    column_kinds,
    frame_values,
    is_frame,
    number_column,
    number_columns,
    paired_columns,
    paired_numbers,
)

NAN = np.nan


def objects(*values):
    return pd.DataFrame({"a": pd.Series(values, dtype=object)})


NUMBERS = {
    "int": pd.DataFrame({"a": [1, 2]}),
    "half": pd.DataFrame({"a": np.float16([1, NAN])}),
    "bool": pd.DataFrame({"a": [True, False]}),
    "Int64": pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
    "boolean": pd.DataFrame({"a": pd.array([True, None], dtype="boolean")}),
    "sparse": pd.DataFrame({"a": pd.arrays.SparseArray([1.0, 0.0])}),
    "ints": objects(1, 2),
    "mixed": objects(1, 2.5, Decimal("0.25"), Fraction(1, 2), np.int8(3), True, None, NAN, pd.NA, Decimal("NaN")),
    "polars int": pl.DataFrame({"a": [1, None]}),
    "polars bool": pl.DataFrame({"a": [True, None]}),
    "polars Decimal": pl.DataFrame({"a": [Decimal(1), None]}),
    "polars objects": pl.DataFrame({"a": pl.Series([Decimal(1), 2], dtype=pl.Object)}),
}
VALUES = {
    "int": [1, 2],
    "half": [1, NAN],
    "bool": [1, 0],
    "Int64": [1, NAN],
    "boolean": [1, NAN],
    "sparse": [1, 0],
    "ints": [1, 2],
    "mixed": [1, 2.5, 0.25, 0.5, 3, 1, NAN, NAN, NAN, NAN],
    "polars int": [1, NAN],
    "polars bool": [1, NAN],
    "polars Decimal": [1, NAN],
    "polars objects": [1, 2],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_every_type(name):
    assert column_kinds(NUMBERS[name]) == {"a": "number"}
    values = number_column(NUMBERS[name], "a")
    assert values.dtype == np.float64
    assert_array_equal(values, VALUES[name])
    assert_array_equal(frame_values(NUMBERS[name]), values[:, None])


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"a": ["x", None]}), ["x", None]),
        (pd.DataFrame({"a": pd.Categorical([1, 2], [2, 1])}), ["1", "2"]),  # whoever says so means categories
        (objects("x", 1, 1.0, None, pd.NaT), ["x", "1", "1", None, None]),
        (objects("nan", "", "None"), ["nan", "", "None"]),
        (objects(None, NAN), [None, None]),
        (pl.DataFrame({"a": ["x", None]}, schema={"a": pl.Enum(["y", "x"])}), ["x", None]),
    ],
)
def test_categories_are_words(frame, words):
    assert column_kinds(frame) == {"a": "category"}
    assert category_column(frame, "a").tolist() == words


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "dates or durations"),
        (pd.DataFrame({"a": pd.to_timedelta([5])}), "dates or durations"),
        (pl.DataFrame({"a": [dt.date(2020, 1, 1)]}), "dates or durations"),
        (pl.DataFrame({"a": [dt.timedelta(1)]}), "dates or durations"),
        (objects(dt.date(2020, 1, 1)), "dates or durations"),
        (objects("x", dt.timedelta(1)), "dates or durations"),
        (pd.DataFrame({"a": [1j]}), "complex numbers"),
        (objects(1j, 1), "complex numbers"),
        (objects([1, 2]), "lists or records"),
        (objects(np.ones(2), None), "lists or records"),
        (objects({"b": 1}), "lists or records"),
        (pl.DataFrame({"a": [[1, 2]]}), "lists or records"),
        (pl.DataFrame({"a": [{"b": 1}]}), "lists or records"),
    ],
)
def test_columns_that_are_neither_are_refused(frame, match):
    with pytest.raises(ValueError, match=f"Column 'a' holds {match}, which the default embedding cannot place"):
        column_kinds(frame)


def test_numbers_in_training_and_text_elsewhere():
    for frame in (pd.DataFrame({"a": ["x", "y"]}), pl.DataFrame({"a": ["x", "y"]}), objects(1, "x")):
        with pytest.raises(ValueError, match=r"'a' holds numbers in the training rows, and '?x'? in row \d of these"):
            number_column(frame, "a")
    assert_array_equal(number_column(pd.DataFrame({"a": pd.Categorical([3, 4])}), "a"), [3, 4])


def test_columns_side_by_side():
    X = pd.DataFrame({"n": np.float32([0.1, 0.2]), "w": ["p", "q"]})
    meta = pd.DataFrame({"w": pd.Categorical(["q"]), "n": [0.2]})
    numbers, words = paired_columns(X, meta)
    assert numbers[0][1] == numbers[1][0]  # the float32 nearest to 0.2 in both
    assert [side.tolist() for side in words] == [["p", "q"], ["q"]]
    assert len(list(paired_columns(X, meta, numbers_only=True))) == 1


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_of_numbers_as_a_whole_are_what_their_columns_are(library):
    X = library.DataFrame({"a": np.float32([0.1, 0.2, np.nan]), "b": [1, 2, 3], "c": [True, False, True]})
    meta = library.DataFrame({"c": [False], "b": np.int8([7]), "a": [0.2]})
    numbers, of_meta = paired_numbers(X, meta)
    for k, (column, other) in enumerate(paired_columns(X, meta)):
        assert_array_equal(numbers[:, k], column)
        assert_array_equal(of_meta[:, k], other)
    assert numbers[1, 0] == of_meta[0, 0]  # the float32 nearest to 0.2 in both
    assert_array_equal(number_columns(X, ["c", "a"]), numbers[:, [2, 0]])
    assert_array_equal(frame_values(X), numbers)
    words = library.DataFrame({"c": [False], "b": ["x"], "a": [0.2]})
    assert paired_numbers(X, words) is None
    assert_array_equal(number_columns(words, ["a", "c"]), [[0.2, 0.0]])


def test_missing_whole_numbers_are_read_as_before():
    for frame in (
        pl.DataFrame({"a": [1, None], "b": [1.5, 2.0]}),
        pd.DataFrame({"a": pd.array([1, None]), "b": [1.5, 2]}),
    ):
        assert_array_equal(frame_values(frame), [[1.0, 1.5], [np.nan, 2.0]])


def test_what_a_frame_is():
    assert is_frame(pd.DataFrame())
    assert is_frame(pl.DataFrame())
    for other in (pd.Series([1]), np.eye(2), [[1]], pl.DataFrame().lazy(), {"a": [1]}):
        assert not is_frame(other)


@pytest.mark.parametrize("kind", ["int64", "Int64", "int8"])
def test_numbers_among_objects_join_whole_numbers(kind):
    X = pd.DataFrame({"a": [1, 2]}).astype(kind)
    whole = join_rows(X, objects(3, Decimal(4)))
    assert whole["a"].tolist() == [1, 2, 3, 4]
    assert whole["a"].dtype == X["a"].dtype
    assert join_rows(X, objects(Decimal("3.5"), 4))["a"].tolist() == [1, 2, 3.5, 4]
