"""What a module returns, taken apart: logits and features."""

import copy
import pickle
from typing import NamedTuple

import pytest
import torch

from skotw.deep._feature_tap import FeatureTap, logits_of
from tests.deep._nets import N_FEATURES, OUTPUTS, Net, Saying

LOGITS, FEATURES = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0, 5.0]])


class Scored(NamedTuple):
    """Its logits do not come first."""

    loss: torch.Tensor
    logits: torch.Tensor


@pytest.mark.parametrize("form", OUTPUTS)
def test_logits_and_features_of_any_output(form):
    output = OUTPUTS[form](LOGITS, FEATURES)
    assert logits_of(output) is LOGITS
    tap = FeatureTap(None)
    tap(None, (), output)
    assert torch.equal(tap.take(), FEATURES)


def test_logits_of_tensors_and_of_named_tuples():
    assert logits_of(LOGITS) is LOGITS
    assert logits_of(Scored(LOGITS.sum(), LOGITS)) is LOGITS


@pytest.mark.parametrize(
    "output", [{"scores": LOGITS}, (), object(), None, [LOGITS]], ids=lambda output: type(output).__name__
)
def test_no_logits(output):
    with pytest.raises(TypeError, match=f"returns {type(output).__name__}.*Let it return logits"):
        logits_of(output)


@pytest.mark.parametrize("output", [LOGITS, (LOGITS,), {"logits": LOGITS}, {"logits": LOGITS, "features": None}])
def test_no_features(output):
    tap = FeatureTap(None)
    tap(None, (), output)
    with pytest.raises(RuntimeError, match=r"\(logits, features\), or a dict with 'logits' and 'features'"):
        tap.take()


@pytest.mark.parametrize("feature_layer", [None, "head"])
@pytest.mark.parametrize("twice", [lambda module: module, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_module_has_one_tap(feature_layer, twice):
    module = Saying("dict")
    FeatureTap.attach(module, feature_layer)
    module = twice(module)
    tap = FeatureTap.attach(module, feature_layer)
    rows = torch.randn(4, N_FEATURES)
    module.eval()(rows)
    assert torch.equal(tap.take(), module.body(rows))
    hooks = [*module._forward_hooks.values(), *module.head._forward_pre_hooks.values()]
    assert sum(isinstance(hook, FeatureTap) for hook in hooks) == 1


def test_features_of_tokens_are_to_be_pooled():
    """The hidden states of a text have a row for each token, and nobody here knows which are padding."""
    tap = FeatureTap(None)
    tap(None, (), {"logits": LOGITS, "hidden_states": (torch.ones(2, 5, 3), torch.ones(2, 5, 3))})
    with pytest.raises(ValueError, match=r"shape \(2, 5, 3\).*the mean over tokens for a sequence"):
        tap.take()


def test_a_layer_given_its_input_by_name():
    class Keyword(Net):
        def forward(self, X):
            return self.head(input=self.body(X))

    module, rows = Keyword().eval(), torch.randn(4, N_FEATURES)
    tap = FeatureTap.attach(module, "head")
    module(rows)
    assert torch.equal(tap.take(), module.body(rows))
