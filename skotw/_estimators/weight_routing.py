"""How weights reach an estimator that somebody else wrote, or an ensemble or pipeline of such."""

from dataclasses import dataclass
from inspect import signature

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable, resample
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import BaseSearchCV, safe_indexing

# Parameters that hold the estimators of a meta-estimator.
_CHILDREN = ("estimator", "estimators", "final_estimator", "regressor", "classifier", "base_estimator")


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


def find_route(estimator):
    """Route of the sample weights into the part of an estimator that predicts; None where it takes none."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        route = find_route(last) if hasattr(last, "fit") else None
        return route if route is None or route.by_request else WeightRoute(f"{step}__{route.name}")
    if isinstance(estimator, BaseSearchCV):
        return find_route(estimator.estimator)
    takes = has_fit_parameter(estimator, "sample_weight")
    children = _children(estimator)
    routes = [find_route(child) for child in children]
    if None in routes:
        return None
    plain = all(route == WeightRoute("sample_weight") for route in routes)
    if plain and (takes or hasattr(estimator, "estimators")):
        return WeightRoute("sample_weight") if takes or children else None
    # Pipelines inside, or a fit(X, y, **fit_params) that takes nothing else with routing off
    return WeightRoute("sample_weight", by_request=True) if children else None


def _children(estimator):
    """Estimators that a meta-estimator fits."""
    children = []
    for name in _CHILDREN:
        value = getattr(estimator, name, None)
        children += [child for _, child in value] if isinstance(value, list) and name == "estimators" else [value]
    return [child for child in children if hasattr(child, "fit")]


def fit_weighted(estimator, X, y, sample_weight, route, params, random_state):
    """Fit a clone of ``estimator`` with weights: through ``route``, or on a weighted bootstrap where it is None."""
    estimator = clone(estimator)
    if route is None:
        rows = draw_rows(sample_weight, random_state)
        return estimator.fit(*take_rows(rows, X, y), **params)
    if route.by_request or (params and get_config()["enable_metadata_routing"]):
        with config_context(enable_metadata_routing=True):
            _request_weights(estimator)
            return estimator.fit(X, y, sample_weight=sample_weight, **params)
    # What is passed by name needs no requests, and with routing on a pipeline would not take it.
    with config_context(enable_metadata_routing=False):
        return estimator.fit(X, y, **{route.name: sample_weight}, **params)


def take_rows(rows, *containers):
    """The rows of containers of any kind."""
    return [safe_indexing(container, rows) for container in indexable(*containers)]


def draw_rows(sample_weight, random_state, n_samples=None):
    """Indices of a bootstrap in which each row is drawn with a probability that goes by its weight."""
    rows = np.arange(len(sample_weight))
    return resample(rows, n_samples=n_samples, random_state=random_state, sample_weight=sample_weight)


def _request_weights(estimator):
    """Have everything that predicts ask for the weights in fit; transformers and scores do without, as by name."""
    nested = estimator.get_params(deep=True).values()
    for part in [estimator, *nested]:
        if not isinstance(part, BaseEstimator):
            continue
        if has_fit_parameter(part, "sample_weight"):
            part.set_fit_request(sample_weight=hasattr(part, "predict"))
        if hasattr(part, "score") and "sample_weight" in signature(part.score).parameters:
            part.set_score_request(sample_weight=False)
        if getattr(part, "scoring", None) is not None:
            part.scoring = _without_weights(part.scoring)


def _without_weights(scoring):
    if isinstance(scoring, dict):
        return {name: _without_weights(score) for name, score in scoring.items()}
    if isinstance(scoring, (list, tuple, set)):
        return {name: _without_weights(name) for name in scoring}
    scorer = get_scorer(scoring)
    return scorer.set_score_request(sample_weight=False) if hasattr(scorer, "set_score_request") else scorer
