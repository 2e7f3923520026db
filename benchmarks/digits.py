"""Long-tailed digits: OT weights against balanced weights and the trusted rows alone.

    python benchmarks/digits.py --seeds 10

Data: scikit-learn's digits, pixels divided by 16. A stratified half is the test set. Of the rest 10 images per class
are trusted, the others are made long-tailed, imbalance 50, and 30 % of their labels are flipped or none. Classifiers:
logistic regression and SVC, both with C=10. Trusted rows join training with class-balanced weights computed on the
union. Prints balanced accuracy on the test half, mean and standard deviation over the seeds.
"""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split

IMBALANCE = 50
N_TRUSTED = 10
FLIP_RATES = (0.0, 0.3)
REGS = (0.05, 0.1, "auto")


def draw(flip_rate, seed):
    """Training, trusted and test rows."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=seed)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, N_TRUSTED, random_state=seed)
    X, y = make_long_tailed(X, y, IMBALANCE, random_state=seed)
    return X, flip_labels(y, flip_rate, random_state=seed), X_meta, y_meta, X_test, y_test


def weightings(X, y, X_meta, y_meta):
    """{name: (rows, labels, weights)}."""
    X_all, y_all = np.vstack([X, X_meta]), np.r_[y, y_meta]
    balanced = compute_sample_weight("balanced", y_all)
    sets = {
        "none": (X_all, y_all, None),
        "balanced": (X_all, y_all, balanced),
        "trusted only": (X_meta, y_meta, None),
    }
    for reg in REGS:
        transported = OTSampleWeighter(reg=reg).fit_weights(X, y, X_meta, y_meta)
        weight = balanced.copy()
        weight[: len(y)] *= transported / compute_sample_weight("balanced", y)
        sets[f"OT reg {reg}"] = X_all, y_all, weight
    return sets


def accuracies(flip_rate, seed):
    """{weighting: balanced accuracy of each classifier}."""
    *train, X_test, y_test = draw(flip_rate, seed)
    classifiers = LogisticRegression(C=10, max_iter=5000), SVC(C=10)
    return {
        name: [
            balanced_accuracy_score(y_test, classifier.fit(X, y, sample_weight=w).predict(X_test))
            for classifier in classifiers
        ]
        for name, (X, y, w) in weightings(*train).items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="number of draws (default: 10)")
    n_seeds = parser.parse_args().seeds
    for flip_rate in FLIP_RATES:
        runs = [accuracies(flip_rate, seed) for seed in range(n_seeds)]
        title = f"{flip_rate:.0%} of labels flipped"
        print(f"{title:<24}{'LogisticRegression':>20}{'SVC':>20}")
        for name in runs[0]:
            scores = np.array([run[name] for run in runs])
            cells = [f"{mean:.3f} +- {sd:.3f}" for mean, sd in zip(scores.mean(0), scores.std(0, ddof=1), strict=True)]
            print(f"{name:<24}" + "".join(f"{cell:>20}" for cell in cells))
        print()


if __name__ == "__main__":
    main()
