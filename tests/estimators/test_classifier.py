"""OTWeightedClassifier: what its weights are, what the inner classifier gets, what it hands on."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.utils import get_tags
from sklearn.utils.class_weight import compute_sample_weight

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, ot_sample_weight
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split


@pytest.fixture(scope="module")
def sets():
    """Three classes, unequal, a fifth of the labels wrong, and eight trusted rows of each."""
    X, y = make_blobs([120, 60, 60], 4, centers=None, cluster_std=2.5, random_state=3)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 8, random_state=0)
    return X, flip_labels(y, 0.2, random_state=0), X_meta, y_meta


def fitted(sets, sample_weight=None, **params):
    X, y, X_meta, y_meta = sets
    return OTWeightedClassifier(**params).fit(X, y, sample_weight, X_meta=X_meta, y_meta=y_meta)


class Witness(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted to."""

    def fit(self, X, y, sample_weight=None, tag=None):
        self.seen_ = X, y, sample_weight, tag
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


# ------------------------------------------------------------------------------------------------
# Weights


def test_balanced_on_the_union_where_transport_says_nothing(sets):
    _, y, _, y_meta = sets
    clf = fitted(sets, weighter=OTSampleWeighter(label_weight=1.0), meta_weight="balanced")
    expected = compute_sample_weight("balanced", np.r_[y, y_meta])
    assert_allclose(np.r_[clf.sample_weight_, clf.sample_weight_meta_], expected)


def test_balanced_weights_times_what_transport_says_relative_to_balanced(sets):
    _, y, _, y_meta = sets
    clf = fitted(sets, weighter=OTSampleWeighter(reg=0.1, label_cost="hard"), meta_weight="balanced")
    union = compute_sample_weight("balanced", np.r_[y, y_meta])
    union[: len(y)] *= clf.weighter_.sample_weight_ / compute_sample_weight("balanced", y)
    assert_allclose(np.r_[clf.sample_weight_, clf.sample_weight_meta_], union)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_number_is_the_share_of_the_meta_rows(sets, share):
    _, y, _, y_meta = sets
    clf = fitted(sets, weighter=OTSampleWeighter(reg=0.1), meta_weight=share)
    total = len(y) + len(y_meta)
    assert_allclose(clf.sample_weight_meta_, share * total / len(y_meta))
    assert_allclose(clf.sample_weight_, (1 - share) * total / len(y) * clf.weighter_.sample_weight_)


@pytest.mark.parametrize("class_mass", ["balanced", "meta", {0: 1.0, 1: 2.0, 2: 5.0}])
@pytest.mark.parametrize("meta_weight", ["balanced", 0.4])
def test_each_class_holds_its_mass(sets, class_mass, meta_weight):
    X, y, X_meta, y_meta = sets
    X_meta, y_meta = X_meta[3:], y_meta[3:]  # unequal classes here too
    weighter = OTSampleWeighter(reg=0.1, label_cost="hard", class_mass=class_mass)
    clf = fitted((X, y, X_meta, y_meta), weighter=weighter, meta_weight=meta_weight)
    held = np.bincount(np.r_[y, y_meta], np.r_[clf.sample_weight_, clf.sample_weight_meta_])
    mass = {"balanced": np.ones(3), "meta": np.bincount(y_meta)}.get(str(class_mass), np.array([1.0, 2.0, 5.0]))
    assert_allclose(held, mass / mass.sum() * (len(y) + len(y_meta)))


def test_auto_counts_training_labels_by_what_they_are_worth(sets):
    X, y, X_meta, y_meta = sets
    worth = []
    for rate in (0.0, 0.5):
        noisy = flip_labels(y, rate, random_state=1)
        clf = fitted((X, noisy, X_meta, y_meta), weighter=OTSampleWeighter(reg=0.1, label_cost="hard"))
        v = clf.weighter_.label_reliability_.label_information()
        n, m = v * np.bincount(noisy), np.bincount(y_meta)
        total = n.sum() + m.sum()
        assert_allclose(clf.sample_weight_.sum() + clf.sample_weight_meta_.sum(), total)
        assert_allclose(np.bincount(noisy, clf.sample_weight_), total / 3 * n / (n + m))
        assert_allclose(clf.sample_weight_meta_, (total / 3 / (n + m))[y_meta])
        worth.append(v)
    assert worth[1] < worth[0] <= 1.0


