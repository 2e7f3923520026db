"""The trusted samples of a network: where they come from, and mini-batches of them."""

import numbers

import joblib
import numpy as np
import torch
from scipy.sparse import issparse
from skorch.dataset import Dataset as SkorchDataset
from skorch.utils import is_dataset
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from skotw._validation import named
from skotw.meta import balanced_meta_split

from ._sample_ids import check_indexable

__all__ = ["balanced_batches", "check_no_names", "draw_trusted", "fingerprint", "is_draw", "labels_of", "meta_dataset"]

_LOOKED_AT = 64  # rows


def meta_dataset(meta, net):
    """Data set of the trusted samples that ``meta=`` gives.

    Raises
    ------
    TypeError
        If it is neither a data set nor a pair.
    ValueError
        If it is empty, has no length, or has names for labels.
    """
    if isinstance(meta, Dataset):
        check_indexable(meta)
        check_no_names(meta, "meta")
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
    labels = stored_labels(dataset)
    if labels is None:
        labels = np.array([np.asarray(dataset[i][1]) for i in range(len(dataset))])
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def stored_labels(dataset):
    """Labels that a data set keeps apart from its samples, as an array, or None."""
    if isinstance(dataset, Subset):
        labels = stored_labels(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1].cpu().numpy()
    for name in ("y", "targets"):  # of skorch and of torchvision
        labels = getattr(dataset, name, None)
        if isinstance(labels, torch.Tensor):
            labels = labels.cpu()
        if hasattr(labels, "__len__") and not isinstance(labels, (dict, str)) and len(labels) == len(dataset):
            try:
                return np.asarray(labels)
            except ValueError:  # ragged, as the boxes of a detector: no labels
                continue
    return None


def has_names(meta):
    """Whether ``meta=`` is a pair whose labels are names of classes."""
    if not isinstance(meta, (tuple, list)) or len(meta) != 2 or isinstance(meta[1], torch.Tensor):
        return False
    labels = np.asarray(meta[1])
    return labels.dtype.kind in "US" or any(isinstance(label, str) for label in labels.ravel()[:1])


def check_no_names(dataset, name):
    """Raise where the labels of skorch's own data set, which others may translate, are names of classes.

    Raises
    ------
    ValueError
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    labels = stored_labels(dataset) if type(dataset) is SkorchDataset else None
    if labels is not None and (labels.dtype.kind in "US" or any(isinstance(label, str) for label in labels[:1])):
        raise ValueError(
            f"The data set of {name} has names of classes as labels, such as {named(labels[:1])}. Labels in data sets "
            "go to the criterion as they are: give class indices there, places in classes_, or arrays, whose labels "
            "are encoded."
        )


def fingerprint(X, y):
    """Hash by which training data are told from other data, or None where nothing is in memory to look at.

    Of all labels, and of a few rows, since chunks of a stream often have the same labels in the same order.
    """
    if y is None or is_dataset(y):
        y = stored_labels(X) if is_dataset(X) else None
    if y is None:
        return None
    y = np.asarray(y.cpu() if isinstance(y, torch.Tensor) else y)
    return joblib.hash([y, _some_rows(X, np.linspace(0, len(y) - 1, min(len(y), _LOOKED_AT)).astype(np.intp))])


def _some_rows(X, rows):
    """Rows of what skorch takes as X, where they are in memory; a data set that makes its samples has none."""
    if isinstance(X, Subset):
        return _some_rows(X.dataset, np.asarray(X.indices)[rows])
    if isinstance(X, TensorDataset):
        return [_some_rows(part, rows) for part in X.tensors]
    if isinstance(X, SkorchDataset):
        return _some_rows(X.X, rows)
    if isinstance(X, dict):
        return {name: _some_rows(part, rows) for name, part in X.items()}
    if isinstance(X, (tuple, list)):
        return [_some_rows(part, rows) for part in X]
    if isinstance(X, torch.Tensor):
        return X[torch.as_tensor(rows, device=X.device)].detach().cpu().numpy()
    if hasattr(X, "iloc"):
        return np.asarray(X.iloc[rows])
    return np.asarray(X[rows]) if isinstance(X, np.ndarray) else X[rows] if issparse(X) else None


def balanced_batches(dataset, labels, batch_size, **loader_params):
    """Endless mini-batches in which every class, or combination of several labels, is equally likely."""
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True, axis=0)
    sampler = WeightedRandomSampler(1.0 / (len(classes) * counts[codes.ravel()]), batch_size, replacement=True)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, **loader_params)
    while True:
        yield from loader


def is_draw(meta):
    """Whether ``meta=`` asks for training samples."""
    return isinstance(meta, numbers.Integral) and not isinstance(meta, bool)
