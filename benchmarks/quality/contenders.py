"""Uses of trusted rows for any classifier: each is given a task, and says what a model is to be fitted to.

A contender is a function of a :class:`~.task.Task` that returns a ``Plan``. All get the same trusted rows. What several
need, such as out-of-fold probabilities, the task computes once.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import numpy as np
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw._weighter.neighbour_value import NeighbourValue

from .task import fit_weighted

__all__ = ["ABLATION", "CHEAP", "CONTENDERS", "MAIN", "NETWORK_ABLATION", "OURS", "Plan", "class_shares"]

MOST_KERNEL_ROWS = 4000  # kernel mean matching holds a matrix of rows x rows


@dataclass(frozen=True, eq=False)
class Plan:
    """What a model is fitted to.

    Attributes
    ----------
    X, y : ndarray
        Rows and labels.
    weight : ndarray of shape (n_rows,) or None
        None is no weights, which differs from ones in how some models round.
    train_weight : ndarray of shape (n_samples,) or None
        Weights of the training rows, where these are what the contender is about.
    wrap : callable or None
        Makes of the model what is fitted.
    notes : dict
        Further measures of the contender.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None
    train_weight: np.ndarray | None = None
    wrap: Callable | None = None
    notes: dict | None = None

    def fit(self, model):
        model = clone(model)
        return fit_weighted(model if self.wrap is None else self.wrap(model), self.X, self.y, self.weight)


def class_shares(y, within, y_meta, share=None):
    """Class-balanced weights of training and trusted rows, in total as many as there are rows.

    Parameters
    ----------
    y, y_meta : ndarray of shape (n_samples,) and (n_meta,)
        Labels; every class is in ``y_meta``.
    within : ndarray of shape (n_samples,)
        How the training rows of a class share what the class has. Rows of 0 are left out, as in counts of the classes.
    share : float or None
        Share of the trusted rows. None: in each class as many as they are.
    """
    n_classes = int(y_meta.max()) + 1
    n, m = np.bincount(y[within > 0], minlength=n_classes), np.bincount(y_meta, minlength=n_classes)
    trusted = np.where(n > 0, m / (n + m) if share is None else share, 1.0)
    total = np.bincount(y, weights=within, minlength=n_classes)
    train = within * ((1 - trusted) / np.where(total > 0, total, 1))[y]
    scale = (n.sum() + m.sum()) / n_classes
    return scale * train, scale * (trusted / m)[y_meta]


def weighted(task, within, share=None, **notes):
    w, w_meta = class_shares(task.y, within, task.y_meta, share)
    return Plan(*task.union, np.concatenate([w, w_meta]), within, notes=notes)


# ---------------------------------------------------------------------------------------------
# Cheap


def none(task):
    return Plan(*task.union)


def balanced(task, share=None):
    w, w_meta = class_shares(task.y, np.ones(len(task.y)), task.y_meta, share)
    return Plan(*task.union, np.concatenate([w, w_meta]))


def trusted_only(task):
    return Plan(task.X_meta, task.y_meta)


def trusted_model(task, names, share=0.5):
    """P(y_i | x_i) by models of the trusted rows alone, as weights within the class."""
    q = np.mean([task.trusted_only[name] for name in names], axis=0)
    return weighted(task, q[np.arange(len(task.y)), task.y], share)


def self_confidence(task):
    return weighted(task, task.out_of_fold[np.arange(len(task.y)), task.y])


def confident_learning(task, share=None):
    return weighted(task, (~label_issues(task.out_of_fold, task.y)).astype(float), share)


