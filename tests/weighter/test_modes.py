"""Every combination of options keeps limit 4, equal data gives equal numbers, or says why it makes no sense."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.metrics import pairwise_distances

from skotw import OTSampleWeighter

N, M = 36, 9
rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(N, 3)), rng.normal(size=(M, 3))
CLASSES = (np.r_[np.zeros(18, int), np.ones(12, int), np.full(6, 2)], np.repeat([0, 1, 2], 3))
Y = {
    "classes": CLASSES,
    "continuous": (CLASSES[0] + rng.normal(size=N), CLASSES[1] + rng.normal(size=M)),
    "columns": (np.c_[CLASSES[0], np.arange(N) % 2], np.c_[CLASSES[1], np.arange(M) % 2]),
    "none": (None, None),
}
TIMES = np.tile([1, 2, 0, 1, 1, 3], N // 6)  # every class, every combination of labels keeps some
TIMES_META = np.array([1, 2, 1, 1, 1, 3, 2, 1, 1])


def _rows(y, index):
    return None if y is None else y[index]


def _class_mass(choice, target_type):
    if choice != "dict":
        return choice
    cells = [(c, g) for c in range(3) for g in range(2)]
    return {name: 1.0 + k for k, name in enumerate(cells if target_type == "columns" else range(3))}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("max_weight", [None, 1.5])
@pytest.mark.parametrize("reg_prior", [0.0, 0.1])
@pytest.mark.parametrize("target_type", list(Y))
@pytest.mark.parametrize("class_mass", ["balanced", "meta", "dict"])
@pytest.mark.parametrize("prior", ["balanced", "uniform"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean", "cityblock", "precomputed"])
def test_equal_data_gives_equal_numbers(metric, prior, class_mass, target_type, reg_prior, max_weight, weighted):
    # the reliability needs memory of its own, and sees no costs among meta samples under "precomputed"
    auto = class_mass == "meta" and target_type == "classes" and metric != "precomputed" and not reg_prior
    small = 0.25 if auto else 1e-3  # MiB; the default holds all in one block
    weighter = OTSampleWeighter(
        metric=metric,
        prior=prior,
        class_mass=_class_mass(class_mass, target_type),
        target_type="auto" if target_type == "none" else target_type,
        reg_prior=reg_prior,
        max_weight=max_weight,
        reg="auto" if auto else 0.3 if reg_prior else 0.1,
        n_jobs=1,
    )
    y, y_meta = Y[target_type]
    X_, X_meta = X, X_META
    if metric == "precomputed":
        X_, X_meta = pairwise_distances(X, X_META), None
    sw_meta = TIMES_META.astype(float) if weighted else None

    def fit(rows=slice(None), sw=None, meta=slice(None)):
        X_fit = X_[rows][:, meta] if metric == "precomputed" else X_[rows]
        meta_rows = None if X_meta is None else X_meta[meta]
        return weighter.fit_weights(
            X_fit,
            _rows(y, rows),
            meta_rows,
            _rows(y_meta, meta),
            sample_weight=sw,
            sample_weight_meta=_rows(sw_meta, meta),
        )

    cells = target_type == "columns" and prior == "balanced"  # classes are combinations of labels only there
    if class_mass == "dict" and not (target_type == "classes" or cells):
        message = "must name every class" if target_type == "columns" else "needs class labels"
        with pytest.raises(ValueError, match=f"class_mass.*{message}"):
            fit()
        return

    sw = TIMES.astype(float) if weighted else np.ones(N)
    w = fit(sw=sw) if weighted else fit()
    total = sw.sum()
    # what the iterations of the relaxed problem leave, else what rounding leaves
    close = {"rtol": 1e-8 if reg_prior else 1e-10, "atol": 1e-12}

    assert np.isfinite(w).all()
    assert (w >= 0).all()
    assert_allclose(w.sum(), total, rtol=1e-12)
    assert_array_equal(w[sw == 0], 0.0)

    # Each comparison is also one between blocks of a few rows and one block.
    with config_context(working_memory=small):
        assert_allclose(weighter.weigh(X_, y, sample_weight=sw), w, **close, err_msg="weigh")
        # permutation of both sides, rows of zero weight left out
        order, order_meta = np.random.default_rng(1).permutation(N), np.random.default_rng(2).permutation(M)
        order = order[sw[order] > 0]
        assert_allclose(fit(order, sw[order], order_meta), w[order], **close, err_msg="permutation, zero weight")
        copies = np.repeat(np.arange(N), TIMES)
        repeated = fit(copies)
    if not weighted:
        w = fit(sw=TIMES.astype(float))
    assert_allclose(np.bincount(copies, weights=repeated, minlength=N), w, **close, err_msg="repetition")
