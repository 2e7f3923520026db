"""Every warning points at the line of the user's code that led to it, whatever lies between."""

import warnings

import numpy as np
import pytest
import sklearn
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skotw import OTResampler, OTWeightedClassifier, OTWeightedRegressor

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(60, 3)), rng.normal(size=(12, 3))
Y, Y_META = np.arange(60) % 2, np.arange(12) % 2
META = {"X_meta": X_META, "y_meta": Y_META}
TARGET = {"X_meta": X_META, "y_meta": X_META.sum(axis=1)}
NAMES = np.array(["a", "b", "c"])
LOST = {"X_meta": np.r_[X_META, X_META[:2] + 0.1], "y_meta": NAMES[np.r_[Y_META, 2, 2]]}
LONG = {"X_meta": rng.normal(size=(60, 3)), "y_meta": Y}

# What is warned of, by an estimator, its y and its meta set.
KINDS = {
    "lie far outside the range": (OTWeightedClassifier(), Y, {**META, "X_meta": X_META + 50}),
    "are also training rows": (OTWeightedClassifier(), Y, {"X_meta": X[:12], "y_meta": Y_META}),
    "as many rows as X": (OTWeightedClassifier(), Y, LONG),
    "has labels that y lacks": (OTWeightedClassifier(), NAMES[Y], LOST),
    "corrected twice": (OTWeightedClassifier(LogisticRegression(class_weight="balanced")), Y, META),
    "There are no trusted rows": (OTWeightedClassifier(), Y, {}),
    "Without trusted rows": (OTWeightedRegressor(), X.sum(axis=1), {}),
    "column-vector y was passed": (OTWeightedRegressor(), X.sum(axis=1, keepdims=True), TARGET),
    "A column-vector y": (OTWeightedClassifier(), Y[:, None], META),
    "Change the shape of y_meta": (OTWeightedClassifier(), Y, {**META, "y_meta": Y_META[:, None]}),
    "outside the range of those in": (OTWeightedRegressor(), X.sum(axis=1) + 50, TARGET),
}


def caught_by(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return caught


def assert_ours(caught, what):
    assert any(what in str(warning.message) for warning in caught)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.fixture(params=[False, True], ids=["routing off", "routing on"])
def either(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield


@pytest.mark.parametrize("what", KINDS)
def test_from_a_fit(what):
    estimator, y, meta = KINDS[what]
    assert_ours(caught_by(lambda: estimator.fit(X, y, **meta)), what)


@pytest.mark.parametrize("what", KINDS)
def test_from_a_search(either, what):
    estimator, y, meta = KINDS[what]
    search = GridSearchCV(estimator, {"meta_weight": [0.2]}, cv=2, error_score="raise")
    assert_ours(caught_by(lambda: search.fit(X, y, **meta)), what)


@pytest.mark.parametrize("what", KINDS)
def test_from_a_cross_validation(either, what):
    estimator, y, meta = KINDS[what]
    call = caught_by(lambda: cross_val_score(estimator, X, y, cv=2, params=meta, error_score="raise"))
    assert_ours(call, what)


@pytest.mark.parametrize("what", KINDS)
def test_from_a_pipeline(what):
    estimator, y, meta = KINDS[what]
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = Pipeline([("same", FunctionTransformer()), ("last", estimator)], transform_input=["X_meta"])
        assert_ours(caught_by(lambda: pipe.fit(X, y, **meta)), what)


def test_from_a_pipeline_without_routing():
    pipe = make_pipeline(StandardScaler(), OTWeightedClassifier())
    meta = {
        f"otweightedclassifier__{name}": value + 50 for name, value in (("X_meta", X_META), ("y_meta", Y_META - 50))
    }
    assert_ours(caught_by(lambda: pipe.fit(X, Y, **meta)), "lie far outside the range")


def test_from_contradicting_labels_once():
    rows, rows_meta = X + 3 * Y[:, None], X_META + 3 * Y_META[:, None]
    clf = OTWeightedClassifier(random_state=0)
    (caught,) = caught_by(lambda: clf.fit(rows, 1 - Y, X_meta=rows_meta, y_meta=Y_META))
    assert_ours([caught], "labels contradict the trusted ones")


@pytest.mark.parametrize("method", ["fit", "fit_resample"])
def test_from_a_resampler(method):
    call = getattr(OTResampler(), method)
    assert_ours(caught_by(lambda: call(X, Y, X_meta=X_META + 50, y_meta=Y_META)), "lie far outside the range")


def test_from_imbalanced_learns_pipeline():
    pipeline = pytest.importorskip("imblearn.pipeline")
    pipe = pipeline.make_pipeline(OTResampler(meta=(X_META + 50, Y_META)), LogisticRegression())
    assert_ours(caught_by(lambda: pipe.fit(X, Y)), "lie far outside the range")


def test_from_meta_estimators():
    reg = TransformedTargetRegressor(OTWeightedRegressor(), transformer=StandardScaler())
    assert_ours(
        caught_by(lambda: reg.fit(X, X.sum(axis=1) + 50, X_meta=X_META, y_meta=X_META.sum(axis=1) + 50)), "targets in y"
    )
    with sklearn.config_context(enable_metadata_routing=True):
        bagging = BaggingClassifier(OTWeightedClassifier(), 2, bootstrap_features=True, random_state=0)
        assert_ours(caught_by(lambda: bagging.fit(X, Y, **META)), "copies of each other")


# ------------------------------------------------------------------------------------------------
# Labels of which nothing is known


def test_reliability_that_rests_on_nothing():
    rows, labels = (np.concatenate([[values[c == Y_META][0]] for c in (0, 1)]) for values in (X_META, Y_META))
    with pytest.warns(UserWarning, match="is not known: no class has two trusted rows.*counts for 0.67 of") as seen:
        clf = OTWeightedClassifier().fit(X, Y, X_meta=rows, y_meta=labels)
    assert_ours(seen, "is not known")
    assert clf.sample_weight_.sum() + clf.sample_weight_meta_.sum() == pytest.approx(len(Y) * 2 / 3 + 2)
    OTWeightedClassifier(meta_weight="balanced").fit(X, Y, X_meta=rows, y_meta=labels)  # in silence
