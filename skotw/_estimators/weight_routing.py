"""How weights reach an estimator that somebody else wrote, or an ensemble or pipeline of such."""

from dataclasses import dataclass
from inspect import Parameter, signature

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.feature_selection import RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable, resample
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import BaseSearchCV, safe_indexing
from skotw._validation import named
from skotw._weighter.frames import column_kinds, is_frame

# Parameters that hold the estimators of a meta-estimator.
_CHILDREN = ("estimator", "estimators", "final_estimator", "regressor", "classifier", "base_estimator")
# What None stands for in meta-estimators that make it in fit, so that it can be asked nothing before.
_DEFAULTS = (
    (StackingClassifier, "final_estimator", LogisticRegression),
    (StackingRegressor, "final_estimator", RidgeCV),
    (TransformedTargetRegressor, "regressor", LinearRegression),
)
# Those that score with a scorer of their own where none is given, which then cannot be asked to do without weights.
_OWN_SCORER = (LogisticRegressionCV, RFECV)


@dataclass(frozen=True)
class WeightRoute:
    """Where an estimator takes sample weights.

    Attributes
    ----------
    name : str
        Keyword of ``fit``.
    by_request : bool
        Only with metadata routing on, and where everything inside asks for them.
    """

    name: str
    by_request: bool = False


def nested_params(estimator):
    """All parameters of an estimator and of what is nested in it, by name; none where it does not say."""
    says = hasattr(estimator, "get_params") and not isinstance(estimator, type)
    return estimator.get_params(deep=True) if says else {}


def nested_parts(estimator):
    """The estimator, then everything nested in it that can be fitted, by parameter name ("" for itself)."""
    parts = {name: value for name, value in nested_params(estimator).items() if hasattr(value, "fit")}
    return {"": estimator, **{name: part for name, part in parts.items() if not isinstance(part, type)}}


def with_defaults(estimator):
    """The estimator, or a clone of it in which the parts that None stands for are spelled out."""
    if not any(_defaults_missing(part) for part in nested_parts(estimator).values()):
        return estimator
    estimator = clone(estimator)
    for part in nested_parts(estimator).values():
        for name, default in _defaults_missing(part).items():
            setattr(part, name, default())
    return estimator


def find_route(estimator):
    """Route of the sample weights into the part of an estimator that predicts; None where it takes none."""
    if isinstance(estimator, FrozenEstimator):
        return None
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        route = find_route(last) if hasattr(last, "fit") else None
        return route if route is None or route.by_request else WeightRoute(f"{step}__{route.name}")
    if isinstance(estimator, BaseSearchCV):
        return find_route(estimator.estimator)
    takes = has_fit_parameter(estimator, "sample_weight")
    children = _children(estimator)
    # What is frozen is not fitted: weights pass it by
    routes = [find_route(child) for child in children if not isinstance(child, FrozenEstimator)]
    if None in routes or not (takes or routes):
        return None
    plain = len(routes) == len(children) and all(route == WeightRoute("sample_weight") for route in routes)
    if plain and (takes or hasattr(estimator, "estimators")):
        return WeightRoute("sample_weight")
    # Pipelines inside, or a fit(X, y, **fit_params) that takes nothing else with routing off
    return WeightRoute("sample_weight", by_request=True) if _hands_on_requests(estimator) else None


def find_samplers(estimator):
    """Names of the steps that draw or make rows between the weights and what they are meant for."""
    return [
        type(step).__name__
        for part in nested_parts(estimator).values()
        if isinstance(part, Pipeline)
        for _, step in part.steps
        if hasattr(step, "fit_resample")
    ]


def _children(estimator):
    """Estimators that a meta-estimator fits."""
    children = []
    for name in _CHILDREN:
        value = getattr(estimator, name, None)
        children += [child for _, child in value] if isinstance(value, list) and name == "estimators" else [value]
    return [child for child in children if hasattr(child, "fit")]


