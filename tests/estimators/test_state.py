"""What an error leaves behind: the estimator as it was before the call, and what was given to it untouched."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(40, 3)), rng.normal(size=(8, 3))
Y, Y_META = np.arange(40) % 2, np.arange(8) % 2
META = {"X_meta": X_META, "y_meta": Y_META}
OTHER = (X[:, :2] + 1, 1 - Y), {"X_meta": X_META[:, :2], "y_meta": Y_META}


class Failing:
    """Fails in fit once so many fits have passed."""

    passed, most = 0, np.inf

    def fit(self, X, y, sample_weight=None):
        if Failing.passed >= Failing.most:
            raise RuntimeError("out of order")
        Failing.passed += 1
        return super().fit(X, y, sample_weight)


class FailingClassifier(Failing, GaussianNB):
    pass


class FailingRegressor(Failing, Ridge):
    pass


class FailingWeighter(OTSampleWeighter):
    def fit(self, X, y=None, X_meta=None, y_meta=None, *, sample_weight=None, sample_weight_meta=None):
        super().fit(X, y, X_meta, y_meta, sample_weight=sample_weight)
        if Failing.passed >= Failing.most:
            raise RuntimeError("out of order")
        Failing.passed += 1
        return self


class FailingEmbedding(StandardScaler):
    def transform(self, X):
        if Failing.passed >= Failing.most:
            raise RuntimeError("out of order")
        Failing.passed += 1
        return super().transform(X)


@pytest.fixture(autouse=True)
def in_order():
    Failing.passed, Failing.most = 0, np.inf


def fail_after(n):
    Failing.passed, Failing.most = 0, n


def state(estimator):
    return pickle.dumps(vars(estimator))


CASES = {
    "inner fit": (OTWeightedClassifier(FailingClassifier()), 0),
    "inner fit of a regressor": (OTWeightedRegressor(FailingRegressor()), 0),
    "weighter": (OTWeightedClassifier(weighter=FailingWeighter()), 0),
    "weighter of a resampler": (OTResampler(weighter=FailingWeighter()), 0),
    "embedding of the trusted rows": (OTWeightedClassifier(weighter=OTSampleWeighter(embedding=FailingEmbedding())), 1),
    "model of both sets": (OTWeightedClassifier(weighter=OTSampleWeighter(embedding=FailingClassifier())), 0),
    "model of the last fold": (OTWeightedClassifier(weighter=OTSampleWeighter(embedding=FailingClassifier())), 4),
    "model of the trusted rows": (
        OTWeightedClassifier(weighter=OTSampleWeighter(embedding=FailingClassifier(), prior="confidence")),
        5,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_first_fit_that_fails_leaves_it_unfitted(case):
    estimator, n_passed = clone(CASES[case][0]), CASES[case][1]
    before = state(estimator)
    fail_after(n_passed)
    with pytest.raises(RuntimeError, match="out of order"):
        estimator.fit(X, Y, **META)
    assert state(estimator) == before
    if hasattr(estimator, "predict"):
        with pytest.raises(NotFittedError):
            estimator.predict(X)
    in_order = estimator
    Failing.most = np.inf
    in_order.fit(X, Y, **META)


@pytest.mark.parametrize("case", CASES)
def test_fit_that_fails_leaves_the_last_one(case):
    estimator, n_passed = clone(CASES[case][0]), CASES[case][1]
    estimator.fit(X, Y, **META)
    before = state(estimator)
    fail_after(n_passed)
    (X_other, y_other), meta = OTHER
    with pytest.raises(RuntimeError, match="out of order"):
        estimator.fit(X_other, y_other, **meta)
    assert state(estimator) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"y_meta": None},
        {"X_meta": X_META[:, :2]},
        {"y_meta": np.zeros(8, int)},
        {"X_meta": np.full_like(X_META, np.inf)},
        {"meta": 1},
        {"tag": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTResampler])
def test_wrong_input_leaves_the_last_fit(kind, wrong):
    estimator = kind().fit(X, Y, **META)
    before = state(estimator)
    with pytest.raises((TypeError, ValueError)):
        estimator.fit(X + 1, 1 - Y, **{**META, **wrong})
    assert state(estimator) == before


def test_draw_that_fails_leaves_the_last_one(monkeypatch):
    resampler = OTResampler(random_state=0)
    resampler.fit_resample(X, Y, **META)
    before = state(resampler)
    with pytest.raises(ValueError, match="X_meta has 2 features"):
        resampler.fit_resample(X + 1, Y, X_meta=X_META[:, :2], y_meta=Y_META)
    assert state(resampler) == before


def test_later_fits_forget_what_they_do_not_say():
    frames = {"X_meta": pd.DataFrame(X_META, columns=list("abc")), "y_meta": Y_META}
    resampler = OTResampler(random_state=0)
    resampler.fit_resample(pd.DataFrame(X, columns=list("abc")), Y, **frames)
    (X_other, y_other), meta = OTHER
    resampler.fit(X_other, y_other, **meta)
    assert not hasattr(resampler, "sample_indices_")
    assert not hasattr(resampler, "feature_names_in_")
    assert resampler.n_features_in_ == 2
    reg = OTWeightedRegressor().fit(pd.DataFrame(X, columns=list("abc")), X[:, 0], **{**frames, "y_meta": X_META[:, 0]})
    reg.fit(X[:, :2], X[:, 0], X_meta=X_META[:, :2], y_meta=X_META[:, 0])
    assert not hasattr(reg, "feature_names_in_")
    assert reg.n_features_in_ == 2


@pytest.mark.parametrize("params", [{"on_unweighted": "bootstrap"}, {}], ids=str)
def test_random_state_that_was_given(params):
    """A fit draws from it, as everywhere in scikit-learn; one that fails gives back what it drew."""
    random_state = np.random.RandomState(0)
    inner = FailingKNN() if "on_unweighted" in params else FailingClassifier()
    estimator = OTWeightedClassifier(inner, random_state=random_state, **params)
    fail_after(0)
    before = random_state.get_state()[1].copy(), random_state.get_state()[2]
    with pytest.raises(RuntimeError, match="out of order"):
        estimator.fit(X, Y, **META)
    assert_array_equal(random_state.get_state()[1], before[0])
    assert random_state.get_state()[2] == before[1]
    in_order = OTWeightedClassifier(clone(inner), random_state=0, **params)
    Failing.most = np.inf
    assert_array_equal(estimator.fit(X, Y, **META).predict(X), in_order.fit(X, Y, **META).predict(X))


class FailingKNN(KNeighborsClassifier):
    def fit(self, X, y):
        if Failing.passed >= Failing.most:
            raise RuntimeError("out of order")
        return super().fit(X, y)


@pytest.mark.parametrize("container", [np.array, pd.DataFrame])
@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTResampler])
def test_what_is_given_is_not_written_to(kind, container):
    given = [container(X), Y.copy(), container(X_META), Y_META.copy()]
    if container is pd.DataFrame:
        for frame in given[::2]:
            frame["c"] = pd.Categorical(np.where(np.arange(len(frame)) % 3, "x", f"only {len(frame)}"))
            frame.columns = list("abcd")
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    weighter = OTSampleWeighter(
        embedding=None if container is np.array else "scale", random_state=np.random.RandomState(0)
    )
    before = pickle.dumps([*given, weighter, estimator])
    if kind is OTResampler:
        kind(weighter=weighter, random_state=0).fit_resample(given[0], given[1], X_meta=given[2], y_meta=given[3])
    elif container is np.array:
        kind(estimator, weighter=weighter).fit(given[0], given[1], X_meta=given[2], y_meta=given[3])
    else:
        kind(Swallow(), weighter=weighter).fit(given[0], given[1], X_meta=given[2], y_meta=given[3])
    assert pickle.dumps([*given, weighter, estimator]) == before


class Swallow(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        return super().fit(X[["a"]], y, sample_weight)


# ------------------------------------------------------------------------------------------------
# set_params


def of_everything(estimator):
    return {name: repr(value) for name, value in estimator.get_params(deep=True).items()}


@pytest.mark.parametrize(
    "params",
    [
        {"meta_weight": 0.9, "no_such": 1},
        {"weighter__reg": 0.9, "no_such": 1},
        {"weighter__reg": 0.9, "estimator__no_such": 1},
        {"weighter__reg": 0.9, "weighter__no_such": 1},
        {"estimator__logisticregression__C": 7.0, "estimator__no_such": 1},
        {"estimator__logisticregression": GaussianNB(), "weighter__no_such": 1},
        {"weighter": OTSampleWeighter(reg=0.7), "estimator__no_such": 1},
        {"estimator": LogisticRegression(), "estimator__no_such": 1},
        {"estimator__steps": [("a", GaussianNB())], "weighter__no_such": 1},
        {"weighter__reg": 0.9, "estimator__standardscaler__with_mean__no_such": 1},
    ],
    ids=str,
)
def test_a_parameter_that_cannot_be_set_leaves_all_as_they_were(params):
    inner = make_pipeline(StandardScaler(), LogisticRegression())
    clf = OTWeightedClassifier(inner, weighter=OTSampleWeighter(), meta_weight=0.2).fit(X, Y, **META)
    before, parts = of_everything(clf), (clf.estimator, clf.weighter, inner[-1])
    fitted = state(clf)
    with pytest.raises((ValueError, AttributeError)):
        clf.set_params(**params)
    assert of_everything(clf) == before
    assert (clf.estimator, clf.weighter, clf.estimator[-1]) == parts
    assert state(clf) == fitted


@pytest.mark.parametrize(
    ("library", "name", "parameter"),
    [
        ("xgboost", "XGBClassifier", "eta"),
        ("lightgbm", "LGBMClassifier", "bagging_seed"),
        ("catboost", "CatBoostClassifier", "depth"),
    ],
)
def test_parameters_that_libraries_keep_in_a_dictionary(library, name, parameter):
    model = getattr(pytest.importorskip(library), name)(n_estimators=3)
    clf = OTWeightedClassifier(model, weighter=OTSampleWeighter())
    before = of_everything(clf)
    with pytest.raises(ValueError, match="no_such"):
        clf.set_params(**{f"estimator__{parameter}": 5, "weighter__no_such": 1})
    assert of_everything(clf) == before
    assert clf.set_params(**{f"estimator__{parameter}": 5}).get_params()[f"estimator__{parameter}"] == 5


def test_parameters_are_set():
    clf = OTWeightedClassifier(make_pipeline(LogisticRegression()), weighter=OTSampleWeighter())
    assert clf.set_params(estimator__logisticregression__C=3.0, weighter__reg=0.5, meta_weight=0.1) is clf
    assert (clf.estimator[-1].C, clf.weighter.reg, clf.meta_weight) == (3.0, 0.5, 0.1)
    clf = OTWeightedClassifier().set_params(
        weighter=OTSampleWeighter(), weighter__reg=0.3, estimator=Ridge(), estimator__alpha=2
    )
    assert (clf.weighter.reg, clf.estimator.alpha) == (0.3, 2)


BELIEVING = r"OTSampleWeighter\(embedding='supervised', prior='confidence'\)"


@pytest.mark.parametrize(
    ("kind", "default"),
    [(OTWeightedClassifier, BELIEVING), (OTWeightedRegressor, r"OTSampleWeighter\(\)"), (OTResampler, BELIEVING)],
)
def test_none_has_no_parameters(kind, default):
    match = f"weighter__reg cannot be set, since weighter=None.*Pass weighter={default} to set or search"
    with pytest.raises(ValueError, match=match):
        kind().set_params(weighter__reg=0.1)
    with pytest.raises(ValueError, match="weighter=None has no parameters"):
        kind(weighter=OTSampleWeighter()).set_params(weighter=None, weighter__reg=0.1)


@pytest.mark.parametrize(
    ("kind", "default"), [(OTWeightedClassifier, LogisticRegression), (OTWeightedRegressor, Ridge)]
)
def test_no_inner_estimator_has_no_parameters(kind, default):
    with pytest.raises(ValueError, match=rf"estimator=None has no parameters. Pass estimator={default.__name__}\(\)"):
        kind().set_params(estimator__tol=0.1)


def test_search_over_parameters_of_none():
    from sklearn.model_selection import GridSearchCV

    with pytest.raises(ValueError, match=f"Pass weighter={BELIEVING} to set or search"):
        GridSearchCV(OTWeightedClassifier(), {"weighter__reg": [0.1]}).fit(X, Y, **META)
    grid = {"weighter": [OTSampleWeighter()], "weighter__reg": [0.1, 0.2]}
    assert GridSearchCV(OTWeightedClassifier(), grid, cv=2).fit(X, Y, **META).best_estimator_.weighter_.reg in (
        0.1,
        0.2,
    )
