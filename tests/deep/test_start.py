"""What would be wrong at the first refit is told before the first step."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping
from torch import nn
from torch.utils.data import TensorDataset

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, Records, blobs, make_net, state_of

X, y = blobs()
LATE = {"warmup_epochs": 3, "max_epochs": 5}


def plain(**params):
    """The callback in a net of skorch itself."""
    named = {"warmup_epochs": 1, "meta": META, "feature_layer": "head", "weighter": OTSampleWeighter(reg=0.2)}
    callback = OTReweighting(**{name: params.pop(name, value) for name, value in named.items()})
    defaults = {"criterion": nn.CrossEntropyLoss, "max_epochs": 3, "verbose": 0, "train_split": None}
    return NeuralNetClassifier(params.pop("module", Net), **{**defaults, **params}, callbacks=[callback])


def assert_told_before_training(net, error, message, data=(X, y)):
    net.initialize()
    before = state_of(net).clone()
    with pytest.raises(error, match=message):
        net.partial_fit(*data)
    assert torch.equal(state_of(net), before)
    assert len(net.history) <= 1  # of which nothing is left unless there was a batch


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"reg": -1.0}, "'reg' parameter of OTSampleWeighter"),
        ({"metric": "manhatten"}, "'metric' parameter of OTSampleWeighter"),
        ({"metric": "precomputed"}, "no features to measure"),
        ({"solver": "gradient", "label_cost": "hard"}, "needs finite costs"),
        ({"class_mass": {0: 1.0, 1: 1.0}}, "class_mass must name every class"),
        ({"target_type": "continuous", "label_cost": "hard"}, "label_cost='hard'"),
    ],
    ids=str,
)
def test_parameters_of_the_weighter(make, params, message):
    assert_told_before_training(make(weighter=OTSampleWeighter(**params), **LATE), ValueError, message)


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize("form", ["arrays", "records"])
def test_training_class_without_trusted_samples(make, form):
    meta = tuple(part[META[1] < 2] for part in META)
    data = (X, y) if form == "arrays" else (Records(X, y), None)
    net = make(meta=meta, train_split=None, **LATE).initialize()
    with pytest.raises(ValueError, match="classes that the trusted rows lack: 2"):
        net.partial_fit(*data)
    assert len(net.history) <= (form == "records")


def test_labels_that_come_in_the_second_batch_are_looked_at_too():
    """A data set that keeps no labels is compared with the meta set as its batches come."""
    order = np.argsort(y, kind="stable")
    meta = tuple(part[META[1] < 2] for part in META)
    net = make_net(meta=meta, iterator_train__shuffle=False, train_split=None, **LATE).initialize()
    with pytest.raises(ValueError, match="classes that the trusted rows lack: 2"):
        net.partial_fit(Records(X[order], y[order]), None)
    assert len(net.history) == 1
    assert len(net.history[0]["batches"]) == 4  # 90 samples of class 0 and 30 of class 1 come first


@pytest.mark.parametrize("make", [make_net, plain])
def test_trusted_class_without_training_samples(make):
    two = y < 2
    with pytest.warns(UserWarning, match="classes without training rows: 2") as seen:
        make(**{**LATE, "max_epochs": 1}).initialize().partial_fit(X[two], y[two])
    assert len(seen) == 1
    assert seen[0].filename == __file__


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize("label", [3, -1])
def test_trusted_label_without_an_output(make, label):
    meta = (np.concatenate([META[0], META[0][:1]]), np.append(META[1], label))
    assert_told_before_training(make(meta=meta, **LATE), ValueError, f"without an output of the network: {label}")


class Deaf(Net):
    """Features may be broken where the logits are not."""

    def forward(self, X):
        features = self.body(X)
        return self.head(features), torch.where(X[:, :1] > 1e6, torch.nan, features)


def test_trusted_features_that_are_no_numbers():
    meta = META[0].copy(), META[1]
    meta[0][0, 0] = 1e7
    net = make_net(Deaf, feature_layer=None, meta=meta, **LATE)
    assert_told_before_training(net, ValueError, "features of the trusted samples contain NaN or infinity")


class Ragged(nn.Module):
    """As many features as there are samples, so that no two sets agree."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, X):
        return self.out(X), torch.ones(len(X), 7 if self.training else 5)


