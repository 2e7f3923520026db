"""How weights reach what is inside: by name, by request, or as a bootstrap."""

from inspect import signature

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from skotw import OTWeightedClassifier, OTWeightedRegressor
from skotw._estimators.weight_routing import WeightRoute, draw_rows, find_route, fit_weighted, with_defaults

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
FITTED = LogisticRegression().fit(X, Y)
# what scikit-learn's next release does by default, asked for where it warns of the change
LEGACY = "use_legacy_attributes" in signature(LogisticRegressionCV).parameters
CV_KEEPS = {"use_legacy_attributes": False, "l1_ratios": (0.0,)} if LEGACY else {}
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
    "boosting": (AdaBoostClassifier(Witness(), n_estimators=2), "sample_weight"),
    "stacking on weights": (StackingClassifier([("a", Witness())], final_estimator=Witness(), cv=2), "sample_weight"),
    "one per label column": (MultiOutputClassifier(Witness()), "sample_weight"),
    "halving search": (HalvingGridSearchCV(Witness(), {"C": [1, 2]}, cv=2), "sample_weight"),
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
    "one-vs-one": OneVsOneClassifier(Witness()),
    "output codes": OutputCodeClassifier(Witness(), random_state=0),
    "chain": ClassifierChain(Witness()),
    "fixed threshold": FixedThresholdClassifier(pipe),
    "feature selection by cross-validation": RFECV(Witness(), cv=2),
    "bagging of pipelines": BaggingClassifier(pipe, 2),
    "stacking pipelines": StackingClassifier([("a", pipe)], final_estimator=pipe, cv=2),
    "stacking pipelines by default": StackingClassifier([("a", pipe)], final_estimator=LogisticRegression(), cv=2),
    "beside a search of its own": VotingClassifier([("a", pipe), ("b", LogisticRegressionCV(Cs=2, cv=2, **CV_KEEPS))]),
    "beside ridge's own search": VotingClassifier([("a", pipe), ("b", RidgeClassifierCV())]),
    "beside what is frozen": VotingClassifier([("a", Witness()), ("b", FrozenEstimator(FITTED))]),
}


BY_COLUMN = ("one per label column", "chain")


@pytest.mark.parametrize("name", BY_NAME)
def test_weights_arrive_by_name(either, name):
    estimator, keyword = BY_NAME[name]
    assert find_route(estimator) == WeightRoute(keyword)
    fit_weighted(estimator, X, np.c_[Y, 1 - Y] if name in BY_COLUMN else Y, W, find_route(estimator), {}, None)
    assert_all_weighted(name != "calibration by default")


@pytest.mark.parametrize("name", BY_REQUEST)
def test_weights_arrive_by_request(either, name):
    estimator = BY_REQUEST[name]
    assert find_route(estimator) == WeightRoute("sample_weight", by_request=True)
    fit_weighted(estimator, X, np.c_[Y, 1 - Y] if name in BY_COLUMN else Y, W, find_route(estimator), {}, None)
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
        AdaBoostClassifier(pipe),
        VotingClassifier([("a", pipe), ("b", AdaBoostClassifier())]),
        FrozenEstimator(FITTED),
        make_pipeline(StandardScaler(), FrozenEstimator(FITTED)),
        FixedThresholdClassifier(FrozenEstimator(FITTED)),
        OneVsRestClassifier(KNeighborsClassifier()),
    ],
    ids=str,
)
def test_no_way_in(estimator):
    assert find_route(estimator) is None


def test_self_training_is_weighted(either):
    with pytest.warns(UserWarning, match="no unlabeled samples"):
        fit_weighted(SelfTrainingClassifier(pipe), X, Y, W, WeightRoute("sample_weight", by_request=True), {}, None)
    assert find_route(SelfTrainingClassifier(pipe)) == WeightRoute("sample_weight", by_request=True)
    assert_all_weighted(True)


def test_calibration_of_what_is_frozen_is_weighted():
    def calibrated(weight):
        estimator = CalibratedClassifierCV(FrozenEstimator(FITTED), cv=3)
        fitted = fit_weighted(estimator, X, Y, weight, find_route(estimator), {}, None)
        return fitted.predict_proba(X)[:, 1]

    assert calibrated(1.0 + 9 * Y).mean() > calibrated(10.0 - 9 * Y).mean() + 0.2


