"""Training that is balanced already, which sample weights would balance again."""

import copy
import itertools

import numpy as np
import torch
from scipy.stats import chisquare
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from skotw._validation import named, warn

from ._feature_tap import unwrapped
from ._sample_kinds import quietly
from ._trusted_set import in_one_dimension, stored_labels

__all__ = ["warn_of_double_balance"]

# A sampler changes the shares of classes where it is this unlikely that chance did, and this much is moved.
_CHANCE, _MOVED = 1e-6, 0.05


def warn_of_double_balance(net, dataset, loader):
    """Warn where the criterion or the sampler of the training set favours classes: the weights do so as well.

    Parameters
    ----------
    net : NeuralNet
    dataset : Dataset
        The training split.
    loader : DataLoader
        What draws from it.
    """
    criterion = unwrapped(net.criterion_)
    for name in ("weight", "pos_weight"):
        weight = getattr(criterion, name, None)
        if not isinstance(weight, torch.Tensor) or isinstance(weight, torch.nn.Parameter) or weight.ndim > 1:
            continue
        even = weight.max() if name == "weight" else 1.0
        if not bool((weight == even).all()):
            warn(_message(f"The criterion has a {name} that favours classes"))
    labels = stored_labels(dataset)
    labels = None if labels is None else in_one_dimension(labels)
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "biuf":
        return
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 1 < len(classes) <= len(labels) / 2:  # more are no classes
        return
    by_batch = type(loader.batch_sampler) not in (BatchSampler, type(None))
    sampler = loader.batch_sampler if by_batch else loader.sampler
    drawn = np.bincount(codes[_draws(sampler, by_batch, len(labels))], minlength=len(classes))
    if not drawn.any():
        return
    given, found = counts / counts.sum(), drawn / drawn.sum()
    if np.abs(found - given).sum() / 2 > _MOVED and chisquare(drawn, given * drawn.sum()).pvalue < _CHANCE:
        k = np.argmax(found / given)
        warn(
            _message(
                f"{type(sampler).__name__}, by which the training set is drawn, favours classes: "
                f"{named(classes[k : k + 1])} is {found[k]:.0%} of what it draws and {given[k]:.0%} of the samples"
            )
        )


def _message(what):
    return f"{what}, and sample weights balance the classes too: they are balanced twice. Leave one of the two out."


def _draws(sampler, by_batch, most):
    """Ids of an epoch, or as many as ``most``, drawn from a copy; none where all samples are drawn alike."""
    if type(sampler) in (RandomSampler, SequentialSampler):
        return []
    with quietly():
        try:
            ids = iter(copy.deepcopy(sampler))
        except Exception:  # what cannot be copied would miss the draws
            return []
        ids = itertools.chain.from_iterable(ids) if by_batch else ids
        return [int(i) for i in itertools.islice(ids, most)]
