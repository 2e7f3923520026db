"""How near rows come to trusted samples, as histograms of a kernel.

A kernel k = exp(-d / (s h)) says which rows a trusted query meets. Two rows with kernel values S and O are compared by
the share S / (S + O), which lies in [0, 1] whatever their scale. Its expectation over independent draws of both is
closed form,

    E[S / (S + O)] = int_0^inf E[S exp(-t S)] E[exp(-t O)] dt,                                             (5)

whose factors are Laplace transforms of kernel values, which histograms of them yield. Histograms add up over blocks,
streams and clusters. What the shares say about labels is in :mod:`skotw._weighter.label_reliability`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import is_numpy_namespace
from numpy.typing import NDArray
from scipy import sparse

from skotw._transport.arrays import like, namespace, on_device, scratch, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, sum_blocks
from skotw._transport.cost import LOG2E, Cost

BANDWIDTH = 0.1  # h, in units of the mean feature cost
BINS_PER_OCTAVE = 3
OCTAVES = 128  # kernels below 2^-128, at nine times the mean cost, are all equally far
N_BINS = BINS_PER_OCTAVE * OCTAVES
FIRST_NODE, LAST_NODE = 24, 8  # octaves of t before 1 / the largest kernel and after 1 / the smallest: S exp(-tS) is 0


def kernel_histograms(
    cost: Cost, a: NDArray[Any], scale: float, partition: Partition, compute: Compute
) -> NDArray[np.float64]:
    """Weighted histograms of -log2 k, for each group of rows and each query.

    Parameters
    ----------
    cost : Cost
        Feature cost of shape (N, Q).
    a : ndarray of shape (N,)
        Row weights.
    scale : float
        Mean feature cost s.

    Returns
    -------
    ndarray of shape (G, Q, N_BINS)
        Linearly binned, so that a rounding error moves a hair of mass, never a whole row's.

    Raises
    ------
    ValueError
        If a cost is not finite: bins are indices, which nobody checks after.
    """
    xp = namespace(cost.reference)
    n_queries = cost.shape[1]
    kernel = cost.kernel(1.0 / (scale * BANDWIDTH))
    weights = like(a, cost.reference)
    histograms = _histograms if is_numpy_namespace(xp) else _histograms_elsewhere

    def block_histograms(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
        position = kernel.block(block, slice(None), work)
        position -= kernel.constant
        position *= -float(BINS_PER_OCTAVE)
        if not math.isfinite(float(xp.max(position))):
            raise ValueError(f"Feature costs in units of {scale:g} are not finite.")
        return histograms(position, weights[block.rows], work)

    shape = (partition.n_groups, n_queries, N_BINS)
    return sum_blocks(block_histograms, partition, compute, xp, np.zeros(shape))


def _histograms(position: NDArray[Any], weight: NDArray[Any], work: dict[str, Any]) -> NDArray[np.float64]:
    """Linear binning as products: the matrix of bins by rows has one entry for each query of a row.

    Every array of the size of the block lies in scratch memory, in one piece: fresh or strided memory would take longer
    than the sums.
    """
    shape = n_rows, n_queries = position.shape
    whole, ones = (scratch(work, name, shape, position) for name in ("whole", "ones"))
    lower, offset = (scratch(work, name, shape, np.empty(0, dtype=np.int32)) for name in ("lower", "offset"))
    if work.get("filled", 0) < n_rows:
        ones[...] = 1.0
        offset[...] = np.arange(0, n_queries * N_BINS, N_BINS)
        work["filled"] = n_rows
    np.clip(position, 0.0, N_BINS - 1 - 1e-3, out=position)
    np.floor(position, out=whole)
    np.copyto(lower, whole, casting="unsafe")
    lower += offset
    moves = np.subtract(position, whole, out=position)  # the part that goes to the next bin
    first = np.arange(0, lower.size + 1, n_queries, dtype=np.int32)
    total, moved = (
        np.asarray(
            sparse.csc_array((share.reshape(-1), lower.reshape(-1), first), shape=(n_queries * N_BINS, n_rows)) @ weight
        ).astype(np.float64)
        for share in (ones, moves)
    )
    total -= moved
    total[1:] += moved[:-1]
    return total.reshape(n_queries, N_BINS)


def _histograms_elsewhere(position: Any, weight: Any, work: dict[str, Any]) -> NDArray[Any]:
    """The same on another library's arrays, which have no such product."""
    xp = namespace(position)
    n_queries = int(position.shape[1])
    position = xp.clip(position, 0.0, N_BINS - 1 - 1e-3)
    lower = xp.astype(position, xp.int64)
    moves = position - xp.astype(lower, position.dtype)
    lower += xp.asarray(np.arange(0, n_queries * N_BINS, N_BINS), **on_device(position))[None, :]
    index = xp.concat([xp.reshape(lower, (-1,)), xp.reshape(lower + 1, (-1,))])
    mass = xp.concat([xp.reshape(weight[:, None] * part, (-1,)) for part in (1.0 - moves, moves)])
    return to_numpy(xp.bincount(index, weights=mass, minlength=n_queries * N_BINS)).reshape(n_queries, N_BINS)


def bin_positions(costs: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """Where :func:`kernel_histograms` bins costs, as float64: position 2.25 is 3/4 of bin 2 and 1/4 of bin 3."""
    position = np.asarray(costs, dtype=np.float64) * (BINS_PER_OCTAVE * LOG2E / (scale * BANDWIDTH))
    return np.clip(position, 0.0, N_BINS - 1 - 1e-3)


def laplace_tables(n_bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both factors of (5) for the kernel k of each bin, at as many nodes t as ``n_bins`` bins need.

    With these tables ``slope`` and ``decay``, E[S / (S + O)] is ``(s @ slope) @ (o @ decay)`` for histograms s and o of
    sum 1.

    Returns
    -------
    slope : ndarray of shape (n_bins, T)
        t k exp(-t k) dlog t
    decay : ndarray of shape (n_bins, T)
        exp(-t k)
    """
    n_nodes = 2 * (FIRST_NODE + n_bins // BINS_PER_OCTAVE + LAST_NODE)
    slope, decay = _all_laplace_tables()
    return slope[:n_bins, :n_nodes], decay[:n_bins, :n_nodes]


@lru_cache(maxsize=1)
def _all_laplace_tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    k = np.exp2(-np.arange(N_BINS) / BINS_PER_OCTAVE)
    # S exp(-tS) in log t is a bump some nats wide: half octaves integrate it to 1e-7
    t = np.exp2(np.arange(-FIRST_NODE, OCTAVES + LAST_NODE, 0.5))
    tk = np.outer(k, t)
    decay = np.exp(-tk)
    return tk * decay * (0.5 * np.log(2.0)), decay
