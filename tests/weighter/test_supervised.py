"""embedding="supervised" and prior="confidence": models of the labels that have not seen the rows they speak of."""

import pickle
import re
from threading import current_thread

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skotw import OTSampleWeighter, OTWeightedClassifier, ot_sample_weight
from skotw._weighter import input, supervised
from skotw._weighter.confidence import Confidence
from skotw._weighter.row_keys import row_keys
from skotw._weighter.supervised import OutOfFold, _deal_folds, balanced, choose_rows
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

BOTH = {"embedding": "supervised", "prior": "confidence"}


@pytest.fixture(scope="module")
def sets():
    """Three classes, a quarter of the labels wrong, and eight trusted rows of each."""
    X, y = make_blobs([90, 50, 50], 4, centers=4 * np.eye(3, 4), cluster_std=1.5, random_state=3)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 8, random_state=0)
    noisy, wrong = flip_labels(y, 0.25, random_state=0, return_mask=True)
    return X, noisy, X_meta, y_meta, wrong


def models_of(sets, learner, seed=0):
    X, y, X_meta, y_meta, _ = sets
    ones = np.ones(len(y)), np.ones(len(y_meta))
    return OutOfFold.fit(learner, X, X_meta, y, y_meta, *ones, 1, np.random.RandomState(seed))


# ------------------------------------------------------------------------------------------------
# Probabilities


