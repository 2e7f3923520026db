"""What a refit takes, and what it leaves."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from skotw import OTSampleWeighter
from skotw._weighter.auto_reg import UNKNOWN_REG
from skotw.deep import OTReweighting
from tests.deep._nets import blobs, make_net

X, y = blobs()


def test_a_sample_drawn_several_times_counts_once():
    """As by a sampler with replacement: the features of its last draw."""
    from skotw.deep._passes import TrainingPass

    rows = TrainingPass()
    rows.add(torch.tensor([3, 1]), torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    rows.add(torch.tensor([3, 4]), torch.tensor([[2.0], [3.0]]), torch.tensor([0, 2]))
    ids, features, labels = rows.of_transport(torch.tensor([4, 9]))
    assert ids.tolist() == [1, 3]
    assert features.tolist() == [[1.0], [2.0]]
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("n_rows", [2, 20])
def test_a_chunk_of_one_class_is_weighed_within_it(n_rows):
    net = make_net(train_split=None).fit(X, y)
    rows = np.flatnonzero(y == 1)[:n_rows]
    net.partial_fit(X[rows], y[rows])
    w = net.sample_weight_
    assert w.shape == (n_rows,)
    np.testing.assert_allclose(w.mean(), 1.0, rtol=1e-5)
    assert w.std() > 0.001


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_smoothing_mixes_old_and_new():
    params = {"lr": 0.05, "max_epochs": 2, "batch_size": -1, "train_split": None, "module__norm": False}
    torch.manual_seed(0)
    first = make_net(warmup_epochs=1, **{**params, "max_epochs": 1}).fit(X, y).sample_weight_
    weights = {}
    for smoothing in (0.0, 0.9):
        torch.manual_seed(0)
        net = make_net(warmup_epochs=1, smoothing=smoothing, **params).fit(X, y)
        weights[smoothing] = net.sample_weight_
    # both trained epoch 2 on the first weights, which have nothing to be mixed with
    np.testing.assert_allclose(weights[0.9], 0.9 * first + 0.1 * weights[0.0], rtol=1e-4)
    assert not np.allclose(weights[0.0], first, rtol=1e-3)


def test_automatic_regularisation_is_settled_once(tmp_path):
    net = make_net(weighter=OTSampleWeighter(), max_epochs=2, train_split=None).fit(X, y)
    first = make_net(weighter=OTSampleWeighter(), max_epochs=1, train_split=None)
    settled = net.reweighter_.weighter_.reg_
    net.partial_fit(X, y)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(settled)
    net.save_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    first.initialize().load_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    with pytest.warns(UserWarning, match="contradict the trusted ones"):  # as they do
        first.partial_fit(X, (y + 1) % 3)  # labels that would have another reliability, were it looked at
    assert first.reweighter_.weighter_.reg_ == pytest.approx(settled)
    first.partial_fit(X, y)  # but other data than last time are new data
    assert first.reweighter_.weighter_.reg_ != pytest.approx(settled)


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_batches_keep_the_regularisation_of_stage_1():
    net = make_net(weighter=OTSampleWeighter(), warmup_epochs=2, refit_every="batch", max_epochs=2).fit(X, y)
    settled = net.reweighter_.weighter_.reg_
    assert np.isfinite(net.history[1, "transport_cost"])
    net.partial_fit(X, y)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(settled)


def test_a_batch_of_one_class_does_not_settle_the_regularisation():
    order = np.argsort(y, kind="stable")
    net = make_net(weighter=OTSampleWeighter(), warmup_epochs=0, refit_every="batch", train_split=None, batch_size=45)
    net.set_params(iterator_train__shuffle=False, max_epochs=1).fit(X[order], y[order])  # 45, 45, and 30 and 15
    assert net.reweighter_.weighter_.reg_ != pytest.approx(UNKNOWN_REG)


class Deep(nn.Module):
    """Large enough to know some hundred labels by heart."""

    def __init__(self):
        super().__init__()
        layers = [nn.Linear(6, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(32, 3)

    def forward(self, X):
        return self.head(self.body(X))


def wrong_labels():
    rng = np.random.default_rng(0)
    return np.where(rng.random(len(y)) < 0.3, (y + rng.integers(1, 3, len(y))) % 3, y)


LEARNING = {"optimizer": torch.optim.Adam, "lr": 0.01, "train_split": None, "weighter": OTSampleWeighter()}
MANY = blobs((10, 10, 10), seed=1)


def test_labels_learned_by_heart_do_not_steer():
    with pytest.warns(UserWarning, match="trusted ones: it has learned training labels by heart") as seen:
        net = make_net(Deep, meta=MANY, warmup_epochs=80, max_epochs=82, **LEARNING).fit(X, wrong_labels())
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert net.history[79, "label_accuracy"] > 0.9
    assert net.history[79, "meta_accuracy"] < 0.75
    fitted = net.reweighter_.weighter_
    assert np.isnan(fitted.label_reliability_.overall)
    assert fitted.reg_ == pytest.approx(UNKNOWN_REG)
    # which is no matter of chance: the features vouch for the labels, of which three in ten are wrong
    with torch.no_grad():
        features, trusted = (net.module_.body(torch.as_tensor(rows)).numpy() for rows in (X, MANY[0]))
    asked = OTSampleWeighter().fit(features, wrong_labels(), trusted, MANY[1])
    assert asked.label_reliability_.overall > 0.9


def test_labels_that_contradict_are_not_said_to_be_learned_by_heart_alone():
    trusted = MANY[0], (MANY[1] + 1) % 3
    with pytest.warns(UserWarning, match=r"trusted ones: they contradict each other\. .*encoded otherwise") as seen:
        make_net(meta=trusted, warmup_epochs=9, max_epochs=10, **LEARNING).fit(X, y)
    assert len(seen) == 1


class Slip(Callback):
    """The last step of stage 1 goes astray."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 9:
            net.module_.head.bias.data += torch.tensor([90.0, 0.0, 0.0])


