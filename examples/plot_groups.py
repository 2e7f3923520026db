"""
How do I balance groups and classes together?
=============================================

A model that predicts a label from what goes along with it, here the hospital where a picture was taken, is right on
average and wrong for the patients of the rare combinations. Balancing classes does not help, since the classes *are*
balanced within the average. Give y two columns, the label and the group, and every combination counts alike
(:class:`~skotw.OTSampleWeighter` takes them as they are). One label in seven is wrong as well, so that the rare
combinations are full of mistakes.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels

# %%
# The data
# --------
# Ill patients (1) are treated in hospital B in nine cases of ten, healthy ones in hospital A. The first feature shows
# the hospital clearly, the others show the illness less so.

CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]
NAMES = ["healthy, A", "healthy, B", "ill, A", "ill, B"]


def patients(counts, seed):
    """Features, and columns (label, group)."""
    rng = np.random.default_rng(seed)
    target = np.repeat(CELLS, counts, axis=0)
    label, group = 2.0 * target.T - 1
    noise = rng.normal(size=(len(target), 8))
    return np.column_stack([1.5 * group, *[0.5 * label] * 4, *[0 * label] * 3]) + noise, target


def cell(target):
    """Number of the combination."""
    return 2 * target[:, 0] + target[:, 1]


def sets(seed):
    """Training rows with wrong labels, ten trusted rows of each combination, test rows."""
    X, target = patients([900, 100, 100, 900], seed)
    target[:, 0] = flip_labels(target[:, 0], 0.15, random_state=seed)
    return X, target, *patients([10] * 4, 1000 + seed), *patients([1000] * 4, 2000 + seed)


# %%
# Weights for two columns
# -----------------------
# Trusted rows join the training rows with a quarter of the weight in every way, *trusted only* apart.


def weights(way, X, target, X_meta, target_meta):
    """Weights of the training rows."""
    if way == "plain":
        return np.ones(len(X))
    if way == "balanced classes":
        return compute_sample_weight("balanced", target[:, 0])
    if way == "balanced combinations":
        return compute_sample_weight("balanced", cell(target))
    columns = target if way == "skotw, label and group" else target[:, 0]
    columns_meta = target_meta if way == "skotw, label and group" else target_meta[:, 0]
    return OTSampleWeighter().fit_weights(X, columns, X_meta, columns_meta)


WAYS = ["plain", "balanced classes", "balanced combinations", "trusted only", "skotw, label", "skotw, label and group"]


def accuracies(way, seed, share=0.25):
    """Accuracy for each combination."""
    X, target, X_meta, target_meta, X_test, target_test = sets(seed)
    X_all, y_all = np.vstack([X, X_meta]), np.r_[target[:, 0], target_meta[:, 0]]
    w = np.zeros(len(X)) if way == "trusted only" else weights(way, X, target, X_meta, target_meta)
    total = len(X) if way == "trusted only" else w.sum() * share / (1 - share)
    w = np.r_[w, np.full(len(X_meta), total / len(X_meta))]
    model = LogisticRegression().fit(X_all[w > 0], y_all[w > 0], sample_weight=w[w > 0])
    right = model.predict(X_test) == target_test[:, 0]
    return [right[cell(target_test) == c].mean() for c in range(4)]


seeds = range(10)
mean = {way: np.mean([accuracies(way, seed) for seed in seeds], axis=0) for way in WAYS}
print(f"accuracy, mean of {len(seeds)} seeds")
print(" " * 26 + "".join(f"{name:>12}" for name in NAMES) + f"{'worst':>9}{'as trained':>12}")
as_trained = np.array([0.45, 0.05, 0.05, 0.45])
for way, values in mean.items():
    print(f"{way:<26}" + "".join(f"{v:>12.3f}" for v in values) + f"{values.min():>9.3f}{values @ as_trained:>12.3f}")
best = max(WAYS[:4], key=lambda way: mean[way].min())
print(f"worst combination: skotw {mean[WAYS[-1]].min() - mean[best].min():+.3f} against the best simple way, {best}")
best = max(WAYS[:-1], key=lambda way: mean[way].mean())
print(f"mean of the four: skotw {mean[WAYS[-1]].mean() - mean[best].mean():+.3f} against the best other way, {best}")

# %%
# The price is in the last column: the accuracy on patients that come as the training rows do, where the hospital is a
# good guess. Whoever wants that should not balance at all. *skotw, label* has seen the labels only. It finds part of
# the wrong ones, and pays less of that price: try it first, and compare the worst combination.

fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
for k, (way, color) in enumerate(zip(WAYS, ("0.88", "0.75", "0.6", "0.4", "#a6cee3", "C0"), strict=True)):
    ax.bar(np.arange(4) + 0.14 * (k - 2.5), mean[way], 0.13, color=color, label=way)
ax.set(xticks=range(4), xticklabels=NAMES, ylabel="accuracy", ylim=(0, 1.0))
ax.legend(ncols=3, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8)
