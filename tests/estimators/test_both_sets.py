"""Both sets in one container, and the guards against a meta set that arrived wrong."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier, make_weighted_pipeline
from skotw._estimators.both_sets import join_labels
from skotw._weighter.containers import join_rows

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(60, 3)), rng.normal(size=(12, 3))
Y, Y_META = np.arange(60) % 3, np.arange(12) % 3
META = {"X_meta": X_META, "y_meta": Y_META}


# ------------------------------------------------------------------------------------------------
# Joining


def category(values, categories, ordered=False):
    return pd.Categorical(values, categories, ordered=ordered)


def test_categories_are_united_in_the_order_of_x():
    X = pd.DataFrame({"c": category(["a", "b", None], ["b", "a", "unused"], ordered=True)})
    meta = pd.DataFrame({"c": category(["d", "a", None], ["a", "d", "more"])})
    joined = join_rows(X, meta)["c"]
    assert list(joined.cat.categories) == ["b", "a", "unused", "d"]
    assert joined.cat.ordered
    assert joined.tolist()[:2] == ["a", "b"]
    assert joined.tolist()[3:5] == ["d", "a"]
    assert joined.isna().tolist() == [False, False, True, False, False, True]
    # text on the side of the meta set is text that the categories know
    text = join_rows(X, pd.DataFrame({"c": ["a", "b"]}))["c"]
    assert text.dtype == X["c"].dtype
    assert list(X["c"].cat.categories) == ["b", "a", "unused"]  # X itself stays


def test_columns_keep_the_type_they_have_in_x():
    X = pd.DataFrame(
        {"f": np.float32([1, 2]), "i": [1, 2], "o": pd.Series(["a", 3], dtype=object), "n": pd.array([1, None])}
    )
    meta = pd.DataFrame({"n": [1, 2], "o": ["x", "y"], "i": [5, 6], "f": [3, 4]})  # in another order
    joined = join_rows(X, meta)
    assert list(joined.columns) == list(X.columns)
    assert joined.dtypes.equals(X.dtypes)
    # what does not fit into whole numbers is not cut
    assert join_rows(X, meta.assign(i=[0.5, 1.5]))["i"].tolist() == [1, 2, 0.5, 1.5]


def test_labels_of_rows_survive_unless_they_repeat():
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=["p", "q"])
    assert list(join_rows(frame, frame.set_axis(["r", "s"])).index) == ["p", "q", "r", "s"]
    assert list(join_rows(frame, frame).index) == [0, 1, 2, 3]


def test_polars_columns():
    X = pl.DataFrame(
        {"e": ["a", None], "c": ["x", "y"], "f": [1.0, 2.0], "i": [1, 2], "s": ["p", "q"]},
        schema={"e": pl.Enum(["b", "a"]), "c": pl.Categorical, "f": pl.Float32, "i": pl.Int64, "s": pl.String},
    )
    meta = pl.DataFrame({"s": ["r"], "i": [3], "f": [0.5], "c": ["z"], "e": ["d"]})
    joined = join_rows(X, meta)
    assert joined.schema == {**X.schema, "e": pl.Enum(["b", "a", "d"])}
    assert joined.row(2) == ("d", "z", 0.5, 3, "r")
    assert join_rows(X, meta.with_columns(i=pl.Series([0.5])))["i"].to_list() == [1, 2, 0.5]


def test_arrays_and_sparse_rows():
    assert join_rows(X.astype(np.float32), X_META).dtype == np.float32
    assert_array_equal(join_rows(X.tolist(), X_META.tolist()), np.r_[X, X_META])
    assert_array_equal(join_rows(X, sparse.csr_array(X_META)), np.r_[X, X_META])
    assert_array_equal(join_rows(sparse.csc_array(X), X_META).toarray(), np.r_[X, X_META])
    assert join_rows(["a", "b"], np.array(["c"])) == ["a", "b", "c"]
    assert join_rows([b"a", b"b"], [b"c"]) == [b"a", b"b", b"c"]
    assert join_rows([{"a": 1}], pd.Series([{"a": 2}], index=[7])) == [{"a": 1}, {"a": 2}]
    assert join_rows(pd.Series(["a"], index=[3]), pd.Series(["c"], index=[3])).tolist() == ["a", "c"]
    assert join_rows(np.array(["a"]), ["long"]).tolist() == ["a", "long"]
    assert_array_equal(join_rows(list(X), list(X_META)), np.r_[X, X_META])
    assert_array_equal(join_rows(X, pd.DataFrame(X_META)), np.r_[X, X_META])


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_whole_numbers_do_not_cut_trusted_ones(convert):
    whole, halves = np.array([[1, 2], [3, 4]]), np.array([[0.5, 0.25]])
    for meta in (halves, sparse.csr_array(halves)):
        joined = join_rows(convert(whole), meta)
        assert joined.dtype == np.float64
        assert_array_equal(joined.toarray() if sparse.issparse(joined) else joined, np.r_[whole, halves])
    assert join_rows(convert(whole), convert(whole)).dtype == whole.dtype
    assert join_rows(convert(whole > 1), convert(whole)).sum() == 3 + whole.sum()


def test_sparse_whole_numbers_keep_trusted_ones_in_the_fit():
    counts = sparse.csr_array(rng.poisson(1.0, (60, 3)))
    weighter = OTSampleWeighter(embedding=None)
    clf = OTWeightedClassifier(LogisticRegression(), weighter=weighter)
    clf.fit(counts, Y, X_meta=np.abs(X_META), y_meta=Y_META)
    dense = OTWeightedClassifier(LogisticRegression(), weighter=weighter)
    dense.fit(counts.toarray(), Y, X_meta=np.abs(X_META), y_meta=Y_META)
    np.testing.assert_allclose(clf.estimator_.coef_, dense.estimator_.coef_, rtol=1e-3)


def test_labels():
    assert_array_equal(join_labels(pd.Series(["a"]), ["bb"]), ["a", "bb"])
    assert join_labels(np.ones((3, 2)), np.ones((1, 2))).shape == (4, 2)


# ------------------------------------------------------------------------------------------------
# A meta set that missed the steps through which X went


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def scaled_sets():
    return 40 + 10 * X, 40 + 10 * X_META


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
@pytest.mark.parametrize("output", ["default", "pandas"])
def test_raw_meta_rows_are_told(routing, scaler, output):
    raw, raw_meta = scaled_sets()
    if output == "pandas":
        raw, raw_meta = (pd.DataFrame(rows, columns=list("abc")) for rows in (raw, raw_meta))
    scaler.set_output(transform=output)
    forgotten = make_pipeline(scaler, OTWeightedClassifier())  # no transform_input
    if output == "default":
        raw_meta = np.asarray(raw_meta)
    with pytest.warns(
        UserWarning, match=r"far outside the range of the training features.*skotw.make_weighted_pipeline"
    ):
        forgotten.fit(raw, Y, X_meta=raw_meta, y_meta=Y_META)
    make_weighted_pipeline(scaler, LogisticRegression()).fit(raw, Y, X_meta=raw_meta, y_meta=Y_META)


def test_raw_meta_rows_are_told_with_routing_off():
    raw, raw_meta = scaled_sets()
    pipe = make_pipeline(StandardScaler(), OTWeightedClassifier())
    with pytest.warns(UserWarning, match="far outside"):
        pipe.fit(raw, Y, otweightedclassifier__X_meta=raw_meta, otweightedclassifier__y_meta=Y_META)


@pytest.mark.parametrize(
    ("X", "X_meta", "match"),
    [
        (X, X_META[:, :2], "X_meta has 2 features and X has 3.*must go through the same steps"),
        (pd.DataFrame(X), X_META, "X is a data frame and X_meta is of type ndarray.*same steps"),
        (sparse.csr_array(X), pd.DataFrame(X_META), "X is of type csr_array and X_meta is a data frame"),
    ],
)
def test_other_kinds_of_rows_are_refused(X, X_meta, match):
    with pytest.raises(ValueError, match=match):
        OTWeightedClassifier().fit(X, Y, X_meta=X_meta, y_meta=Y_META)


def test_frames_that_became_arrays_are_met():
    frame = pd.DataFrame(X_META, columns=list("abc"))
    clf = OTWeightedClassifier().fit(X, Y, X_meta=frame, y_meta=Y_META)
    assert_array_equal(clf.sample_weight_, OTWeightedClassifier().fit(X, Y, **META).sample_weight_)


# ------------------------------------------------------------------------------------------------
# A meta set that was sliced, or is not one


def test_a_meta_set_as_long_as_x_is_told_and_1_tuples_are_unwrapped():
    longer = rng.normal(size=(60, 3))
    clf = OTWeightedClassifier(weighter=OTSampleWeighter())
    with pytest.warns(UserWarning, match=r"as many rows as X \(60\).*Pass 1-tuples, X_meta=\(X_meta,\)"):
        direct = OTWeightedClassifier().fit(X, Y, X_meta=longer, y_meta=Y)
    with pytest.warns(UserWarning, match="as many rows as X") as caught:
        GridSearchCV(clf, {"weighter__reg": [0.1]}, cv=3).fit(X, Y, X_meta=longer, y_meta=Y)
    assert {str(warning.message).split("(")[1][:2] for warning in caught} == {"40", "60"}
    wrapped = OTWeightedClassifier().fit(X, Y, X_meta=(longer,), y_meta=(Y,))
    assert_array_equal(wrapped.sample_weight_, direct.sample_weight_)


@pytest.mark.parametrize("scheme", [OneVsRestClassifier, OneVsOneClassifier, OutputCodeClassifier])
@pytest.mark.parametrize("names", [np.arange(3), np.array(["a", "b", "c"])])
def test_binarised_labels_are_refused(routing, scheme, names):
    meta = {"X_meta": X_META, "y_meta": names[Y_META]}
    inner = OTWeightedClassifier(scheme(LogisticRegression())).fit(X, names[Y], **meta)
    assert list(inner.classes_) == list(names)
    if scheme is OneVsRestClassifier:
        with pytest.raises(ValueError, match=r"seems to have been recoded.*Turn the nesting around"):
            scheme(OTWeightedClassifier()).fit(X, names[Y], **meta)


@pytest.mark.parametrize("labels", [[0, 1], [-1, 1]])
def test_other_binary_codes_are_refused(labels):
    with pytest.raises(ValueError, match="recoded"):
        OTWeightedClassifier().fit(X, np.array(labels)[Y % 2], **META)


def test_numbered_labels_are_refused(routing):
    names = np.array(["a", "b", "c"])
    meta = {"X_meta": X_META, "y_meta": names[Y_META]}
    for ensemble in (BaggingClassifier(OTWeightedClassifier(), 2), VotingClassifier([("a", OTWeightedClassifier())])):
        with pytest.raises(
            ValueError, match=r"y holds 0, 1, 2 and y_meta holds 'a', 'b', 'c'.*give y and y_meta as numbers"
        ):
            ensemble.fit(X, names[Y], **meta)
        ensemble.fit(X, Y, **META)
    with pytest.raises(ValueError, match="recoded"):
        VotingClassifier([("a", OTWeightedClassifier())]).fit(X, Y + 1, X_meta=X_META, y_meta=Y_META + 1)


def test_diagonal_matrices_join_without_a_complaint():
    X = sparse.dia_array(np.diag([1.0, 2.0, 3.0]))
    joined = join_rows(X, sparse.dia_array(np.array([[4.0, 0.0, 5.0]])))
    assert joined.toarray().tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3], [4, 0, 5]]
