"""What a fit holds beside the rows."""

import tracemalloc

import numpy as np
import pytest
from sklearn import config_context

from skotw import OTSampleWeighter
from skotw._weighter import model


@pytest.mark.parametrize("order", ["mixed", "sorted"])
@pytest.mark.parametrize(
    "params", [{"embedding": None, "reg": 0.1}, {}, {"metric": "sqeuclidean"}, {"label_cost": "hard"}], ids=str
)
def test_a_fit_makes_no_copy_of_the_rows(order, params):
    rng = np.random.default_rng(0)
    n, d = 30_000, 400
    X = rng.standard_normal((n, d), dtype=np.float32)
    y = rng.integers(0, 3, n)
    y = np.sort(y) if order == "sorted" else y
    X_meta, y_meta = rng.standard_normal((12, d)).astype(np.float32), np.arange(12) % 3
    with config_context(working_memory=2):
        weighter = OTSampleWeighter(n_jobs=1, **params)
        weighter.fit(X[::300], y[::300], X_meta, y_meta)  # what is made once
        tracemalloc.start()
        weighter.fit(X, y, X_meta, y_meta)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < X.nbytes / 2  # blocks, and some numbers per row


@pytest.mark.parametrize(("params", "n_copies"), [({"embedding": None, "reg": 0.1}, 0), ({}, 1)], ids=str)
def test_rows_that_are_weighed_and_later_chunks_are_standardised_but_not_sorted_as_a_copy(params, n_copies):
    rng = np.random.default_rng(3)
    n, d = 20_000, 400
    X, y = rng.standard_normal((n, d), dtype=np.float32), rng.integers(0, 3, n)
    weighter = OTSampleWeighter(n_jobs=1, **params)
    weighter.partial_fit(X[::20], y[::20], X[:12] + 1.0, np.arange(12) % 3)
    for step in (weighter.weigh, weighter.partial_fit):
        tracemalloc.start()
        step(X, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < (n_copies + 0.5) * X.nbytes


def test_rows_that_weigh_the_same_beforehand_take_few_numbers_each():
    rng = np.random.default_rng(2)
    n = 400_000
    X, y = rng.standard_normal((n, 1), dtype=np.float32), rng.integers(0, 2, n)
    X_meta, y_meta = X[:4] + 1.0, np.arange(4) % 2
    weighter = OTSampleWeighter(reg=0.1, embedding=None, n_jobs=1)
    weighter.fit(X[::1000], y[::1000], X_meta, y_meta)
    tracemalloc.start()
    weighter.fit(X, y, X_meta, y_meta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # of 8 bytes: weights, classes, order, p and what p becomes when it sums to one; of 4: norms, p in float32, and the
    # sorted rows, which are few bytes here
    assert peak < 56 * n


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sqeuclidean", "manhattan"])
@pytest.mark.parametrize("embedding", ["scale", None])
def test_rows_that_stay_where_they_are_weigh_what_sorted_ones_do(metric, embedding):
    rng = np.random.default_rng(1)
    X, y = rng.normal(2.0, 3.0, (300, 5)), rng.integers(0, 4, 300)
    X_meta, y_meta = rng.normal(2.0, 3.0, (16, 5)), np.arange(16) % 4
    order = np.argsort(y, kind="stable")
    mixed, ordered = (OTSampleWeighter(metric=metric, embedding=embedding) for _ in range(2))
    mixed.fit(X, y, X_meta, y_meta)
    ordered.fit(X[order], y[order], X_meta, y_meta)
    np.testing.assert_allclose(mixed.sample_weight_[order], ordered.sample_weight_, rtol=1e-9)
    np.testing.assert_allclose(mixed.weigh(X, y), mixed.sample_weight_, rtol=1e-9)


@pytest.mark.parametrize(
    "params", [{}, {"embedding": None, "reg": 0.1}, {"metric": "euclidean"}, {"label_cost": "hard"}]
)
def test_few_rows_that_are_copied_weigh_what_they_do_where_they_stay(monkeypatch, params):
    rng = np.random.default_rng(3)
    X, y = rng.normal(2.0, 3.0, (300, 5)), rng.integers(0, 3, 300)
    X_meta, y_meta = rng.normal(2.0, 3.0, (12, 5)), np.arange(12) % 3
    copied = OTSampleWeighter(**params).fit(X, y, X_meta, y_meta)
    monkeypatch.setattr(model, "_FEW_BYTES", 0)
    staying = OTSampleWeighter(**params).fit(X, y, X_meta, y_meta)
    np.testing.assert_allclose(copied.sample_weight_, staying.sample_weight_, rtol=1e-12)
