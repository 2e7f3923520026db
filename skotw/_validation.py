"""Checks that every part of the package shares, how it warns, and what an error leaves behind."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from decimal import Decimal
from functools import wraps
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import joblib
import numpy as np
import sklearn
from array_api_compat import is_array_api_obj, is_torch_array, to_device
from narwhals.stable.v2.dependencies import is_into_dataframe
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets


def is_plain(X, ndim):
    """Whether scikit-learn's ``check_array``, asked for floating rows, finite or not, would give X back as it is."""
    return type(X) is np.ndarray and X.dtype in (np.float64, np.float32) and X.ndim == ndim and 0 not in X.shape


def on_host(x):
    """Bring a tensor to the host, mark what a masked array hides as missing, and leave everything else as it is."""
    if type(x) is np.ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        return _unmasked(x)
    if is_torch_array(x):
        x = x.detach()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x  # which NumPy does not have
    if isinstance(x, list | tuple) and x and is_torch_array(x[0]):
        return np.stack([on_host(row) for row in x])
    return np.asarray(to_device(x, "cpu")) if is_array_api_obj(x) else x


def one_column(y, name="y"):
    """Labels of one dimension; a column is taken for that, with scikit-learn's warning, here at the user's line."""
    if label_columns(y) == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. "
            f"Change the shape of {name} to (n_samples,), for example using ravel().",
            DataConversionWarning,
        )
    return y if type(y) is np.ndarray and y.ndim == 1 else column_or_1d(y)


def label_columns(y):
    """Number of columns of labels of any container; None where they have one dimension."""
    shape = np.asarray(on_host(y)).shape
    return shape[1] if len(shape) == 2 else None


def _unmasked(x):
    if not np.ma.is_masked(x):
        return np.asarray(x.data)
    if x.dtype.kind in "biufc":
        return x.astype(np.result_type(x.dtype, np.float64)).filled(np.nan)
    values = np.array(x.data, dtype=object)
    values[np.ma.getmaskarray(x)] = None
    return values


def check_index(**by_name):
    """Refuse pandas objects that hold the same index in another order: their rows would be paired wrongly.

    Parameters
    ----------
    by_name : objects with one value per row, or None
        Those that have an index are compared with the first of them.

    Raises
    ------
    ValueError
    """
    indexed = [(name, value.index) for name, value in by_name.items() if hasattr(value, "iloc")]
    for name, index in indexed[1:]:
        first_name, first = indexed[0]
        if len(index) == len(first) and not index.equals(first) and Counter(index) == Counter(first):
            raise ValueError(
                f"{first_name} and {name} have the same index in another order. Rows are taken by their place. Sort "
                f"one like the other: {name} = {name}.loc[{first_name}.index]. If their places are right, pass "
                f"{name}.to_numpy()."
            )


# Whether objects of a type are frames, which narwhals takes its time to say.
_FRAME_TYPES = WeakKeyDictionary()


def is_frame(X):
    """Whether X is a data frame of a library that narwhals knows: pandas, polars, and others."""
    known = _FRAME_TYPES.get(type(X))
    if known is None:
        known = _FRAME_TYPES[type(X)] = is_into_dataframe(X)
    return known


def like_columns(rows, of):
    """A data frame with its columns in the order of another's, where both have the same; else ``rows`` as they are."""
    if not (is_frame(rows) and is_frame(of)):
        return rows
    names, wanted = list(rows.columns), list(of.columns)
    unique = len(set(names)) == len(names)
    if names == wanted or not unique or Counter(names) != Counter(wanted):
        return rows
    return rows[wanted]


# ---------------------------------------------------------------------------------------------
# Values and labels


