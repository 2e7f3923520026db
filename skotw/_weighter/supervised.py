"""``embedding="supervised"``: rows are where models of the labels, which have not seen them, place them.

Distances between raw columns say little about classes. Models are fitted to the training rows and the trusted rows
together, wrong labels and all, classes weighing the same; rows are then compared by the square roots of their class
probabilities, whose squared Euclidean distance is the squared Hellinger distance, and twice the cosine distance. The
probabilities of a row, a trusted one too, are those of models that have not seen it: out of bag, or out of fold. Else a
model that knows the labels by heart would vouch for the wrong ones.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import num_samples, safe_indexing
from skotw.meta._sampling import draw_per_class

from .containers import join_rows
from .embedding import seed_unset
from .row_keys import row_keys

__all__ = [
    "OutOfFold",
    "SupervisedEmbedding",
    "balanced",
    "choose_rows",
    "fit_learner",
    "learners_for",
    "predict_classes",
]

# Rows of both sets that models are fitted to: more make them hardly better, and cost as they go.
MAX_ROWS = 5000
_N_FOLDS = 5
_N_TREES = 40
# A row is out of the bag of so many of them, and as many are asked of rows that none has seen: more would take longer,
# and make what these rows are told less noisy than what the others are.
_N_ASKED = round(_N_TREES / np.e)
# Of fewer rows trees are grown faster by one thread.
_ROWS_FOR_THREADS = 2000


def learners_for(rows, learner, forest):
    """Unfitted classifiers whose mean is asked.

    Parameters
    ----------
    rows : {ndarray, CSR matrix, rows of any kind}
    learner : classifier or None
        The only one, where it is given.
    forest : classifier
        Trees that go with the linear model.
    """
    if learner is not None:
        return [clone(learner)]
    linear = LogisticRegression(max_iter=300, tol=1e-3)
    if sparse.issparse(rows):  # of texts mostly, on which trees are slow and no better
        return [linear]
    return [make_pipeline(StandardScaler(), linear), forest]


def fit_learner(learner, rows, codes, weight):
    """The classifier fitted, with weights where it takes them; a constant where there is one class."""
    if not np.any(codes != codes[0]):
        return DummyClassifier(strategy="prior").fit(np.zeros((len(codes), 1)), codes)
    name, last = "sample_weight", learner
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        name = f"{step}__{name}"
    weights = {name: weight} if has_fit_parameter(last, "sample_weight") else {}
    with warnings.catch_warnings(), config_context(enable_metadata_routing=False):
        # of no interest to who asks for weights: the linear model is but a view, and a row in all bags has no vote
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "Some inputs do not have OOB scores", UserWarning)
        warnings.filterwarnings("ignore", category=RuntimeWarning, message="invalid value encountered in")
        return learner.fit(rows, codes, **weights)


def predict_classes(model, rows, n_classes):
    """Probabilities of all classes, (n, n_classes)."""
    found = np.zeros((num_samples(rows), n_classes))
    found[:, model.classes_] = model.predict_proba(rows)
    return found


def balanced(codes, weight):
    """The weights, of the same sum in every class, and of mean 1."""
    mass = np.bincount(codes, weights=weight)
    share = weight / mass[codes]
    return share * (len(codes) / share.sum())


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Class probabilities of rows by models that have not seen them.

    Attributes
    ----------
    models : list of list of classifier
        For each learner those that rows which none has seen are asked of.
    keys : ndarray of shape (n_seen,)
        Of the rows that the models have seen, ascending.
    seen : ndarray of shape (n_seen, n_classes)
        Their probabilities.
    """

    models: list
    keys: np.ndarray
    seen: np.ndarray

    @classmethod
    def fit(cls, learner, rows, meta, codes, meta_codes, weight, meta_weight, n_threads, rng):
        """Of models fitted to both sets.

        Parameters
        ----------
        learner : classifier or None
        rows, meta : {ndarray, CSR matrix, rows of any kind that ``learner`` takes}
        codes, meta_codes : ndarray of shape (n,), of shape (M,)
        weight, meta_weight : ndarray of shape (n,), of shape (M,)
        n_threads : int
        rng : RandomState
        """
        n_meta = min(len(meta_codes), max(MAX_ROWS // 2, MAX_ROWS - len(codes)))
        chosen, trusted = (
            choose_rows(labels, room, rng) for labels, room in ((codes, MAX_ROWS - n_meta), (meta_codes, n_meta))
        )
        both = join_rows(safe_indexing(rows, chosen), safe_indexing(meta, trusted))
        labels = np.concatenate([codes[chosen], meta_codes[trusted]])
        # a trusted row counts as one of mean weight in its class, whatever its class counts in all
        n_classes = int(meta_codes.max()) + 1
        mean = np.bincount(meta_codes, meta_weight, n_classes) / np.maximum(np.bincount(meta_codes), 1)
        weights = np.concatenate([weight[chosen], meta_weight[trusted] / mean[meta_codes[trusted]]])
        weights = balanced(labels, weights)
        keys, first, place = np.unique(row_keys(both), return_index=True, return_inverse=True)
        strata = 2 * labels + (np.arange(len(labels)) >= len(chosen))
        folds = np.empty(len(keys), dtype=np.intp)  # rows that repeat each other share one
        in_order = np.argsort(first)  # not by their keys, which rounding changes
        folds[in_order] = _deal_folds(strata[first[in_order]], rng)
        folds = folds[place]
        models, total = [], np.zeros((len(labels), n_classes))
        # trees split at random are as good as searched ones at a third of the cost
        n_jobs = n_threads if len(labels) >= _ROWS_FOR_THREADS else 1
        forest = ExtraTreesClassifier(_N_TREES, min_samples_leaf=3, bootstrap=True, n_jobs=n_jobs)
        for unfitted in learners_for(both, learner, forest):
            seed_unset(unfitted, rng)
            of_bag = hasattr(unfitted, "oob_score") and getattr(unfitted, "bootstrap", True)
            ask = _out_of_bag if of_bag else _out_of_fold
            fitted, proba = ask(unfitted, both, labels, weights, folds, n_classes)
            if fitted[0] is forest:
                del forest.estimators_[_N_ASKED:]
                forest.n_jobs = 1  # threads ask it of blocks of rows
            models.append(fitted)
            total += proba
        mean = np.stack([np.bincount(place, of_class) for of_class in total.T], axis=1)
        return cls(models, keys, mean / (np.bincount(place)[:, None] * len(models)))

    def probabilities(self, rows):
        """Class probabilities (n, n_classes) of any rows: those that the models have seen get what others say."""
        keys = row_keys(rows)
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        known = self.keys[place] == keys
        out = self.seen[place]
        if not known.all():
            new = np.flatnonzero(~known)
            asked = rows if len(new) == len(keys) else safe_indexing(rows, new)
            out[new] = np.mean(
                [
                    np.mean([predict_classes(model, asked, out.shape[1]) for model in models], axis=0)
                    for models in self.models
                ],
                axis=0,
            )
        return out


def choose_rows(codes, room, rng):
    """Indices of as many rows, in order: all of rare classes, and of the others the same number each."""
    if len(codes) <= room:
        return np.arange(len(codes))
    counts = np.bincount(codes)
    level, left = 0, room
    for rank, count in enumerate(np.sort(counts)):
        level = left // (len(counts) - rank)
        if count > level:
            break
        left -= count
    return np.sort(draw_per_class(codes, np.minimum(counts, max(level, 1)), rng))


def _deal_folds(strata, rng):
    """Fold of every row, at random and evenly within each stratum."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), dtype=np.intp)
    folds[order] = np.arange(len(strata)) % _N_FOLDS
    return folds


def _out_of_bag(learner, rows, codes, weight, folds, n_classes):
    learner.set_params(oob_score=learner.oob_score or True)
    model = fit_learner(learner, rows, codes, weight)
    proba = np.full((len(codes), n_classes), 1.0 / n_classes)  # where no tree has a vote
    voted = np.isfinite(model.oob_decision_function_).all(axis=1) & (model.oob_decision_function_.sum(axis=1) > 0)
    proba[voted] = 0.0
    proba[np.ix_(voted, model.classes_)] = model.oob_decision_function_[voted]
    return [model], proba


def _out_of_fold(learner, rows, codes, weight, folds, n_classes):
    models, proba = [], np.zeros((len(codes), n_classes))
    for fold in np.unique(folds):
        fitted, asked = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = fitted if len(fitted) else asked  # all rows repeat each other: no model tells them apart
        model = fit_learner(clone(learner), safe_indexing(rows, fitted), codes[fitted], weight[fitted])
        proba[asked] = predict_classes(model, safe_indexing(rows, asked), n_classes)
        models.append(model)
    return models, proba


class SupervisedEmbedding(BaseEstimator):
    """Square roots of class probabilities, of rows as they come."""

    @classmethod
    def of(cls, base, models):
        """Fitted by whoever has the models, and the embedding of ``base`` (None: none) whose rows they take."""
        embedding = cls()
        embedding.base_, embedding.models_ = base, models
        return embedding

    def fit(self, X, y=None):
        raise TypeError(
            "A supervised embedding is fitted with the trusted rows, by OTSampleWeighter(embedding='supervised'). To "
            "use this one as it is, put it into sklearn.frozen.FrozenEstimator."
        )

    def transform(self, X):
        """Rows as distances are measured between them, (n, n_classes)."""
        return self.roots(X if self.base_ is None else self.base_.transform(X))

    def roots(self, rows):
        """The same, of rows that ``base`` has embedded."""
        return np.sqrt(self.models_.probabilities(rows))
