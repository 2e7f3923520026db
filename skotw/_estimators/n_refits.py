"""Weights from half the features and half what the model thinks of the rows, told out of fold."""

import warnings

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from skotw._transport.blocks import Compute
from skotw._transport.cost import unit_rows

from .weight_routing import take_rows

_N_FOLDS = 5
_METRICS = ("cosine", "sqeuclidean")


def check_refit(weighter, estimator, X_meta, y):
    """Refuse what cannot be refitted.

    Raises
    ------
    ValueError
        If there are no meta samples to compare with, class probabilities are missing, or the metric does not add up.
    """
    if X_meta is None or weighter.n_prototypes is not None:
        raise ValueError(
            "n_refits compares rows with the trusted rows themselves: pass X_meta and y_meta and leave the weighter's "
            "n_prototypes at None, or use n_refits=0."
        )
    if weighter.metric not in _METRICS:
        raise ValueError(
            f"n_refits adds the cost of features and of class probabilities, for which the weighter's metric must be "
            f"one of {_METRICS}; got {weighter.metric!r}. Change the metric, or use n_refits=0."
        )
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"n_refits needs class probabilities, and {type(estimator).__name__} has no predict_proba. Wrap it in "
            "CalibratedClassifierCV, or use n_refits=0."
        )
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError("n_refits needs one column of class labels; use n_refits=0 for several.")


def deal_folds(strata, random_state):
    """Fold of every row, at random and evenly within each stratum."""
    order = check_random_state(random_state).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), dtype=np.intp)
    folds[order] = np.arange(len(strata)) % _N_FOLDS
    return folds


def class_probabilities(fit, X, y, folds, unseen=None):
    """Class probabilities of rows from models that did not see them.

    Parameters
    ----------
    fit : callable
        Takes row indices, returns a classifier fitted to those rows.
    X : rows
    y : ndarray of shape (n,)
    folds : ndarray of shape (n,)
    unseen : rows or None
        Rows that no model has seen, for the mean over all of them.

    Returns
    -------
    proba : ndarray of shape (n, n_classes)
    proba_unseen : ndarray of shape (n_unseen, n_classes) or None
    """
    classes = np.unique(y)
    proba, of_unseen = np.zeros((len(y), len(classes))), []
    for fold in np.unique(folds):
        model, rows = fit(np.flatnonzero(folds != fold)), np.flatnonzero(folds == fold)
        columns = np.searchsorted(classes, np.ravel(model.classes_))
        proba[np.ix_(rows, columns)] = model.predict_proba(*take_rows(rows, X))
        if unseen is not None:
            found = model.predict_proba(unseen)
            of_unseen.append(np.zeros((len(found), len(classes))))
            of_unseen[-1][:, columns] = found
    return proba, np.mean(of_unseen, axis=0) if of_unseen else None


def refit_weights(weighter, given, proba, proba_meta):
    r"""Weights under the cost :math:`\tfrac12 d(z, z') / s + \tfrac12 h(\pi, \pi') / s_h`.

    d is the weighter's own feature cost, :math:`h(\pi, \pi') = 1 - \langle \sqrt\pi, \sqrt{\pi'} \rangle` the squared
    Hellinger distance of class probabilities, and s and :math:`s_h` are their means. Both are squared Euclidean
    distances up to a factor, so their sum is the squared Euclidean distance of blocks that stand side by side.

    Parameters
    ----------
    weighter : OTSampleWeighter
        Fitted to the features; its regularisation is kept.
    given : Given
        Both sets as they came.
    proba, proba_meta : ndarray of shape (n, n_classes)
    """
    settings = {"embedding": None, "reg": weighter.reg_}
    labels = {"y": given.y, "y_meta": given.y_meta, "sample_weight": given.sample_weight}
    roots = [np.sqrt(proba), np.sqrt(proba_meta)]
    hellinger = clone(weighter).set_params(metric="cosine", cost_scale=None, **settings)
    hellinger_scale = _fitted_again(hellinger, X=roots[0], X_meta=roots[1], **labels).cost_scale_
    both = []
    for rows, root, name in ((given.X, roots[0], "X"), (given.X_meta, roots[1], "X_meta")):
        Z = weighter._intake.embed(weighter._intake.check(rows, name), name)
        if weighter.metric == "cosine":
            Z = _cosine_as_squares(Z, name == "X_meta")
        blocks = Z / np.sqrt(2 * weighter.cost_scale_), root / np.sqrt(4 * hellinger_scale)
        both.append(sparse.hstack(blocks, format="csr") if sparse.issparse(Z) else np.hstack(blocks))
    joint = clone(weighter).set_params(metric="sqeuclidean", cost_scale=1.0, **settings)
    return _fitted_again(joint, X=both[0], X_meta=both[1], **labels).sample_weight_


def _fitted_again(weighter, **sets):
    """The weighter fitted to what was made of the rows, of which the fit to the rows themselves has warned."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?!The weights did not converge)", UserWarning)
        return weighter.fit(**sets)


def _cosine_as_squares(Z, is_meta):
    """Rows whose squared Euclidean distances are the cosine distances of ``Z``.

    Zero rows are at distance 1 of everything, each other included: those of either set get a direction of their own.
    """
    unit = unit_rows(Z, Compute())
    unit = unit if sparse.issparse(unit) else unit.X * unit.scale[:, None]
    squares = unit.multiply(unit).sum(axis=1) if sparse.issparse(unit) else (unit**2).sum(axis=1)
    own = np.zeros((unit.shape[0], 2), dtype=unit.dtype)
    own[:, int(is_meta)] = np.ravel(squares) == 0
    both = sparse.hstack([unit, own], format="csr") if sparse.issparse(unit) else np.hstack([unit, own])
    return both / np.sqrt(2)