def is_missing(value):
    """Whether one value of any type is None, NaN, NaT or the NA of pandas."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, Number | np.generic) and bool(value != value)


def is_number(value):
    """Whether one value is a real number of any type, Decimal and bool among them."""
    return isinstance(value, Real | Decimal | np.bool_)


def clean_labels(y, name, kept=None):
    """Labels as an array of one type, in which object columns of numbers are numbers.

    ``kept`` says where they stood among those given, for messages.

    Raises
    ------
    ValueError
        If labels are missing, bytes, or of types that have no order among each other.
    """
    y, missing = labels_and_missing(y)
    if y.dtype.kind == "S":
        raise ValueError(f"{name} holds bytes. Turn them into text first: numpy.char.decode({name}).")
    if missing is not None and missing.any():
        row = int(np.argwhere(missing)[0][0])
        row = row if kept is None else kept[row]
        raise ValueError(f"Input {name} contains NaN or None, first in row {row}. Drop the rows without a label.")
    return _of_one_type(y, name) if y.dtype.kind == "O" else y


def labels_and_missing(y):
    """Labels of any container as an array, and which of them are missing; None where none can be, by their type."""
    y = _label_array(on_host(y))
    if y.dtype.kind in "fcmM":
        return y, y != y
    if y.dtype.kind == "O":
        return y, np.reshape([is_missing(value) for value in y.ravel()], y.shape)
    return y, None


def _label_array(y):
    array = np.asarray(y)
    # NumPy makes text of a list of mixed types, and of its NaN
    mixed = isinstance(y, list | tuple) and array.dtype.kind == "U" and not all(isinstance(value, str) for value in y)
    return np.array(y, dtype=object) if mixed and array.ndim == 1 else array


def _of_one_type(y, name):
    """Each column of an array of objects as numbers or text; in one array again."""
    if y.ndim == 2:
        columns = [_of_one_type(column, name) for column in y.T]
        if len({column.dtype for column in columns}) == 1:
            return np.stack(columns, axis=1)
        return np.stack([column.astype(object) for column in columns], axis=1)
    values = y.tolist()
    if all(map(is_number, values)):
        return _numbers(values)
    if any(isinstance(value, bytes) for value in values):
        raise ValueError(f"{name} holds bytes. Turn them into text first: [label.decode() for label in {name}].")
    by_kind = {_kind_of(value): value for value in values}
    if len(by_kind) > 1:
        examples = ", ".join(f"{named([value])} ({kind})" for kind, value in by_kind.items())
        raise ValueError(f"{name} mixes types of labels: {examples}. Give all labels the same type.")
    try:
        min(values, default=None)
    except TypeError as error:
        raise ValueError(f"{name} holds labels without an order: {error}. Turn them into numbers or text.") from error
    return y


def _kind_of(value):
    return "number" if is_number(value) else "text" if isinstance(value, str) else type(value).__name__


def _numbers(values):
    if all(isinstance(value, bool | np.bool_) for value in values):
        return np.array(values, dtype=bool)
    whole = all(isinstance(value, Integral | np.bool_) for value in values)
    return np.array([int(value) if whole else float(value) for value in values])


def label_family(y):
    """What labels of an array can be compared with: numbers, text, or their own kind."""
    kind = y.dtype.kind
    if kind == "O":
        return _kind_of(y.flat[0]) if y.size else "text"
    return "number" if kind in "biuf" else "text" if kind in "UT" else kind


def check_same_family(y, other, name, other_name="y_meta"):
    """Refuse labels, from :func:`clean_labels`, that cannot be compared with others.

    Raises
    ------
    ValueError
    """
    if label_family(y) != label_family(other):
        examples = " against ".join(named(np.unique(labels)[:3]) for labels in (y, other))
        raise ValueError(f"{name} and {other_name} cannot be compared: {examples}. Give both the same type of label.")


def encode_labels(y, name="y"):
    """Sorted classes, and the index of every label among them.

    Raises
    ------
    ValueError
        If there are no labels, or as :func:`clean_labels`.
    """
    y = clean_labels(y, name)
    if not len(y):
        raise ValueError(f"{name} has no labels. Pass one label per row, of one row at least.")
    if label_family(y) in {"number", "text"}:  # of other types it knows nothing
        check_classification_targets(y)
    encoder = LabelEncoder()
    codes = encoder.fit_transform(y)
    return encoder.classes_, codes


def check_weights(w, name, n_samples=None):
    """Finite, non-negative, not all zero and of one dimension, as float64."""
    w = np.asarray(on_host(w))
    if w.ndim == 1 and not (is_plain(w, 1) and w.dtype == np.float64 and np.isfinite(w).all()):
        w = check_array(w, ensure_2d=False, dtype=np.float64, input_name=name)
    if w.ndim != 1 or (n_samples is not None and w.size != n_samples):
        wanted = "(n_samples,)" if n_samples is None else f"({n_samples},)"
        raise ValueError(f"{name} must have shape {wanted}, one weight per row; got {w.shape}.")
    if (w < 0).any():
        raise ValueError(f"{name} must not be negative; its minimum is {w.min()}.")
    if not w.any():
        raise ValueError(f"{name} is zero for every row; at least one row must count.")
    return w


def check_costs(costs, metric, pair):
    """Costs of rows and columns, finite and at least 0; rounding errors below 0 become 0.

    ``pair(i, j)`` names row i and column j in the message.
    """
    low, high = costs.min(), costs.max()  # NaN where any cost is
    if np.isfinite(low) and np.isfinite(high) and low >= -64 * np.finfo(costs.dtype).eps * max(1.0, high):
        return costs if low >= 0 else np.maximum(costs, 0.0)
    bad = ~np.isfinite(costs)
    i, j = np.argwhere(bad if bad.any() else costs == low)[0]
    name = getattr(metric, "__name__", repr(metric))
    raise ValueError(
        f"metric={name} gives the cost {costs[i, j]:g} between {pair(i, j)}. Costs must be finite and at least 0: "
        "drop or change such rows, or use a metric that suits them."
    )


def named(labels, most=10):
    """Labels as they read in an error message."""
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    shown = ", ".join(repr(label) for label in labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


# Folders between the user's line and ours; libraries that are optional are named, not imported.
_OURS = [Path(module.__file__).parent for module in (sys.modules[__package__], sklearn, joblib)]
_OTHERS = [Path(sklearn.__file__).parents[1] / name for name in ("imblearn", "skorch", "torch")]
_BETWEEN = tuple(f"{folder}{os.sep}" for folder in [*_OURS, *_OTHERS])


def warn(message, category=UserWarning):
    """Warn at the line of the user's code that called skotw, whatever lies between."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


