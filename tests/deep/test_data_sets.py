"""Training data in all forms that skorch takes."""

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import predefined_split
from torch.utils.data import Subset, TensorDataset

from tests.deep._nets import META, Net, Records, blobs, make_net, state_of

X, y = blobs()


class Batched(Records):
    """Several samples at a time."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class ByName(Net):
    def forward(self, data):
        return super().forward(data)


@pytest.mark.parametrize("make", [Records, Batched, TensorDataset, SkorchDataset])
@pytest.mark.parametrize("meta", [META, 4])
def test_datasets(make, meta):
    tensors = (torch.as_tensor(X), torch.as_tensor(y)) if make is TensorDataset else (X, y)
    torch.manual_seed(0)
    net = make_net(meta=meta, random_state=0, train_split=None).fit(make(*tensors), None)
    torch.manual_seed(0)
    arrays = make_net(meta=meta, random_state=0, train_split=None).fit(X, y)
    assert torch.equal(state_of(net), state_of(arrays))
    np.testing.assert_array_equal(net.sample_weight_, arrays.sample_weight_)


@pytest.mark.parametrize("train_split", [None, ValidSplit(3, stratified=False)])
def test_rows_of_a_subset_are_counted_in_the_subset(train_split):
    given = Subset(SkorchDataset(X, y), list(range(100, 130)))
    net = make_net(train_split=train_split).fit(given, None)
    if train_split is None:
        assert net.train_indices_.tolist() == list(range(30))
    labels = np.array([given[i][1] for i in net.train_indices_])
    assert len(labels) == len(net.sample_weight_)
    mass = [net.sample_weight_[labels == c].sum() / len(labels) for c in range(3)]
    np.testing.assert_allclose(mass, 1 / 3, atol=0.1)


@pytest.mark.parametrize("meta", [Records(*META), META, 4])
def test_dictionaries(meta):
    meta = ({"data": META[0]}, META[1]) if isinstance(meta, tuple) else meta
    if isinstance(meta, Records):
        meta = Records([{"data": row} for row in META[0]], META[1])
    net = make_net(ByName, meta=meta, max_epochs=15).fit({"data": X}, y)
    assert net.sample_weight_.mean() == pytest.approx(1.0, rel=1e-3)
    assert (net.predict({"data": X}) == y).mean() > 0.6


def test_predefined_validation_split():
    valid = SkorchDataset(*blobs(seed=5))
    net = make_net(train_split=predefined_split(valid), max_epochs=20).fit(X, y)
    assert len(net.sample_weight_) == len(y)
    assert net.history[-1, "valid_acc"] > 0.8


def test_tensors():
    torch.manual_seed(0)
    net = make_net(train_split=None).fit(torch.as_tensor(X), torch.as_tensor(y))
    net.partial_fit(torch.as_tensor(X), torch.as_tensor(y))
    torch.manual_seed(0)
    arrays = make_net(train_split=None).fit(X, y).partial_fit(X, y)
    assert torch.equal(state_of(net), state_of(arrays))
