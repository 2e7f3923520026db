"""The only private scikit-learn names that skotw uses, one line of reason each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

# Every metric that pairwise_distances takes (the public list names only half of them), and those of
# them that want boolean features.
from sklearn.metrics.pairwise import _VALID_METRICS as PAIRWISE_METRICS
from sklearn.metrics.pairwise import PAIRWISE_BOOLEAN_FUNCTIONS as BOOLEAN_METRICS

# What all searches have in common: they hand fit parameters on to their estimator.
from sklearn.model_selection._search import BaseSearchCV

# The row selection behind train_test_split: arrays, sparse matrices, frames and lists alike. The
# public helpers (resample, train_test_split) choose the rows themselves and take no indices.
from sklearn.utils import _safe_indexing as safe_indexing

# The library of X under array API dispatch, NumPy otherwise.
from sklearn.utils._array_api import get_namespace
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_parameter_constraints

# Slices those fit parameters that have a value per row, as cross_val_predict does.
from sklearn.utils.validation import _check_method_params as slice_params
from sklearn.utils.validation import _num_samples as num_samples

# scikit-learn has no types, and a method loses its own to a decorator without.
if TYPE_CHECKING:
    Method = TypeVar("Method", bound=Callable[..., Any])

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]: ...

    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...

else:
    # The decorator that checks `_parameter_constraints` before fit, in the words above.
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils.metaestimators import available_if

__all__ = [
    "BOOLEAN_METRICS",
    "PAIRWISE_METRICS",
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "StrOptions",
    "available_if",
    "fit_context",
    "get_namespace",
    "num_samples",
    "safe_indexing",
    "slice_params",
    "validate_parameter_constraints",
]
