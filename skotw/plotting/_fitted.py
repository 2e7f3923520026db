"""What an estimator holds that was fitted: the weighter, and the labels of its classes."""

from __future__ import annotations

from sklearn.utils.validation import check_is_fitted

__all__ = ["classes_of", "weighter_of"]


def weighter_of(estimator):
    """The fitted weighter of an estimator: itself, or what it holds."""
    for name in ("reweighter_", "weighter_"):
        estimator = getattr(estimator, name, None) or estimator
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    if not hasattr(estimator, "_row_groups"):
        raise TypeError(
            f"{type(estimator).__name__} has no weights that skotw has learned. Pass an OTSampleWeighter, or an "
            "estimator with weighter_. Draw weights of any other origin by SampleWeightDisplay.from_weights."
        )
    return estimator


def classes_of(estimator, weighter):
    """Labels of its classes: the weighter of a network has their places in those of the network."""
    classes = list(getattr(weighter, "classes_", []))
    labels = getattr(estimator, "classes_", None) if hasattr(estimator, "reweighter_") else None
    return classes if labels is None else [labels[place] for place in classes]
