"""Bad input to the estimators that learn weights first, each refused or warned of with the remedy."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(30, 3)), rng.normal(size=(6, 3))
Y, Y_META = np.arange(30) % 2, np.arange(6) % 2


def refused(match, *args, error=ValueError, fit=None, **params):
    meta = {"X_meta": X_META, "y_meta": Y_META, **(fit or {})}
    with pytest.raises(error, match=match):
        OTWeightedClassifier(**params).fit(*args or (X, Y), **meta)


@pytest.mark.parametrize("estimator", [KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier())])
def test_estimators_that_take_no_weights(estimator):
    refused("takes no sample_weight.*on_unweighted='bootstrap'.*sample_weight_name=", estimator=estimator)


@pytest.mark.parametrize(
    ("sample_weight", "match"),
    [
        (np.ones(29), r"sample_weight must have shape \(30,\), one weight per row"),
        (-np.ones(30), "must not be negative"),
        (np.zeros(30), "is zero for every row"),
    ],
)
def test_weights_that_make_no_sense(sample_weight, match):
    refused(match, X, Y, sample_weight)


CONTAINERS = {
    "array": np.asarray,
    "list": lambda rows: rows.tolist(),
    "list of rows": list,
    "sparse array": sparse.csr_array,
    "sparse matrix": sparse.csc_matrix,
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "documents": lambda rows: ["a text"] * len(rows),
    "series of documents": lambda rows: pd.Series(["a text"] * len(rows)),
    "column": lambda rows: rows[:, :1],
}
BY_KEYWORD = r"by keyword: fit\(X, y, X_meta=X_meta, y_meta=y_meta\)"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTWeightedRegressor])
def test_positional_meta_set(kind, container):
    rows = CONTAINERS[container](X_META)
    with pytest.raises(ValueError, match=f"sample_weight has two dimensions, or holds no numbers.*{BY_KEYWORD}"):
        kind().fit(X, Y, rows)
    with pytest.raises(TypeError, match=f"{kind.__name__}.fit takes X, y and sample_weight by position.*{BY_KEYWORD}"):
        kind().fit(X, Y, rows, Y_META)


@pytest.mark.parametrize("method", ["fit", "fit_resample"])
def test_positional_meta_set_of_the_resampler(method):
    match = rf"OTResampler.{method} takes X and y by position.*{method}\(X, y, X_meta=X_meta, y_meta=y_meta\)"
    for meta in ((X_META,), (X_META, Y_META)):
        with pytest.raises(TypeError, match=match):
            getattr(OTResampler(), method)(X, Y, *meta)


@pytest.mark.parametrize("name", ["meta", "X_trusted", "meta_X", "Xmeta", "X_clean", "sample_weight_meta"])
@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTWeightedRegressor, OTResampler])
def test_misspelt_meta_set(kind, name):
    with pytest.raises(TypeError, match=f"{kind.__name__}.fit knows no {name!r}.*{BY_KEYWORD}"):
        kind().fit(X, Y, **{name: X_META})


def test_arguments_of_the_inner_fit_are_no_misspelt_meta_set():
    class Own(GaussianNB):
        def fit(self, X, y, sample_weight=None, *, trusted_part=None):
            self.trusted_part_ = trusted_part
            return super().fit(X, y, sample_weight)

    clf = OTWeightedClassifier(Own()).fit(X, Y, X_meta=X_META, y_meta=Y_META, trusted_part=0.5)
    assert clf.estimator_.trusted_part_ == 0.5


@pytest.mark.parametrize(
    ("fit", "match"),
    [
        ({"y_meta": None}, "X_meta was given without y_meta"),
        ({"X_meta": None}, "y_meta was given without X_meta"),
        ({"X_meta": (X_META, Y_META)}, "X_meta is a pair of rows and labels"),
        ({"y_meta": np.zeros(6, int)}, "classes that the trusted rows lack: 1"),
        ({"y_meta": Y_META[:4]}, "y_meta has 4 labels for the 6 rows of X_meta"),
    ],
)
def test_meta_sets_that_do_not_fit(fit, match):
    refused(match, fit=fit)


@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTWeightedRegressor, OTResampler])
def test_missing_labels(kind):
    with pytest.raises(ValueError, match=r"requires y to be passed.*use OTSampleWeighter"):
        kind().fit(X, None, X_meta=X_META, y_meta=Y_META)


@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTWeightedRegressor])
def test_a_class_for_an_estimator(kind):
    with pytest.raises(TypeError, match="instance of scikit-learn estimator instead of a class"):
        kind(Ridge).fit(X, Y, X_meta=X_META, y_meta=Y_META)


def test_continuous_labels():
    refused("Unknown label type", X, rng.normal(size=30), fit={"y_meta": rng.normal(size=6)})


def test_precomputed_costs():
    refused("leaves no features to fit to. Use another metric", weighter=OTSampleWeighter(metric="precomputed"))


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"meta_weight": -0.1}, "'meta_weight' parameter"),
        ({"meta_weight": 1.5}, "'meta_weight' parameter"),
        ({"meta_weight": "most"}, "'meta_weight' parameter"),
        ({"on_unweighted": "drop"}, "'on_unweighted' parameter"),
        ({"weighter": LogisticRegression()}, "'weighter' parameter"),
        ({"estimator": StandardScaler()}, "'estimator' parameter"),
        ({"estimator": make_pipeline(StandardScaler())}, "'estimator' parameter of OTWeightedClassifier"),
        ({"estimator": "tree"}, "'estimator' parameter"),
        ({"estimator": Ridge()}, "Ridge knows no classes after fit.*use OTWeightedRegressor"),
        ({"sample_weight_name": None}, "'sample_weight_name' parameter"),
    ],
)
def test_parameters_that_make_no_sense(params, match):
    refused(match, **params)


@pytest.mark.parametrize("kind", [OTWeightedClassifier, OTWeightedRegressor])
def test_private_names_stay_out_of_messages(kind):
    for method, arguments in (("fit", ()), ("predict", ()), ("set_params", (1,)), ("fit", (1, 2, 3, 4))):
        with pytest.raises(TypeError, match=method) as error:
            getattr(kind(), method)(*arguments)
        assert not re.search("Base|WeighsFirst", str(error.value))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_unfitted(method):
    with pytest.raises(NotFittedError):
        getattr(OTWeightedClassifier(GaussianNB()), method)(X)
    with pytest.raises(NotFittedError):
        OTWeightedClassifier(SVC()).decision_function(X)


# ---------------------------------------------------------------------------------------------
# Columns without numbers


def town_frames(dtype, frame):
    """Frames of both sets, with a number and a text column."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"size": rng.normal(size=36), "town": pd.Series(["Ulm", "Bern"] * 18).astype(dtype)})
    return frame(X[:30]), frame(X[30:])


