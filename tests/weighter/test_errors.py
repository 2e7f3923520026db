"""Bad input is refused with the remedy in the message; odd but legal input gives finite weights of the right total."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.preprocessing import FunctionTransformer

from skotw import OTSampleWeighter, ot_sample_weight

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(20, 3)), rng.normal(size=(6, 3))
Y, Y_META = np.arange(20) % 2, np.arange(6) % 2
COSTS = rng.uniform(size=(20, 6))


def refused(match, *sets, fit=None, error=ValueError, **params):
    with pytest.raises(error, match=match):
        OTSampleWeighter(**params).fit(*sets, **(fit or {}))


def _with(array, index, value):
    array = np.array(array, dtype=float)
    array[index] = value
    return array


# ------------------------------------------------------------------------------------------------
# The sets


@pytest.mark.parametrize(
    ("sets", "match"),
    [
        ((X, Y, X_META), "X_meta was given without y_meta: pass the labels"),
        ((X, Y, (X_META, Y_META)), "X_meta is a pair of rows and labels. Pass them apart"),
        ((X, Y, [X_META, Y_META], Y_META), "X_meta is a pair of rows and labels. Pass them apart"),
        ((X, Y, None, Y_META), "y_meta was given without X_meta: pass the trusted rows"),
        ((X, None, X_META, Y_META), "y is None, but the trusted rows have labels.*Pass y, or fit without"),
        ((X,), "requires y to be passed.*Pass y, or X_meta"),
        ((X, Y, X_META[:, 0], Y_META), "X_meta has one dimension.*Did you mean sample_weight="),
        ((X, Y, X_META[:, :2], Y_META), "X_meta has 2 features and X has 3.*the same steps"),
        ((X, Y, X_META[:0], Y_META[:0]), "There are no trusted rows: X_meta has 0"),
        ((X, Y, X_META, Y_META[:4]), "y_meta has 4 labels for the 6 rows of X_meta; it needs one per row"),
        ((X, Y[:10], X_META, Y_META), "y has 10 labels for 20 rows; it needs one per row"),
        ((X[:1], Y[:1], X_META, Y_META), r"1 row\(s\) with a positive weight.*minimum of 2"),
        ((X[:0], Y[:0], X_META, Y_META), "0 sample"),
        ((X[:, 0], Y, X_META, Y_META), "Expected 2D array"),
        (
            (X, np.where(Y, 2, 7), X_META, np.full(6, 2)),
            "classes that the trusted rows lack: 7. Add trusted rows",
        ),
        ((X, Y, X_META, np.where(Y_META, "a", "b")), "cannot be compared.*Give both the same type of label"),
        ((X, Y + 0.5 * np.sqrt(np.arange(20.0)), X_META, Y_META), "continuous numbers.*target_type='continuous'"),
        ((X, rng.normal(size=20), None, None), "continuous target has no classes.*Pass X_meta and y_meta"),
        ((X, np.c_[Y, Y], X_META, Y_META), "1d array"),
        ((X, np.c_[Y, Y], X_META, np.c_[Y_META, Y_META, Y_META]), "2 label columns and y_meta has 3"),
        ((X, np.c_[Y, Y], X_META, np.c_[Y_META, 1 - Y_META]), "combinations of labels.*prior='uniform'"),
        ((X, np.c_[Y, Y], X_META, rng.normal(size=(6, 2))), "Bin them, or keep the one column"),
        ((X, _with(Y, 3, np.nan), X_META, Y_META), r"y contains NaN or None, first in row 3\. Drop the rows"),
        ((X, Y, X_META, np.array([0, 1, None, 1, 0, 1], dtype=object)), "NaN"),
        ((X, _with(Y, 3, np.inf), X_META, Y_META), "infinity. Drop the rows"),
        ((X, _with(rng.normal(size=20), 3, np.nan), X_META, rng.normal(size=6)), "Drop the rows without a target"),
        (
            (_with(X, (2, 1), np.nan), Y, X_META, Y_META),
            "X contains NaN, first in row 2, column 1. Impute or drop",
        ),
        (
            (X, Y, _with(X_META, (2, 1), np.nan), Y_META),
            "X_meta contains NaN, first in row 2, column 1. Impute",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(sets, match):
    refused(match, *sets)


@pytest.mark.parametrize(("bad", "match"), [(np.nan, "NaN(?=.*Impute)"), (np.inf, "infinity(?=.*No imputer)")])
@pytest.mark.parametrize("side", ["X", "X_meta"])
def test_numbers_that_are_not_finite_are_refused(bad, match, side):
    X_bad = _with(X, (2, 1), bad) if side == "X" else X
    X_meta_bad = _with(X_META, (2, 1), bad) if side == "X_meta" else X_META
    refused(f"{side} contains {match}.* in row 2, column 1", X_bad, Y, X_meta_bad, Y_META, embedding=None)


def test_frames_need_equal_names():
    frame = pd.DataFrame(X, columns=list("abc"))
    meta = pd.DataFrame(X_META, columns=list("abd"))
    refused("feature names should match", frame, Y, meta, Y_META)
    w = OTSampleWeighter().fit(frame, Y, meta.set_axis(frame.columns, axis=1), Y_META)
    with pytest.raises(ValueError, match=r"feature names should match.*X lacks \['c'\] and has \['d'\]"):
        w.weigh(meta, Y_META)
    with pytest.raises(ValueError, match="Pass them as a frame"):
        w.weigh(X_META, Y_META)


def test_dates_in_frames_are_refused():
    frame = pd.DataFrame({"a": X[:, 0], "day": pd.date_range("2020-01-01", periods=20)})
    refused("'day' holds dates.*numbers or categories, drop it", frame, Y, frame[:6], Y_META)


def test_embeddings_of_different_width_are_refused():
    class Erratic(BaseEstimator):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return np.ones((len(X), 2 + (len(X) == 6)))

    refused("X_meta has 3 features after the embedding, and X has 2", X, Y, X_META, Y_META, embedding=Erratic())


def test_empty_input_of_foreign_embeddings_is_refused():
    embedding = FunctionTransformer()
    refused("X has 0 sample", X[:0], Y[:0], X_META, Y_META, embedding=embedding)


# ------------------------------------------------------------------------------------------------
# Weights


@pytest.mark.parametrize("name", ["sample_weight", "sample_weight_meta"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda w: -w, "must not be negative"),
        (lambda w: 0 * w, "is zero for every row; at least one row must count"),
        (lambda w: _with(w, 0, np.nan), "contains NaN"),
        (lambda w: _with(w, 0, np.inf), "contains infinity"),
        (lambda w: w[:-1], "must have shape"),
        (lambda w: w[:, None], "must have shape"),
    ],
)
def test_weights_that_make_no_sense_are_refused(name, change, match):
    w = np.ones(20 if name == "sample_weight" else 6)
    refused(f"{name}.*{match}", X, Y, X_META, Y_META, fit={name: change(w)})


def test_meta_weights_need_a_meta_set():
    refused("sample_weight_meta was given without", X, Y, fit={"sample_weight_meta": np.ones(6)})


# ------------------------------------------------------------------------------------------------
# Parameters


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"reg": 0.0}, "'reg' parameter"),
        ({"reg": -1.0}, "'reg' parameter"),
        ({"reg": "small"}, "'reg' parameter"),
        ({"label_weight": 1.1}, "'label_weight' parameter"),
        ({"label_weight": -0.1}, "'label_weight' parameter"),
        ({"metric": "cosin"}, "'metric' parameter(?=.*'cosine')(?=.*'sqeuclidean')"),
        ({"max_weight": 0.5}, "'max_weight' parameter"),
        ({"n_prototypes": 0}, "'n_prototypes' parameter"),
        ({"cost_scale": 0.0}, "'cost_scale' parameter"),
        ({"embedding": "pca"}, "'embedding' parameter"),
        ({"reg_prior": np.inf}, "'reg_prior' parameter"),
        ({"max_weight": np.inf}, "'max_weight' parameter"),
        ({"solver": "gradient", "label_cost": "hard"}, "use label_cost='auto', or solver='exact'"),
        ({"class_mass": {0: 1.0}}, "class_mass must name every class.*missing: 1"),
        ({"class_mass": {0: 1.0, 1: 1.0, 2: 1.0}}, "class_mass must name every class.*Unknown: 2"),
        ({"class_mass": {0: 1.0, 1: 0.0}}, "class_mass must be positive.*leave out the trusted rows"),
        ({"class_mass": {0: 1.0, 1: -1.0}}, "class_mass must not be negative"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params, match):
    refused(match, X, Y, X_META, Y_META, **params)


@pytest.mark.parametrize("reg", [np.inf, np.nan])
def test_reg_must_be_finite(reg):
    refused("reg", X, Y, X_META, Y_META, reg=reg)


@pytest.mark.parametrize(
    ("params", "y", "y_meta", "match"),
    [
        ({"n_prototypes": 2}, Y + 0.5, Y_META + 0.25, "n_prototypes needs classes"),
        ({"label_cost": "hard"}, Y + 0.5, Y_META + 0.25, "label_cost='hard'.*needs one column of class labels"),
        ({"label_cost": "hard"}, np.c_[Y, Y], np.c_[Y_META, Y_META], "label_cost='hard'.*Join them into one label"),
        ({"label_cost": "hard"}, None, None, "label_cost='hard'.*needs one column"),
        ({"class_mass": {0: 1.0}}, Y + 0.5, Y_META + 0.25, "class_mass by class.*'balanced' or 'meta'"),
        ({"class_mass": {0: 1.0}}, None, None, "class_mass by class needs class labels"),
    ],
)
def test_parameters_that_need_classes(params, y, y_meta, match):
    refused(match, X, y, X_META, y_meta, **params)


def test_remedy_for_several_columns_and_hard_label_cost_works():
    y, y_meta = np.c_[Y, Y], np.c_[Y_META, Y_META]
    joined, joined_meta = (["|".join(map(str, row)) for row in labels] for labels in (y, y_meta))
    joined, alone = (
        OTSampleWeighter(label_cost="hard").fit(X, labels, X_META, trusted).sample_weight_
        for labels, trusted in ((joined, joined_meta), (Y, Y_META))
    )
    np.testing.assert_allclose(joined, alone)


def test_gradient_solver_stays_within_working_memory():
    from sklearn import config_context

    with config_context(working_memory=5e-4):
        refused("Use solver='exact', or raise it", X, Y, X_META, Y_META, solver="gradient")


def test_slow_convergence_is_told(monkeypatch):
    from skotw._transport import relaxed

    monkeypatch.setattr(relaxed, "MAX_ITER", 1)
    with pytest.warns(ConvergenceWarning, match="Raise reg, or lower reg_prior"):
        OTSampleWeighter(reg=0.05, reg_prior=1.0).fit(X, Y, X_META, Y_META)


def a_class_more():
    """The meta set with a third class, of which there are no training rows."""
    return np.r_[X_META, X_META[:1]], np.r_[Y_META, 2]


def test_meta_classes_without_training_rows_are_told():
    with pytest.warns(UserWarning, match="classes without training rows: 2"):
        w = OTSampleWeighter(reg=0.1).fit(X, Y, *a_class_more())
    assert list(w.classes_) == [0, 1]
    # nothing but the columns of that class is lost
    assert_allclose(w.sample_weight_, OTSampleWeighter(reg=0.1).fit_weights(X, Y, X_META, Y_META))


@pytest.mark.parametrize("y_meta", [Y_META, np.zeros_like(Y_META)])
def test_one_class_is_refused(y_meta):
    with pytest.raises(ValueError, match=r"y has one class, 0\. .* leave out y and y_meta"):
        OTSampleWeighter().fit(X, np.zeros_like(Y), X_META, y_meta)


# ------------------------------------------------------------------------------------------------
# Precomputed costs


@pytest.mark.parametrize(
    ("sets", "params", "match"),
    [
        ((COSTS[:, :5], Y, None, Y_META), {}, "one column per trusted row: it has 5, and y_meta has 6 labels"),
        ((COSTS, Y), {}, "needs y_meta, the labels of X's columns"),
        ((COSTS, None, None, Y_META), {}, "needs y_meta.*together with y"),
        ((-COSTS, Y, None, Y_META), {}, "takes costs that are finite and at least 0, and some in X are not"),
        ((COSTS * np.nan, Y, None, Y_META), {}, "takes costs that are finite and at least 0, and some in X are not"),
        ((COSTS, Y, np.full((6, 6), np.inf), Y_META), {}, "takes costs that are finite.*some in X_meta are not"),
        ((COSTS, Y, COSTS[:5], Y_META), {}, r"X_meta must have shape \(6, 6\)"),
        ((COSTS, Y, None, Y_META), {"n_prototypes": 1}, "leave n_prototypes at None"),
        ((COSTS, Y, None, Y_META), {"embedding": FunctionTransformer()}, "leave embedding at its default"),
    ],
)
def test_precomputed_costs_that_do_not_fit_are_refused(sets, params, match):
    refused(match, *sets, metric="precomputed", **params)


def test_precomputed_costs_need_positive_meta_weights():
    sw = {"sample_weight_meta": [0, 1, 1, 1, 1, 1]}
    refused("drop the columns of X whose weight is zero", COSTS, Y, None, Y_META, fit=sw, metric="precomputed")


# ------------------------------------------------------------------------------------------------
# Rows that come later


def test_unfitted_weighter_weighs_nothing():
    with pytest.raises(NotFittedError):
        OTSampleWeighter().weigh(X, Y)
    with pytest.raises(NotFittedError):
        OTSampleWeighter().transport_plan(X, Y)


@pytest.mark.parametrize("method", ["weigh", "transport_plan"])
def test_rows_that_do_not_fit_the_model_are_refused(method):
    call = getattr(OTSampleWeighter().fit(X, Y, X_META, Y_META), method)
    with pytest.raises(ValueError, match="y has classes that the trusted rows lack: 2, 3"):
        call(X, Y + 2)
    with pytest.raises(ValueError, match="y is None, but the trusted rows have labels"):
        call(X)
    with pytest.raises(ValueError, match="2 features, but OTSampleWeighter is expecting 3"):
        call(X[:, :2], Y)
    without = getattr(OTSampleWeighter().fit(X, X_meta=X_META), method)
    with pytest.raises(ValueError, match="y was given, but the trusted rows have no labels"):
        without(X, Y)
    with pytest.warns(UserWarning, match="without training rows"):
        fold = OTSampleWeighter().fit(X, Y, *a_class_more())
    with pytest.raises(ValueError, match=r"classes that had no training rows: 2\. Fit with rows of them"):
        getattr(fold, method)(X, Y + 1)


@pytest.mark.parametrize("params", [{"reg_prior": 0.1}, {"max_weight": 2.0}, {"solver": "gradient"}])
def test_streams_refuse_what_needs_all_rows(params):
    weighter = OTSampleWeighter(**params)
    assert not hasattr(weighter, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        weighter.partial_fit(X, Y, X_META, Y_META)
    assert f"{next(iter(params))}=" in str(caught.value.__cause__)
    assert "needs all rows at once: use fit" in str(caught.value.__cause__)


def test_meta_set_comes_once():
    w = OTSampleWeighter().partial_fit(X, Y, X_META, Y_META)
    for later in ({"X_meta": X_META}, {"y_meta": Y_META}, {"sample_weight_meta": np.ones(6)}):
        with pytest.raises(ValueError, match="start anew with a clone"):
            w.partial_fit(X, Y, **later)


# ------------------------------------------------------------------------------------------------
# Legal, and odd


def assert_sound(*sets, total=None, **params):
    w = OTSampleWeighter(**params).fit(*sets)
    n = sets[0].shape[0]
    assert np.isfinite(w.sample_weight_).all()
    assert (w.sample_weight_ >= 0).all()
    assert np.isfinite(w.potentials_).all()
    rtol = 1e-9 if w.sample_weight_.dtype == np.float64 else 1e-3
    assert_allclose(w.sample_weight_.sum(dtype=float), n, rtol=rtol)
    return w


GEMM = ["cosine", "sqeuclidean", "euclidean"]


@pytest.mark.parametrize("metric", [*GEMM, "cityblock"])
@pytest.mark.parametrize("reg_prior", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_identical_and_zero_rows(metric, reg_prior, dtype):
    params = {"metric": metric, "reg_prior": reg_prior}
    for embedding in ("scale", None):
        for value in (0.0, 1.0, 0.1):
            A, B = np.full((20, 3), value, dtype), np.full((6, 3), value, dtype)
            w = assert_sound(A, Y, B, Y_META, embedding=embedding, **params)
            assert w.cost_scale_ == 1.0
            assert_allclose(w.sample_weight_, 1.0, rtol=1e-3)
        A = X.astype(dtype)
        A[::3] = 0
        assert_sound(A, Y, _with(X_META, 0, 0.0).astype(dtype), Y_META, embedding=embedding, **params)


@pytest.mark.parametrize("metric", [*GEMM, "cityblock"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("label_cost", ["auto", "hard"])
@pytest.mark.parametrize("prior", ["balanced", "uniform"])
@pytest.mark.parametrize("reg", [1e-6, 1e-4, 1e-2, 1.0, 1e6])
def test_extreme_regularisation(metric, dtype, label_cost, prior, reg):
    A, B = X.astype(dtype), X_META.astype(dtype)
    assert_sound(A, Y, B, Y_META, metric=metric, label_cost=label_cost, prior=prior, reg=reg)


@pytest.mark.parametrize("metric", [*GEMM, "cityblock"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("embedding", ["scale", None])
@pytest.mark.parametrize("exponent", [-30, -20, -10, 10, 20, 30])
def test_extreme_feature_scales(metric, dtype, embedding, exponent):
    A, B = (X * 10.0**exponent).astype(dtype), (X_META * 10.0**exponent).astype(dtype)
    assert_sound(A, Y, B, Y_META, metric=metric, embedding=embedding)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, bool])
@pytest.mark.parametrize("metric", [*GEMM, "cityblock", "hamming"])
def test_small_integer_and_boolean_features(dtype, metric):
    A, B = rng.integers(-100, 100, (20, 3)), rng.integers(-100, 100, (6, 3))
    A, B = (A > 0, B > 0) if dtype is bool else (A.astype(dtype), B.astype(dtype))
    for embedding in ("scale", None):
        w = assert_sound(A, Y, B, Y_META, metric=metric, embedding=embedding, reg=0.2)
        wide = assert_sound(A.astype(float), Y, B.astype(float), Y_META, metric=metric, embedding=embedding, reg=0.2)
        assert_allclose(w.sample_weight_, wide.sample_weight_, rtol=1e-12)


@given(n=st.integers(2, 5), m=st.integers(6, 12), reg_prior=st.sampled_from([0.0, 0.1]))
@settings(max_examples=15)
def test_fewer_rows_than_trusted_ones(n, m, reg_prior):
    A, B = np.random.default_rng(n).normal(size=(n, 2)), np.random.default_rng(m).normal(size=(m, 2))
    assert_sound(A, np.arange(n) % 2, B, np.arange(m) % 2, reg_prior=reg_prior)


def test_sparse_rows_without_entries():
    A, B = sparse.csr_array((20, 3)), sparse.csr_array(X_META * (np.arange(6) > 2)[:, None])
    for metric in GEMM:
        assert_sound(A, Y, B, Y_META, metric=metric)


def test_one_call_refuses_what_the_weighter_does():
    with pytest.raises(ValueError, match="'reg' parameter of OTSampleWeighter"):
        ot_sample_weight(X, Y, X_META, Y_META, reg=-1)


# ------------------------------------------------------------------------------------------------
# Legal, and seldom meant


@pytest.mark.parametrize("method", ["fit", "fit_weights", "partial_fit"])
def test_a_forgotten_meta_set_is_told(method):
    with pytest.warns(UserWarning, match="There are no trusted rows.*Pass X_meta and y_meta.*n_prototypes=1") as caught:
        getattr(OTSampleWeighter(), method)(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    # the same, where it is meant
    getattr(OTSampleWeighter(n_prototypes=1), method)(X, Y)


def test_swapped_sets_are_told():
    A, y = np.random.default_rng(1).normal(size=(70, 3)), np.arange(70) % 2
    with pytest.warns(UserWarning, match=r"X_meta has 70 rows and X has 6.*swapped.*fit\(X, y, X_meta, y_meta\)"):
        OTSampleWeighter().fit(X_META, Y_META, A, y)
    OTSampleWeighter().fit(X_META, Y_META, A[:60], y[:60])
    OTSampleWeighter().partial_fit(X_META, Y_META, A, y)  # the first chunk may be short


@pytest.mark.parametrize("params", [{"prior": "uniform"}, {"label_cost": "hard"}, {"metric": "euclidean"}])
def test_collapsed_weights_are_told(params):
    A, B = np.random.default_rng(1).normal(size=(400, 3)), X_META
    y = (np.arange(400) % 10 == 0).astype(int)
    with pytest.warns(UserWarning, match="collapsed onto a few rows: .* reg=0.001 is too small.*max_weight") as caught:
        w = OTSampleWeighter(reg=0.001, **params).fit_weights(A, y, B, Y_META)
    prior = np.ones(400) if params.get("prior") == "uniform" else np.where(y, 1 / 40, 1 / 360)
    sizes = [v.sum() ** 2 / (v @ v) for v in (w, prior)]
    assert sizes[0] < 0.1 * sizes[1]
    assert f"count as {sizes[0]:.1f}, and prior weights would make them {sizes[1]:.1f}" in str(caught[0].message)
    OTSampleWeighter(reg=0.2, **params).fit_weights(A, y, B, Y_META)
    OTSampleWeighter(reg=0.001, max_weight=1.5, **params).fit(A, y, B, Y_META)


def test_a_row_of_weight_k_counts_as_k_rows_that_have_not_collapsed():
    A, y = np.random.default_rng(1).normal(size=(100, 3)), np.arange(100) % 2
    weight = np.r_[1000.0, 1000.0, np.ones(98)]  # Kish's size of the given weights alone is 2.2
    OTSampleWeighter(reg=0.2).fit(A, y, X_META, Y_META, sample_weight=weight)
