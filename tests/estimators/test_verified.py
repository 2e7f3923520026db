"""``y_verified`` in the estimators: reviewed rows are trusted, stay in X, and are trained on with their right label."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, make_weighted_pipeline
from skotw.datasets import flip_labels

N = 120
X, TRUE = make_classification(N, 5, n_informative=5, n_redundant=0, n_classes=3, class_sep=2.0, random_state=0)
Y = flip_labels(TRUE, 0.3, random_state=0)
ROWS = np.arange(3, N, 5)  # reviewed
OTHERS = np.setdiff1d(np.arange(N), ROWS)
VERIFIED = np.full(N, np.nan)
VERIFIED[ROWS] = TRUE[ROWS]
CORRECTED = np.where(np.isnan(VERIFIED), Y, TRUE)
APART = (X[OTHERS], Y[OTHERS]), {"X_meta": X[ROWS], "y_meta": TRUE[ROWS]}
PLAIN = OTSampleWeighter()


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted to."""

    seen = {}

    def fit(self, X, y, sample_weight=None, groups=None):
        Recorder.seen = {"X": X, "y": y, "sample_weight": sample_weight, "groups": groups}
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def classifier(**params):
    return OTWeightedClassifier(**{"weighter": PLAIN, **params})


@pytest.mark.parametrize("meta_weight", ["auto", "balanced", 0.3])
@pytest.mark.parametrize("include_meta", [True, False])
def test_it_is_the_rows_as_a_set_of_their_own(meta_weight, include_meta):
    clf = classifier(meta_weight=meta_weight, include_meta=include_meta).fit(X, Y, y_verified=VERIFIED)
    sets, meta = APART
    apart = classifier(meta_weight=meta_weight, include_meta=include_meta).fit(*sets, **meta)
    assert_allclose(clf.sample_weight_[OTHERS], apart.sample_weight_, rtol=1e-12)
    assert_allclose(clf.sample_weight_[ROWS], apart.sample_weight_meta_ if include_meta else 0.0, rtol=1e-12)
    assert clf.sample_weight_.shape == (N,)
    assert clf.sample_weight_meta_.shape == (0,)
    assert_allclose(clf.predict_proba(X), apart.predict_proba(X), rtol=1e-4)


def test_rows_stay_where_they_are():
    clf = classifier(estimator=Recorder()).fit(X, Y, y_verified=VERIFIED, groups=np.arange(N))
    assert Recorder.seen["X"] is X
    assert_array_equal(Recorder.seen["y"], CORRECTED)
    assert Recorder.seen["y"].dtype == Y.dtype
    assert_array_equal(Recorder.seen["sample_weight"], clf.sample_weight_)
    assert_array_equal(Recorder.seen["groups"], np.arange(N))
    # the sum rule
    assert classifier(meta_weight="balanced").fit(X, Y, y_verified=VERIFIED).sample_weight_.sum() == pytest.approx(N)


def test_what_is_not_trained_on_is_left_out():
    clf = classifier(estimator=Recorder(), include_meta=False)
    clf.fit(X, Y, y_verified=VERIFIED, groups=np.arange(N))
    assert_array_equal(Recorder.seen["X"], X[OTHERS])
    assert_array_equal(Recorder.seen["y"], Y[OTHERS])
    assert_array_equal(Recorder.seen["sample_weight"], clf.sample_weight_[OTHERS])
    assert_array_equal(Recorder.seen["groups"], OTHERS)
    assert clf.sample_weight_.sum() == pytest.approx(len(OTHERS))


@pytest.mark.parametrize("meta_weight", ["balanced", 0.4])
def test_sample_weight_is_so_many_copies(meta_weight):
    """Of reviewed rows as well, in the weighter and in their share of the total."""
    copies = np.random.default_rng(0).integers(0, 3, size=N)
    index = np.repeat(np.arange(N), copies)
    weighted, repeated = (classifier(weighter=OTSampleWeighter(reg=0.2), meta_weight=meta_weight) for _ in range(2))
    weighted.fit(X, Y, sample_weight=copies, y_verified=VERIFIED)
    repeated.fit(X[index], Y[index], y_verified=VERIFIED[index])
    assert_allclose(
        weighted.sample_weight_, np.bincount(index, repeated.sample_weight_, minlength=N), rtol=1e-10, atol=1e-12
    )


