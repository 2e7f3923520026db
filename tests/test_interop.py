"""The weights in the hands of other libraries' classifiers: fitted with them, they believe wrong labels less."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

CLASSIFIERS = {
    "xgboost.XGBClassifier": {"n_estimators": 30, "n_jobs": 1, "random_state": 0},
    "xgboost.XGBRFClassifier": {"n_estimators": 30, "n_jobs": 1, "random_state": 0},
    "lightgbm.LGBMClassifier": {"n_estimators": 30, "n_jobs": 1, "random_state": 0, "verbose": -1},
    "catboost.CatBoostClassifier": {
        "iterations": 60, "thread_count": 1, "random_seed": 0, "verbose": False, "allow_writing_files": False,
    },
    "imblearn.ensemble.BalancedRandomForestClassifier": {"n_estimators": 30, "max_depth": 6, "random_state": 0},
    "imblearn.ensemble.RUSBoostClassifier": {"n_estimators": 30, "random_state": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def noisy():
    """Training rows with two labels in five wrong, their weights, and test rows whose labels are right."""
    X, y = make_blobs(1030, centers=3, n_features=4, cluster_std=3.0, random_state=0)
    X, X_test, y, y_test = X[:630], X[630:], y[:630], y[630:]
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 10, random_state=0)
    y = flip_labels(y, 0.4, kind="pair", random_state=0)
    return X, y, OTSampleWeighter().fit_weights(X, y, X_meta, y_meta), X_test, y_test


@pytest.mark.parametrize("path", CLASSIFIERS)
def test_weights_keep_a_classifier_from_learning_wrong_labels(noisy, path):
    module, _, name = path.rpartition(".")
    classifier = getattr(pytest.importorskip(module), name)(**CLASSIFIERS[path])
    X, y, w, X_test, y_test = noisy

    def accuracy(weights):
        found = classifier.fit(X, y, sample_weight=weights).predict(X_test)
        return accuracy_score(y_test, found.ravel())  # CatBoost answers with a column

    assert accuracy(w) > accuracy(np.ones(len(y))) + 0.1


def test_weights_travel_through_a_pipeline_of_imbalanced_learn(noisy):
    pipeline = pytest.importorskip("imblearn.pipeline")
    X, y, w, *_ = noisy
    pipe = pipeline.make_pipeline(StandardScaler(), LogisticRegression())
    pipe.fit(X, y, logisticregression__sample_weight=w)
    by_hand = LogisticRegression().fit(StandardScaler().fit_transform(X), y, sample_weight=w)
    np.testing.assert_allclose(pipe[-1].coef_, by_hand.coef_)
