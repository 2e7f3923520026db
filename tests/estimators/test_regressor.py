"""OTWeightedRegressor: a continuous target, with and without trusted rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skotw import OTSampleWeighter, OTWeightedRegressor, ot_sample_weight

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(150, 3)), rng.normal(size=(25, 3))
COEF = np.array([1.0, -2.0, 0.5])
Y, Y_META = X @ COEF, X_META @ COEF
WRONG = np.arange(150) < 50
Y_WRONG = np.where(WRONG, -Y + 3, Y)
META = {"X_meta": X_META, "y_meta": Y_META}


def test_weights_are_those_of_the_transport():
    reg = OTWeightedRegressor(LinearRegression(), weighter=OTSampleWeighter(reg=0.1)).fit(X, Y, **META)
    w = ot_sample_weight(X, Y, X_META, Y_META, reg=0.1)
    assert_allclose(reg.sample_weight_, w)
    assert_allclose(reg.sample_weight_meta_, 1.0)
    expected = LinearRegression().fit(np.r_[X, X_META], np.r_[Y, Y_META], np.r_[w, np.ones(25)])
    assert_allclose(reg.predict(X), expected.predict(X))


def test_wrong_targets_lose_and_the_fit_gains():
    reg = OTWeightedRegressor().fit(X, Y_WRONG, **META)
    assert reg.sample_weight_[WRONG].mean() < 0.8 * reg.sample_weight_[~WRONG].mean()
    plain = Ridge().fit(np.r_[X, X_META], np.r_[Y_WRONG, Y_META])
    assert reg.score(X, Y) > plain.score(X, Y) + 0.02


def test_share_of_the_meta_rows():
    reg = OTWeightedRegressor(meta_weight=0.6).fit(X, Y, **META)
    assert_allclose(reg.sample_weight_meta_, 0.6 * 175 / 25)
    assert_allclose(reg.sample_weight_.sum(), 0.4 * 175)


def test_whole_numbers_are_a_continuous_target():
    counts, counts_meta = np.round(3 * Y).astype(int), np.round(3 * Y_META).astype(int)
    reg = OTWeightedRegressor().fit(X, counts, X_meta=X_META, y_meta=counts_meta)
    assert_allclose(reg.sample_weight_, ot_sample_weight(X, counts, X_META, counts_meta, target_type="continuous"))
    assert reg.weighter_.target_type == "continuous"


def test_the_users_target_type_stays():
    binary, binary_meta = (Y > 0).astype(int), (Y_META > 0).astype(int)
    reg = OTWeightedRegressor(weighter=OTSampleWeighter(target_type="classes"))
    reg.fit(X, binary, X_meta=X_META, y_meta=binary_meta)
    assert_array_equal(reg.weighter_.classes_, [0, 1])


def test_sample_weight_is_repetition():
    k = np.random.default_rng(1).integers(0, 3, 150)
    rows = np.repeat(np.arange(150), k)
    weighted = OTWeightedRegressor().fit(X, Y, k, **META)
    repeated = OTWeightedRegressor().fit(X[rows], Y[rows], **META)
    assert_allclose(np.bincount(rows, repeated.sample_weight_, 150), weighted.sample_weight_, atol=1e-10)
    assert_allclose(weighted.predict(X), repeated.predict(X))


def test_without_trusted_rows_every_row_keeps_its_weight():
    given = np.random.default_rng(2).uniform(size=150)
    with pytest.warns(UserWarning, match=r"Every row keeps its sample_weight. Pass X_meta and y_meta"):
        reg = OTWeightedRegressor().fit(X, Y, given)
    assert reg.weighter_ is None
    assert_array_equal(reg.sample_weight_, given)
    assert_allclose(reg.predict(X), Ridge().fit(X, Y, given).predict(X))
    wrong_length = pytest.raises(ValueError, match=r"sample_weight must have shape \(150,\)")
    with wrong_length, pytest.warns(UserWarning, match="Without trusted rows"):
        OTWeightedRegressor().fit(X, Y, given[:-1])


def test_half_a_meta_set_is_refused():
    with pytest.raises(ValueError, match="X_meta was given without y_meta"):
        OTWeightedRegressor().fit(X, Y, X_meta=X_META)


def test_what_is_inside():
    pipe = make_pipeline(StandardScaler(), Ridge())
    for inner in (pipe, RandomForestRegressor(5), TransformedTargetRegressor(pipe, transformer=StandardScaler())):
        assert OTWeightedRegressor(inner).fit(X, Y, **META).predict(X).shape == (150,)
    with pytest.raises(ValueError, match="takes no sample_weight"):
        OTWeightedRegressor(KNeighborsRegressor()).fit(X, Y, **META)
    OTWeightedRegressor(KNeighborsRegressor(), on_unweighted="bootstrap").fit(X, Y, **META)
    assert get_tags(OTWeightedRegressor(Ridge())).input_tags.sparse
    assert not hasattr(OTWeightedRegressor(), "predict_proba")


def test_search():
    search = GridSearchCV(
        OTWeightedRegressor(weighter=OTSampleWeighter()), {"weighter__reg": [0.1, 1.0], "meta_weight": [0.2, 0.8]}, cv=2
    )
    best = search.fit(X, Y_WRONG, **META).best_estimator_
    assert best.weighter_.reg == search.best_params_["weighter__reg"]
