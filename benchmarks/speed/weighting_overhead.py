"""What learning the weights adds to fitting a gradient boosting classifier on the same rows.

50,000 float32 rows of 50 features, 200 trusted rows, classes in mixed order. Learning the weights is
``OTSampleWeighter().fit`` at its defaults; the fit is ``HistGradientBoostingClassifier(max_iter=100)``, whose early
stopping, the default above 10,000 rows, is shown on and off. All take turns in one process; medians count. Leave the
machine alone: beside other work the fit's OpenMP threads mostly wait for each other, which flatters the ratio several
times over.

    python benchmarks/speed/weighting_overhead.py
    python benchmarks/speed/weighting_overhead.py --flip 0.3
    python benchmarks/speed/weighting_overhead.py --small
    python benchmarks/speed/weighting_overhead.py --classifier

Where the labels are found to be right, as these are, ``reg="auto"`` has no need of its votes. ``--flip`` has a share of
the labels flipped, so that it takes them.

``--small`` weighs 700 rows of 20 features by 10 trusted rows per class instead, arrays and data frames, labels right
and 30 % of them flipped, beside ``LogisticRegression().fit`` on the same standardised rows: what the weights cost in
every fold of a search.

``--classifier`` times the default weights of ``OTWeightedClassifier`` instead, which models of the labels take part in:
50,000 rows of two classes, 30 % of whose labels are flipped, and 100 trusted rows, beside the same boosting without
early stopping; and 700 rows of 20 features with 20 trusted ones.
"""

import argparse
from time import perf_counter

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

LIMIT = 0.04
SMALL_LIMIT, SMALL_MS = 0.5, 5.0
CLASSIFIER_LIMIT, CLASSIFIER_SMALL_MS = 0.5, 300.0


def draw(n_rows, n_meta, n_classes, rate=0.0):
    """Training rows, ``rate`` of whose labels are wrong, and trusted rows."""
    X, y = make_classification(
        n_rows + n_meta, 50, n_informative=20, n_classes=n_classes, n_clusters_per_class=2, random_state=0
    )
    X = X.astype(np.float32)
    return X[n_meta:], flip_labels(y[n_meta:], rate, random_state=0), X[:n_meta], y[:n_meta]


def draw_small(n_classes, rate, frame):
    """The same of 700 rows and 10 trusted rows per class, standardised; pandas frames where they are asked for."""
    n_meta = 10 * n_classes
    X, y = make_classification(700 + n_meta, 20, n_informative=8, n_classes=n_classes, random_state=0)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=10, random_state=0)
    scaler = StandardScaler().set_output(transform="pandas" if frame else "default").fit(X)
    return scaler.transform(X), flip_labels(y, rate, random_state=0), scaler.transform(X_meta), y_meta


def small_ratios(repeats):
    """Print the table of small sets; return {(classes, rate, frames): weights / fit}."""
    ratios = {}
    print("classes  flipped  frames  weights ms    fit ms   ratio")
    for frame in (False, True):
        for n_classes in (2, 10):
            for rate in (0.0, 0.3):
                X, y, X_meta, y_meta = draw_small(n_classes, rate, frame)
                runs = {
                    "weights": lambda X=X, y=y, m=X_meta, k=y_meta: OTSampleWeighter().fit(X, y, m, k),
                    "fit": lambda X=X, y=y: LogisticRegression().fit(X, y),
                }
                median_times(runs, 1)  # the first calls are slower
                times = median_times(runs, repeats)
                weights, fit = times["weights"] * 1e3, times["fit"] * 1e3
                ratio = ratios[n_classes, rate, frame] = weights / fit
                hit = weights <= SMALL_MS and ratio <= SMALL_LIMIT
                print(
                    f"{n_classes:7d}  {rate:7.1f}  {frame!s:>6s}  {weights:10.2f}  {fit:8.2f}  {ratio:6.2f}"
                    f"   target at most {SMALL_MS:g} ms and {SMALL_LIMIT}: {'hit' if hit else 'missed'}",
                    flush=True,
                )
    return ratios


