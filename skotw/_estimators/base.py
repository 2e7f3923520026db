"""What all estimators share that learn weights first: both sets, the weights, the fit of the inner estimator."""

import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from inspect import Parameter, signature
from numbers import Real
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils import check_random_state, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import HasMethods, Interval, StrOptions, fit_context, slice_params
from skotw._validation import Method, label_columns, named, on_host, set_all_or_none, unchanged_on_error, warn
from skotw._weighter.containers import join_rows
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.frames import note_of_text_columns
from skotw._weighter.input import Given, check_trusted_once
from skotw._weighter.labels import target_kind
from skotw._weighter.report import ShowsReport
from skotw._weighter.verified import Verified

from .balanced_twice import warn_balanced_twice
from .both_sets import check_classes, check_handed_on, join_labels, unwrap, with_verified
from .meta_weight import joint_weights
from .weight_routing import (
    WeightRoute,
    find_route,
    find_samplers,
    fit_weighted,
    nested_parts,
    take_rows,
    with_defaults,
)

_ENCODE = (
    "Give columns the category dtype if {inner} takes categories. Or put a pipeline inside that encodes them: "
    "{own}(make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown='ignore'), columns), "
    "remainder='passthrough'), ...))."
)
_BY_KEYWORD = "Pass the trusted rows by keyword: {0}(X, y, X_meta=X_meta, y_meta=y_meta) or {0}(X, y, y_verified=...)."
# Features are told to be copies of each other by this many rows at first, if those hold more values than this.
_LEAST_ROWS = 100
_MOST_VALUES_BY_CHANCE = 10
_MEANT_FOR_THE_META_SET = re.compile("meta(?!data)|trust|clean|verif|review", re.IGNORECASE)


def learns_weights(method: Method) -> Method:
    """Decorate a fit that takes trusted rows: they are told from misspelt arguments, and an error changes nothing."""
    parameters = signature(method).parameters
    n_positional = sum(parameter.kind is Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters.values())
    by_keyword = _BY_KEYWORD.format(method.__name__)

    @fit_context(prefer_skip_nested_validation=False)
    @wraps(method)
    def fit(self, *args, **kwargs):
        if len(args) >= n_positional:
            taken = " and ".join(", ".join([*parameters][1:n_positional]).rsplit(", ", 1))
            raise TypeError(f"{type(self).__name__}.{method.__name__} takes {taken} by position. {by_keyword}")
        for name in kwargs.keys() - parameters.keys():
            if _MEANT_FOR_THE_META_SET.search(name) and "__" not in name and not self._hands_on(name):
                raise TypeError(f"{type(self).__name__}.{method.__name__} knows no {name!r}. {by_keyword}")
        with unchanged_on_error(self):
            return method(self, *args, **kwargs)

    return fit


@dataclass(frozen=True, eq=False)
class Sets:
    """Both sets as they came, and what is to be trained on; with ``include_meta`` the meta rows come last.

    Reviewed rows stay where they are in X, with their right label in ``given`` as well; ``rows`` are the indices of the
    rows of X that are trained on, where those are not all.
    """

    given: Given
    X_train: object
    y_train: object
    verified: Verified | None = None
    rows: np.ndarray | None = None


