"""Criteria of any reduction and any kind of target."""

import numpy as np
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_each_reduction(reduction):
    """'none' is for nets that reduce the loss by themselves."""

    class Reducing(NeuralNetClassifier):
        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs).mean()

    callback = OTReweighting(META, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    params = {"max_epochs": 3, "verbose": 0, "batch_size": -1, "criterion__reduction": reduction}
    net = Reducing(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], lr=1e-12, **params).fit(X, y)
    factor = 108 if reduction == "sum" else 1
    expected = make_net(lr=1e-12, batch_size=-1, iterator_train__shuffle=False)
    expected.set_params(module=Net, verbose=0)
    torch.manual_seed(0)
    expected.fit(X, y)
    torch.manual_seed(0)
    net.fit(X, y)
    np.testing.assert_allclose(
        net.history[:, "train_loss"], factor * np.array(expected.history[:, "train_loss"]), rtol=1e-4
    )
    assert net.criterion_.reduction == reduction


def test_losses_with_more_dimensions():
    """Binary cross-entropy of one-hot labels: a sample's loss is a row."""
    targets = np.eye(3, dtype=np.float32)[y]
    weighter = OTSampleWeighter(target_type="columns", reg=0.2)
    callback = OTReweighting((META[0], np.eye(3, dtype=np.float32)[META[1]]), "head", weighter, warmup_epochs=1)
    net = NeuralNet(
        Net, criterion=nn.BCEWithLogitsLoss, callbacks=[callback], max_epochs=3, verbose=0, train_split=None
    )
    net.fit(X, targets)
    mass = [callback.sample_weight_[y == c].mean() for c in range(3)]
    assert mass[2] > 2 * mass[0]


@pytest.mark.parametrize("params", [{"refit_every": 1}, {"refit_every": "batch"}, {"meta_loss_weight": 1.0}])
@pytest.mark.parametrize("drawn", [False, True])
def test_binary_labels_in_a_column(params, drawn):
    """As BCEWithLogitsLoss wants them; the suite turns warnings into errors."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    labels, trusted = (part[:, None].astype(np.float32) for part in (y > 0, META[1] > 0))
    callback = OTReweighting(4 if drawn else (META[0], trusted), "head", warmup_epochs=1, **params)
    NeuralNet(One, criterion=nn.BCEWithLogitsLoss, callbacks=[callback], max_epochs=3, verbose=0, train_split=None).fit(
        X, labels
    )
    w = callback.sample_weight_
    np.testing.assert_allclose([w[y == 0].sum(), w[y > 0].sum()], len(y) / 2, rtol=0.2)


def test_regression():
    """Few large targets, many small ones, evenly many trusted."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    target = (X[:, :1] + X[:, 1:2]).astype(np.float32)
    weighter = OTSampleWeighter(reg=0.1)
    meta = META[0], (META[0][:, 0] + META[0][:, 1])[:, None].astype(np.float32)
    callback = OTReweighting(meta, "head", weighter, warmup_epochs=1)
    NeuralNetRegressor(One, callbacks=[callback], max_epochs=3, verbose=0).fit(X, target)
    assert callback.sample_weight_.mean() == pytest.approx(1.0, rel=1e-4)
