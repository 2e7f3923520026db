"""Wrong labels found: ``find_label_errors`` beside what else ranks rows by the trust in their label.

    python benchmarks/quality/label_errors.py
    python benchmarks/quality/label_errors.py --data FOLDER --sets keel --half choose --seeds 3
    python benchmarks/quality/label_errors.py --data FOLDER --sets tabular

Data: scikit-learn's digits, long-tailed (imbalance 50), or with --data (or SKOTW_DATA) a folder that has

keel/*.npz     ``X`` and binary ``y``. In alphabetical order, the first, third, ... are the half to choose by.
tabular/*.npz  the same with two classes or more.

Protocol: half of the rows are set aside, as in the comparison of classifiers. Of the rest ten rows per class are
trusted (half of the rarest class where it has fewer than 20; sets with fewer than 6 are left out), up to 700 are to be
judged, and 15 or 30 % of their labels are flipped, to any other class or, "by class", to the next one with a rate that
differs from class to class and is 30 % on average. Everyone gets the same trusted rows.

Printed: the area under the ROC curve within a class, right labels against wrong ones, mean over classes, flips, seeds
and sets, with the standard error over the sets (over the seeds for digits); how many sets each contender loses to
``find_label_errors``; and the expected number of wrong labels beside the true one.

weights               sample_weight_ of the weighter with which find_label_errors is run.
self-confidence       P(y | x) out of fold, of models of both sets.
trusted only          P(y | x) of models of the trusted rows.
cleanlab              label quality of cleanlab (Northcutt et al., 2021) from the same probabilities out of fold:
                      margins, adjusted by the mean confidence of the class. Where cleanlab is installed.
KNN-Shapley           what a row adds to the accuracy of 5 nearest neighbours on the trusted rows (Jia et al., 2019).

Models are logistic regression on standardised columns and a random forest of 100 trees with at least 3 rows per leaf.
"""

import argparse
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skotw import find_label_errors
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split
from skotw.metrics import mislabel_auc

FLIPS = ("15 %", "30 %", "by class")
OURS = "find_label_errors"
N_TRUSTED, LEAST_TRUSTED, MOST_TRAINING = 10, 3, 700


# ---------------------------------------------------------------------------------------------
# Data


def flip(y, how, seed):
    """Labels of which some are wrong, and which."""
    if how != "by class":
        return flip_labels(y, float(how[:-2]) / 100, random_state=seed, return_mask=True)
    n_classes = int(y.max()) + 1
    rates = np.resize((0.4, 0.2), n_classes)
    transition = np.diag(1 - rates) + np.roll(np.diag(rates), 1, axis=1)
    return flip_labels(y, kind="class-dependent", transition=transition, random_state=seed, return_mask=True)


def long_tailed_digits(seed):
    """Training and trusted rows."""
    X, y = load_digits(return_X_y=True)
    X, _, y, _ = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=seed)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, N_TRUSTED, random_state=seed)
    return *make_long_tailed(X, y, 50, random_state=seed), X_meta, y_meta


def of_set(load, seed):
    """The same of a set; None where its rarest class is too small."""
    X, y = load()
    X, _, y, _ = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    n_trusted = min(N_TRUSTED, int(np.unique(y, return_counts=True)[1].min()) // 2)
    if n_trusted < LEAST_TRUSTED:
        return None
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_trusted, random_state=seed)
    if len(y) > MOST_TRAINING:
        X, _, y, _ = train_test_split(X, y, train_size=MOST_TRAINING, stratify=y, random_state=seed)
    return X, y, X_meta, y_meta


def load_file(path):
    with np.load(path) as file:
        return file["X"].astype(float), np.unique(file["y"], return_inverse=True)[1]


# ---------------------------------------------------------------------------------------------
# Contenders


def models():
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "forest": RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    }


def knn_shapley(X, y, X_meta, y_meta, n_neighbors=5):
    """Shapley value of every training row for the accuracy of nearest neighbours on the trusted rows.

    Theorem 1 of Jia et al., "Efficient task-specific data valuation for nearest neighbor algorithms" (VLDB 2019): from
    the farthest row to the nearest,

        s_N = 1[y_N = y] / N,    s_i = s_(i+1) + (1[y_i = y] - 1[y_(i+1) = y]) / K * min(K, i) / i.
    """
    n = len(y)
    values = np.zeros(n)
    for order, label in zip(np.argsort(pairwise_distances(X_meta, X), axis=1, kind="stable"), y_meta, strict=True):
        right = (y[order] == label).astype(float)
        rank = np.arange(1, n)
        steps = (right[:-1] - right[1:]) / n_neighbors * np.minimum(n_neighbors, rank) / rank
        values[order] += np.r_[np.cumsum(steps[::-1])[::-1], 0.0] + right[-1] / n
    return values / len(y_meta)


def probabilities(model, X, y, X_meta, y_meta, n_classes):
    """Out-of-fold P(class | x) of training rows, of models of both sets; every class has trusted rows in each fold."""
    both, labels = np.vstack([X, X_meta]), np.r_[y, y_meta]
    n_folds = min(5, int(np.bincount(y_meta).min()))
    strata = 2 * labels + (np.arange(len(labels)) >= len(y))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # of noisy rows: every class has trusted rows in each fold
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        parts = list(folds.split(both, strata))
    return cross_val_predict(model, both, labels, cv=parts, method="predict_proba")[: len(y)]


