"""
A network that refits its weights
=================================

A small residual network learns handwritten digits from a training set with two faults: zeros are twenty times as
frequent as nines, and three in ten labels are wrong. Five images of each digit are trusted. Stage 1 trains on the plain
loss; in stage 2 every epoch ends with a refit of the sample weights, by optimal transport between the features of the
training images, as the network computed them in that epoch, and those of the trusted images.

Three runs, which differ only in stage 2 and share everything else, the trusted images as an additional loss included:

- *plain*: all weights stay one;
- *balanced*: weights by class, from the end of stage 1 on;
- *OT*: weights by optimal transport, refitted after each epoch.

A fourth learns from the *trusted* images *only*, for as many steps.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels, make_long_tailed
from skotw.deep import OTWeightedNetClassifier
from skotw.meta import balanced_meta_split
from skotw.metrics import mislabel_auc

STAGE_1, EPOCHS, SEEDS = 5, 25, range(3)

# %%
# The data
# --------
# Half of the digits are the test set. Nothing is chosen by it: the last epoch counts.


def digits(seed):
    """Training images and which of their labels are wrong, trusted images, test images."""
    X, y = load_digits(return_X_y=True)
    X = (X.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=5, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=seed)
    y, wrong = flip_labels(y, 0.3, random_state=seed, return_mask=True)
    return X, y, wrong, (X_meta, y_meta), (X_test, y_test)


# %%
# The network
# -----------
# Any module will do. The features are what goes into the layer that ``feature_layer`` names, here ``"head"``.


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.shortcut = nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, X):
        return torch.relu(self.body(X) + self.shortcut(X))


class ResNet(nn.Module):
    """Three blocks, global average pooling and a linear head."""

    def __init__(self, width=16):
        super().__init__()
        self.blocks = nn.Sequential(Block(1, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, X):
        return self.head(self.blocks(X).mean((2, 3)))


# %%
# Training
# --------
# The three runs are one net with three weighters. Label cost alone is class balance; a very large regularisation
# returns the prior, and a uniform one is no weighting. The OT weighter is the default of the deep path.

WEIGHTERS = {
    "plain": OTSampleWeighter(prior="uniform", class_mass="meta", label_weight=0.0, reg=1e6),
    "balanced": OTSampleWeighter(label_weight=1.0),
    "OT": OTSampleWeighter(reg=0.05),
}


class KeepWeights(Callback):
    """The weights after every epoch."""

    def initialize(self):
        self.weights_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.weights_.append(getattr(net, "sample_weight_", None))


def train(X, y, test, seed, **params):
    """A trained net."""
    torch.manual_seed(seed)
    net = OTWeightedNetClassifier(
        ResNet,
        feature_layer="head",
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(*test)),
        callbacks=[
            ("accuracy", EpochScoring("balanced_accuracy", name="accuracy", lower_is_better=False)),
            ("keep", KeepWeights()),
        ],
        verbose=0,
        **params,
    )
    return net.fit(X, y)


runs = {name: [] for name in [*WEIGHTERS, "trusted only"]}
stages = {"warmup_epochs": STAGE_1, "max_epochs": EPOCHS}
for seed in SEEDS:
    X, y, wrong, meta, test = digits(seed)
    for name, weighter in WEIGHTERS.items():
        runs[name].append(train(X, y, test, seed, meta=meta, meta_loss_weight=1.0, weighter=weighter, **stages))
    n_epochs = EPOCHS * len(y) // len(meta[1])
    runs["trusted only"].append(train(*meta, test, seed, callbacks__reweighting=None, max_epochs=n_epochs))

print("balanced accuracy on the test half, last epoch, mean and standard deviation of", len(SEEDS), "seeds")
for name, nets in runs.items():
    last = [net.history[-1, "accuracy"] for net in nets]
    print(f"{name:>12}  {np.mean(last):.3f} +- {np.std(last, ddof=1):.3f}")

# %%
# With wrong labels the network has learned most by the first epochs, and then learns the mistakes too, unless the
# weights keep it from them. The trusted images alone are a strong baseline here, as they are for ordinary classifiers.
#
# What the weights do
# -------------------
# Of the last seed: the weights of right and of wrong labels over the epochs of stage 2, relative to the mean of their
# class, so that only what distinguishes samples of the same label shows. They are not told which labels are wrong.

net = runs["OT"][-1]
weights = [w for w in dict(net.callbacks_)["keep"].weights_ if w is not None]
relative = np.array([[w[y == c].mean() for c in range(10)] for w in weights])[:, y]
relative = np.array(weights) / relative
epochs = np.arange(EPOCHS - len(weights), EPOCHS) + 1
auc = mislabel_auc(weights[-1], y, wrong)
print(f"after the last epoch a right label weighs more than a wrong one of its class in {auc:.1%} of pairs")
print(f"the refits took {sum(net.history[:, 'refit_dur']):.1f} s of {sum(net.history[:, 'dur']):.1f} s")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name in WEIGHTERS:
    curves = np.array([net.history[:, "accuracy"] for net in runs[name]])
    left.plot(np.arange(EPOCHS) + 1, curves.mean(0), label=name)
alone = np.mean([net.history[-1, "accuracy"] for net in runs["trusted only"]])
left.axhline(alone, color="grey", linestyle="--", label="trusted only, last epoch")
left.axvline(STAGE_1 + 0.5, color="grey", linestyle=":")
left.text(STAGE_1 + 1, left.get_ylim()[0], "stage 2", color="grey", va="bottom")
left.set(xlabel="epoch", ylabel="balanced accuracy, test half", title=f"mean of {len(SEEDS)} seeds")
left.legend()
for mask, label, color in ((~wrong, "right label", "C0"), (wrong, "wrong label", "C3")):
    low, middle, high = np.quantile(relative[:, mask], [0.25, 0.5, 0.75], axis=1)
    right.plot(epochs, middle, color=color, label=f"{label}, median and quartiles")
    right.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
right.set(xlabel="epoch", ylabel="weight / mean weight of its label", title="weights of OT")
right.legend()

if "__file__" in globals():  # run as a script
    folder = Path(__file__).parent / "output"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "deep_digits.png", dpi=120)
    print("figure saved: examples/output/deep_digits.png")
