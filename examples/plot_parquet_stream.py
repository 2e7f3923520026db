"""
How do I weigh rows that fit into no memory?
============================================

File by file. :meth:`~skotw.OTSampleWeighter.partial_fit` reads every parquet file once and keeps a few numbers for each
trusted row. :meth:`~skotw.OTSampleWeighter.weigh` then gives the weights of any rows, and a linear model learns from
them, file by file too. Three in ten labels are wrong and one class is rare.

The files are small here. ``examples/weigh_parquet.py`` does the same to ten million rows, with dask.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels
from skotw.metrics import mislabel_auc

N_FILES, N_ROWS, N_FEATURES, SHARES = 20, 2000, 20, (0.80, 0.17, 0.03)
FEATURES = [f"x{j}" for j in range(N_FEATURES)]
CENTRES = np.random.default_rng(0).normal(scale=0.7, size=(3, N_FEATURES))


def draw(y, seed):
    """Rows of some classes."""
    noise = np.random.default_rng(seed).normal(size=(len(y), N_FEATURES))
    return pd.DataFrame(CENTRES[y] + noise, columns=FEATURES)


y_meta, y_test = np.repeat([0, 1, 2], 15), np.repeat([0, 1, 2], 5000)
X_meta, X_test = draw(y_meta, 10**6), draw(y_test, 10**6 + 1)

# %%
# The files
# ---------

folder = tempfile.TemporaryDirectory()
for number in range(N_FILES):
    truth = np.random.default_rng(number).choice(3, size=N_ROWS, p=SHARES)
    label = flip_labels(truth, 0.3, random_state=number)
    rows = draw(truth, number).assign(label=label, truth=truth)
    rows.to_parquet(Path(folder.name) / f"{number:03}.parquet", index=False)
files = sorted(Path(folder.name).glob("*.parquet"))
print(f"{len(files)} files of {N_ROWS} rows")

# %%
# One pass to learn, one to weigh and train
# -----------------------------------------
# The first file brings the trusted rows along, and sets the scale of the features, so its rows should be like the
# others. Files that were written in the order of time should be read in a random one.

weighter = OTSampleWeighter()
for number, file in enumerate(files):
    rows = pd.read_parquet(file)
    trusted = (X_meta, y_meta) if number == 0 else ()
    weighter.partial_fit(rows[FEATURES], rows["label"], *trusted)
print(weighter.label_reliability_)


def train(weigh):
    """One pass over the files."""
    model = SGDClassifier(loss="log_loss", alpha=1e-3, average=True, random_state=0)
    for file in files:
        rows = pd.read_parquet(file)
        w = weigh(rows[FEATURES], rows["label"])
        model.partial_fit(rows[FEATURES], rows["label"], classes=[0, 1, 2], sample_weight=w)
    return model


counts = pd.concat([pd.read_parquet(file, columns=["label"])["label"] for file in files])
class_weight = compute_class_weight("balanced", classes=np.arange(3), y=counts)
alone = SGDClassifier(loss="log_loss", alpha=1e-3, average=True, random_state=0).fit(X_meta, y_meta)
models = {
    "plain": train(lambda X, y: None),
    "balanced": train(lambda X, y: class_weight[y]),
    "trusted only": alone,
    "skotw": train(weighter.weigh),
}
scores = {name: balanced_accuracy_score(y_test, model.predict(X_test)) for name, model in models.items()}
print("balanced accuracy on rows whose label is right")
for name, score in scores.items():
    print(f"{name:<14}{score:.3f}")
best = max(list(scores)[:-1], key=scores.get)
print(f"skotw {scores['skotw'] - scores[best]:+.3f} against the best other way, {best}")

# %%
# The weights do not change with the number of files: learning file by file gives what all rows at once would give. Only
# models of the labels need all rows, so ``embedding="supervised"``, the default of
# :class:`~skotw.OTWeightedClassifier`, is for tables that fit.

last = pd.read_parquet(files[-1])
w, wrong = weighter.weigh(last[FEATURES], last["label"]), (last["label"] != last["truth"]).to_numpy()
print(f"in the last file a right label weighs more than a wrong one of its class in "
      f"{mislabel_auc(w, last['label'], wrong):.1%} of pairs")  # fmt: skip
folder.cleanup()

fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
left.barh(list(scores), list(scores.values()), color=["0.75"] * 3 + ["C0"])
left.invert_yaxis()
left.set(xlabel="balanced accuracy", xlim=(0, 1))
for row, score in enumerate(scores.values()):
    left.text(score - 0.02, row, f"{score:.2f}", ha="right", va="center", color="white" if row == 3 else "black")
for label in range(3):
    share = [w[(last["label"] == label) & (wrong == flag)].sum() / w.sum() for flag in (False, True)]
    before = [((last["label"] == label) & (wrong == flag)).mean() for flag in (False, True)]
    for at, pair, color in ((label - 0.2, before, "0.6"), (label + 0.2, share, "C0")):
        right.bar(at, pair[0], 0.38, color=color)
        right.bar(at, pair[1], 0.38, bottom=pair[0], color="white", edgecolor=color, hatch="////")
right.set(
    xticks=range(3), xlabel="label", ylabel="share of the weight", title="grey: before, blue: after, hatched: wrong"
)
right.title.set_fontsize(9)