@pytest.mark.parametrize("dtype", ["object", "category"])
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize(
    ("make", "inner"),
    [
        (lambda: OTWeightedClassifier(weighter=OTSampleWeighter(reg=0.1)), LogisticRegression),
        (lambda: OTWeightedRegressor(Ridge(), weighter=OTSampleWeighter(reg=0.1)), Ridge),
        (lambda: OTWeightedClassifier(make_pipeline(StandardScaler(), GaussianNB())), StandardScaler),
    ],
    ids=["classifier", "regressor", "pipeline"],
)
def test_columns_that_the_inner_estimator_does_not_take_are_named(make, inner, frame, dtype):
    X, X_meta = town_frames(dtype, frame)
    with pytest.raises(ValueError, match="convert") as alone:
        inner().fit(X, Y)
    with pytest.raises(ValueError, match="convert") as caught:
        make().fit(X, Y, X_meta=X_meta, y_meta=Y_META)
    assert type(caught.value) is type(alone.value)
    [note] = caught.value.__notes__
    assert "'town'" in note
    assert "'size'" not in note
    assert "category dtype" in note
    assert "pipeline" in note


def test_columns_that_are_numbers_or_not_to_blame_are_not_named():
    X, X_meta = town_frames("object", pd.DataFrame)
    for columns, estimator in ((["size"], SVC(C=-1.0)), (["size", "town"], SVC(C=-1.0))):
        with pytest.raises(ValueError, match="must be a float") as caught:
            OTWeightedClassifier(estimator).fit(X[columns], Y, X_meta=X_meta[columns], y_meta=Y_META)
        assert not hasattr(caught.value, "__notes__")


def test_remedies_for_text_columns_work():
    X, X_meta = town_frames("object", pd.DataFrame)
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["town"]), remainder="passthrough")
    OTWeightedClassifier(make_pipeline(encode, LogisticRegression())).fit(X, Y, X_meta=X_meta, y_meta=Y_META)
    X, X_meta = town_frames("category", pd.DataFrame)
    OTWeightedClassifier(HistGradientBoostingClassifier(max_iter=2)).fit(X, Y, X_meta=X_meta, y_meta=Y_META)