Method = TypeVar("Method", bound=Callable[..., Any])


def takes_no(*names: str, remedy: str) -> Callable[[Method], Method]:
    """Decorate a method that has no use for arguments which others take: it refuses them, and says what to do.

    ``remedy`` is what the message says after the name of the method and the arguments.
    """

    def decorate(method):
        @wraps(method)
        def checked(self, *args, **kwargs):
            refuse_arguments(f"{type(self).__name__}.{method.__name__}", kwargs, names, remedy)
            return method(self, *args, **kwargs)

        return checked

    return decorate


def refuse_arguments(called, kwargs, names, remedy):
    """Raise a TypeError where ``kwargs`` of a call have any of the names.

    Raises
    ------
    TypeError
    """
    given = [name for name in names if name in kwargs]
    if given:
        raise TypeError(f"{called} takes no {' and no '.join(given)}. {remedy}")


@contextmanager
def unchanged_on_error(*objects):
    """After an exception within, every one of ``objects`` has the attributes that it had before.

    Attributes are put back, not copied: what hangs on an object must be replaced within, never written to, but for
    random states, which draws change.
    """
    before = [(part, dict(vars(part))) for part in objects]
    values = [value for _, attributes in before for value in attributes.values()]
    drawn_from = [(value, value.get_state()) for value in values if isinstance(value, np.random.RandomState)]
    try:
        yield
    except BaseException:
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)
        for random_state, state in drawn_from:
            random_state.set_state(state)
        raise


def set_all_or_none(estimator, params, stands_for=None):
    """``estimator.set_params(**params)`` that sets nothing, nested parameters included, where one name is unknown.

    ``stands_for`` has, by parameter, what None stands for, as it is written in Python.
    """
    own_params = estimator.get_params(deep=False)
    for name in params:
        own, _, nested = name.partition("__")
        value = params.get(own, own_params.get(own))
        if nested and own in own_params and not hasattr(value, "set_params"):
            instead = (stands_for or {}).get(own, "an estimator that has them")
            raise ValueError(
                f"{name} cannot be set, since {own}={value!r} has no parameters. Pass {own}={instead} "
                "to set or search over its parameters."
            )
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
