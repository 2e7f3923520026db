"""``reg="auto"`` and ``meta_weight="auto"`` against every constant setting, and against the cheap uses of trusted rows.

    python benchmarks/automatic_settings.py --data FOLDER --half choose
    python benchmarks/automatic_settings.py --data FOLDER --half confirm
    python benchmarks/automatic_settings.py --data FOLDER --sets tabular
    python benchmarks/automatic_settings.py --data FOLDER --sets annotators

Data: a folder (or SKOTW_DATA in place of --data) with

keel/*.npz     ``X`` and binary ``y``. The sets are taken in alphabetical order: the first, third, ... were looked at
               while the rules were made, the others only to confirm them, under an earlier rule for ``reg`` as well as
               under this one. The bandwidth of the kernel, 0.1, is older, and some of the others may be among the sets
               on which it was chosen.
tabular/*.npz  the same with two classes or more. Nothing was chosen by them.
noise/*.npz    ``X_train, y_train, X_test, y_test``, and labels by people who are often wrong: ``y_majority``, what most
               of a row's annotators say, and ``y_random``, what one of them says.

Protocol: a stratified half is the test set. Of the rest ten rows per class are trusted (half of the rarest class where
it has fewer than 20; sets with fewer than 6 are left out), up to 700 train, and 0, 15 or 30 % of the training labels
are flipped. Where annotators erred nothing is flipped, the test set is the one given, and 15 rows per class are
trusted. Four model families, logistic regression and SVC on standardised features, random forest and gradient boosting
of 60 trees, all else at scikit-learn's defaults. Trusted rows join training in every row of the table but "trusted
only". Printed: balanced accuracy on the test half, mean over models, seeds and sets, and differences to "auto" with the
standard error over the sets.
"""

import argparse
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

RATES = (0.0, 0.15, 0.3)
REGS = (0.05, 0.1, 0.2, 0.4)
SHARES = ("balanced", 0.25, 0.5, 0.75)
LABELS = {"right": "y_train", "majority": "y_majority", "one annotator": "y_random"}
N_TRUSTED, LEAST_TRUSTED, MOST_TRAINING, MOST_TEST = 10, 3, 700, 3000
N_TRUSTED_BY_ANNOTATORS = 15
CHEAP = ("balanced", "balanced, trusted .25", "balanced, trusted .5", "balanced, trusted .75", "trusted only")


def models():
    return (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        make_pipeline(StandardScaler(), SVC()),
        RandomForestClassifier(60, random_state=0),
        GradientBoostingClassifier(n_estimators=60, random_state=0),
    )


def settings():
    """{row of the table: (weighter, meta_weight)}; label_weight=1 gives class-balanced weights."""
    labels_only = OTSampleWeighter(label_weight=1.0, reg=1.0)
    rows = {name: (labels_only, share) for name, share in zip(CHEAP[:-1], SHARES, strict=True)}
    rows |= {f"OT {reg}, {share}": (OTSampleWeighter(reg=reg), share) for reg in REGS for share in SHARES}
    return rows | {"auto": (OTSampleWeighter(), "auto")}


def at_most(n, X, y, seed):
    return (X, y) if len(y) <= n else train_test_split(X, y, train_size=n, stratify=y, random_state=seed)[::2]


def flipped(load, rate, seed):
    """Training, trusted and test rows; None where the rarest class is too small."""
    X, y = load()
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    n_trusted = min(N_TRUSTED, int(np.unique(y, return_counts=True)[1].min()) // 2)
    if n_trusted < LEAST_TRUSTED:
        return None
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_trusted, random_state=seed)
    X, y = at_most(MOST_TRAINING, X, y, seed)
    return X, flip_labels(y, rate, random_state=seed), X_meta, y_meta, *at_most(MOST_TEST, X_test, y_test, seed)


def annotated(path, labels, seed):
    """The same, with labels that people gave."""
    with np.load(path) as file:
        X, y, given, X_test, y_test = (
            file[name] for name in ("X_train", "y_train", LABELS[labels], "X_test", "y_test")
        )
    index = np.arange(len(y))[:, None]
    index, _, trusted, y_meta = balanced_meta_split(index, y, N_TRUSTED_BY_ANNOTATORS, random_state=seed)
    return X[index[:, 0]], given[index[:, 0]], X[trusted[:, 0]], y_meta, X_test, y_test


