"""Compiled networks, mixed precision, accumulated gradients, unusual optimizers."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, blobs, make_net, state_of

X, y = blobs()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own compiled loss
@pytest.mark.parametrize("params", [{}, {"feature_layer": None, "module__both": True}, {"freeze": True}])
def test_compiled(params):
    torch._dynamo.reset()
    compiled = {"compile": True, "compile__backend": "eager"}
    states = []
    for extra in ({}, compiled):
        torch.manual_seed(0)
        net = make_net(**params, **extra).fit(X, y)
        states.append(net.sample_weight_)
    np.testing.assert_allclose(states[1], states[0], rtol=1e-3)


class Autocast(NeuralNetClassifier):
    """Mixed precision as the documentation of skorch does it, without a scaler."""

    dtype = torch.bfloat16

    def infer(self, x, **fit_params):
        with torch.autocast("cpu", dtype=self.dtype):
            return super().infer(x, **fit_params).float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("refit_every", [1, "batch"])
def test_mixed_precision(dtype, refit_every):
    weights = []
    for cls in (NeuralNetClassifier, Autocast):
        torch.manual_seed(0)
        Autocast.dtype = dtype
        weighter = OTSampleWeighter(reg=0.2)
        callback = OTReweighting(META, "head", weighter, warmup_epochs=1, refit_every=refit_every)
        cls(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], max_epochs=3, verbose=0).fit(X, y)
        weights.append(callback.sample_weight_)
    np.testing.assert_allclose(weights[1], weights[0], rtol=0.1)
    assert weights[1].dtype == np.float32


class Accumulating(NeuralNetClassifier):
    """Gradient accumulation as the documentation of skorch does it."""

    steps = 3

    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) / self.steps

    def train_step(self, batch, **fit_params):
        n = len(self.history[-1, "batches"])
        step = self.train_step_single(batch, **fit_params)
        if n % self.steps == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


def test_gradient_accumulation():
    """Three batches of a third each are one batch, the meta loss included."""
    states = []
    for cls, batch_size in ((NeuralNetClassifier, 135), (Accumulating, 45)):
        torch.manual_seed(0)
        callback = OTReweighting(META, "head", warmup_epochs=1)
        net = cls(
            Net,
            module__norm=False,
            criterion=nn.CrossEntropyLoss,
            callbacks=[callback],
            max_epochs=4,
            batch_size=batch_size,
            train_split=None,
            verbose=0,
            lr=0.1,
        ).fit(X, y)
        states.append(state_of(net))
    np.testing.assert_allclose(states[1], states[0], rtol=1e-3, atol=1e-5)


def test_gradient_accumulation_scales_the_meta_loss_once():
    losses = []
    for steps in (1, 3):
        torch.manual_seed(0)
        Accumulating.steps = steps
        callback = OTReweighting(META, "head", warmup_epochs=1, meta_loss_weight=5.0)
        params = {"batch_size": 135, "train_split": None, "verbose": 0, "lr": 1e-12, "max_epochs": 2}
        net = Accumulating(Net, module__norm=False, criterion=nn.CrossEntropyLoss, callbacks=[callback], **params).fit(
            X, y
        )
        losses.append(net.history[:, "train_loss"])
    Accumulating.steps = 3
    np.testing.assert_allclose(losses[0], 3 * np.array(losses[1]), rtol=1e-5)


def test_optimizer_that_evaluates_several_times():
    net = make_net(optimizer=torch.optim.LBFGS, batch_size=-1, max_epochs=3, module__norm=False).fit(X, y)
    assert net.score(X, y) > 0.9
    assert net.sample_weight_.max() > 1.5


def test_criterion_that_is_evaluated_twice_per_batch():
    class Twice(NeuralNetClassifier):
        def get_loss(self, y_pred, *args, **kwargs):
            return super().get_loss(y_pred, *args, **kwargs) + 0.5 * super().get_loss(2 * y_pred, *args, **kwargs)

    callback = OTReweighting(META, "head", warmup_epochs=1)
    Twice(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], max_epochs=2, verbose=0).fit(X, y)
    assert callback.sample_weight_.max() > 1.5
