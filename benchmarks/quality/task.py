"""One draw of one data set: the rows that everybody gets, and what contenders can share on them."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from skotw.datasets import flip_labels

__all__ = [
    "NOISE", "N_TRUSTED", "Task", "at_most", "draw", "draw_review", "fit_weighted", "given_labels", "trusted_count",
]  # fmt: skip

N_TRUSTED, LEAST_TRUSTED, MOST_TEST = 10, 3, 3000
NOISE = ("clean", "15 %", "30 %", "30 % by class")
MOST_REVIEWED, SHARE_REVIEWED = 200, 0.15
RATES = {"clean": 0.0, "15 %": 0.15, "30 %": 0.3}
LEAST_RATE, MOST_RATE = 0.15, 0.45  # of the classes where the rate depends on the class
N_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Task:
    """Training rows with the labels that are given, trusted rows, test rows; classes are 0, ..., n_classes - 1.

    Attributes
    ----------
    y_true : ndarray of shape (n_samples,)
        The right labels of the training rows.
    reviewed : bool
        Whether the trusted rows are a random sample, so that they tell the shares of the classes.
    """

    X: np.ndarray
    y: np.ndarray
    y_true: np.ndarray
    X_meta: np.ndarray
    y_meta: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    seed: int = 0
    reviewed: bool = False

    @property
    def n_classes(self):
        return int(self.y_meta.max()) + 1

    @property
    def right(self):
        return self.y == self.y_true

    @cached_property
    def union(self):
        """Training rows and then trusted ones."""
        return np.concatenate([self.X, self.X_meta]), np.concatenate([self.y, self.y_meta])

    @cached_property
    def scaled(self):
        """Training and trusted rows, standardised."""
        scaler = StandardScaler().fit(self.X)
        return scaler.transform(self.X), scaler.transform(self.X_meta)

    def facts(self):
        """What the gain may depend on."""
        counts = np.bincount(self.y_true, minlength=self.n_classes)
        return {
            "n_train": len(self.y),
            "n_trusted": len(self.y_meta),
            "n_classes": self.n_classes,
            "n_features": self.X.shape[1] if self.X.ndim == 2 else int(np.prod(self.X.shape[1:])),
            "imbalance": float(counts.max() / max(counts.min(), 1)),
            "wrong": float(1 - self.right.mean()),
        }

    @cached_property
    def trusted_only(self):
        """{name: P(class | x) of the training rows} by models of the trusted rows alone."""
        return {
            name: _proba(model.fit(self.X_meta, self.y_meta), self.X, self.n_classes)
            for name, model in _probabilistic(self.seed).items()
        }

    @cached_property
    def out_of_fold(self):
        """P(class | x) of the training rows: mean of logistic regression and a forest that have not seen the row.

        The trusted rows are in every fold's training set.
        """
        P = np.zeros((len(self.y), self.n_classes))
        smallest = np.bincount(self.y)[np.unique(self.y)].min()
        folds = StratifiedKFold(max(2, min(N_FOLDS, smallest)), shuffle=True, random_state=self.seed)
        for train, held_out in folds.split(self.X, self.y):
            X, y = np.concatenate([self.X[train], self.X_meta]), np.concatenate([self.y[train], self.y_meta])
            weight = compute_sample_weight("balanced", y)
            models = _probabilistic(self.seed).values()
            fitted = [fit_weighted(model, X, y, weight) for model in models]
            P[held_out] = np.mean([_proba(model, self.X[held_out], self.n_classes) for model in fitted], axis=0)
        return P


def _probabilistic(seed):
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "forest": RandomForestClassifier(100, min_samples_leaf=3, random_state=seed),
    }


def _proba(model, X, n_classes):
    P = np.zeros((len(X), n_classes))
    P[:, model.classes_] = model.predict_proba(X)
    return P


def fit_weighted(model, X, y, weight):
    """Fit the model, or the last step of a pipeline, with weights; rows without weight are left out."""
    if weight is None:
        return model.fit(X, y)
    name = f"{model.steps[-1][0]}__sample_weight" if hasattr(model, "steps") else "sample_weight"
    kept = weight > 0
    return model.fit(X[kept], y[kept], **{name: weight[kept]})


# ---------------------------------------------------------------------------------------------
# Drawing


def given_labels(y, noise, seed):
    """Labels under a noise of :data:`NOISE`."""
    if noise in RATES:
        return flip_labels(y, RATES[noise], random_state=seed)
    classes = np.unique(y)
    rates = np.random.default_rng(seed).permutation(np.linspace(LEAST_RATE, MOST_RATE, len(classes)))
    return flip_labels(
        y, dict(zip(classes.tolist(), rates.tolist(), strict=True)), kind="class-dependent", random_state=seed
    )


def trusted_count(y, most=N_TRUSTED):
    """Trusted rows per class: ``most``, or half of the rarest class; None where that is less than three."""
    n = min(most, int(np.unique(y, return_counts=True)[1].min()) // 2)
    return n if n >= LEAST_TRUSTED else None


@lru_cache(maxsize=4)
def read(path):
    with np.load(path, allow_pickle=False) as file:
        return file["X"].astype(float), file["y"].astype(int)


def draw(load, noise, rows, seed, *, n_trusted=N_TRUSTED):
    """Task from ``load() -> (X, y)``: a stratified half is for testing, trusted rows come out of the other one.

    Returns
    -------
    task : Task or None
        None where the rarest class is too small. Classes that are too small for three trusted rows are left out where
        two others remain. Of the training rows up to ``rows`` are kept, at random within the classes and at least three
        of each; draws of fewer rows are part of those of more.
    """
    X, y, by_class, test, rng = _halves(load, seed)
    n = trusted_count(np.repeat(np.arange(len(by_class)), [len(of) for of in by_class]), n_trusted)
    if n is None:
        return None
    trusted = np.concatenate([of[:n] for of in by_class])
    train = rng.permutation(np.concatenate(at_most(rows, [of[n:] for of in by_class])))
    return Task(X[train], given_labels(y[train], noise, seed), y[train], X[trusted], y[trusted], X[test], y[test], seed)


def draw_review(load, noise, rows, seed):
    """Task whose trusted rows were drawn at random from all but the test rows, 15 in 100 and 200 at most.

    Returns
    -------
    task : Task or None
        None where one of the two sets has fewer than three rows of a class. At most ``rows`` are left to train.
    """
    X, y, by_class, test, rng = _halves(load, seed)
    rest = rng.permutation(np.concatenate(by_class))
    n = min(MOST_REVIEWED, round(SHARE_REVIEWED * len(rest)))
    trusted, train = rest[:n], rest[n:][:rows]
    if min(np.bincount(y[part], minlength=len(by_class)).min() for part in (trusted, train)) < LEAST_TRUSTED:
        return None
    given = given_labels(y[train], noise, seed)
    return Task(X[train], given, y[train], X[trusted], y[trusted], X[test], y[test], seed, reviewed=True)


def _halves(load, seed):
    """Rows and labels without too small classes, the indices of each class that are not for testing, test, rng."""
    X, y = load()
    rng = np.random.default_rng([seed, 0])
    labels, counts = np.unique(y, return_counts=True)
    if (counts >= 4 * LEAST_TRUSTED).sum() >= 2:
        labels = labels[counts >= 4 * LEAST_TRUSTED]
    kept = np.isin(y, labels)
    X, y = X[kept], np.searchsorted(labels, y[kept])
    test, rest = _split(y, [0.5] * len(labels), rng)
    test = np.concatenate(at_most(MOST_TEST, [test[y[test] == c] for c in range(len(labels))]))
    return X, y, [rest[y[rest] == c] for c in range(len(labels))], test, rng


def _split(y, shares, rng):
    """Indices of a part that has the given share of each class, and of the rest, both in random order."""
    order = rng.permutation(len(y))
    parts = [order[y[order] == c] for c in range(len(shares))]
    cuts = [round(len(of) * share) for of, share in zip(parts, shares, strict=True)]
    first = np.concatenate([of[:cut] for of, cut in zip(parts, cuts, strict=True)])
    return first, np.concatenate([of[cut:] for of, cut in zip(parts, cuts, strict=True)])


def at_most(n, by_class):
    """The first rows of each class, in proportion, about ``n`` in total and at least three of each; None is all."""
    total = sum(map(len, by_class))
    if n is None or total <= n:
        return by_class
    return [of[: max(LEAST_TRUSTED, round(len(of) * n / total))] for of in by_class]
