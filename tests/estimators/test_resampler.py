"""OTResampler: rows drawn by weight, by itself and in imbalanced-learn's pipeline."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, ot_sample_weight

X, Y = make_classification(300, 5, weights=[0.85], random_state=0)
X, X_META, Y, Y_META = X[:280], X[280:], Y[:280], Y[280:]
META = {"X_meta": X_META, "y_meta": Y_META}


def test_rows_are_drawn_in_proportion_to_their_weight():
    resampler, copies = OTResampler(weighter=OTSampleWeighter(reg=0.2), include_meta=False, random_state=0), 200
    many, labels = np.tile(X, (copies, 1)), np.tile(Y, copies)
    X_drawn, y_drawn = resampler.fit_resample(many, labels, **META)
    w = ot_sample_weight(X, Y, X_META, Y_META, reg=0.2)
    assert_allclose(resampler.sample_weight_, np.tile(w, copies))
    counts = np.bincount(resampler.sample_indices_ % 280, minlength=280)
    expected = copies * w
    # each count is binomial; five standard deviations
    assert (abs(counts - expected) < 5 * np.sqrt(expected) + 1).all()
    assert_array_equal(X_drawn, many[resampler.sample_indices_])
    assert_array_equal(y_drawn, labels[resampler.sample_indices_])


def test_weights_are_those_of_the_classifier():
    resampler = OTResampler(meta_weight=0.3, random_state=0).fit(X, Y, **META)
    clf = OTWeightedClassifier(meta_weight=0.3, random_state=0).fit(X, Y, **META)
    assert_array_equal(resampler.sample_weight_, clf.sample_weight_)
    assert_array_equal(resampler.sample_weight_meta_, clf.sample_weight_meta_)
    assert not hasattr(resampler, "sample_indices_")


def test_the_same_bootstrap_as_the_classifier():
    drawn = OTResampler(random_state=3).fit_resample(X, Y, **META)
    knn = OTWeightedClassifier(KNeighborsClassifier(), on_unweighted="bootstrap", random_state=3).fit(X, Y, **META)
    assert_array_equal(knn.predict_proba(X), KNeighborsClassifier().fit(*drawn).predict_proba(X))


def test_trusted_rows_are_drawn_too():
    resampler = OTResampler(meta_weight=0.5, random_state=0)
    X_drawn, y_drawn = resampler.fit_resample(X, Y, **META)
    of_meta = resampler.sample_indices_ >= 280
    assert len(X_drawn) == 300
    assert_allclose(of_meta.mean(), 0.5, atol=0.1)
    assert_array_equal(X_drawn[of_meta], X_META[resampler.sample_indices_[of_meta] - 280])
    assert_allclose(y_drawn.mean(), 0.5, atol=0.1)


def test_containers_and_seeds():
    expected, labels = OTResampler(random_state=0).fit_resample(X, Y, **META)
    frame, labels_too = OTResampler(random_state=0).fit_resample(
        pd.DataFrame(X, columns=list("abcde")),
        pd.Series(Y),
        X_meta=pd.DataFrame(X_META, columns=list("abcde")),
        y_meta=Y_META,
    )
    assert_array_equal(frame, expected)
    assert list(frame.columns) == list("abcde")
    assert_array_equal(labels_too, labels)
    rows, _ = OTResampler(random_state=0).fit_resample(
        sparse.csc_array(X), Y, X_meta=sparse.csc_array(X_META), y_meta=Y_META
    )
    assert sparse.issparse(rows)
    other, _ = OTResampler(random_state=1).fit_resample(X, Y, **META)
    assert not np.array_equal(other, expected)


def test_meta_as_a_parameter():
    by_argument = OTResampler(random_state=0).fit_resample(X, Y, **META)
    resampler = OTResampler(meta=(X_META, Y_META), random_state=0)
    for found, expected in zip(clone(resampler).fit_resample(X, Y), by_argument, strict=True):
        assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="came twice, as meta= and as X_meta"):
        resampler.fit_resample(X, Y, **META)
    with pytest.raises(ValueError, match=r"meta must be \(X_meta, y_meta\); got a tuple of 1"):
        OTResampler(meta=(X_META,)).fit(X, Y)


@pytest.mark.parametrize("routing", [False, True])
def test_step_of_imbalanced_learns_pipeline(routing):
    pipeline = pytest.importorskip("imblearn.pipeline")
    cv = StratifiedKFold(3)
    with sklearn.config_context(enable_metadata_routing=routing):
        if routing:
            sampler, params = OTResampler(random_state=0), META
        else:
            sampler, params = OTResampler(meta=(X_META, Y_META), random_state=0), {}
        pipe = pipeline.make_pipeline(sampler, StandardScaler(), KNeighborsClassifier())
        pipe.fit(X, Y, **params)
        drawn = OTResampler(random_state=0).fit_resample(X, Y, **META)
        alone = KNeighborsClassifier().fit(StandardScaler().fit_transform(drawn[0]), drawn[1])
        assert_array_equal(pipe.predict(X), alone.predict(StandardScaler().fit(drawn[0]).transform(X)))

        # every fold draws from its own rows, with the whole meta set
        found = cross_validate(pipe, X, Y, cv=cv, params=params, return_estimator=True)
        for fold, (train, _) in zip(found["estimator"], cv.split(X, Y), strict=True):
            alone = OTResampler(random_state=0).fit(X[train], Y[train], **META)
            assert_allclose(fold[0].sample_weight_, alone.sample_weight_)
        grid = {"otresampler__weighter__reg": [0.1, 0.2]}
        search = GridSearchCV(pipe.set_params(otresampler__weighter=OTSampleWeighter()), grid, cv=cv)
        search.fit(X, Y, **params)
        assert search.best_estimator_[0].weighter_.reg == search.best_params_["otresampler__weighter__reg"]
