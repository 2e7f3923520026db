"""What goes around the estimators and changes rows, features or labels of X alone: right, an error, or a warning."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_blobs
from sklearn.ensemble import BaggingRegressor, RandomForestClassifier, StackingRegressor
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor
from skotw.meta import balanced_meta_split

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(300, 3)), rng.normal(size=(25, 3))
COEF = np.array([1.0, -2.0, 0.5]) / 2.3
Z, Z_META = X @ COEF, X_META @ COEF


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


# ------------------------------------------------------------------------------------------------
# Targets

LOG = {"func": np.log, "inverse_func": np.exp}
EXP = {"func": np.exp, "inverse_func": np.log}
TARGETS = {
    "prices": (LOG, lambda z: np.exp(12 + z / 2)),
    "counts": (LOG, lambda z: np.ceil(np.exp(3 + z))),
    "far from zero": ({"transformer": StandardScaler()}, lambda z: 100 + 10 * z),
    "exponentials": (EXP, lambda z: 5 + z),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("routed", [False, True])
def test_targets_transformed_outside(kind, routed):
    transform, target = TARGETS[kind]
    meta = {"X_meta": X_META, "y_meta": target(Z_META)}
    remedy = r"as if y had been transformed.*put it inside, OTWeightedRegressor\(TransformedTargetRegressor\(...\)\)"
    outside = TransformedTargetRegressor(OTWeightedRegressor(), check_inverse=False, **transform)
    with sklearn.config_context(enable_metadata_routing=routed), pytest.warns(UserWarning, match=remedy):
        outside.fit(X, target(Z), **meta)


@pytest.mark.parametrize("kind", ["prices", "counts", "far from zero"])
@pytest.mark.parametrize("regressor", [None, LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())])
def test_targets_transformed_inside(kind, regressor):
    transform, target = TARGETS[kind]
    inside = TransformedTargetRegressor(regressor, **transform)
    reg = OTWeightedRegressor(inside).fit(X, target(Z), X_meta=X_META, y_meta=target(Z_META))
    rows, y = np.r_[X, X_META], np.r_[target(Z), target(Z_META)]
    weight = np.r_[reg.sample_weight_, reg.sample_weight_meta_]
    y = StandardScaler().fit_transform(y[:, None]).ravel() if "transformer" in transform else transform["func"](y)
    expected = LinearRegression().fit(rows, y, weight).predict(X)
    fitted = reg.estimator_.regressor_
    assert_allclose(fitted.predict(X), expected, atol=1e-9)
    assert reg.score(X, target(Z)) > 0.95


@pytest.mark.parametrize(
    ("y", "y_meta"),
    [
        (Z, Z_META),
        (np.exp(Z), np.exp(Z_META)),
        (Z, Z_META[:2]),
        (Z, Z_META[:5]),
        (np.where(np.arange(300) < 120, Z + 100, Z), Z_META),  # 40 % wrong targets
        (np.exp(Z), np.linspace(0, np.exp(Z).max(), 25)),  # rare targets are frequent among the trusted
        (np.where(np.arange(300) % 3, 0.0, Z), Z_META),
    ],
)
def test_targets_that_differ_as_they_may(y, y_meta):
    weighter = OTSampleWeighter(reg=1.0)  # since a set of rare targets alone leaves few rows at less
    OTWeightedRegressor(weighter=weighter).fit(X, y, X_meta=X_META[: len(y_meta)], y_meta=y_meta)


# ------------------------------------------------------------------------------------------------
# Features


def test_features_drawn_with_replacement(routing):
    bagging = BaggingRegressor(OTWeightedRegressor(), 3, bootstrap_features=True, random_state=0)
    with pytest.warns(UserWarning, match="copies of each other.*bootstrap_features=True. Put them inside"):
        bagging.fit(X, Z, X_meta=X_META, y_meta=Z_META)
    inside = BaggingRegressor(LinearRegression(), 3, bootstrap_features=True, random_state=0)
    OTWeightedRegressor(inside).fit(X, Z, X_meta=X_META, y_meta=Z_META)


def test_features_that_are_copies_of_each_other_as_they_may():
    copies, copies_meta = np.c_[X, X[:, 0]], np.c_[X_META, X_META[:, 0]]
    OTWeightedRegressor().fit(copies, Z, X_meta=copies_meta, y_meta=Z_META)
    rare, rare_meta = (np.c_[rows, np.zeros((len(rows), 2))] for rows in (X, X_META))
    rare[3, 3:], rare_meta[5, 3] = 1.0, 1.0  # a flag that happens to go with another one in X
    OTWeightedRegressor().fit(rare, Z, X_meta=rare_meta, y_meta=Z_META)
    late = np.c_[X, np.where(np.arange(300) < 200, X[:, 0], X[:, 1])]
    OTWeightedRegressor().fit(late, Z, X_meta=np.c_[X_META, X_META[:, 1]], y_meta=Z_META)


@pytest.mark.parametrize(
    "outside",
    [
        RFE(OTWeightedRegressor(), importance_getter="estimator_.coef_", n_features_to_select=1),
        BaggingRegressor(OTWeightedRegressor(), 2, max_features=0.5),
    ],
)
def test_features_chosen_outside(routing, outside):
    with pytest.raises(ValueError, match="X_meta has 3 features and X has"):
        outside.fit(X, Z, X_meta=X_META, y_meta=Z_META)


def test_features_chosen_once():
    chosen = SelectFromModel(OTWeightedRegressor(), importance_getter="estimator_.coef_", threshold=0.3)
    assert_array_equal(chosen.fit(X, Z, X_meta=X_META, y_meta=Z_META).get_support(), [True, True, False])


# ------------------------------------------------------------------------------------------------
# Rows and labels

BLOBS = balanced_meta_split(*make_blobs(260, 4, centers=3, cluster_std=2, random_state=0), 10, random_state=0)


def test_rows_drawn_outside(routing):
    reg = BaggingRegressor(OTWeightedRegressor(), 3, random_state=0).fit(X, Z, X_meta=X_META, y_meta=Z_META)
    assert reg.score(X, Z) > 0.99
    with pytest.raises(TypeError, match="X_meta"):
        StackingRegressor([("a", OTWeightedRegressor())]).fit(X, Z, X_meta=X_META, y_meta=Z_META)


@pytest.mark.parametrize("outside", [MultiOutputClassifier, ClassifierChain])
def test_label_columns_taken_apart(routing, outside):
    rows, y, rows_meta, y_meta = BLOBS
    two, two_meta = np.c_[y > 0, y > 1], np.c_[y_meta > 0, y_meta > 1]
    with pytest.raises(ValueError, match=r"y_meta has 2 label column\(s\) and y has 1.*put it inside"):
        outside(OTWeightedClassifier()).fit(rows, two, X_meta=rows_meta, y_meta=two_meta)
    clf = OTWeightedClassifier(outside(RandomForestClassifier(5, random_state=0)))
    assert clf.fit(rows, two, X_meta=rows_meta, y_meta=two_meta).predict(rows).shape == two.shape


# ------------------------------------------------------------------------------------------------
# Samplers


def samplers():
    over = pytest.importorskip("imblearn.over_sampling")
    pipeline = pytest.importorskip("imblearn.pipeline")
    inside = pipeline.make_pipeline(over.SMOTE(random_state=0), RandomForestClassifier(5))
    return over, pipeline, inside


@pytest.mark.parametrize("depth", ["pipeline", "nested pipeline", "search", "voting", "own sampler"])
@pytest.mark.parametrize("name", ["auto", "randomforestclassifier__sample_weight"])
def test_samplers_inside_are_refused(depth, name):
    from sklearn.ensemble import VotingClassifier

    _, pipeline, inside = samplers()
    inner = {
        "pipeline": inside,
        "nested pipeline": make_pipeline(StandardScaler(), inside),
        "search": GridSearchCV(inside, {"randomforestclassifier__max_depth": [2]}, cv=2),
        "voting": VotingClassifier([("a", inside), ("b", RandomForestClassifier(5))]),
        "own sampler": pipeline.make_pipeline(OTResampler(), RandomForestClassifier(5)),
    }[depth]
    rows, y, rows_meta, y_meta = BLOBS
    sampler = "OTResampler" if depth == "own sampler" else "SMOTE"
    match = f"'{sampler}' inside .* would fall on other rows. Put it outside: .*Or put OTResampler in its place"
    with pytest.raises(ValueError, match=match):
        OTWeightedClassifier(inner, sample_weight_name=name).fit(rows, y, X_meta=rows_meta, y_meta=y_meta)


def test_what_is_offered_in_place_of_a_sampler_inside():
    over, pipeline, inside = samplers()
    rows, y, rows_meta, y_meta = BLOBS
    # outside: weights are learned for the rows that it made
    outside = pipeline.make_pipeline(over.SMOTE(random_state=0), OTWeightedClassifier())
    meta = {"otweightedclassifier__X_meta": rows_meta, "otweightedclassifier__y_meta": y_meta}
    made = over.SMOTE(random_state=0).fit_resample(rows, y)
    alone = OTWeightedClassifier().fit(*made, X_meta=rows_meta, y_meta=y_meta)
    assert_array_equal(outside.fit(rows, y, **meta)[-1].sample_weight_, alone.sample_weight_)
    # rows drawn by weight before the sampler sees them
    clf = OTWeightedClassifier(inside, on_unweighted="bootstrap", random_state=0)
    assert clf.fit(rows, y, X_meta=rows_meta, y_meta=y_meta).score(rows, y) > 0.8