class WeighsFirst(ShowsReport, BaseEstimator):
    """Base of estimators that learn the weights of a training set and of the meta rows that join it."""

    _parameter_constraints = {
        "weighter": [OTSampleWeighter, None],
        "include_meta": ["boolean"],
        "meta_weight": [StrOptions({"auto", "balanced"}), Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }

    def set_params(self, **params: Any) -> Self:
        """Set parameters of this estimator, or what is nested in it, as ``weighter__reg``; an error sets none of them.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : estimator instance
            The estimator itself.
        """
        return set_all_or_none(self, params, self._stands_for)

    @property
    def _stands_for(self):
        """Parameters that hold an estimator, and what None stands for, as it is written in Python."""
        return {"weighter": "OTSampleWeighter(embedding='supervised', prior='confidence')"}

    def _hands_on(self, name):
        """Whether an argument of fit is one of the inner estimator's."""
        return False

    def _new_weighter(self, y_trusted, random_state):
        """Unfitted weighter for these trusted labels, or None."""
        weighter = self._default_weighter(y_trusted, random_state) if self.weighter is None else clone(self.weighter)
        if weighter.metric == "precomputed":
            raise ValueError(
                "metric='precomputed' leaves no features to fit to. Use another metric, or use OTSampleWeighter by "
                "itself."
            )
        return weighter

    def _default_weighter(self, y_trusted, random_state):
        """What ``weighter=None`` stands for: models of the labels take part where there are classes to be trusted."""
        if y_trusted is None or target_kind(y_trusted, "auto", "y_meta") != "classes":
            return OTSampleWeighter()
        seed = None if self.random_state is None else int(random_state.randint(np.iinfo(np.int32).max))
        return OTSampleWeighter(embedding="supervised", prior="confidence", random_state=seed)

    def _fit_weighter(self, given, random_state):
        """Fit ``weighter_`` to both sets."""
        wrapped = isinstance(given.X_meta, tuple)
        given = replace(given, X_meta=unwrap(given.X_meta), y_meta=unwrap(given.y_meta))
        X, y, X_meta, y_meta = given.X, given.y, given.X_meta, given.y_meta
        verified, trusted = None, {}
        if given.y_verified is not None:
            check_trusted_once(given)
            verified, trusted = Verified.of(given), {"y_verified": given.y_verified}
            y = with_verified(y, verified)
            if is_classifier(self):
                check_classes(y)
            given = replace(given, y=y)
        if X_meta is not None and y_meta is not None:
            _refuse_other_columns(y, y_meta)
            check_handed_on(given, wrapped=wrapped)
        with warnings.catch_warnings():
            # said below, with what becomes of these rows here
            warnings.filterwarnings("ignore", "The trusted rows have classes without training rows", UserWarning)
            weighter = self._new_weighter(y_meta if verified is None else verified.labels, random_state)
            self.weighter_ = weighter.fit(X, y, X_meta, y_meta, sample_weight=given.sample_weight, **trusted)
        self.weighter_._forget_rows()
        if X_meta is not None or verified is not None:
            _warn_lost(self.weighter_, self.include_meta, "y_meta" if verified is None else "y_verified")
        if verified is not None:
            if self.include_meta:
                return Sets(given, X, y, verified)
            return Sets(given, *take_rows(verified.others, X, y), verified, verified.others)
        if X_meta is not None:
            _warn_drawn_features(X, X_meta)
            if self.include_meta:
                return Sets(given, join_rows(X, X_meta), join_labels(y, y_meta))
        return Sets(given, X, y)

    def _set_weights(self, sets, transported):
        """Set the weights of both sets from what the transport says; return those of the rows to train on."""
        transported = np.asarray(on_host(transported), dtype=np.float64)  # of tensors they are one
        self.sample_weight_ = transported
        self.sample_weight_meta_ = np.empty(0)
        verified = sets.verified
        if (sets.given.X_meta is not None or verified is not None) and self.include_meta:
            train, meta = joint_weights(self.weighter_, transported, sets.given, self.meta_weight, verified)
            if verified is None:
                self.sample_weight_meta_ = meta
            else:
                train[verified.rows] = meta
            self.sample_weight_ = train
        if sets.rows is not None:
            return self.sample_weight_[sets.rows]
        return np.concatenate([self.sample_weight_, self.sample_weight_meta_])

    def _set_feature_attributes(self, *sources):
        """Take number and names of features from the first of ``sources`` that has them."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            known = [source for source in sources if hasattr(source, name)]
            if known:
                setattr(self, name, getattr(known[0], name))


# Under this name it appears in Python's own messages.
WeighsFirst.set_params.__qualname__ = "set_params"


class BaseOTWeighted(MetaEstimatorMixin, WeighsFirst):
    """Base of estimators that fit another one with the weights."""

    __metadata_request__fit = {"X_meta": True, "y_meta": True, "y_verified": True}

    _parameter_constraints = {
        "estimator": [HasMethods(["fit"]), None],
        **WeighsFirst._parameter_constraints,
        "on_unweighted": [StrOptions({"raise", "bootstrap"})],
        "sample_weight_name": [str],
    }

    def _get_estimator(self):
        return self._default_estimator() if self.estimator is None else with_defaults(self.estimator)

    @property
    def _stands_for(self):
        return {**super()._stands_for, "estimator": f"{self._default_estimator.__name__}()"}

    def _hands_on(self, name):
        return any(has_fit_parameter(part, name) for part in nested_parts(self._get_estimator()).values())

    def _fit_all(self, given, fit_params):
        """Learn the weights and fit ``estimator_`` with them."""
        check_arguments(self, given)
        estimator = self._get_estimator()
        if not hasattr(estimator, "predict"):
            raise ValueError(
                f"The 'estimator' parameter of {type(self).__name__} must be an object implementing 'fit' and "
                f"'predict' or None. Got {estimator!r} instead."
            )
        route = self._find_route(estimator)
        warn_balanced_twice(estimator)
        if fit_params and get_config()["enable_metadata_routing"]:
            fit_params = process_routing(self, "fit", **fit_params).estimator.fit
        random_state = check_random_state(self.random_state)

        def fit(X, y, weight, params):
            return fit_weighted(estimator, X, y, weight, route, params, random_state)

        sets = self._fit_weighter(given, random_state)
        if sets.rows is not None:
            fit_params = slice_params(given.X, fit_params, sets.rows)
        weight = self._weigh(sets)
        remedy = _ENCODE.format(own=type(self).__name__, inner=type(estimator).__name__)
        with note_of_text_columns(given.X, type(estimator).__name__, remedy):
            self.estimator_ = fit(sets.X_train, sets.y_train, weight, fit_params)
        self._set_feature_attributes(self.estimator_, self.weighter_)
        return self

    def _weigh(self, sets):
        """Weights of the rows to train on."""
        return self._set_weights(sets, self.weighter_.sample_weight_)

    def _find_route(self, estimator):
        route = find_route(estimator) if self.sample_weight_name == "auto" else WeightRoute(self.sample_weight_name)
        samplers = find_samplers(estimator)
        if samplers and route is not None:
            if self.on_unweighted == "raise" or self.sample_weight_name != "auto":
                own = type(self).__name__
                raise ValueError(
                    f"{named(samplers)} inside {type(estimator).__name__} changes which rows are fitted, so that "
                    "weights would fall on other rows. Put it outside: "
                    f"imblearn.pipeline.make_pipeline({samplers[0]}(...), {own}(...)). Or put OTResampler in its place "
                    f"there, without {own}. Or pass on_unweighted='bootstrap', which draws rows by weight before it "
                    "sees them."
                )
            return None
        if route is None and self.on_unweighted == "raise":
            raise ValueError(
                f"{type(estimator).__name__} takes no sample_weight, or something inside it takes none. Choose an "
                "estimator that does. Or pass on_unweighted='bootstrap', which draws rows by weight. If it takes "
                "weights under another name, pass sample_weight_name=."
            )
        return route

    def get_metadata_routing(self) -> Any:
        """Say which metadata goes where.

        Returns
        -------
        routing : MetadataRouter
            ``X_meta``, ``y_meta``, ``y_verified`` and ``sample_weight`` stay here; all else goes to the inner
            estimator's ``fit``.
        """
        to_estimator = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        with suppress(NotImplementedError):  # some, such as AdaBoost, take no part in routing: nothing goes to them
            router.add(estimator=self._get_estimator(), method_mapping=to_estimator)
        return router

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


def check_arguments(estimator, given):
    """Refuse a missing y, and rows in the place of weights."""
    if given.y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. For weights from the "
            "features alone use OTSampleWeighter."
        )
    if given.sample_weight is not None and _look_like_rows(given.sample_weight):
        raise ValueError(
            "sample_weight has two dimensions, or holds no numbers. If these are the trusted rows: "
            + _BY_KEYWORD.format("fit")
        )


def _look_like_rows(values):
    """Whether what came as weights are rows of any kind, such as documents."""
    if len(getattr(values, "shape", ())) > 1 or sparse.issparse(values):
        return True
    first = next(iter(values), 0.0) if np.iterable(values) else 0.0
    return isinstance(first, (str, bytes, dict)) or np.ndim(first) > 0


def _refuse_other_columns(y, y_meta):
    """Meta-estimators that fit one model per label column hand on one column of y, and all of the meta set."""
    n_columns = [label_columns(labels) or 1 for labels in (y, y_meta)]
    if n_columns[0] != n_columns[1]:
        raise ValueError(
            f"y_meta has {n_columns[1]} label column(s) and y has {n_columns[0]}. If a meta-estimator around this one "
            "takes the columns of y apart, as MultiOutputClassifier and the chains do, put it inside."
        )


def _warn_drawn_features(X, X_meta):
    """Warn where features of X repeat each other and those of X_meta do not: a draw that X_meta had no part in.

    Features of few values can be alike by chance.
    """
    if not all(isinstance(rows, np.ndarray) and rows.dtype.kind in "iuf" and rows.ndim == 2 for rows in (X, X_meta)):
        return
    first = {}
    for j, start in enumerate(X[:_LEAST_ROWS].T):
        same = first.setdefault(start.tobytes(), j)
        if same == j or len(np.unique(start)) <= _MOST_VALUES_BY_CHANCE:
            continue
        alike = [np.array_equal(rows[:, same], rows[:, j], equal_nan=True) for rows in (X, X_meta)]
        if alike == [True, False]:
            warn(
                "X has features that are copies of each other, and in X_meta these differ. It looks as if the "
                "features of X had been drawn with replacement and those of X_meta had not. BaggingClassifier and "
                "BaggingRegressor do so with bootstrap_features=True. Put them inside, or leave it False."
            )
            return


def _warn_lost(weighter, include_meta, trusted):
    """Warn of meta classes without training rows."""
    model = weighter._model
    names = model.target.group_names()
    lost = [name for group, name in enumerate(names) if group not in model.groups]
    if lost:
        fate = "They join training none the less" if include_meta else "They are not trained on"
        warn(
            f"{trusted} has labels that y lacks: {named(lost)}. Their rows take no part in the transport. {fate}. If a "
            "fold of a cross-validation lost these labels, stratify it. If y spells them otherwise, correct "
            f"{trusted}.",
        )
