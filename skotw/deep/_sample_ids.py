"""Sample ids: which rows of the training set are in a batch, whatever shuffled, sampled or loaded it."""

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

__all__ = ["IndexedIterator", "check_indexable", "ids_of"]


def check_indexable(dataset):
    """Raise where rows have no numbers to remember them by.

    Raises
    ------
    ValueError
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{type(dataset).__name__} is an iterable dataset without a length. Sample weights need to know which "
            "sample is which. Use a map-style dataset, with __len__ and __getitem__. It may read samples from disk on "
            "demand."
        )


class IndexedDataset(Dataset):
    """A dataset that says the number of each sample with it."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return index, self.dataset[index]

    def __getitems__(self, indices):
        if hasattr(self.dataset, "__getitems__"):
            return list(zip(indices, self.dataset.__getitems__(indices), strict=True))
        return [self[index] for index in indices]


class IndexedBatch(list):
    """A batch [X, y] that remembers the ids of its samples.

    A list, since that is what data loaders yield and what skorch, pinned memory and accelerate take apart; with ``to``,
    so that accelerate does not rebuild it as a plain one.
    """

    ids = None

    def to(self, device, non_blocking=False):
        """The batch on another device; ids stay on the host."""
        out = IndexedBatch(_to(part, device, non_blocking) for part in self)
        out.ids = self.ids
        return out


def _to(part, device, non_blocking):
    if hasattr(part, "to"):
        return part.to(device, non_blocking=non_blocking)
    if isinstance(part, dict):
        return {key: _to(value, device, non_blocking) for key, value in part.items()}
    if isinstance(part, (list, tuple)):
        return type(part)(_to(value, device, non_blocking) for value in part)
    return part


class IndexedCollate:
    """Collate the samples as ``collate_fn`` does, and keep their ids."""

    def __init__(self, collate_fn):
        self.collate_fn = collate_fn

    def __call__(self, items):
        ids, samples = zip(*items, strict=True)
        batch = IndexedBatch(self.collate_fn(list(samples)))
        batch.ids = torch.as_tensor(ids)
        return batch


class IndexedIterator:
    """``iterator_train`` of skorch whose batches have ids: ``iterator`` makes the data loader, which is kept."""

    def __init__(self, iterator):
        self.iterator = iterator
        self.loader = None

    def __call__(self, dataset, **kwargs):
        check_indexable(dataset)
        loader = self.iterator(IndexedDataset(dataset), **kwargs)
        if not isinstance(loader, DataLoader):
            raise TypeError(
                f"The iterator of the training set must be a torch DataLoader, whose collate function can pass sample "
                f"ids on; got {type(loader).__name__}. Derive it from DataLoader."
            )
        loader.collate_fn = IndexedCollate(loader.collate_fn)
        self.loader = loader
        return loader


def ids_of(batch):
    """Ids of the samples of a batch.

    Raises
    ------
    TypeError
        If something between the data loader and the net has rebuilt the batch.
    """
    ids = getattr(batch, "ids", None)
    if ids is None:
        raise TypeError(
            "The batches of the training set have lost their sample ids. Something between the data loader and the net "
            f"turned them into {type(batch).__name__}. Make such changes in the dataset, in collate_fn or in "
            "net.infer instead."
        )
    return ids
