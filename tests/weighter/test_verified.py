"""``y_verified``: rows of X that were reviewed are the trusted set, as if they had been taken out of X."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.datasets import make_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from skotw import (
    OTResampler,
    OTSampleWeighter,
    OTWeightedClassifier,
    OTWeightedRegressor,
    find_label_errors,
    ot_sample_weight,
)
from skotw.datasets import flip_labels

X, TRUE = make_classification(100, 5, n_informative=5, n_redundant=0, n_classes=3, class_sep=2.0, random_state=0)
Y = flip_labels(TRUE, 0.3, random_state=0)
ROWS = np.arange(3, 100, 5)  # reviewed
OTHERS = np.setdiff1d(np.arange(100), ROWS)
VERIFIED = np.full(100, np.nan)
VERIFIED[ROWS] = TRUE[ROWS]
APART = X[OTHERS], Y[OTHERS], X[ROWS], TRUE[ROWS]


def objects(labels):
    """Labels of the reviewed rows, and None."""
    return [labels[i] if i in ROWS else None for i in range(100)]


def test_it_is_the_rows_as_a_set_of_their_own():
    weighter = OTSampleWeighter().fit(X, Y, y_verified=VERIFIED)
    apart = OTSampleWeighter().fit(*APART)
    assert_array_equal(weighter.sample_weight_[OTHERS], apart.sample_weight_)
    assert_array_equal(weighter.sample_weight_[ROWS], 0.0)
    assert_array_equal(weighter.potentials_, apart.potentials_)
    assert_array_equal(weighter.label_confidence_[OTHERS], apart.label_confidence_)
    assert np.isnan(weighter.label_confidence_[ROWS]).all()
    assert weighter.label_reliability_.overall == apart.label_reliability_.overall
    assert weighter.sample_weight_.sum() == pytest.approx(len(OTHERS))
    assert weighter.effective_sample_size_ == pytest.approx(apart.effective_sample_size_)


def test_weights_in_one_call():
    expected = OTSampleWeighter(reg=0.1).fit(X, Y, y_verified=VERIFIED).sample_weight_
    assert_array_equal(OTSampleWeighter(reg=0.1).fit_weights(X, Y, y_verified=VERIFIED), expected)
    assert_array_equal(ot_sample_weight(X, Y, y_verified=VERIFIED, reg=0.1), expected)


INTEGERS = np.where(np.isnan(VERIFIED), 0, VERIFIED).astype(int)
MARKS = {
    "floats": VERIFIED,
    "list": VERIFIED.tolist(),
    "list with None": objects(TRUE.tolist()),
    "objects": np.array(objects(TRUE.tolist()), dtype=object),
    "column": VERIFIED[:, None],
    "mask": np.ma.masked_array(INTEGERS, np.isnan(VERIFIED)),
    "pandas": pd.Series(VERIFIED),
    "pandas integers": pd.Series(objects(TRUE.tolist()), dtype="Int64"),
    "pandas objects": pd.Series(objects(TRUE.tolist()), dtype=object),
    "pandas categories": pd.Series(objects(TRUE.tolist()), dtype="category"),
    "polars": pl.Series(objects(TRUE.tolist())),
}


@pytest.mark.parametrize("mark", MARKS)
def test_marks_of_rows_that_nobody_has_reviewed(mark):
    weighter = OTSampleWeighter(reg=0.1).fit(X, Y, y_verified=MARKS[mark])
    assert_array_equal(weighter.sample_weight_[OTHERS], OTSampleWeighter(reg=0.1).fit(*APART).sample_weight_)
    assert weighter.classes_.dtype == Y.dtype
    assert_array_equal(weighter.classes_, [0, 1, 2])


def test_tensors():
    torch = pytest.importorskip("torch")
    expected = OTSampleWeighter(reg=0.1).fit(*APART).sample_weight_
    weighter = OTSampleWeighter(reg=0.1).fit(X, Y, y_verified=torch.as_tensor(VERIFIED))
    assert_array_equal(weighter.sample_weight_[OTHERS], expected)
    with config_context(array_api_dispatch=True):
        rows, y = torch.as_tensor(X), torch.as_tensor(Y)
        weighter = OTSampleWeighter(reg=0.1).fit(rows, y, y_verified=torch.as_tensor(VERIFIED))
        assert_allclose(weighter.sample_weight_.numpy()[OTHERS], expected, rtol=1e-10)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT], ids=str)
@pytest.mark.parametrize("kind", ["list", "array", "pandas"])
def test_text_labels(missing, kind):
    names = np.array(["ant", "bee", "cat"])
    verified = [missing if label is None else label for label in objects(names[TRUE].tolist())]
    if kind != "list":
        verified = np.array(verified, dtype=object)
    verified = pd.Series(verified) if kind == "pandas" else verified
    weighter = OTSampleWeighter(reg=0.1).fit(X, names[Y], y_verified=verified)
    assert_array_equal(weighter.sample_weight_[OTHERS], OTSampleWeighter(reg=0.1).fit(*APART).sample_weight_)
    assert weighter.classes_.dtype == names.dtype


def test_masked_text_and_dates():
    for labels in (np.array(["ant", "bee", "cat"]), np.array(["2020", "2021", "2022"], dtype="datetime64[Y]")):
        if labels.dtype.kind == "U":
            verified = np.ma.masked_array(labels[TRUE], np.isnan(VERIFIED))
        else:
            verified = np.where(np.isnan(VERIFIED), np.datetime64("NaT"), labels[TRUE])
        weighter = OTSampleWeighter(reg=0.1).fit(X, labels[Y], y_verified=verified)
        assert_array_equal(weighter.sample_weight_[OTHERS], OTSampleWeighter(reg=0.1).fit(*APART).sample_weight_)


def test_minus_one_is_a_class():
    y, true = np.where(Y == 0, -1, Y), np.where(TRUE == 0, -1, TRUE)
    verified = np.where(np.isnan(VERIFIED), np.nan, true)
    weighter = OTSampleWeighter(reg=0.1).fit(X, y, y_verified=verified)
    assert_array_equal(weighter.classes_, [-1, 1, 2])
    with pytest.raises(ValueError, match=r"label for every row.*A number such as -1 is a label"):
        OTSampleWeighter().fit(X, Y, y_verified=np.where(np.isnan(VERIFIED), -1, TRUE))


def test_labels_of_reviewed_rows_are_not_looked_at():
    y = Y.astype(object)
    y[ROWS] = None
    y[ROWS[0]] = "anything"
    weighter = OTSampleWeighter(reg=0.1).fit(X, y, y_verified=VERIFIED)
    assert_array_equal(weighter.sample_weight_[OTHERS], OTSampleWeighter(reg=0.1).fit(*APART).sample_weight_)


def test_sample_weight_of_reviewed_rows_is_theirs_as_trusted_rows():
    sample_weight = np.random.default_rng(0).integers(0, 4, size=100).astype(float)
    weighter = OTSampleWeighter().fit(X, Y, y_verified=VERIFIED, sample_weight=sample_weight)
    apart = OTSampleWeighter()
    apart.fit(*APART, sample_weight=sample_weight[OTHERS], sample_weight_meta=sample_weight[ROWS])
    assert_array_equal(weighter.sample_weight_[OTHERS], apart.sample_weight_)
    assert weighter.sample_weight_.sum() == pytest.approx(sample_weight[OTHERS].sum())
    assert_array_equal(weighter.class_mass_, apart.class_mass_)


def test_continuous_target():
    target = X @ np.arange(5.0)
    noisy = np.where(np.arange(100) % 3, target, target[::-1])
    verified = np.where(np.isnan(VERIFIED), np.nan, target)
    weights = OTSampleWeighter().fit_weights(X, noisy, y_verified=verified)
    expected = OTSampleWeighter().fit_weights(X[OTHERS], noisy[OTHERS], X[ROWS], target[ROWS])
    assert_array_equal(weights[OTHERS], expected)


def test_label_columns():
    y, true = np.c_[Y, Y % 2], np.c_[TRUE, TRUE % 2]
    verified = np.where(np.isnan(VERIFIED)[:, None], np.nan, true)
    weighter = OTSampleWeighter(reg=0.1).fit(X, y, y_verified=verified)
    apart = OTSampleWeighter(reg=0.1).fit(X[OTHERS], y[OTHERS], X[ROWS], true[ROWS])
    assert_array_equal(weighter.sample_weight_[OTHERS], apart.sample_weight_)
    assert weighter.classes_ == apart.classes_
    verified[ROWS[1], 0] = np.nan
    with pytest.raises(ValueError, match=f"has some labels of row {ROWS[1]} and lacks others"):
        OTSampleWeighter().fit(X, y, y_verified=verified)


@pytest.mark.parametrize(
    "convert",
    [
        sparse.csr_array,
        lambda X: pd.DataFrame(X).rename(columns=str),
        lambda X: pl.DataFrame(X, schema=list("abcde")),
        lambda X: [f"{word} {word}" for word in np.array(["red", "green", "blue"])[(X[:, 0] * 7).astype(int) % 3]],
    ],
    ids=["sparse", "pandas", "polars", "texts"],
)
def test_containers(convert):
    rows = convert(X)
    embedding = TfidfVectorizer() if isinstance(rows, list) else "scale"
    apart = [[rows[i] for i in index] if embedding != "scale" else convert(X[index]) for index in (OTHERS, ROWS)]
    weighter = OTSampleWeighter(reg=0.1, embedding=embedding).fit(rows, Y, y_verified=VERIFIED)
    expected = OTSampleWeighter(reg=0.1, embedding=embedding)
    expected.fit(apart[0], Y[OTHERS], apart[1], TRUE[ROWS])
    assert_allclose(weighter.sample_weight_[OTHERS], expected.sample_weight_, rtol=1e-10)


def test_one_set_warns_of_nothing_that_two_sets_may_be():
    """Rows that repeat, and more reviewed rows than others."""
    rows, y = np.tile(X[:20], (6, 1)), np.tile(TRUE[:20], 6)
    verified = y.astype(float)
    verified[:10] = np.nan
    OTSampleWeighter(reg=0.2).fit(rows, y, y_verified=verified)


@pytest.mark.parametrize(
    ("sets", "match"),
    [
        ({"y_verified": VERIFIED[:50]}, "y_verified has 50 values for 100 rows. It needs one per row"),
        ({"y": Y[:50]}, "y has 50 labels for 100 rows"),
        ({"y_verified": 3}, "y_verified is 3, which is no array. It needs one per row"),
        ({"y_verified": np.array(3.0)}, "which is no array. It needs one per row"),
        ({"y_verified": "cat"}, "y_verified is 'cat', which is no array"),
        ({"y_verified": dict.fromkeys(range(100), 1)}, "which is no array"),
        ({"y_verified": [[1], [1, 2]] * 50}, "y_verified has rows of different lengths"),
        ({"y_verified": VERIFIED[:, None, None]}, r"y_verified has shape \(100, 1, 1\)"),
        ({"y_verified": np.full(100, np.nan)}, "marks every row as not reviewed.*stratify by what is reviewed"),
        ({"y_verified": TRUE}, "a label for every row, so that no row is left"),
        ({"y": None}, "y_verified was given without y"),
        ({"X_meta": X[:5]}, "trusted rows came twice.*append X_meta to X"),
        ({"y_meta": Y[:5]}, "trusted rows came twice"),
        ({"sample_weight_meta": Y[:5]}, "trusted rows came twice"),
        ({"y_verified": np.where(VERIFIED == 2, np.nan, VERIFIED)}, "lack: 2.*or review rows of them for y_verified"),
        ({"y_verified": objects(list("abc" * 40))}, "y_verified and y cannot be compared"),
        ({"sample_weight": np.isnan(VERIFIED)}, "sample_weight is zero for every row that is reviewed"),
        ({"sample_weight": ~np.isnan(VERIFIED)}, "sample_weight is zero for every row that is not reviewed"),
        ({"sample_weight": np.ones(50)}, r"sample_weight must have shape \(100,\)"),
        ({"y": np.where(np.arange(100) == 1, np.nan, Y)}, "y contains NaN or None"),
        (
            {"X": pd.DataFrame(X), "y": Y, "y_verified": pd.Series(VERIFIED, index=np.arange(100)[::-1])},
            "X and y_verified have the same index in another order",
        ),
        ({"X": np.where(np.arange(100)[:, None] == ROWS[2], np.nan, X)}, f"row {ROWS[2]}"),
    ],
)
def test_what_makes_no_sense(sets, match):
    with pytest.raises(ValueError, match=match):
        OTSampleWeighter().fit(**{"X": X, "y": Y, "y_verified": VERIFIED, **sets})


def test_precomputed_costs():
    with pytest.raises(ValueError, match=r"metric='precomputed' takes costs.*pass their labels as y_meta"):
        OTSampleWeighter(metric="precomputed").fit(np.abs(X), Y, y_verified=VERIFIED)


def test_a_verified_class_that_no_other_row_has():
    verified = np.where(np.arange(100) == ROWS[0], 7, VERIFIED)
    with pytest.warns(UserWarning, match="classes without training rows: 7"):
        weighter = OTSampleWeighter(reg=0.1).fit(X, Y, y_verified=verified)
    assert_array_equal(weighter.classes_, [0, 1, 2])


@pytest.mark.parametrize(
    "fit",
    [
        OTWeightedClassifier().fit,
        OTWeightedRegressor().fit,
        OTResampler().fit_resample,
        OTSampleWeighter().fit_weights,
        ot_sample_weight,
        find_label_errors,
    ],
    ids=["classifier", "regressor", "resampler", "fit_weights", "ot_sample_weight", "find_label_errors"],
)
@pytest.mark.parametrize(
    ("y_verified", "match"),
    [(3, "which is no array"), (VERIFIED[:50], "50 values for 100 rows"), (np.full(100, np.nan), "every row as not")],
    ids=["scalar", "short", "missing"],
)
def test_every_entry_says_so(fit, y_verified, match):
    with pytest.raises(ValueError, match=match):
        fit(X, Y, y_verified=y_verified)


def test_a_stream_learns_from_what_was_reviewed_of_its_first_chunk():
    X_scaled = StandardScaler().fit_transform(X)
    params = {"embedding": None, "cost_scale": 1.0, "reg": 0.1}
    first, second = np.arange(60), np.arange(60, 100)
    verified = np.where(np.arange(100) < 60, VERIFIED, np.nan)
    whole = OTSampleWeighter(**params).fit(X_scaled, Y, y_verified=verified)
    stream = OTSampleWeighter(**params).partial_fit(X_scaled[first], Y[first], y_verified=verified[first])
    stream.partial_fit(X_scaled[second], Y[second])
    assert_allclose(stream.potentials_, whole.potentials_, rtol=1e-12)
    rest = np.isnan(verified)
    assert_allclose(stream.weigh(X_scaled[rest], Y[rest]), whole.sample_weight_[rest], rtol=1e-12)
    assert stream.label_reliability_.overall == pytest.approx(whole.label_reliability_.overall)


def test_later_chunks_bring_no_reviewed_rows():
    stream = OTSampleWeighter(reg=0.1).partial_fit(X, Y, y_verified=VERIFIED)
    before = stream.potentials_
    with pytest.raises(ValueError, match=r"take no y_verified\. Give reviewed rows the weight 0"):
        stream.partial_fit(X, Y, y_verified=VERIFIED)
    assert_array_equal(stream.potentials_, before)


@pytest.mark.parametrize("method", ["weigh", "label_confidence", "transport_plan"])
@pytest.mark.parametrize("name", ["y_verified", "X_meta"])
def test_rows_that_come_later_have_no_trusted_ones(method, name):
    weighter = OTSampleWeighter(reg=0.1).fit(*APART)
    with pytest.raises(TypeError, match=f"OTSampleWeighter.{method} takes no {name}. The trusted rows are those"):
        getattr(weighter, method)(X, Y, **{name: VERIFIED})
