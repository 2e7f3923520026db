"""OTSampleWeighter as a scikit-learn estimator: the common checks, containers, routing, pickling."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skotw import OTSampleWeighter, ot_sample_weight


@pytest.fixture
def sets():
    X, y = make_classification(140, 6, n_informative=4, n_classes=3, random_state=0)
    return X[:110], y[:110], X[110:], y[110:]


@pytest.mark.filterwarnings("ignore:There are no trusted rows")  # of which the checks know nothing
@parametrize_with_checks(
    [
        OTSampleWeighter(),
        OTSampleWeighter(reg=0.1, reg_prior=0.5),
        OTSampleWeighter(embedding=None, metric="euclidean", prior="uniform"),
        OTSampleWeighter(label_cost="hard", max_weight=3.0),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def test_float32_stays_float32(sets):
    X, y, X_meta, y_meta = sets
    double = ot_sample_weight(X, y, X_meta, y_meta)
    single = ot_sample_weight(X.astype(np.float32), y, X_meta.astype(np.float32), y_meta)
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-4)


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "euclidean", "cityblock"])
def test_sparse_equals_dense(sets, convert, metric):
    X, y, X_meta, y_meta = sets
    X, X_meta = np.round(X), np.round(X_meta)
    dense = ot_sample_weight(X, y, X_meta, y_meta, embedding=None, metric=metric)
    found = ot_sample_weight(convert(X), y, convert(X_meta), y_meta, metric=metric)
    np.testing.assert_allclose(found, dense, rtol=1e-10)


def test_awkward_arrays(sets, tmp_path):
    X, y, X_meta, y_meta = sets
    expected = ot_sample_weight(X, y, X_meta, y_meta)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    wide = np.repeat(X, 2, axis=1)[:, ::2]
    for rows in (mapped, np.asfortranarray(X), wide, X.tolist()):
        np.testing.assert_allclose(ot_sample_weight(rows, y, X_meta, y_meta), expected, rtol=1e-12)
    before = X.copy()
    ot_sample_weight(X, y, X_meta, y_meta, embedding=None)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("labels", [np.array(["b", "a", "c"]), np.array([True, False, True]), np.array([10, -1, 7])])
def test_labels_of_any_type(sets, labels):
    X, y, X_meta, y_meta = sets
    if labels.dtype == bool:
        y, y_meta = np.minimum(y, 1), np.minimum(y_meta, 1)
    expected = ot_sample_weight(X, y, X_meta, y_meta)
    w = ot_sample_weight(X, labels[y], X_meta, labels[y_meta])
    np.testing.assert_allclose(w, expected, rtol=1e-12)


def mixed(library, X, y):
    values = {
        "number": [None if i % 9 == 0 else float(v) for i, v in enumerate(X[:, 0])],
        "count": [int(10 * v) for v in X[:, 1]],
        "colour": [None if i % 11 == 0 else "rgb"[c] for i, c in enumerate(y)],
    }
    return library.DataFrame(values)


@pytest.mark.parametrize("library", [pd, pl])
def test_mixed_frames_with_missing_values(sets, library):
    X, y, X_meta, y_meta = sets
    frame, meta = mixed(library, X, y), mixed(library, X_meta, y_meta)
    weighter = OTSampleWeighter(reg=0.1).fit(frame, y, meta, y_meta)
    assert np.isfinite(weighter.sample_weight_).all()
    np.testing.assert_allclose(weighter.sample_weight_.mean(), 1.0)
    np.testing.assert_allclose(weighter.weigh(frame, y), weighter.sample_weight_, rtol=1e-10)
    assert list(weighter.feature_names_in_) == ["number", "count", "colour"]
    # "rgb" tells the class, so a row whose colour contradicts its label must lose
    wrong = (y + 1) % 3
    assert weighter.weigh(frame, wrong).mean() < 0.6 * weighter.sample_weight_.mean()


def test_frame_libraries_agree(sets):
    X, y, X_meta, y_meta = sets
    weights = [
        ot_sample_weight(mixed(library, X, y), y, mixed(library, X_meta, y_meta), y_meta) for library in (pd, pl)
    ]
    np.testing.assert_allclose(*weights, rtol=1e-10)


def test_frame_repetition_equals_weight(sets):
    X, y, X_meta, y_meta = sets
    frame, meta = mixed(pd, X, y), mixed(pd, X_meta, y_meta)
    k = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = ot_sample_weight(frame, y, meta, y_meta, sample_weight=k)
    rows = np.repeat(np.arange(len(y)), k)
    repeated = ot_sample_weight(frame.iloc[rows], y[rows], meta, y_meta)
    np.testing.assert_allclose(np.bincount(rows, repeated, len(y)), weighted, rtol=1e-10, atol=1e-14)


def test_any_transformer_embeds(sets):
    X, y, X_meta, y_meta = sets
    pca = make_pipeline(StandardScaler(), PCA(3, random_state=0))
    by_hand = clone(pca).fit(X)
    expected = ot_sample_weight(by_hand.transform(X), y, by_hand.transform(X_meta), y_meta, embedding=None)
    np.testing.assert_allclose(ot_sample_weight(X, y, X_meta, y_meta, embedding=pca), expected, rtol=1e-10)


def test_text_through_a_vectorizer():
    X = ["good film", "bad film", "good plot", "bad plot", "good good", "bad bad"]
    y = [1, 0, 1, 0, 1, 1]
    weighter = OTSampleWeighter(embedding=TfidfVectorizer(), reg=0.1)
    w = weighter.fit_weights(X, y, ["good good film", "bad film plot"], [1, 0])
    assert w[5] < w[4] / 2
    np.testing.assert_allclose(weighter.weigh(X, y), w, rtol=1e-12)


def test_random_state_seeds_the_embedding(sets):
    X, y, X_meta, y_meta = sets
    from sklearn.random_projection import GaussianRandomProjection

    weights = [
        ot_sample_weight(X, y, X_meta, y_meta, embedding=GaussianRandomProjection(3), random_state=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


def test_pickle_and_clone(sets):
    X, y, X_meta, y_meta = sets
    weighter = OTSampleWeighter(reg=0.2).fit(X, y, X_meta, y_meta)
    loaded = pickle.loads(pickle.dumps(weighter))
    np.testing.assert_array_equal(loaded.weigh(X, y), weighter.weigh(X, y))
    assert clone(weighter).reg == 0.2
    assert not hasattr(clone(weighter), "sample_weight_")


def test_partial_fit_survives_pickling(sets):
    X, y, X_meta, y_meta = sets
    weighter = OTSampleWeighter(reg=0.2).partial_fit(X[:50], y[:50], X_meta, y_meta)
    loaded = pickle.loads(pickle.dumps(weighter))
    for w in (weighter, loaded):
        w.partial_fit(X[50:], y[50:])
    np.testing.assert_array_equal(loaded.weigh(X, y), weighter.weigh(X, y))


def test_changed_parameters_wait_for_the_next_fit(sets):
    X, y, X_meta, y_meta = sets
    weighter = OTSampleWeighter(reg=0.2).fit(X, y, X_meta, y_meta)
    weighter.set_params(reg=5.0, label_weight=1.0)
    np.testing.assert_allclose(weighter.weigh(X, y), weighter.sample_weight_, rtol=1e-12)


def test_metadata_request_asks_for_the_meta_set():
    requests = OTSampleWeighter().get_metadata_routing().fit.requests
    assert requests["X_meta"] is True
    assert requests["y_meta"] is True


def test_verbose_prints_one_line(sets, capsys):
    X, y, X_meta, y_meta = sets
    OTSampleWeighter(verbose=1).fit(X, y, X_meta, y_meta)
    assert capsys.readouterr().out.count("\n") == 1