def test_labels_that_say_nothing_leave_the_trusted_rows_alone(sets):
    X, y, X_meta, y_meta = sets
    X, y = np.tile(X, (3, 1)), np.repeat([0, 1, 2], len(X))  # every row under every label
    clf = fitted((X, y, X_meta, y_meta), estimator=Witness(), weighter=OTSampleWeighter())
    # but for what 24 trusted rows cannot rule out
    assert clf.weighter_.label_reliability_.overall == pytest.approx(0.0, abs=1e-6)
    assert clf.weighter_.label_reliability_.label_information() < 0.01
    assert clf.sample_weight_.max() < 0.01
    assert_allclose(clf.sample_weight_meta_, clf.sample_weight_meta_[0])  # as many of each class


def test_auto_is_balanced_where_labels_are_right():
    sets = balanced_meta_split(*make_blobs(200, 4, centers=3, cluster_std=0.1, random_state=0), 5, random_state=0)
    auto, balanced = (fitted(sets, meta_weight=weight) for weight in ("auto", "balanced"))
    assert_allclose(auto.sample_weight_, balanced.sample_weight_, rtol=0.02)


def test_meta_rows_stay_out_on_request(sets):
    X, y, X_meta, y_meta = sets
    clf = fitted(sets, estimator=Witness(), weighter=OTSampleWeighter(reg=0.1), include_meta=False)
    assert clf.sample_weight_meta_.size == 0
    assert_array_equal(clf.sample_weight_, ot_sample_weight(X, y, X_meta, y_meta, reg=0.1))
    assert_array_equal(clf.estimator_.seen_[2], clf.sample_weight_)
    assert len(clf.estimator_.seen_[0]) == len(X)


def test_prototypes_without_a_meta_set(sets):
    X, y = sets[:2]
    with pytest.warns(UserWarning, match="There are no trusted rows") as caught:
        clf = OTWeightedClassifier(Witness()).fit(X, y)
    assert [warning.filename for warning in caught] == [__file__]
    assert_array_equal(clf.estimator_.seen_[2], ot_sample_weight(X, y, n_prototypes=1))
    assert clf.estimator_.seen_[0] is X


def test_sample_weight_is_repetition(sets):
    X, y, X_meta, y_meta = sets
    k = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), k)
    for params in ({}, {"meta_weight": "balanced"}, {"meta_weight": 0.3}, {"include_meta": False}):
        weighted = fitted(sets, k, weighter=OTSampleWeighter(), **params)
        repeated = fitted((X[rows], y[rows], X_meta, y_meta), weighter=OTSampleWeighter(), **params)
        assert_allclose(
            np.bincount(rows, repeated.sample_weight_, len(y)), weighted.sample_weight_, rtol=1e-9, atol=1e-12
        )
        total = weighted.sample_weight_.sum() + weighted.sample_weight_meta_.sum()
        if params:
            assert_allclose(total, k.sum() + 24 * bool(weighted.include_meta))
        else:  # training labels count for what they are worth
            assert 24 < total < k.sum() + 24
        assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-4)


def test_order_of_rows_does_not_matter(sets):
    X, y, X_meta, y_meta = sets
    order, of_meta = np.random.default_rng(0).permutation(len(y)), np.random.default_rng(1).permutation(len(y_meta))
    shuffled = X[order], y[order], X_meta[of_meta], y_meta[of_meta]
    clf, other = (fitted(each, weighter=OTSampleWeighter()) for each in (sets, shuffled))
    assert_allclose(other.sample_weight_, clf.sample_weight_[order])
    assert_allclose(other.sample_weight_meta_, clf.sample_weight_meta_[of_meta])


def test_wrong_labels_lose_and_accuracy_gains():
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=10, random_state=0)
    X, X_test, y, y_test = X[:800] / 16, X[800:] / 16, y[:800], y[800:]
    noisy, wrong = flip_labels(y, 0.4, random_state=0, return_mask=True)
    clf = fitted((X, noisy, X_meta / 16, y_meta))
    assert clf.sample_weight_[wrong].mean() < 0.5 * clf.sample_weight_[~wrong].mean()
    plain = LogisticRegression().fit(np.r_[X, X_meta / 16], np.r_[noisy, y_meta])
    assert clf.score(X_test, y_test) > plain.score(X_test, y_test) + 0.02


