"""The trusted samples of a network: where they come from, and mini-batches of them."""

import numbers

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from skotw.meta import balanced_meta_split

from ._ids import check_indexable

__all__ = ["balanced_batches", "draw_trusted", "labels_of", "meta_dataset"]


def meta_dataset(meta, net):
    """Data set of the trusted samples that ``meta=`` gives.

    Raises
    ------
    TypeError
        If it is neither a data set nor a pair.
    ValueError
        If it is empty, or has no length.
    """
    if isinstance(meta, Dataset):
        check_indexable(meta)
        dataset = meta
    elif isinstance(meta, (tuple, list)) and len(meta) == 2:
        dataset = net.get_dataset(*meta)
    else:
        raise TypeError(
            "meta must be (X_meta, y_meta), a torch Dataset of trusted samples, a number of training samples per class "
            f"to set aside, or None; got {type(meta).__name__}."
        )
    if not len(dataset):
        raise ValueError("The meta set is empty: give at least one trusted sample of every class.")
    return dataset


def draw_trusted(dataset, n_per_class, random_state):
    """Ids of ``n_per_class`` samples of each class.

    Raises
    ------
    ValueError
        If a class has fewer than ``n_per_class + 1``.
    """
    try:
        return balanced_meta_split(np.arange(len(dataset)), labels_of(dataset), n_per_class, random_state)[2]
    except ValueError as error:
        raise ValueError(f"meta={n_per_class} cannot be drawn from the training split. {error}") from error


def labels_of(dataset):
    """Labels of all samples as an array, without loading the samples where the data set keeps labels apart."""
    if isinstance(dataset, Subset):
        return labels_of(dataset.dataset)[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1].cpu().numpy()
    for name in ("y", "targets"):  # of skorch and of torchvision
        labels = getattr(dataset, name, None)
        if labels is not None and len(labels) == len(dataset):
            return np.asarray(torch.as_tensor(labels).cpu() if isinstance(labels, torch.Tensor) else labels)
    return np.array([np.asarray(dataset[i][1]) for i in range(len(dataset))])


def balanced_batches(dataset, labels, batch_size, **loader_params):
    """Endless mini-batches in which every class is equally likely."""
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sampler = WeightedRandomSampler(1.0 / (len(classes) * counts[codes]), batch_size, replacement=True)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, **loader_params)
    while True:
        yield from loader


def is_draw(meta):
    """Whether ``meta=`` asks for training samples."""
    return isinstance(meta, numbers.Integral) and not isinstance(meta, bool)