@pytest.mark.parametrize(
    "learner",
    [
        KNeighborsClassifier(1),
        DecisionTreeClassifier(),
        RandomForestClassifier(40),
        ExtraTreesClassifier(40, bootstrap=True),
        make_pipeline(StandardScaler(), DecisionTreeClassifier()),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_no_model_speaks_of_rows_that_it_has_seen(sets, learner):
    """These learn labels by heart; the labels are noise, so that no other model can know them."""
    X, _, X_meta, y_meta, _ = sets
    rng = np.random.default_rng(0)
    y, y_meta = rng.integers(0, 3, len(X)), rng.integers(0, 3, len(y_meta))
    models = models_of((X, y, X_meta, y_meta, None), learner)
    rows, labels = np.r_[X, X_meta], np.r_[y, y_meta]
    own = models.probabilities(rows)[np.arange(len(rows)), labels]
    assert own.mean() < 0.42  # a third would be chance
    known = np.mean([model.predict_proba(rows)[np.arange(len(rows)), labels] for model in models.models[0]])
    assert known > 0.6


def test_probabilities_are_those_of_the_fold(sets):
    X, y, X_meta, y_meta, _ = sets
    models = models_of(sets, GaussianNB())
    folds = _deal_folds(2 * np.r_[y, y_meta] + (np.arange(len(y) + len(y_meta)) >= len(y)), np.random.RandomState(0))
    both, labels = np.r_[X, X_meta], np.r_[y, y_meta]
    expected = np.empty((len(labels), 3))
    for fold in range(5):
        seen = folds != fold
        weight = balanced(labels, np.ones(len(labels)))[seen]
        expected[~seen] = GaussianNB().fit(both[seen], labels[seen], weight).predict_proba(both[~seen])
    assert_allclose(models.probabilities(both), expected)
    assert_allclose(models.probabilities(both).sum(axis=1), 1.0)
    new = X + 0.5
    assert_allclose(models.probabilities(new), np.mean([m.predict_proba(new) for m in models.models[0]], axis=0))


def test_folds_are_even():
    strata = np.repeat([0, 1, 2], [50, 23, 3])
    folds = _deal_folds(strata, np.random.RandomState(0))
    for stratum in range(3):
        counts = np.bincount(folds[strata == stratum], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_rows_that_repeat_each_other_share_a_fold(sets):
    X, y, X_meta, y_meta, wrong = sets
    twice = np.r_[X, X], np.r_[y, y], X_meta, y_meta, wrong
    found = models_of(twice, KNeighborsClassifier(1)).probabilities(X)
    # its copy would vouch for the label of every row
    assert found[np.arange(len(y)), y][wrong].mean() < 0.5


def test_a_class_that_a_fold_has_lost(sets):
    X, y, X_meta, y_meta, _ = sets
    y_meta = np.where(np.arange(len(y_meta)) == 0, 3, y_meta)  # one row alone of class 3
    found = models_of((X, y, X_meta, y_meta, None), GaussianNB()).probabilities(X_meta[:1])
    assert found[0, 3] == 0
    assert found.sum() == pytest.approx(1.0)


def test_one_class_is_left_in_a_fold():
    X, X_meta = np.r_[np.zeros((30, 1)), np.ones((3, 1))], np.array([[0.0], [1.0]])
    w = OTSampleWeighter(embedding=LogisticRegression()).fit(X, np.repeat([0, 1], [30, 3]), X_meta, [0, 1])
    assert np.isfinite(w.sample_weight_).all()


@pytest.mark.parametrize("rooms", [(40, [4, 18, 18]), (10, [3, 3, 3]), (74, [4, 30, 40])])
def test_rare_classes_keep_their_rows(rooms):
    codes = np.repeat([0, 1, 2], [4, 30, 40])
    chosen = choose_rows(codes, rooms[0], np.random.RandomState(0))
    assert_array_equal(np.bincount(codes[chosen]), rooms[1])
    assert (np.diff(chosen) > 0).all()


def test_models_are_fitted_to_so_many_rows(sets, monkeypatch):
    X, y, X_meta, *_ = sets
    monkeypatch.setattr(supervised, "MAX_ROWS", 60)
    models = models_of(sets, GaussianNB())
    assert len(models.keys) == 60
    assert np.isin(row_keys(X_meta), models.keys).all()
    found = models.probabilities(X)
    others = np.flatnonzero(~np.isin(row_keys(X), models.keys))
    assert len(others) == len(y) - 36
    assert_allclose(found[others], np.mean([m.predict_proba(X[others]) for m in models.models[0]], axis=0))


def test_unseen_rows_are_asked_of_as_many_trees_as_a_row_out_of_bag(sets):
    """Else the probabilities of some rows would be noisier than those of others."""
    X = sets[0]
    models = models_of(sets, None)
    (forest,) = models.models[1]
    share = np.mean([1 - len(np.unique(of)) / len(of) for of in forest.estimators_samples_])  # out of the bag
    assert len(forest.estimators_) == pytest.approx(share * forest.n_estimators, abs=1)
    new = X + 0.5
    asked = np.mean([tree.predict_proba(new) for tree in forest.estimators_], axis=0)
    linear = np.mean([model.predict_proba(new) for model in models.models[0]], axis=0)
    assert_allclose(models.probabilities(new), (asked + linear) / 2, rtol=1e-5)


def test_threads_change_no_bit(sets, monkeypatch):
    X, y, X_meta, y_meta, _ = sets
    monkeypatch.setattr(input, "_FEWEST_TOLD", 16)
    asked = []
    probabilities = OutOfFold.probabilities

    def ask(self, rows):
        asked.append(len(rows))
        return probabilities(self, rows)

    monkeypatch.setattr(OutOfFold, "probabilities", ask)
    found = []
    for n_jobs in (1, 3):
        asked.clear()
        weighter = OTSampleWeighter(**BOTH, n_jobs=n_jobs, random_state=0).fit(X, y, X_meta, y_meta)
        of_rows = [size for size in asked if size != len(X_meta)]
        assert sum(of_rows) == len(X)
        assert max(of_rows) < len(X) / 7
        found.append((weighter.sample_weight_, weighter.weigh(X + 0.5, y)))
    for one, three in zip(*found, strict=True):
        assert_array_equal(one, three)


def test_threads_have_the_settings_of_the_caller(sets, monkeypatch):
    X, y, X_meta, y_meta, _ = sets
    monkeypatch.setattr(input, "_FEWEST_TOLD", 16)
    seen = []
    probabilities = OutOfFold.probabilities
    monkeypatch.setattr(
        OutOfFold, "probabilities", lambda self, X: (seen.append(get_config()), probabilities(self, X))[1]
    )
    with config_context(transform_output="pandas", working_memory=77):
        OTSampleWeighter(**BOTH, n_jobs=3).fit(X, y, X_meta, y_meta)
    assert len(seen) > 7
    assert all(config["working_memory"] == 77 for config in seen)


def test_a_given_learner_is_asked_of_all_rows_at_once_by_the_caller(sets, monkeypatch):
    X, y, X_meta, y_meta, _ = sets
    monkeypatch.setattr(input, "_FEWEST_TOLD", 16)
    asked = []

    class Watched(GaussianNB):
        def predict_proba(self, X):
            asked.append((current_thread(), len(X)))
            return super().predict_proba(X)

    weighter = OTSampleWeighter(embedding=Watched(), prior="confidence", n_jobs=3).fit(X, y, X_meta, y_meta)
    asked.clear()
    weighter.weigh(X + 0.5, y)
    assert set(asked) == {(current_thread(), len(X))}


# ------------------------------------------------------------------------------------------------
# Row keys


def test_keys_tell_rows_apart_and_know_them_again():
    frame = pd.DataFrame({"a": [1.0, 2.0, 1.0], "b": ["x", "y", "x"]})
    for rows in (frame, ["one", "two", "one"], np.array([[1, 2], [2, 1], [1, 2]]), [{"a": 1}, {"a": 2}, {"a": 1}]):
        keys = row_keys(rows)
        assert keys[0] == keys[2] != keys[1]
    assert_array_equal(row_keys(np.array(["one", "two"])), row_keys(["one", "two"]))
    dense = np.random.default_rng(0).normal(size=(30, 4)).round()
    assert_array_equal(row_keys(dense), row_keys(sparse.csr_array(dense)))
    # in every process the same
    assert row_keys(["one"])[0] == 14489617718373642804


# ------------------------------------------------------------------------------------------------
# Embedding


def test_distances_are_those_of_hellinger(sets):
    X, y, X_meta, y_meta, _ = sets
    w = OTSampleWeighter(embedding="supervised", reg=0.1).fit(X, y, X_meta, y_meta)
    P, P_meta = (w.embedding_.transform(rows) ** 2 for rows in (X, X_meta))
    assert_allclose(P.sum(axis=1), 1.0)
    hellinger = 1 - np.sqrt(P) @ np.sqrt(P_meta).T
    p, b = 1 / np.bincount(y)[y] / 3, 1 / np.bincount(y_meta)[y_meta] / 3
    exact = OTSampleWeighter(metric="precomputed", reg=0.1, cost_scale=p @ hellinger @ b)
    assert_allclose(exact.fit_weights(np.maximum(hellinger, 0), y, y_meta=y_meta), w.sample_weight_)
    squares = ot_sample_weight(X, y, X_meta, y_meta, embedding="supervised", reg=0.1, metric="sqeuclidean")
    assert_allclose(squares, w.sample_weight_)


@pytest.mark.parametrize("params", [BOTH, {"embedding": "supervised"}, {"prior": "confidence"}], ids=str)
@pytest.mark.parametrize("max_weight", [None, 2.0])
def test_weigh_knows_the_training_rows_again(sets, params, max_weight):
    X, y, X_meta, y_meta, wrong = sets
    weight = np.random.default_rng(0).uniform(0, 2, len(y)).round(1)
    w = OTSampleWeighter(**params, max_weight=max_weight).fit(X, y, X_meta, y_meta, sample_weight=weight)
    assert_allclose(w.weigh(X, y, sample_weight=weight), w.sample_weight_)
    assert w.sample_weight_.sum() == pytest.approx(weight.sum())
    again = pickle.loads(pickle.dumps(w))
    assert_allclose(again.weigh(X[5:9], y[5:9], sample_weight=weight[5:9]), w.sample_weight_[5:9])
    if max_weight is None:
        assert_allclose(w.transport_plan(X, y, sample_weight=weight).sum(1) * weight.sum(), w.sample_weight_)
    mean = [np.average(w.weigh(X + 0.01, y)[rows]) for rows in (wrong, ~wrong)]
    assert mean[0] < 0.5 * mean[1]


@pytest.mark.parametrize("params", [BOTH, {"embedding": GaussianNB(), "prior": "confidence"}], ids=["default", "given"])
def test_same_seed_same_weights(sets, params):
    X, y, X_meta, y_meta, _ = sets
    weights = [ot_sample_weight(X, y, X_meta, y_meta, **params, random_state=seed) for seed in (None, None, 1, 1)]
    assert_array_equal(weights[0], weights[1])
    assert_array_equal(weights[2], weights[3])
    assert not np.array_equal(weights[0], weights[2])


def test_weightless_rows_are_no_rows(sets):
    X, y, X_meta, y_meta, _ = sets
    weight = np.r_[np.zeros(20), np.ones(len(y) - 20)]
    found = ot_sample_weight(X, y, X_meta, y_meta, sample_weight=weight, **BOTH)
    assert_allclose(found[20:], ot_sample_weight(X[20:], y[20:], X_meta, y_meta, **BOTH))


def test_sample_weight_reaches_the_models(sets):
    """Wrong labels that hardly weigh do not teach."""
    X, y, X_meta, y_meta, wrong = sets
    weight = np.where(wrong, 1e-3, 1.0)
    own = np.arange(len(y)), y
    plain, weighted = (
        OTSampleWeighter(embedding="supervised").fit(X, y, X_meta, y_meta, sample_weight=w) for w in (None, weight)
    )
    believed = [(w.embedding_.transform(X)[own] ** 2)[wrong].mean() for w in (plain, weighted)]
    assert believed[1] < believed[0] / 1.5


class Names(ClassifierMixin, BaseEstimator):
    """Knows nothing but whose columns it was given."""

    def fit(self, X, y, sample_weight=None):
        self.classes_, self.columns_ = np.unique(y), list(X.columns)
        return self

    def predict_proba(self, X):
        assert list(X.columns) == self.columns_
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_a_given_learner_gets_rows_as_they_come(sets):
    X, y, X_meta, y_meta, _ = sets
    frames = [pd.DataFrame(rows, columns=list("abcd")).assign(e="text") for rows in (X, X_meta)]
    params = {"embedding": Names(), "prior": "confidence"}
    w = OTSampleWeighter(**params, reg=0.1).fit(frames[0], y, frames[1], y_meta)
    assert_allclose(w.sample_weight_, len(y) / 3 / np.bincount(y)[y])
    assert w.weigh(frames[0][:3], y[:3]).shape == (3,)


def test_sparse_rows_and_frames_have_the_weights_of_the_default_embeddings_columns(sets):
    X, y, X_meta, y_meta, wrong = sets
    found = ot_sample_weight(sparse.csr_array(X), y, sparse.csr_array(X_meta), y_meta, **BOTH)
    assert found[wrong].mean() < 0.3 * found[~wrong].mean()
    frames = [pd.DataFrame(rows, columns=list("abcd")) for rows in (X, X_meta)]
    framed = ot_sample_weight(frames[0], y, frames[1], y_meta, **BOTH)
    assert_allclose(framed, ot_sample_weight(X, y, X_meta, y_meta, **BOTH), rtol=1e-6)


def test_streams_take_an_embedding_that_is_learned(sets):
    X, y, X_meta, y_meta, _ = sets
    for params, why in (
        ({"embedding": "supervised"}, "learned from all rows at once: use fit.*FrozenEstimator"),
        ({"embedding": GaussianNB()}, "learned from all rows at once"),
        ({"prior": "confidence"}, "prior='confidence' needs all rows at once"),
    ):
        with pytest.raises(AttributeError) as error:
            OTSampleWeighter(**params).partial_fit(X, y, X_meta, y_meta)
        assert re.search(why, str(error.value.__cause__))
    s = OTSampleWeighter(embedding="supervised").fit(X, y, X_meta, y_meta)
    params = {"embedding": FrozenEstimator(s.embedding_), "cost_scale": s.cost_scale_, "reg": s.reg_}
    stream = OTSampleWeighter(**params)
    for rows in np.array_split(np.arange(len(y)), 3):
        stream.partial_fit(X[rows], y[rows], *(() if hasattr(stream, "reg_") else (X_meta, y_meta)))
    assert_allclose(stream.weigh(X, y), s.sample_weight_)
    with pytest.raises(TypeError, match="is fitted with the trusted rows"):
        type(s.embedding_)().fit(X)


# ------------------------------------------------------------------------------------------------
# Prior


def trust(w, y, y_meta):
    """Share of the trusted labels in what all are worth."""
    return len(y_meta) / (len(y_meta) + w.label_reliability_.label_information() * len(y))


def test_large_reg_leaves_balanced_weights_times_belief(sets):
    X, y, X_meta, y_meta, _ = sets
    params = {"embedding": GaussianNB(), "prior": "confidence"}
    w = OTSampleWeighter(**params, reg=1e6, label_cost="hard").fit(X, y, X_meta, y_meta)
    trusted = GaussianNB().fit(X_meta, y_meta).predict_proba(X)
    out_of_fold = w.embedding_.transform(X) ** 2
    own = np.arange(len(y)), y
    belief = np.maximum(trusted[own], 1e-3) ** trust(w, y, y_meta) * np.maximum(out_of_fold[own], 1e-3)
    assert_allclose(w.sample_weight_, len(y) / 3 * belief / np.bincount(y, belief)[y], rtol=1e-4)


def test_belief_is_a_sample_weight_within_the_class(sets):
    """The same problem with another prior measure: what a sample_weight of that size would give."""
    X, y, X_meta, y_meta, _ = sets
    w = OTSampleWeighter(prior="confidence", embedding=GaussianNB(), reg=0.1).fit(X, y, X_meta, y_meta)
    free = OTSampleWeighter(
        metric="sqeuclidean", embedding=FrozenEstimator(w.embedding_), reg=0.1, cost_scale=2 * w.cost_scale_
    )
    own = np.arange(len(y)), y
    trusted = GaussianNB().fit(X_meta, y_meta).predict_proba(X)[own]
    belief = np.maximum(trusted, 1e-3) ** trust(w, y, y_meta) * np.maximum(w.embedding_.transform(X)[own] ** 2, 1e-3)
    expected = free.fit_weights(X, y, X_meta, y_meta, sample_weight=belief)
    assert_allclose(w.sample_weight_ / len(y), expected / belief.sum(), rtol=1e-6)


def test_wrong_labels_lose_more_with_each_of_the_two(sets):
    X, y, X_meta, y_meta, wrong = sets
    params = [{}, {"embedding": "supervised"}, BOTH]
    ratio = [w[wrong].mean() / w[~wrong].mean() for w in (ot_sample_weight(X, y, X_meta, y_meta, **p) for p in params)]
    assert ratio[2] < ratio[1] < ratio[0]


# ------------------------------------------------------------------------------------------------
# What cannot be


@pytest.mark.parametrize(
    ("params", "which"),
    [
        ({"embedding": "supervised"}, "A supervised embedding needs .*leave embedding='scale'"),
        ({"embedding": GaussianNB()}, "A supervised embedding"),
        ({"prior": "confidence"}, "prior='confidence' needs .*leave prior='balanced'"),
    ],
)
def test_classes_and_trusted_rows_are_needed(sets, params, which):
    X, y, X_meta, y_meta, _ = sets
    for given in (
        (X, y),
        (X, X[:, 0], X_meta, X_meta[:, 0]),
        (X, None, X_meta),
        (X, np.c_[y, y], X_meta, np.c_[y_meta, y_meta]),
    ):
        with pytest.raises(ValueError, match=which):
            OTSampleWeighter(**params).fit(*given)


def test_costs_are_no_rows(sets):
    X, y, X_meta, y_meta, _ = sets
    costs = ((X[:, None] - X_meta) ** 2).sum(axis=2)
    with pytest.raises(ValueError, match="has no rows for prior='confidence'"):
        OTSampleWeighter(metric="precomputed", prior="confidence").fit(costs, y, y_meta=y_meta)
    with pytest.raises(ValueError, match="no rows to embed"):
        OTSampleWeighter(metric="precomputed", embedding="supervised").fit(costs, y, y_meta=y_meta)


@pytest.mark.parametrize("learner", ["supervised", LogisticRegression()], ids=repr)
def test_rows_that_all_repeat_each_other_weigh_by_their_class(learner):
    y = [0, 0, 0, 1] * 5
    w = ot_sample_weight(np.ones((20, 2)), y, np.ones((4, 2)), [0, 0, 1, 1], embedding=learner, prior="confidence")
    assert_allclose(w, np.where(y, 2.0, 2 / 3))


def test_models_of_trusted_rows_count_classes_alike_and_rows_by_weight():
    rng = np.random.default_rng(0)
    meta, codes, weight = rng.normal(size=(9, 2)), np.array([0, 0, 0, 0, 0, 0, 1, 1, 1]), np.array([1, 2, 3] * 3)
    sets = (meta, meta, codes, codes, np.ones(9), weight.astype(float))
    (model,) = Confidence.fit(GaussianNB(), *sets, None, 0).trusting
    assert_allclose(model.class_prior_, [0.5, 0.5])
    of_copies = GaussianNB().fit(np.repeat(meta, weight, axis=0), np.repeat(codes, weight))
    assert_allclose(model.theta_, of_copies.theta_)
    assert_allclose(model.var_, of_copies.var_)


# ---------------------------------------------------------------------------------------------
# Missing values


def with_gaps(rows):
    rows = rows.copy()
    rows[::7, 0], rows[3::5, 2] = np.nan, np.nan
    return rows


def test_gaps_in_arrays_are_those_of_data_frames(sets):
    X, y, X_meta, y_meta, _ = sets
    X, X_meta = with_gaps(X), with_gaps(X_meta)
    X[:, 3] = np.nan  # not one value is known
    weighter = OTSampleWeighter(**BOTH).fit(X, y, X_meta, y_meta)
    of_frames = OTSampleWeighter(**BOTH).fit(pd.DataFrame(X), y, pd.DataFrame(X_meta), y_meta)
    assert_allclose(weighter.sample_weight_, of_frames.sample_weight_, rtol=1e-9)
    assert_allclose(weighter.weigh(X, y), weighter.sample_weight_, rtol=1e-12)


def test_gaps_of_later_rows_are_the_mean(sets):
    X, y, X_meta, y_meta, _ = sets
    weighter = OTSampleWeighter(**BOTH).fit(X, y, X_meta, y_meta)
    gaps, filled = X[:5] + 0.1, X[:5] + 0.1
    gaps[:, 1], filled[:, 1] = np.nan, X[:, 1].mean()
    assert_allclose(weighter.weigh(gaps, y[:5]), weighter.weigh(filled, y[:5]), rtol=1e-9)


def test_infinity_is_no_gap(sets):
    X, y, X_meta, y_meta, _ = sets
    X = with_gaps(X)
    for rows, meta in ((np.where(np.arange(len(X))[:, None] == 4, np.inf, X), X_meta), (X, X_meta * np.inf)):
        with pytest.raises(ValueError, match=r"contains (infinity|NaN), first in row"):
            OTSampleWeighter(**BOTH).fit(rows, y, meta, y_meta)


def test_an_estimator_that_takes_gaps_gets_them(sets):
    X, y, X_meta, y_meta, _ = sets
    booster = HistGradientBoostingClassifier(max_iter=5)
    classifier = OTWeightedClassifier(booster).fit(with_gaps(X), y, X_meta=with_gaps(X_meta), y_meta=y_meta)
    assert classifier.score(with_gaps(X_meta), y_meta) > 0.8
    with pytest.raises(ValueError, match=r"contains NaN, first in row 0.*SimpleImputer.*embedding='supervised'"):
        OTWeightedClassifier(booster, weighter=OTSampleWeighter()).fit(with_gaps(X), y, X_meta=X_meta, y_meta=y_meta)