def test_a_network_that_has_forgotten_its_labels_does_not_know_them_by_heart():
    callback = OTReweighting(MANY, "head", OTSampleWeighter(), warmup_epochs=9)
    params = {"optimizer": torch.optim.Adam, "lr": 0.01, "train_split": None, "criterion": nn.CrossEntropyLoss}
    torch.manual_seed(0)
    net = NeuralNetClassifier(Deep, callbacks=[Slip(), callback], max_epochs=10, batch_size=8, verbose=0, **params)
    net.fit(X, y)  # in silence
    assert net.history[8, "label_accuracy"] > net.history[8, "meta_accuracy"] + 0.15
    assert net.callbacks[1].reweighter_.weighter_.label_reliability_.overall > 0.5


def test_labels_not_learned_yet_are_asked():
    net = make_net(Deep, meta=MANY, warmup_epochs=2, max_epochs=3, **LEARNING).fit(X, wrong_labels())
    assert 0.2 < net.reweighter_.weighter_.label_reliability_.overall < 0.8


@pytest.mark.parametrize("params", [{"meta": 5}, {"meta": MANY, "meta_loss_weight": 1.0, "warmup_epochs": 0}])
def test_trusted_samples_that_train_cannot_judge(params):
    net = make_net(**{"max_epochs": 2, **LEARNING, **params}).fit(X, y)
    assert np.isnan(net.reweighter_.weighter_.label_reliability_.overall)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(UNKNOWN_REG)


def test_trusted_samples_judge_before_they_train():
    """At the end of stage 1 their loss has not been added yet; what it settled then stays."""
    regs = []
    for factor in (0.0, 1.0):
        torch.manual_seed(0)
        net = make_net(meta=MANY, max_epochs=2, meta_loss_weight=factor, **LEARNING).fit(X, y)
        regs.append(net.reweighter_.weighter_.reg_)
    assert regs[0] == pytest.approx(regs[1])
    assert regs[0] != pytest.approx(UNKNOWN_REG)
    assert np.isnan(net.reweighter_.weighter_.label_reliability_.overall)
