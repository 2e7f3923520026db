"""What else balances classes, where the weights do so already."""

from numbers import Number

import numpy as np

from skotw._validation import on_host, warn

from .weight_routing import nested_params, nested_parts

# Parameters that weigh classes, as libraries name them, and the value at which they do not.
_EVEN = {
    "class_weight": None,  # scikit-learn, LightGBM
    "class_weights": None,  # CatBoost
    "auto_class_weights": None,
    "scale_pos_weight": 1,  # XGBoost, LightGBM, CatBoost
    "is_unbalance": False,  # LightGBM, which has three names for it
    "unbalance": False,
    "unbalanced_sets": False,
    "criterion__weight": None,  # skorch
    "criterion__pos_weight": None,
}


def warn_balanced_twice(estimator):
    """Warn once of every parameter, and of every ensemble, that corrects rare classes a second time.

    Parameters
    ----------
    estimator : estimator
        Unfitted, of any library.
    """
    for name, value in nested_params(estimator).items():
        own = next((own for own in _EVEN if f"__{name}".endswith(f"__{own}")), None)
        if own is not None and not _is_even(value):
            shown = repr(value) if isinstance(value, (str, dict, Number)) else "..."
            _warn(f"{name}={shown}", f"Set {name}={_EVEN[own]}")
        elif f"__{name}".endswith("__criterion") and not isinstance(value, type):
            for weight in ("weight", "pos_weight"):
                if not _is_even(getattr(value, weight, None)):
                    _warn(f"{name}={type(value).__name__}({weight}=...)", f"Leave {weight} out")
    for part in nested_parts(estimator).values():
        if hasattr(part, "sampling_strategy") and hasattr(part, "predict"):  # imbalanced-learn's ensembles
            kinds = [kind for kind in type(part).__mro__ if kind.__module__.startswith("sklearn.")]
            _warn(
                f"{type(part).__name__}(sampling_strategy={part.sampling_strategy!r})",
                f"Use {kinds[0].__name__}, which draws from all rows alike",
            )


def _is_even(value):
    if isinstance(value, str):
        return value == "None"
    if isinstance(value, dict):
        return len(set(value.values())) < 2
    if isinstance(value, list) and all(isinstance(column, dict) for column in value):
        return all(map(_is_even, value))  # a weight per class and label column
    if value is None or isinstance(value, (bool, np.bool_)):
        return not value
    values = np.ravel(on_host(value))
    return bool((values == (values[0] if np.ndim(value) else 1)).all())


def _warn(what, remedy):
    warn(
        f"The inner estimator has {what}, and the weights balance the classes already. Rare classes are corrected "
        f"twice. {remedy}."
    )
