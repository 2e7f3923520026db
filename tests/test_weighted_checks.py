"""The estimators that learn weights first, under scikit-learn's common checks."""

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skotw import OTResampler, OTWeightedClassifier, OTWeightedRegressor


@parametrize_with_checks(
    [
        OTWeightedClassifier(),
        OTWeightedClassifier(GaussianNB(), include_meta=False),
        OTWeightedClassifier(SVC()),
        OTWeightedClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
        OTWeightedClassifier(KNeighborsClassifier(), on_unweighted="bootstrap", random_state=0),
        OTResampler(),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:Without trusted rows:UserWarning")
@parametrize_with_checks([OTWeightedRegressor(), OTWeightedRegressor(LinearRegression())])
def test_common_checks_of_the_regressor(estimator, check):
    check(estimator)
