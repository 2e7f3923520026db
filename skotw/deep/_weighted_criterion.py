"""A criterion that weighs its samples."""

import math

import torch
from torch import nn

from ._feature_tap import unwrapped

__all__ = ["SampleWeights", "weighted_loss"]


class SampleWeights(nn.Module):
    """Weights by sample id, as a child of the criterion that they enter.

    There they move between devices and into checkpoints with it. Hooks on the criterion ask it for one loss per sample
    while :attr:`step` is set, which is within a training batch, and hand these losses to it; at any other time, as in
    validation, the criterion is what it was.

    Attributes
    ----------
    weight : tensor of shape (n_samples,), or (0,) before the first refit
    trusted : tensor of shape (n_trusted,)
        Ids of training samples that are the meta set.
    reg : tensor of shape ()
        What the first refit made of ``reg="auto"``; NaN before.
    step : callable or None
        ``step(loss, reduction) -> loss`` on what the criterion returned, and how it reduces.
    per_sample : bool
        Whether ``step`` wants one loss per sample.
    """

    name = "sample_weights"

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.empty(0))
        self.register_buffer("trusted", torch.empty(0, dtype=torch.int64))
        self.register_buffer("reg", torch.tensor(math.nan))
        self.step = None
        self.per_sample = False
        self.reduction = None

    @classmethod
    def attach(cls, criterion):
        """Hang weights on ``criterion``, unless it has some.

        Raises
        ------
        TypeError
            If the criterion cannot be asked for one loss per sample.
        """
        reduction = getattr(criterion, "reduction", None)
        if not isinstance(criterion, nn.Module) or not isinstance(reduction, str):
            raise TypeError(
                f"The criterion {type(criterion).__name__} is already reduced: it has no `reduction`, by which it "
                "could be asked for one loss per sample. Give your nn.Module a `reduction` attribute that its forward "
                "obeys ('none', 'mean', 'sum'), as the losses of torch.nn have."
            )
        weights = cls.of(criterion)
        if weights is None:
            weights = cls()
            criterion.add_module(cls.name, weights)
            criterion.register_forward_pre_hook(weights._before)
            criterion.register_forward_hook(weights._after, always_call=True)
        return weights

    @classmethod
    def of(cls, criterion):
        """The weights of ``criterion``, or None."""
        return criterion._modules.get(cls.name)  # no attribute: a compiled criterion passes those on

    @property
    def learned(self):
        """Whether there are weights."""
        return len(self.weight) > 0

    def forget(self):
        """Be as new."""
        self.weight, self.trusted = self.weight[:0], self.trusted[:0]
        self.reg = torch.full_like(self.reg, math.nan)

    def _before(self, criterion, args):
        if self.step is not None and self.per_sample:
            criterion = unwrapped(criterion)
            self.reduction, criterion.reduction = criterion.reduction, "none"

    def _after(self, criterion, args, loss):
        criterion = unwrapped(criterion)
        if self.reduction is not None:
            criterion.reduction, self.reduction = self.reduction, None
            if loss is not None and criterion.reduction == "mean":
                loss = loss / _mean_class_weight(criterion, args)
        if loss is None:  # after an exception
            self.step = None
        if self.step is None:
            return None
        step, self.step = self.step, None  # losses that it computes are no losses of the batch
        try:
            return step(loss, criterion.reduction)
        finally:
            self.step = step

    def _load_from_state_dict(self, state_dict, prefix, *args):
        """Weights of a checkpoint have the size of its training set."""
        for name, buffer in list(self._buffers.items()):
            if prefix + name in state_dict:
                self._buffers[name] = state_dict[prefix + name].detach().clone().to(buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self):
        return {**self.__dict__, "step": None}


def _mean_class_weight(criterion, args):
    """What the mean of torch's losses by class index is of their own class weights, labels to ignore having none."""
    if not isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) or len(args) < 2 or args[1].is_floating_point():
        return 1.0
    counted = args[1] != criterion.ignore_index
    if criterion.weight is None:
        return counted.float().mean()
    return (criterion.weight[args[1].where(counted, 0).long()] * counted).mean()


def weighted_loss(loss, weight, reduction):
    """Reduce the losses of samples with their weights.

    Parameters
    ----------
    loss : tensor of shape (n_samples, ...)
    weight : tensor of shape (n_samples,)
    reduction : {"mean", "sum", "none", "batchmean"}
        As the criterion reduces.

    Returns
    -------
    loss : tensor

    Raises
    ------
    ValueError
        If there is not one loss per sample.
    """
    if loss.ndim == 0 or len(loss) != len(weight):
        raise ValueError(
            f"The criterion is already reduced: with reduction='none' it returned shape {tuple(loss.shape)} for "
            f"{len(weight)} samples. Let it return one loss per sample then."
        )
    loss = loss * weight.reshape(-1, *[1] * (loss.ndim - 1))
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean()
    return loss.sum() / len(loss) if reduction == "batchmean" else loss.sum()
