"""
What if the model will meet other rows than it was trained on?
==============================================================

Training rows come from one place and the rows to predict from another, where some features are larger. Labels are
needed for the training rows only: give :class:`~skotw.OTSampleWeighter` the new rows as ``X_meta`` and no y at all.
Then features alone decide, and training rows near the new ones gain. This is *covariate shift*.

It helps a model that is too simple for the whole range, here a straight line for a bent one. A model that can bend has
little to gain, as the second table shows.
"""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import mean_squared_error
from sklearn.preprocessing import PolynomialFeatures

from skotw import OTSampleWeighter
from skotw.metrics import effective_sample_size


def rows(n, shift, n_features, seed):
    """Rows, and a target that bends along the first feature."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features)) * (1.0 if shift == 0 else 0.5)
    X[:, 0] += shift
    return X, np.sin(1.5 * X[:, 0]) + 0.3 * X[:, 1:].sum(axis=1) + rng.normal(scale=0.2, size=n)


# %%
# Ways
# ----
# *Density ratio* is the usual remedy: a logistic regression, on squares of the features too, tells old rows from new
# ones, and its odds are the weights. *Nearest* trains on the nearest old row of each new one. For transport, Euclidean
# distances are meant here, and not the angles that are the default. Without classes ``reg="auto"`` has nothing to ask,
# and is 0.1. That is often too much: the smaller ``reg``, the fewer rows count, and the nearer these are to the new
# ones. The guide shows how to choose it (:doc:`/guide/regression_groups_shift`).


def density_ratio(X, X_new):
    squares = PolynomialFeatures(2, include_bias=False)
    rows = squares.fit_transform(np.vstack([X, X_new]))
    is_new = np.r_[np.zeros(len(X)), np.ones(len(X_new))]
    p = LogisticRegression(max_iter=2000).fit(rows, is_new).predict_proba(rows[: len(X)])[:, 1]
    return p / (1 - p)


def nearest(X, X_new):
    closest = ((X_new[:, None] - X[None]) ** 2).sum(axis=2).argmin(axis=1)
    return np.bincount(closest, minlength=len(X)) + 1e-9


def transport(X, X_new, reg="auto"):
    return OTSampleWeighter(metric="sqeuclidean", reg=reg).fit_weights(X, X_meta=X_new)


ways = {"plain": lambda X, X_new: np.ones(len(X)), "density ratio": density_ratio, "nearest": nearest}
ways |= {"skotw": transport, "skotw, reg=0.04": partial(transport, reg=0.04)}

# %%
# Two and five features
# ---------------------
# 500 old rows with targets, 100 new ones without; mean squared error on other new rows. The effective size says how
# many equally weighted rows the weights are worth.

seeds = range(5)
for model in (LinearRegression(), HistGradientBoostingRegressor(max_iter=30, random_state=0)):
    found = {}
    for n_features in (2, 5):
        for seed in seeds:
            X, y = rows(500, 0.0, n_features, seed)
            X_new, _ = rows(100, 1.5, n_features, 1000 + seed)
            X_test, y_test = rows(1000, 1.5, n_features, 2000 + seed)
            for way, weigh in ways.items():
                w = weigh(X, X_new)
                error = mean_squared_error(y_test, model.fit(X, y, sample_weight=w).predict(X_test))
                found.setdefault((way, n_features), []).append((error, effective_sample_size(w)))
    print(f"{type(model).__name__}: mean squared error, and effective size, mean of {len(seeds)} seeds")
    print(f"{'':<18}" + "".join(f"{n:>7} features" for n in (2, 5)))
    for way in ways:
        cells = [np.mean(found[way, n_features], axis=0) for n_features in (2, 5)]
        print(f"{way:<18}" + "".join(f"{error:>10.3f} ({size:3.0f})" for error, size in cells))
    best = [min(ways, key=lambda way, n=n: np.mean(found[way, n], axis=0)[0]) for n in (2, 5)]
    print(f"best with 2 features: {best[0]}; with 5: {best[1]}\n")

# %%
# With more features every row is far from every other, and fewer rows are like the new ones. For the straight line the
# *density ratio* and the *nearest* rows are better than skotw. They keep few rows, and a model that can bend pays for
# that: there they are no better than *plain*, or worse, and skotw gains a little.

# %%
# The picture of it
# -----------------
# Each old row is as large as its weight. The dashed line fits all rows, the solid one those that look like the new
# ones.

X, y = rows(500, 0.0, 1, seed=0)
X_new, y_new = rows(100, 1.5, 1, seed=1)
w = transport(X, X_new, reg=0.04)
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.scatter(X[:, 0], y, s=3, color="0.75", linewidths=0)
ax.scatter(X[:, 0], y, s=8 * w, color="C0", alpha=0.5, linewidths=0, label="old rows, sized by weight")
ax.scatter(X_new[:, 0], np.full(len(X_new), -2.05), s=60, marker="|", color="C3", label="new rows (no target needed)")
x = np.linspace(-3, 3, 50)[:, None]
ax.plot(x, LinearRegression().fit(X, y).predict(x), "--", color="0.3", label="plain")
ax.plot(x, LinearRegression().fit(X, y, sample_weight=w).predict(x), color="C0", linewidth=2, label="weighted")
ax.set(xlabel="feature", ylabel="target", xlim=(-3, 3), ylim=(-2.3, 2.0))
ax.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
