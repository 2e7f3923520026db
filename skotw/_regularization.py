"""``reg="auto"``: the regularisation under which the training rows, weighted, tell trusted samples apart best."""

import numpy as np

from ._transport.leave_one_out import own_class_votes
from ._transport.reliability import BANDWIDTH

UNKNOWN_REG = 0.1
# From where weights are all but those of the prior, halving: the core takes kernels of several reg by squaring.
CANDIDATES = 1.6 * 0.5 ** np.arange(7)
_MAX_COLUMNS = 64


def choose_columns(codes, n_groups):
    """Meta samples to judge by: all, or evenly as many of each class, two at least where it has two."""
    columns = np.arange(len(codes))
    if len(codes) <= _MAX_COLUMNS:
        return columns
    quota = max(2, _MAX_COLUMNS // n_groups)
    groups = (columns[codes == group] for group in range(n_groups))
    return np.concatenate([g[np.linspace(0, len(g) - 1, min(quota, len(g))).astype(np.intp)] for g in groups])


def choose_reg(cost, a, problems, scale, column_group, partition, compute, total):
    r"""Regularisation by leave-one-out on the trusted samples.

    With :math:`P_q` the probability that the weighted training rows give the class of trusted sample q, weights being
    learned without q (:func:`own_class_votes`), and Q samples asked, each candidate counts in the average of
    :math:`\log \varepsilon` by :math:`\exp(Q \bar P(\varepsilon))`, the mean being class-balanced. It is what a
    Gibbs posterior (Catoni, 2007) does, and moves smoothly with the data as the best candidate would not.

    Parameters
    ----------
    cost, a, problems, column_group, partition, compute, total
        As for :func:`own_class_votes`; one problem for each of :data:`CANDIDATES`.
    scale : float
        Mean feature cost.

    Returns
    -------
    float
    """
    vote_rate = 1.0 / (scale * BANDWIDTH)
    votes = own_class_votes(cost, a, problems, vote_rate, column_group, partition, compute, total)
    eps = np.array([problem.eps for problem in problems])
    asked = np.isfinite(votes).any(axis=0)
    usable = np.isfinite(votes[:, asked]).all(axis=1)
    if not asked.any() or not usable.any():
        return UNKNOWN_REG
    groups, codes, counts = np.unique(column_group[asked], return_inverse=True, return_counts=True)
    mean = votes[np.ix_(usable, asked)] @ (1.0 / (len(groups) * counts[codes]))
    share = np.exp(asked.sum() * (mean - mean.max()))
    return float(np.exp(np.average(np.log(eps[usable]), weights=share)))
