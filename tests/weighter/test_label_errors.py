"""Wrong labels found: a ranking of rows, and how many of them to check."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skotw import OTSampleWeighter, find_label_errors
from skotw._weighter.label_errors import LabelErrors
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

DATA = load_digits(n_class=4, return_X_y=True)
X, TRUE, X_META, Y_META = balanced_meta_split(*DATA, n_per_class=15, random_state=0)
Y, WRONG = flip_labels(TRUE, 0.2, random_state=0, return_mask=True)
PLAIN = OTSampleWeighter()


def found(**params):
    return find_label_errors(X, Y, X_META, Y_META, **{"weighter": PLAIN, **params})


def test_rows_are_ranked_by_the_confidence_of_their_label():
    errors = found()
    weighter = OTSampleWeighter().fit(X, Y, X_META, Y_META)
    assert_array_equal(np.sort(errors.indices), np.arange(len(Y)))
    assert_array_equal(errors.confidence, weighter.label_confidence_[errors.indices])
    assert np.all(np.diff(errors.confidence) >= 0)
    assert_array_equal(errors.label, Y[errors.indices])
    assert errors.weighter.reg_ == weighter.reg_
    assert_array_equal(errors.weighter.label_confidence_, weighter.label_confidence_)


def test_suggested_is_the_label_of_most_confidence():
    errors = found()
    shares = [errors.weighter.label_confidence(X, np.full(len(Y), c)) for c in range(4)]
    assert_array_equal(errors.suggested, np.argmax(shares, axis=0)[errors.indices])


def test_wrong_labels_come_first_and_right_ones_are_suggested():
    errors = found()
    first = errors.indices[: WRONG.sum()]
    assert WRONG[first].mean() > 0.9
    assert np.mean(errors.suggested[: len(first)] == TRUE[first]) > 0.9


def test_number_of_wrong_labels():
    errors = found()
    assert abs(errors.n_errors - WRONG.sum()) < 3 * errors.n_errors_se
    assert 0 < errors.n_errors_se < len(Y) / 10
    reliability = errors.weighter.label_reliability_
    counts = np.bincount(Y)
    assert errors.n_errors == pytest.approx(counts @ (1 - reliability.precision))
    assert errors.n_errors_se**2 == pytest.approx(counts**2 @ reliability.precision_se**2)
    assert len(errors.suspects) == np.ceil(errors.n_errors)
    assert_array_equal(errors.suspects, errors.indices[: len(errors.suspects)])


def test_number_where_the_precision_of_a_label_is_unknown():
    """One trusted row of a class: the mean precision of all labels takes its place."""
    kept = (Y_META != 3) | (np.cumsum(Y_META == 3) == 1)
    errors = find_label_errors(X, Y, X_META[kept], Y_META[kept], weighter=PLAIN)
    reliability = errors.weighter.label_reliability_
    assert np.isnan(reliability.precision[3])
    mean = 0.25 + 0.75 * reliability.overall
    precision = np.r_[reliability.precision[:3], mean]
    assert errors.n_errors == pytest.approx(np.bincount(Y) @ (1 - precision))
    se = np.r_[reliability.precision_se[:3], 0.75 * reliability.overall_se]
    assert errors.n_errors_se == pytest.approx(np.sqrt(np.bincount(Y) ** 2 @ se**2))


def test_number_that_cannot_be_known():
    lonely = np.unique(Y_META, return_index=True)[1]
    errors = find_label_errors(X, Y, X_META[lonely], Y_META[lonely], weighter=PLAIN)
    assert np.isnan(errors.n_errors)
    assert np.isnan(errors.n_errors_se)
    assert_array_equal(errors.suspects, errors.indices[errors.label != errors.suggested])
    assert repr(errors).startswith("LabelErrors: an unknown number of ")


def test_reviewed_rows_and_rows_without_weight_are_not_ranked():
    rows, y = np.vstack([X_META, X]), np.r_[Y_META, Y]
    verified = np.r_[Y_META, np.full(len(Y), np.nan)]
    errors = find_label_errors(rows, y, y_verified=verified, weighter=PLAIN)
    assert_array_equal(errors.indices - len(Y_META), found().indices)
    assert errors.n_errors == found().n_errors
    sample_weight = np.r_[np.zeros(20), np.ones(len(Y) - 20)]
    assert_array_equal(np.sort(found(sample_weight=sample_weight).indices), np.arange(20, len(Y)))


def test_weights_reach_the_weighter():
    weights = {"sample_weight": np.linspace(1, 2, len(Y)), "sample_weight_meta": np.linspace(1, 3, len(Y_META))}
    expected = OTSampleWeighter().fit(X, Y, X_META, Y_META, **weights).label_confidence_
    errors = found(**weights)
    assert_array_equal(errors.confidence, expected[errors.indices])


def test_the_weighter_given_stays_unfitted():
    weighter = OTSampleWeighter(reg=0.1)
    errors = found(weighter=weighter)
    assert errors.weighter.reg_ == 0.1
    assert not hasattr(weighter, "reg_")


def test_names_and_index_of_frames():
    names = np.array(["zero", "one", "two", "three"])
    frame = pd.DataFrame(X, index=np.arange(len(X)) + 1000).rename(columns=str)
    meta = pd.DataFrame(X_META).rename(columns=str)
    errors = find_label_errors(frame, names[Y], meta, names[Y_META], weighter=PLAIN)
    plain = found()
    assert_array_equal(errors.indices, plain.indices)
    assert_array_equal(errors.suggested, names[plain.suggested])


def test_label_combinations():
    y, y_meta = np.c_[Y, Y > 1], np.c_[Y_META, Y_META > 1]
    errors = find_label_errors(X, y, X_META, y_meta, weighter=PLAIN)
    assert errors.label[0] == tuple(y[errors.indices[0]])
    assert np.isnan(errors.n_errors)
    assert WRONG[errors.suspects].mean() > 0.75


def test_a_table_of_it():
    errors = found()
    frame = errors.to_frame()
    assert list(frame.columns) == ["label", "suggested", "confidence"]
    assert_array_equal(frame.index, errors.indices)
    assert frame.index.name == "row"
    assert_allclose(frame["confidence"], errors.confidence)
    assert len(errors) == len(frame) == len(Y)


def test_how_it_reads():
    errors = LabelErrors(
        np.arange(12), np.repeat("cat", 12), np.linspace(0, 1, 12), np.repeat("dog", 12), 3.4, 1.2, OTSampleWeighter()
    )
    lines = repr(errors).splitlines()
    assert lines[0] == "LabelErrors: about 3 ± 1 of 12 labels may be wrong"
    assert lines[1] == "row  label  suggested  confidence"
    assert lines[2] == "  0    cat        dog           0"
    assert lines[-1] == "... and 2 more"
    assert len(errors.suspects) == 4


def test_default_has_models_judge_rows_that_they_have_not_seen():
    errors = find_label_errors(X, Y, X_META, Y_META, random_state=3)
    weighter = OTSampleWeighter(embedding="supervised", prior="confidence", random_state=3).fit(X, Y, X_META, Y_META)
    assert_array_equal(errors.confidence, weighter.label_confidence_[errors.indices])
    assert WRONG[errors.suspects].mean() > 0.95
    assert abs(errors.n_errors - WRONG.sum()) < 10
    known = errors.weighter.label_confidence(X[errors.indices], errors.label)
    assert_allclose(known, errors.confidence, rtol=1e-10)


@pytest.mark.parametrize("weighter", [None, PLAIN], ids=["default", "plain"])
def test_without_classes_nothing_is_wrong(weighter):
    with pytest.raises(ValueError, match=r"compares classes, and y holds continuous numbers\. Bin them"):
        find_label_errors(X, X[:, 3] + 0.5 * X[:, 4] / 7, X_META, X_META[:, 3] / 7, weighter=weighter)
    with pytest.raises(ValueError, match="judges labels, and y is None"):
        find_label_errors(X, None, X_META, weighter=weighter)


def test_label_columns_need_a_weighter_that_takes_them():
    y, y_meta = np.stack([Y, Y], axis=1), np.stack([Y_META, Y_META], axis=1)
    with pytest.raises(ValueError, match=r"y has several label columns.*weighter=OTSampleWeighter\(\)"):
        find_label_errors(X, y, X_META, y_meta)
    found = find_label_errors(X, y, X_META, y_meta, weighter=OTSampleWeighter(reg=0.1))
    assert found.label[0] == tuple(y[found.indices[0]])


def test_default_needs_trusted_rows():
    with pytest.raises(ValueError, match=r"needs trusted rows\. Pass X_meta and y_meta, or y_verified"):
        find_label_errors(X, Y)


def test_without_trusted_rows():
    with pytest.warns(UserWarning, match="There are no trusted rows"):
        find_label_errors(X, Y, weighter=PLAIN)


def test_only_a_weighter_ranks():
    with pytest.raises(TypeError, match=r"an OTSampleWeighter or None; got LogisticRegression.*embedding="):
        find_label_errors(X, Y, X_META, Y_META, weighter=LogisticRegression())


@pytest.mark.parametrize("label_weight", [0.0, 1.0])
def test_a_ranking_that_says_nothing_is_told(label_weight):
    weighter = OTSampleWeighter(label_weight=label_weight, reg=0.1)
    with pytest.warns(UserWarning, match="All labels are equally likely"):
        errors = find_label_errors(X, Y, X_META, Y_META, weighter=weighter)
    assert_allclose(errors.confidence, 1 / len(np.unique(Y)), rtol=1e-6)


@pytest.mark.parametrize("name", ["y_meta", "y_verified"])
def test_trusted_labels_that_are_no_classes(name):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 2)), np.arange(40) % 2
    numbers = rng.normal(size=40)
    trusted = {
        "y_meta": {"X_meta": rows, "y_meta": numbers},
        "y_verified": {"y_verified": np.where(labels, np.nan, numbers)},
    }
    with pytest.raises(ValueError, match=f"compares classes, and {name} holds continuous numbers. Bin them"):
        find_label_errors(rows, labels, **trusted[name])


def test_labels_of_reviewed_rows_may_be_missing():
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(float)
    rows, reviewed = rng.normal(size=(60, 2)) + 3 * labels[:, None], np.arange(60) < 20
    found = find_label_errors(
        rows, np.where(reviewed, np.nan, labels), y_verified=np.where(reviewed, labels, np.nan), random_state=0
    )
    assert sorted(found.indices) == list(range(20, 60))
