"""
What do trusted rows buy?
=========================

Somebody has looked at a few rows and made sure of their labels. There are many ways to use such rows. This page shows
the two situations in which skotw uses them well, beside all the simple ways, and says where these are better.

1. **A rare class with wrong labels.** Handwritten digits: there are twenty times as many zeros as nines, and three in
   ten labels are wrong. Most of the rows that are labelled nine are something else. Five images of each digit are
   trusted.
2. **A random review of a business table.** Seven in a hundred customers have left. The table says so of 70 % of them,
   and of 10 % of those who stayed. Two hundred rows, drawn at random, have been reviewed.

The protocol is the same in both. A test set with right labels is only used to measure. Every way gets the same training
rows and the same trusted rows. Models have the hyper-parameters that the code below shows, and no way is tuned. All
numbers are means over seeds; each seed draws all data anew.

- *plain*: all rows of both kinds, weight 1.
- *balanced*: the same, each class with the same weight.
- *balanced, trusted 1/4, 1/2, 3/4*: trusted rows hold that share of the weight of their class.
- *trusted only*: no training rows.
- *P(y|x)*: a training row of label y weighs as much as y is probable under a model of the trusted rows alone, a
  logistic regression or a forest; trusted rows hold one half.
- *confident learning*: rows that look mislabelled, by cross-validated probabilities, are left out.
- *self-confidence*: a row weighs as much as its label is probable under cross-validation.
- *KNN-Shapley*: a row weighs as much as it adds to the accuracy of nearest neighbours on the trusted rows.
- *skotw*: the model inside :class:`~skotw.OTWeightedClassifier`.
- *without wrong rows*, with a star: no contender, since nobody knows these rows. It says how much there is to win.

``make demo`` or ``python examples/plot_quickstart.py`` prints the tables and saves the figures in ``examples/output``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _cheap_ways import BOUND, OURS, SIMPLE, Task, dots, fit_plain, fit_way
from _churn import as_numbers, as_recorded, customers, in_days
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split
from skotw.plotting import SampleWeightDisplay

DIGIT_SEEDS, TABLE_SEEDS = range(4), range(3)
RARE = [7, 8, 9]


def print_table(columns, results):
    """Means over the seeds; ``results`` is {way: array of (seeds, columns)}."""
    print(" " * 24 + "".join(f"{column:>15}" for column in columns))
    for way, values in results.items():
        print(f"{way:<24}" + "".join(f"{value:>15.3f}" for value in np.mean(values, axis=0)))


# %%
# A rare class with wrong labels
# ------------------------------


def digits(seed):
    """Long-tailed, mislabelled digits."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=5, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=seed)
    return Task(X, flip_labels(y, 0.3, random_state=seed), y, X_meta, y_meta, X_test, y_test, seed)


def digit_models(seed):
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "SVC": SVC(),
        "forest": RandomForestClassifier(random_state=seed),
    }


def digit_scores(task, fitted):
    """Balanced accuracy of each model, then its mean recall on the rare digits."""
    recalls = [recall_score(task.y_test, model.predict(task.X_test), average=None) for model in fitted]
    return [recall.mean() for recall in recalls] + [recall[RARE].mean() for recall in recalls]


def ours(task, models, weighter=None):
    """The same models with our weights: the default ones, or those of a weighter."""
    return [
        OTWeightedClassifier(model, weighter=weighter, random_state=task.seed).fit(
            task.X, task.y, X_meta=task.X_meta, y_meta=task.y_meta
        )
        for model in models
    ]


rare = {way: [] for way in ["plain", *SIMPLE, OURS, BOUND]}
for seed in DIGIT_SEEDS:
    task, models = digits(seed), digit_models(seed).values()
    rare["plain"].append(digit_scores(task, fit_plain(task, models)))
    for way in [*SIMPLE, BOUND]:
        rare[way].append(digit_scores(task, fit_way(way, task, models)))
    rare[OURS].append(digit_scores(task, ours(task, models)))

names = list(digit_models(0))
print(f"Digits, mean of {len(DIGIT_SEEDS)} seeds: balanced accuracy, and recall on the digits 7, 8 and 9")
print_table([*names, *(f"{name}, 7-9" for name in names)], rare)

# %%
# Left: what the weights do to the training labels of the first seed. Grey is the training set as it came, blue what the
# weights make of it, and hatches are wrong labels. Nothing told skotw which labels are wrong.

task = digits(0)
weighter = ours(task, [LogisticRegression(max_iter=1000)])[0].weighter_
wrong = ~task.right
share = {name: np.bincount(task.y, w * wrong) / np.bincount(task.y, w) for name, w in (
    ("before", np.ones(len(task.y))), ("after", weighter.sample_weight_)
)}  # fmt: skip
for c in RARE:
    print(f"labelled {c}: {share['before'][c]:.0%} wrong as they came, {share['after'][c]:.0%} of the weight")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
