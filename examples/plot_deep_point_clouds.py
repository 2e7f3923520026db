"""
When do weights gain a network nothing?
=======================================

When wrong labels do no harm. A small PointNet [1]_ learns to name shapes from
points on their surfaces. The training set has a long tail, twenty spheres for every pyramid, and three in ten labels
are wrong; five clouds of each shape are trusted. After ten epochs of plain loss every epoch ends with a refit of the
sample weights, by optimal transport between the features of the training clouds, as the network pooled them in that
epoch, and those of the trusted clouds.

Three runs share everything but the weights after these ten epochs: *plain*, *balanced* and *skotw*. A fourth learns
from the *trusted* clouds *only*, for as many steps. Training, table and picture are in ``_network_runs.py`` beside this
file.

.. [1] C. R. Qi, H. Su, K. Mo and L. J. Guibas. "PointNet: Deep Learning on Point Sets for 3D Classification and
       Segmentation". CVPR 2017, arXiv:1612.00593.
"""

import numpy as np
from _network_runs import compare, picture, print_table
from scipy.spatial.transform import Rotation
from torch import nn

from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split

# %%
# The data
# --------
# Each shape is a profile, the radius and the height of a point that is drawn at v in [0, 1], which goes round an axis
# in a circle or in a square. Every cloud has proportions, a tilt and noise of its own, by which some shapes come close
# to others: a cone to a pyramid, a cylinder to a box. The last epoch counts. A first network, with batch norm, had been
# run on these seeds before and was replaced, since its last epochs jumped whatever the weights.

SHAPES = {
    "sphere": (lambda v: (2 * np.sqrt(v - v**2), 2 * v - 1), "circle"),
    "cylinder": (lambda v: (np.ones_like(v), 2 * v - 1), "circle"),
    "box": (lambda v: (np.ones_like(v), 2 * v - 1), "square"),
    "torus": (lambda v: (0.7 + 0.3 * np.cos(2 * np.pi * v), 0.3 * np.sin(2 * np.pi * v)), "circle"),
    "cone": (lambda v: (np.sqrt(v), 1 - 2 * np.sqrt(v)), "circle"),
    "bowl": (lambda v: (np.sqrt(v), 2 * v - 1), "circle"),
    "hourglass": (lambda v: (np.sqrt(abs(2 * v - 1)), np.sign(v - 0.5) * np.sqrt(abs(2 * v - 1))), "circle"),
    "pyramid": (lambda v: (np.sqrt(v), 1 - 2 * np.sqrt(v)), "square"),
}


def cloud(shape, rng, n_points=64):
    """Points on a shape, of which the network is to learn no more than the set."""
    profile, outline = SHAPES[shape]
    angle = rng.uniform(0, 2 * np.pi, n_points)
    radius, height = profile(rng.uniform(size=n_points))
    x, y = np.cos(angle), np.sin(angle)
    if outline == "square":
        radius = radius / np.maximum(abs(x), abs(y))
    points = np.column_stack([radius * x, radius * y, height]) * rng.uniform(0.5, 1.5, 3)
    turn = Rotation.from_rotvec(rng.normal(scale=0.2, size=3)) * Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
    points = turn.apply(points) + rng.normal(scale=0.03, size=points.shape)
    points -= points.mean(0)
    return points / np.linalg.norm(points, axis=1).max()


def clouds(seed):
    """Training clouds and which of their labels are wrong, trusted clouds, test clouds."""
    rng = np.random.default_rng(seed)
    y, y_test = np.repeat(np.arange(len(SHAPES)), 400), np.repeat(np.arange(len(SHAPES)), 50)
    X, X_test = (np.array([cloud([*SHAPES][c], rng) for c in labels], dtype=np.float32) for labels in (y, y_test))
    X, y, X_meta, y_meta = balanced_meta_split(X, y, n_per_class=5, random_state=seed)
    X, y = make_long_tailed(X, y, imbalance_factor=20, random_state=seed)
    y, wrong = flip_labels(y, 0.3, random_state=seed, return_mask=True)
    return X, y, wrong, (X_meta, y_meta), (X_test, y_test)


# %%
# The network
# -----------
# The same layers see every point by itself, and what a cloud is to the network is the maximum over its points: their
# order does not matter. The features of a cloud are what goes into ``head``; those of a point would have to be pooled
# first.


def perceptron(n_in, n_out):
    """A layer, normalised within the sample, so that it computes the same in training and in evaluation."""
    return nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.ReLU()


class PointNet(nn.Module):
    """A perceptron for each point, the maximum over the points, and a perceptron for the cloud."""

    def __init__(self):
        super().__init__()
        self.points = nn.Sequential(*perceptron(3, 16), *perceptron(16, 32), *perceptron(32, 64))
        self.cloud = nn.Sequential(*perceptron(64, 128), *perceptron(128, 64))
        self.head = nn.Linear(64, len(SHAPES))

    def forward(self, X):
        return self.head(self.cloud(self.points(X).amax(1)))


# %%
# The runs
# --------
# The learning rate is that of the plain run's best last epoch, on other seeds than those below.

runs = compare(PointNet, clouds, seeds=range(2), warmup=10, epochs=24, batch_size=64)
print_table(runs)

# %%
# skotw is level with *plain* and *balanced* within the spread of the seeds, and no better. The weights do tell right
# labels from wrong ones, as the right picture and the last line above say. Whether that is worth anything is in the
# left one: as long as the plain run has not begun to learn the mistakes, there is nothing to keep it from. Look at the
# curve of a plain run before you expect weights to help: accuracy that falls after a peak is the sign.

figure = picture(runs)
