"""LabelErrorsDisplay: the rows whose labels are the least likely."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from skotw._typing import Array, ArrayLike
from skotw._validation import on_host
from skotw._weighter.label_errors import LabelErrors

from ._drawing import canvas, pyplot, shortened

__all__ = ["LabelErrorsDisplay"]


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
        pyplot(f"{cls.__name__}.from_errors")
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
        names = [(shortened(a), shortened(b)) for a, b in zip(self.label, self.suggested, strict=True)]
        self.table_, self.images_ = None, []
        if self.images is None:
            with canvas(ax, caller, height=0.3 + 0.17 * (n + 1)) as ax:
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
        with canvas(ax, caller, n_axes=n, height=0.2 + 0.95 * -(-n // in_a_row), n_columns=in_a_row) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            style = {"cmap": "gray_r"} | kwargs
            for each, image, row, pair in zip(axes, self.images, self.rows, names, strict=True):
                self.images_.append(each.imshow(image, **style))
                each.set(xticks=[], yticks=[], xlabel=f"row {row}")
                each.set_title(f"{pair[0]} → {pair[1]}")
        return self
