"""How far the training labels can be trusted, read off the transport of features alone.

For a trusted query of class c, a kernel k = exp(-d / (s h)) says which rows it meets. Draw two rows, one labelled c and
one of another label, any with equal probability. The expected share a of their kernel mass that falls on the former is
smaller as labels are wrong more often. Draw two *other trusted samples* in this way, and the share is b, what right
labels would give. With two classes of rows as the query sees them, alike and not alike, a row labelled c being alike
with probability p_c and one labelled l with q_lc,

    a - 1/2 = p_c (1 - q_lc) (b - 1/2) - (1 - p_c) q_lc (b - 1/2) = (p_c - q_lc) (b - 1/2),

and the mean of p_c - q_lc over all pairs is (mean p - 1/K) / (1 - 1/K), whichever labels are mistaken for which. Hence

    r = (mean a - 1/2) / (mean b - 1/2).                                                                   (4)

The expectation over the draw is closed form: for independent S, O > 0

    E[S / (S + O)] = int_0^inf E[S exp(-t S)] E[exp(-t O)] dt,                                             (5)

whose factors are Laplace transforms of kernel values, which histograms of them yield. Histograms add up over blocks,
streams and clusters.
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


def expected_shares(histograms: NDArray[np.float64], query_group: NDArray[np.intp]) -> NDArray[np.float64]:
    """Share of a query's kernel mass on a row of its own group, beside one of another group: (5).

    Parameters
    ----------
    histograms : ndarray of shape (G, Q, N_BINS)
        From :func:`kernel_histograms`, all with mass; at least two groups.
    query_group : ndarray of shape (Q,)

    Returns
    -------
    ndarray of shape (Q,)
        The expectation over the rows, and over the other groups alike.
    """
    k = np.exp2(-np.arange(N_BINS) / BINS_PER_OCTAVE)
    # S exp(-tS) in log t is a bump some nats wide: half octaves integrate it to 1e-7, from where t S is that small
    t = np.exp2(np.arange(-24.0, OCTAVES + 8.0, 0.5))
    decay = np.exp(-np.outer(k, t))
    shares = histograms / histograms.sum(axis=2, keepdims=True)
    own = shares[query_group, np.arange(len(query_group))]
    others = (shares.sum(axis=0) - own) / (len(shares) - 1)
    transform = others @ decay  # E exp(-t O), (Q, T)
    slope = own @ (k[:, None] * decay)  # E S exp(-t S)
    return np.asarray((slope * transform * t).sum(axis=1) * (0.5 * np.log(2.0)))
