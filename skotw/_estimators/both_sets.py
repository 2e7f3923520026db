"""The meta set as searches and meta-estimators hand it on, and both sets in one container."""

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skotw._compat import num_samples
from skotw._validation import clean_labels, labels_and_missing, named, on_host, warn


def unwrap(value):
    """The content of a 1-tuple, in which a meta set survives slicing by cross-validation."""
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value


def check_classes(y):
    """Training labels as they came, or as an array of numbers where they are numbers in an array of objects.

    Raises
    ------
    ValueError
        If they are missing, or no classes.
    """
    labels = clean_labels(y, "y")
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return labels if np.asarray(on_host(y)).dtype != labels.dtype else y


def check_handed_on(given, *, wrapped):
    """Look for what searches and meta-estimators do to a meta set, or to y beside it, when they hand both on.

    Parameters
    ----------
    given : Given
        Both sets as they came.
    wrapped : bool
        Whether ``X_meta`` came in a 1-tuple.

    Raises
    ------
    ValueError
        If y holds codes of the labels.
    """
    _refuse_recoded(given.y, given.y_meta)
    n_samples = num_samples(given.X)
    if not wrapped and n_samples == num_samples(given.X_meta):
        warn(
            f"X_meta has as many rows as X ({n_samples}). Searches and cross-validation slice what is as "
            "long as X, so it may have been cut like a sample weight. Pass 1-tuples, X_meta=(X_meta,) and "
            "y_meta=(y_meta,), which are never cut.",
        )


def with_verified(y, verified):
    """Labels of all rows, those of reviewed rows being the verified ones.

    Raises
    ------
    ValueError
        If y holds codes of the labels, or labels are missing of rows that were not reviewed.
    """
    noisy = clean_labels(labels_and_missing(y)[0][verified.others], "y", verified.others)
    _refuse_recoded(noisy, verified.labels, "y_verified")
    both = join_labels(noisy, verified.labels)
    labels = np.empty_like(both)
    labels[np.concatenate([verified.others, verified.rows])] = both
    return labels


def _refuse_recoded(y, y_meta, name="y_meta"):
    """Some meta-estimators hand on codes in place of the labels, while the labels of the meta set stay as they were."""
    seen, trusted = (set(labels.ravel().tolist()) for labels in (clean_labels(y, "y"), clean_labels(y_meta, name)))
    codes = seen in (set(range(len(seen))), {-1, 1})
    if codes and not trusted <= seen and (len(seen) == 2 or not seen <= trusted):
        raise ValueError(
            f"y holds {named(sorted(seen))} and {name} holds {named(sorted(trusted, key=str))}: y seems to have been "
            "recoded. OneVsRestClassifier and its like make labels binary. BaggingClassifier, VotingClassifier and "
            "some others number them. Turn the nesting around: OTWeightedClassifier(OneVsRestClassifier(...)). Or, "
            f"where labels are numbered, give y and {name} as numbers from 0 on. If a fold has lost labels of y, "
            "stratify it. If y never had them, take their rows out of the trusted ones."
        )


def join_labels(y, y_meta):
    """Labels of the training rows, then of the meta rows, in the type that y has where it takes them all."""
    both = [clean_labels(labels, name) for labels, name in ((y, "y"), (y_meta, "y_meta"))]
    if not all(labels.ndim == 2 and labels.shape[1] > 1 for labels in both):
        both = [column_or_1d(labels) for labels in both]
    if all(labels.dtype.kind in "biuf" for labels in both):
        same = both[1].astype(both[0].dtype)
        both[1] = same if np.array_equal(same, both[1]) else both[1]
    return np.concatenate(both)