def _hands_on_requests(estimator):
    """Whether weights reach by request whatever predicts inside; not all libraries take part in metadata routing."""
    arguments = signature(estimator.fit).parameters.values()
    if not any(argument.name == "sample_weight" or argument.kind is Parameter.VAR_KEYWORD for argument in arguments):
        return False
    try:
        with config_context(enable_metadata_routing=True):  # else RidgeCV asks itself without end
            estimator.get_metadata_routing()
    except (AttributeError, NotImplementedError):
        return False
    parts = [part for part in nested_parts(estimator).values() if part is not estimator]
    return all(hasattr(part, "set_fit_request") for part in parts if has_fit_parameter(part, "sample_weight"))


def _defaults_missing(part):
    """What a meta-estimator would make in fit, by the name of the parameter that is None."""
    return {name: make for kind, name, make in _DEFAULTS if isinstance(part, kind) and getattr(part, name) is None}


def fit_weighted(estimator, X, y, sample_weight, route, params, random_state):
    """Fit a clone of ``estimator`` with weights: through ``route``, or on a weighted bootstrap where it is None."""
    try:
        return _fit_weighted(clone(estimator), X, y, sample_weight, route, params, random_state)
    except (TypeError, ValueError) as error:
        words = _columns_of_words(X)
        if words:
            error.add_note(
                f"This was the fit of {type(estimator).__name__}, which gets the rows as they came, and the weights "
                f"had been learned. Of its columns {named(words)} hold words. Encode these in a pipeline inside, or "
                "drop them. HistGradientBoostingClassifier reads them as dtype 'category'."
            )
        raise


def _columns_of_words(X):
    """Names of the columns of a data frame that hold words, or categories."""
    try:
        return [name for name, kind in column_kinds(X).items() if kind == "category"] if is_frame(X) else []
    except ValueError:  # dates, which the weighter's embedding may take
        return []


def _fit_weighted(estimator, X, y, sample_weight, route, params, random_state):
    with_requests = bool(params) and get_config()["enable_metadata_routing"]
    if route is None:
        rows = draw_rows(sample_weight, random_state)
        # Not all that takes no weights works with routing on.
        with config_context(enable_metadata_routing=with_requests):
            return estimator.fit(*take_rows(rows, X, y), **params)
    if route.by_request or with_requests:
        with config_context(enable_metadata_routing=True):
            _request_weights(estimator)
            return estimator.fit(X, y, sample_weight=sample_weight, **params)
    # What is passed by name needs no requests, and with routing on a pipeline would not take it.
    with config_context(enable_metadata_routing=False):
        return estimator.fit(X, y, **{route.name: sample_weight}, **params)


def take_rows(rows, *containers):
    """The rows of containers of any kind."""
    return [safe_indexing(container, rows) for container in indexable(*containers)]


def draw_rows(sample_weight, random_state):
    """Indices of a bootstrap in which each row is drawn with a probability that goes by its weight."""
    rows = np.arange(len(sample_weight))
    return resample(rows, random_state=random_state, sample_weight=sample_weight)


def _request_weights(estimator):
    """Have everything that predicts ask for the weights in fit; transformers and scores do without, as by name."""
    for part in nested_parts(estimator).values():
        if not isinstance(part, BaseEstimator):
            continue
        if has_fit_parameter(part, "sample_weight"):
            part.set_fit_request(sample_weight=hasattr(part, "predict"))
        if hasattr(part, "set_score_request") and "sample_weight" in signature(part.set_score_request).parameters:
            part.set_score_request(sample_weight=False)
        if isinstance(part, _OWN_SCORER) and (part.scoring is None or part.scoring == "warn"):
            part.scoring = "accuracy" if is_classifier(part) else "r2"
        if getattr(part, "scoring", None) is not None:
            part.scoring = _without_weights(part.scoring)


def _without_weights(scoring):
    if isinstance(scoring, dict):
        return {name: _without_weights(score) for name, score in scoring.items()}
    if isinstance(scoring, (list, tuple, set)):
        return {name: _without_weights(name) for name in scoring}
    scorer = get_scorer(scoring)
    return scorer.set_score_request(sample_weight=False) if hasattr(scorer, "set_score_request") else scorer