SampleWeightDisplay.from_estimator(weighter, mislabelled=wrong, ax=left)
left.set_xlabel("training label")
means = {way: np.mean(values, axis=0) for way, values in rare.items()}
table = {name: [mean[k] for mean in means.values()] for k, name in enumerate(names)}
dots([right], list(rare), {"balanced accuracy": table})

# %%
# A random review of a business table
# -----------------------------------
# One weighting gives equal weight to both classes, and is good at finding those who leave: its balanced accuracy is in
# the table. The other is ``OTSampleWeighter(class_mass="meta")``: it gives classes the share that they have among the
# reviewed rows, so that probabilities mean what they say. Its Brier score (less is better) and its area under the ROC
# curve are there. The simple ways get the same treatment. Only *plain* and ``class_weight="balanced"``, the usual two,
# are one fit each.


def review(seed, n=2200, n_reviewed=200):
    """Training rows, a random sample that was reviewed, and a test set."""
    (table, left), (test, left_test) = customers(n, seed), customers(4000, 1000 + seed)
    reviewed = np.arange(n) < n_reviewed
    encoder = as_numbers().fit(in_days(table))
    X, y = encoder.transform(in_days(table)), as_recorded(left, seed)
    sets = X[~reviewed], y[~reviewed], left[~reviewed], X[reviewed], left[reviewed]
    return Task(*sets, encoder.transform(in_days(test)), left_test, seed)


def table_models(seed):
    return {
        "logistic": LogisticRegression(max_iter=1000),
        "boosting": HistGradientBoostingClassifier(max_iter=50, random_state=seed),
    }


def table_scores(task, fitted, for_probabilities):
    """Balanced accuracy of each model, then the area under its curve, then its Brier score."""
    accuracy = [balanced_accuracy_score(task.y_test, model.predict(task.X_test)) for model in fitted]
    proba = [model.predict_proba(task.X_test)[:, 1] for model in for_probabilities]
    return accuracy + [f(task.y_test, p) for f in (roc_auc_score, brier_score_loss) for p in proba]


usual = 'class_weight="balanced"'
reviewed = {way: [] for way in ["plain", usual, *SIMPLE, OURS, BOUND]}
for seed in TABLE_SEEDS:
    task, models = review(seed), table_models(seed).values()
    shares = np.bincount(task.y_meta) / len(task.y_meta)
    for way, fitted in (("plain", fit_plain(task, models)), (usual, fit_way("balanced", task, models))):
        reviewed[way].append(table_scores(task, fitted, fitted))
    for way in [*SIMPLE, BOUND]:
        reviewed[way].append(table_scores(task, fit_way(way, task, models), fit_way(way, task, models, shares)))
    reviewed[OURS].append(
        table_scores(task, ours(task, models), ours(task, models, OTSampleWeighter(class_mass="meta")))
    )

measures = ["balanced accuracy", "AUC", "Brier score (less is better)"]
names = list(table_models(0))
print(f"\nReviewed table, mean of {len(TABLE_SEEDS)} seeds: balanced accuracy, area under the curve, Brier score")
print_table([f"{measure} {name}" for measure in ("acc.", "AUC", "Brier") for name in names], reviewed)

second, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
means = np.array([np.mean(values, axis=0) for values in reviewed.values()])
columns = {measure: {name: means[:, 2 * j + k] for k, name in enumerate(names)} for j, measure in enumerate(measures)}
dots(axes, list(reviewed), columns)
axes[2].set_xscale("log")
axes[2].set_xticks([0.05, 0.1, 0.2], ["0.05", "0.1", "0.2"])
axes[2].minorticks_off()

# %%
# The simple way that is best
# ---------------------------
# It differs from column to column, and which it is nobody knows without a test set. Here is what skotw gains on the
# best simple way of each column, in hindsight; a minus is a loss.


def gains(results, heads, less_is_better=()):
    """Of skotw on the best simple way, column by column."""
    means = {way: np.mean(values, axis=0) for way, values in results.items() if way != BOUND}
    ours = means.pop(OURS)
    for k, head in enumerate(heads):
        sign = -1 if k in less_is_better else 1
        best = max(means, key=lambda way: sign * means[way][k])
        gain = sign * (ours[k] - means[best][k])
        beaten = sum(sign * (ours[k] - mean[k]) > 0 for mean in means.values())
        print(f"{head:<29}{gain:+.3f} on {best}; better than {beaten} of {len(means)}")


print("\nDigits, balanced accuracy")
gains(rare, digit_models(0))
print("\nTable")
gains(reviewed, [f"{measure.split(' (')[0]}, {name}" for measure in measures for name in names], less_is_better=(4, 5))

if "__file__" in globals():  # run as a script
    folder = Path(__file__).parent / "output"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "quickstart.png", dpi=110)
    second.savefig(folder / "quickstart_review.png", dpi=110)
    print("\nfigures saved: examples/output/quickstart.png, examples/output/quickstart_review.png")
