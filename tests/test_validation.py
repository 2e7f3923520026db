"""Labels of every type, indexes, tensors and masks: what the shared checks make of them."""

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skotw._validation import check_index, clean_labels, encode_labels, is_missing, is_number, like_columns, on_host
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split, class_prototypes
from skotw.metrics import class_weight_mass, effective_sample_size, mislabel_auc, transport_distance

NUMBERS = np.array([2, 1, 2, 1])
TEXT = np.array(["b", "a", "b", "a"])

SAME_NUMBERS = {
    "array": NUMBERS,
    "object": NUMBERS.astype(object),
    "list": NUMBERS.tolist(),
    "of NumPy numbers": list(NUMBERS),
    "Decimal": [Decimal(2), Decimal(1), Decimal(2), Decimal(1)],
    "mixed numbers": np.array([2, 1.0, Decimal(2), True], dtype=object),
    "Int64": pd.Series(NUMBERS, dtype="Int64", index=[7, 3, 5, 1]),
    "category": pd.Series(pd.Categorical(NUMBERS, [3, 2, 1])),
    "polars": pl.Series(NUMBERS),
    "masked nowhere": np.ma.masked_equal(NUMBERS, 9),
}
SAME_TEXT = {
    "array": TEXT,
    "object": TEXT.astype(object),
    "list": TEXT.tolist(),
    "series": pd.Series(TEXT, index=[7, 3, 5, 1]),
    "category": pd.Series(pd.Categorical(TEXT, ["unused", "b", "a"])),
    "polars enum": pl.Series(TEXT.tolist(), dtype=pl.Enum(["b", "a", "unused"])),
}


@pytest.mark.parametrize("y", SAME_NUMBERS.values(), ids=SAME_NUMBERS)
def test_numbers_are_the_same_labels_however_they_come(y):
    classes, codes = encode_labels(y)
    assert classes.tolist() == [1, 2]
    assert_array_equal(codes, [1, 0, 1, 0])
    assert class_weight_mass([2, 2, 0, 4], y) == {1: 0.75, 2: 0.25}


@pytest.mark.parametrize("y", SAME_TEXT.values(), ids=SAME_TEXT)
def test_text_is_the_same_label_however_it_comes(y):
    classes, codes = encode_labels(y)
    assert classes.tolist() == ["a", "b"]
    assert_array_equal(codes, [1, 0, 1, 0])


def test_labels_of_other_types():
    assert class_weight_mass([1, 3], [date(2020, 1, 1), date(2021, 1, 1)]) == {
        date(2020, 1, 1): 0.25,
        date(2021, 1, 1): 0.75,
    }
    assert class_weight_mass([1, 3], np.array([True, False], dtype=object)) == {False: 0.75, True: 0.25}
    assert class_weight_mass([1, 3], ["nan", "None"]) == {"None": 0.75, "nan": 0.25}  # names like any other


MISSING = {
    "None": ["a", None],
    "NaN": [1.0, np.nan],
    "NaN beside text": ["a", np.nan],
    "NaN in objects": np.array(["a", np.nan], dtype=object),
    "NA": pd.Series([1, pd.NA], dtype="Int64"),
    "NA in objects": np.array([1, pd.NA], dtype=object),
    "NA among text": pd.Series(["a", pd.NA], dtype="string"),
    "NaT": pd.Series(pd.to_datetime(["2020-01-01", None])),
    "NaT in objects": np.array(["a", pd.NaT], dtype=object),
    "Decimal": np.array([Decimal(1), Decimal("NaN")], dtype=object),
    "masked": np.ma.masked_equal([1, 2], 2),
    "masked text": np.ma.array(["a", "b"], mask=[False, True]),
    "masked date": np.ma.array(np.array(["2020-01-01", "2021-01-01"], "M8[D]"), mask=[False, True]),
    "polars": pl.Series(["a", None]),
    "category": pd.Series(pd.Categorical(["a", None])),
}


@pytest.mark.parametrize("y", MISSING.values(), ids=MISSING)
def test_missing_labels_are_refused_with_their_row(y):
    with pytest.raises(ValueError, match=r"y contains NaN or None, first in row 1\. Drop the rows without a label"):
        encode_labels(y)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        ([b"a", b"b"], r"y holds bytes.*numpy.char.decode\(y\)"),
        (np.array([b"a", b"b"], dtype=object), r"y holds bytes.*label.decode\(\)"),
        (np.array([1, "a"], dtype=object), r"y mixes types of labels: 1 \(number\), 'a' \(text\). Give all"),
        ([1, "a"], r"y mixes types of labels: 1 \(number\), 'a' \(text\)"),
        (np.array([np.int64(1), "a"], dtype=object), r"y mixes types of labels: 1 \(number\), 'a' \(text\)"),
        (np.array([date(2020, 1, 1), "a"], dtype=object), r"\(date\), 'a' \(text\)"),
        (np.array([1j, 2j], dtype=object), "y holds labels without an order: .*Turn them into numbers or text"),
    ],
)
def test_labels_without_an_order_are_refused(y, match):
    with pytest.raises(ValueError, match=match):
        clean_labels(y, "y")


def test_values():
    assert [is_number(value) for value in (1, 1.0, np.int8(1), np.bool_(True), Decimal(1), np.nan)] == [True] * 6
    assert [is_number(value) for value in (1j, "1", None, b"1", date(2020, 1, 1))] == [False] * 5
    assert [is_missing(value) for value in ("nan", "", 0, False, date(2020, 1, 1), [np.nan], np.eye(2))] == [False] * 7


