"""
Why not SMOTE or focal loss?
============================

Both are made for classes of unequal size. SMOTE invents rows between neighbours of the rare class. Focal loss makes
hard rows count more. Both believe the labels: SMOTE spreads a wrong label over its surroundings, and a row with a wrong
label is the hardest of all. Weights from trusted rows go the other way. Here is what that is worth, with right labels
and with wrong ones.

The rare class is the digit 8, against all other digits; it has one row in twenty. Ten images of either class are
trusted, and every way gets them. All ways fit the same logistic regression.
"""

import matplotlib.pyplot as plt
import numpy as np
from imblearn.over_sampling import SMOTE
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skotw import OTWeightedClassifier
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split


def eights(rate, seed):
    """Training rows, trusted rows and test rows, standardised; 1 is an eight."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, (y == 8).astype(int), test_size=0.5, stratify=y, random_state=seed)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=10, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=seed)
    scaler = StandardScaler().fit(X)
    X, X_meta, X_test = map(scaler.transform, (X, X_meta, X_test))
    return X, flip_labels(y, rate, random_state=seed), X_meta, y_meta, X_test, y_test


# %%
# Focal loss of a linear model
# ----------------------------
# It is :math:`-(1 - p)^\gamma \log p`, where p is the probability of the label (Lin et al., ICCV 2017,
# arXiv:1708.02002).


class FocalLogisticRegression:
    """Logistic regression under class-balanced focal loss, with the penalty of scikit-learn's at C=1."""

    def __init__(self, gamma=2.0):
        self.gamma = gamma

    def fit(self, X, y):
        X, sign = np.column_stack([X, np.ones(len(X))]), 2 * y - 1
        weight = len(y) / 2 / np.bincount(y)[y]
        penalty = np.r_[np.ones(X.shape[1] - 1), 0.0]

        def loss(coef):
            margin = sign * (X @ coef)
            p, log_p = expit(margin), -np.logaddexp(0, -margin)
            focus = (1 - p) ** self.gamma
            slope = focus * (self.gamma * p * log_p + p - 1)
            value = -(weight * focus * log_p).sum() + penalty @ coef**2 / 2
            return value, X.T @ (weight * sign * slope) + penalty * coef

        self.coef_ = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x
        return self

    def predict(self, X):
        return (X @ self.coef_[:-1] + self.coef_[-1] > 0).astype(int)


# %%
# The comparison
# --------------


def compare(rate, seed):
    """Balanced accuracy on the test half by way."""
    X, y, X_meta, y_meta, X_test, y_test = eights(rate, seed)
    X_all, y_all = np.vstack([X, X_meta]), np.r_[y, y_meta]
    model = LogisticRegression(max_iter=1000)
    fitted = {
        "balanced": LogisticRegression(max_iter=1000, class_weight="balanced").fit(X_all, y_all),
        "SMOTE": LogisticRegression(max_iter=1000).fit(*SMOTE(random_state=seed).fit_resample(X_all, y_all)),
        "focal loss": FocalLogisticRegression().fit(X_all, y_all),
        "trusted only": LogisticRegression(max_iter=1000).fit(X_meta, y_meta),
        "skotw": OTWeightedClassifier(model, random_state=0).fit(X, y, X_meta=X_meta, y_meta=y_meta),
    }
    return {name: balanced_accuracy_score(y_test, model.predict(X_test)) for name, model in fitted.items()}


rates, seeds = (0.0, 0.15, 0.3), range(5)
scores = {rate: [compare(rate, seed) for seed in seeds] for rate in rates}
ways = list(scores[0.0][0])
mean = np.array([[np.mean([s[way] for s in scores[rate]]) for rate in rates] for way in ways])
print(f"balanced accuracy, mean of {len(seeds)} seeds")
print(f"{'wrong labels':<14}" + "".join(f"{rate:>8.0%}" for rate in rates))
for way, row in zip(ways, mean, strict=True):
    print(f"{way:<14}" + "".join(f"{value:>8.3f}" for value in row))
for k, rate in enumerate(rates):
    best = ways[int(mean[:-1, k].argmax())]
    print(f"{rate:.0%} wrong: skotw {mean[-1, k] - mean[:-1, k].max():+.3f} against the best other way, {best}")

# %%
# Where all labels are right there is little to win, and balanced weights are free. The more labels are wrong, the
# harder it is to beat *trusted only*, which the wrong labels do not reach; the last lines above say where skotw loses
# to it.

fig, ax = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
colors = ("C1", "C2", "C4", "0.4", "C0")
for way, row, marker, color in zip(ways, mean, "os^vD", colors, strict=True):
    ax.plot(rates, row, marker=marker, label=way, linewidth=2.5 if way == "skotw" else 1.2, color=color)
ax.set(xlabel="share of wrong labels", ylabel="balanced accuracy", xticks=rates)
ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
ax.legend(frameon=False)
