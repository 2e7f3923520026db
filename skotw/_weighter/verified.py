"""``y_verified``: which rows of the training set somebody has reviewed, and what their labels are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skotw._compat import num_samples
from skotw._validation import check_same_family, check_weights, clean_labels, labels_and_missing

__all__ = ["Verified"]

_ONE_PER_ROW = (
    "It needs one per row: the label of a row that was reviewed, and NaN or None for all others. For example, start "
    "with y_verified = numpy.full(len(y), None, dtype=object) and fill in the labels of the reviewed rows."
)


@dataclass(frozen=True, eq=False)
class Verified:
    """Reviewed rows of X, which leave the noisy set and are the trusted one.

    Attributes
    ----------
    rows, others : ndarray of shape (n_reviewed,) and (n_samples - n_reviewed,)
        Indices of the rows that are reviewed and of those that are not, ascending.
    labels : ndarray of shape (n_reviewed,) or (n_reviewed, n_outputs)
        Labels of the reviewed rows, of the type of y where that can hold them.
    """

    rows: np.ndarray
    others: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, given):
        """What :class:`Given` says of reviewed rows; None where it says nothing.

        Raises
        ------
        ValueError
            If it has not one value per row, if none or all of the rows are reviewed, or the labels of a row are in
            part.
        """
        if given.y_verified is None:
            return None
        n_samples, n_values = num_samples(given.X), _count(given.y_verified)
        if n_values != n_samples:
            raise ValueError(f"y_verified has {n_values} values for {n_samples} rows. {_ONE_PER_ROW}")
        if num_samples(given.y) != n_samples:
            raise ValueError(f"y has {num_samples(given.y)} labels for {n_samples} rows; it needs one per row.")
        labels, missing = _labels(given.y_verified)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        missing = np.zeros(labels.shape, dtype=bool) if missing is None else missing
        missing = missing.reshape(n_samples, -1)
        unreviewed = missing.all(axis=1)
        partly = missing.any(axis=1) & ~unreviewed
        if partly.any():
            raise ValueError(
                f"y_verified has some labels of row {np.flatnonzero(partly)[0]} and lacks others. Give all of a row's "
                "labels, or none."
            )
        if unreviewed.all():
            raise ValueError(
                "y_verified marks every row as not reviewed. Put the labels of the rows that were reviewed into it. "
                "If this is a fold of a cross-validation, no reviewed row has come into it: stratify by what is "
                "reviewed."
            )
        if not unreviewed.any():
            raise ValueError(
                "y_verified has a label for every row, so that no row is left to be weighed. Mark rows that nobody "
                "has reviewed by NaN, None or a mask. A number such as -1 is a label."
            )
        rows = np.flatnonzero(~unreviewed)
        others = np.flatnonzero(unreviewed)
        return cls(rows, others, _like_labels(labels[rows], labels_and_missing(given.y)[0][others]))

    def weights(self, sample_weight):
        """Weights of all rows, those of reviewed rows being 0, and what ``sample_weight`` gives to reviewed rows.

        Raises
        ------
        ValueError
            If either set has no weight.
        """
        n_samples = len(self.rows) + len(self.others)
        noisy = np.ones(n_samples)
        if sample_weight is not None:
            noisy = check_weights(sample_weight, "sample_weight", n_samples).copy()
        trusted = noisy[self.rows]
        noisy[self.rows] = 0.0
        for weight, kind in ((noisy, "not reviewed"), (trusted, "reviewed")):
            if not weight.any():
                raise ValueError(
                    f"sample_weight is zero for every row that is {kind}; one of them at least must count."
                )
        return noisy, trusted


def _count(y_verified):
    """Number of its values."""
    if isinstance(y_verified, str | bytes | Mapping) or not np.iterable(y_verified):
        raise ValueError(f"y_verified is {y_verified!r:.60}, which is no array. {_ONE_PER_ROW}")
    return num_samples(y_verified)


def _labels(y_verified):
    """Its labels, and which of them are missing."""
    try:
        labels, missing = labels_and_missing(y_verified)
    except ValueError as error:  # NumPy's, of rows that differ in length
        raise ValueError(f"y_verified has rows of different lengths. {_ONE_PER_ROW}") from error
    if labels.ndim > 2:
        raise ValueError(f"y_verified has shape {labels.shape}. {_ONE_PER_ROW}")
    return labels, missing


def _like_labels(labels, y):
    """Labels in the type of y where it holds them: 3.0 beside whole numbers is the class 3, as NaN needs floats."""
    labels = clean_labels(labels, "y_verified")
    y, missing = labels_and_missing(y)
    if missing is not None and missing.any():
        return labels  # y is refused, in the words for that
    y = clean_labels(y, "y")
    check_same_family(labels, y, "y_verified", "y")
    if labels.dtype.kind == "f" and y.dtype.kind in "biu" and np.isfinite(labels).all():
        same = labels.astype(y.dtype)
        return same if np.array_equal(same, labels) else labels
    return labels.astype(str) if labels.dtype.kind == "O" and y.dtype.kind == "U" else labels
