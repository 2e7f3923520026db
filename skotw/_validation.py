"""Checks that every part of the package shares, how it warns, and what an error leaves behind."""

import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import sklearn
from array_api_compat import is_array_api_obj, to_device
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets


def to_numpy(x):
    """Bring a tensor to the host, and leave everything else as it is."""
    return np.asarray(to_device(x, "cpu")) if is_array_api_obj(x) else x


def one_column(y, name="y"):
    """Labels of one dimension; a column is taken for that, with scikit-learn's warning, here at the user's line."""
    if label_columns(y) == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. "
            f"Change the shape of {name} to (n_samples,), for example using ravel().",
            DataConversionWarning,
        )
    return column_or_1d(y)


def label_columns(y):
    """Number of columns of labels of any container; None where they have one dimension."""
    shape = np.asarray(to_numpy(y)).shape
    return shape[1] if len(shape) == 2 else None


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


# Folders between the user's line and ours; libraries that are optional are named, not imported.
_OURS = [Path(module.__file__).parent for module in (sys.modules[__package__], sklearn, joblib)]
_OTHERS = [Path(sklearn.__file__).parents[1] / name for name in ("imblearn", "skorch")]
_BETWEEN = tuple(f"{folder}{os.sep}" for folder in [*_OURS, *_OTHERS])


def warn(message, category=UserWarning):
    """Warn at the line of the user's code that called skotw, whatever lies between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def unchanged_on_error(*objects):
    """After an exception within, every one of ``objects`` has the attributes that it had before.

    Attributes are put back, not copied: what hangs on an object must be replaced within, never written to.
    """
    before = [(part, dict(vars(part))) for part in objects]
    try:
        yield
    except BaseException:
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)
        raise


def set_all_or_none(estimator, params):
    """``estimator.set_params(**params)`` that sets nothing, nested parameters included, where one name is unknown."""
    parts = [estimator, *estimator.get_params(deep=True).values(), *params.values()]
    parts = [part for part in parts if hasattr(part, "set_params") and not isinstance(part, type)]
    # XGBoost, LightGBM and CatBoost keep parameters in dictionaries, which they write to
    written = [value for part in parts for value in vars(part).values() if isinstance(value, dict)]
    before = [dict(value) for value in written]
    try:
        with unchanged_on_error(*parts):
            return BaseEstimator.set_params(estimator, **params)
    except BaseException:
        for value, content in zip(written, before, strict=True):
            value.clear()
            value.update(content)
        raise