def score(X, y, X_meta, y_meta):
    """{contender: trust in the label of each row}, and what find_label_errors expects to be wrong."""
    n_classes, rows = int(y_meta.max()) + 1, np.arange(len(y))
    found = find_label_errors(X, y, X_meta, y_meta)
    trust = np.empty(len(y))
    trust[found.indices] = found.confidence
    scores = {OURS: trust, "weights": found.weighter.sample_weight_}
    for name, model in models().items():
        P = probabilities(model, X, y, X_meta, y_meta, n_classes)
        scores[f"self-confidence, {name}"] = P[rows, y]
        with_labels = cleanlab_quality(y, P)
        if with_labels is not None:
            scores[f"cleanlab, {name}"] = with_labels
        scores[f"trusted only, {name}"] = clone(model).fit(X_meta, y_meta).predict_proba(X)[rows, y]
    scale = StandardScaler().fit(X)
    scores["KNN-Shapley"] = knn_shapley(scale.transform(X), y, scale.transform(X_meta), y_meta)
    return scores, (found.n_errors, found.n_errors_se)


def cleanlab_quality(y, P):
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return None
    if len(np.unique(y)) < P.shape[1]:  # it adjusts by classes that all have rows
        return get_label_quality_scores(y, P, method="normalized_margin")
    return get_label_quality_scores(y, P, method="normalized_margin", adjust_pred_probs=True)


# ---------------------------------------------------------------------------------------------
# Table


def outcome(draw, how, seed):
    """{contender: area}, and true and expected numbers of wrong labels; None where the set is too small."""
    parts = draw(seed)
    if parts is None:
        return None
    X, y, X_meta, y_meta = parts
    given, wrong = flip(y, how, seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # repeated rows of these sets
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores, expected = score(X, given, X_meta, y_meta)
    areas = {name: mislabel_auc(rankdata(values), given, wrong) for name, values in scores.items()}
    return areas, (int(wrong.sum()), *expected)


def sources(args):
    if args.quick:
        sets = [make_classification(160, 6, weights=[0.7], class_sep=2.0, random_state=seed) for seed in range(2)]
        return {f"set {i}": partial(of_set, partial(tuple, xy)) for i, xy in enumerate(sets)}
    if args.sets == "digits":
        return {"digits": long_tailed_digits}
    paths = sorted(Path(args.data or ".").glob(f"{args.sets}/*.npz"))
    if not paths:
        raise SystemExit(f"No data: pass --data, or set SKOTW_DATA to, a folder that has {args.sets}/*.npz.")
    if args.sets == "keel" and args.half != "all":
        paths = paths[args.half == "confirm" :: 2]
    return {path.stem: partial(of_set, partial(load_file, path)) for path in paths}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help="folder of the data sets")
    parser.add_argument("--sets", choices=("digits", "keel", "tabular"), default="digits", help="which sets")
    parser.add_argument("--half", choices=("choose", "confirm", "all"), default="all", help="which half of keel")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, 0 to SEEDS - 1")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--quick", action="store_true", help="two generated sets, one seed: shows that it runs")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; return {contender: mean area of each unit}, a unit being a set, or a seed where there is one."""
    args = parse(argv)
    draws, seeds = sources(args), range(1 if args.quick else args.seeds)
    tasks = [(name, how, seed) for name in draws for how in FLIPS for seed in seeds]
    outcomes = Parallel(n_jobs=args.jobs)(delayed(outcome)(draws[name], how, seed) for name, how, seed in tasks)
    by_unit, counts = {}, []
    for (name, how, seed), result in zip(tasks, outcomes, strict=True):
        if result is None:
            continue
        unit = (name, seed) if len(draws) == 1 else name
        counts.append((how, *result[1]))
        for contender, area in result[0].items():
            by_unit.setdefault(contender, {}).setdefault(unit, []).append(area)
    table = {name: np.array([np.mean(areas) for areas in units.values()]) for name, units in by_unit.items()}
    report(table, counts)
    return table


def report(table, counts):
    ours = table[OURS]
    print(f"{len(ours)} sets or seeds".ljust(36) + "    area  std. err.  find_label_errors minus it  won  lost")
    for name, areas in sorted(table.items(), key=lambda item: -item[1].mean()):
        gain, root = ours - areas, np.sqrt(max(len(ours), 1))
        error = areas.std(ddof=1) / root if len(areas) > 1 else np.nan
        beside = gain.std(ddof=1) / root if len(gain) > 1 else np.nan
        print(
            f"{name:36s}{areas.mean():8.4f}{error:12.4f}      {gain.mean():+8.4f} +- {beside:.4f}    "
            f"{(gain > 0).sum():5d} {(gain < 0).sum():5d}"
        )
    print("\nflips        wrong  expected   mean |difference|   within 2 standard errors   not told")
    for how in FLIPS:
        rows = np.array([count[1:] for count in counts if count[0] == how], dtype=float)
        told = ~np.isnan(rows[:, 1])
        truth, expected, se = rows[told].T
        print(
            f"{how:10s}{truth.mean():8.1f}{expected.mean():10.1f}{np.abs(expected - truth).mean():20.1f}"
            f"{np.mean(np.abs(expected - truth) <= 2 * se):27.2f}{1 - told.mean():11.2f}"
        )


if __name__ == "__main__":
    main()
