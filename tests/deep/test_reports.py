"""What is printed, recorded and warned of."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()


def test_print_out_has_the_columns(capsys):
    make_net(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    for column in ("refit_dur", "transport_cost", "weight_ess", "weight_max"):
        assert column in lines[0]
    assert len({len(line.split()) for line in lines[2:5]}) == 1


def test_collapse_is_reported_once():
    one_each = META[0][np.unique(META[1], return_index=True)[1]], np.arange(3)
    with pytest.warns(UserWarning, match=r"collapsed.*Raise the weighter's reg") as record:
        make_net(meta=one_each, weighter=OTSampleWeighter(reg=1e-3), max_epochs=4).fit(X, y)
    assert len(record) == 1


@pytest.mark.parametrize("params", [{}, {"refit_every": "batch"}])
def test_what_every_refit_finds_is_reported_once(params):
    two = y < 2
    with pytest.warns(UserWarning, match="classes without training rows: 2") as seen:
        make_net(max_epochs=4, **params).fit(X[two], y[two])
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_contradiction_is_reported_once():
    """Though its numbers differ from refit to refit."""
    meta = blobs((20, 20, 20), seed=1)
    with pytest.warns(UserWarning, match="labels contradict the trusted ones") as seen:
        make_net(meta=meta, max_epochs=4, lr=1e-4).fit(X, (y + 1) % 3)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_imbalance_is_no_collapse():
    """The suite turns warnings into errors."""
    rows, labels = blobs((900, 60, 3))
    make_net(weighter=OTSampleWeighter(label_weight=0.9, reg=0.3), train_split=None).fit(rows, labels)
    make_net(weighter=OTSampleWeighter(prior="uniform", reg=1.0), train_split=None).fit(rows, labels)


def accuracy_of(net, rows, labels):
    module = net.module_.eval()
    with torch.no_grad():
        return (module(torch.as_tensor(rows)).argmax(1).numpy() == labels).mean()


def test_accuracies():
    """Of the training pass as it was, and of the network at the refit."""
    net = make_net(max_epochs=4, refit_every=2, train_split=None, module__norm=False).fit(X, y)
    assert [epoch for epoch, value in enumerate(net.history[:, "meta_accuracy"], 1) if np.isfinite(value)] == [1, 2, 4]
    assert net.history[-1, "meta_accuracy"] == pytest.approx(accuracy_of(net, *META))
    still = make_net(max_epochs=2, lr=1e-12, train_split=None, module__norm=False).fit(X, y)
    assert still.history[-1, "label_accuracy"] == pytest.approx(accuracy_of(still, X, y))


def test_targets_that_are_no_classes_have_no_accuracy():
    """Continuous ones, and no meta set."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    target, trusted = ((part[:, :1] + part[:, 1:2]).astype(np.float32) for part in (X, META[0]))
    callback = OTReweighting((META[0], trusted), "head", OTSampleWeighter(reg=0.1), warmup_epochs=1)
    net = NeuralNetRegressor(One, callbacks=[callback], max_epochs=2, verbose=0).fit(X, target)
    assert "meta_accuracy" not in net.history[-1]
    assert "meta_accuracy" not in make_net(meta=None).fit(X, y).history[-1]
