"""Warnings of training that favours classes by itself."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, blobs, make_net

# One epoch shows what is warned of; the samplers here draw from NumPy's global generator, as users' do.
pytestmark = pytest.mark.filterwarnings("ignore:Training ends after")
X, y = blobs()
COUNTS = np.bincount(y)


class Balanced(Sampler):
    """Batches with as many samples of each class."""

    def __init__(self, labels, n_batches=8, size=10):
        self.labels, self.n_batches, self.size = labels, n_batches, size

    def __len__(self):
        return self.n_batches

    def __iter__(self):
        for _ in range(self.n_batches):
            yield np.concatenate(
                [np.random.choice(np.flatnonzero(self.labels == c), self.size) for c in np.unique(self.labels)]  # noqa: NPY002
            ).tolist()


def inverse():
    return WeightedRandomSampler(1.0 / COUNTS[y], len(y))


def fit(**params):
    return make_net(train_split=None, max_epochs=1, iterator_train__shuffle=False, **params).partial_fit(X, y)


def test_a_sampler_that_balances():
    with pytest.warns(UserWarning, match=r"^WeightedRandomSampler.*: 2 is [23]\d% .*and 11%.*balanced twice") as seen:
        fit(iterator_train__sampler=inverse())
    assert seen[0].filename == __file__


def test_batches_that_are_balanced():
    with pytest.warns(UserWarning, match="^Balanced, by which the training set is drawn, favours classes: 2 is 3.%"):
        fit(iterator_train__batch_sampler=Balanced(y), batch_size=1)


def test_a_loader_that_brings_its_sampler():
    class Loader(DataLoader):
        def __init__(self, dataset, **params):
            super().__init__(dataset, sampler=inverse(), **params)

    with pytest.warns(UserWarning, match="^WeightedRandomSampler"):
        plain(iterator_train=Loader).partial_fit(X, y)


def plain(**params):
    params = {"callbacks": [OTReweighting(META, "head")], "train_split": None, "verbose": 0, "max_epochs": 1, **params}
    return NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, **params)


class Uncopied(RandomSampler):
    def __deepcopy__(self, memo):
        raise TypeError("it holds a file")


@pytest.mark.parametrize(
    "sampler",
    [
        WeightedRandomSampler(torch.ones(len(y)), len(y)),
        SubsetRandomSampler(range(0, len(y), 2)),
        RandomSampler(range(len(y))),
        Uncopied(range(len(y))),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_samplers_that_leave_the_shares_of_classes(sampler):
    """The suite turns warnings into errors."""
    fit(iterator_train__sampler=sampler)


def test_balanced_data_are_not_balanced_by_a_sampler():
    even, labels = blobs((40, 40, 40))
    sampler = WeightedRandomSampler(torch.ones(120), 120)
    make_net(
        train_split=None, max_epochs=1, iterator_train__shuffle=False, iterator_train__sampler=sampler
    ).partial_fit(even, labels)


def test_looking_at_a_sampler_draws_nothing():
    """Its copy is asked, and the generators are as before."""
    trained = []
    for callbacks in ([], [OTReweighting(META, "head")]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        net = plain(callbacks=callbacks, iterator_train__batch_sampler=Balanced(y), batch_size=1)
        with pytest.warns(UserWarning, match="balanced twice") if callbacks else nullcontext():
            net.partial_fit(X, y)
        trained.append(torch.cat([p.flatten() for p in net.module_.parameters()]))
    assert torch.equal(*trained)


def test_labels_that_are_no_classes():
    """Nobody balances those."""
    sampler = WeightedRandomSampler(np.linspace(0.1, 1, len(y)), len(y))

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    callback = OTReweighting((META[0], META[0][:, :1]), "head")
    params = {"train_split": None, "verbose": 0, "max_epochs": 1, "iterator_train__sampler": sampler}
    NeuralNet(One, criterion=nn.MSELoss, callbacks=[callback], **params).partial_fit(X, X[:, :1])


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 4.0]))])
def test_class_weights_in_the_criterion(criterion):
    params = {} if isinstance(criterion, nn.Module) else {"criterion__weight": torch.tensor([1.0, 2.0, 4.0])}
    with pytest.warns(UserWarning, match=r"criterion has a weight that favours classes.*balanced twice") as seen:
        fit(criterion=criterion, **params)
    assert seen[0].filename == __file__


def test_pos_weight():
    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    labels, trusted = (part[:, None].astype(np.float32) for part in (y > 0, META[1] > 0))
    callback = OTReweighting((META[0], trusted), "head")
    params = {"train_split": None, "verbose": 0, "max_epochs": 1, "callbacks": [callback]}
    net = NeuralNet(One, criterion=nn.BCEWithLogitsLoss, criterion__pos_weight=torch.tensor(3.0), **params)
    with pytest.warns(UserWarning, match="criterion has a pos_weight"):
        net.partial_fit(X, labels)


def test_even_weights_favour_nothing():
    fit(criterion__weight=torch.tensor([2.0, 2.0, 2.0]))
    fit(iterator_train__batch_sampler=BatchSampler(RandomSampler(range(len(y))), 32, False), batch_size=1)
