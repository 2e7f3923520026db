"""make_weighted_pipeline: what it builds, and what it refuses."""

import pytest
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, make_weighted_pipeline


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_wraps_the_last_step_by_its_kind(routing):
    weighter = OTSampleWeighter(reg=0.3)
    pipe = make_weighted_pipeline(StandardScaler(), LogisticRegression(), weighter=weighter, meta_weight=0.2)
    assert pipe.transform_input == ["X_meta"]
    assert list(pipe.named_steps) == ["standardscaler", "otweightedclassifier"]
    assert pipe[-1].get_params(deep=False)["meta_weight"] == 0.2
    assert pipe.get_params()["otweightedclassifier__weighter__reg"] == 0.3
    assert isinstance(pipe[-1].estimator, LogisticRegression)
    regression = make_weighted_pipeline(StandardScaler(), Ridge())
    assert isinstance(regression[-1], OTWeightedRegressor)
    assert pipe.__sklearn_tags__().estimator_type == "classifier"


def test_leaves_a_wrapped_step_alone(routing):
    last = OTWeightedClassifier(include_meta=False)
    assert make_weighted_pipeline(StandardScaler(), last)[-1] is last
    with pytest.raises(ValueError, match="already: give it meta_weight itself"):
        make_weighted_pipeline(last, meta_weight=0.5)


def test_memory_and_verbosity(routing, tmp_path):
    pipe = make_weighted_pipeline(LogisticRegression(), memory=str(tmp_path), verbose=True)
    assert pipe.memory == str(tmp_path)
    assert pipe.verbose


def test_needs_routing_and_steps(routing):
    with pytest.raises(ValueError, match="got no steps"):
        make_weighted_pipeline()
    sklearn.set_config(enable_metadata_routing=False)
    with pytest.raises(RuntimeError, match=r"enable_metadata_routing=True\) first\. Or put the pipeline inside"):
        make_weighted_pipeline(LogisticRegression())
