"""``label_reliability_`` against the true reliability of labels that were flipped on purpose.

Rows of a bundled data set are split into a trusted part and a training part, the training part is made balanced or
long-tailed, and a share of its labels is flipped symmetrically. What is true is then known: the precision of a label
is the share of the rows carrying it that really are of that class, and

    r = (mean precision over the labels - 1/K) / (1 - 1/K).

The table has the mean of the truth and of the estimate over the seeds, and the difference of the two means, which
should stay within 0.05 on digits and within 0.1 on the two small sets. ``spread`` is the standard deviation of the
error of a single seed.

    python benchmarks/label_reliability.py
"""

import argparse
from itertools import product

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

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
    return rows


if __name__ == "__main__":
    main()
