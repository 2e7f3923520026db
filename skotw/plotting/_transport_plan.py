"""TransportPlanDisplay: which classes send their mass to which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import gen_batches

from skotw._compat import num_samples, safe_indexing
from skotw._typing import Array, ArrayLike, MatrixLike
from skotw._validation import check_index, check_weights, on_host

from ._drawing import INK, Shown, canvas, pyplot
from ._fitted import weighter_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TransportPlanDisplay"]

_ROWS_AT_ONCE = 10_000


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
        pyplot(f"{cls.__name__}.from_estimator")
        weighter = weighter_of(estimator)
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
        with canvas(ax, f"{type(self).__name__}.plot", height=3.0) as ax:
            self.ax_, self.figure_ = ax, ax.figure
            shown = Shown(self.classes, self.mass_before)
            mass = shown.sum(shown.sum(self.plan).T).T
            total = mass.sum(axis=0)
            share = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
            self.im_ = ax.imshow(share, **{"cmap": "Blues", "vmin": 0.0, "vmax": 1.0} | kwargs)
            self.text_ = np.empty(share.shape, dtype=object)
            for (row, column), value in np.ndenumerate(share):
                percent = f"{100 * value:.0f}" if value >= 0.005 else ""
                color = "white" if value > 0.6 else INK
                self.text_[row, column] = ax.text(column, row, percent, ha="center", va="center", color=color, size=6.5)
            shown.name_ticks(ax)
            ax.set_xlim(-0.5, len(shown.places) - 0.5)
            ax.set_yticks(shown.places, shown.names)
            ax.set_xlabel("class of the trusted rows")
            ax.set_ylabel("label of the training rows")
            ax.set_title("% of the mass of each trusted class")
        return self
