"""The estimators that learn weights first, under scikit-learn's common checks."""

import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skotw import OTResampler, OTWeightedClassifier, OTWeightedRegressor

BOOTSTRAP = {"on_unweighted": "bootstrap", "random_state": 0}
WHY = {
    "bootstrap": "The rows of a bootstrap are drawn, so repeating a row and giving it weight agree on average only.",
    "scaler": "A step before the last one gets no weights, so repeated rows change how it scales.",
}


def expected_failures(estimator):
    """What cannot hold, and why."""
    names = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    if estimator.get_params().get("on_unweighted") == "bootstrap":
        return dict.fromkeys(names, WHY["bootstrap"])
    if "estimator__standardscaler" in estimator.get_params():
        return dict.fromkeys(names[:1], WHY["scaler"])
    return {}


@pytest.mark.filterwarnings("ignore:There are no trusted rows")  # of which the checks know nothing
@parametrize_with_checks(
    [
        OTWeightedClassifier(),
        OTWeightedClassifier(GaussianNB(), include_meta=False),
        OTWeightedClassifier(make_pipeline(LogisticRegression())),
        OTWeightedClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
        OTWeightedClassifier(KNeighborsClassifier(), **BOOTSTRAP),
        OTResampler(),
    ],
    expected_failed_checks=expected_failures,
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:Without trusted rows:UserWarning")
@parametrize_with_checks([OTWeightedRegressor(), OTWeightedRegressor(LinearRegression())])
def test_common_checks_of_the_regressor(estimator, check):
    check(estimator)
