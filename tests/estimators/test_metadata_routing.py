"""Searches, cross-validation, ensembles and pipelines: the meta set arrives whole, and every fold weighs its own rows.

Every row carries its number in its first column, which no step changes, and every weighter keeps what it was given. So
each test knows which rows each fit has seen, and can compute what should have come out.
"""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier, make_weighted_pipeline, ot_sample_weight

N, M = 90, 12
CV = StratifiedKFold(3)
FOLDS = [train for train, _ in CV.split(np.zeros(N), np.arange(N) % 2)]
ALL = np.arange(N)
REGS = [0.1, 0.3]


def rows(n, seed, numbers):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return np.column_stack([numbers, y[:, None] + rng.normal(size=(n, 3)) + 7.0]), y


NUMBERS = np.random.default_rng(0).permutation(N)
X, Y = rows(N, 0, NUMBERS)
X_META, Y_META = rows(M, 1, np.linspace(0.5, N - 1.5, M))
META = {"X_meta": X_META, "y_meta": Y_META}


class Centre(TransformerMixin, BaseEstimator):
    """Subtract the mean of all columns but the first."""

    def fit(self, X, y=None):
        self.mean_ = np.r_[0.0, np.asarray(X)[:, 1:].mean(axis=0)]
        return self

    def transform(self, X):
        return np.asarray(X) - self.mean_


class Recorder(OTSampleWeighter):
    """Keeps what it was fitted to, on itself and for the test."""

    fits = []

    def fit(self, X, y=None, X_meta=None, y_meta=None, *, sample_weight=None, sample_weight_meta=None):
        super().fit(X, y, X_meta, y_meta, sample_weight=sample_weight)
        self.seen_ = X, y, X_meta, y_meta, sample_weight
        Recorder.fits.append(self)
        return self


@pytest.fixture(autouse=True)
def forget():
    Recorder.fits.clear()


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def routed(**params):
    """The pipeline outside: the weighter sees what the classifier sees."""
    return make_weighted_pipeline(Centre(), LogisticRegression(), weighter=Recorder(reg=0.2), **params)


def inside(**params):
    """The pipeline inside, for routing off: the weighter sees the rows as they came."""
    return OTWeightedClassifier(make_pipeline(Centre(), LogisticRegression()), weighter=Recorder(reg=0.2), **params)


def indices(fit):
    return np.argsort(NUMBERS)[fit.seen_[0][:, 0].astype(int)]


def assert_own_rows(fits, *expected, transformed):
    """Each fit saw the whole meta set, transformed like its own rows, and weighed those rows alone."""
    assert fits
    for fit in fits:
        X_seen, y_seen, X_meta, y_meta, sample_weight = fit.seen_
        index = indices(fit)
        centre = Centre().fit(X[index]).transform if transformed else np.asarray
        assert_allclose(X_seen, centre(X[index]))
        assert_array_equal(y_seen, Y[index])
        assert_allclose(X_meta, centre(X_META))
        assert_array_equal(y_meta, Y_META)
        alone = ot_sample_weight(
            centre(X[index]), Y[index], centre(X_META), Y_META, reg=fit.reg, sample_weight=sample_weight
        )
        assert_allclose(fit.sample_weight_, alone)
    if expected:
        seen = sorted(tuple(indices(fit)) for fit in fits)
        assert seen == sorted(map(tuple, expected))


# ------------------------------------------------------------------------------------------------
# Routing on, pipeline outside

GRID = {"otweightedclassifier__weighter__reg": REGS}


def test_pipeline(routing):
    routed().fit(X, Y, **META)
    assert_own_rows(Recorder.fits, ALL, transformed=True)


@pytest.mark.parametrize("search", [GridSearchCV, partial(RandomizedSearchCV, n_iter=2)])
def test_search(routing, search):
    search = search(routed(), GRID, cv=CV).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=True)
    assert {fit.reg for fit in Recorder.fits} == set(REGS)
    assert search.best_estimator_[-1].weighter_.reg == search.best_params_["otweightedclassifier__weighter__reg"]


def test_halving_search(routing):
    HalvingGridSearchCV(routed(), GRID, cv=CV, factor=2, min_resources=45, random_state=0).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, transformed=True)
    assert {len(indices(fit)) for fit in Recorder.fits} == {30, 60, 90}


def test_cross_validate(routing):
    cross_validate(routed(), X, Y, cv=CV, params=META)
    assert_own_rows(Recorder.fits, *FOLDS, transformed=True)