def label_issues(P, y):
    """Rows to prune, by noise rate (Northcutt, Jiang and Chuang, JAIR 2021), from out-of-sample probabilities.

    The confident joint counts rows of label i in class j, the most probable one of those whose probability is at least
    the mean self-confidence of their label. Its rows are scaled to the label counts. Of each off-diagonal count, as
    many rows of label i are pruned, those with the largest P_j - P_i; one row of each label stays.
    """
    n, n_classes = P.shape
    rows, counts = np.arange(n), np.bincount(y, minlength=n_classes)
    threshold = np.array([P[y == c, c].mean() if counts[c] else np.inf for c in range(n_classes)])
    confident = threshold - 1e-12 <= P
    likely = np.where(confident, P, -1.0).argmax(axis=1)
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (y[confident.any(1)], likely[confident.any(1)]), 1)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty] = 1  # nothing is known about these labels
    joint *= (counts / joint.sum(axis=1))[:, None]
    pruned = np.zeros(n, dtype=bool)
    for i in range(n_classes):
        of = rows[y == i]
        for j in range(n_classes):
            if i != j and len(of):
                margin = P[of, j] - P[of, i]
                pruned[of[np.argsort(-margin, kind="stable")[: round(joint[i, j])]]] = True
        if len(of) and pruned[of].all():
            pruned[of[P[of, i].argmax()]] = False
    return pruned


def knn_shapley(task, k=5, share=0.5):
    """Shapley values for a k-nearest-neighbour classifier of the trusted rows, those below 0 counting as 0."""
    X, X_meta = task.scaled
    return weighted(task, np.maximum(shapley_values(X, task.y, X_meta, task.y_meta, k), 0), share)


def shapley_values(X, y, X_meta, y_meta, k=5):
    """Closed form of Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms", VLDB 2019.

    The value of a set of rows is the mean over trusted rows of the share of right labels among the ``k`` nearest.
    """
    order = np.argsort(pairwise_distances(X_meta, X), axis=1, kind="stable")
    right = (y[order] == y_meta[:, None]).astype(float)
    n = len(y)
    rank = np.arange(1, n)
    steps = (right[:, :-1] - right[:, 1:]) / k * np.minimum(k, rank) / rank
    last = right[:, -1:] * min(k, n) / (k * n)  # 1 / n in the paper, where n > k
    sorted_values = np.concatenate([np.cumsum(steps[:, ::-1], axis=1)[:, ::-1] + last, last], axis=1)
    values = np.empty_like(sorted_values)
    np.put_along_axis(values, order, sorted_values, axis=1)
    return values.mean(axis=0)


def kernel_mean_matching(task, share=0.5):
    """Weights that bring the kernel mean of a class to that of its trusted rows (Huang et al., NeurIPS 2006)."""
    if len(task.y) > MOST_KERNEL_ROWS:
        return None
    X, X_meta = task.scaled
    within = np.zeros(len(task.y))
    for c in np.unique(task.y):
        within[task.y == c] = matching_weights(X[task.y == c], X_meta[task.y_meta == c])
    return weighted(task, within, share)


def matching_weights(X, X_meta, most=1000.0):
    """Minimise |mean_i w_i phi(x_i) - mean_j phi(x'_j)|^2 over 0 <= w <= ``most``, Gaussian kernel of median width.

    The bound on the mean of w of the paper, 1 -+ (sqrt(n) - 1) / sqrt(n), is left out: it hardly binds.
    """
    D, D_meta = pairwise_distances(X, metric="sqeuclidean"), pairwise_distances(X, X_meta, metric="sqeuclidean")
    width = max(np.median(D_meta), 1e-12)
    K, k = np.exp(-D / width), np.exp(-D_meta / width).mean(axis=1) * len(X)

    def objective(w):
        Kw = K @ w
        return (w @ Kw / 2 - k @ w) / len(X), (Kw - k) / len(X)

    found = minimize(objective, np.ones(len(X)), jac=True, method="L-BFGS-B", bounds=[(0, most)] * len(X))
    return found.x


