"""Pictures of weights, and of what they were learned from. They need matplotlib: ``pip install skotw[plot]``.

Each picture is a *display*, as in scikit-learn. ``from_estimator`` and its like compute and draw. ``plot(ax=)`` draws
once more. What was drawn stays in attributes that end in an underscore. Without ``ax`` a new figure is as wide as a
column of a paper. At most ten classes are drawn singly. Of more, these are the five with most weight beforehand and the
five with least; the rest are drawn together as "other". Colour-blind people can tell the colours apart, and hatches or
line styles differ as well.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from ._compat import num_samples, safe_indexing
from ._typing import Array, ArrayLike, MatrixLike
from ._validation import check_index, check_weights, clean_labels, encode_labels, on_host
from ._weighter.estimator import OTSampleWeighter
from ._weighter.label_errors import LabelErrors
from ._weighter.labels import target_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "LabelErrorsDisplay",
    "LabelReliabilityDisplay",
    "RegularizationPathDisplay",
    "SampleWeightDisplay",
    "TransportPlanDisplay",
    "WeightHistoryDisplay",
]

# M. A. Petroff, "Accessible Color Sequences for Data Visualization", arXiv:2107.02270: ten colours.
_COLORS = (
    "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()  # noqa: SIM905 (shorter)
)
_AFTER, _BEFORE, _WRONG, _INK = _COLORS[0], _COLORS[3], _COLORS[2], "#333333"
_LINES = ("-", "--", "-.", ":")
_MOST = 10
_LONGEST_NAME = 16
# Weights relative to their mean, below which a picture does not look.
_LEAST_WEIGHT = 1e-6
# Inches, and points.
_WIDTH, _HEIGHT = 3.3, 2.2
_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_ROWS_AT_ONCE = 10_000


# ---------------------------------------------------------------------------------------------
# Weights of rows


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
        _pyplot(f"{cls.__name__}.from_estimator")
        weighter = _weighter(estimator)
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
            classes=_classes(estimator, weighter),
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
        _pyplot(f"{cls.__name__}.from_weights")
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
        with _canvas(ax, f"{type(self).__name__}.plot") as ax:
            self.ax_, self.figure_ = ax, ax.figure
            sizes = np.bincount(self.codes, self.sample_weight, max(len(self.classes), 1))
            shown = _Shown(self.classes, sizes)
            if kind == "shares":
                self._plot_shares(ax, shown, kwargs)
            else:
                self._plot_weights(ax, shown, kwargs)
            shown.name_ticks(ax)
        return self

    def _plot_shares(self, ax, shown, kwargs):
        self.bars_ = {}
        for side, (name, mass, color) in enumerate(
            [("before", self.sample_weight, _BEFORE), ("after", self.weights, _AFTER)]
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
        _legend(ax, 2)

    def _plot_weights(self, ax, shown, kwargs):
        relative = np.maximum(self.weights / self.weights.mean(), _LEAST_WEIGHT)
        rows = {"all": np.ones(len(relative), dtype=bool)}
        if self.mislabelled is not None:
            rows = {"right": ~self.mislabelled, "wrong": self.mislabelled}
        self.boxes_ = {}
        ax.set_yscale("log")
        ax.axhline(1.0, color=_INK, linewidth=0.6, linestyle=":", zorder=0)
        for side, (name, chosen) in enumerate(rows.items()):
            color = _WRONG if name == "wrong" else _AFTER
            at = shown.places + (side - 0.5) * 0.4 * (len(rows) > 1)
            values = [relative[chosen & np.isin(self.codes, members)] for members in shown.members]
            style = {
                "widths": 0.34 if len(rows) > 1 else 0.6,
                "whis": (5, 95),
                "showfliers": False,
                "patch_artist": True,
                "manage_ticks": False,
                "boxprops": {"facecolor": color, "edgecolor": _INK, "linewidth": 0.6},
                "medianprops": {"color": _INK, "linewidth": 1.4},
                "whiskerprops": {"color": _INK, "linewidth": 0.6},
                "capprops": {"color": _INK, "linewidth": 0.6},
            }
            self.boxes_[name] = ax.boxplot(values, positions=at, **style | kwargs)
            if name == "wrong":
                for box in self.boxes_[name]["boxes"]:
                    if hasattr(box, "set_hatch"):
                        box.set_hatch("/////")
        ax.autoscale(axis="y")
        _plain_decades(ax)
        if len(rows) > 1:
            handles = [boxes["boxes"][0] for boxes in self.boxes_.values()]
            _legend(ax, 2, handles, ["right labels", "wrong labels"])
        ax.set_ylabel("weight / mean weight")


# ---------------------------------------------------------------------------------------------
# Reliability of labels


class LabelReliabilityDisplay:
    """Share of the labels of each class that are right, with standard errors.

    Make it by :meth:`from_estimator`, which draws as well.

    Parameters
    ----------
    classes : sequence
        The classes.
    precision, precision_se : ndarray of shape (n_classes,)
        Share of the rows with each label that really are of the class, and its standard error. NaN where unknown.
    mass : ndarray of shape (n_classes,)
        Weight of each class beforehand, by which classes that are not drawn singly are averaged.
    overall : float
        Reliability of all labels, on the scale where 0 says that they tell nothing. NaN where unknown.

    Attributes
    ----------
    errorbar_ : matplotlib ErrorbarContainer
        Points, and bars of one standard error to either side.
    mean_line_ : matplotlib Line2D or None
        The mean precision that ``overall`` stands for. None where it is unknown.
    text_ : list of matplotlib Text
        Question marks at classes of which it is unknown.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from skotw import OTSampleWeighter
    >>> from skotw.meta import balanced_meta_split
    >>> from skotw.plotting import LabelReliabilityDisplay
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> weighter = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    >>> display = LabelReliabilityDisplay.from_estimator(weighter)
    >>> drawn = display.errorbar_.lines[0].get_ydata()  # NaN where too little is known
    >>> bool(np.array_equal(drawn, weighter.label_reliability_.precision, equal_nan=True))
    True
    """

    def __init__(
        self, *, classes: Sequence[Any], precision: Array, precision_se: Array, mass: Array, overall: float
    ) -> None:
        self.classes = classes
        self.precision = precision
        self.precision_se = precision_se
        self.mass = mass
        self.overall = overall

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None, **kwargs: Any) -> LabelReliabilityDisplay:
        """Draw what an estimator has found out about its labels.

        Parameters
        ----------
        estimator : OTSampleWeighter, or an estimator that holds one
            Fitted, by ``partial_fit`` too.
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : LabelReliabilityDisplay
            The picture, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted without classes.
        ImportError
            If matplotlib is not installed.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        weighter = _weighter(estimator)
        found, fitted = weighter.label_reliability_, weighter._model
        if found is None:
            raise ValueError(
                "The reliability of labels is known for one column of classes, and the estimator was fitted to other "
                "targets. Use SampleWeightDisplay, which draws the weights of any target."
            )
        display = cls(
            classes=_classes(estimator, weighter),
            precision=found.precision,
            precision_se=found.precision_se,
            mass=fitted.group_weight[fitted.groups],
            overall=found.overall,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> LabelReliabilityDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to matplotlib's ``errorbar``.

        Returns
        -------
        display : LabelReliabilityDisplay
            This display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        with _canvas(ax, f"{type(self).__name__}.plot") as ax:
            self.ax_, self.figure_ = ax, ax.figure
            shown = _Shown(self.classes, self.mass)
            precision, error = shown.mean(self.precision, self.mass), shown.error(self.precision_se, self.mass)
            style = {"fmt": "o", "color": _AFTER, "ecolor": _INK, "capsize": 2, "elinewidth": 0.8}
            self.errorbar_ = ax.errorbar(shown.places, precision, yerr=error, **style | kwargs)
            self.text_ = [
                ax.text(place, 0.03, "?", ha="center", color=_INK) for place in shown.places[np.isnan(precision)]
            ]
            self.mean_line_ = None
            ax.set_ylim(0.0, min(np.fmax.reduce(precision + error, initial=1.03) + 0.02, 1.3))
            ax.set_yticks(np.linspace(0.0, 1.0, 6))
            if not np.isnan(self.overall):
                mean = 1.0 / len(self.classes) + (1.0 - 1.0 / len(self.classes)) * self.overall
                self.mean_line_ = ax.axhline(
                    mean, color=_INK, linestyle="--", linewidth=0.8, zorder=0, label="mean of the classes"
                )
                _legend(ax, 1)
            ax.set_ylabel("right labels (± 1 s.e.)")
            shown.name_ticks(ax)
        return self


# ---------------------------------------------------------------------------------------------
# Epochs of a network


class WeightHistoryDisplay:
    """Effective size and largest weight over the epochs of a network.

    Make it by :meth:`from_estimator`, which draws as well.

    Parameters
    ----------
    epoch : ndarray of shape (n_epochs,)
        Numbers of the epochs.
    effective_size, largest : ndarray of shape (n_epochs,)
        Kish's effective size of the weights of each epoch, and the largest of them.

    Attributes
    ----------
    size_line_, largest_line_ : matplotlib Line2D
        The two curves.
    axes_ : ndarray of shape (2,) of matplotlib Axes
        That of the effective size, and that of the largest weight.
    figure_ : matplotlib Figure
        Figure of the picture.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from skotw.plotting import WeightHistoryDisplay
    >>> epochs = [
    ...     {"epoch": 1, "weight_ess": 200.0, "weight_max": 1.0},
    ...     {"epoch": 2, "weight_ess": 90.0, "weight_max": 4.0},
    ... ]
    >>> net = SimpleNamespace(history=epochs)  # in the place of a fitted skotw.deep.OTWeightedNetClassifier
    >>> display = WeightHistoryDisplay.from_estimator(net)
    >>> display.size_line_.get_ydata()
    array([200.,  90.])
    """

    def __init__(self, *, epoch: Array, effective_size: Array, largest: Array) -> None:
        self.epoch = epoch
        self.effective_size = effective_size
        self.largest = largest

    @classmethod
    def from_estimator(cls, net: Any, *, ax: Any = None, **kwargs: Any) -> WeightHistoryDisplay:
        """Draw what a network has recorded.

        Parameters
        ----------
        net : OTWeightedNetClassifier, or a network of skorch with the callback OTReweighting
            After training.
        ax : array-like of two matplotlib Axes, default=None
            Axes to draw in, the first for the effective size. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : WeightHistoryDisplay
            The picture, drawn.

        Raises
        ------
        TypeError
            If ``net`` is no network of skorch.
        sklearn.exceptions.NotFittedError
            If the network is not trained.
        ValueError
            If its epochs have recorded no weights.
        ImportError
            If matplotlib is not installed.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        if not hasattr(net, "history") and not hasattr(net, "initialize"):  # which every network of skorch has
            raise TypeError(
                f"{type(net).__name__} has no epochs. Pass a trained skotw.deep.OTWeightedNetClassifier, or another "
                "network of skorch with the callback skotw.deep.OTReweighting."
            )
        history = getattr(net, "history", None)
        if history is None or not len(history):
            raise NotFittedError(f"This {type(net).__name__} has no history of epochs. Call fit first.")
        epochs = [epoch for epoch in history if "weight_ess" in epoch]
        if not epochs:
            raise ValueError(
                "The history has no weight_ess in any epoch. Train skotw.deep.OTWeightedNetClassifier, or give the "
                "network the callback skotw.deep.OTReweighting."
            )
        columns = [np.array([epoch[name] for epoch in epochs]) for name in ("epoch", "weight_ess", "weight_max")]
        return cls(epoch=columns[0], effective_size=columns[1], largest=columns[2]).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> WeightHistoryDisplay:
        """Draw.

        Parameters
        ----------
        ax : array-like of two matplotlib Axes, default=None
            Axes to draw in, the first for the effective size. None makes a figure.
        **kwargs : dict
            Passed on to matplotlib's ``plot``, for both curves.

        Returns
        -------
        display : WeightHistoryDisplay
            This display.

        Raises
        ------
        ValueError
            If ``ax`` does not hold two axes.
        ImportError
            If matplotlib is not installed.
        """
        with _canvas(ax, f"{type(self).__name__}.plot", n_axes=2) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            style = {"color": _AFTER, "marker": "o"} | kwargs
            (self.size_line_,) = axes[0].plot(self.epoch, self.effective_size, **style)
            (self.largest_line_,) = axes[1].plot(self.epoch, self.largest, **style)
            axes[0].set_ylabel("effective size")
            axes[1].set_ylabel("largest weight")
            axes[1].set_xlabel("epoch")
            for each in axes:
                each.set_ylim(bottom=0.0)
            axes[1].xaxis.get_major_locator().set_params(integer=True)
        return self


# ---------------------------------------------------------------------------------------------
# Regularisation


class RegularizationPathDisplay:
    """Effective size of the weights, and mass of the classes, against ``reg``.

    Make it by :meth:`from_estimator`, which draws as well.

    Parameters
    ----------
    reg : ndarray of shape (n_regs,)
        Values of ``reg``.
    effective_size : ndarray of shape (n_regs,)
        Kish's effective size of all weights under each.
    class_mass : ndarray of shape (n_regs, n_classes)
        Share of each class in the weight.
    classes : sequence
        The classes. Empty where there are none.
    mass_before : ndarray of shape (n_classes,)
        Share of each class beforehand, by which those to be drawn singly are chosen.
    chosen : float or None, default=None
        The ``reg`` that is marked.

    Attributes
    ----------
    size_line_ : matplotlib Line2D
        Effective size against ``reg``.
    mass_lines_ : list of matplotlib Line2D
        Mass of each class drawn, the others together last.
    chosen_lines_ : list of matplotlib Line2D
        What marks ``chosen``, in both axes.
    axes_ : ndarray of shape (2,) of matplotlib Axes
        That of the effective size, and that of the masses.
    figure_ : matplotlib Figure
        Figure of the picture.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw import OTSampleWeighter
    >>> from skotw.meta import balanced_meta_split
    >>> from skotw.plotting import RegularizationPathDisplay
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> display = RegularizationPathDisplay.from_estimator(
    ...     OTSampleWeighter(), X, y, X_meta, y_meta, reg=[0.01, 0.1, 1.0]
    ... )
    >>> bool((display.size_line_.get_ydata()[1:] > display.size_line_.get_ydata()[:-1]).all())
    True
    """

    def __init__(
        self,
        *,
        reg: Array,
        effective_size: Array,
        class_mass: Array,
        classes: Sequence[Any],
        mass_before: Array,
        chosen: float | None = None,
    ) -> None:
        self.reg = reg
        self.effective_size = effective_size
        self.class_mass = class_mass
        self.classes = classes
        self.mass_before = mass_before
        self.chosen = chosen

    @classmethod
    def from_estimator(
        cls,
        weighter: Any,
        X: MatrixLike,
        y: ArrayLike | None = None,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        *,
        reg: ArrayLike | None = None,
        ax: Any = None,
        fit_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> RegularizationPathDisplay:
        """Fit a clone of a weighter under each of several ``reg``, and draw what becomes of the weights.

        Parameters
        ----------
        weighter : OTSampleWeighter
            Fitted or not. Its own ``reg`` is marked.
        X, y, X_meta, y_meta : as in :meth:`skotw.OTSampleWeighter.fit`
            The training rows and the trusted ones.
        reg : array-like of shape (n_regs,), default=None
            Positive values to try. None is nine from 0.01 to 1, evenly on a logarithmic scale.
        ax : array-like of two matplotlib Axes, default=None
            Axes to draw in, the first for the effective size. None makes a figure.
        fit_params : dict, default=None
            Further arguments of ``fit``, such as ``sample_weight``.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : RegularizationPathDisplay
            The picture, drawn.

        Raises
        ------
        TypeError
            If ``weighter`` is no OTSampleWeighter.
        ValueError
            If ``reg`` is empty or not positive, or as :meth:`skotw.OTSampleWeighter.fit`.
        ImportError
            If matplotlib is not installed.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        if not isinstance(weighter, OTSampleWeighter):
            raise TypeError(
                f"weighter must be an OTSampleWeighter; got {type(weighter).__name__}. Of a fitted estimator pass "
                "its weighter_."
            )
        values = np.sort(_regs(reg))
        data, params = (X, y, X_meta, y_meta), fit_params or {}
        chosen = clone(weighter).fit(*data, **params)
        with warnings.catch_warnings():
            # those about the rows have been heard, and a collapse is what the picture shows
            warnings.simplefilter("ignore", UserWarning)
            reports = [clone(weighter).set_params(reg=float(value)).fit(*data, **params).report() for value in values]
        display = cls(
            reg=values,
            effective_size=np.array([report.n_effective for report in reports]),
            class_mass=np.array([report.mass_after for report in reports]),
            classes=reports[0].classes,
            mass_before=reports[0].mass_before,
            chosen=chosen.reg_,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> RegularizationPathDisplay:
        """Draw.

        Parameters
        ----------
        ax : array-like of two matplotlib Axes, default=None
            Axes to draw in, the first for the effective size. None makes a figure.
        **kwargs : dict
            Passed on to matplotlib's ``plot``, for all curves.

        Returns
        -------
        display : RegularizationPathDisplay
            This display.

        Raises
        ------
        ValueError
            If ``ax`` does not hold two axes.
        ImportError
            If matplotlib is not installed.
        """
        shown = _Shown(self.classes, self.mass_before)
        in_a_row = min(5, max(1, 48 // (max(map(len, shown.names)) + 7)))
        height = 2.7 + 0.16 * -(-len(shown.names) // in_a_row)
        with _canvas(ax, f"{type(self).__name__}.plot", n_axes=2, height=height) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            (self.size_line_,) = axes[0].plot(self.reg, self.effective_size, **{"color": _INK} | kwargs)
            self.mass_lines_ = []
            for k, name in enumerate(shown.names):
                style = {"color": _COLORS[k % _MOST], "linestyle": _LINES[k % len(_LINES)], "label": name}
                if shown.pooled and k == len(shown.names) - 1:
                    style |= {"color": "black", "linestyle": ":"}
                mass = self.class_mass[:, shown.members[k]].sum(axis=1)
                self.mass_lines_ += axes[1].plot(self.reg, mass, **style | kwargs)
            self.chosen_lines_ = []
            if self.chosen is not None:
                style = {"color": _INK, "linewidth": 0.7, "linestyle": "--", "zorder": 0}
                self.chosen_lines_ = [each.axvline(self.chosen, **style) for each in axes]
            axes[0].set_ylabel("effective size")
            axes[1].set_ylabel("share of the weight")
            axes[1].set_xlabel("reg")
            for each in axes:
                each.set_xscale("log")
                each.set_ylim(bottom=0.0)
            if self.classes:
                axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.42), ncols=in_a_row, frameon=False)
        return self


# ---------------------------------------------------------------------------------------------
# The plan


class TransportPlanDisplay:
    """Where the mass of the trusted rows goes, class by class.

    Make it by :meth:`from_estimator`, which draws as well.

    Parameters
    ----------
    plan : ndarray of shape (n_classes, n_classes)
        Mass that the trusted rows of each class (columns) send to the training rows of each label (rows).
    classes : sequence
        The classes, of rows and of columns.
    mass_before : ndarray of shape (n_classes,)
        Weight of each class beforehand, by which those to be drawn singly are chosen.

    Attributes
    ----------
    im_ : matplotlib AxesImage
        The mass as a share of the column.
    text_ : ndarray of shape (n_drawn, n_drawn) of matplotlib Text
        The shares in percent. Below half a percent the texts are empty.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skotw import OTSampleWeighter
    >>> from skotw.meta import balanced_meta_split
    >>> from skotw.plotting import TransportPlanDisplay
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> weighter = OTSampleWeighter(label_cost="hard").fit(X, y, X_meta, y_meta)
    >>> display = TransportPlanDisplay.from_estimator(weighter, X, y)
    >>> display.plan.round(2)
    array([[0.33, 0.  , 0.  ],
           [0.  , 0.33, 0.  ],
           [0.  , 0.  , 0.33]])
    """

    def __init__(self, *, plan: Array, classes: Sequence[Any], mass_before: Array) -> None:
        self.plan = plan
        self.classes = classes
        self.mass_before = mass_before

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> TransportPlanDisplay:
        """Draw the plan of some rows.

        Parameters
        ----------
        estimator : OTSampleWeighter, or an estimator that holds one
            Fitted with classes.
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, those of the training set or others.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand.
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : TransportPlanDisplay
            The picture, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If it was fitted without classes, or lengths differ, or as :meth:`skotw.OTSampleWeighter.transport_plan`.
        ImportError
            If matplotlib is not installed.
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        weighter = _weighter(estimator)
        if not hasattr(weighter, "classes_"):
            raise ValueError(
                "The plan is drawn class by class, and the estimator was fitted without classes. Call its "
                "transport_plan for the plan row by row."
            )
        fitted, n = weighter._model, num_samples(X)
        check_index(X=X, y=y, sample_weight=sample_weight)
        codes, _ = fitted.target.encode(y, n, "y")
        w = None if sample_weight is None else check_weights(sample_weight, "sample_weight", n)
        meta_codes = fitted.basis.columns.target.meta_codes
        columns = np.searchsorted(fitted.groups, meta_codes[np.isin(meta_codes, fitted.groups)])
        names = list(weighter.classes_)
        plan = np.zeros((len(names), len(names)))
        for rows in gen_batches(n, _ROWS_AT_ONCE):
            chunk = np.arange(n)[rows]
            if w is not None and not w[chunk].any():
                continue
            part = on_host(
                weighter.transport_plan(
                    safe_indexing(X, chunk), safe_indexing(y, chunk), sample_weight=None if w is None else w[chunk]
                )
            )
            by_column = np.zeros((len(part), len(names)))
            np.add.at(by_column.T, columns, part.T)
            np.add.at(plan, np.searchsorted(fitted.groups, codes[chunk]), by_column)
        return cls(plan=plan, classes=names, mass_before=fitted.group_weight[fitted.groups]).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> TransportPlanDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to matplotlib's ``imshow``.

        Returns
        -------
        display : TransportPlanDisplay
            This display.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        with _canvas(ax, f"{type(self).__name__}.plot", height=3.0) as ax:
            self.ax_, self.figure_ = ax, ax.figure
            shown = _Shown(self.classes, self.mass_before)
            mass = shown.sum(shown.sum(self.plan).T).T
            total = mass.sum(axis=0)
            share = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
            self.im_ = ax.imshow(share, **{"cmap": "Blues", "vmin": 0.0, "vmax": 1.0} | kwargs)
            self.text_ = np.empty(share.shape, dtype=object)
            for (row, column), value in np.ndenumerate(share):
                percent = f"{100 * value:.0f}" if value >= 0.005 else ""
                color = "white" if value > 0.6 else _INK
                self.text_[row, column] = ax.text(column, row, percent, ha="center", va="center", color=color, size=6.5)
            shown.name_ticks(ax)
            ax.set_xlim(-0.5, len(shown.places) - 0.5)
            ax.set_yticks(shown.places, shown.names)
            ax.set_xlabel("class of the trusted rows")
            ax.set_ylabel("label of the training rows")
            ax.set_title("% of the mass of each trusted class")
        return self


# ---------------------------------------------------------------------------------------------
# Suspicious labels


class LabelErrorsDisplay:
    """The labels that most need a look: as images, or as a table.

    Make it by :meth:`from_errors`, which draws as well.

    Parameters
    ----------
    rows : ndarray of shape (n_shown,)
        Numbers of the rows, the most suspicious first.
    label, suggested : sequence of length n_shown
        Their labels, and those for which most speaks.
    confidence : ndarray of shape (n_shown,)
        How much speaks for their labels.
    images : ndarray of shape (n_shown, height, width) or (n_shown, height, width, n_channels), or None, default=None
        What they look like.

    Attributes
    ----------
    table_ : matplotlib Table or None
        Row, label, suggested label and confidence. None where there are images.
    images_ : list of matplotlib AxesImage
        The images. Empty where there are none.
    axes_ : ndarray of matplotlib Axes
        That of each image, or of the table.
    figure_ : matplotlib Figure
        Figure of the picture.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skotw import OTSampleWeighter, find_label_errors
    >>> from skotw.datasets import flip_labels
    >>> from skotw.meta import balanced_meta_split
    >>> from skotw.plotting import LabelErrorsDisplay
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_digits(return_X_y=True), n_per_class=5, random_state=0)
    >>> found = find_label_errors(X, flip_labels(y, 0.2, random_state=0), X_meta, y_meta, weighter=OTSampleWeighter())
    >>> display = LabelErrorsDisplay.from_errors(found, X.reshape(-1, 8, 8), n_shown=5)
    >>> len(display.images_)
    5
    """

    def __init__(
        self,
        *,
        rows: Array,
        label: Sequence[Any],
        suggested: Sequence[Any],
        confidence: Array,
        images: Array | None = None,
    ) -> None:
        self.rows = rows
        self.label = label
        self.suggested = suggested
        self.confidence = confidence
        self.images = images

    @classmethod
    def from_errors(
        cls, found: Any, images: ArrayLike | None = None, *, n_shown: int = 10, ax: Any = None, **kwargs: Any
    ) -> LabelErrorsDisplay:
        """Draw the first rows of a ranking.

        Parameters
        ----------
        found : LabelErrors
            What :func:`skotw.find_label_errors` returns.
        images : array-like of shape (n_samples, height, width) or (n_samples, height, width, n_channels), default=None
            What the rows of X look like, all of them. None makes a table.
        n_shown : int, default=10
            How many, at most.
        ax : matplotlib Axes, or array-like of one for each image, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to :meth:`plot`.

        Returns
        -------
        display : LabelErrorsDisplay
            The picture, drawn.

        Raises
        ------
        TypeError
            If ``found`` is not what :func:`skotw.find_label_errors` returns.
        ValueError
            If ``n_shown`` is below 1, or ``images`` are no images or too few.
        ImportError
            If matplotlib is not installed.
        """
        _pyplot(f"{cls.__name__}.from_errors")
        if not isinstance(found, LabelErrors):
            raise TypeError(
                f"found must be what skotw.find_label_errors returns; got {type(found).__name__}. Call "
                "found = find_label_errors(X, y, X_meta, y_meta) first."
            )
        if not isinstance(n_shown, Integral) or n_shown < 1:
            raise ValueError(f"n_shown must be a whole number of at least 1; got {n_shown!r}.")
        rows = found.indices[:n_shown]
        if images is not None:
            images = np.asarray(on_host(images))
            if images.ndim not in (3, 4) or len(images) <= found.indices.max():
                raise ValueError(
                    "images must have shape (n_samples, height, width) or (n_samples, height, width, n_channels), one "
                    f"for each row of X; got {images.shape}. Flat rows become images by X.reshape(-1, height, width)."
                )
            images = images[rows]
        display = cls(
            rows=rows,
            label=list(found.label[:n_shown]),
            suggested=list(found.suggested[:n_shown]),
            confidence=found.confidence[:n_shown],
            images=images,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> LabelErrorsDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, or array-like of one for each image, default=None
            Axes to draw in. None makes a figure.
        **kwargs : dict
            Passed on to matplotlib's ``imshow`` where there are images, and ``table`` where there are none.

        Returns
        -------
        display : LabelErrorsDisplay
            This display.

        Raises
        ------
        ValueError
            If ``ax`` does not hold one of the axes for each image.
        ImportError
            If matplotlib is not installed.
        """
        caller, n = f"{type(self).__name__}.plot", len(self.rows)
        names = [(_shortened(a), _shortened(b)) for a, b in zip(self.label, self.suggested, strict=True)]
        self.table_, self.images_ = None, []
        if self.images is None:
            with _canvas(ax, caller, height=0.3 + 0.17 * (n + 1)) as ax:
                cells = [
                    [str(row), *pair, f"{value:.2g}"]
                    for row, pair, value in zip(self.rows, names, self.confidence, strict=True)
                ]
                ax.set_axis_off()
                head = ["row", "label", "suggested", "confidence"]
                widths = np.array([max(map(len, column)) + 2.0 for column in zip(head, *cells, strict=True)])
                style = {"colLabels": head, "colWidths": (widths / widths.sum()).tolist(), "edges": "horizontal"}
                style |= {"loc": "center", "cellLoc": "right", "colLoc": "right", "bbox": (0.0, 0.0, 1.0, 1.0)}
                self.table_ = ax.table(cells, **style | kwargs)
                self.table_.auto_set_font_size(False)
                self.table_.set_fontsize(7)
                for cell in self.table_.get_celld().values():
                    cell.set_linewidth(0.5)
                self.axes_, self.figure_ = np.array([ax], dtype=object), ax.figure
            return self
        in_a_row = min(n, 5)
        with _canvas(ax, caller, n_axes=n, height=0.2 + 0.95 * -(-n // in_a_row), n_columns=in_a_row) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            style = {"cmap": "gray_r"} | kwargs
            for each, image, row, pair in zip(axes, self.images, self.rows, names, strict=True):
                self.images_.append(each.imshow(image, **style))
                each.set(xticks=[], yticks=[], xlabel=f"row {row}")
                each.set_title(f"{pair[0]} → {pair[1]}")
        return self


# ---------------------------------------------------------------------------------------------
# What they share


class _Shown:
    """Classes that are drawn singly, and the others as one.

    Attributes
    ----------
    members : list of ndarray
        Indices of the classes at each place.
    names : list of str
    places : ndarray
        0, 1, ... along the axis.
    pooled : bool
        Whether the last place is that of all others.
    """

    def __init__(self, classes, sizes):
        n = max(len(classes), 1)
        single = np.arange(n)
        self.pooled = n > _MOST
        if self.pooled:
            order = np.argsort(-np.asarray(sizes), kind="stable")
            single = np.sort(np.concatenate([order[: _MOST // 2], order[-(_MOST - _MOST // 2) :]]))
        names = [_shortened(classes[k]) for k in single] if len(classes) else ["all rows"]
        self.members = [np.array([k]) for k in single]
        if self.pooled:
            self.members.append(np.setdiff1d(np.arange(n), single))
            names.append("other")
        self.names, self.places = names, np.arange(len(names))

    def sum(self, values):
        """Sum of what the classes at each place have."""
        return np.array([values[members].sum(axis=0) for members in self.members])

    def mean(self, values, mass):
        """Mean over the classes at each place for which it is known, by their mass."""
        return np.array([self._mean(values[members], mass[members], 1) for members in self.members])

    def error(self, errors, mass):
        """Standard error of such a mean."""
        return np.array([self._mean(errors[members], mass[members], 2) for members in self.members])

    @staticmethod
    def _mean(values, mass, power):
        known = ~np.isnan(values)
        if not known.any():
            return np.nan
        share = mass[known] / mass[known].sum()
        return ((share * values[known]) ** power).sum() ** (1.0 / power)

    def name_ticks(self, ax):
        """Their names below the axis, slanted where they would not fit."""
        slanted = sum(len(name) + 1 for name in self.names) > 36
        style = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        ax.set_xticks(self.places, self.names, **style)
        ax.set_xlim(-0.6, len(self.places) - 0.4)


def _shortened(label):
    name = str(label.item() if isinstance(label, np.generic) else label)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _legend(ax, n_columns, *args):
    """A legend within the axes, above all that is drawn there: what is above the axes is the title's."""
    legend = ax.legend(*args, loc="upper center", ncols=n_columns, frameon=False, borderaxespad=0.2)
    texts = legend.get_texts()
    lines = -(-len(texts) // n_columns)
    inches = (1.5 * lines + 0.7) * texts[0].get_fontsize() / 72.0
    share = min(inches * ax.figure.dpi / ax.get_window_extent().height, 0.5)
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(ax.get_ylim())
    ax.set_ylim(top=float(scale.inverted().transform(low + (high - low) / (1.0 - share))))


def _plain_decades(ax):
    """Numbers as they are spoken along a logarithmic axis, and enough of them where it is short."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = ax.get_ylim()
    if high < 10.0 * low:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    elif high < 100.0 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def _pyplot(caller):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib. Install it with: pip install skotw[plot]") from error
    return plt


@contextmanager
def _canvas(ax, caller, n_axes=None, height=_HEIGHT, n_columns=1):
    """Axes to draw in: those given, or those of a new figure as wide as a column, in its small print.

    One of them where ``n_axes`` is None, and an array of that many else.
    """
    plt = _pyplot(caller)
    if ax is not None:
        if n_axes is not None:
            ax = np.ravel(np.asarray(ax, dtype=object))
            if len(ax) != n_axes:
                raise ValueError(f"ax must hold {n_axes} axes; got {len(ax)}.")
        if not all(isinstance(each, plt.Axes) for each in ([ax] if n_axes is None else ax)):
            wanted = "one Axes" if n_axes is None else f"{n_axes} Axes"
            raise TypeError(f"ax must be {wanted} of matplotlib, as plt.subplots() makes them; got {ax!r}.")
        yield ax
        return
    with plt.rc_context(_STYLE):
        shape = (-(-(n_axes or 1) // n_columns), n_columns)
        figure, axes = plt.subplots(*shape, figsize=(_WIDTH, height), layout="constrained", sharex=True, squeeze=False)
        for spare in axes.flat[n_axes or 1 :]:
            figure.delaxes(spare)
        yield axes[0, 0] if n_axes is None else axes.ravel()[:n_axes]


def _weighter(estimator):
    """The fitted weighter of an estimator: itself, or what it holds."""
    for name in ("reweighter_", "weighter_"):
        estimator = getattr(estimator, name, None) or estimator
    if hasattr(estimator, "fit"):
        check_is_fitted(estimator)
    if not hasattr(estimator, "_row_groups"):
        raise TypeError(
            f"{type(estimator).__name__} has no weights that skotw has learned. Pass an OTSampleWeighter, or an "
            "estimator with weighter_. Draw weights of any other origin by SampleWeightDisplay.from_weights."
        )
    return estimator


def _classes(estimator, weighter):
    """Labels of its classes: the weighter of a network has their places in those of the network."""
    classes = list(getattr(weighter, "classes_", []))
    labels = getattr(estimator, "classes_", None) if hasattr(estimator, "reweighter_") else None
    return classes if labels is None else [labels[place] for place in classes]


def _regs(reg):
    """Values of reg to try."""
    if reg is None:
        return np.logspace(-2, 0, 9)
    try:
        values = np.ravel(np.asarray(reg, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not len(values):
        raise ValueError("reg is empty. Give one value to try at least, or None for nine from 0.01 to 1.")
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"reg must hold positive numbers; got {reg!r}.")
    return values


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
