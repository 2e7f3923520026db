"""A criterion that weighs its samples."""

import copy
import json
import math
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ._feature_tap import logits_of, unwrapped
from ._feature_weighter import Settled

__all__ = ["SampleWeights", "own_criterion", "weighted_loss"]

# How far a row of probabilities may be from 1: half precision is coarse.
_SUM_TOLERANCE = 0.05


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
    reliability : tensor of bytes
        How reliable the labels are, as :meth:`settle` writes it; empty before it was asked.
    classes : tensor of bytes
        Labels of the classes, as :meth:`remember` writes them; empty where nobody said.
    step : callable or None
        ``step(loss, reduction) -> loss`` on what the criterion returned, and how it reduces.
    per_sample : bool
        Whether ``step`` wants one loss per sample.
    check : int or None
        Number of samples of the batch whose loss comes next, if the criterion is to be checked with it.
    """

    name = "sample_weights"

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.empty(0))
        self.register_buffer("trusted", torch.empty(0, dtype=torch.int64))
        self.register_buffer("reg", torch.tensor(math.nan))
        self.register_buffer("reliability", torch.empty(0, dtype=torch.uint8))
        self.register_buffer("classes", torch.empty(0, dtype=torch.uint8))
        self.step = None
        self.per_sample = False
        self.reduction = None
        self.check = None

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
                f"The criterion {type(criterion).__name__} is already reduced. It has no `reduction`, by which it "
                "could be asked for one loss per sample. Give your nn.Module a `reduction` attribute that its forward "
                "obeys ('none', 'mean', 'sum'), as the losses of torch.nn have."
            )
        weights = cls.of(criterion)
        if weights is None:
            weights = cls()
            criterion.add_module(cls.name, weights)
            criterion.register_forward_pre_hook(weights._before, with_kwargs=True)
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
        self.reg, self.reliability = torch.full_like(self.reg, math.nan), self.reliability[:0]

    def start_even(self, n_samples):
        """Give all samples the same weight."""
        self.weight = torch.ones(n_samples)

    def update(self, ids, new, n_samples, smoothing):
        """Take over new weights of some samples, smoothed where there were others; the rest stays, at first 1."""
        ids = ids.to(new.device)
        if self.learned:
            weight = self.weight.to(new.device)
            new = smoothing * weight[ids] + (1.0 - smoothing) * new
        else:
            weight = torch.ones(n_samples, device=new.device)
        self.weight = weight.index_copy(0, ids, new)

    def settle(self, settled):
        """Keep what has been asked of the trusted samples."""
        self.reg = torch.tensor(settled.reg)
        self.reliability = self._bytes(settled.to_json())

    @property
    def settled(self):
        """What has been asked of the trusted samples so far."""
        reg, text = float(self.reg), bytes(self.reliability.tolist())
        return Settled.of_json(text, reg) if text else Settled(reg=reg, final=math.isfinite(reg))

    def trust(self, ids):
        """Keep which training samples are the meta set; none of them with no ids."""
        self.trusted = torch.as_tensor(ids, dtype=torch.int64)

    def expect(self, step, *, per_sample, check):
        """Hand what the criterion returns next to ``step``, unless None; ``check`` the criterion with it before."""
        self.step, self.per_sample, self.check = step, per_sample, check

    def release(self):
        """Leave the criterion to itself."""
        self.step = self.check = None

    @contextmanager
    def unchanged_on_error(self, undo):
        """After an exception within, what is kept is as before, if ``undo()`` says so."""
        before = dict(self._buffers)
        try:
            yield
        except BaseException:
            if undo():
                self._buffers.clear()
                self._buffers.update(before)
            raise

    def remember(self, classes):
        """Keep labels of classes, for whoever loads a checkpoint; those that JSON cannot say are left out."""
        classes = np.asarray(classes)
        values = classes.astype(np.int64) if classes.dtype.kind in "mM" else classes
        values = np.char.decode(values, "latin-1") if classes.dtype.kind == "S" else values
        try:
            text = json.dumps([classes.dtype.str, values.tolist()])
        except TypeError:
            text = ""
        self.classes = self._bytes(text)

    def _bytes(self, text):
        return torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.classes.device)

    def recall(self):
        """The labels of classes that were kept, or None."""
        if not len(self.classes):
            return None
        dtype, values = json.loads(bytes(self.classes.tolist()))
        dtype = np.dtype(dtype)
        if dtype.kind == "S":
            return np.char.encode(np.array(values), "latin-1").astype(dtype)
        return np.array(values, dtype=np.int64 if dtype.kind in "mM" else dtype).astype(dtype)

    def _before(self, criterion, args, kwargs):
        if isinstance(unwrapped(criterion), nn.modules.loss._Loss) and args:
            args = (_tensor_for(args[0], criterion), *args[1:])  # else these losses fail
        if self.check is not None:
            n_samples, self.check = self.check, None
            _check(unwrapped(criterion), args, kwargs, n_samples)
        if self.step is not None and self.per_sample:
            criterion = unwrapped(criterion)
            self.reduction, criterion.reduction = criterion.reduction, "none"
        return args, kwargs

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
        """Weights of a checkpoint have the size of its training set; those of earlier versions have fewer parts."""
        for name in ("classes", "reliability"):
            state_dict.setdefault(prefix + name, getattr(self, name)[:0])
        for name, buffer in list(self._buffers.items()):
            if prefix + name in state_dict:
                self._buffers[name] = state_dict[prefix + name].detach().clone().to(buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self):
        return {**self.__dict__, "step": None, "check": None}


def own_criterion(net):
    """The criterion of ``net``, which is no longer the instance that the user gave.

    skorch takes an instance as it is. What is hung on it would be there in the next fit, in clones and in the user's
    hands. The copy shares its parameters, so that it trains what the instance would.
    """
    # accelerate may have bound a forward of its own to the instance, and no copy can have that
    if net.criterion_ is net.criterion and "forward" not in vars(net.criterion_):
        net.criterion_ = _bare_copy(net.criterion_)
    return net.criterion_


def _bare_copy(criterion):
    """A copy that shares tensors and children, with tables of its own, and without sample weights."""
    copied = copy.copy(criterion)
    for name, value in vars(criterion).items():
        if isinstance(value, dict):
            vars(copied)[name] = value.copy()
    copied._modules.pop(SampleWeights.name, None)
    for hooks in (copied._forward_hooks, copied._forward_pre_hooks):
        for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), SampleWeights)]:
            del hooks[key]
    return copied


def _tensor_for(output, criterion):
    """The logits out of the tuple of a module; skorch could not predict from other containers."""
    if isinstance(output, (torch.Tensor, tuple)):
        return logits_of(output)
    logits_of(output)  # raises where there are none
    raise TypeError(
        f"The module returns {type(output).__name__}. The criterion {type(unwrapped(criterion)).__name__} does not "
        "take that, and nets of skorch do not predict from it. Use OTWeightedNetClassifier, which does. Or let your "
        "net's infer return the logits: `return super().infer(x, **fit_params).logits`, or with ['logits'] of a dict."
    )


def _check(criterion, args, kwargs, n_samples):
    """Raise where the criterion gets what it does not mean, or does not obey its ``reduction``.

    Raises
    ------
    ValueError
    """
    if isinstance(criterion, nn.NLLLoss) and args:
        _check_log_probabilities(args[0])
    probe = _bare_copy(criterion)
    probe.reduction = "none"
    state = {name: buffer.clone() for name, buffer in probe.named_buffers()}
    devices = {part.device for part in args if isinstance(part, torch.Tensor) and part.device.type == "cuda"}
    with torch.no_grad(), torch.random.fork_rng(devices=list(devices)):
        loss = functional_call(probe, state, args, kwargs)
    _check_one_each(loss, n_samples)


def _check_log_probabilities(values):
    values = values.detach()
    sums = values.double().exp().sum(1) if values.ndim > 1 else values.double().exp()
    if bool(((sums - 1.0).abs() < _SUM_TOLERANCE).all()):
        return
    raise ValueError(
        "The outputs of the module are no probabilities: they are negative, not finite, or do not sum to 1. The "
        "criterion nn.NLLLoss, the default of NeuralNetClassifier, wants probabilities there. If the module returns "
        "logits, pass criterion=nn.CrossEntropyLoss. Or end the module with nn.Softmax(dim=1). If it does already, "
        "look for NaN in the data."
    )


def _check_one_each(loss, n_samples):
    shape = tuple(getattr(loss, "shape", ()))
    if not shape or shape[0] != n_samples:
        raise ValueError(
            f"The criterion is already reduced. With reduction='none' it returned shape {shape} for {n_samples} "
            "samples. Let its forward look at self.reduction, and return one loss per sample then."
        )


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
    _check_one_each(loss, len(weight))
    loss = loss * weight.reshape(-1, *[1] * (loss.ndim - 1))
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean()
    return loss.sum() / len(loss) if reduction == "batchmean" else loss.sum()
