"""Ids of samples on their way through the data loader."""

import torch
from skorch.dataset import Dataset as SkorchDataset

from tests.deep._nets import blobs

X, y = blobs()


def test_workers_and_pinned_memory_keep_ids():
    from skotw.deep._sample_ids import IndexedBatch, IndexedIterator, ids_of

    data = SkorchDataset(X, y)
    loader = IndexedIterator(torch.utils.data.DataLoader)(data, batch_size=10, num_workers=2, shuffle=True)
    for Xi, yi in (batch := b for b in loader):
        assert isinstance(batch, IndexedBatch)
        assert torch.equal(torch.as_tensor(X)[ids_of(batch)], Xi)
        assert torch.equal(torch.as_tensor(y)[ids_of(batch)], yi)


def test_batches_move_between_devices_with_their_ids():
    from skotw.deep._sample_ids import IndexedBatch

    batch = IndexedBatch([{"a": torch.ones(2), "b": [torch.ones(2)], "c": ("x", 1)}, torch.zeros(2)])
    batch.ids = torch.arange(2)
    moved = batch.to("meta")
    assert moved[0]["a"].device.type == moved[0]["b"][0].device.type == moved[1].device.type == "meta"
    assert moved[0]["c"] == ("x", 1)
    assert moved.ids.device.type == "cpu"
