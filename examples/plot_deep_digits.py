"""
Do weights keep a network from learning wrong labels?
=====================================================

A small residual network learns handwritten digits from a training set with two faults: zeros are twenty times as
frequent as nines, and three in ten labels are wrong. Five images of each digit are trusted. Stage 1 trains on the plain
loss. In stage 2 every epoch ends with a refit of the sample weights, by optimal transport between the features of the
training images, as the network computed them in that epoch, and those of the trusted images.

Three runs differ only in stage 2 and share everything else, the trusted images as an additional loss included:

- *plain*: all weights stay one;
- *balanced*: weights by class, from the end of stage 1 on;
- *skotw*: weights by optimal transport, refitted after each epoch.

A fourth learns from the *trusted* images *only*, for as many steps. Training, table and picture are in
``_network_runs.py`` beside this file, which the examples of texts and of point clouds share.
"""

import numpy as np
import torch
from _network_runs import compare, picture, print_table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split

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
# Three runs
# ----------
# Nothing is chosen by the test images: the last epoch counts.

runs = compare(ResNet, digits, seeds=range(2), warmup=5, epochs=20)
print_table(runs)

# %%
# Left: the accuracy on the test images. Right, of the last seed: the weights of right and of wrong labels, relative to
# the mean of their class, so that only what tells samples of the same label apart shows. The network is not told which
# labels are wrong. In the last epochs it begins to know them by heart all the same, and wrong labels gain weight. The
# trusted images alone are a strong baseline here, as they are for ordinary classifiers.

figure = picture(runs)
