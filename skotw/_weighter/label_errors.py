"""The labels of the training rows, ranked by how little speaks for them."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skotw._typing import Array, ArrayLike, MatrixLike, RandomState
from skotw._validation import labels_and_missing, warn

from .estimator import OTSampleWeighter
from .labels import target_kind

__all__ = ["LabelErrors", "find_label_errors"]

_SHOWN = 10
# Confidences no further apart are equal but for rounding.
_SAME = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class LabelErrors:
    """Training rows from the least to the most confident label.

    Attributes
    ----------
    indices : ndarray of shape (n_ranked,)
        Rows of X, the most suspicious first. Rows that were reviewed, or have no weight, are left out.
    label : ndarray of shape (n_ranked,)
        Their labels as they came, tuples where there are several label columns.
    confidence : ndarray of shape (n_ranked,)
        How much speaks for that label, in [0, 1], ascending: ``label_confidence_`` of the weighter.
    suggested : ndarray of shape (n_ranked,)
        The label for which most speaks. It may be the row's own.
    n_errors : float
        Expected number of wrong labels among these rows, from the precision of each label. NaN where that is not known.
    n_errors_se : float
        Its standard error, which knows of the few trusted rows.
    weighter : OTSampleWeighter
        Fitted to these rows.
    """

    indices: NDArray[np.intp]
    label: Array
    confidence: NDArray[np.float64]
    suggested: Array
    n_errors: float
    n_errors_se: float
    weighter: OTSampleWeighter

    @property
    def suspects(self) -> NDArray[np.intp]:
        """The rows to check: as many of the first as are expected to be wrong.

        Where that number is not known, the rows for which more speaks for another label than for their own.

        Returns
        -------
        rows : ndarray of shape (n_suspects,)
            Indices of rows of X.
        """
        if np.isnan(self.n_errors):
            return self.indices[[a != b for a, b in zip(self.label, self.suggested, strict=True)]]
        return self.indices[: ceil(self.n_errors)]

    def to_frame(self) -> Any:
        """The ranking as a data frame of pandas, one line per row, with the rows' numbers as index.

        Returns
        -------
        frame : pandas.DataFrame
            With the columns label, suggested and confidence.
        """
        import pandas as pd

        columns = {"label": self.label, "suggested": self.suggested, "confidence": self.confidence}
        return pd.DataFrame(columns, index=pd.Index(self.indices, name="row"))

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        number = (
            "an unknown number" if np.isnan(self.n_errors) else f"about {self.n_errors:.0f} ± {self.n_errors_se:.0f}"
        )
        cells = [("row", "label", "suggested", "confidence")]
        first = [values[:_SHOWN].tolist() for values in (self.indices, self.label, self.suggested, self.confidence)]
        cells += [(str(i), str(y), str(s), f"{c:.3g}") for i, y, s, c in zip(*first, strict=True)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        rest = [f"... and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([f"LabelErrors: {number} of {len(self)} labels may be wrong", *lines, *rest])


def find_label_errors(
    X: MatrixLike,
    y: ArrayLike,
    X_meta: MatrixLike = None,
    y_meta: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    sample_weight_meta: ArrayLike | None = None,
    y_verified: ArrayLike | None = None,
    weighter: OTSampleWeighter | None = None,
    random_state: RandomState = None,
) -> LabelErrors:
    r"""Rank the labels of the training rows by how little speaks for them, and say how many may be wrong.

    The guide shows how to use it (:doc:`/guide/label_errors`).

    Parameters
    ----------
    X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their labels, some of which may be wrong: classes.
    X_meta : the same as X, of shape (n_meta, n_features), default=None
        Trusted rows.
    y_meta : array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
        Labels of the trusted rows. Every class of ``y`` must be among them.
    sample_weight : array-like of shape (n_samples,), default=None
        How much each row counts. Rows of weight 0 are not ranked.
    sample_weight_meta : array-like of shape (n_meta,), default=None
        How much each trusted row counts within its class.
    y_verified : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
        Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``. Mark all others by
        NaN, None, the missing values of pandas, or a mask. Reviewed rows are not ranked.
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned. None is ``OTSampleWeighter(embedding="supervised", prior="confidence")``.
        It lets models of the labels judge rows that they have not seen. It needs trusted rows.
    random_state : int, RandomState instance or None, default=None
        Seeds these models. A weighter that is given keeps its own.

    Returns
    -------
    found : LabelErrors
        ``found.indices`` has the rows of X, the most suspicious first. ``found.confidence`` says how much speaks for
        their labels, and ``found.suggested`` has the labels for which most speaks. ``found.n_errors`` labels are
        expected to be wrong, with the standard error ``found.n_errors_se``. ``found.suspects`` are that many of the
        first rows. ``found.to_frame()`` makes a data frame of pandas. ``found.weighter`` is the fitted weighter.

    Raises
    ------
    ValueError
        If ``y`` holds no classes, or as :meth:`OTSampleWeighter.fit`.
    TypeError
        If ``weighter`` is no :class:`OTSampleWeighter`.

    Warns
    -----
    UserWarning
        As :meth:`OTSampleWeighter.fit`. If all labels are equally likely.

    See Also
    --------
    OTSampleWeighter.label_confidence : The same for rows that were not fitted.
    OTWeightedClassifier : Learns from rows as much as their labels deserve, without anyone checking them.

    Notes
    -----
    :meth:`OTSampleWeighter.label_confidence` says what the confidence is: the share of a row's own label in what it
    would weigh under each label. With :math:`n_c` rows of label c, of which a share :math:`p_c` is
    right by ``label_reliability_``, :math:`\sum_c n_c (1 - p_c)` labels are expected to be wrong. Where :math:`p_c` is
    unknown the mean precision of all labels takes its place. The standard error takes those of the :math:`p_c` for
    independent. It says nothing of errors that follow the features, such as labels made by keywords: they look right.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw import find_label_errors
    >>> from skotw.datasets import flip_labels
    >>> from skotw.meta import balanced_meta_split
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> noisy, wrong = flip_labels(y, 0.2, random_state=0, return_mask=True)
    >>> found = find_label_errors(X, noisy, X_meta, y_meta)
    >>> bool(wrong[found.suspects].mean() > 0.85)
    True
    """
    if not isinstance(weighter, OTSampleWeighter | None):
        raise TypeError(
            f"weighter must be an OTSampleWeighter or None; got {type(weighter).__name__}. To have a classifier judge "
            "the labels, pass OTSampleWeighter(embedding=classifier, prior='confidence')."
        )
    _check_labels(y, y_meta, y_verified, weighter)
    weighter = _default_weighter(random_state) if weighter is None else clone(weighter)
    weighter.fit(
        X,
        y,
        X_meta,
        y_meta,
        sample_weight=sample_weight,
        sample_weight_meta=sample_weight_meta,
        y_verified=y_verified,
    )
    share, codes, best = weighter._label_shares()
    names = _as_array(weighter._model.target.group_names())
    ranked = np.argsort(share, kind="stable")[: np.count_nonzero(~np.isnan(share))]  # NaN comes last
    wrong, se = _expected_errors(weighter, codes[ranked])
    if len(ranked) > 1 and np.ptp(share[ranked]) <= _SAME:
        warn(
            "All labels are equally likely, so the ranking says nothing. With label_weight=0 labels have no say, and "
            "with label_weight=1 features have none. Take a value between, or prior='confidence'. If label_weight is "
            "neither, the features do not tell the classes apart. Choose another embedding."
        )
    return LabelErrors(ranked, names[codes[ranked]], share[ranked], names[best[ranked]], wrong, se, weighter)


def _check_labels(y, y_meta, y_verified, weighter):
    """Refuse labels that cannot be ranked, in words that speak of this function."""
    if y is None:
        raise ValueError("find_label_errors judges labels, and y is None. Pass y, the labels of the training rows.")
    y = y if y_verified is None else _present(y)  # labels of reviewed rows in y are not looked at
    for labels, name in ((y, "y"), (y_meta, "y_meta"), (_present(y_verified), "y_verified")):
        if labels is None:
            continue
        kind = target_kind(labels, "auto" if weighter is None else weighter.target_type, name)
        if kind == "continuous":
            raise ValueError(
                f"find_label_errors compares classes, and {name} holds continuous numbers. Bin them into classes "
                "first, as sklearn.preprocessing.KBinsDiscretizer does."
            )
        if kind == "columns" and weighter is None:
            raise ValueError(
                f"{name} has several label columns, and the default weighter of find_label_errors takes one. Rank one "
                "column at a time, or pass weighter=OTSampleWeighter(), which judges the combinations of labels."
            )


def _present(labels):
    """Labels that are not missing; None where there are none, or the fit refuses what they are in."""
    try:
        values, missing = labels_and_missing(labels)
    except ValueError:
        return None
    if values.ndim not in (1, 2) or not len(values):
        return None
    present = values if missing is None else values[~missing.reshape(len(values), -1).any(axis=1)]
    return present if len(present) else None


def _default_weighter(random_state):
    return OTSampleWeighter(embedding="supervised", prior="confidence", random_state=random_state)


def _as_array(names):
    """Labels in an array of one dimension, tuples as they are."""
    if not isinstance(names[0], tuple):
        return np.array(names)
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def _expected_errors(weighter, codes):
    """Expected number of wrong labels among rows of these groups, and its standard error."""
    reliability, groups = weighter.label_reliability_, weighter._model.groups
    if reliability is None:
        return np.nan, np.nan
    n = np.bincount(codes, minlength=groups[-1] + 1)[groups]
    chance = 1.0 / len(groups)
    known = ~np.isnan(reliability.precision)
    precision = np.where(known, reliability.precision, chance + (1.0 - chance) * reliability.overall)
    se = np.where(known, reliability.precision_se, (1.0 - chance) * reliability.overall_se)
    return float(n @ (1.0 - precision)), float(np.sqrt(n**2 @ se**2))