def test_labels_of_reviewed_rows_may_be_missing():
    y = np.where(np.isnan(VERIFIED), Y, np.nan)
    clf = classifier().fit(X, y, y_verified=VERIFIED)
    assert_array_equal(clf.sample_weight_, classifier().fit(X, Y, y_verified=VERIFIED).sample_weight_)
    y[OTHERS[7]] = np.nan
    with pytest.raises(ValueError, match=f"y contains NaN or None, first in row {OTHERS[7]}"):
        classifier().fit(X, y, y_verified=VERIFIED)


def test_text_labels_keep_their_type():
    names = np.array(["ant", "bee", "cat"])
    verified = [None if np.isnan(label) else names[int(label)] for label in VERIFIED]
    clf = classifier().fit(X, names[Y], y_verified=verified)
    assert clf.classes_.dtype == names.dtype
    assert_array_equal(clf.predict(X), names[classifier().fit(X, Y, y_verified=VERIFIED).predict(X)])


def test_a_class_that_only_verified_labels_have_is_learned():
    verified = np.where(np.isin(np.arange(N), ROWS[:6]), 7, VERIFIED)
    with pytest.warns(UserWarning, match="y_verified has labels that y lacks: 7.*They join.*correct y_verified"):
        clf = classifier().fit(X, Y, y_verified=verified)
    assert_array_equal(clf.classes_, [0, 1, 2, 7])


def test_labels_that_seem_recoded_are_told_by_the_name_they_came_under():
    verified = np.where(VERIFIED == 2, 9, VERIFIED)
    with pytest.raises(ValueError, match=r"y_verified holds .*9.*: y seems to have been recoded"):
        classifier().fit(X, Y, y_verified=verified)


# ------------------------------------------------------------------------------------------------
# Handed on


MARKED = {
    "floats": VERIFIED,
    "list": [None if np.isnan(label) else int(label) for label in VERIFIED],
    "mask": np.ma.masked_array(TRUE, np.isnan(VERIFIED)),
    "pandas": pd.Series(VERIFIED),
    "pandas integers": pd.Series(VERIFIED).astype("Int64"),
}


@pytest.mark.parametrize("mark", MARKED)
@pytest.mark.parametrize("routing", [False, True])
def test_searches_and_cross_validation_slice_it(mark, routing):
    cv, verified = KFold(3), MARKED[mark]
    expected = []
    for train, test in cv.split(X):
        clf = classifier().fit(X[train], Y[train], y_verified=VERIFIED[train])
        expected.append(clf.score(X[test], Y[test]))
    with sklearn.config_context(enable_metadata_routing=routing):
        scores = cross_validate(classifier(), X, Y, cv=cv, params={"y_verified": verified})["test_score"]
        assert_allclose(scores, expected)
        search = GridSearchCV(classifier(), {"weighter__reg": ["auto"]}, cv=cv).fit(X, Y, y_verified=verified)
    assert search.best_score_ == pytest.approx(np.mean(expected))
    whole = classifier().fit(X, Y, y_verified=VERIFIED)
    assert_allclose(search.best_estimator_.sample_weight_, whole.sample_weight_, rtol=1e-12)


def test_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_weighted_pipeline(PCA(3), LogisticRegression(), weighter=PLAIN)
        pipe.fit(X, Y, y_verified=VERIFIED)
    clf = classifier().fit(PCA(3).fit_transform(X), Y, y_verified=VERIFIED)
    assert_allclose(pipe[-1].sample_weight_, clf.sample_weight_, rtol=1e-10)


