"""What the examples of networks share: runs that differ in their weights only, a table and a picture of them."""

from dataclasses import dataclass, field

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from skorch.callbacks import Callback, EpochScoring
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from skotw import OTSampleWeighter
from skotw.deep import OTWeightedNetClassifier
from skotw.metrics import mislabel_auc

__all__ = ["Runs", "compare", "picture", "print_table"]

# What the weights of skotw are compared with. Label cost alone is class balance. A very large regularisation returns
# the prior, and a uniform one is no weighting.
WEIGHTERS = {
    "plain": OTSampleWeighter(prior="uniform", class_mass="meta", label_weight=0.0, reg=1e6),
    "balanced": OTSampleWeighter(label_weight=1.0),
}
OURS, ALONE = "skotw", "trusted only"


class KeepWeights(Callback):
    """The weights after every epoch."""

    def initialize(self):
        self.weights_ = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.weights_.append(getattr(net, "sample_weight_", None))


@dataclass
class Runs:
    """What remains of the training: accuracies over the epochs, and the weights of the last seed.

    Attributes
    ----------
    curves : dict of {str: list of ndarray}
        Balanced accuracy on the test samples, for each way and seed, epoch by epoch.
    alone : list of float
        That of the trusted samples alone, after as many steps.
    epochs, weights : ndarray
        Epochs of stage 2, and the weights of skotw after each.
    y, wrong : ndarray
        Training labels of the last seed, and which are wrong.
    """

    warmup: int
    curves: dict = field(default_factory=lambda: {name: [] for name in [*WEIGHTERS, OURS]})
    alone: list = field(default_factory=list)
    epochs: np.ndarray = None
    weights: np.ndarray = None
    y: np.ndarray = None
    wrong: np.ndarray = None


def train(module, X, y, seed, test=None, **params):
    """A trained net."""
    torch.manual_seed(seed)
    callbacks = [("keep", KeepWeights())]
    if test is not None:
        callbacks.append(("accuracy", EpochScoring("balanced_accuracy", name="accuracy", lower_is_better=False)))
    net = OTWeightedNetClassifier(
        module,
        feature_layer="head",
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=2e-3,
        iterator_train__shuffle=True,
        train_split=None if test is None else predefined_split(Dataset(*test)),
        callbacks=callbacks,
        verbose=0,
        **params,
    )
    return net.fit(X, y)


def compare(module, draw, seeds, *, warmup, epochs, batch_size=32, weighter=None):
    """Train each way on each seed.

    Parameters
    ----------
    module : class of torch.nn.Module
        Has a layer ``head``, whose input are the features.
    draw : callable
        Takes a seed, and returns training samples, their labels, which of these are wrong, (trusted samples, labels)
        and (test samples, labels).
    weighter : OTSampleWeighter or None
        That of skotw; None is the default of the network.
    """
    runs = Runs(warmup)
    stages = {"warmup_epochs": warmup, "max_epochs": epochs, "batch_size": batch_size}
    for seed in seeds:
        X, runs.y, runs.wrong, meta, test = draw(seed)
        for name, each in {**WEIGHTERS, OURS: weighter}.items():
            net = train(module, X, runs.y, seed, test, meta=meta, meta_loss_weight=1.0, weighter=each, **stages)
            runs.curves[name].append(np.array(net.history[:, "accuracy"]))
        steps = epochs * len(runs.y) // len(meta[1])
        alone = train(module, *meta, seed, callbacks__reweighting=None, max_epochs=steps, batch_size=batch_size)
        runs.alone.append(balanced_accuracy_score(test[1], alone.predict(test[0])))
    runs.weights = np.array([w for w in dict(net.callbacks_)["keep"].weights_ if w is not None])
    runs.epochs = np.arange(epochs - len(runs.weights), epochs) + 1
    return runs


def print_table(runs):
    """Accuracy after the last epoch, and what the weights tell apart."""
    last = {name: [curve[-1] for curve in curves] for name, curves in runs.curves.items()} | {ALONE: runs.alone}
    print(f"balanced accuracy on test samples, last epoch, mean and standard deviation of {len(runs.alone)} seeds")
    for name, values in last.items():
        print(f"{name:>14}  {np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}")
    best = {name: np.mean(curves, axis=0).max() for name, curves in runs.curves.items()}
    print("best epoch of the mean, in hindsight:", ", ".join(f"{name} {value:.3f}" for name, value in best.items()))
    others = {name: np.mean(values) for name, values in last.items() if name != OURS}
    other = max(others, key=others.get)
    print(f"skotw {np.mean(last[OURS]) - others[other]:+.3f} against the best other way, {other}")
    auc = mislabel_auc(runs.weights[-1], runs.y, runs.wrong)
    print(f"after the last epoch a right label weighs more than a wrong one of its class in {auc:.1%} of pairs")


def picture(runs):
    """Accuracy over the epochs, and the weights of right and of wrong labels relative to the mean of their class."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (name, curves), style in zip(runs.curves.items(), (":", "--", "-"), strict=True):
        mean = np.mean(curves, axis=0)
        left.plot(np.arange(len(mean)) + 1, mean, style, label=name, linewidth=2 if name == OURS else 1.4)
    left.axhline(np.mean(runs.alone), color="grey", linewidth=1, label=f"{ALONE}, last epoch")
    left.axvline(runs.warmup + 0.5, color="0.8", zorder=0)
    left.set(xlabel="epoch (right of the line: with weights)", ylabel="balanced accuracy")
    left.legend(frameon=False, loc="lower right")
    relative = np.array([w / (np.bincount(runs.y, w) / np.bincount(runs.y))[runs.y] for w in runs.weights])
    for mask, label, color in ((~runs.wrong, "right label", "C0"), (runs.wrong, "wrong label", "C3")):
        low, middle, high = np.quantile(relative[:, mask], [0.25, 0.5, 0.75], axis=1)
        right.plot(runs.epochs, middle, color=color, label=f"{label}, median and quartiles")
        right.fill_between(runs.epochs, low, high, color=color, alpha=0.2, linewidth=0)
    right.set(xlabel="epoch", ylabel="weight / mean weight of its label", title="weights of skotw")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
    right.margins(y=0.3)  # room for the legend
    right.set_ylim(bottom=0)
    right.legend(frameon=False, loc="upper right")
    return figure