def test_libraries_that_take_no_part_in_routing_are_not_passed_by():
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostClassifier(iterations=2, thread_count=1, verbose=0, allow_writing_files=False)
    assert find_route(model) == WeightRoute("sample_weight")
    assert find_route(VotingClassifier([("a", Witness()), ("b", model)])) == WeightRoute("sample_weight")
    for unreachable in (OneVsRestClassifier(model), VotingClassifier([("a", pipe), ("b", model)])):
        assert find_route(unreachable) is None


@pytest.mark.parametrize("name", ["BalancedBaggingClassifier", "EasyEnsembleClassifier"])
@pytest.mark.parametrize("inner", [None, AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=2)])
def test_imbalanced_learns_ensembles_draw_rows(either, name, inner):
    ensemble = pytest.importorskip("imblearn.ensemble")
    estimator = getattr(ensemble, name)(n_estimators=2, estimator=inner, random_state=0)
    assert find_route(estimator) is None
    fitted = fit_weighted(estimator, X, Y, W, None, {}, 0)
    rows = draw_rows(W, 0)
    with sklearn.config_context(enable_metadata_routing=False):
        assert_array_equal(fitted.predict(X), estimator.fit(X[rows], Y[rows]).predict(X))


@pytest.mark.parametrize(
    ("estimator", "part", "default"),
    [
        (StackingClassifier([("a", Witness())]), "final_estimator", LogisticRegression),
        (make_pipeline(StandardScaler(), StackingClassifier([("a", Witness())])), -1, LogisticRegression),
        (StackingRegressor([("a", LinearRegression())]), "final_estimator", RidgeCV),
        (TransformedTargetRegressor(transformer=StandardScaler()), "regressor", LinearRegression),
    ],
    ids=str,
)
def test_defaults_are_spelled_out(estimator, part, default):
    spelled = with_defaults(estimator)
    assert spelled is not estimator
    assert find_route(spelled) is not None
    assert hasattr(spelled, "predict")
    last = spelled[part].final_estimator if part == -1 else getattr(spelled, part)
    assert type(last) is default
    assert with_defaults(spelled) is spelled
    assert (estimator[-1].final_estimator if part == -1 else getattr(estimator, part)) is None


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


@pytest.mark.parametrize("search", [False, True])
def test_stacking_without_a_final_estimator(either, search):
    stacking = StackingClassifier([("a", pipe)], cv=2)
    inner = GridSearchCV(stacking, {"cv": [2]}, cv=2) if search else stacking
    meta = {"X_meta": X[:20] + 0.1, "y_meta": Y[:20]}
    found = OTWeightedClassifier(inner).fit(X, Y, **meta)
    stacking = StackingClassifier([("a", pipe)], final_estimator=LogisticRegression(), cv=2)
    explicit = OTWeightedClassifier(GridSearchCV(stacking, {"cv": [2]}, cv=2) if search else stacking).fit(X, Y, **meta)
    assert_array_equal(found.predict_proba(X), explicit.predict_proba(X))
    regressor = OTWeightedRegressor(StackingRegressor([("a", LinearRegression())], cv=2))
    assert regressor.fit(X, X[:, 0], X_meta=X[:6] + 0.1, y_meta=X[:6, 0] + 0.1).score(X, X[:, 0]) > 0.99


@pytest.mark.parametrize("outside", [False, True])
def test_boosting_in_a_search_with_routing(either, outside):
    clf = OTWeightedClassifier(AdaBoostClassifier(n_estimators=2))
    meta = {"X_meta": X[:20] + 0.1, "y_meta": Y[:20]}
    search = GridSearchCV(clf, {"meta_weight": [0.2]}, cv=2) if outside else clf
    assert search.fit(X, Y, **meta).score(X, Y) > 0.5


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
    counts = np.bincount(draw_rows(np.tile(w, 15_000), 0) % 3, minlength=3) / 45_000
    assert counts[0] == 0
    assert_allclose(counts, w / 4, atol=0.01)
    w = np.ones(50)
    assert_array_equal(draw_rows(w, 0), draw_rows(w, 0))
    assert not np.array_equal(draw_rows(w, 0), draw_rows(w, 1))
    assert len(draw_rows(w, 0)) == 50


def test_bootstrap_is_what_the_estimator_sees():
    knn = fit_weighted(KNeighborsClassifier(1), X, Y, W, None, {}, 0)
    rows = draw_rows(W, 0)
    assert_array_equal(knn.predict(X), KNeighborsClassifier(1).fit(X[rows], Y[rows]).predict(X))