def test_features_of_another_width():
    net = make_net(Ragged, feature_layer=None, **LATE)
    assert_told_before_training(net, ValueError, "training samples have 7 features .* trusted samples have 5")


def test_features_of_training_without_a_meta_set():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, X):
            return self.head(X[:, None].expand(-1, 2, -1)).mean(1)

    net = make_net(Maps, meta=None, **LATE)
    assert_told_before_training(net, ValueError, r"shape \(32, 2, 6\)")


def test_checks_leave_training_as_it_is():
    """The meta set has passed through dropout, batch norm and a shuffled loader before stage 1."""
    states = []
    for callbacks in ([], None):
        torch.manual_seed(0)
        net = plain(module__dropout=0.5, iterator_train__shuffle=True, max_epochs=2, warmup_epochs=1)
        if callbacks is not None:
            net.set_params(callbacks=callbacks)
        else:
            net.set_params(callbacks__OTReweighting__warmup_epochs=9)
        net.initialize()
        states.append(state_of(net.partial_fit(X, y)))
    assert torch.equal(*states)


# ---------------------------------------------------------------------- a meta set that missed the steps of X


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize("kind", ["arrays", "tensors"])
def test_a_pipeline_leaves_the_meta_set_raw(make, kind):
    raw = [(100 + 30 * rows).astype(np.float32) for rows in (X, META[0])]
    if kind == "tensors":
        scale = FunctionTransformer(lambda rows: torch.as_tensor((rows - 100) / 30))
        net = make_pipeline(scale, make(meta=(torch.as_tensor(raw[1]), META[1])))
    else:
        net = make_pipeline(StandardScaler(), make(meta=(raw[1], META[1])))
    with pytest.warns(UserWarning, match=r"outside the range .*no Pipeline transforms meta=") as seen:
        net.fit(raw[0], y)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    sound = make_pipeline(StandardScaler(), make(meta=(StandardScaler().fit(raw[0]).transform(raw[1]), META[1])))
    sound.fit(raw[0], y)  # in silence


@pytest.mark.parametrize("make", [make_net, plain])
def test_a_raw_meta_set_is_told_once_per_training(make):
    net = make(meta=(100 * META[0], META[1]))
    with pytest.warns(UserWarning, match="no random part of the rows"):
        net.partial_fit(X, y)
    net.partial_fit(X, y)  # in silence


# ---------------------------------------------------------------------- training that makes no use of weights


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"warmup_epochs": 3, "max_epochs": 2}, "after epoch 2, .*warmup_epochs=3 epoch 4 .*no weights are learned"),
        ({"warmup_epochs": 2, "max_epochs": 2}, "after epoch 2, .*warmup_epochs=2 epoch 3 .*train nothing"),
    ],
)
def test_stage_2_is_never_reached(make, params, message):
    with pytest.warns(UserWarning, match=message) as seen:
        make(**params).fit(X, y)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_refits_come_too_late():
    with pytest.warns(UserWarning, match=r"refit_every=3 epoch 4 .*train nothing.*lower refit_every"):
        make_net(warmup_epochs=0, refit_every=3, max_epochs=3).fit(X, y)


@pytest.mark.parametrize("make", [make_net, plain])
def test_epochs_of_the_call_count(make):
    make(warmup_epochs=1, max_epochs=1).fit(X, y, epochs=2)
    with pytest.warns(UserWarning, match="after epoch 1"):
        make(warmup_epochs=1, max_epochs=2).fit(X, y, epochs=1)


@pytest.mark.parametrize("make", [make_net, plain])
def test_calls_of_partial_fit_are_no_whole(make):
    net = make(warmup_epochs=2, max_epochs=1)
    for _ in range(3):
        net.partial_fit(X, y)
    assert np.isfinite(net.history[-1, "transport_cost"])


def test_weights_of_the_first_batches_train():
    make_net(warmup_epochs=0, refit_every="batch", max_epochs=1).fit(X, y)


