"""Transport whose training rows are spread over the processes of ``torch.distributed``.

Every process solves for the rows that it has. What they must agree on are sums over all rows, and those are few
numbers: one normaliser per class and meta sample, the sums of weights per class, the unit of the cost and, where
``reg="auto"`` asks for them, the histograms behind the reliability and sums of votes. No features travel.
"""

import math

import numpy as np
import torch
import torch.distributed as dist

from skotw._weighter.model import TransportModel


def all_reduce(values, op=dist.ReduceOp.SUM):
    """Combine an ndarray over all processes."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(np.asarray(values), device=device)  # a copy: the reduction is in place
    dist.all_reduce(tensor, op)
    return tensor.cpu().numpy()


def all_logsumexp(values):
    """log(sum over processes of exp(values)), elementwise; all -inf stays -inf."""
    peak = all_reduce(values, dist.ReduceOp.MAX)
    shift = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(all_reduce(np.exp(values - shift))) + shift


class SharedModel(TransportModel):
    """:class:`TransportModel` that has some of the rows; other processes have the others."""

    def _total(self, values):
        return all_reduce(values)

    def _mean(self, cost, p, b):
        if hasattr(cost, "squared"):  # the root of a mean
            return math.sqrt(self._mean(cost.squared, p, b))
        mass = p.sum()
        total, mass = all_reduce(np.array([mass * super()._mean(cost, p, b), mass]))
        return float(total / mass)

    def _join(self, log_normalisers):
        return all_logsumexp(log_normalisers)

    def _meter_add(self, ordered):
        if self.settings["reg"] != "auto":  # histograms are many numbers: the reliability stays unknown
            return
        self._meter.add(ordered, self.compute)
        self._meter.histograms = all_reduce(self._meter.histograms)
        self._meter.mass = all_reduce(self._meter.mass)
        self.reliability = self._meter.estimate()
