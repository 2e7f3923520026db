"""Checks that every part of the package shares."""

import numpy as np
from array_api_compat import is_array_api_obj, to_device
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets


def to_numpy(x):
    """Bring a tensor to the host, and leave everything else as it is."""
    return np.asarray(to_device(x, "cpu")) if is_array_api_obj(x) else x


def encode_labels(y):
    """Sorted classes, and the index of every label among them."""
    check_classification_targets(y)
    encoder = LabelEncoder()
    codes = encoder.fit_transform(y)
    return encoder.classes_, codes


def check_weights(w, name, n_samples=None):
    """Finite, non-negative, not all zero and of one dimension, as float64."""
    w = check_array(to_numpy(w), ensure_2d=False, dtype=np.float64, input_name=name)
    if w.ndim != 1 or (n_samples is not None and w.size != n_samples):
        wanted = "(n_samples,)" if n_samples is None else f"({n_samples},)"
        raise ValueError(f"{name} must have shape {wanted}, one weight per row; got {w.shape}.")
    if (w < 0).any():
        raise ValueError(f"{name} must not be negative; its minimum is {w.min()}.")
    if not w.any():
        raise ValueError(f"{name} is zero for every row; at least one row must count.")
    return w


def named(labels, most=10):
    """Labels as they read in an error message."""
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    shown = ", ".join(repr(label) for label in labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"
