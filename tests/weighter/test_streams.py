"""Chunks: partial_fit and merge end where fit does, whatever the chunks, and say so where they cannot."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels

SETTLED = {"embedding": None, "cost_scale": 0.8, "reg": 0.1}


@pytest.fixture
def sets():
    X, y = make_classification(360, 6, n_informative=4, n_classes=3, random_state=0)
    X_meta, y_meta = X[300:], y[300:]
    return X[:300], flip_labels(y[:300], 0.2, random_state=0), X_meta, y_meta


def learned(parts, X, y, X_meta, y_meta, **params):
    """One weighter per part, each of which learns its rows in chunks."""
    weighters = []
    for part in parts:
        weighter = OTSampleWeighter(**{**SETTLED, **params})
        meta = (X_meta, y_meta)
        for chunk in np.array_split(part, 3):
            weighter.partial_fit(X[chunk], y[chunk], *meta)
            meta = ()
        weighters.append(weighter)
    return weighters


def parts_of(n, k=3):
    return np.array_split(np.random.default_rng(0).permutation(n), k)


def assert_same_model(found, expected, sets, rtol=1e-12):
    X, y, *_ = sets
    assert_allclose(found.potentials_, expected.potentials_, rtol=rtol)
    assert_allclose(found.objective_, expected.objective_, rtol=rtol)
    assert_allclose(found.weigh(X, y), expected.weigh(X, y), rtol=10 * rtol)
    assert_allclose(found.label_reliability_.overall, expected.label_reliability_.overall, rtol=1e-9)
    assert_array_equal(found.classes_, expected.classes_)


@pytest.mark.parametrize("params", [{}, {"label_cost": "hard"}, {"prior": "uniform", "metric": "euclidean"}])
def test_merged_parts_are_one_stream_and_one_fit(sets, params):
    X, y, X_meta, y_meta = sets
    first, second, third = learned(parts_of(300), *sets, **params)
    merged = first.merge(second).merge(third)
    assert merged is first
    (stream,) = learned([np.arange(300)], *sets, **params)
    whole = OTSampleWeighter(**{**SETTLED, **params}).fit(X, y, X_meta, y_meta)
    assert_same_model(merged, stream, sets)
    assert_same_model(merged, whole, sets)
    assert_allclose(merged.weigh(X, y), whole.sample_weight_, rtol=1e-11)


def test_merging_is_associative_and_commutative(sets):
    a, b, c = learned(parts_of(300), *sets)
    left = clone_of(a).merge(b).merge(c)
    right = clone_of(a).merge(clone_of(b).merge(c))
    other = clone_of(c).merge(a).merge(b)
    assert_same_model(left, right, sets)
    assert_same_model(left, other, sets)


def clone_of(weighter):
    """An independent weighter, as another process would send it."""
    return pickle.loads(pickle.dumps(weighter))


def test_merging_leaves_the_other_as_it_is_and_learning_goes_on(sets):
    X, y, *_ = sets
    a, b, c = parts_of(300)
    first, second = learned([a, b], *sets)
    before = second.weigh(X, y)
    first.merge(second).partial_fit(X[c], y[c])
    assert_array_equal(second.weigh(X, y), before)
    (stream,) = learned([np.arange(300)], *sets)
    assert_same_model(first, stream, sets)


def test_parts_need_not_have_all_classes(sets):
    _, y, *_ = sets
    parts = learned([np.flatnonzero(y == c) for c in range(3)], *sets)
    merged = parts[2].merge(parts[0]).merge(parts[1])
    (stream,) = learned([np.arange(300)], *sets)
    assert_same_model(merged, stream, sets)


def other_mass(sets):
    return {"class_mass": {0: 1.0, 1: 2.0, 2: 3.0}}


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"cost_scale": 0.5}, "by cost_scale"),
        ({"reg": 0.2}, "by reg"),
        ({"metric": "euclidean"}, "by metric"),
        ({"label_weight": 0.2}, "by label_weight"),
        ({"label_cost": "hard"}, "by label_cost"),
        ({"prior": "uniform"}, "by prior"),
        ({"n_prototypes": 1}, "by n_prototypes"),
        ({"class_mass": {0: 1.0, 1: 2.0, 2: 3.0}}, "by class_mass"),
        ({"embedding": "scale"}, "by the trusted rows, or what the embedding makes of them"),
    ],
)
def test_weighters_that_measure_differently_do_not_merge(sets, params, match):
    first, second = parts_of(300, 2)
    (a,), (b,) = learned([first], *sets), learned([second], *sets, **params)
    before = a.potentials_
    with pytest.raises(ValueError, match=f"differently, {match}.*FrozenEstimator"):
        a.merge(b)
    assert_array_equal(a.potentials_, before)


def test_other_trusted_sets_do_not_merge(sets):
    X, y, X_meta, y_meta = sets
    (a,) = learned([np.arange(300)], *sets)
    (b,) = learned([np.arange(300)], X, y, X_meta + 1.0, y_meta)
    with pytest.raises(ValueError, match="by the trusted rows"):
        a.merge(b)
    (b,) = learned([np.arange(300)], X, y, X_meta, y_meta[::-1])
    with pytest.raises(ValueError, match="by the trusted labels"):
        a.merge(b)
    b = OTSampleWeighter(**SETTLED).partial_fit(X, y, X_meta, y_meta, sample_weight_meta=np.arange(1.0, 61.0))
    with pytest.raises(ValueError, match="by sample_weight_meta"):
        a.merge(b)
    (a,), (b,) = (learned([part], *sets, metric="seuclidean") for part in parts_of(300, 2))
    with pytest.raises(ValueError, match="by the variances that the metric took from the rows"):
        a.merge(b)
    y, y_meta = y + 0.5 * X[:, 0], y_meta + 0.5 * X_meta[:, 0]
    (a,), (b,) = (learned([part], X, y, X_meta, y_meta) for part in parts_of(300, 2))
    with pytest.raises(ValueError, match="by the unit of the label cost"):
        a.merge(b)


def test_sparse_parts_merge(sets):
    X, y, X_meta, y_meta = sets
    X, X_meta = (sparse.csr_array(np.maximum(np.round(rows), 0)) for rows in (X, X_meta))
    first, second = learned(parts_of(300, 2), X, y, X_meta, y_meta)
    (stream,) = learned([np.arange(300)], X, y, X_meta, y_meta)
    assert_same_model(first.merge(second), stream, (X, y))
    (other,) = learned([np.arange(300)], X, y, X_meta * 2, y_meta, metric="euclidean")
    (same,) = learned([np.arange(300)], X, y, X_meta, y_meta, metric="euclidean")
    with pytest.raises(ValueError, match="by the trusted rows"):
        same.merge(other)


@pytest.mark.parametrize(
    "metrics", [("seuclidean", "cosine"), ("cosine", "mahalanobis"), ("seuclidean", "mahalanobis")]
)
def test_streams_of_other_metrics_do_not_merge(sets, metrics):
    (a,), (b,) = (learned([np.arange(300)], *sets, metric=metric) for metric in metrics)
    with pytest.raises(ValueError, match=r"measure rows differently, by metric\."):
        a.merge(b)


def test_only_streams_merge(sets):
    (a,) = learned([np.arange(300)], *sets)
    fitted = OTSampleWeighter(**SETTLED).fit(*sets)
    with pytest.raises(TypeError, match="takes another OTSampleWeighter; got dict"):
        a.merge({})
    with pytest.raises(NotFittedError, match="The other weighter has learned no chunk"):
        a.merge(fitted)
    with pytest.raises(NotFittedError, match="This weighter has learned no chunk"):
        OTSampleWeighter().merge(a)
    assert not hasattr(OTSampleWeighter(max_weight=2.0), "merge")


# ------------------------------------------------------------------------------------------------
# What partial_fit settles, and what it leaves


def test_chunks_are_weighed_when_asked_for(sets):
    X, y, X_meta, y_meta = sets
    w = OTSampleWeighter(**SETTLED).fit(*sets)
    assert w.effective_sample_size_ > 1
    w.partial_fit(X[:100], y[:100], X_meta, y_meta)
    for name in ("sample_weight_", "effective_sample_size_"):
        with pytest.raises(AttributeError, match=rf"no attribute '{name}'. partial_fit weighs no rows: call weigh"):
            getattr(w, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}'$"):
            getattr(OTSampleWeighter(), name)
    # right under what has been learned so far
    so_far = OTSampleWeighter(**SETTLED).fit(X[:100], y[:100], X_meta, y_meta)
    assert_allclose(w.weigh(X[:100], y[:100]), so_far.sample_weight_, rtol=1e-11)


def test_a_class_that_comes_late_is_weighed_when_it_has_come(sets):
    X, y, X_meta, y_meta = sets
    early = y < 2
    w = OTSampleWeighter(**SETTLED).partial_fit(X[early], y[early], X_meta, y_meta)
    with pytest.raises(ValueError, match="had no training rows: 2"):
        w.weigh(X, y)
    known = y_meta < 2
    so_far = OTSampleWeighter(**SETTLED).fit(X[early], y[early], X_meta[known], y_meta[known])
    assert_allclose(w.weigh(X[early], y[early]), so_far.sample_weight_, rtol=1e-11)
    w.partial_fit(X[~early], y[~early])
    whole = OTSampleWeighter(**SETTLED).fit(*sets)
    assert_allclose(w.weigh(X, y), whole.sample_weight_, rtol=1e-11)


@pytest.mark.parametrize("embedding", [None, "frozen"])
def test_empty_chunks_change_nothing(sets, embedding):
    X, y, X_meta, y_meta = sets
    settled = OTSampleWeighter().fit(*sets)
    if embedding == "frozen":
        embedding = FrozenEstimator(settled.embedding_)
    w = OTSampleWeighter(**{**SETTLED, "embedding": embedding}).partial_fit(X[:100], y[:100], X_meta, y_meta)
    before = w.potentials_
    assert w.partial_fit(X[:0], y[:0]) is w
    assert_array_equal(w.potentials_, before)
    with pytest.raises(ValueError, match="4 features, but OTSampleWeighter is expecting 6"):
        w.partial_fit(X[:0, :4], y[:0])


def test_recipe_settles_on_a_sample_and_streams_to_where_fit_ends(sets):
    """What the docstring of partial_fit promises, for sorted chunks."""
    X, y, X_meta, y_meta = sets
    order = np.argsort(X[:, 0])
    sample = np.random.default_rng(0).permutation(300)[:80]
    s = OTSampleWeighter().fit(X[sample], y[sample], X_meta, y_meta)
    w = OTSampleWeighter(embedding=FrozenEstimator(s.embedding_), cost_scale=s.cost_scale_, reg=s.reg_)
    whole = clone(w).fit(*sets)
    parts = [clone(w) for _ in range(2)]
    for part, rows in zip(parts, np.array_split(order, 2), strict=True):
        meta = (X_meta, y_meta)
        for chunk in np.array_split(rows, 4):
            part.partial_fit(X[chunk], y[chunk], *meta)
            meta = ()
    assert_same_model(clone_of(parts[0]).merge(clone_of(parts[1])), whole, sets)
    # the embedding is the sample's: whole numbers and lists go through it as floats do
    rows = np.round(X[:20]).astype(int)
    assert_allclose(whole.weigh(rows, y[:20]), whole.weigh(rows.astype(float), y[:20]), rtol=1e-12)
    assert_allclose(whole.weigh(rows.tolist(), y[:20]), whole.weigh(rows, y[:20]), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"reg": 0.3}, "reg"),
        ({"metric": "euclidean", "label_weight": 0.1}, "metric, label_weight"),
        ({"cost_scale": None}, "cost_scale"),
        ({"embedding": "scale"}, "embedding"),
    ],
)
def test_parameters_stay_within_a_stream(sets, change, named):
    X, y, X_meta, y_meta = sets
    w = OTSampleWeighter(**SETTLED).partial_fit(X[:100], y[:100], X_meta, y_meta)
    before = w.weigh(X[:100], y[:100])
    w.set_params(**change)
    assert_array_equal(w.weigh(X[:100], y[:100]), before)
    with pytest.raises(ValueError, match=f"these have changed: {named}. Set them back"):
        w.partial_fit(X[100:], y[100:])
    w.set_params(**{name: SETTLED.get(name, getattr(OTSampleWeighter(), name)) for name in change})
    w.set_params(n_jobs=1, verbose=0).partial_fit(X[100:], y[100:])
    assert_same_model(w, OTSampleWeighter(**SETTLED).fit(*sets), sets)


def test_parameters_of_the_embedding_stay_too(sets):
    from sklearn.impute import SimpleImputer

    X, y, X_meta, y_meta = sets
    params = {**SETTLED, "embedding": SimpleImputer()}
    w = clone_of(OTSampleWeighter(**params).partial_fit(X[:100], y[:100], X_meta, y_meta))
    w.partial_fit(X[100:200], y[100:200])  # its NaN is another one after pickling
    w.set_params(embedding__strategy="median")
    with pytest.raises(ValueError, match="have changed: embedding__strategy"):
        w.partial_fit(X[200:], y[200:])


def test_a_fit_has_no_table_of_classes_and_columns(sets):
    n = 150
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2 * n, 3)), np.repeat(np.arange(n), 2)
    w = OTSampleWeighter(**SETTLED).fit(X, y, X + 0.01, y)
    w.weigh(X, y)
    table = n * 2 * n * 8
    assert len(pickle.dumps(w)) < table / 10


# ------------------------------------------------------------------------------------------------
# Chunks that are no random part of the rows


def stream(w, chunks, X, y, X_meta, y_meta):
    meta = (X_meta, y_meta)
    for chunk in chunks:
        w.partial_fit(X[chunk], y[chunk], *meta)
        meta = ()
    return w


def sparse_sets(X, y, X_meta, y_meta):
    return sparse.csr_array(np.maximum(X, 0)), y, sparse.csr_array(np.maximum(X_meta, 0)), y_meta


@pytest.mark.parametrize("kind", ["dense", "sparse", "precomputed"])
def test_sorted_chunks_are_told_once_with_the_remedy(sets, kind):
    params = {}
    order = np.argsort(sets[0][:, 0])
    if kind == "sparse":
        sets = sparse_sets(*sets)
    if kind == "precomputed":
        from sklearn.metrics import pairwise_distances

        sets = pairwise_distances(sets[0], sets[2]), sets[1], None, sets[3]
        params = {"metric": "precomputed"}
    chunks = np.array_split(order, 6)
    with pytest.warns(UserWarning, match="which has settled .*random sample.*FrozenEstimator") as caught:
        stream(OTSampleWeighter(**params), chunks, *sets)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert ("settled embedding, cost_scale, reg." in str(caught[0].message)) == (kind == "dense")


def test_chunks_sorted_by_class_are_told(sets):
    X, y, X_meta, y_meta = sets
    X, X_meta = X + 10.0 * y[:, None], X_meta + 10.0 * y_meta[:, None]
    with pytest.warns(UserWarning, match="the first") as caught:
        stream(OTSampleWeighter(), np.array_split(np.argsort(y, kind="stable"), 6), X, y, X_meta, y_meta)
    first, later = (str(warning.message) for warning in caught)
    assert "as if the first chunk were no random part of the rows" in first
    assert "Later chunks lie elsewhere than the first one" in later


@pytest.mark.parametrize("draw", ["normal", "lognormal", "cauchy", "rare", "constant"])
@pytest.mark.parametrize("size", [40, 100])
def test_chunks_at_random_are_not_told(draw, size):
    rng = np.random.default_rng(0)
    n, d = 600, 20
    X = {
        "normal": rng.normal(size=(n, d)),
        "lognormal": rng.lognormal(sigma=2, size=(n, d)),
        "cauchy": rng.standard_cauchy(size=(n, d)),
        "rare": (rng.uniform(size=(n, d)) < np.geomspace(0.002, 0.5, d)).astype(float),
        "constant": np.ones((n, d)),
    }[draw]
    y = rng.integers(0, 2, n)
    chunks = np.array_split(np.arange(n - 20), (n - 20) // size)
    for rows in (X, sparse.csr_array(X)):
        stream(OTSampleWeighter(), chunks, rows, y, rows[n - 20 :], y[n - 20 :])


def test_nothing_is_told_where_the_first_chunk_settles_nothing(sets):
    stream(OTSampleWeighter(**SETTLED), np.array_split(np.argsort(sets[0][:, 0]), 6), *sets)


def test_parts_with_other_memory_for_the_reliability_do_not_merge(sets):
    from sklearn import config_context

    (a,) = learned([np.arange(300)], *sets)
    with config_context(working_memory=0.5):
        (b,) = learned([np.arange(300)], *sets)
    with pytest.raises(ValueError, match="by scikit-learn's working_memory"):
        a.merge(b)
