"""The data sets of each suite, from a folder or, without one, from what scikit-learn brings along or a generator.

keel/*.npz      ``X`` and ``y``, two classes
tabular/*.npz   ``X`` and ``y``, two classes or more
noise/*.npz     ``X_train, y_train, X_test, y_test``, and labels by people who are often wrong: ``y_majority``, what
                most of a row's annotators say, and ``y_random``, what one of them says
text/*/         ``train.tsv`` and ``test.tsv`` (or ``dev.tsv``), as "label TAB text" or as GLUE has them
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification

from skotw.datasets import make_long_tailed

from .task import NOISE, Task, draw, draw_review, read
from .texts import as_columns, text_loaders, text_task

__all__ = ["ANNOTATED", "HALVES", "Source", "tabular_sources"]

HALVES = ("choose", "confirm")
ANNOTATED = {"right labels": "y_train", "majority": "y_majority", "one annotator": "y_random"}
N_TRUSTED_BY_ANNOTATORS = 15
ROWS = 1250  # for training: sets of up to 2,500 rows are whole
MANY_ROWS = (700, 2500, 10_000, 50_000)
LEAST_OF_MANY = 20_000  # rows of a set that is drawn more and more of; those that have fewer than asked for are whole
ALL_MODELS = ("LR", "SVC", "forest", "boosting")


@dataclass(frozen=True)
class Source:
    """A data set of a suite.

    Attributes
    ----------
    make : callable
        ``make(noise, rows, seed) -> Task or None``.
    half : {"choose", "confirm"} or None
        What may be looked at while something is chosen, and what only confirms. None where there are no halves.
    """

    suite: str
    name: str
    make: Callable
    half: str | None = None
    noise: tuple = NOISE
    rows: tuple = (ROWS,)
    models: tuple = ALL_MODELS


def tabular_sources(suite, folder=None):
    """Sources of a suite for classifiers of scikit-learn."""
    return _SUITES[suite](None if folder is None else Path(folder))


def files(folder, name):
    """[(path, half)] in alphabetical order, the first, third, ... to choose by."""
    paths = sorted((folder / name).glob("*.npz"))
    if not paths:
        raise SystemExit(f"{folder} has no {name}/*.npz: name another folder by --data, or none for bundled data.")
    return [(path, HALVES[i % 2]) for i, path in enumerate(paths)]


# ---------------------------------------------------------------------------------------------
# Sets by name


def _keel(folder):
    if folder is None:
        return _bundled("keel", {"digit 8": (_one_digit, 5), "breast_cancer": (load_breast_cancer, 5)})
    return [Source("keel", path.stem, partial(draw, partial(read, path)), half) for path, half in files(folder, "keel")]


def _tabular(folder):
    if folder is None:
        loaders = {"digits": (load_digits, 8), "iris": (load_iris, 3), "wine": (load_wine, 3)}
        return _bundled("tabular", loaders)
    sets = files(folder, "tabular")
    return [Source("tabular", path.stem, partial(draw, partial(read, path)), half) for path, half in sets]


def _bundled(suite, loaders):
    return [
        Source(suite, name, partial(draw, partial(_long_tailed, loader, imbalance)), HALVES[i % 2])
        for i, (name, (loader, imbalance)) in enumerate(loaders.items())
    ]


def _long_tailed(loader, imbalance):
    return make_long_tailed(*loader(return_X_y=True), imbalance, class_order="frequency", random_state=0)


def _one_digit(*, return_X_y):
    X, y = load_digits(return_X_y=return_X_y)
    return X, (y == 8).astype(int)


def _review(folder):
    """The sets of keel and tabular, with trusted rows as they come."""
    sources = [*_keel(folder), *_tabular(folder)]
    return [replace(one, suite="review", make=partial(draw_review, one.make.args[0]), rows=(2000,)) for one in sources]


# ---------------------------------------------------------------------------------------------
# Labels by people


def _noise(folder):
    if folder is None:
        return [Source("noise", "digits, made-up annotators", _made_up_annotators, noise=tuple(ANNOTATED))]
    return [
        Source("noise", path.stem, partial(annotated, path), noise=tuple(ANNOTATED))
        for path, _ in files(folder, "noise")
    ]


def annotated(path, noise, rows, seed):
    """Task with labels that people gave; the test set is the one of the file."""
    with np.load(path, allow_pickle=False) as file:
        X, y, given = (file[name] for name in ("X_train", "y_train", ANNOTATED[noise]))
        return _with_trusted(X.astype(float), y, given, file["X_test"].astype(float), file["y_test"], rows, seed)


def _made_up_annotators(noise, rows, seed):
    """Three people, each with confusions of their own between digits, and how often they are right."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(y))
    test, train = order[:700], order[700:]
    confused = np.array([rng.permutation(10) for _ in range(3)])
    skill = np.array([0.8, 0.65, 0.5])
    answers = np.where(rng.random((3, len(train))) < skill[:, None], y[train], confused[:, y[train]])
    votes = (answers[:, :, None] == np.arange(10)).sum(axis=0)
    given = {
        "right labels": y[train],
        "majority": (votes + 0.5 * rng.random(votes.shape)).argmax(axis=1),
        "one annotator": answers[rng.integers(3, size=len(train)), np.arange(len(train))],
    }[noise]
    return _with_trusted(X[train], y[train], given, X[test], y[test], rows, seed)


