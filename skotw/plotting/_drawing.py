"""How all displays draw: colours and lines, small print, legends, and which classes are drawn singly."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np

__all__ = [
    "AFTER",
    "BEFORE",
    "COLORS",
    "INK",
    "LINES",
    "MOST",
    "WRONG",
    "Shown",
    "canvas",
    "draw_legend",
    "plain_decades",
    "pyplot",
    "shortened",
]

# M. A. Petroff, "Accessible Color Sequences for Data Visualization", arXiv:2107.02270: ten colours.
COLORS = (
    "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()  # noqa: SIM905 (shorter)
)
AFTER, BEFORE, WRONG, INK = COLORS[0], COLORS[3], COLORS[2], "#333333"
LINES = ("-", "--", "-.", ":")
MOST = 10
_LONGEST_NAME = 16
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


class Shown:
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
        self.pooled = n > MOST
        if self.pooled:
            order = np.argsort(-np.asarray(sizes), kind="stable")
            single = np.sort(np.concatenate([order[: MOST // 2], order[-(MOST - MOST // 2) :]]))
        names = [shortened(classes[k]) for k in single] if len(classes) else ["all rows"]
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


def shortened(label):
    name = str(label.item() if isinstance(label, np.generic) else label)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def draw_legend(ax, n_columns, *args):
    """A legend within the axes, above all that is drawn there: what is above the axes is the title's."""
    legend = ax.legend(*args, loc="upper center", ncols=n_columns, frameon=False, borderaxespad=0.2)
    texts = legend.get_texts()
    lines = -(-len(texts) // n_columns)
    inches = (1.5 * lines + 0.7) * texts[0].get_fontsize() / 72.0
    share = min(inches * ax.figure.dpi / ax.get_window_extent().height, 0.5)
    scale = ax.yaxis.get_transform()
    low, high = scale.transform(ax.get_ylim())
    ax.set_ylim(top=float(scale.inverted().transform(low + (high - low) / (1.0 - share))))


def plain_decades(ax):
    """Numbers as they are spoken along a logarithmic axis, and enough of them where it is short."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    low, high = ax.get_ylim()
    if high < 10.0 * low:
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    elif high < 100.0 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def pyplot(caller):
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(f"{caller} needs matplotlib. Install it with: pip install skotw[plot]") from error
    return plt


@contextmanager
def canvas(ax, caller, n_axes=None, height=_HEIGHT, n_columns=1):
    """Axes to draw in: those given, or those of a new figure as wide as a column, in its small print.

    One of them where ``n_axes`` is None, and an array of that many else.
    """
    plt = pyplot(caller)
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
