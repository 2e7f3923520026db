"""WeightHistoryDisplay: the weights of a network, epoch by epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from skotw._typing import Array

from ._drawing import AFTER, canvas, pyplot

__all__ = ["WeightHistoryDisplay"]


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
        pyplot(f"{cls.__name__}.from_estimator")
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
        with canvas(ax, f"{type(self).__name__}.plot", n_axes=2) as axes:
            self.axes_, self.figure_ = axes, axes[0].figure
            style = {"color": AFTER, "marker": "o"} | kwargs
            (self.size_line_,) = axes[0].plot(self.epoch, self.effective_size, **style)
            (self.largest_line_,) = axes[1].plot(self.epoch, self.largest, **style)
            axes[0].set_ylabel("effective size")
            axes[1].set_ylabel("largest weight")
            axes[1].set_xlabel("epoch")
            for each in axes:
                each.set_ylim(bottom=0.0)
            axes[1].xaxis.get_major_locator().set_params(integer=True)
        return self
