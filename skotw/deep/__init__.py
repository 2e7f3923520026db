"""Sample weights that are learned anew while a network trains: needs torch and skorch (``skotw[deep]``)."""

try:
    import skorch  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "skotw.deep needs torch and skorch, which are extras: pip install skotw[deep], or pip install '.[deep]' in a "
        "checkout."
    ) from error

from ._callback import OTReweighting
from ._classifier import OTWeightedNetClassifier
from ._reweighter import OTReweighter

__all__ = ["OTReweighter", "OTReweighting", "OTWeightedNetClassifier"]
