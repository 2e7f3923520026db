"""Long-tailed and mislabelled versions of a data set, made to a known recipe."""

from ._label_noise import flip_labels
from ._long_tailed import make_long_tailed

__all__ = ["flip_labels", "make_long_tailed"]