def test_learning_curve(routing):
    learning_curve(routed(), X, Y, cv=CV, train_sizes=[30, 60], params=META)
    assert_own_rows(Recorder.fits, *(train[:size] for train in FOLDS for size in (30, 60)), transformed=True)


@pytest.mark.parametrize(("ensemble", "expected"), [(True, FOLDS), (False, [*FOLDS, ALL])])
def test_calibration(routing, ensemble, expected):
    CalibratedClassifierCV(routed(), cv=CV, ensemble=ensemble).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *expected, transformed=True)


def test_tuned_threshold(routing):
    TunedThresholdClassifierCV(routed(), cv=CV).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *FOLDS, ALL, transformed=True)


def test_bagging(routing):
    bagging = BaggingClassifier(routed(), n_estimators=3, random_state=0).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, ALL, ALL, ALL, transformed=True)
    # rows are drawn by giving them weights: those that were not drawn are absent
    drawn = sorted(np.bincount(sample, minlength=N).tolist() for sample in bagging.estimators_samples_)
    assert sorted(fit.seen_[4].tolist() for fit in Recorder.fits) == drawn
    assert all((fit.sample_weight_[fit.seen_[4] == 0] == 0).all() for fit in Recorder.fits)


def test_voting(routing):
    VotingClassifier([("a", routed()), ("b", routed())]).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, ALL, ALL, transformed=True)


def test_nested_search(routing):
    inner = StratifiedKFold(2)
    cross_validate(GridSearchCV(routed(), GRID, cv=inner), X, Y, cv=CV, params=META)
    expected = [train[part] for train in FOLDS for part, _ in inner.split(train, Y[train]) for _ in REGS]
    assert_own_rows(Recorder.fits, *expected, *FOLDS, transformed=True)


def test_two_processes(routing):
    found = cross_validate(routed(), X, Y, cv=CV, params=META, n_jobs=2, return_estimator=True)
    assert_own_rows([pipe[-1].weighter_ for pipe in found["estimator"]], *FOLDS, transformed=True)


def test_memory(routing, tmp_path):
    search = GridSearchCV(routed(memory=str(tmp_path)), GRID, cv=CV)
    for _ in range(2):  # the second time from the cache
        Recorder.fits.clear()
        search.fit(X, Y, **META)
        assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=True)


def test_column_transformer_on_a_frame(routing):
    names = ["number", "a", "b", "c"]
    frame, meta = (pd.DataFrame(values, columns=names).assign(colour="red") for values in (X, X_META))
    columns = ColumnTransformer([("keep", Centre(), names), ("drop", "drop", ["colour"])])
    pipe = make_weighted_pipeline(columns, LogisticRegression(), weighter=Recorder(reg=0.2))
    GridSearchCV(pipe, GRID, cv=CV).fit(frame, Y, X_meta=meta, y_meta=Y_META)
    assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=True)


def test_meta_set_as_long_as_x_survives_in_1_tuples(routing):
    X_meta, y_meta = rows(N, 2, NUMBERS)
    GridSearchCV(routed(), GRID, cv=CV).fit(X, Y, X_meta=(X_meta,), y_meta=(y_meta,))
    for fit in Recorder.fits:
        assert_allclose(fit.seen_[2], Centre().fit(X[indices(fit)]).transform(X_meta))
        assert_array_equal(fit.seen_[3], y_meta)


def test_sample_weight_is_sliced_and_is_a_prior(routing):
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, N)
    scoring = get_scorer("accuracy").set_score_request(sample_weight=False)
    GridSearchCV(routed(), GRID, cv=CV, scoring=scoring).fit(X, Y, sample_weight=sample_weight, **META)
    for fit in Recorder.fits:
        assert_array_equal(fit.seen_[4], sample_weight[indices(fit)])
    assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=True)


def test_pipeline_by_hand(routing):
    classifier = OTWeightedClassifier(weighter=Recorder(reg=0.2))
    Pipeline([("centre", Centre()), ("clf", classifier)], transform_input=["X_meta"]).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, ALL, transformed=True)


# ------------------------------------------------------------------------------------------------
# Pipeline inside, routing off and on


@pytest.fixture(params=[False, True], ids=["off", "on"])
def either(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield


@pytest.mark.parametrize("search", [GridSearchCV, partial(RandomizedSearchCV, n_iter=2)])
def test_search_inside(either, search):
    search(inside(), {"weighter__reg": REGS}, cv=CV).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=False)


def test_halving_search_inside(either):
    grid = {"weighter__reg": REGS}
    HalvingGridSearchCV(inside(), grid, cv=CV, factor=2, min_resources=45, random_state=0).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, transformed=False)