def test_lost_classes_join_training(sets):
    X, y, X_meta, y_meta = sets
    names = np.array(["a", "b", "c"])
    kept = y != 2
    sets = X[kept], names[y[kept]], X_meta, names[y_meta]
    with pytest.warns(
        UserWarning, match=r"y_meta has labels that y lacks: 'c'.*They join training none the less.*stratify"
    ):
        clf = fitted(sets, weighter=OTSampleWeighter(reg=0.1, label_cost="hard"), meta_weight="balanced")
    assert list(clf.classes_) == ["a", "b", "c"]
    total = kept.sum() + len(y_meta)
    assert_allclose(clf.sample_weight_meta_[y_meta == 2].sum(), total / 3)
    assert_allclose(clf.sample_weight_.sum() + clf.sample_weight_meta_.sum(), total)
    with pytest.warns(UserWarning, match="They are not trained on"):
        assert list(fitted(sets, include_meta=False).classes_) == ["a", "b"]


# ------------------------------------------------------------------------------------------------
# What the inner classifier gets


def seen(X, y, X_meta, y_meta, **fit_params):
    return OTWeightedClassifier(Witness()).fit(X, y, X_meta=X_meta, y_meta=y_meta, **fit_params).estimator_.seen_


def test_arrays_keep_their_type(sets):
    X, y, X_meta, y_meta = sets
    rows, labels, weight, _ = seen(X.astype(np.float32), y, X_meta, y_meta)
    assert rows.dtype == np.float32
    assert_allclose(rows, np.r_[X, X_meta], rtol=1e-6)
    assert_array_equal(labels, np.r_[y, y_meta])
    assert weight.shape == labels.shape
    rows, *_ = seen((10 * X).astype(int), y, (10 * X_meta).astype(int), y_meta)
    assert rows.dtype == int


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_rows_stay_sparse(sets, convert):
    X, y, X_meta, y_meta = sets
    rows, *_ = seen(convert(X), y, convert(X_meta), y_meta)
    assert rows.format == convert(X).format
    assert isinstance(rows, sparse.sparray) == isinstance(convert(X), sparse.sparray)
    assert_array_equal(rows.toarray(), np.r_[X, X_meta])


def test_text_stays_text():
    X = ["good film", "bad film", "good plot", "bad plot"] * 3
    clf = OTWeightedClassifier(
        make_pipeline(TfidfVectorizer(), LogisticRegression()),
        weighter=OTSampleWeighter(embedding=TfidfVectorizer()),
        meta_weight="balanced",
    )
    for kind in (list, pd.Series, np.array):
        meta = kind(["so good", "so bad"])
        clf.fit(kind(X), [1, 0] * 6, X_meta=meta, y_meta=[1, 0])
        assert "so" in clf.estimator_[0].vocabulary_
        assert_array_equal(clf.predict(["good", "bad"]), [1, 0])


def test_fit_parameters_are_handed_on(sets):
    assert seen(*sets, tag="x")[3] == "x"
    X, y, X_meta, y_meta = sets
    clf = OTWeightedClassifier(make_pipeline(StandardScaler(), Witness())).fit(
        X, y, X_meta=X_meta, y_meta=y_meta, witness__tag="x"
    )
    assert clf.estimator_[-1].seen_[3] == "x"


def test_weights_by_another_name(sets):
    class Foreign(Witness):
        def fit(self, X, y, weights=None):
            return super().fit(X, y, weights)

    clf = fitted(sets, estimator=Foreign(), sample_weight_name="weights")
    assert_allclose(clf.estimator_.seen_[2][: len(clf.sample_weight_)], clf.sample_weight_)


def test_bootstrap_is_seeded(sets):
    params = {"estimator": KNeighborsClassifier(), "on_unweighted": "bootstrap"}
    first, again, other = (fitted(sets, random_state=seed, **params) for seed in (0, 0, 1))
    assert_array_equal(first.predict_proba(sets[0]), again.predict_proba(sets[0]))
    assert not np.array_equal(first.predict_proba(sets[0]), other.predict_proba(sets[0]))
    # an estimator that takes weights gets them
    assert fitted(sets, estimator=Witness(), on_unweighted="bootstrap").estimator_.seen_[2] is not None


def test_labels_of_several_columns(sets):
    X, y, X_meta, y_meta = sets
    two, two_meta = np.c_[y, y == 1], np.c_[y_meta, y_meta == 1]
    clf = fitted((X, two, X_meta, two_meta), estimator=RandomForestClassifier(5, random_state=0))
    assert clf.predict(X).shape == two.shape


