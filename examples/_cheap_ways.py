"""The simple uses of trusted rows that the examples compare with, and a picture of such a comparison.

They are those of ``benchmarks/quality/contenders.py``, which says where each comes from.
"""

import sys
from pathlib import Path

from sklearn.base import clone
from sklearn.utils.class_weight import compute_sample_weight

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.quality.contenders import MAIN
from benchmarks.quality.task import Task, fit_weighted

__all__ = ["BOUND", "OURS", "SIMPLE", "Task", "dots", "fit_plain", "fit_way"]

SIMPLE = {
    "balanced": "balanced",
    "balanced, trusted 1/4": "balanced, trusted 0.25",
    "balanced, trusted 1/2": "balanced, trusted 0.5",
    "balanced, trusted 3/4": "balanced, trusted 0.75",
    "trusted only": "trusted only",
    "P(y|x), logistic": "P(y|x) of trusted, logistic",
    "P(y|x), forest": "P(y|x) of trusted, forest",
    "confident learning": "confident learning",
    "self-confidence": "self-confidence",
    "KNN-Shapley": "KNN-Shapley",
}
OURS, BOUND = "skotw", "without wrong rows *"


def fit_plain(task, models):
    """Models of training and trusted rows, all of weight 1."""
    return [clone(model).fit(*task.union) for model in models]


def fit_way(way, task, models, class_mass=None):
    """Models under the weights of a simple way, or of :data:`BOUND`; ``class_mass`` is balanced unless it is given."""
    plan = MAIN["oracle" if way == BOUND else SIMPLE[way]](task)
    weight = compute_sample_weight("balanced", plan.y) if plan.weight is None else plan.weight
    if class_mass is not None:
        weight = weight * (class_mass * len(class_mass))[plan.y]
    return [fit_weighted(clone(model), plan.X, plan.y, weight) for model in models]


def dots(axes, names, columns, highlight=(OURS,)):
    """One row per name, one axes per column, which is {legend: values}."""
    markers = "os^D"
    for ax, (title, series) in zip(axes, columns.items(), strict=True):
        for k, (label, values) in enumerate(series.items()):
            ax.plot(values, range(len(names)), markers[k], color=f"C{k}", label=label, markersize=5)
        for row, name in enumerate(names):
            if name in highlight:
                ax.axhspan(row - 0.5, row + 0.5, color="0.9", zorder=0)
        ax.set(title=title, ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
        ax.grid(axis="x", color="0.9", zorder=0)
        ax.set_axisbelow(True)
    axes[0].set_yticks(range(len(names)), names)
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    if len(next(iter(columns.values()))) > 1:
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
