"""
Which labels are wrong?
=======================

One in five labels of these handwritten digits is wrong. Five images of each digit are trusted.
:func:`~skotw.find_label_errors` ranks the others by how little speaks for their label, says what else they may be, and
how many are wrong. Nobody tells it which labels were changed, but we know, and count.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skotw import find_label_errors
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split
from skotw.plotting import LabelErrorsDisplay

X, y_true, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=0)
y, wrong = flip_labels(y_true, 0.2, random_state=0, return_mask=True)

errors = find_label_errors(X, y, X_meta, y_meta)
print(errors)

# %%
# The first ten, with the label that they have and the one that is suggested:

display = LabelErrorsDisplay.from_errors(errors, X.reshape(-1, 8, 8), n_shown=10)

# %%
# How many of the suspects are wrong?
# -----------------------------------
# ``suspects`` are as many of the first rows as are expected to be wrong. Beside it stands the usual way, which asks
# a cross-validated classifier how probable each label is. The trusted rows are in its training folds.

found = wrong[errors.suspects]
right_name = (errors.suggested == y_true[errors.indices])[: len(errors.suspects)]
print(f"{wrong.sum()} labels are wrong, {errors.n_errors:.0f} were expected to be")
print(
    f"{found.mean():.1%} of {len(found)} suspects are wrong; they are {found.sum() / wrong.sum():.1%} of the wrong ones"
)
print(f"the suggested label is right for {right_name.mean():.1%} of the suspects")


def self_confidence(X, y, X_meta, y_meta):
    """Probability of each label under models of the other rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    P = cross_val_predict(model, np.vstack([X, X_meta]), np.r_[y, y_meta], cv=5, method="predict_proba")
    return P[np.arange(len(y)), y]


def by_rank(confidence, wrong):
    """Share of wrong labels among the first 1, 2, 3, ... rows."""
    first = wrong[np.argsort(confidence, kind="stable")]
    return np.cumsum(first) / np.arange(1, len(first) + 1)


# %%
# The same for more and for fewer wrong labels, by average precision: 1 is a ranking that has all wrong labels first.

print(f"{'wrong labels':<14}{'skotw':>8}{'self-confidence':>18}")
curves = {}
for rate in (0.05, 0.2, 0.4):
    y, wrong = flip_labels(y_true, rate, random_state=1, return_mask=True)
    ranked = find_label_errors(X, y, X_meta, y_meta)
    confidence = {"skotw": np.empty(len(y)), "self-confidence": self_confidence(X, y, X_meta, y_meta)}
    confidence["skotw"][ranked.indices] = ranked.confidence
    curves[rate] = {name: by_rank(values, wrong) for name, values in confidence.items()}
    scores = [average_precision_score(wrong, -values) for values in confidence.values()]
    print(f"{rate:<14.0%}{scores[0]:>8.3f}{scores[1]:>18.3f}")

fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, (rate, pair) in zip(axes, curves.items(), strict=True):
    for (name, curve), style in zip(pair.items(), ("-", "--"), strict=True):
        ax.plot(np.arange(1, len(curve) + 1), curve, style, label=name)
    ax.axvline(rate * len(curve), color="0.7", linewidth=0.8, zorder=0)
    ax.set(title=f"{rate:.0%} wrong", xlabel="rows looked at", ylim=(0, 1.03), xlim=(0, 1000))
axes[0].set_ylabel("share that is wrong")
axes[0].legend(frameon=False)

# %%
# The ranking knows nothing of errors that follow the features. If every seven with a bar were labelled one, such sevens
# would look right to it, and to cross-validation too.