# ------------------------------------------------------------------------------------------------
# What it hands on


def test_methods_are_those_of_the_inner_classifier(sets):
    for estimator, has in [
        (LogisticRegression(), {"predict_proba", "predict_log_proba", "decision_function"}),
        (SVC(), {"decision_function"}),
        (GaussianNB(), {"predict_proba", "predict_log_proba"}),
    ]:
        clf = OTWeightedClassifier(estimator)
        for _ in range(2):  # before and after fit
            found = {m for m in ("predict_proba", "predict_log_proba", "decision_function") if hasattr(clf, m)}
            assert found == has
            clf = fitted(sets, estimator=estimator)
        for method in has:
            assert_array_equal(getattr(clf, method)(sets[0]), getattr(clf.estimator_, method)(sets[0]))
    assert not hasattr(OTWeightedClassifier(), "transform")


def test_tags_are_those_of_the_inner_classifier():
    assert get_tags(OTWeightedClassifier(LinearSVC())).input_tags.sparse
    assert not get_tags(OTWeightedClassifier(GaussianNB())).input_tags.sparse
    # arrays with missing values need an embedding that takes them too
    trees = HistGradientBoostingClassifier()
    assert not get_tags(OTWeightedClassifier(trees)).input_tags.allow_nan
    own = OTSampleWeighter(embedding=StandardScaler())
    assert get_tags(OTWeightedClassifier(trees, weighter=own)).input_tags.allow_nan
    assert get_tags(OTWeightedClassifier(RandomForestClassifier())).classifier_tags.multi_label
    assert not get_tags(OTWeightedClassifier(LogisticRegression())).classifier_tags.multi_label


def test_representation_shows_what_is_inside(sets):
    html = fitted(sets, estimator=make_pipeline(StandardScaler(), SVC()))._repr_html_()
    assert all(name in html for name in ("OTWeightedClassifier", "StandardScaler", "SVC"))


def test_names_of_features(sets):
    X, y, X_meta, y_meta = sets
    frames = [pd.DataFrame(rows, columns=list("abcd")) for rows in (X, X_meta)]
    clf = fitted((frames[0], y, frames[1], y_meta))
    assert list(clf.feature_names_in_) == list("abcd")
    assert clf.n_features_in_ == 4
    assert not hasattr(clf.fit(X, y, X_meta=X_meta, y_meta=y_meta), "feature_names_in_")


def test_pickle_and_clone(sets):
    clf = fitted(sets, weighter=OTSampleWeighter(reg=0.2))
    loaded = pickle.loads(pickle.dumps(clf))
    assert_array_equal(loaded.predict_proba(sets[0]), clf.predict_proba(sets[0]))
    assert clone(clf).weighter.reg == 0.2
    assert not hasattr(clf.weighter, "sample_weight_")


# ------------------------------------------------------------------------------------------------
# What weighter=None stands for


def test_models_of_the_labels_take_part_where_there_are_classes_to_be_trusted(sets):
    X, y, X_meta, y_meta = sets
    clf = fitted(sets, estimator=Witness(), include_meta=False, random_state=3)
    same = {"embedding": "supervised", "prior": "confidence"}
    assert {name: getattr(clf.weighter_, name) for name in same} == same
    same["random_state"] = clf.weighter_.random_state
    assert_array_equal(clf.sample_weight_, ot_sample_weight(X, y, X_meta, y_meta, **same))
    assert not np.array_equal(clf.sample_weight_, fitted(sets, include_meta=False, random_state=4).sample_weight_)
    two = np.c_[y, y], np.c_[y_meta, y_meta]
    clf = fitted((X, two[0], X_meta, two[1]), estimator=RandomForestClassifier(2))
    assert (clf.weighter_.embedding, clf.weighter_.prior) == ("scale", "balanced")


def test_no_models_of_the_labels_without_trusted_rows(sets):
    with pytest.warns(UserWarning, match="There are no trusted rows"):
        clf = OTWeightedClassifier(Witness()).fit(*sets[:2])
    assert (clf.weighter_.embedding, clf.weighter_.prior) == ("scale", "balanced")


