"""Pickles, checkpoints, and resuming from them."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.callbacks import Checkpoint, LoadInitState
from torch import nn

from skotw.deep import OTReweighting
from tests.deep._nets import META, NAMES, Net, blobs, make_net, state_of

X, y = blobs()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_pickle(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = make_net(device=device, meta=(META[0], NAMES[META[1]])).fit(X, NAMES[y])
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.sample_weight_, net.sample_weight_)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    loaded.partial_fit(X, NAMES[y])
    assert len(loaded.history) == 6
    callback = dict(net.callbacks_)["reweighting"]
    assert not any(isinstance(value, torch.Tensor) for value in vars(callback).values())


def test_pickle_within_training(tmp_path):
    """As the pickle option of Checkpoint does it."""
    path = tmp_path / "net.pkl"
    callbacks = [Checkpoint(monitor=None, f_pickle=str(path), dirname="")]
    callbacks[0].set_params(**dict.fromkeys(["f_params", "f_optimizer", "f_criterion", "f_history"]))
    net = make_net(callbacks=callbacks, meta=(META[0], NAMES[META[1]])).fit(X, NAMES[y])
    loaded = pickle.loads(path.read_bytes())
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    torch.manual_seed(1)
    net.partial_fit(X, NAMES[y])
    torch.manual_seed(1)
    loaded.partial_fit(X, NAMES[y])
    assert torch.equal(state_of(net), state_of(loaded))
    clone(loaded)


def test_resuming_from_a_checkpoint_keeps_the_weights(tmp_path):
    def new(**params):
        checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None)
        return checkpoint, make_net(meta=4, train_split=None, iterator_train__shuffle=False, **params)

    checkpoint, whole = new()
    whole.set_params(callbacks=[checkpoint], max_epochs=3).fit(X, y)
    checkpoint, resumed = new()
    resumed.set_params(callbacks=[LoadInitState(checkpoint)], max_epochs=1)
    torch.manual_seed(3)
    resumed.fit(X, y)
    assert len(resumed.history) == 4
    torch.manual_seed(3)
    whole.set_params(max_epochs=1, callbacks=[]).partial_fit(X, y)
    assert resumed.history[-1, "train_loss"] == pytest.approx(whole.history[-1, "train_loss"], rel=1e-6)
    np.testing.assert_allclose(resumed.sample_weight_, whole.sample_weight_, rtol=1e-5)
    # and for a look at them, without training
    checkpoint, net = new()
    net.initialize().load_params(checkpoint=checkpoint)
    assert net.sample_weight_.shape == y.shape


def test_resuming_a_plain_net(tmp_path):
    def new(load):
        checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None)
        callbacks = [OTReweighting(META, "head", warmup_epochs=1), LoadInitState(checkpoint) if load else checkpoint]
        return NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, callbacks=callbacks, max_epochs=2, verbose=0)

    first = new(load=False).fit(X, y)
    resumed = new(load=True).fit(X, y)
    w = first.callbacks[0].sample_weight_
    assert len(resumed.history) == 4
    assert not np.array_equal(resumed.callbacks[0].sample_weight_, np.ones_like(w))
    # the first epoch after resuming was weighted, by the weights of the checkpoint
    assert resumed.history[2, "train_loss"] == pytest.approx(first.history[1, "train_loss"], rel=0.2)
