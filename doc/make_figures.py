"""Make the figures of the guide: ``python doc/make_figures.py`` writes them to doc/_static/guide/.

They take a few seconds, and show what the code on the pages computes. Those that fit are drawn by skotw.plotting.
"""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, make_circles

from skotw import OTSampleWeighter, find_label_errors
from skotw.datasets import flip_labels, make_long_tailed
from skotw.meta import balanced_meta_split
from skotw.plotting import (
    LabelErrorsDisplay,
    LabelReliabilityDisplay,
    RegularizationPathDisplay,
    SampleWeightDisplay,
)

FOLDER = Path(__file__).parent / "_static" / "guide"
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 120}
COLORS = ("#3f90da", "#ffa90e")  # of skotw.plotting


def digits():
    """Long-tailed digits, of whose labels three in ten are wrong, and which they are."""
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(n_class=5, return_X_y=True), n_per_class=5, random_state=0)
    X, y = make_long_tailed(X, y, imbalance_factor=10, random_state=0)
    y, wrong = flip_labels(y, 0.3, random_state=0, return_mask=True)
    return (X, y, X_meta, y_meta), wrong


def _one_legend(figure, axes):
    """One legend below the figure in the place of those of the axes."""
    handles, labels = (
        axes[0].get_legend().legend_handles,
        [text.get_text() for text in axes[0].get_legend().get_texts()],
    )
    for ax in axes:
        ax.get_legend().remove()
        ax.autoscale(axis="y")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)


def cost():
    """Weights of two classes in the plane under three values of ``label_weight``."""
    rng = np.random.default_rng(3)
    truth, chosen = np.repeat([0, 1], [60, 35]), np.repeat([0, 1], 3)
    centres = np.array([[-1.3, 0.0], [1.3, 0.4]])
    rows = centres[truth] + rng.normal(scale=0.8, size=(len(truth), 2))
    trusted = centres[chosen] + rng.normal(scale=0.5, size=(len(chosen), 2))
    given, wrong = flip_labels(truth, 0.15, random_state=0, return_mask=True)
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), layout="constrained", sharey=True)
    for ax, label_weight in zip(axes, (0.0, 0.5, 1.0), strict=True):
        weighter = OTSampleWeighter(metric="sqeuclidean", label_weight=label_weight, reg=0.3)
        w = weighter.fit_weights(rows, given, trusted, chosen)
        for label, color in enumerate(COLORS):
            for mask, marker, edge in ((~wrong, "o", "white"), (wrong, "X", "#bd1f01")):
                shown = mask & (given == label)
                style = {"s": 18 * w[shown], "marker": marker, "edgecolors": edge, "linewidths": 0.5}
                ax.scatter(*rows[shown].T, color=color, **style)
            ax.scatter(*trusted[chosen == label].T, s=70, marker="*", color=color, edgecolors="black", zorder=3)
        ax.set(title=f"label_weight={label_weight:g}", xticks=[], yticks=[])
    return figure


def embedding():
    """Weights of right and wrong labels on two rings, by where distances are measured."""
    sets = balanced_meta_split(
        *make_circles(800, noise=0.1, factor=0.5, random_state=0), n_per_class=10, random_state=0
    )
    X, y, X_meta, y_meta = sets
    y, wrong = flip_labels(y, 0.3, random_state=0, return_mask=True)
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.5), layout="constrained", width_ratios=[1, 1.2, 1.2])
    for label, color in enumerate(COLORS):
        axes[0].scatter(*X[y == label].T, s=3, color=color)
        axes[0].scatter(*X_meta[y_meta == label].T, s=60, marker="*", color=color, edgecolors="black")
    axes[0].set(title="the rows", xticks=[], yticks=[], aspect="equal")
    for ax, name in zip(axes[1:], ("scale", "supervised"), strict=True):
        weighter = OTSampleWeighter(embedding=name, random_state=0).fit(X, y, X_meta, y_meta)
        SampleWeightDisplay.from_estimator(weighter, mislabelled=wrong, kind="weights", ax=ax)
        ax.set(title=f'embedding="{name}"')
    _one_legend(figure, axes[1:])
    return figure


def prior():
    """Shares of classes, right and wrong labels apart, under three priors."""
    sets, wrong = digits()
    figure, axes = plt.subplots(1, 3, figsize=(7.2, 2.6), layout="constrained", sharey=True)
    for ax, name in zip(axes, ("uniform", "balanced", "confidence"), strict=True):
        weighter = OTSampleWeighter(prior=name, reg=0.25, random_state=0).fit(*sets)
        SampleWeightDisplay.from_estimator(weighter, mislabelled=wrong, kind="shares", ax=ax)
        ax.set(title=f'prior="{name}"', ylabel="share of the weight" if ax is axes[0] else "")
    _one_legend(figure, axes)
    return figure


def reg():
    """Effective size and class shares against ``reg``."""
    sets, _ = digits()
    return RegularizationPathDisplay.from_estimator(OTSampleWeighter(), *sets).figure_


def reliability():
    """Precision of each label with its standard error, beside the truth: twos and fours are partly called zeros."""
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(n_class=5, return_X_y=True), n_per_class=15, random_state=0)
    transition = np.eye(5)
    transition[2] = [0.2, 0, 0.8, 0, 0]
    transition[4] = [0.6, 0, 0, 0, 0.4]
    given, wrong = flip_labels(y, kind="class-dependent", transition=transition, random_state=0, return_mask=True)
    display = LabelReliabilityDisplay.from_estimator(OTSampleWeighter().fit(X, given, X_meta, y_meta))
    right = [1 - wrong[given == label].mean() for label in range(5)]
    display.ax_.plot(range(5), right, "_", color="black", markersize=16, label="true share")
    display.ax_.set_xlabel("label")
    display.ax_.legend(loc="upper center", ncols=2, frameon=False, borderaxespad=0.2, fontsize=7)
    return display.figure_


def label_errors():
    """The most suspicious of 1,747 digits."""
    X, y, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=0)
    y = flip_labels(y, 0.1, random_state=0)
    found = find_label_errors(X, y, X_meta, y_meta, random_state=0)
    return LabelErrorsDisplay.from_errors(found, X.reshape(-1, 8, 8), n_shown=10).figure_


def main(folder=FOLDER):
    """Make all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for make in (cost, embedding, prior, reg, reliability, label_errors):
        with mpl.rc_context(STYLE):
            figure = make()
            figure.savefig(folder / f"{make.__name__}.png", metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    mpl.use("Agg")
    main()