def scores(draw, column, seed, n_models):
    """{row of the table: balanced accuracy of each model}, or None."""
    parts = draw(column, seed)
    if parts is None:
        return None
    X, y, X_meta, y_meta, X_test, y_test = parts
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # repeated rows of these sets
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = {
            name: [
                OTWeightedClassifier(model, weighter=weighter, meta_weight=share).fit(
                    X, y, X_meta=X_meta, y_meta=y_meta
                )
                for model in models()[:n_models]
            ]
            for name, (weighter, share) in settings().items()
        }
        fits["trusted only"] = [model.fit(X_meta, y_meta) for model in models()[:n_models]]
        return {
            name: [balanced_accuracy_score(y_test, model.predict(X_test)) for model in fitted]
            for name, fitted in fits.items()
        }


def load_file(path):
    with np.load(path) as file:
        return file["X"].astype(float), file["y"].astype(int)


def sources(args):
    """A function of column and seed for each set, which draws its rows, and the columns."""
    if args.quick:
        sets = [make_classification(160, 6, weights=[0.7], class_sep=2.0, random_state=seed) for seed in range(2)]
        return [partial(flipped, partial(tuple, xy)) for xy in sets], RATES
    folder = {"annotators": "noise"}.get(args.sets, args.sets)
    paths = sorted(Path(args.data or ".").glob(f"{folder}/*.npz"))
    if not paths:
        raise SystemExit(f"No data: pass --data, or set SKOTW_DATA to, a folder that has {folder}/*.npz.")
    if args.sets == "annotators":
        return [partial(annotated, path) for path in paths], tuple(LABELS)
    if args.sets == "keel":
        paths = paths[args.half == "confirm" :: 2]
    return [partial(flipped, partial(load_file, path)) for path in paths], RATES


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help="folder of the data sets")
    parser.add_argument("--sets", choices=("keel", "tabular", "annotators"), default="keel", help="which sets")
    parser.add_argument("--half", choices=("choose", "confirm"), default="confirm", help="which half of keel")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, 0 to SEEDS - 1")
    parser.add_argument("--jobs", type=int, default=-1, help="processes")
    parser.add_argument("--quick", action="store_true", help="two generated sets, two models: shows that it runs")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; return {row: mean balanced accuracy of shape (sets, columns)}."""
    args = parse(argv)
    (draws, columns), seeds = sources(args), range(args.seeds)
    tasks = [(i, j, seed) for i in range(len(draws)) for j in range(len(columns)) for seed in seeds]
    run = Parallel(n_jobs=args.jobs)
    n_models = 2 if args.quick else 4
    outcomes = run(delayed(scores)(draws[i], columns[j], seed, n_models) for i, j, seed in tasks)
    used = sorted({i for (i, _, _), outcome in zip(tasks, outcomes, strict=True) if outcome})
    table = {}
    for name in next(filter(None, outcomes)):
        sums = np.zeros((len(draws), len(columns)))
        for (i, j, _), outcome in zip(tasks, outcomes, strict=True):
            sums[i, j] += np.mean(outcome[name]) / len(seeds) if outcome else 0.0
        table[name] = sums[used]
    report(table, [column if isinstance(column, str) else f"{column:.0%}" for column in columns])
    return table


def report(table, columns):
    auto = table["auto"]
    print(f"{len(auto)} data sets".ljust(32) + "".join(f"{column:>14s}" for column in [*columns, "mean"]))
    for name, scores_ in table.items():
        cells = "".join(f"{value:14.4f}" for value in [*scores_.mean(axis=0), scores_.mean()])
        print(f"{name:32s}{cells}")
    print("\nauto minus the best of                    labels   difference, standard error over the sets")
    groups = {"every constant setting of OT": [name for name in table if name.startswith("OT")], "cheap": CHEAP}
    groups["balanced"] = ["balanced"]
    for group, names in groups.items():
        for j, label in [*enumerate(columns), (slice(None), "mean")]:
            best = max(names, key=lambda name: table[name][:, j].mean())
            gain = (auto[:, j] - table[best][:, j]).reshape(len(auto), -1).mean(axis=1)
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            print(f"{group:32s} {label:>15s}   {gain.mean():+.4f} +- {error:.4f}   ({best})")


if __name__ == "__main__":
    main()
