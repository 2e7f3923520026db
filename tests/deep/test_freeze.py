"""Layers that stop training."""

import pytest
import torch

from tests.deep._nets import blobs, make_net

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


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_frozen_dropout_rests():
    net = make_net(warmup_epochs=0, max_epochs=1, module__dropout=0.9, freeze=True).fit(X, y)
    module, rows = net.module_.train(), torch.as_tensor(X)
    assert torch.equal(module(rows), module(rows))
