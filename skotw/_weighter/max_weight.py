"""``max_weight``: a cap on weights whose excess goes to the other rows of the class."""

import numpy as np

__all__ = ["cap_factor"]


def cap_factor(ratio, a, limit):
    """T with sum_i a_i min(t ratio_i, limit) = sum_i a_i ratio_i: what capping leaves, shared in proportion."""
    total = float(a @ ratio)
    order = np.argsort(-ratio)
    capped = limit * np.concatenate([[0.0], np.cumsum(a[order])])
    free = np.concatenate([np.cumsum((a * ratio)[order][::-1])[::-1], [0.0]])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factor = (total - capped) / free  # with the k largest capped
        sound = factor[:-1] * ratio[order] <= limit * (1 + 1e-12)
    k = int(np.argmax(sound)) if sound.any() else len(order)
    if k < len(order) and free[k] > 0 and np.isfinite(factor[k]):
        return float(max(factor[k], 1.0))
    # all that have weight are capped: any factor that lifts the smallest to the cap
    positive = ratio[ratio > 0]
    return float(min(limit / positive.min(), np.finfo(np.float64).max / limit))
