"""Sample weights learned by optimal transport from a few trusted rows."""

from importlib.metadata import version

from ._estimators.classifier import OTWeightedClassifier
from ._estimators.pipeline import make_weighted_pipeline
from ._estimators.regressor import OTWeightedRegressor
from ._estimators.resampler import OTResampler
from ._weighter.estimator import OTSampleWeighter, ot_sample_weight
from ._weighter.label_errors import find_label_errors

__all__ = [
    "OTResampler",
    "OTSampleWeighter",
    "OTWeightedClassifier",
    "OTWeightedRegressor",
    "__version__",
    "find_label_errors",
    "make_weighted_pipeline",
    "ot_sample_weight",
]

__version__ = version("skotw")