def default_weighter():
    """What the weights of OTWeightedClassifier(weighter=None) are learned by."""
    return OTSampleWeighter(embedding="supervised", prior="confidence")


def classifier_ratio(n_rows, max_iter, repeats):
    """Print what the classifier's default weights take of many rows and of few; return weights / fit of the many."""
    X, y, X_meta, y_meta = draw(n_rows, 100, 2, 0.3)
    boosting = HistGradientBoostingClassifier(max_iter=max_iter, early_stopping=False)
    runs = {
        "weights": lambda: default_weighter().fit(X, y, X_meta, y_meta),
        "fit": lambda: boosting.fit(X, y),
    }
    small = draw_small(2, 0.3, frame=False)
    few = {"weights": lambda: default_weighter().fit(*small)}
    for all_runs in (runs, few):
        median_times(all_runs, 1)  # the first calls are slower
    times, of_few = median_times(runs, repeats), median_times(few, repeats)["weights"] * 1e3
    ratio = times["weights"] / times["fit"]
    print(
        f"{n_rows} rows: weights {times['weights'] * 1e3:.1f} ms, fit {times['fit'] * 1e3:.1f} ms, ratio {ratio:.3f}"
        f"   target at most {CLASSIFIER_LIMIT}: {'hit' if ratio <= CLASSIFIER_LIMIT else 'missed'}\n"
        f"700 rows: weights {of_few:.1f} ms   target at most {CLASSIFIER_SMALL_MS:g} ms: "
        f"{'hit' if of_few <= CLASSIFIER_SMALL_MS else 'missed'}",
        flush=True,
    )
    return ratio


def median_times(runs, repeats):
    """Seconds of each contender, median over rounds in which they take turns."""
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = perf_counter()
            run()
            times[name].append(perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, help="rounds of which the median is taken: 5, or 200 with --small")
    parser.add_argument("--small", action="store_true", help="700 rows beside a logistic regression")
    parser.add_argument("--classifier", action="store_true", help="the default weights of OTWeightedClassifier")
    parser.add_argument("--flip", type=float, default=0.0, help="share of wrong training labels")
    parser.add_argument("--quick", action="store_true", help="few rows and iterations: shows that it runs")
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; return {(classes, early stopping): weights / fit}, or what the functions above do."""
    args = parse(argv)
    repeats = 1 if args.quick else args.repeats or (200 if args.small else 5)
    if args.small:
        return small_ratios(repeats)
    if args.classifier:
        return classifier_ratio(*((600, 3) if args.quick else (50_000, 100)), repeats)
    n_rows, n_meta, max_iter = (600, 40, 3) if args.quick else (50_000, 200, 100)
    ratios = {}
    print("classes  early stopping  weights ms    fit ms   ratio")
    for n_classes in (2, 10):
        X, y, X_meta, y_meta = draw(n_rows, n_meta, n_classes, args.flip)
        for stopping in (False, True):
            classifier = HistGradientBoostingClassifier(max_iter=max_iter, early_stopping=stopping)
            runs = {
                "weights": lambda X=X, y=y, m=X_meta, k=y_meta: OTSampleWeighter().fit(X, y, m, k),
                "fit": lambda X=X, y=y, c=classifier: c.fit(X, y),
            }
            times = median_times(runs, repeats)
            weights, fit = times["weights"], times["fit"]
            ratio = ratios[n_classes, stopping] = weights / fit
            print(
                f"{n_classes:7d}  {stopping!s:>14s}  {weights * 1e3:10.1f}  {fit * 1e3:8.1f}  {ratio:6.3f}"
                f"   target at most {LIMIT}: {'hit' if ratio <= LIMIT else 'missed'}",
                flush=True,
            )
    return ratios


if __name__ == "__main__":
    main()
