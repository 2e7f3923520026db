"""How far the training labels can be trusted, read off the transport of features alone.

For a trusted query of class c, a kernel k = exp(-d / (s h)) says which rows it meets. Among *other trusted samples*
the share b of the kernel mass that falls on class c is known. Among *training rows* the share a on rows labelled c,
expected over drawing as many rows of each label as b has, falls short of it as labels are wrong:

    r = (mean a - chance) / (mean b - chance)                                                             (4)

A query leaves its own class m_c - 1 others. So that labels that say nothing give exactly chance and true ones b, the
other classes count with m_k - 1 of their m_k samples as well, and as many rows of each label are drawn for a.

The expectation over the draw is closed form: for independent S, O > 0

    E[S / (S + O)] = int_0^inf E[S exp(-t S)] E[exp(-t O)] dt,                                             (5)

and for sums of independent draws each factor is a power of a Laplace transform of one label's kernel values, which a
histogram of them yields. Histograms add up over blocks, streams and clusters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skotw._transport._arrays import like, namespace, on_device, to_numpy
from skotw._transport._blocks import Block, Compute, Partition, sum_blocks
from skotw._transport._cost import Cost

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
    """
    xp = namespace(cost.reference)
    n_queries = cost.shape[1]
    kernel = cost.kernel(1.0 / (scale * BANDWIDTH))
    offsets = xp.asarray(np.arange(n_queries) * N_BINS, **on_device(cost.reference))
    weights = None if np.all(a == 1.0) else like(a, cost.reference)
    size = n_queries * N_BINS

    def block_histograms(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
        position = kernel.block(block, slice(None), work)
        position -= kernel.constant
        position *= -float(BINS_PER_OCTAVE)
        position = xp.clip(position, 0.0, N_BINS - 1 - 1e-3)
        lower = xp.astype(position, xp.int64)
        position -= xp.astype(lower, position.dtype)  # the part that goes to the next bin
        lower += offsets[None, :]
        lower = xp.reshape(lower, (-1,))
        if weights is None:
            counts = xp.bincount(lower, minlength=size)
        else:
            row = weights[block.rows][:, None]
            counts = xp.bincount(lower, weights=xp.reshape(xp.broadcast_to(row, position.shape), (-1,)), minlength=size)
            position *= row
        upper = xp.bincount(lower, weights=xp.reshape(position, (-1,)), minlength=size)
        total, moved = (to_numpy(x).astype(np.float64) for x in (counts, upper))
        total -= moved
        total[1:] += moved[:-1]
        return total.reshape(n_queries, N_BINS)

    shape = (partition.n_groups, n_queries, N_BINS)
    return sum_blocks(block_histograms, partition, compute, xp, np.zeros(shape))


def expected_shares(
    histograms: NDArray[np.float64], draws: NDArray[np.intp], query_group: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Share of a query's kernel mass on its own group, expected over a draw: (5).

    Parameters
    ----------
    histograms : ndarray of shape (G, Q, N_BINS)
        From :func:`kernel_histograms`.
    draws : ndarray of shape (G,)
        Rows to draw from each group, at least one.
    query_group : ndarray of shape (Q,)

    Returns
    -------
    ndarray of shape (Q,)
    """
    k = np.exp2(-np.arange(N_BINS) / BINS_PER_OCTAVE)
    # S exp(-tS) in log t is a bump some nats wide: half octaves integrate it to 1e-7, from where t S is that small
    lowest = -24.0 - np.ceil(np.log2(draws.max()))
    t = np.exp2(np.arange(lowest, OCTAVES + 8.0, 0.5))
    decay = np.exp(-np.outer(k, t))
    mass = histograms.sum(axis=2, keepdims=True)
    present = mass[:, 0, 0] > 0
    queries = np.arange(len(query_group))
    product = np.ones((len(query_group), len(t)))
    for group in np.flatnonzero(present):
        transform = histograms[group] / mass[group] @ decay  # E exp(-t k), (Q, T)
        own = query_group == group
        power = np.where(own, draws[group] - 1, draws[group])
        product *= transform ** power[:, None]
    own_histograms = histograms[query_group, queries] / mass[query_group, 0]
    slope = own_histograms @ (k[:, None] * decay)  # E k exp(-t k)
    drawn = draws[query_group][:, None]
    return np.asarray((drawn * slope * product * t).sum(axis=1) * (0.5 * np.log(2.0)))


def leave_one_out_shares(
    distances: NDArray[np.float64],
    weight: NDArray[np.float64],
    query: NDArray[np.intp],
    groups: NDArray[np.intp],
    scale: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of a query's kernel mass on its own group among the other trusted samples.

    Of each other group of m samples it counts m - 1, by weight: as many as the query's own group has left.

    Parameters
    ----------
    distances : ndarray of shape (Q, M)
        Feature cost between the queries and the trusted samples.
    weight : ndarray of shape (M,)
        Weights of the trusted samples.
    query : ndarray of shape (Q,)
        Which of the M samples each query is.
    groups : ndarray of shape (M,)
    scale : float
        Mean feature cost s.

    Returns
    -------
    shares : ndarray of shape (Q,)
    without : ndarray of shape (Q, M)
        The same without one trusted sample more, the rest of its group taking its part; as before where there is no
        rest.
    """
    counts = np.bincount(groups)[groups]
    thin = np.maximum(counts - 1, 1) / counts
    exponent = -distances / (scale * BANDWIDTH)
    exponent = np.maximum(exponent, -OCTAVES * np.log(2.0))
    others = np.tile(weight, (len(query), 1))
    others[np.arange(len(query)), query] = 0.0
    one_hot = (groups[:, None] == np.arange(groups.max() + 1)).astype(np.float64)
    own = groups[None, :] == groups[query][:, None]
    k = np.exp(exponent) * others * np.where(own, 1.0, thin)
    of_own, of_all = (k * own).sum(axis=1, keepdims=True), k.sum(axis=1, keepdims=True)
    part, left = (k @ one_hot)[:, groups], (others @ one_hot)[:, groups]  # of the sample's group, (Q, M)
    rest = left - others
    raised = np.where(rest > 0, (part - k) * left / np.where(rest > 0, rest, 1.0), part)
    without = np.where(own, raised, of_own) / (of_all - part + raised)
    return (of_own / of_all)[:, 0], without