@pytest.mark.parametrize("include_meta", [True, False])
def test_resampler(include_meta):
    resampler = OTResampler(weighter=PLAIN, include_meta=include_meta, random_state=0)
    rows, y = resampler.fit_resample(X, Y, y_verified=VERIFIED)
    drawn = resampler.sample_indices_
    assert_array_equal(rows, X[drawn])
    assert_array_equal(y, CORRECTED[drawn])
    assert len(y) == (N if include_meta else len(OTHERS))
    assert np.isin(drawn, ROWS).any() == include_meta
    clf = classifier(include_meta=include_meta).fit(X, Y, y_verified=VERIFIED)
    assert_array_equal(resampler.sample_weight_, clf.sample_weight_)
    assert_array_equal(OTResampler(weighter=PLAIN).fit(X, Y, y_verified=VERIFIED).sample_weight_.shape, (N,))


def test_regressor():
    target = X @ np.arange(1.0, 6.0)
    noisy = np.where(np.arange(N) % 3, target, target[::-1])
    verified = np.where(np.isnan(VERIFIED), np.nan, target)
    reg = OTWeightedRegressor(weighter=PLAIN).fit(X, noisy, y_verified=verified)
    apart = OTWeightedRegressor(weighter=PLAIN)
    apart.fit(X[OTHERS], noisy[OTHERS], X_meta=X[ROWS], y_meta=target[ROWS])
    assert_allclose(reg.sample_weight_[OTHERS], apart.sample_weight_, rtol=1e-12)
    assert_allclose(reg.sample_weight_[ROWS], apart.sample_weight_meta_, rtol=1e-12)
    assert_allclose(reg.predict(X), apart.predict(X))
    assert reg.sample_weight_.sum() == pytest.approx(N)


def test_targets_that_were_transformed_in_y_alone():
    target = np.exp(X[:, 0])
    verified = np.where(np.isnan(VERIFIED), np.nan, 1000 + target)
    with pytest.warns(UserWarning, match="as if y had been transformed and y_verified had not"):
        TransformedTargetRegressor(OTWeightedRegressor(), func=np.log, inverse_func=np.exp).fit(
            X, target, y_verified=verified
        )
    OTWeightedRegressor(TransformedTargetRegressor(Ridge(), func=np.log, inverse_func=np.exp)).fit(
        X, target, y_verified=np.where(np.isnan(VERIFIED), np.nan, target)
    )


def test_labels_that_were_recoded_in_y_alone():
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="y seems to have been recoded"),
    ):
        OneVsRestClassifier(OTWeightedClassifier()).fit(X, Y, y_verified=VERIFIED)


# ------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"y_verified": VERIFIED[:7]}, "y_verified has 7 values for 120 rows"),
        ({"y_verified": np.full(N, np.nan)}, "marks every row as not reviewed"),
        ({"y_verified": TRUE}, "a label for every row"),
        ({"y_verified": VERIFIED, "X_meta": X[:9], "y_meta": TRUE[:9]}, "trusted rows came twice"),
        ({"y_verified": VERIFIED, "y": Y + 0.5}, "Unknown label type: continuous"),
    ],
)
def test_what_makes_no_sense_changes_nothing(arguments, match):
    clf = classifier().fit(X, Y, y_verified=VERIFIED)
    before = dict(vars(clf))
    with pytest.raises(ValueError, match=match):
        clf.fit(**{"X": X, "y": Y, **arguments})
    assert vars(clf) == before


def test_trusted_rows_of_the_resampler_twice():
    with pytest.raises(ValueError, match="came twice, as meta= and as X_meta, y_meta or y_verified"):
        OTResampler(meta=(X[:9], TRUE[:9])).fit(X, Y, y_verified=VERIFIED)


@pytest.mark.parametrize("name", ["verified", "y_reviewed", "verified_labels"])
def test_misspelt(name):
    with pytest.raises(TypeError, match=rf"knows no '{name}'.*fit\(X, y, y_verified=...\)"):
        OTWeightedClassifier().fit(X, Y, **{name: VERIFIED})
