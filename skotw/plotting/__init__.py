"""Pictures of weights, and of what they were learned from. They need matplotlib: ``pip install skotw[plot]``.

Each picture is a *display*, as in scikit-learn. ``from_estimator`` and its like compute and draw. ``plot(ax=)`` draws
once more. What was drawn stays in attributes that end in an underscore. Without ``ax`` a new figure is as wide as a
column of a paper. At most ten classes are drawn singly. Of more, these are the five with most weight beforehand and the
five with least; the rest are drawn together as "other". Colour-blind people can tell the colours apart, and hatches or
line styles differ as well.
"""

from ._label_errors import LabelErrorsDisplay
from ._label_reliability import LabelReliabilityDisplay
from ._regularization_path import RegularizationPathDisplay
from ._sample_weight import SampleWeightDisplay
from ._transport_plan import TransportPlanDisplay
from ._weight_history import WeightHistoryDisplay

__all__ = [
    "LabelErrorsDisplay",
    "LabelReliabilityDisplay",
    "RegularizationPathDisplay",
    "SampleWeightDisplay",
    "TransportPlanDisplay",
    "WeightHistoryDisplay",
]