def smote(task):
    """Synthetic rows of the rare classes (Chawla et al., JAIR 2002), made among standardised rows."""
    from imblearn.over_sampling import SMOTE, RandomOverSampler

    X, y = task.union
    smallest = int(np.bincount(y)[np.unique(y)].min())
    scaler = StandardScaler().fit(X)
    if smallest > 1:
        sampler = SMOTE(k_neighbors=min(5, smallest - 1), random_state=task.seed)
    else:
        sampler = RandomOverSampler(random_state=task.seed)
    X_new, y_new = sampler.fit_resample(scaler.transform(X), y)
    return Plan(scaler.inverse_transform(X_new), y_new)


def easy_ensemble(task):
    """Five models on balanced subsets (Liu, Wu and Zhou, IEEE SMC 2009), each of the family that is compared."""
    from imblearn.ensemble import EasyEnsembleClassifier

    wrap = partial(_in_ensemble, EasyEnsembleClassifier, task.seed)
    return Plan(*task.union, wrap=wrap)


def _in_ensemble(cls, seed, model):
    return cls(n_estimators=5, estimator=model, random_state=seed)


def oracle(task):
    """Balanced weights without the wrong rows."""
    w, w_meta = class_shares(task.y, task.right.astype(float), task.y_meta)
    return Plan(*task.union, np.concatenate([w, w_meta]))


# ---------------------------------------------------------------------------------------------
# Transport


def transport(task, classifier=None, n_meta=None):
    """Weights of OTWeightedClassifier. They do not depend on the model, and are learned once for all models."""
    X_meta, y_meta = task.X_meta, task.y_meta
    if n_meta is not None:  # the first rows of each class
        first = np.concatenate([np.flatnonzero(y_meta == c)[:n_meta] for c in range(task.n_classes)])
        X_meta, y_meta = X_meta[first], y_meta[first]
    classifier = OTWeightedClassifier(random_state=task.seed) if classifier is None else clone(classifier)
    cheap = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    fitted = classifier.set_params(estimator=cheap).fit(task.X, task.y, X_meta=X_meta, y_meta=y_meta)
    weight = np.concatenate([fitted.sample_weight_, fitted.sample_weight_meta_])
    return Plan(
        np.concatenate([task.X, X_meta]), np.concatenate([task.y, y_meta]), weight, fitted.sample_weight_,
        notes=what_was_learned(fitted, task),
    )  # fmt: skip


def without_neighbours(task):
    """Our default with the belief of the models alone."""
    with mock.patch.object(NeighbourValue, "relative", lambda self, rows: np.zeros((len(rows), len(self.typical)))):
        return transport(task)


def total_by_worth(task):
    """Our default with a total that shrinks as labels get worse: the number of trusted rows that all are worth."""
    plan = transport(task)
    n, m = len(task.y), len(task.y_meta)
    return replace(plan, weight=plan.weight * (plan.notes["worth of a label"] * n + m) / (n + m))


def what_was_learned(fitted, task):
    """Estimates beside the truth, and settings that were chosen."""
    weighter = fitted.weighter_
    found = weighter.label_reliability_
    notes = {"reg": float(weighter.reg_)}
    if found is None:
        return notes
    carried = np.bincount(task.y, minlength=task.n_classes)
    truth = np.bincount(task.y, weights=task.right, minlength=task.n_classes) / np.maximum(carried, 1)
    known = ~np.isnan(found.precision) & (carried > 0)
    notes["reliability"] = float(found.overall)
    notes["worth of a label"] = found.label_information()
    notes["labels without precision"] = float(1 - known.mean())
    if known.any():
        notes["precision error"] = float(np.abs(found.precision - truth)[known].mean())
    return notes


def ot(weighter=None, meta_weight="auto", **params):
    return partial(
        transport, classifier=OTWeightedClassifier(weighter=weighter, meta_weight=meta_weight, random_state=0), **params
    )


MODELS_OF_TRUSTED = ("logistic regression", "forest")
SHARES = (0.25, 0.5, 0.75)
REGS = (0.05, 0.1, 0.2, 0.4)