# ------------------------------------------------------------------------------------------------
# The same index in another order


def test_an_index_in_another_order_is_refused():
    first = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=["p", "q", "r"])
    other = pd.Series([0, 1, 0], index=["r", "p", "q"])
    remedy = r"X and y have the same index in another order.*y = y.loc\[X.index\].*pass y.to_numpy\(\)"
    with pytest.raises(ValueError, match=remedy):
        check_index(X=first, y=other)
    check_index(X=first, y=other.loc[first.index])
    check_index(X=first, y=other.to_numpy())
    check_index(X=first, y=None)
    check_index(X=first, y=other.set_axis([0, 1, 2]))  # another index altogether
    check_index(X=first, y=other.set_axis(["p", "q", "s"]))
    with pytest.raises(ValueError, match="same index"):  # labels of rows that repeat
        check_index(X=first.set_axis([0, 0, 1]), y=other.set_axis([0, 1, 0]))


ROWS = pd.DataFrame({"a": np.arange(8.0)})
LABELS = pd.Series([0, 1] * 4)
MIXED_UP = LABELS.iloc[::-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: class_weight_mass(ROWS["a"], MIXED_UP),
        lambda: mislabel_auc(ROWS["a"], LABELS, MIXED_UP == 1),
        lambda: transport_distance(ROWS, ROWS, MIXED_UP, LABELS),
        lambda: transport_distance(ROWS, ROWS, LABELS, MIXED_UP),
        lambda: transport_distance(ROWS, ROWS, sample_weight_meta=MIXED_UP),
        lambda: balanced_meta_split(ROWS, MIXED_UP),
        lambda: class_prototypes(ROWS, MIXED_UP),
        lambda: class_prototypes(ROWS, LABELS, sample_weight=MIXED_UP),
        lambda: make_long_tailed(ROWS, MIXED_UP, 2),
    ],
)
def test_every_function_looks_at_the_index(call):
    with pytest.raises(ValueError, match="the same index in another order"):
        call()


def test_columns_come_in_the_order_of_the_other_frame():
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    for convert in (lambda rows: rows, lambda rows: pl.DataFrame(rows.to_dict("list"))):
        of, rows = convert(frame), convert(frame[["b", "a"]])
        assert list(like_columns(rows, of).columns) == ["a", "b"]
        assert like_columns(of, of) is of
    other = frame.rename(columns={"b": "c"})
    assert like_columns(other, frame) is other
    array = np.eye(2)
    assert like_columns(array, frame) is array
    repeated = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"])
    assert like_columns(repeated, repeated[["b", "a"]]) is repeated


def test_the_distance_of_frames_goes_by_the_names_of_columns():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(6, 3)), columns=list("abc"))
    direct = transport_distance(X, X.iloc[:2], metric="euclidean")
    assert transport_distance(X, X.iloc[:2][["c", "a", "b"]], metric="euclidean") == direct


# ------------------------------------------------------------------------------------------------
# Tensors and masks


def test_tensors_that_require_grad():
    torch = pytest.importorskip("torch")
    X = np.random.default_rng(0).normal(size=(6, 3))
    w, y, y_meta = np.arange(1.0, 7.0), np.array([0, 1] * 3), [0, 1]
    tensor, weights, labels = torch.tensor(X, requires_grad=True), torch.tensor(w, requires_grad=True), torch.tensor(y)
    assert effective_sample_size(weights) == effective_sample_size(w)
    assert effective_sample_size(list(weights)) == effective_sample_size(w)
    assert effective_sample_size(weights.bfloat16()) == pytest.approx(effective_sample_size(w))
    assert class_weight_mass(weights, labels) == class_weight_mass(w, y)
    wrong = np.arange(6) < 3
    assert mislabel_auc(weights, labels, torch.tensor(wrong)) == mislabel_auc(w, y, wrong)
    found = transport_distance(tensor, tensor[:2], labels, y_meta, sample_weight=weights)
    assert found == transport_distance(X, X[:2], y, y_meta, sample_weight=w)
    of_tensor = class_prototypes(tensor, labels, sample_weight=weights)
    for left, right in zip(of_tensor, class_prototypes(X, y, sample_weight=w), strict=True):
        assert_array_equal(left, right)
    split = balanced_meta_split(tensor, labels, 1, random_state=0)
    assert_array_equal(on_host(split[0]), balanced_meta_split(X, y, 1, random_state=0)[0])
    assert_array_equal(on_host(flip_labels(labels, 0.5, random_state=0)), flip_labels(y, 0.5, random_state=0))


def test_masked_entries_are_missing():
    assert_array_equal(on_host(np.ma.masked_equal([1, 2], 2)), [1, np.nan])
    with pytest.raises(ValueError, match="w contains NaN"):
        effective_sample_size(np.ma.masked_equal([1, 2], 2))
    with pytest.raises(ValueError, match="contains NaN"):
        class_prototypes(np.ma.masked_equal([[1.0], [2.0]], 2), [0, 1])


def test_complex_weights_are_refused():
    with pytest.raises(ValueError, match="Complex data not supported"):
        effective_sample_size([1j, 2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: flip_labels([], 0.2),
        lambda: make_long_tailed(np.empty((0, 2)), [], 5),
        lambda: balanced_meta_split(np.empty((0, 2)), [], 3),
    ],
    ids=["flip_labels", "make_long_tailed", "balanced_meta_split"],
)
def test_no_labels_at_all(call):
    with pytest.raises(ValueError, match=r"y has no labels\. Pass one label per row"):
        call()
