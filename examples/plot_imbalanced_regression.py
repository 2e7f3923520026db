"""
What if the rare rows are rare numbers?
=======================================

Most houses cost little, and a regression that errs little on average errs much on the dear ones. A continuous target
has no classes to balance. The trusted rows say which targets matter: they are spread evenly over the range, and
training rows near them gain weight, in features and in target. One training target in five is wrong, the price of
another house.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skotw import OTWeightedRegressor

BINS = [0, 8, 12, 16, 20, 30]


def houses(n, seed, even=False):
    """Rows whose target is skewed, or spread evenly over the bins."""
    X, y = make_friedman1(20 * n, n_features=6, noise=1.0, random_state=seed)
    rng, place = np.random.default_rng(seed), np.digitize(y, BINS) - 1
    counts = np.bincount(place.clip(0, 4), minlength=5)
    wanted = np.full(5, 0.2) if even else np.array([0.45, 0.35, 0.14, 0.045, 0.015])
    chance = (wanted / counts)[place.clip(0, 4)]
    rows = rng.choice(len(y), n, replace=False, p=chance / chance.sum())
    return X[rows], y[rows]


def sets(seed):
    """Training rows with wrong targets, trusted rows, test rows."""
    X, y = houses(1000, seed)
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(y)) < 0.2
    y[wrong] = rng.permutation(y)[wrong]
    return X, y, *houses(40, 1000 + seed, even=True), *houses(1000, 2000 + seed, even=True)


# %%
# Ways
# ----
# *Inverse frequency* is what balanced weights become for a number: each of the five ranges of the target counts alike.
# Forty trusted rows are in every training set.


def inverse_frequency(y):
    place = np.digitize(y, BINS[1:-1])
    return len(y) / np.bincount(place)[place] / len(np.unique(place))


def fit_all(model, weight_name, X, y, X_meta, y_meta):
    X_all, y_all = np.vstack([X, X_meta]), np.r_[y, y_meta]
    fitted = {
        "plain": model().fit(X_all, y_all),
        "inverse frequency": model().fit(X_all, y_all, **{weight_name: inverse_frequency(y_all)}),
        "trusted only": model().fit(X_meta, y_meta),
        "skotw": OTWeightedRegressor(model()).fit(X, y, X_meta=X_meta, y_meta=y_meta),
        "skotw, trusted 1/2": OTWeightedRegressor(model(), meta_weight=0.5).fit(X, y, X_meta=X_meta, y_meta=y_meta),
    }
    return fitted


models = {
    "ridge": (lambda: make_pipeline(StandardScaler(), PolynomialFeatures(), Ridge()), "ridge__sample_weight"),
    "forest": (lambda: RandomForestRegressor(100, min_samples_leaf=3, random_state=0), "sample_weight"),
}

# %%
# Mean absolute error, by range of the target
# -------------------------------------------

seeds, errors = range(5), {}
for seed in seeds:
    *training, X_test, y_test = sets(seed)
    place = np.digitize(y_test, BINS[1:-1])
    for name, (model, weight_name) in models.items():
        for way, fitted in fit_all(model, weight_name, *training).items():
            error = abs(fitted.predict(X_test) - y_test)
            errors.setdefault((name, way), []).append([error[place == c].mean() for c in range(5)])
mean = {key: np.mean(values, axis=0) for key, values in errors.items()}

ranges = [f"{low}-{high}" for low, high in pairwise(BINS)]
frequent = np.array([0.45, 0.35, 0.14, 0.045, 0.015])
print(f"mean of {len(seeds)} seeds; the last two columns: all ranges alike, and as frequent as in training")
print(" " * 28 + "".join(f"{r:>8}" for r in ranges) + f"{'alike':>9}{'as trained':>12}")
for (name, way), values in mean.items():
    cells = "".join(f"{v:>8.2f}" for v in values)
    print(f"{name + ', ' + way:<28}{cells}{values.mean():>9.2f}{values @ frequent:>12.2f}")
for name in models:
    others = {way: v.mean() for (m, way), v in mean.items() if m == name and not way.startswith("skotw")}
    best, ours = min(others, key=others.get), mean[name, "skotw"].mean()
    print(f"{name}, all ranges alike: skotw {ours:.2f}, the best other way, {best}, {others[best]:.2f}")

# %%
# Whoever is asked to be right on average, and not for the dear houses, should look at the last column, in which
# *plain* is hard to beat.

fig, axes = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True, layout="constrained")
for ax, name in zip(axes, models, strict=True):
    for (m, way), values in mean.items():
        if m == name:
            ours = way.startswith("skotw")
            ax.plot(ranges, values, marker="o" if ours else "s", linewidth=2 if ours else 1.2, label=way,
                    linestyle="-" if ours else "--")  # fmt: skip
    ax.set(title=name, xlabel="target (right: rare in training)")
axes[0].set(ylabel="mean absolute error", ylim=(0, None))
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, frameon=False)
