"""
How do I weigh a table with dates, categories and gaps?
=======================================================

Almost as it is. This table of customers has dates, categories, gaps in both, and a column that says who has left, which
is partly wrong. Somebody has reviewed two hundred of its rows. Dates become days. Nothing is imputed, scaled or encoded
by hand, and nothing is split: ``y_verified`` holds the labels of the reviewed rows, and a missing value for all others.

The table is generated, by ``_churn.py`` beside this file.
"""

import numpy as np
from _churn import as_recorded, customers, in_days
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import balanced_accuracy_score

from skotw import OTWeightedClassifier
from skotw.plotting import SampleWeightDisplay

X, left = customers(2500, seed=0)
y = as_recorded(left, seed=0)
print(X.head(3).to_string())
print(X.isna().sum().to_string())

# %%
# Rows that were reviewed
# -----------------------
# They were drawn at random, so that few of them are customers who left. A mask would do in the place of NaN.

y_verified = np.full(len(y), np.nan)
review = np.random.default_rng(0).choice(len(y), 200, replace=False)
y_verified[review] = left[review]
print(f"{len(review)} rows reviewed: {left[review].sum()} have left, {(y != left)[review].sum()} were recorded wrongly")

# %%
# The model
# ---------
# ``in_days`` replaces a date by the days from then to now, one line for each column, since no model and no distance can
# guess what a date is to be counted from. All else passes as it is, and the booster takes categories and gaps as well.

X = in_days(X)
print(X.dtypes.to_string())
booster = HistGradientBoostingClassifier(max_iter=50, random_state=0)
weighted = OTWeightedClassifier(booster, random_state=0).fit(X, y, y_verified=y_verified)
print(weighted.weighter_.report())

# %%
# Against the simple ways
# -----------------------
# *Corrected* writes the reviewed labels into the column and balances the classes. *Reviewed only* leaves out the rest.

corrected = np.where(np.isnan(y_verified), y, y_verified).astype(int)
balanced = clone(booster).set_params(class_weight="balanced")
X_test, left_test = customers(5000, seed=1)
X_test = in_days(X_test)
fitted = {
    "recorded, plain": clone(booster).fit(X, y),
    "recorded, balanced": clone(balanced).fit(X, y),
    "corrected, balanced": clone(balanced).fit(X, corrected),
    "reviewed only": clone(balanced).fit(X.iloc[review], left[review]),
    "skotw": weighted,
}
print("balanced accuracy on customers whose label is right")
scores = {name: balanced_accuracy_score(left_test, model.predict(X_test)) for name, model in fitted.items()}
for name, score in scores.items():
    print(f"{name:<22}{score:.3f}")
others = {name: score for name, score in scores.items() if name != "skotw"}
best = max(others, key=others.get)
print(f"skotw {scores['skotw'] - others[best]:+.3f} against the best of the others, {best}")

# %%
# The weights
# -----------
# Of rows that were not reviewed, relative to the mean of all. skotw does not know which labels are wrong.

rest = np.isnan(y_verified)
display = SampleWeightDisplay.from_weights(
    weighted.sample_weight_[rest],
    np.where(y == 1, "says left", "says stayed")[rest],
    mislabelled=(y != left)[rest],
    kind="weights",
)
