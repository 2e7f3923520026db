"""XGBoost, LightGBM and CatBoost as the inner estimator, where they are installed."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skotw import OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, make_weighted_pipeline
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

X, Y, X_META, Y_META = balanced_meta_split(*make_blobs(260, 4, cluster_std=1.5, random_state=0), 10, random_state=0)
Y_NOISY = flip_labels(Y, 0.3, random_state=0)
META = {"X_meta": X_META, "y_meta": Y_META}


def xgboost(kind):
    module = pytest.importorskip("xgboost")
    return getattr(module, f"XGB{kind}")(n_estimators=10, max_depth=3, n_jobs=1)


def lightgbm(kind):
    module = pytest.importorskip("lightgbm")
    return getattr(module, f"LGBM{kind}")(n_estimators=10, n_jobs=1, verbose=-1)


def catboost(kind):
    module = pytest.importorskip("catboost")
    return getattr(module, f"CatBoost{kind}")(iterations=10, thread_count=1, verbose=0, allow_writing_files=False)


@pytest.fixture(params=[xgboost, lightgbm, catboost], ids=lambda make: make.__name__)
def make(request):
    return request.param


def test_classifier_gets_rows_and_weights(make):
    clf = OTWeightedClassifier(make("Classifier")).fit(X, Y_NOISY, **META)
    weight = np.r_[clf.sample_weight_, clf.sample_weight_meta_]
    alone = make("Classifier").fit(np.r_[X, X_META], np.r_[Y_NOISY, Y_META], sample_weight=weight)
    assert_allclose(clf.predict_proba(X), alone.predict_proba(X))
    assert_array_equal(clf.classes_, [0, 1, 2])
    assert clf.n_features_in_ == 4
    assert clf.score(X, Y) > 0.85


def test_regressor_gets_rows_and_weights(make):
    y, y_meta = X @ np.arange(4.0), X_META @ np.arange(4.0)
    reg = OTWeightedRegressor(make("Regressor")).fit(X, y, X_meta=X_META, y_meta=y_meta)
    weight = np.r_[reg.sample_weight_, reg.sample_weight_meta_]
    alone = make("Regressor").fit(np.r_[X, X_META], np.r_[y, y_meta], sample_weight=weight)
    assert_allclose(reg.predict(X), np.ravel(alone.predict(X)))


@pytest.mark.parametrize("routing", [False, True])
def test_search_and_pipelines(make, routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        weighter = OTSampleWeighter()
        if routing:
            model, prefix = (
                make_weighted_pipeline(StandardScaler(), make("Classifier"), weighter=weighter),
                "otweightedclassifier__",
            )
        else:
            model, prefix = (
                OTWeightedClassifier(make_pipeline(StandardScaler(), make("Classifier")), weighter=weighter),
                "",
            )
        search = GridSearchCV(model, {f"{prefix}weighter__reg": [0.1, 0.3]}, cv=2).fit(X, Y_NOISY, **META)
        assert search.best_estimator_.score(X, Y) > 0.85


def test_models_of_the_labels(make):
    weighter = OTSampleWeighter(embedding=make("Classifier"), prior="confidence")
    clf = OTWeightedClassifier(make("Classifier"), weighter=weighter).fit(X, Y_NOISY, **META)
    assert clf.sample_weight_[Y_NOISY != Y].mean() < 0.7 * clf.sample_weight_[Y_NOISY == Y].mean()


def test_categories_of_frames(make):
    rng = np.random.default_rng(0)
    frames = []
    for rows, labels in ((X, Y), (X_META, Y_META)):
        colour = np.where(rng.random(len(rows)) < 0.8, np.array(["red", "green", "blue"])[labels], "red")
        frames.append(pd.DataFrame({"a": rows[:, 0], "colour": pd.Categorical(colour)}))
    frames[1]["colour"] = frames[1]["colour"].cat.reorder_categories(["red", "green", "blue"])
    model = make("Classifier")
    if make is xgboost:
        model.set_params(enable_categorical=True)
    # scikit-learn cannot clone a CatBoost model that has cat_features as a parameter
    params = {"cat_features": ["colour"]} if make is catboost else {}
    clf = OTWeightedClassifier(model).fit(frames[0], Y_NOISY, X_meta=frames[1], y_meta=Y_META, **params)
    assert clf.score(frames[0], Y) > 0.8
    assert list(clf.feature_names_in_) == ["a", "colour"]


def test_tags(make):
    assert get_tags(OTWeightedClassifier(make("Classifier"))).estimator_type == "classifier"
    assert get_tags(OTWeightedRegressor(make("Regressor"))).estimator_type == "regressor"
