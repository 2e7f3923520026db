"""
Which rows should judge a grid search?
======================================

Right ones, if there are enough. How strongly to weigh and how strongly to regularise the classifier depend on each
other, and on a share of wrong labels that nobody knows. A search over both is one
:class:`~sklearn.model_selection.GridSearchCV`, since :class:`~skotw.OTWeightedClassifier` learns the weights in its
``fit``. The training labels are many and some are wrong. The trusted rows are right and few. Here half of the trusted
rows set the weights and the other half judges, beside a cross-validation on the labels as they came.

Long-tailed handwritten digits (imbalance 20), 30 % of each digit labelled as the next one, ten trusted images per
class.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit, StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
X, y, X_trusted, y_trusted = balanced_meta_split(X, y, n_per_class=10, random_state=0)
X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=0)
y = flip_labels(y, 0.3, kind="pair", random_state=0)
X_judge, y_judge, X_meta, y_meta = balanced_meta_split(X_trusted, y_trusted, n_per_class=5, random_state=0)

# %%
# One estimator, parameters of three kinds
# ----------------------------------------
# Those of the weights, of the trusted rows' share and of the classifier have their own prefixes. The weighter must be
# an instance, since None has no parameters to set.

model = OTWeightedClassifier(
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), weighter=OTSampleWeighter()
)
grid = {
    "weighter__reg": ["auto", 0.1, 0.05],
    "meta_weight": ["auto", "balanced"],
    "estimator__logisticregression__C": [0.001, 0.01, 0.1, 1.0],
}

# %%
# Two judges
# ----------
# Cross-validation judges on the labels as they came. To judge on trusted rows, append them to the training rows and
# declare them the one test fold: :class:`~sklearn.model_selection.PredefinedSplit` keeps rows marked -1 in training.

X_all, y_all = np.vstack([X, X_judge]), np.r_[y, y_judge]
judged_by_trust = PredefinedSplit(np.r_[np.full(len(y), -1), np.zeros(len(y_judge))])
searches = {}
for judge, rows, labels, cv in (
    ("the labels as they came", X, y, StratifiedKFold(3)),
    ("trusted rows", X_all, y_all, judged_by_trust),
):
    search = GridSearchCV(model, grid, cv=cv, scoring="balanced_accuracy", refit=False)
    searches[judge] = search.fit(rows, labels, X_meta=X_meta, y_meta=y_meta)

# %%
# Once the search is over, all trusted rows may set the weights. Fifty rows are a coarse judge, for which one row is
# 2 %, so neighbours in the grid are hardly told apart.


def score(classifier):
    """Balanced accuracy on the test half."""
    return balanced_accuracy_score(y_test, classifier.predict(X_test))


results = {"defaults": score(clone(model).fit(X, y, X_meta=X_trusted, y_meta=y_trusted))}
for judge, search in searches.items():
    best = clone(model).set_params(**search.best_params_).fit(X, y, X_meta=X_trusted, y_meta=y_trusted)
    results[f"chosen by {judge}"] = score(best)
    print(f"{judge}: {search.best_params_}")
for name, accuracy in results.items():
    print(f"{name:<40}{accuracy:.3f}")

# %%
# The cheap ways deserve the same judge
# -------------------------------------
# Class-balanced weights with the trusted rows in training, and the trusted rows alone: ``C`` is chosen by the rows that
# judge, and then all trusted rows are used.


def fit_balanced(C, rows, labels):
    """Logistic regression with class-balanced weights."""
    pipe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000, class_weight="balanced"))
    return pipe.fit(rows, labels)


for name, rows, labels in (("balanced", X, y), ("trusted only", X[:0], y[:0])):
    chosen = max(
        grid["estimator__logisticregression__C"],
        key=lambda C, rows=rows, labels=labels: balanced_accuracy_score(
            y_judge, fit_balanced(C, np.vstack([rows, X_meta]), np.r_[labels, y_meta]).predict(X_judge)
        ),
    )
    results[name] = score(fit_balanced(chosen, np.vstack([rows, X_trusted]), np.r_[labels, y_trusted]))
    print(f"{name:<40}{results[name]:.3f}")
ours = results["chosen by trusted rows"]
best = max(("balanced", "trusted only"), key=results.get)
print(f"the search that trusted rows judge: {ours - results['defaults']:+.3f} against no search, "
      f"{ours - results['chosen by the labels as they came']:+.3f} against the other judge, "
      f"{ours - results[best]:+.3f} against {best}")  # fmt: skip

# %%
# What the two judges saw
# -----------------------

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
strengths = grid["estimator__logisticregression__C"]
for ax, (judge, search) in zip(axes, searches.items(), strict=True):
    found = search.cv_results_
    for reg in grid["weighter__reg"]:
        scores = [
            max(
                mean
                for mean, params in zip(found["mean_test_score"], found["params"], strict=True)
                if params["weighter__reg"] == reg and params["estimator__logisticregression__C"] == C
            )
            for C in strengths
        ]
        ax.semilogx(strengths, scores, marker="o", label=f"reg={reg}")
    ax.set(title=f"judged by {judge}", xlabel="C of the logistic regression")
axes[0].set(ylabel="balanced accuracy")
axes[1].legend(frameon=False)
