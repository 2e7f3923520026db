"""What all estimators share that learn weights first: both sets, the weights, the fit of the inner estimator."""

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted

from skotw._compat import HasMethods, Interval, StrOptions
from skotw._validation import named, warn
from skotw._weighter.estimator import OTSampleWeighter

from .both_sets import check_handed_on, join_labels, join_rows, unwrap
from .meta_weight import joint_weights
from .weight_routing import WeightRoute, find_route, fit_weighted


@dataclass(eq=False)
class Sets:
    """Both sets as they came, and what is to be trained on; with ``include_meta`` the meta rows come last."""

    X: object
    y: object
    sample_weight: object
    X_meta: object
    y_meta: object
    X_train: object
    y_train: object


class WeighsFirst(BaseEstimator):
    """Base of estimators that learn the weights of a training set and of the meta rows that join it."""

    _parameter_constraints = {
        "weighter": [OTSampleWeighter, None],
        "include_meta": ["boolean"],
        "meta_weight": [StrOptions({"auto", "balanced"}), Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }

    def _new_weighter(self):
        """Unfitted weighter."""
        weighter = OTSampleWeighter() if self.weighter is None else clone(self.weighter)
        if weighter.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' leaves no features to fit to. Use another metric, or OTSampleWeighter by itself."
            )
        return weighter

    def _fit_weighter(self, X, y, sample_weight, X_meta, y_meta):
        """Fit ``weighter_`` to both sets."""
        _check_arguments(self, y, sample_weight)
        wrapped, X_meta, y_meta = isinstance(X_meta, tuple), unwrap(X_meta), unwrap(y_meta)
        if X_meta is not None and y_meta is not None:
            check_handed_on(X, y, X_meta, y_meta, wrapped=wrapped)
        with warnings.catch_warnings():
            # said below, with what becomes of these rows here
            warnings.filterwarnings("ignore", "The meta set has classes without training rows", UserWarning)
            self.weighter_ = self._new_weighter().fit(X, y, X_meta, y_meta, sample_weight=sample_weight)
        sets = Sets(X, y, sample_weight, X_meta, y_meta, X, y)
        if X_meta is not None:
            _warn_lost(self.weighter_, self.include_meta)
            if self.include_meta:
                sets.X_train, sets.y_train = join_rows(X, X_meta), join_labels(y, y_meta)
        return sets

    def _set_weights(self, sets, transported):
        """Set the weights of both sets from what the transport says; return those of the rows to train on."""
        self.sample_weight_ = np.asarray(transported, dtype=np.float64)
        self.sample_weight_meta_ = np.empty(0)
        if sets.X_meta is not None and self.include_meta:
            self.sample_weight_, self.sample_weight_meta_ = joint_weights(
                self.weighter_, transported, sets.y, sets.sample_weight, self.meta_weight
            )
        return np.concatenate([self.sample_weight_, self.sample_weight_meta_])

    def _set_feature_attributes(self, *sources):
        """Take number and names of features from the first of ``sources`` that has them."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            known = [source for source in sources if hasattr(source, name)]
            if known:
                setattr(self, name, getattr(known[0], name))


class BaseOTWeighted(MetaEstimatorMixin, WeighsFirst):
    """Base of estimators that fit another one with the weights."""

    __metadata_request__fit = {"X_meta": True, "y_meta": True}

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        **WeighsFirst._parameter_constraints,
        "on_unweighted": [StrOptions({"raise", "bootstrap"})],
        "sample_weight_name": [str],
    }

    def _get_estimator(self):
        return self._default_estimator() if self.estimator is None else self.estimator

    def _fit_all(self, X, y, sample_weight, X_meta, y_meta, fit_params):
        """Learn the weights and fit ``estimator_`` with them."""
        estimator = self._get_estimator()
        route = self._find_route(estimator)
        _warn_balanced_twice(estimator)
        if fit_params and get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        random_state = check_random_state(self.random_state)

        def fit(X, y, weight, params):
            return fit_weighted(estimator, X, y, weight, route, params, random_state)

        sets = self._fit_weighter(X, y, sample_weight, X_meta, y_meta)
        weight = self._weigh(sets, fit, fit_params, random_state)
        self.estimator_ = fit(sets.X_train, sets.y_train, weight, fit_params)
        self._set_feature_attributes(self.estimator_, self.weighter_)
        return self

    def _weigh(self, sets, fit, fit_params, random_state):
        """Weights of the rows to train on."""
        return self._set_weights(sets, self.weighter_.sample_weight_)

    def _find_route(self, estimator):
        if self.sample_weight_name != "auto":
            return WeightRoute(self.sample_weight_name)
        route = find_route(estimator)
        if route is None and self.on_unweighted == "raise":
            raise ValueError(
                f"{type(estimator).__name__} takes no sample_weight, or something inside it takes none. Choose an "
                "estimator that does, pass on_unweighted='bootstrap' to draw rows by weight, or sample_weight_name= "
                "if it takes weights under another name."
            )
        return route

    def predict(self, X):
        """Predict with the fitted inner estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predictions of ``estimator_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    def get_metadata_routing(self):
        """Say which metadata goes where.

        Returns
        -------
        routing : MetadataRouter
            ``X_meta``, ``y_meta`` and ``sample_weight`` stay here; all else goes to the inner estimator's ``fit``.
        """
        to_estimator = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(estimator=self._get_estimator(), method_mapping=to_estimator)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._get_estimator())
        weighter = get_tags(OTSampleWeighter() if self.weighter is None else self.weighter)
        tags.input_tags.sparse = inner.input_tags.sparse
        tags.input_tags.allow_nan = inner.input_tags.allow_nan and weighter.input_tags.allow_nan
        tags.target_tags.required = True
        return tags


def inner_has(name):
    """Check for ``available_if``: the inner estimator has the method."""

    def check(self):
        getattr(self.estimator_ if hasattr(self, "estimator_") else self._get_estimator(), name)
        return True

    return check


def _check_arguments(estimator, y, sample_weight):
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. For weights from the "
            "features alone use OTSampleWeighter."
        )
    if sample_weight is not None and np.asarray(sample_weight).ndim > 1:
        raise ValueError(
            "sample_weight has two dimensions. If these are the trusted rows, pass them by keyword: "
            "fit(X, y, X_meta=X_meta, y_meta=y_meta)."
        )


def _warn_lost(weighter, include_meta):
    """Warn of meta classes without training rows."""
    model = weighter._model
    names = model.target.group_names()
    lost = [name for group, name in enumerate(names) if group not in model.groups]
    if lost:
        fate = "They join training none the less" if include_meta else "They are not trained on"
        warn(
            f"y_meta has labels that y lacks: {named(lost)}. Their rows take no part in the transport. {fate}. If a "
            "fold of a cross-validation lost these labels, stratify it; if y spells them otherwise, correct y_meta.",
        )


def _warn_balanced_twice(estimator):
    for name, value in estimator.get_params(deep=True).items():
        balanced = isinstance(value, str) and value.startswith("balanced")
        if name.rpartition("__")[2] == "class_weight" and balanced:
            warn(
                f"The inner estimator has {name}={value!r}, and the weights balance the classes already: rare "
                f"classes are corrected twice. Set {name}=None.",
            )
