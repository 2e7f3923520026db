"""``label_reliability_`` against the true reliability of labels that were flipped on purpose.

Rows of a bundled data set are split into a trusted part and a training part, the training part is made balanced or
long-tailed, and a share of its labels is flipped symmetrically. What is true is then known: the precision of a label
is the share of the rows carrying it that really are of that class, and

    r = (mean precision over the labels - 1/K) / (1 - 1/K).

The table has the mean of the truth and of the estimate over the seeds, and the difference of the two means, which
should stay within 0.05 on digits and within 0.1 on the two small sets. ``spread`` is the standard deviation of the
error of a single seed.

The second table has the precision of each label, by distances (``plain``) and by models of the labels (``models``, the
default of ``OTWeightedClassifier``), where half of the first class, a twentieth of the second and a third
of the third carry the label of the next class, and so on in turn: the mean error of a label whose precision the
estimate tells, the share of these within two standard errors of the truth, and the share that it does not tell.

    python benchmarks/label_reliability.py
"""

import argparse
from functools import partial
from itertools import product

import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split

# data set: loader, imbalance factor of its long tail, largest error that is accepted
DATA = {
    "digits": (load_digits, 20, 0.05),
    "wine": (load_wine, 5, 0.10),
    "breast_cancer": (load_breast_cancer, 5, 0.10),
}
RATES = (0.0, 0.15, 0.3, 0.45)
PER_CLASS = (5, 10)
CLASS_RATES = (0.5, 0.05, 0.3)  # of the first, second and third class, and so on in turn


def generated(n_classes, class_sep, *, return_X_y):
    return make_classification(
        400 * n_classes,
        10,
        n_informative=6,
        n_classes=n_classes,
        n_clusters_per_class=1,
        class_sep=class_sep,
        random_state=0,
    )


# data set: loader, imbalance factor of its long tail
DATA_BY_LABEL = {
    **{name: (loader, long_tail) for name, (loader, long_tail, _) in DATA.items()},
    "two": (partial(generated, 2, 1.5), 5),
    "four": (partial(generated, 4, 1.5), 5),
    "close": (partial(generated, 2, 0.4), 5),
}
WEIGHTERS = {
    "plain": OTSampleWeighter(),
    "models": OTSampleWeighter(embedding="supervised", prior="confidence", random_state=0),
}


def true_reliability(y_given, y_true):
    """Equation above for labels ``y_given`` whose truth is known; labels that no row carries do not count."""
    labels = np.unique(y_given)
    chance = 1.0 / labels.size
    precision = np.mean([np.mean(y_true[y_given == label] == label) for label in labels])
    return (precision - chance) / (1.0 - chance)


def one_run(loader, imbalance, n_per_class, rate, seed):
    """(truth, estimate) of one seed."""
    X, y, X_meta, y_meta = balanced_meta_split(*loader(return_X_y=True), n_per_class, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance, class_order="frequency", random_state=seed)
    given = flip_labels(y, rate, random_state=seed)
    weighter = OTSampleWeighter().fit(X, given, X_meta, y_meta)
    return true_reliability(given, y), weighter.label_reliability_.overall


def precision_run(weighter, loader, imbalance, n_per_class, seed):
    """(truth, estimate, standard error) of each label, one seed."""
    X, y, X_meta, y_meta = balanced_meta_split(*loader(return_X_y=True), n_per_class, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance, class_order="frequency", random_state=seed)
    n_classes = int(y.max()) + 1
    rates = np.resize(CLASS_RATES, n_classes)
    transition = np.diag(1 - rates) + np.roll(np.diag(rates), 1, axis=1)
    given = flip_labels(y, kind="class-dependent", transition=transition, random_state=seed)
    found = clone(weighter).fit(X, given, X_meta, y_meta).label_reliability_
    truth = np.array([np.mean(y[given == label] == label) for label in range(n_classes)])
    return np.stack([truth, found.precision, found.precision_se])


def precision_table(names, per_class, seeds):
    """Print the table of the labels' precisions; return its rows as dictionaries."""
    print("\ndata           weighter  imbalance  trusted/class  mean |diff|  within 2 se  not told")
    rows = []
    for name in names:
        loader, long_tail = DATA_BY_LABEL[name]
        for kind, imbalance, n_per_class in product(WEIGHTERS, (1, long_tail), per_class):
            runs = [precision_run(WEIGHTERS[kind], loader, imbalance, n_per_class, seed) for seed in seeds]
            truth, estimate, se = np.concatenate(runs, axis=1)
            told = ~np.isnan(estimate)
            error = np.abs(estimate - truth)[told]
            row = {
                "data": name, "weighter": kind, "imbalance": imbalance, "n_per_class": n_per_class,
                "not_told": 1 - told.mean(),
                "error": error.mean() if told.any() else np.nan,
                "within": np.mean(error <= 2 * se[told]) if told.any() else np.nan,
            }  # fmt: skip
            rows.append(row)
            print(
                f"{name:14s} {kind:8s} {imbalance:10d} {n_per_class:14d} {row['error']:12.3f} {row['within']:12.2f} "
                f"{row['not_told']:9.2f}",
                flush=True,
            )
    return rows


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA), help="data sets to run")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, 0 to SEEDS - 1")
    parser.add_argument("--quick", action="store_true", help="wine, two flip rates, two seeds: seconds")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; return its rows as dictionaries."""
    args = parse(argv)
    names, rates, seeds = args.data, RATES, range(args.seeds)
    if args.quick:
        names, rates, seeds = ["wine"], (0.0, 0.3), range(2)
    print("data           imbalance  trusted/class  flipped   truth  estimate    diff  spread  target")
    rows = []
    for name in names:
        loader, long_tail, tolerance = DATA[name]
        for imbalance, n_per_class, rate in product((1, long_tail), PER_CLASS, rates):
            runs = np.array([one_run(loader, imbalance, n_per_class, rate, seed) for seed in seeds])
            truth, estimate = runs.mean(axis=0)
            spread = float(np.std(runs[:, 1] - runs[:, 0]))
            hit = bool(abs(estimate - truth) <= tolerance)
            rows.append({
                "data": name, "imbalance": imbalance, "n_per_class": n_per_class, "rate": rate,
                "truth": truth, "estimate": estimate, "spread": spread, "hit": hit,
            })  # fmt: skip
            print(
                f"{name:14s} {imbalance:9d} {n_per_class:14d} {rate:8.2f} {truth:7.3f} {estimate:9.3f} "
                f"{estimate - truth:+7.3f} {spread:7.3f}  {'hit' if hit else 'missed'} (±{tolerance})",
                flush=True,
            )
    for name in names:
        ours = [row for row in rows if row["data"] == name]
        errors = [abs(row["estimate"] - row["truth"]) for row in ours]
        hits = sum(row["hit"] for row in ours)
        print(f"{name}: {hits} of {len(ours)} settings within ±{DATA[name][2]}, mean |diff| {np.mean(errors):.3f}")
    generated_names = [] if args.quick else [name for name in DATA_BY_LABEL if name not in DATA]
    return rows, precision_table([*names, *generated_names], PER_CLASS if args.quick else (*PER_CLASS, 20), seeds)


if __name__ == "__main__":
    main()