def test_they_see_what_features_hide():
    """Features whose scale drowns the one that tells the classes: models find it, and the weights use it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = np.column_stack([y + 0.15 * rng.normal(size=400), rng.normal(size=(400, 30))])
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 15, random_state=0)
    noisy, wrong = flip_labels(y, 0.25, random_state=0, return_mask=True)
    ratio = []
    for weighter in (OTSampleWeighter(), None):
        clf = fitted((X, noisy, X_meta, y_meta), weighter=weighter)
        ratio.append(clf.sample_weight_[wrong].mean() / clf.sample_weight_[~wrong].mean())
    assert ratio[1] < ratio[0] / 4


def test_texts_at_the_defaults():
    words = np.random.default_rng(0)
    topics = [["ball", "goal", "team"], ["vote", "law", "court"]]
    y = np.arange(120) % 2
    texts = [" ".join([*words.choice(topics[c], 2), *words.choice(["a", "the", "of", "and"], 4)]) for c in y]
    noisy, wrong = flip_labels(y[20:], 0.25, random_state=0, return_mask=True)
    clf = OTWeightedClassifier(make_pipeline(TfidfVectorizer(), LogisticRegression()))
    clf.fit(texts[20:], noisy, X_meta=texts[:20], y_meta=y[:20])
    assert clf.sample_weight_[wrong].max() < clf.sample_weight_[~wrong].min()
    assert clf.score(texts[20:], y[20:]) > 0.95
    assert_allclose(clf.weighter_.weigh(texts[20:], noisy), clf.weighter_.sample_weight_)


# ------------------------------------------------------------------------------------------------
# A mixed frame, default arguments


def mixed_frame(n, seed):
    """Numbers and categories, of which the label depends on both, with missing values."""
    rng = np.random.default_rng(seed)
    y = rng.choice(["no", "yes"], n, p=[0.8, 0.2])
    positive = y == "yes"
    frame = pd.DataFrame(
        {
            "age": rng.normal(40 + 15 * positive, 10).round(),
            "income": rng.lognormal(10 - 0.5 * positive, 0.5),
            "city": pd.Categorical(
                np.where(rng.random(n) < 0.4 + 0.4 * positive, "Rome", rng.choice(["Oslo", "Bonn"], n))
            ),
            "member": rng.random(n) < 0.5,
        }
    )
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "city"] = None
    return frame, y


def test_mixed_frame_in_a_search_at_default_arguments():
    from sklearn.model_selection import GridSearchCV

    X, y = mixed_frame(600, 0)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, 20, random_state=0)
    X_meta = X_meta.assign(
        city=X_meta["city"].cat.remove_unused_categories().cat.reorder_categories(["Rome", "Oslo", "Bonn"])
    )
    clf = OTWeightedClassifier(HistGradientBoostingClassifier(max_iter=20), weighter=OTSampleWeighter())
    search = GridSearchCV(clf, {"weighter__reg": [0.1, "auto"]}, cv=3, scoring="balanced_accuracy")
    search.fit(X, flip_labels(y, 0.2, random_state=0), X_meta=X_meta, y_meta=y_meta)
    X_test, y_test = mixed_frame(600, 1)
    assert search.score(X_test, y_test) > 0.75
    inner = search.best_estimator_.estimator_
    assert_array_equal(inner.is_categorical_, [False, False, True, False])
    assert list(search.feature_names_in_) == list(X.columns)


def test_frames_reach_the_inner_classifier_as_frames():
    X, y = mixed_frame(80, 0)
    X_meta, y_meta = mixed_frame(20, 1)
    rows, *_ = seen(X, y, X_meta, y_meta)
    pd.testing.assert_frame_equal(rows, pd.concat([X, X_meta], ignore_index=True))


def test_tensors_under_array_api_dispatch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    y, y_meta = np.arange(60) % 2, np.arange(8) % 2
    X, X_meta = (rng.normal(size=(len(labels), 3)) + 2.0 * labels[:, None] for labels in (y, y_meta))
    expected = OTWeightedClassifier().fit(X, y, X_meta=X_meta, y_meta=y_meta)
    with config_context(array_api_dispatch=True):
        clf = OTWeightedClassifier().fit(torch.tensor(X), torch.tensor(y), X_meta=torch.tensor(X_meta), y_meta=y_meta)
        resampled = OTResampler().fit(torch.tensor(X), torch.tensor(y), X_meta=X_meta, y_meta=y_meta)
    for found in (clf, resampled):
        assert type(found.sample_weight_) is np.ndarray
        np.testing.assert_allclose(found.sample_weight_, expected.sample_weight_, rtol=1e-9)
