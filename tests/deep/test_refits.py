"""What a refit takes, and what it leaves."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from torch.utils.data import TensorDataset

from skotw import OTSampleWeighter
from skotw._weighter.auto_reg import UNKNOWN_REG
from skotw.deep import OTReweighting
from skotw.deep._refits import _some_of_each
from tests.deep._nets import Records, blobs, make_net, state_of

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


def voted(net):
    """What the first refit settled, which weights may be less sharp than."""
    reg = float(net.criterion_.sample_weights.reg)
    assert net.reweighter_.weighter_.reg_ >= 0.999 * reg
    return reg


def test_automatic_regularisation_is_settled_once(tmp_path):
    net = make_net(weighter=OTSampleWeighter(), max_epochs=2, train_split=None).fit(X, y)
    first = make_net(weighter=OTSampleWeighter(), max_epochs=1, train_split=None)
    settled = voted(net)
    net.partial_fit(X, y)
    assert voted(net) == settled
    net.save_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    first.initialize().load_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    first.partial_fit(X, (y + 1) % 3)  # labels that would have another reliability, were they asked
    theirs, ours = (one.reweighter_.weighter_.label_reliability_ for one in (first, net))
    assert theirs.overall == ours.overall
    np.testing.assert_array_equal(theirs.precision, ours.precision)
    assert voted(first) == settled
    first.partial_fit(X, y)  # but other data than last time are new data
    assert voted(first) != settled


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_batches_keep_the_regularisation_of_stage_1():
    net = make_net(weighter=OTSampleWeighter(), warmup_epochs=2, refit_every="batch", max_epochs=2).fit(X, y)
    settled = voted(net)
    assert np.isfinite(net.history[1, "transport_cost"])
    net.partial_fit(X, y)
    assert voted(net) == settled
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


@pytest.mark.parametrize("features", ["cached", "clean"])
def test_labels_are_read_before_they_are_learned_by_heart(features):
    given = wrong_labels()
    net = make_net(Deep, meta=MANY, warmup_epochs=80, max_epochs=82, features=features, **LEARNING).fit(X, given)
    assert net.history[79, "label_accuracy"] > 0.9
    assert net.history[79, "meta_accuracy"] < 0.75
    fitted = net.reweighter_.weighter_
    true = (np.mean([(y == given)[given == c].mean() for c in range(3)]) - 1 / 3) / (2 / 3)
    assert fitted.label_reliability_.overall == pytest.approx(true, abs=0.2)
    assert fitted.reg_ < 0.35
    # which is no matter of chance: the features vouch for the labels, of which three in ten are wrong
    with torch.no_grad():
        features, trusted = (net.module_.body(torch.as_tensor(rows)).numpy() for rows in (X, MANY[0]))
    asked = OTSampleWeighter().fit(features, given, trusted, MANY[1])
    assert asked.label_reliability_.overall > 0.9


def knowing(labels):
    """A network that has learned the labels by heart before anybody asks."""
    torch.manual_seed(0)
    params = {"optimizer": torch.optim.Adam, "lr": 0.01, "train_split": None, "criterion": nn.CrossEntropyLoss}
    return NeuralNetClassifier(Deep, max_epochs=80, verbose=0, batch_size=32, **params).fit(X, labels).module_


def test_labels_learned_by_heart_do_not_steer():
    with pytest.warns(UserWarning, match="trusted ones: it has learned training labels by heart") as seen:
        net = make_net(knowing(wrong_labels()), meta=MANY, **LEARNING).fit(X, wrong_labels())
    assert len(seen) == 1
    assert seen[0].filename == __file__
    fitted = net.reweighter_.weighter_
    assert np.isnan(fitted.label_reliability_.overall)
    assert fitted.reg_ == pytest.approx(UNKNOWN_REG)


def test_labels_that_contradict_are_said_to_do_so():
    trusted = MANY[0], (MANY[1] + 1) % 3
    with pytest.warns(UserWarning, match=r"training labels contradict the trusted ones.*encoded otherwise") as seen:
        make_net(meta=trusted, warmup_epochs=9, max_epochs=10, **LEARNING).fit(X, y)
    assert len(seen) == 1
    with pytest.warns(UserWarning, match=r"trusted ones: they contradict each other\. .*encoded otherwise") as seen:
        make_net(knowing(y), meta=trusted, **LEARNING).fit(X, y)
    assert len(seen) == 1


@pytest.mark.parametrize("features", ["cached", "clean"])
def test_reading_labels_changes_no_training(features, monkeypatch):
    def trained():
        torch.manual_seed(0)
        params = {**LEARNING, "weighter": OTSampleWeighter(reg=0.2), "module__dropout": 0.2}
        return state_of(make_net(meta=MANY, warmup_epochs=5, max_epochs=7, features=features, **params).fit(X, y))

    reads = trained()
    monkeypatch.setattr("skotw.deep._refits.Refits._read_labels", lambda *args: None)
    assert torch.equal(trained(), reads)


def test_some_samples_of_each_class_are_asked():
    """As many of a rare class as of a frequent one, and all of a small set."""
    labels = np.repeat([0, 1, 2], [40_000, 1_500, 30])
    chosen = _some_of_each(TensorDataset(torch.arange(len(labels)), torch.as_tensor(labels)))
    assert np.bincount(labels[chosen]).tolist() == [666, 666, 30]
    assert sorted(_some_of_each(TensorDataset(torch.arange(len(y)), torch.as_tensor(y)))) == list(range(len(y)))
    unknown = _some_of_each(Records(np.arange(9_000), labels[:9_000]))
    assert len(unknown) == 2_000
    assert np.ptp(unknown) > 8_900


@pytest.mark.parametrize("batch_size", [7, 32, -1])
def test_a_reading_does_not_depend_on_batches(batch_size):
    """It is that of the weighter on features of evaluation mode."""
    params = {**LEARNING, "lr": 1e-12, "module__dropout": 0.5, "batch_size": batch_size}
    torch.manual_seed(0)
    net = make_net(meta=MANY, warmup_epochs=2, max_epochs=2, module__norm=False, **params)
    with pytest.warns(UserWarning, match="Training ends after"):
        net.fit(X, wrong_labels())
    net.module_.eval()
    with torch.no_grad():
        features, trusted = (net.module_.body(torch.as_tensor(rows)).numpy() for rows in (X, MANY[0]))
    expected = OTSampleWeighter().fit(features, wrong_labels(), trusted, MANY[1]).label_reliability_
    assert net.reweighter_.weighter_.label_reliability_.overall == pytest.approx(expected.overall, abs=1e-4)
    np.testing.assert_allclose(net.reweighter_.weighter_.label_reliability_.precision, expected.precision, atol=1e-4)


def test_a_reading_goes_into_a_checkpoint_of_stage_1(tmp_path):
    params = {"meta": MANY, "warmup_epochs": 9, "max_epochs": 2, **LEARNING}
    with pytest.warns(UserWarning, match="Training ends after"):
        net = make_net(**params).fit(X, wrong_labels())
    found = net.criterion_.sample_weights.settled
    assert np.isfinite(found.reliability.overall)
    assert not found.final
    net.save_params(f_criterion=tmp_path / "criterion.pt")
    other = make_net(**params).initialize()
    other.load_params(f_criterion=tmp_path / "criterion.pt")
    loaded = other.criterion_.sample_weights.settled
    assert repr(loaded.reliability) == repr(found.reliability)
    assert loaded.reliability.label_information() == found.reliability.label_information()
    state = torch.load(tmp_path / "criterion.pt")  # as of an earlier version
    del state["sample_weights.reliability"]
    other.criterion_.load_state_dict(state)
    assert other.criterion_.sample_weights.settled.reliability is None


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


@pytest.mark.parametrize(
    "params", [{"meta": 5, "warmup_epochs": 3}, {"meta": MANY, "meta_loss_weight": 1.0, "warmup_epochs": 0}]
)
def test_trusted_samples_that_train_cannot_judge(params):
    net = make_net(**{"max_epochs": 4, **LEARNING, **params}).fit(X, y)
    assert np.isnan(net.reweighter_.weighter_.label_reliability_.overall)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(UNKNOWN_REG)


def test_trusted_samples_judge_before_they_train():
    """In stage 1 their loss has not been added yet; what they said then stays."""
    found = []
    for factor in (0.0, 1.0):
        torch.manual_seed(0)
        net = make_net(meta=MANY, max_epochs=4, meta_loss_weight=factor, **LEARNING).fit(X, y)
        found.append(net.reweighter_.weighter_)
    assert found[0].reg_ == pytest.approx(found[1].reg_)
    assert found[0].reg_ != pytest.approx(UNKNOWN_REG)
    assert found[0].label_reliability_.overall == found[1].label_reliability_.overall
    assert np.isfinite(found[0].label_reliability_.overall)
