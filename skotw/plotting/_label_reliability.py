"""LabelReliabilityDisplay: how many labels of each class are right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from skotw._typing import Array

from ._drawing import AFTER, INK, Shown, canvas, draw_legend, pyplot
from ._fitted import classes_of, weighter_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LabelReliabilityDisplay"]


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
        pyplot(f"{cls.__name__}.from_estimator")
        weighter = weighter_of(estimator)
        found, fitted = weighter.label_reliability_, weighter._model
        if found is None:
            raise ValueError(
                "The reliability of labels is known for one column of classes, and the estimator was fitted to other "
                "targets. Use SampleWeightDisplay, which draws the weights of any target."
            )
        display = cls(
            classes=classes_of(estimator, weighter),
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
        with canvas(ax, f"{type(self).__name__}.plot") as ax:
            self.ax_, self.figure_ = ax, ax.figure
            shown = Shown(self.classes, self.mass)
            precision, error = shown.mean(self.precision, self.mass), shown.error(self.precision_se, self.mass)
            style = {"fmt": "o", "color": AFTER, "ecolor": INK, "capsize": 2, "elinewidth": 0.8}
            self.errorbar_ = ax.errorbar(shown.places, precision, yerr=error, **style | kwargs)
            self.text_ = [
                ax.text(place, 0.03, "?", ha="center", color=INK) for place in shown.places[np.isnan(precision)]
            ]
            self.mean_line_ = None
            ax.set_ylim(0.0, min(np.fmax.reduce(precision + error, initial=1.03) + 0.02, 1.3))
            ax.set_yticks(np.linspace(0.0, 1.0, 6))
            if not np.isnan(self.overall):
                mean = 1.0 / len(self.classes) + (1.0 - 1.0 / len(self.classes)) * self.overall
                self.mean_line_ = ax.axhline(
                    mean, color=INK, linestyle="--", linewidth=0.8, zorder=0, label="mean of the classes"
                )
                draw_legend(ax, 1)
            ax.set_ylabel("right labels (± 1 s.e.)")
            shown.name_ticks(ax)
        return self
