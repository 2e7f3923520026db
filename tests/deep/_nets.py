"""Small data and networks that several test files share."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from skotw import OTSampleWeighter
from skotw.deep import OTWeightedNetClassifier

COUNTS = (90, 30, 15)
N_FEATURES = 6


def blobs(counts=COUNTS, seed=0):
    """Gaussian blobs, one per class, in random order."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    X = rng.normal(size=(len(y), N_FEATURES)) + 2 * np.eye(N_FEATURES)[y]
    return X.astype(np.float32), y.astype(np.int64)


META = blobs((4, 4, 4), seed=1)
NAMES = np.array(["oak", "ash", "elm"])


class Net(nn.Module):
    """Body and head, with the things that make training differ from evaluation."""

    def __init__(self, n_hidden=8, dropout=0.0, both=False, norm=True):
        super().__init__()
        norm = nn.BatchNorm1d(n_hidden) if norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(N_FEATURES, n_hidden), norm, nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(n_hidden, 3)
        self.both = both

    def forward(self, X):
        features = self.body(X)
        return (self.head(features), features) if self.both else self.head(features)


@dataclass
class Output:
    logits: torch.Tensor
    hidden_states: tuple | None = None


class ModelOutput(OrderedDict):
    """As Hugging Face has it: a dictionary whose entries are attributes too."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


OUTPUTS = {
    "tuple": lambda logits, features: (logits, features),
    "dict": lambda logits, features: {"features": features, "logits": logits},
    "hidden states": lambda logits, features: {"loss": logits.sum(), "logits": logits, "hidden_states": features},
    "attributes": lambda logits, features: Output(logits, (features + 1, features)),
    "Hugging Face": lambda logits, features: ModelOutput(logits=logits, hidden_states=(features + 1, features)),
}


class Saying(Net):
    def __init__(self, form="tensor", **params):
        super().__init__(**params)
        self.form = form

    def forward(self, X):
        features = self.body(X)
        logits = self.head(features)
        return OUTPUTS[self.form](logits, features) if self.form in OUTPUTS else logits


def make_net(module=Net, **params):
    """A quick OTWeightedNetClassifier."""
    defaults = {
        "meta": META,
        "feature_layer": "head",
        "weighter": OTSampleWeighter(reg=0.2),
        "warmup_epochs": 1,
        "max_epochs": 3,
        "criterion": nn.CrossEntropyLoss,
        "lr": 0.1,
        "batch_size": 32,
        "iterator_train__shuffle": True,
        "verbose": 0,
    }
    return OTWeightedNetClassifier(module, **{**defaults, **params})


def state_of(net):
    """Parameters and buffers of the network in one vector."""
    return torch.cat([p.flatten() for p in net.module_.state_dict().values()])


class Records(Dataset):
    """Samples made on demand, with nothing to read labels from but the samples."""

    def __init__(self, X, y):
        self.data = X, y

    def __len__(self):
        return len(self.data[1])

    def __getitem__(self, i):
        return self.data[0][i], self.data[1][i]