def test_cross_validation_inside(either):
    cross_validate(inside(), X, Y, cv=CV, params=META)
    assert_own_rows(Recorder.fits, *FOLDS, transformed=False)
    Recorder.fits.clear()
    learning_curve(inside(), X, Y, cv=CV, train_sizes=[30], params=META)
    assert_own_rows(Recorder.fits, *(train[:30] for train in FOLDS), transformed=False)


def test_calibration_inside(either):
    CalibratedClassifierCV(inside(), cv=CV).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *FOLDS, transformed=False)


def test_two_processes_inside(either):
    found = cross_validate(inside(), X, Y, cv=CV, params=META, n_jobs=2, return_estimator=True)
    assert_own_rows([clf.weighter_ for clf in found["estimator"]], *FOLDS, transformed=False)


def test_memory_inside(either, tmp_path):
    pipe = make_pipeline(Centre(), LogisticRegression(), memory=str(tmp_path))
    clf = OTWeightedClassifier(pipe, weighter=Recorder(reg=0.2))
    GridSearchCV(clf, {"weighter__reg": REGS}, cv=CV).fit(X, Y, **META)
    assert_own_rows(Recorder.fits, *FOLDS, *FOLDS, ALL, transformed=False)


def test_nested_search_inside(either):
    cross_validate(GridSearchCV(inside(), {"weighter__reg": REGS}, cv=2), X, Y, cv=CV, params=META)
    assert_own_rows(Recorder.fits, transformed=False)
    assert sum(len(indices(fit)) == 60 for fit in Recorder.fits) == len(FOLDS)


def test_column_transformer_inside(either):
    names = ["number", "a", "b", "c"]
    frame, meta = (pd.DataFrame(values, columns=names) for values in (X, X_META))
    pipe = make_pipeline(ColumnTransformer([("centre", Centre(), names[1:])]), LogisticRegression())
    clf = OTWeightedClassifier(pipe, weighter=Recorder(reg=0.2))
    cross_validate(clf, frame, Y, cv=CV, params={"X_meta": meta, "y_meta": Y_META}, error_score="raise")
    for fit, train in zip(Recorder.fits, FOLDS, strict=True):
        pd.testing.assert_frame_equal(fit.seen_[0], frame.iloc[train])
        pd.testing.assert_frame_equal(fit.seen_[2], meta)


@pytest.mark.parametrize("ensemble", ["bagging", "voting", "threshold"])
def test_ensembles_around_need_routing(ensemble):
    ensemble = {
        "bagging": BaggingClassifier(inside()),
        "voting": VotingClassifier([("a", inside())]),
        "threshold": TunedThresholdClassifierCV(inside()),
    }[ensemble]
    with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
        ensemble.fit(X, Y, **META)
    with sklearn.config_context(enable_metadata_routing=True):
        ensemble.fit(X, Y, **META)
    assert_own_rows(Recorder.fits, transformed=False)


# ------------------------------------------------------------------------------------------------
# Metadata of the inner estimator


class Tagged(LogisticRegression):
    def fit(self, X, y, sample_weight=None, tag=None):
        self.seen_ = sample_weight, tag
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("asks", [None, True])
@pytest.mark.parametrize("nested", [False, True])
def test_metadata_of_the_inner_estimator(routing, asks, nested):
    inner = Tagged().set_fit_request(tag=True, sample_weight=asks)
    inner = make_pipeline(StandardScaler(), inner) if nested else inner
    clf = OTWeightedClassifier(inner, meta_weight="balanced").set_fit_request(sample_weight=True)
    prior = np.random.default_rng(0).uniform(0.5, 2, N)
    pipe = Pipeline([("centre", Centre()), ("clf", clf)], transform_input=["X_meta"])
    pipe.fit(X, Y, tag="x", sample_weight=prior, **META)
    fitted = pipe[-1].estimator_[-1] if nested else pipe[-1].estimator_
    weight, tag = fitted.seen_
    assert tag == "x"
    assert_allclose(weight, np.r_[pipe[-1].sample_weight_, pipe[-1].sample_weight_meta_])
    assert_allclose(weight.sum(), prior.sum() + M)


def test_metadata_that_nobody_asked_for(routing):
    with pytest.raises(TypeError, match=r"unexpected argument.*tag"):
        OTWeightedClassifier().fit(X, Y, tag="x", **META)
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="tag"):
        OTWeightedClassifier(Tagged()).fit(X, Y, tag="x", **META)