def _with_trusted(X, y, given, X_test, y_test, rows, seed):
    order = np.random.default_rng([seed, 0]).permutation(len(y))
    n = N_TRUSTED_BY_ANNOTATORS
    trusted = np.concatenate([order[y[order] == c][:n] for c in range(int(y.max()) + 1)])
    train = order[~np.isin(order, trusted)][:rows]
    return Task(X[train], given[train], y[train], X[trusted], y[trusted], X_test, y_test, seed)


# ---------------------------------------------------------------------------------------------
# Generated


def _synthetic(folder):
    """Tasks of 700 rows: two shares of the rare class, two numbers of trusted rows, four kinds of features."""
    kinds = {
        "easy": {"class_sep": 1.5},
        "hard": {"class_sep": 0.7},
        "two clusters": {"class_sep": 1.5, "n_clusters_per_class": 2},
        "many features": {"class_sep": 1.5, "n_features": 40},
    }
    return [
        Source("synthetic", f"{rare:.0%} rare, {n} trusted, {kind}", partial(_generated, rare, n, params), rows=(700,))
        for rare in (0.03, 0.1)
        for n in (5, 10)
        for kind, params in kinds.items()
    ]


def _generated(rare, n_trusted, params, noise, rows, seed):
    defaults = {"n_features": 12, "n_informative": 6, "n_clusters_per_class": 1, "flip_y": 0.0}
    X, y = make_classification(4000, weights=[1 - rare], random_state=seed, **{**defaults, **params})
    return draw(lambda: (X, y), noise, rows, seed, n_trusted=n_trusted)


def _rows(folder):
    """Large sets with more and more of their rows."""
    params = {"noise": NOISE[:3], "rows": MANY_ROWS, "models": ("LR", "boosting")}
    sources = [
        Source("rows", f"generated {name}", partial(draw, partial(_many_rows, i)), HALVES[i % 2], **params)
        for i, name in enumerate(_MANY)
    ]
    if folder is not None:
        for path, half in files(folder, "tabular"):
            with np.load(path, allow_pickle=False) as file:
                n = len(file["y"])
            if n >= LEAST_OF_MANY:
                sources.append(Source("rows", path.stem, partial(draw, partial(read, path)), half, **params))
    return sources


_MANY = {
    "2 classes": {"n_classes": 2, "weights": [0.9]},
    "2 classes, 5 clusters": {"n_classes": 2, "weights": [0.9], "n_clusters_per_class": 5},
    "4 classes": {"n_classes": 4, "weights": [0.6, 0.2, 0.15, 0.05]},
    "4 classes, 3 clusters": {"n_classes": 4, "weights": [0.6, 0.2, 0.15, 0.05], "n_clusters_per_class": 3},
}


def _many_rows(i):
    params = {"n_clusters_per_class": 1, **list(_MANY.values())[i]}
    return make_classification(102_000, 20, n_informative=8, flip_y=0.02, random_state=i, **params)


def _text(folder):
    return [
        Source("text columns", name, partial(_columns_of_texts, load, imbalance))
        for name, (load, imbalance) in text_loaders(folder).items()
    ]


def _columns_of_texts(load, imbalance, noise, rows, seed):
    return as_columns(text_task(load, imbalance, noise, rows, seed))


_SUITES = {
    "keel": _keel, "tabular": _tabular, "review": _review, "noise": _noise, "synthetic": _synthetic, "rows": _rows,
    "text": _text,
}  # fmt: skip
