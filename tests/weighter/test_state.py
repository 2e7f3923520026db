"""An error leaves the weighter as it was before the call; what a fit has taken in does not change behind its back."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter
from skotw._validation import unchanged_on_error

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(40, 3)), rng.normal(size=(8, 3))
Y, Y_META = np.arange(40) % 2, np.arange(8) % 2
SETS = X, Y, X_META, Y_META
OTHER = 5.0 * X + 3.0, Y, X_META, Y_META


class Failing(BaseEstimator):
    """An embedding that fails when it is asked to transform so many rows."""

    def __init__(self, n_rows=None):
        self.n_rows = n_rows

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        if len(X) == self.n_rows:
            raise RuntimeError("no transform")
        return X - self.mean_


def snapshot(weighter):
    return {name: pickle.dumps(value) for name, value in vars(weighter).items()}


def fails_late(monkeypatch):
    """Have the last but one step of every fit fail."""

    def broken(*args):
        raise RuntimeError("broken")

    monkeypatch.setattr("skotw._weighter.estimator.effective_sample_size", broken)


FAULTS = {
    "parameter": ({"reg": -1.0}, OTHER, ValueError),
    "combination": ({"solver": "gradient", "label_cost": "hard"}, OTHER, ValueError),
    "width": ({}, (OTHER[0][:, :2], *OTHER[1:]), ValueError),
    "labels": ({}, (OTHER[0], Y + 7, X_META, Y_META), ValueError),
    "values": ({}, (OTHER[0] * np.inf, Y, X_META, Y_META), ValueError),
    "embedding": ({"embedding": Failing(8)}, OTHER, RuntimeError),
    "class_mass": ({"class_mass": {0: 1.0}}, OTHER, ValueError),
}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["fit", "fit_weights", "partial_fit"])
def test_a_failed_fit_leaves_the_fitted_model(method, fault):
    params, sets, error = FAULTS[fault]
    if method == "partial_fit" and "solver" in params:
        pytest.skip("such a weighter has no partial_fit")
    weighter = OTSampleWeighter().fit(*SETS)
    weighter.set_params(**params)
    before, weights = snapshot(weighter), weighter.weigh(X, Y)
    with pytest.raises(error):
        getattr(weighter, method)(*sets)
    assert snapshot(weighter) == before
    assert_array_equal(weighter.weigh(X, Y), weights)


def test_an_error_at_the_very_end_leaves_the_fitted_model(monkeypatch):
    weighter = OTSampleWeighter().fit(*SETS)
    before = snapshot(weighter)
    fails_late(monkeypatch)
    with pytest.raises(RuntimeError, match="broken"):
        weighter.fit(*OTHER)
    assert snapshot(weighter) == before


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_after_a_failed_first_fit_the_weighter_is_unfitted(method, fault):
    params, sets, error = FAULTS[fault]
    weighter = OTSampleWeighter(**params)
    if method == "partial_fit" and "solver" in params:
        pytest.skip("such a weighter has no partial_fit")
    before = snapshot(weighter)
    with pytest.raises(error):
        getattr(weighter, method)(*sets)
    assert snapshot(weighter) == before
    for call in (weighter.weigh, weighter.transport_plan):
        with pytest.raises(NotFittedError):
            call(X, Y)


def test_a_failed_first_chunk_does_not_block_the_stream():
    weighter = OTSampleWeighter()
    with pytest.raises(ValueError, match="lack: 7, 8"):
        weighter.partial_fit(X, Y + 7, X_META, Y_META)
    weighter.partial_fit(*SETS)
    assert_array_equal(weighter.weigh(X, Y), OTSampleWeighter().partial_fit(*SETS).weigh(X, Y))


@pytest.mark.parametrize(
    ("chunk", "error"),
    [((X[:10], Y[:10] + 7), ValueError), ((X[:10, :2], Y[:10]), ValueError), ((X[:9], Y[:9]), RuntimeError)],
)
def test_a_failed_later_chunk_leaves_the_stream(chunk, error):
    weighter = OTSampleWeighter(embedding=Failing(9)).partial_fit(*SETS)
    before = snapshot(weighter)
    with pytest.raises(error):
        weighter.partial_fit(*chunk)
    assert snapshot(weighter) == before
    whole = OTSampleWeighter(embedding=Failing(9)).partial_fit(*SETS)
    for w in (weighter, whole):
        w.partial_fit(X[:20], Y[:20])
    assert_array_equal(weighter.potentials_, whole.potentials_)


def test_an_interrupted_chunk_is_not_half_learned(monkeypatch):
    weighter = OTSampleWeighter().partial_fit(*SETS)
    before = snapshot(weighter)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("skotw._weighter.model._estimate", interrupt)  # what comes after all sums
    with pytest.raises(KeyboardInterrupt):
        weighter.partial_fit(X[:20], Y[:20])
    assert snapshot(weighter) == before


def test_fit_leaves_nothing_of_an_earlier_one():
    frame, meta = (pd.DataFrame(rows, columns=list("abc")) for rows in (X, X_META))
    weighter = OTSampleWeighter(label_weight=0.0).fit(frame, Y, meta, Y_META)
    assert hasattr(weighter, "classes_")
    weighter.fit(X, X_meta=X_META)
    fresh = OTSampleWeighter(label_weight=0.0).fit(X, X_meta=X_META)
    assert set(vars(weighter)) == set(vars(fresh))


# ------------------------------------------------------------------------------------------------
# Parameters


def test_a_failed_set_params_sets_nothing():
    pca = PCA(2)
    weighter = OTSampleWeighter(embedding=make_pipeline(StandardScaler(), pca), reg=0.1)
    for params in (
        {"reg": 0.5, "regg": 1.0},
        {"reg": 0.5, "embedding__pca__n_components": 3, "embedding__pca__components": 1},
        {"embedding__pca__n_components": 3, "embedding__pcb__n_components": 1},
        {"embedding": PCA(3), "embedding__n_components": 1, "embedding__n": 1},
    ):
        embedding = weighter.embedding
        with pytest.raises(ValueError, match="Invalid parameter"):
            weighter.set_params(**params)
        assert weighter.reg == 0.1
        assert weighter.embedding is embedding
        assert pca.n_components == 2
    new = PCA(3)
    with pytest.raises(ValueError, match="Invalid parameter"):
        weighter.set_params(embedding=new, embedding__n_components=1, embedding__n=1)
    assert new.n_components == 3
    assert weighter.set_params(reg=0.5, embedding__pca__n_components=1) is weighter
    assert (weighter.reg, pca.n_components) == (0.5, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"metric": "euclidean"},
        {"label_weight": 1.0, "label_cost": "hard", "prior": "uniform"},
        {"embedding": None, "cost_scale": 9.0},
        {"max_weight": 1.1, "reg_prior": 3.0, "n_prototypes": 1, "class_mass": "meta"},
    ],
)
def test_a_fitted_model_does_not_see_changed_parameters(change):
    weighter = OTSampleWeighter(metric="cosine").fit(*SETS)
    weights, plan = weighter.weigh(X, Y), weighter.transport_plan(X, Y)
    weighter.set_params(**change)
    assert_array_equal(weighter.weigh(X, Y), weights)
    assert_array_equal(weighter.transport_plan(X, Y), plan)


def test_a_fitted_model_does_not_see_its_arguments_change():
    mass, A, B = {0: 1.0, 1: 3.0}, X.copy(), X_META.copy()
    weighter = OTSampleWeighter(class_mass=mass, embedding=None, cost_scale=1.0, reg=0.1, max_weight=None)
    weighter.partial_fit(A, Y, B, Y_META)
    weights = weighter.weigh(X, Y)
    A[:], B[:], mass[0] = 0.0, 0.0, 9.0
    assert_array_equal(weighter.weigh(X, Y), weights)
    with pytest.raises(ValueError, match="have changed: class_mass"):
        weighter.partial_fit(X, Y)


def test_weighing_leaves_no_trace():
    weighter = OTSampleWeighter(max_weight=2.0).fit(*SETS)
    before = snapshot(weighter)
    weighter.weigh(X, Y)
    weighter.transport_plan(X, Y)
    assert snapshot(weighter) == before


# ------------------------------------------------------------------------------------------------
# The mechanism


def test_unchanged_on_error_puts_back_what_was_set_and_takes_away_what_was_not():
    class Thing:
        pass

    first, second = Thing(), Thing()
    first.kept = first.replaced = second.kept = 1

    def interrupted():
        with unchanged_on_error(first, second):
            first.replaced, first.new, second.kept = 2, 3, 4
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert vars(first) == {"kept": 1, "replaced": 1}
    assert vars(second) == {"kept": 1}
    with unchanged_on_error(first):
        first.replaced = 2
    assert first.replaced == 2


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_fit_draws_no_random_numbers(method):
    random_state = np.random.RandomState(0)
    weighter = OTSampleWeighter(embedding=PCA(2), random_state=random_state)
    with pytest.raises(ValueError, match="the trusted rows lack"):
        getattr(weighter, method)(X, Y + 7, X_META, Y_META)
    assert random_state.randint(2**31) == np.random.RandomState(0).randint(2**31)
