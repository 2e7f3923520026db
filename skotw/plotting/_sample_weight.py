"""SampleWeightDisplay: what became of the weights of rows, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skotw._compat import num_samples
from skotw._typing import Array, ArrayLike
from skotw._validation import check_index, check_weights, clean_labels, encode_labels, on_host
from skotw._weighter.labels import target_kind

from ._drawing import AFTER, BEFORE, INK, WRONG, Shown, canvas, draw_legend, plain_decades, pyplot
from ._fitted import classes_of, weighter_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SampleWeightDisplay"]

# Weights relative to their mean, below which a picture does not look.
_LEAST_WEIGHT = 1e-6


class SampleWeightDisplay:
    """Weights of a training set, class by class.

    Make it by :meth:`from_estimator` or :meth:`from_weights`, which draw as well.

    Parameters
    ----------
    weights : ndarray of shape (n_samples,)
        Weights of the rows.
    codes : ndarray of shape (n_samples,)
        Index of each row's class among ``classes``.
    classes : sequence
        The classes. Empty where there are none, and then all codes are 0.
    sample_weight : ndarray of shape (n_samples,)
        How much each row counted beforehand.
    mislabelled : ndarray of shape (n_samples,) or None, default=None
        Which labels are wrong, where that is known.

    Attributes
    ----------
    bars_ : dict of {str: matplotlib BarContainer}
        Of ``kind="shares"``: "before" and "after"; where wrong labels are known, "before, wrong" and "after, wrong"
        too, which stand on those of right labels.
    boxes_ : dict of {str: dict}
        Of ``kind="weights"``: what matplotlib's ``boxplot`` returns, for "all" or for "right" and "wrong".
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.

    See Also
    --------
    LabelReliabilityDisplay : How many labels of each class are right.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw import OTSampleWeighter
    >>> from skotw.meta import balanced_meta_split
    >>> from skotw.plotting import SampleWeightDisplay
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> weighter = OTSampleWeighter(label_cost="hard").fit(X[:100], y[:100], X_meta, y_meta)
    >>> display = SampleWeightDisplay.from_estimator(weighter)
    >>> [round(float(bar.get_height()), 2) for bar in display.bars_["after"]]
    [0.33, 0.33, 0.33]
    """

    def __init__(
        self,
        *,
        weights: Array,
        codes: Array,
        classes: Sequence[Any],
        sample_weight: Array,
        mislabelled: Array | None = None,
    ) -> None:
        self.weights = weights
        self.codes = codes
        self.classes = classes
        self.sample_weight = sample_weight
        self.mislabelled = mislabelled

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        mislabelled: ArrayLike | None = None,
        kind: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> SampleWeightDisplay:
        """Draw the weights that an estimator has learned.

        Parameters
        ----------
        estimator : OTSampleWeighter, or an estimator that holds one
            Fitted. Of an estimator with ``weighter_``, or a network with ``reweighter_``, the weights are those of the
            transport, before trusted rows get their share.
        mislabelled : array-like of shape (n_samples,), dtype bool, default=None
            Which labels of the training rows are wrong, where that is known.
        kind : {"shares", "weights"} or None, default=None
            As in :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : SampleWeightDisplay
            The picture, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted in chunks, which leaves no weights, or ``mislabelled`` has not one value per row.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_estimator")
        weighter = weighter_of(estimator)
        groups = getattr(weighter, "_row_groups", None)
        if groups is None:
            raise ValueError(
                "The estimator was fitted in parts, by partial_fit or in several processes, and does not have the "
                "weights of all rows. Use from_weights with what weigh(X, y) returns."
            )
        fitted = weighter._model
        wrong = _flags(mislabelled, len(groups.codes))
        took_part = np.flatnonzero(groups.codes >= 0)
        codes = np.searchsorted(fitted.groups, groups.codes[took_part])
        before = np.ones(len(groups.codes)) if groups.sample_weight is None else groups.sample_weight
        display = cls(
            weights=on_host(weighter.sample_weight_).astype(np.float64)[took_part],
            codes=codes,
            classes=classes_of(estimator, weighter),
            sample_weight=before[took_part],
            mislabelled=None if wrong is None else wrong[took_part],
        )
        return display.plot(ax, kind=kind, **kwargs)

    @classmethod
    def from_weights(
        cls,
        weights: ArrayLike,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        mislabelled: ArrayLike | None = None,
        kind: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> SampleWeightDisplay:
        """Draw weights of any origin.

        Parameters
        ----------
        weights : array-like of shape (n_samples,)
            Weights, on any scale.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels of the rows: classes, or several columns of them. None draws all rows together.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counted beforehand. None is the same for all.
        mislabelled : array-like of shape (n_samples,), dtype bool, default=None
            Which labels are wrong, where that is known.
        kind : {"shares", "weights"} or None, default=None
            As in :meth:`plot`.
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : SampleWeightDisplay
            The picture, drawn.

        Raises
        ------
        ValueError
            If lengths differ, weights are negative, not finite or all zero, or ``y`` holds continuous numbers.
        ImportError
            If matplotlib is not installed.
        """
        pyplot(f"{cls.__name__}.from_weights")
        check_index(weights=weights, y=y, sample_weight=sample_weight, mislabelled=mislabelled)
        w = check_weights(weights, "weights")
        classes, codes = _encode(y, len(w))
        given = np.ones(len(w)) if sample_weight is None else check_weights(sample_weight, "sample_weight", len(w))
        wrong = _flags(mislabelled, len(w))
        display = cls(weights=w, codes=codes, classes=classes, sample_weight=given, mislabelled=wrong)
        return display.plot(ax, kind=kind, **kwargs)

    def plot(self, ax: Axes | None = None, *, kind: str | None = None, **kwargs: Any) -> SampleWeightDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        kind : {"shares", "weights"} or None, default=None
            "shares": the share of each class in the total weight, before and after. "weights": boxes of the weights of
            each class relative to the mean of all rows, from the first to the third quartile, with the median and
            whiskers from 5 to 95 %. Where wrong labels are known, both tell them from right ones. None is "shares", and
            "weights" where there are no classes.
        **kwargs : dict
            Passed on to matplotlib's ``bar`` ("shares") or ``boxplot`` ("weights").

        Returns
        -------
        display : SampleWeightDisplay
            This display.

        Raises
        ------
        ValueError
            If ``kind`` is unknown, or is "shares" and there are no classes.
        ImportError
            If matplotlib is not installed.
        """
        kind = kind or ("shares" if self.classes else "weights")
        if kind not in ("shares", "weights"):
            raise ValueError(f"kind must be 'shares', 'weights' or None; got {kind!r}.")
        if kind == "shares" and not self.classes:
            raise ValueError("There are no classes that could have shares. Use kind='weights'.")
        with canvas(ax, f"{type(self).__name__}.plot") as ax:
            self.ax_, self.figure_ = ax, ax.figure
            sizes = np.bincount(self.codes, self.sample_weight, max(len(self.classes), 1))
            shown = Shown(self.classes, sizes)
            if kind == "shares":
                self._plot_shares(ax, shown, kwargs)
            else:
                self._plot_weights(ax, shown, kwargs)
            shown.name_ticks(ax)
        return self

    def _plot_shares(self, ax, shown, kwargs):
        self.bars_ = {}
        for side, (name, mass, color) in enumerate(
            [("before", self.sample_weight, BEFORE), ("after", self.weights, AFTER)]
        ):
            mass = mass / mass.sum()
            at = shown.places + (side - 0.5) * 0.4
            style = {"width": 0.38, "color": color, "label": name} | kwargs
            right = mass if self.mislabelled is None else np.where(self.mislabelled, 0.0, mass)
            height = shown.sum(np.bincount(self.codes, right, len(self.classes)))
            self.bars_[name] = ax.bar(at, height, **style)
            if self.mislabelled is not None:
                wrong = shown.sum(np.bincount(self.codes, mass - right, len(self.classes)))
                style |= {"bottom": height, "label": f"{name}, wrong labels", "hatch": "/////"}
                style |= {"color": "white", "edgecolor": style["color"], "linewidth": 0.8}
                self.bars_[f"{name}, wrong"] = ax.bar(at, wrong, **style)
        ax.set_ylabel("share of the weight")
        ax.autoscale(axis="y")
        draw_legend(ax, 2)

    def _plot_weights(self, ax, shown, kwargs):
        relative = np.maximum(self.weights / self.weights.mean(), _LEAST_WEIGHT)
        rows = {"all": np.ones(len(relative), dtype=bool)}
        if self.mislabelled is not None:
            rows = {"right": ~self.mislabelled, "wrong": self.mislabelled}
        self.boxes_ = {}
        ax.set_yscale("log")
        ax.axhline(1.0, color=INK, linewidth=0.6, linestyle=":", zorder=0)
        for side, (name, chosen) in enumerate(rows.items()):
            color = WRONG if name == "wrong" else AFTER
            at = shown.places + (side - 0.5) * 0.4 * (len(rows) > 1)
            values = [relative[chosen & np.isin(self.codes, members)] for members in shown.members]
            style = {
                "widths": 0.34 if len(rows) > 1 else 0.6,
                "whis": (5, 95),
                "showfliers": False,
                "patch_artist": True,
                "manage_ticks": False,
                "boxprops": {"facecolor": color, "edgecolor": INK, "linewidth": 0.6},
                "medianprops": {"color": INK, "linewidth": 1.4},
                "whiskerprops": {"color": INK, "linewidth": 0.6},
                "capprops": {"color": INK, "linewidth": 0.6},
            }
            self.boxes_[name] = ax.boxplot(values, positions=at, **style | kwargs)
            if name == "wrong":
                for box in self.boxes_[name]["boxes"]:
                    if hasattr(box, "set_hatch"):
                        box.set_hatch("/////")
        ax.autoscale(axis="y")
        plain_decades(ax)
        if len(rows) > 1:
            handles = [boxes["boxes"][0] for boxes in self.boxes_.values()]
            draw_legend(ax, 2, handles, ["right labels", "wrong labels"])
        ax.set_ylabel("weight / mean weight")


def _flags(mislabelled, n):
    """Which of n labels are wrong, as booleans."""
    if mislabelled is None:
        return None
    flags = np.asarray(on_host(mislabelled))
    if flags.shape != (n,) or flags.dtype != bool:
        raise ValueError(
            f"mislabelled must hold {n} booleans, one per row; got {flags.dtype} values of shape {flags.shape}."
        )
    return flags


def _encode(y, n):
    """Classes of labels, and the index of each label among them; no classes without labels."""
    if y is None:
        return [], np.zeros(n, dtype=np.intp)
    if num_samples(y) != n:
        raise ValueError(f"weights and y must have the same length, one value per row; got {n} and {num_samples(y)}.")
    kind = target_kind(y, "auto")
    if kind == "continuous":
        raise ValueError(
            "y holds continuous numbers, which are no classes. Leave y out to draw the weights of all rows, or bin it."
        )
    if kind == "classes":
        classes, codes = encode_labels(y)
        return list(classes), codes
    cells = [tuple(row) for row in clean_labels(y, "y").tolist()]
    classes = sorted(set(cells), key=str)
    index = {cell: k for k, cell in enumerate(classes)}
    return classes, np.array([index[cell] for cell in cells])
