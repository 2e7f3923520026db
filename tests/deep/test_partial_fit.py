"""Training that goes on, on the same data or on other."""

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import Subset, TensorDataset

from skotw import OTSampleWeighter
from tests.deep._nets import NAMES, blobs, make_net, state_of

X, y = blobs()


def test_partial_fit_goes_on():
    torch.manual_seed(0)
    whole = make_net(max_epochs=4).fit(X, y)
    torch.manual_seed(0)
    parts = make_net(max_epochs=2).partial_fit(X, y).partial_fit(X, y)
    # the split is the same, shuffling goes on from where it was
    assert torch.equal(state_of(whole), state_of(parts))
    np.testing.assert_array_equal(whole.sample_weight_, parts.sample_weight_)


@pytest.mark.parametrize("n_rows", [135, 80])
def test_partial_fit_on_other_data_weighs_it_at_once(n_rows):
    other, labels = blobs(seed=3)
    other, labels = other[:n_rows], labels[:n_rows]
    net = make_net(train_split=None, max_epochs=2, weighter=OTSampleWeighter(reg=0.2)).fit(X, y)
    before = net.module_.state_dict()["body.0.weight"].clone()
    net.set_params(max_epochs=1, refit_every=100, lr=1e-12).partial_fit(other, labels)
    assert len(net.sample_weight_) == n_rows
    np.testing.assert_allclose(before, net.module_.state_dict()["body.0.weight"])
    mass = [net.sample_weight_[labels == c].sum() / n_rows for c in range(3)]
    np.testing.assert_allclose(mass, 1 / 3, atol=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: (X, y),
        lambda X, y: ({"X": X}, y),
        lambda X, y: (torch.as_tensor(X), torch.as_tensor(y)),
        lambda X, y: (SkorchDataset(X, y), None),
        lambda X, y: (Subset(TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), list(range(len(y)))), None),
    ],
    ids=["arrays", "dictionary", "tensors", "skorch", "subset"],
)
def test_other_rows_with_the_same_labels_are_other_data(make):
    """As in chunks that are each sorted by class."""
    labels = np.repeat([0, 1, 2], 20)
    rng = np.random.default_rng(0)
    rows, other = (rng.normal(size=(60, 6)) + 2 * np.eye(6)[labels] for _ in range(2))
    net = make_net(train_split=None, max_epochs=2).fit(*make(rows.astype(np.float32), labels))
    before = net.sample_weight_
    net.set_params(max_epochs=1, refit_every=100)
    net.partial_fit(*make(rows.astype(np.float32), labels))
    np.testing.assert_array_equal(net.sample_weight_, before)
    net.partial_fit(*make(other.astype(np.float32), labels))
    assert not np.allclose(net.sample_weight_, before, rtol=0.1)


def test_classes_grow_by_partial_fit():
    net = make_net(train_split=None, warmup_epochs=20, meta=None).partial_fit(X[y < 2], y[y < 2])
    assert net.classes_.tolist() == [0, 1]
    net.partial_fit(X[y > 0], y[y > 0])
    assert net.classes_.tolist() == [0, 1, 2]
    net.partial_fit(X[y < 1], y[y < 1])
    assert net.classes_.tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_names_of_classes_stay():
    net = make_net(train_split=None, warmup_epochs=9, meta=None, max_epochs=1).partial_fit(X[y < 2], NAMES[y[y < 2]])
    net.partial_fit(X[y < 1], NAMES[y[y < 1]])
    assert net.classes_.tolist() == ["ash", "oak"]
    with pytest.raises(ValueError, match="no classes of this net: 'elm'"):
        net.partial_fit(X, NAMES[y])
    net.fit(X, NAMES[y])
    assert net.classes_.tolist() == ["ash", "elm", "oak"]
