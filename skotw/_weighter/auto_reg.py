"""``reg="auto"``: the regularisation under which the training rows, weighted, tell trusted samples apart best."""

import numpy as np

UNKNOWN_REG = 0.1
# From where weights are nearly those of the prior, halving: the core takes kernels of several reg by squaring.
CANDIDATES = 0.4 * 0.5 ** np.arange(5)


def choose_reg(votes, codes, information):
    r"""Regularisation by leave-one-out on the trusted samples, as far as the labels need it.

    With :math:`P_q` the vote of the weighted training rows for the class of trusted sample q, and Q samples asked, each
    candidate counts in the average of :math:`\log \varepsilon` by :math:`\exp(Q \bar P(\varepsilon))`, the mean being
    class-balanced. It is what a Gibbs posterior (Catoni, 2007) does, and moves smoothly with the data, as the best
    candidate would not. Votes gain a little from weights that gather around the trusted samples even where all labels
    are right, and nothing is to be corrected: the share ``information`` of the way to the largest candidate is
    therefore gone back.

    Parameters
    ----------
    votes : ndarray of shape (n_candidates, n_columns)
        :func:`own_class_votes` for :data:`CANDIDATES`.
    codes : ndarray of shape (n_columns,)
        Class of each trusted sample.
    information : float in [0, 1]
        :meth:`LabelReliability.label_information`, or the probability that all labels are right where a network
        learns them.

    Returns
    -------
    reg : float
        ``UNKNOWN_REG`` where nothing can be asked.
    """
    known = np.isfinite(votes)
    asked = known.any(axis=0)
    usable = known[:, asked].all(axis=1)
    if not asked.any() or not usable.any():
        return UNKNOWN_REG
    group = codes[asked]
    counts = np.bincount(group)
    mean = votes[usable][:, asked] @ (1.0 / (np.count_nonzero(counts) * counts[group]))
    share = np.exp(len(group) * (mean - mean.max()))
    best = share @ np.log(CANDIDATES[usable]) / share.sum()
    return float(np.exp((1.0 - information) * best + information * np.log(CANDIDATES[0])))
