"""
Does it work with boosters?
===========================

With all that take ``sample_weight``: scikit-learn's gradient boosting, and LightGBM and XGBoost where they are
installed (``pip install lightgbm xgboost``). Each gets the data frame with its categories and gaps as they are, trusted
rows included. The weights depend on the rows only and are the same for all.

The table is generated, by ``_churn.py`` beside this file: 7 % of the customers have left, a part of the labels is
wrong, and fifty rows of each class were checked.
"""

import importlib.util

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _churn import as_recorded, customers, in_days
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_sample_weight

from skotw import OTWeightedClassifier
from skotw.meta import balanced_meta_split

boosters = {"scikit-learn": HistGradientBoostingClassifier(max_iter=50, random_state=0)}
if importlib.util.find_spec("lightgbm"):
    from lightgbm import LGBMClassifier

    boosters["LightGBM"] = LGBMClassifier(n_estimators=50, random_state=0, n_jobs=1, verbose=-1)
if importlib.util.find_spec("xgboost"):
    from xgboost import XGBClassifier

    boosters["XGBoost"] = XGBClassifier(n_estimators=50, max_depth=4, enable_categorical=True, random_state=0, n_jobs=1)
print("installed:", ", ".join(boosters))

# %%
# One weighting, many boosters
# ----------------------------
# Boosters read numbers and categories, so dates become days.


def table(n, seed):
    X, left = customers(n, seed)
    return in_days(X), left


def compare(seed):
    """{(way, booster): balanced accuracy on customers whose label is right}."""
    X, left, X_meta, y_meta = balanced_meta_split(*table(3000, seed), n_per_class=50, random_state=seed)
    y = as_recorded(left, seed)
    X_test, left_test = table(5000, 1000 + seed)
    X_all, y_all = pd.concat([X, X_meta]), np.r_[y, y_meta]
    scores = {}
    for name, booster in boosters.items():
        fitted = {
            "plain": clone(booster).fit(X_all, y_all),
            "balanced": clone(booster).fit(X_all, y_all, sample_weight=compute_sample_weight("balanced", y_all)),
            "trusted only": clone(booster).fit(X_meta, y_meta),
            "skotw": OTWeightedClassifier(booster, random_state=0).fit(X, y, X_meta=X_meta, y_meta=y_meta),
        }
        for way, model in fitted.items():
            scores[way, name] = balanced_accuracy_score(left_test, model.predict(X_test))
    return scores


seeds = [compare(seed) for seed in range(3)]
mean = {key: np.mean([scores[key] for scores in seeds]) for key in seeds[0]}
ways = ["plain", "balanced", "trusted only", "skotw"]
print(f"balanced accuracy, mean of {len(seeds)} seeds")
print(f"{'':<14}" + "".join(f"{name:>14}" for name in boosters))
for way in ways:
    print(f"{way:<14}" + "".join(f"{mean[way, name]:>14.3f}" for name in boosters))
for name in boosters:
    best = max(ways[:-1], key=lambda way, name=name: mean[way, name])
    print(f"{name}: skotw {mean['skotw', name] - mean[best, name]:+.3f} against the best other way, {best}")

# %%
# Boosters need many rows, so trusted rows alone serve them worse than they serve linear models. What XGBoost and
# LightGBM call ``scale_pos_weight`` and ``is_unbalance`` is the line *balanced*; leave them off with skotw, or classes
# are balanced twice.

fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for k, (way, color) in enumerate(zip(ways, ("0.85", "0.65", "0.45", "C0"), strict=True)):
    bars = ax.bar(
        np.arange(len(boosters)) + 0.2 * (k - 1.5), [mean[way, name] for name in boosters], 0.19, color=color, label=way
    )
    ax.bar_label(bars, fmt="%.2f", fontsize=8)
ax.set(xticks=range(len(boosters)), xticklabels=boosters, ylabel="balanced accuracy", ylim=(0.5, 0.9))
ax.legend(ncols=4, frameon=False, loc="upper center")
