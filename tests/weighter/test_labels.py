"""The same labels in any container and type, and what is said of labels that are none."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import DataConversionWarning

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, ot_sample_weight

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(20, 3)), rng.normal(size=(6, 3))
Y, Y_META = np.arange(20) % 2, np.arange(6) % 2
NAMES = np.array(["a", "b"])


def classified(X, y, X_meta, y_meta):
    clf = OTWeightedClassifier().fit(X, y, X_meta=X_meta, y_meta=y_meta)
    assert len(clf.classes_) == 2
    return clf.weighter_.sample_weight_


def streamed(X, y, X_meta, y_meta):
    return OTSampleWeighter().partial_fit(X, y, X_meta, y_meta).weigh(X, y)


def drawn(X, y, X_meta, y_meta):
    sampler = OTResampler(meta=(X_meta, y_meta), random_state=0)
    sampler.fit_resample(X, y)
    return sampler.weighter_.sample_weight_


ENTRIES = {
    "ot_sample_weight": ot_sample_weight,
    "hard": lambda *sets: ot_sample_weight(*sets, label_cost="hard"),
    "partial_fit": streamed,
    "classifier": classified,
    "classifier without the trusted rows": lambda X, y, *meta: (
        OTWeightedClassifier(include_meta=False).fit(X, y, X_meta=meta[0], y_meta=meta[1]).weighter_.sample_weight_
    ),
    "resampler": drawn,
}
NUMBERS = {
    "integers": np.asarray,
    "floats": lambda y: y.astype(float),
    "bool": lambda y: y.astype(bool),
    "objects": lambda y: y.astype(object),
    "bool among objects": lambda y: y.astype(bool).astype(object),
    "Decimal": lambda y: np.array([Decimal(v) for v in y.tolist()]),
    "list": lambda y: y.tolist(),
    "Int64": lambda y: pd.Series(y, dtype="Int64", index=np.arange(len(y)) + 7),
    "boolean": lambda y: pd.Series(y, dtype="boolean"),
    "category": lambda y: pd.Series(pd.Categorical(y, [9, 1, 0])),
    "polars": pl.Series,
}
TEXT = {
    "text": lambda y: NAMES[y],
    "objects": lambda y: NAMES[y].astype(object),
    "list": lambda y: NAMES[y].tolist(),
    "series": lambda y: pd.Series(NAMES[y], index=np.arange(len(y)) + 7),
    "category": lambda y: pd.Series(pd.Categorical(NAMES[y], ["unused", "b", "a"])),
    "polars": lambda y: pl.Series(NAMES[y].tolist(), dtype=pl.Enum(["b", "a", "unused"])),
}


@pytest.fixture(scope="module")
def expected():
    return {name: entry(X, Y, X_META, Y_META) for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize(("kinds", "usual"), [(NUMBERS, "integers"), (TEXT, "text")], ids=["numbers", "text"])
def test_the_same_labels_have_the_same_weights(name, kinds, usual, expected):
    for convert in kinds.values():
        for left, right in ((convert, convert), (convert, kinds[usual]), (kinds[usual], convert)):
            assert_allclose(ENTRIES[name](X, left(Y), X_META, right(Y_META)), expected[name], rtol=1e-12)


@pytest.mark.parametrize("name", ENTRIES)
def test_one_column_is_taken_as_labels(name, expected):
    for convert in (lambda y: y[:, None], lambda y: pd.DataFrame({"y": y}), lambda y: pd.DataFrame({"y": NAMES[y]})):
        with pytest.warns(DataConversionWarning):
            assert_allclose(ENTRIES[name](X, convert(Y), X_META, convert(Y_META)), expected[name], rtol=1e-12)


def test_joined_labels_keep_the_type_that_y_has():
    for y, y_meta in (
        (Y.astype(bool), Y_META),
        (Y, Y_META.astype(float)),
        (Y, Y_META.astype(bool)),
        (NAMES[Y], NAMES[Y_META].astype(object)),
    ):
        clf = OTWeightedClassifier().fit(X, y, X_meta=X_META, y_meta=y_meta)
        assert [type(label) for label in clf.classes_.tolist()] == [type(y[0].item())] * 2


def test_label_columns_of_mixed_types():
    y, y_meta = np.c_[Y, np.arange(20) % 4 > 1], np.c_[Y_META, np.arange(6) > 2]
    plain = ot_sample_weight(X, y, X_META, y_meta, prior="uniform")
    assert_allclose(ot_sample_weight(X, y.astype(object), X_META, y_meta, prior="uniform"), plain)
    frames = [pd.DataFrame(labels, columns=["label", "group"]) for labels in (y, y_meta)]
    assert_allclose(ot_sample_weight(X, frames[0], X_META, frames[1], prior="uniform"), plain)
    named = [frame.astype({"group": str}) for frame in frames]
    assert_allclose(ot_sample_weight(X, named[0], X_META, named[1], prior="uniform"), plain)


def test_continuous_targets_of_any_type():
    y, y_meta = np.arange(20) / 4.0, np.arange(6) / 2.0 + 0.25
    plain = ot_sample_weight(X, y, X_META, y_meta)
    for convert in (
        lambda y: [Decimal(v) for v in y.tolist()],
        lambda y: pd.Series(y, dtype="Float64", index=np.arange(len(y)) + 3),
        lambda y: y.astype(object),
        pl.Series,
    ):
        assert_allclose(ot_sample_weight(X, convert(y), X_META, convert(y_meta)), plain)
        clf = OTWeightedRegressor().fit(X, convert(y), X_meta=X_META, y_meta=convert(y_meta))
        assert_allclose(clf.weighter_.sample_weight_, plain)


def with_last(y, value):
    return np.array([*y[:-1].tolist(), value], dtype=object)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT, Decimal("NaN")], ids=str)
def test_missing_labels_are_refused_with_their_row(name, missing):
    for y, y_meta in ((Y, Y_META), (NAMES[Y], NAMES[Y_META])):
        with pytest.raises(
            ValueError, match=r"y contains NaN or None, first in row 19\. Drop the rows without a label"
        ):
            ENTRIES[name](X, with_last(y, missing), X_META, y_meta)
        with pytest.raises(ValueError, match=r"y_meta contains NaN or None, first in row 5\. Drop the rows"):
            ENTRIES[name](X, y, X_META, with_last(y_meta, missing))


@pytest.mark.parametrize(
    ("y", "target_type", "message"),
    [
        (with_last(Y, None), "classes", "Input y contains NaN or None, first in row 19"),
        (np.linspace(0.0, 1.0, 20), "classes", "Unknown label type: y holds continuous"),
        (np.linspace(0.0, 1.0, 40).reshape(20, 2), "columns", "^y has columns of continuous numbers"),
    ],
)
def test_without_a_meta_set_errors_speak_of_y(y, target_type, message):
    with pytest.raises(ValueError, match=message):
        OTSampleWeighter(n_prototypes=1, target_type=target_type).fit(X, y)


@pytest.mark.parametrize("name", ENTRIES)
def test_missing_labels_of_other_containers(name):
    for y in (
        np.ma.masked_where(np.arange(20) == 19, Y),
        np.ma.masked_where(np.arange(20) == 19, NAMES[Y]),
        pd.Series(NAMES[Y]).where(np.arange(20) != 19),
        pd.Series(pd.Categorical(NAMES[Y])).where(np.arange(20) != 19),
        pl.Series([*NAMES[Y[:-1]].tolist(), None]),
        [*NAMES[Y[:-1]].tolist(), np.nan],
    ):
        with pytest.raises(ValueError, match=r"y contains NaN or None, first in row 19\."):
            ENTRIES[name](X, y, X_META, NAMES[Y_META])


def test_names_that_look_like_missing_labels_are_names(expected):
    names = np.array(["None", "nan"])
    assert_array_equal(ot_sample_weight(X, names[Y], X_META, names[Y_META]), expected["ot_sample_weight"])


@pytest.mark.parametrize("name", ENTRIES)
def test_labels_that_cannot_be_compared_are_refused(name):
    mixed = with_last(Y, "a")
    with pytest.raises(ValueError, match=r"y mixes types of labels: 0 \(number\), 'a' \(text\). Give all labels the"):
        ENTRIES[name](X, mixed, X_META, Y_META)
    with pytest.raises(ValueError, match="y_meta mixes types of labels"):
        ENTRIES[name](X, Y, X_META, with_last(Y_META, "a"))
    with pytest.raises(ValueError, match=r"y holds bytes. Turn them into text first: numpy.char.decode\(y\)"):
        ENTRIES[name](X, np.char.encode(NAMES[Y]), X_META, NAMES[Y_META])
    with pytest.raises(ValueError, match="y_meta holds bytes"):
        ENTRIES[name](X, NAMES[Y], X_META, np.char.encode(NAMES[Y_META]).astype(object))
    with pytest.raises(ValueError, match=r"y and y_meta cannot be compared: 'a', 'b' against 3, 4\. Give both"):
        ENTRIES[name](X, NAMES[Y], X_META, Y_META + 3)


@pytest.mark.parametrize("name", ENTRIES)
def test_a_label_that_is_spelled_otherwise_is_named_beside_those_known(name):
    spelled = np.array(["cat ", "dog"])
    with pytest.raises(ValueError, match=r"lack: 'cat '.*The trusted rows have 'cat', 'dog': if it spells a class"):
        ENTRIES[name](X, spelled[Y], X_META, np.array(["cat", "dog"])[Y_META])


def test_later_labels_are_of_the_same_type():
    w = OTSampleWeighter().fit(X, Y, X_META, Y_META)
    assert_allclose(w.weigh(X, Y.astype(object)), w.sample_weight_, rtol=1e-9)
    with pytest.raises(ValueError, match="y contains NaN or None, first in row 0"):
        w.weigh(X[:2], [None, 1])
    with pytest.raises(ValueError, match="cannot be compared"):
        w.weigh(X, NAMES[Y])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
@pytest.mark.parametrize("end", ["least", "largest", "both"])
def test_classes_may_be_any_integers(dtype, end):
    limits = np.iinfo(dtype)
    names = {
        "least": [limits.min, limits.min + 2],
        "largest": [limits.max - 4, limits.max],
        "both": [limits.min, limits.max],
    }
    labels = np.array(names[end], dtype=dtype)
    y, y_meta = labels[Y], labels[Y_META]
    assert_array_equal(ot_sample_weight(X, y, X_META, y_meta), ot_sample_weight(X, Y, X_META, Y_META))
    y[4] = labels[0] + 1
    with pytest.raises(ValueError, match=f"classes that the trusted rows lack: {y[4]}"):
        ot_sample_weight(X, y, X_META, y_meta)


def test_continuous_targets_that_are_missing():
    y = rng.normal(size=20)
    for missing in (None, np.nan, pd.NA):
        with pytest.raises(ValueError, match=r"y contains NaN or infinity, first in row 19\. Drop the rows without a"):
            ot_sample_weight(X, with_last(y, missing), X_META, rng.normal(size=6))
    with pytest.raises(ValueError, match=r"y_meta contains NaN or infinity, first in row 5\. Drop the rows without a"):
        ot_sample_weight(X, y, X_META, np.r_[y[:5], np.inf], target_type="continuous")


def test_amounts_taken_for_classes_are_told_of_continuous_targets():
    X, X_meta = np.arange(40.0)[:, None], np.arange(10.0)[:, None]
    with pytest.raises(ValueError, match=r"classes that the trusted rows lack: 1, .*target_type='continuous'"):
        OTSampleWeighter().fit(X, np.arange(40), X_meta, 3 * np.arange(10))
