"""How near rows come to trusted samples, as histograms of a kernel.

A kernel k = exp(-d / (s h)) says which rows a trusted query meets. Two rows with kernel values S and O are compared by
the share S / (S + O), which lies in [0, 1] whatever their scale. Over independent draws of both its expectation is
bilinear in the histograms s and o of their kernel values,

    E[S / (S + O)] = sum_bc s_b o_c k_b / (k_b + k_c),                                                     (5)

with k_b the kernel value of bin b. Histograms add up over blocks, streams and clusters. What the shares say about
labels is in :mod:`skotw._weighter.label_reliability`.
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
    reference = cost.reference
    xp, n_queries = namespace(reference), cost.shape[1]
    kernel = cost.kernel(1.0 / (scale * BANDWIDTH))
    weights = like(a, reference)
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
    into_bins = sparse.csc_array((ones.reshape(-1), lower.reshape(-1), first), shape=(n_queries * N_BINS, n_rows))
    total = np.asarray(into_bins @ weight, dtype=np.float64)
    into_bins.data = moves.reshape(-1)
    moved = np.asarray(into_bins @ weight, dtype=np.float64)
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


def share_table(n_bins: int) -> NDArray[np.float64]:
    """k_b / (k_b + k_c) of (5), for a row in each of ``n_bins`` bins beside one in each.

    Returns
    -------
    ndarray of shape (n_bins, n_bins)
        Read only.
    """
    return _whole_share_table()[:n_bins, :n_bins]


@lru_cache(maxsize=1)
def _whole_share_table() -> NDArray[np.float64]:
    octaves = np.arange(N_BINS) / BINS_PER_OCTAVE
    table: NDArray[np.float64] = 1.0 / (1.0 + np.exp2(np.subtract.outer(octaves, octaves)))
    table.flags.writeable = False
    return table
