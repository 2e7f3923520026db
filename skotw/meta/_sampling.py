"""Choosing the same number of rows of every class."""

import numpy as np

from skotw._transport.arrays import to_numpy

__all__ = ["choose_evenly", "draw_per_class"]


def draw_per_class(codes, sizes, rng):
    """Draw ``sizes[c]`` rows of every class c, in random order; the first ones if rng is None."""
    order = np.arange(codes.size) if rng is None else rng.permutation(codes.size)
    by_class = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes)
    rank = np.arange(codes.size) - np.repeat(np.cumsum(counts) - counts, counts)
    drawn = np.zeros(codes.size, dtype=bool)
    drawn[by_class[rank < np.repeat(sizes, counts)]] = True
    return order[drawn[order]]


def choose_evenly(Z, codes, room, least=0):
    """Indices of about ``room`` samples, as many of each class, whatever the order of the rows.

    Parameters
    ----------
    Z : array of shape (M, d) or None
        Rows by which the samples of a class are spread; None takes them as they come.
    codes : ndarray of shape (M,)
        Class of each sample.
    room : int
    least : int, default=0
        As many of each class at any rate, where it has them; 0 lets classes go without where there is no room.

    Returns
    -------
    indices : ndarray
        All of them where there is room.
    """
    if len(codes) <= room:
        return np.arange(len(codes))
    key = np.arange(len(codes)) if Z is None else np.asarray(to_numpy(Z.sum(axis=1)), np.float64).ravel()
    groups = np.unique(codes)
    if least == 0 and len(groups) > room:
        groups = groups[np.linspace(0, len(groups) - 1, room).astype(np.intp)]
    quota = max(least, room // len(groups))
    chosen = []
    for group in groups:
        rows = np.flatnonzero(codes == group)
        rows = rows[np.argsort(key[rows], kind="stable")]
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(quota, len(rows))).astype(np.intp)])
    return np.concatenate(chosen)
