"""How weights reach what is inside: by name, by request, or as a bootstrap."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFE
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skotw._estimators.weight_routing import WeightRoute, draw_rows, find_route, fit_weighted

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] + 0.7 * RNG.normal(size=60) > 0).astype(int)
# Integers, so that rows repeated as often are the same training set.
W = RNG.integers(1, 5, 60).astype(float)


class Witness(LogisticRegression):
    """Keeps the weights of every fit."""

    seen = []

    def fit(self, X, y, sample_weight=None):
        Witness.seen.append(None if sample_weight is None else np.array(sample_weight))
        return super().fit(X, y, sample_weight)


@pytest.fixture(autouse=True)
def forget():
    Witness.seen.clear()


@pytest.fixture(params=[False, True], ids=["off", "on"])
def either(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield


pipe = make_pipeline(StandardScaler(), Witness())
BY_NAME = {
    "bare": (Witness(), "sample_weight"),
    "pipeline": (pipe, "witness__sample_weight"),
    "pipeline in pipeline": (Pipeline([("a", MinMaxScaler()), ("b", pipe)]), "b__witness__sample_weight"),
    "search": (GridSearchCV(pipe, {"witness__C": [1]}, cv=2, scoring="f1"), "witness__sample_weight"),
    "bagging": (BaggingClassifier(Witness(), 2), "sample_weight"),
    "calibration": (CalibratedClassifierCV(Witness(), cv=2), "sample_weight"),
    "voting": (VotingClassifier([("a", Witness())]), "sample_weight"),
    "stacking": (StackingClassifier([("a", Witness())], cv=2), "sample_weight"),
    "search in pipeline": (
        Pipeline([("s", StandardScaler()), ("g", GridSearchCV(pipe, {}, cv=2))]),
        "g__witness__sample_weight",
    ),
    "calibration by default": (CalibratedClassifierCV(cv=2), "sample_weight"),
}
BY_REQUEST = {
    "one-vs-rest": OneVsRestClassifier(Witness()),
    "one-vs-rest of a pipeline": OneVsRestClassifier(pipe),
    "calibrated pipeline": CalibratedClassifierCV(pipe, cv=2),
    "voting pipelines": VotingClassifier([("a", pipe), ("b", "drop")]),
    "tuned threshold": TunedThresholdClassifierCV(Witness(), cv=2, scoring="f1"),
    "tuned threshold of a pipeline": TunedThresholdClassifierCV(pipe, cv=2, scoring=make_scorer(accuracy_score)),
    "feature selection": RFE(Witness(), n_features_to_select=1),
    "search over one-vs-rest": GridSearchCV(OneVsRestClassifier(Witness()), {}, cv=2),
    "search with two scores": GridSearchCV(
        make_pipeline(StandardScaler(), OneVsRestClassifier(Witness())),
        {},
        cv=2,
        scoring=["f1", "accuracy"],
        refit="f1",
    ),
    "search with named scores": GridSearchCV(OneVsRestClassifier(pipe), {}, cv=2, scoring={"a": "f1"}, refit="a"),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_weights_arrive_by_name(either, name):
    estimator, keyword = BY_NAME[name]
    assert find_route(estimator) == WeightRoute(keyword)
    fit_weighted(estimator, X, Y, W, find_route(estimator), {}, None)
    assert_all_weighted(name != "calibration by default")


@pytest.mark.parametrize("name", BY_REQUEST)
def test_weights_arrive_by_request(either, name):
    estimator = BY_REQUEST[name]
    assert find_route(estimator) == WeightRoute("sample_weight", by_request=True)
    fit_weighted(estimator, X, Y, W, find_route(estimator), {}, None)
    assert_all_weighted(True)


def assert_all_weighted(some):
    assert bool(Witness.seen) == some
    for seen in Witness.seen:
        assert seen is not None
        # folds have some of the weights, bagging multiples of them
        assert len(seen) <= len(W)
        assert len(np.unique(seen)) > 2


def test_fitted_estimators_are_not_touched(either):
    estimator = TunedThresholdClassifierCV(pipe, cv=2, scoring=make_scorer(accuracy_score))
    fit_weighted(estimator, X, Y, W, find_route(estimator), {}, None)
    assert not hasattr(estimator, "estimator_")
    assert not hasattr(pipe[-1], "coef_")
    assert pipe[-1].get_metadata_routing().fit.requests["sample_weight"] is None


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsClassifier(),
        make_pipeline(StandardScaler(), KNeighborsClassifier()),
        GridSearchCV(KNeighborsClassifier(), {}),
        CalibratedClassifierCV(KNeighborsClassifier()),
        VotingClassifier([("a", Witness()), ("b", KNeighborsClassifier())]),
        Pipeline([("a", StandardScaler()), ("b", "passthrough")]),
    ],
)
def test_no_way_in(estimator):
    assert find_route(estimator) is None


def test_ensembles_of_trees_are_not_taken_for_meta_estimators():
    from sklearn.ensemble import RandomForestClassifier

    assert find_route(RandomForestClassifier()) == WeightRoute("sample_weight")
    assert find_route(AdaBoostClassifier()) == WeightRoute("sample_weight")


def test_regressors():
    assert find_route(MultiOutputRegressor(LinearRegression())) == WeightRoute("sample_weight")
    wrapped = TransformedTargetRegressor(
        make_pipeline(StandardScaler(), LinearRegression()), func=np.log, inverse_func=np.exp
    )
    y = np.exp(X[:, 0] + RNG.normal(size=60))
    found = fit_weighted(wrapped, X, y, W, find_route(wrapped), {}, None)
    expected = LinearRegression().fit(StandardScaler().fit_transform(X), np.log(y), W)
    assert_allclose(found.regressor_[-1].coef_.ravel(), expected.coef_)


def test_weights_mean_repetition(either):
    for estimator in (
        LogisticRegression(),
        make_pipeline(LogisticRegression()),
        OneVsRestClassifier(LogisticRegression()),
    ):
        weighted = fit_weighted(estimator, X, Y, W, find_route(estimator), {}, None)
        repeated = np.repeat(np.arange(60), W.astype(int))
        expected = estimator.fit(X[repeated], Y[repeated])
        assert_allclose(weighted.predict_proba(X), expected.predict_proba(X), atol=1e-4)


# ------------------------------------------------------------------------------------------------
# Bootstrap


def test_bootstrap_draws_by_weight():
    w = np.array([0.0, 1.0, 3.0])
    counts = np.bincount(draw_rows(w, 0, 40_000), minlength=3) / 40_000
    assert counts[0] == 0
    assert_allclose(counts, w / 4, atol=0.01)
    assert_array_equal(draw_rows(w, 0, 50), draw_rows(w, 0, 50))
    assert not np.array_equal(draw_rows(w, 0, 50), draw_rows(w, 1, 50))
    assert len(draw_rows(w, 0)) == 3


def test_bootstrap_is_what_the_estimator_sees():
    knn = fit_weighted(KNeighborsClassifier(1), X, Y, W, None, {}, 0)
    rows = draw_rows(W, 0)
    assert_array_equal(knn.predict(X), KNeighborsClassifier(1).fit(X[rows], Y[rows]).predict(X))
