"""
A data frame with categories and missing values
===============================================

A table as it comes: numbers, categories, gaps in both, a rare class, and labels of which some are wrong. Nothing is
imputed, scaled or encoded here. The weights are learned on :class:`~skotw.OTSampleWeighter`'s own embedding of the
frame; :class:`~sklearn.ensemble.HistGradientBoostingClassifier` gets the frame itself, trusted rows appended with the
same column types, and reads the categories from the columns (``categorical_features="from_dtype"``, its default).

The rows are generated: bookings, of which one in eight is cancelled. Cancellations were entered by hand, and 30 % of
the entries are wrong. Twenty-five bookings of either kind have been checked.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split

# %%
# The table
# ---------


def bookings(n, seed):
    """Bookings, and whether each was kept or cancelled."""
    rng = np.random.default_rng(seed)
    cancelled = rng.random(n) < 1 / 8
    channel = np.where(rng.random(n) < 0.35 + 0.4 * cancelled, "web", rng.choice(["phone", "agent"], n))
    frame = pd.DataFrame(
        {
            "days_ahead": rng.gamma(2.0, 15 + 30 * cancelled).round(),
            "price": rng.lognormal(5 + 0.4 * cancelled, 0.4).round(2),
            "guests": rng.poisson(1.0 + 0.7 * (channel == "agent"), n) + 1,
            "returning": rng.random(n) < 0.4 - 0.3 * cancelled,
            "channel": pd.Categorical(channel),
            "room": pd.Categorical(rng.choice(["single", "double", "suite"], n, p=[0.4, 0.5, 0.1])),
        }
    )
    frame.loc[rng.random(n) < 0.15, "price"] = np.nan
    frame.loc[rng.random(n) < 0.10, "channel"] = None
    return frame, np.where(cancelled, "cancelled", "kept")


X, y = bookings(3000, seed=0)
X_test, y_test = bookings(5000, seed=1)
X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=25, random_state=0)
y, wrong = flip_labels(y, 0.3, random_state=0, return_mask=True)
print(X.dtypes.to_string())
print(X.head(3).to_string())

# %%
# A search around it all
# ----------------------

model = OTWeightedClassifier(HistGradientBoostingClassifier(max_iter=50, random_state=0), weighter=OTSampleWeighter())
grid = {"weighter__reg": ["auto", 0.1], "estimator__learning_rate": [0.02, 0.1]}
search = GridSearchCV(model, grid, scoring="balanced_accuracy", cv=3)
search.fit(X, y, X_meta=X_meta, y_meta=y_meta)
weighted = search.best_estimator_
print(search.best_params_)
print("categorical for the booster:", [*X.columns[weighted.estimator_.is_categorical_]])

# %%
# Against the cheap ways to use the same trusted rows, with the same search over the learning rate. Balanced accuracy on
# bookings with right labels:

X_union, y_union = pd.concat([X, X_meta]), np.r_[y, y_meta]
balanced = HistGradientBoostingClassifier(max_iter=50, class_weight="balanced", random_state=0)
results = {"OT weights": weighted}
for name, rows, labels in (("balanced", X_union, y_union), ("trusted only", X_meta, y_meta)):
    learning_rates = {"learning_rate": grid["estimator__learning_rate"]}
    results[name] = GridSearchCV(balanced, learning_rates, scoring="balanced_accuracy", cv=3).fit(rows, labels)
for name, fitted in results.items():
    print(f"{name:<14}{balanced_accuracy_score(y_test, fitted.predict(X_test)):.3f}")

# %%
# The weights
# -----------
# Of right and of wrong labels, by what the label says. The weighter does not know which are wrong.

fig, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for ax, label in zip(axes, ("kept", "cancelled"), strict=True):
    weights = weighted.sample_weight_ / weighted.sample_weight_[y == label].mean()
    edges = np.linspace(0, np.quantile(weights[y == label], 0.99), 25)
    for mask, color, name in ((~wrong, "C0", "right"), (wrong, "C3", "wrong")):
        ax.hist(weights[mask & (y == label)], edges, density=True, color=color, alpha=0.6, label=name)
    ax.set(title=f"labelled {label}", xlabel="weight / mean weight of the label", yticks=[])
axes[0].legend(frameon=False)
