"""Sample weights learned by optimal transport from a few trusted examples."""

from importlib.metadata import version

from ._classifier import OTWeightedClassifier
from ._pipeline import make_weighted_pipeline
from ._regressor import OTWeightedRegressor
from ._resampler import OTResampler
from ._weighter import OTSampleWeighter, ot_sample_weight

__all__ = [
    "OTResampler",
    "OTSampleWeighter",
    "OTWeightedClassifier",
    "OTWeightedRegressor",
    "__version__",
    "make_weighted_pipeline",
    "ot_sample_weight",
]

__version__ = version("skotw")
