"""Rows, and ways to read what was drawn, that several test files share."""

import numpy as np
from sklearn.datasets import load_iris

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

X, TRUE, X_META, Y_META = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
_KEPT = np.random.default_rng(0).permutation(np.r_[0:40, 45:65, 90:100])
X, TRUE = X[_KEPT], TRUE[_KEPT]
Y, WRONG = flip_labels(TRUE, 0.2, random_state=0, return_mask=True)


def weighter(**params):
    return OTSampleWeighter(**params).fit(X, Y, X_META, Y_META)


def heights(bars):
    return [bar.get_height() for bar in bars]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def many_classes(n_classes=15):
    """Labels of which class k has n_classes - k rows, and equal weights of every class."""
    y = np.repeat(np.arange(n_classes), np.arange(n_classes, 0, -1))
    return 1.0 / np.bincount(y)[y], y
