"""Weights of the training rows and of the meta rows that join them."""

import numpy as np

from skotw._compat import num_samples
from skotw._validation import check_weights, warn


def joint_weights(weighter, weights, given, meta_weight, verified=None):
    r"""Weights of both sets for one fit.

    With :math:`q_c` the mass of class c, :math:`A_c` its ``sample_weight``, :math:`m_c` its meta rows and v the trusted
    labels that one training label is worth, each class gets :math:`q_c`, which its rows share by :math:`v A_c : m_c`;
    transport then says how the training rows of the class share their part. The total is :math:`\sum_c v A_c + m_c`,
    the number of trusted rows that all rows together are worth. "balanced" is v = 1, class-balanced weights on the
    union; "auto" reads v off what is known of the reliability of the labels. A share s gives s of the total of
    "balanced" to the meta rows, class by class as :math:`q_c`, and the rest to the training rows as transport has it.

    Parameters
    ----------
    weighter : OTSampleWeighter
        Fitted to both sets, every row of ``X_meta`` with weight 1, and reviewed rows with their ``sample_weight``.
    weights : ndarray of shape (n_samples,)
        What the transport says, its own or a refit's.
    given : Given
        Labels and sample weights of the training rows.
    meta_weight : {"auto", "balanced"} or float
    verified : Verified or None
        Rows of ``given`` that are the trusted ones.

    Returns
    -------
    train : ndarray of shape (n_samples,)
        0 for reviewed rows.
    meta : ndarray of shape (n_meta,)
        Of the rows of ``X_meta``, or of the reviewed ones.
    """
    target, mass = weighter._model.target, weighter._model.group_mass
    q = mass / mass.sum()
    y, a = given.y, given.sample_weight
    a = np.ones(num_samples(y)) if a is None else check_weights(a, "sample_weight")
    trusted = np.ones(len(target.meta_codes))
    if verified is not None:
        a, trusted = verified.weights(a)
    meta_codes = np.zeros(len(trusted), dtype=np.intp)
    meta_codes[trusted > 0] = target.meta_codes
    kept = np.flatnonzero(a > 0)
    codes = np.zeros(len(a), dtype=np.intp)
    codes[kept], _ = target.encode(np.asarray(y)[kept], len(kept), "y")
    A = np.bincount(codes, weights=a, minlength=target.n_groups)
    m = np.bincount(meta_codes, trusted, minlength=target.n_groups)
    transported = np.asarray(weights, dtype=np.float64) / np.sum(weights, dtype=np.float64)
    if not isinstance(meta_weight, str):
        total = a.sum() + m.sum()
        return total * (1 - meta_weight) * transported, total * meta_weight * trusted * (q / m)[meta_codes]
    if meta_weight == "auto" and weighter.label_reliability_ is not None:
        information = weighter.label_reliability_.label_information()
        _warn_of_no_ground(weighter.label_reliability_, information)
        A = A * information
    # sum of q over the classes with training rows: what `transported` adds up to in units of q
    present = q[np.bincount(codes[kept], minlength=target.n_groups) > 0].sum()
    train, meta = transported * present * (A / (A + m))[codes], trusted * (q / (A + m))[meta_codes]
    # class masses are exact up to the leakage of the transport: so is their sum
    scale = (A.sum() + m.sum()) / (train.sum() + meta.sum())
    return train * scale, meta * scale


def _warn_of_no_ground(reliability, information):
    """Warn where what is known of the labels is what was thought beforehand."""
    if len(reliability.query_class):
        return
    warn(
        "How far the training labels can be trusted is not known: no class has two trusted rows, or these have no "
        f"room within scikit-learn's working_memory. Each training row counts for {information:.2f} of a trusted one. "
        "Pass more trusted rows in X_meta and y_meta or in y_verified, or set meta_weight."
    )
