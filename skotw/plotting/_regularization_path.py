"""RegularizationPathDisplay: what reg does to the weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from skotw._typing import Array, ArrayLike, MatrixLike
from skotw._weighter.estimator import OTSampleWeighter

from ._drawing import COLORS, INK, LINES, MOST, Shown, canvas, pyplot

__all__ = ["RegularizationPathDisplay"]


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
        pyplot(f"{cls.__name__}.from_estimator")
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
        shown = Shown(self.classes, self.mass_before)
        in_a_row = min(5, max(1, 48 // (max(map(len, shown.names)) + 7)))
        height = 2.7 + 0.16 * -(-len(shown.names) // in_a_row)
        with canvas(ax, f"{type(self).__name__}.plot", n_axes=2, height=height) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            (self.size_line_,) = axes[0].plot(self.reg, self.effective_size, **{"color": INK} | kwargs)
            self.mass_lines_ = []
            for k, name in enumerate(shown.names):
                style = {"color": COLORS[k % MOST], "linestyle": LINES[k % len(LINES)], "label": name}
                if shown.pooled and k == len(shown.names) - 1:
                    style |= {"color": "black", "linestyle": ":"}
                mass = self.class_mass[:, shown.members[k]].sum(axis=1)
                self.mass_lines_ += axes[1].plot(self.reg, mass, **style | kwargs)
            self.chosen_lines_ = []
            if self.chosen is not None:
                style = {"color": INK, "linewidth": 0.7, "linestyle": "--", "zorder": 0}
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