CHEAP = {
    "none": none,
    "balanced": balanced,
    **{f"balanced, trusted {share:g}": partial(balanced, share=share) for share in SHARES},
    "trusted only": trusted_only,
    "P(y|x) of trusted, logistic": partial(trusted_model, names=MODELS_OF_TRUSTED[:1]),
    "P(y|x) of trusted, forest": partial(trusted_model, names=MODELS_OF_TRUSTED[1:]),
    "P(y|x) of trusted, both": partial(trusted_model, names=MODELS_OF_TRUSTED),
    "confident learning": confident_learning,
    "confident learning, trusted 0.5": partial(confident_learning, share=0.5),
    "self-confidence": self_confidence,
    "kernel mean matching": kernel_mean_matching,
    "KNN-Shapley": knn_shapley,
}
if importlib.util.find_spec("imblearn"):
    CHEAP |= {"SMOTE": smote, "EasyEnsemble": easy_ensemble}

PAPER = OTSampleWeighter(prior="uniform", n_prototypes=1, reg=0.1)
OURS = {
    "skotw": transport,
    "skotw, scaled features": ot(OTSampleWeighter()),
    "paper's setting": ot(PAPER, "balanced"),
}
MAIN = {**CHEAP, **OURS, "oracle": oracle}
SUPERVISED = OTSampleWeighter(embedding="supervised", prior="confidence", random_state=0)
LINEAR = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
ABLATION = {
    "skotw, no neighbours": without_neighbours,
    "skotw, total by worth": total_by_worth,
    "supervised, prior balanced": ot(clone(SUPERVISED).set_params(prior="balanced")),
    "scaled, prior confidence": ot(clone(SUPERVISED).set_params(embedding="scale")),
    "supervised by logistic regression": ot(clone(SUPERVISED).set_params(embedding=LINEAR)),
    "supervised by a forest": ot(
        clone(SUPERVISED).set_params(
            embedding=RandomForestClassifier(100, min_samples_leaf=3, oob_score=True, random_state=0)
        )
    ),
    **{f"supervised, reg {reg:g}": ot(clone(SUPERVISED).set_params(reg=reg)) for reg in REGS},
    **{f"supervised, trusted {share:g}": ot(SUPERVISED, share) for share in SHARES},
    "supervised, trusted as they are": ot(SUPERVISED, "balanced"),
    "supervised, label cost only": ot(clone(SUPERVISED).set_params(label_weight=1.0)),
    "scaled, feature cost only": ot(OTSampleWeighter(label_weight=0.0)),
    "scaled, label cost only": ot(OTSampleWeighter(label_weight=1.0)),
    "scaled, prior uniform": ot(OTSampleWeighter(prior="uniform")),
    "scaled, 1 prototype": ot(OTSampleWeighter(n_prototypes=1)),
    "scaled, 3 prototypes": ot(OTSampleWeighter(n_prototypes=3)),
    "scaled, Euclidean": ot(OTSampleWeighter(metric="euclidean")),
    "raw columns": ot(OTSampleWeighter(embedding=None)),
    **{f"scaled, reg {reg:g}": ot(OTSampleWeighter(reg=reg)) for reg in REGS},
    **{f"scaled, trusted {share:g}": ot(OTSampleWeighter(), share) for share in SHARES},
    "scaled, trusted as they are": ot(OTSampleWeighter(), "balanced"),
    **{f"skotw, {n} trusted per class": partial(transport, n_meta=n) for n in (1, 3, 5)},
}
CONTENDERS = {**MAIN, **ABLATION}
# Of networks; networks.py, which needs torch, has what they do.
NETWORK_ABLATION = (
    *(f"skotw, reg {reg:g}" for reg in (0.02, 0.05, 0.1, 0.2, 0.4)),
    "skotw, labels read late",
    "skotw, no trusted loss",
    "balanced, no trusted loss",
)