def test_training_that_is_stopped_in_stage_1():
    stopping = EarlyStopping("train_loss", patience=1, threshold=100.0, sink=lambda message: None)
    with pytest.warns(UserWarning, match="after epoch 2, .*no weights are learned") as seen:
        make_net(warmup_epochs=5, max_epochs=9, callbacks=[stopping]).fit(X, y)
    assert len(seen) == 1
    assert seen[0].filename == __file__


# ---------------------------------------------------------------------- after an error


class Breaking(Callback):
    """An error, or an interrupt, in one of skorch's hooks."""

    def __init__(self, hook, error=RuntimeError):
        self.hook, self.error = hook, error

    def _maybe(self, hook, net):
        if hook == self.hook and self.error is not None and len(net.history) == 2 * (hook != "on_train_begin"):
            raise self.error("broken")

    def on_train_begin(self, net, **kwargs):
        self._maybe("on_train_begin", net)

    def on_epoch_begin(self, net, **kwargs):
        self._maybe("on_epoch_begin", net)

    def on_grad_computed(self, net, **kwargs):
        self._maybe("on_grad_computed", net)

    def on_epoch_end(self, net, **kwargs):
        self._maybe("on_epoch_end", net)


@pytest.mark.parametrize("make", [make_net, plain])
@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_grad_computed", "on_epoch_end"])
def test_a_fit_after_an_error_is_a_fresh_fit(make, hook):
    torch.manual_seed(0)
    expected = make(freeze="body") if make is make_net else make()
    expected.fit(X, y)
    net, breaking = make(freeze="body") if make is make_net else make(), Breaking(hook)
    given = net.iterator_train
    net.set_params(callbacks=[*(net.callbacks or []), breaking])
    with pytest.raises(RuntimeError, match="broken"):
        net.fit(X, y)
    if make is make_net or hook != "on_train_begin":
        assert net.iterator_train is given
    breaking.error = None
    torch.manual_seed(0)
    net.fit(X, y)
    assert net.iterator_train is given
    assert len(net.history) == 3
    assert torch.equal(state_of(net), state_of(expected))
    for column in ("train_loss", "weight_ess", "label_accuracy"):
        assert net.history[:, column] == expected.history[:, column]


def test_a_split_that_fails_leaves_copies_of_the_net_clean():
    net = plain(train_split=lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        net.fit(X, y)
    assert clone(net).iterator_train is torch.utils.data.DataLoader
    net.set_params(train_split=None).fit(X, y)
    assert net.iterator_train is torch.utils.data.DataLoader


def test_an_interrupt_before_there_is_a_loader():
    def split(*args):
        raise KeyboardInterrupt

    net = plain(train_split=split).fit(X, y)  # skorch takes it for the user's
    assert net.iterator_train is torch.utils.data.DataLoader


@pytest.mark.parametrize("make", [make_net, plain])
def test_an_error_in_a_refit(make, monkeypatch):
    net = make(max_epochs=2).fit(X, y)
    weights = net.criterion_.sample_weights.weight.clone()

    def broken(*args, **kwargs):
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr("skotw.deep._refits.OTReweighter.refit", broken)
        with pytest.raises(MemoryError, match="too large"):
            net.partial_fit(X, y)
    assert torch.equal(net.criterion_.sample_weights.weight, weights)
    net.partial_fit(X, y)
    assert not torch.equal(net.criterion_.sample_weights.weight, weights)


def test_an_interrupt_before_the_first_refit():
    """Stage 2 does not go on without weights until a multiple of refit_every."""
    breaking = Breaking("on_grad_computed", KeyboardInterrupt)
    net = make_net(warmup_epochs=2, refit_every=50, callbacks=[breaking])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.fit(X, y)
    assert len(net.history) == 2
    breaking.error = None
    net.set_params(max_epochs=2).partial_fit(X, y)
    assert np.isfinite(net.history[2, "transport_cost"])
    assert net.history[3, "weight_ess"] == net.history[2, "weight_ess"] < 100


def test_no_training_set_is_kept():
    for make in (make_net, plain):
        net = make(train_split=None).fit(TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), None)
        callback = net.callbacks[0] if make is plain else dict(net.callbacks_)["reweighting"]
        assert not {"start_", "refits_"} & set(vars(callback))
