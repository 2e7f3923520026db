"""Sample weights learned by optimal transport from a few trusted examples."""

from importlib.metadata import version

from ._weighter import OTSampleWeighter, ot_sample_weight

__all__ = ["OTSampleWeighter", "__version__", "ot_sample_weight"]

__version__ = version("skotw")
