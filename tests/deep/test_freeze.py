"""Layers that stop training, and train again."""

import pickle

import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from skotw.deep._feature_tap import unwrapped
from skotw.deep._freeze import _Frozen, freeze, frozen_layers, thaw
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()


@pytest.mark.filterwarnings("ignore:Training ends after")
@pytest.mark.parametrize(
    ("frozen", "trains"), [(True, "head"), ("body", "head"), (["head"], "body"), ("body.1", "head")]
)
def test_frozen_layers_stay_as_they_are(frozen, trains):
    net = make_net(warmup_epochs=2, max_epochs=2, module__dropout=0.5, freeze=frozen).fit(X, y)
    before = {name: value.clone() for name, value in net.module_.state_dict().items()}
    net.partial_fit(X, y)
    after = net.module_.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if frozen == "body.1":
        assert changed == {"body.0.weight", "body.0.bias", "head.weight", "head.bias"}
    else:
        assert {name.split(".")[0] for name in changed} == {trains}


def test_frozen_dropout_rests():
    module, rows = Net(dropout=0.9).train(), torch.as_tensor(X)
    freeze(module, *frozen_layers(module, True, "head"))
    assert torch.equal(module.train()(rows), module.train()(rows))
    thaw(module)
    assert not torch.equal(module(rows), module(rows))


def needs_grad(module):
    return {name for name, parameter in module.named_parameters() if parameter.requires_grad}


def user_net():
    """A module in the user's hands, part of which the user froze."""
    module = Net()
    module.body[0].bias.requires_grad_(False)
    return module, needs_grad(module)


def plain(module, **params):
    """The same with a net of skorch itself."""
    callback = OTReweighting(META, "head", OTSampleWeighter(reg=0.2), **params)
    return NeuralNetClassifier(
        module, criterion=nn.CrossEntropyLoss, callbacks=[callback], max_epochs=2, batch_size=32, verbose=0
    )


class Watching(Callback):
    """What trains in each epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.seen = getattr(self, "seen", [])
            self.seen.append(needs_grad(unwrapped(net.module_)))


@pytest.mark.parametrize("make", [make_net, plain])
def test_freezing_ends_with_the_training_call_and_begins_again_with_the_next(make):
    module, as_given = user_net()
    net = make(module, warmup_epochs=1, freeze="body").set_params(max_epochs=2)
    watching = Watching()
    net.set_params(callbacks=[*(net.callbacks or []), watching])
    net.fit(X, y)
    head = {"head.weight", "head.bias"}
    assert watching.seen[0] == as_given  # stage 1
    assert watching.seen[-1] == head
    assert needs_grad(module) == as_given
    assert not any(isinstance(hook, _Frozen) for hook in module._forward_pre_hooks.values())
    assert len({layer.training for layer in module.modules()}) == 1
    watching.seen = []
    net.partial_fit(X, y)  # stage 2 goes on
    assert watching.seen[0] == head
    assert needs_grad(module) == as_given
    assert needs_grad(pickle.loads(pickle.dumps(net)).module_) == as_given


@pytest.mark.parametrize("make", [make_net, plain])
def test_another_freeze_takes_the_place_of_the_first(make):
    module, as_given = user_net()
    net, watching = make(module, warmup_epochs=0, freeze="body"), Watching()
    net.set_params(callbacks=[*(net.callbacks or []), watching]).fit(X, y)
    changed = {"freeze": "head"} if make is make_net else {"callbacks__OTReweighting__freeze": "head"}
    watching.seen = []
    net.set_params(**changed, max_epochs=1).partial_fit(X, y)
    assert watching.seen[0] == as_given - {"head.weight", "head.bias"}
    assert needs_grad(module) == as_given


class Broken(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise RuntimeError("the disk is full")


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_freezing_ends_with_an_error():
    module, as_given = user_net()
    with pytest.raises(RuntimeError, match="disk is full"):
        make_net(module, warmup_epochs=0, freeze="body", callbacks=[Broken()]).fit(X, y)
    assert needs_grad(module) == as_given
    net = plain(module, warmup_epochs=0, freeze="body").set_params(callbacks=[OTReweighting(META, "head"), Broken()])
    with pytest.raises(RuntimeError, match="disk is full"):
        net.fit(X, y)
    plain(module, warmup_epochs=9).fit(X, y)  # nothing tells a callback of an error, but the next training undoes it
    assert needs_grad(module) == as_given


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own compiled loss
def test_a_compiled_module_is_the_users_again():
    torch._dynamo.reset()
    module, as_given = user_net()
    net = make_net(module, warmup_epochs=0, freeze=True, compile=True, compile__backend="eager")
    for _ in range(2):
        before = module.head.weight.clone(), module.body[0].weight.clone()
        net.fit(X, y)
        assert needs_grad(module) == as_given
        assert torch.equal(module.body[0].weight, before[1])
        assert not torch.equal(module.head.weight, before[0])
