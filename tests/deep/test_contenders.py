"""The methods that the benchmarks compare with are what their papers say."""

import copy
import sys
from pathlib import Path

import numpy as np
import ot
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import _contenders as contenders

# torch's own, where it loads its rules for forward mode
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

GRADIENTS = [contenders.meta_gradient, contenders.forward_meta_gradient]


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(16, 3)

    def forward(self, X):
        return self.head(self.body(X))


def mlp():
    return nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))


def images(n, dtype=torch.float32):
    y = torch.arange(n) % 3
    X = torch.randn(n, 1, 6, 6, dtype=dtype)
    X[:, 0, 0, 0] += y
    return X, y


def blobs(counts, wrong=0.0, seed=0):
    """Classes as corners of a simplex; labels, and which of them are wrong."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(3), counts)
    X = (rng.normal(size=(len(y), 4)) + 3 * np.eye(4)[y]).astype("float32")
    is_wrong = rng.random(len(y)) < wrong
    return X, np.where(is_wrong, (y + 1) % 3, y), is_wrong


def net(cls, module, meta, **kwargs):
    params = {"batch_size": 32, "lr": 0.1, "iterator_train__shuffle": True, "max_epochs": 1, **kwargs}
    return cls(module, meta=meta, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, **params)


def numeric_gradient(function, x, step=1e-6):
    out = torch.empty_like(x)
    for i in range(x.numel()):
        shift = torch.zeros_like(x)
        shift.view(-1)[i] = step
        out.view(-1)[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return out


# ------------------------------------------------------------------ Guo et al.


def problem(n=8, m=5):
    X, Z = torch.randn(n, 6, dtype=torch.float64), torch.randn(m, 6, dtype=torch.float64)
    return contenders.transport_cost(X, torch.arange(n) % 3, Z, torch.arange(m) % 3, 3), torch.full(
        (m,), 1 / m, dtype=torch.float64
    )


def test_cost_is_half_cosine_and_half_label_distance():
    X, Z, y, y_meta = torch.randn(4, 6), torch.randn(3, 6), torch.tensor([0, 1, 2, 0]), torch.arange(3)
    cosine = 1 - (X / X.norm(dim=1, keepdim=True)) @ (Z / Z.norm(dim=1, keepdim=True)).T
    expected = 0.5 * cosine + 0.5 * 2 / 3 * (y[:, None] != y_meta)
    torch.testing.assert_close(contenders.transport_cost(X, y, Z, y_meta, 3), expected)


def test_sinkhorn_distance_is_that_of_pot_at_convergence():
    cost, b = problem()
    a = torch.randn(8, dtype=torch.float64).softmax(0)
    found = contenders.sinkhorn_distance(cost, a, b, tolerance=1e-12, max_iter=2000)
    plan = ot.sinkhorn(a.numpy(), b.numpy(), cost.numpy(), 0.1, stopThr=1e-12, numItermax=2000)
    assert float(found) == pytest.approx((plan * cost.numpy()).sum(), rel=1e-8)
    # as early as the script stops, the number is close and not the same
    early = contenders.sinkhorn_distance(cost, a, b)
    assert 1e-6 < abs(float(early - found)) < 0.1 * float(found)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-10])
def test_weight_step_descends_along_the_gradient_of_the_distance(tolerance):
    cost, b = problem()
    weights = torch.randn(8, dtype=torch.float64)

    def distance(w):
        return contenders.sinkhorn_distance(cost, w.softmax(0), b, tolerance=tolerance)

    stepped = contenders.transport_step(weights, cost, weight_decay=0.0, tolerance=tolerance)
    torch.testing.assert_close((weights - stepped) / 0.01, numeric_gradient(distance, weights), rtol=1e-5, atol=1e-8)
    assert float(distance(stepped)) < float(distance(weights))
    decayed = contenders.transport_step(weights, cost, tolerance=tolerance)
    torch.testing.assert_close(stepped - decayed, 0.01 * 5e-4 * weights)


def test_weight_steps_lower_the_distance_and_the_weights_of_wrong_labels():
    X, y, wrong = map(torch.as_tensor, blobs([12, 12, 12], wrong=0.3))
    Z, y_meta, _ = map(torch.as_tensor, blobs([5, 5, 5], seed=1))
    cost = contenders.transport_cost(X, y, Z, y_meta, 3)
    weights = torch.ones(len(y))
    distances = []
    for _ in range(60):
        distances.append(float(contenders.sinkhorn_distance(cost, weights.softmax(0), torch.full((15,), 1 / 15))))
        weights = contenders.transport_step(weights, cost, lr=5.0)
    assert distances[-1] < 0.8 * distances[0]
    assert weights.softmax(0)[wrong].mean() < 0.5 * weights.softmax(0)[~wrong].mean()


def test_effective_number_weights():
    weights = contenders.effective_number_weights(torch.tensor([0] * 500 + [1] * 50 + [2] * 5), 3, beta=0.99)
    effective = np.array([sum(0.99**i for i in range(n)) for n in (500, 50, 5)])
    np.testing.assert_allclose(weights, 3 / effective / (1 / effective).sum(), rtol=1e-5)
    even = contenders.effective_number_weights(torch.tensor([0, 0, 1, 1]), 2)
    torch.testing.assert_close(even, torch.ones(2))


@pytest.mark.parametrize("passes", ["released", "lean"])
@pytest.mark.parametrize("meta_set", ["prototype", "whole"])
def test_authors_train_the_head_and_all_weights(passes, meta_set):
    X, y = images(40)
    meta = tuple(part.numpy() for part in images(9))
    trained = net(contenders.AuthorsNet, Convolutional, meta, feature_layer="head", meta_set=meta_set, passes=passes)
    trained.set_params(batch_size=16).initialize()
    before = copy.deepcopy(trained.module_.state_dict())
    start = contenders.effective_number_weights(y, 3)[y]
    trained.partial_fit(X, y.numpy())
    for name, value in trained.module_.state_dict().items():
        adapts = passes == "released" and any(part in name for part in ("running", "tracked"))
        assert torch.equal(value, before[name]) is not (name.startswith("head") or adapts), name
    # all were visited, and took a step so small that in single precision some are where they were
    assert (trained.weights_ != start).float().mean() > 0.5
    torch.testing.assert_close(trained.weights_, start, rtol=1e-3, atol=1e-3)


def test_authors_first_step_by_hand():
    X, y, _ = blobs([6, 3, 2])
    meta = blobs([2, 2, 2], seed=1)[:2]
    trained = net(contenders.AuthorsNet, mlp, meta, feature_layer="2", iterator_train__shuffle=False).initialize()
    module = copy.deepcopy(trained.module_)
    trained.partial_fit(X, y)
    X, y, Z, y_meta = (torch.as_tensor(part) for part in (X, y, *meta))
    prototypes = torch.stack([Z[y_meta == k].mean(0) for k in range(3)])
    cost = contenders.transport_cost(module[:2](X), y, module[:2](prototypes), torch.arange(3), 3).detach()
    weights = contenders.transport_step(contenders.effective_number_weights(y, 3)[y], cost)
    torch.testing.assert_close(trained.weights_, weights)
    loss = (weights * cross_entropy(module(X), y, reduction="none")).sum() + 10 * cross_entropy(module(Z), y_meta)
    loss.backward()
    head, found = module[2].weight, trained.module_[2].weight
    # the first step of Nesterov momentum is 1.9 times one of SGD
    torch.testing.assert_close(found, head - 1.9 * 2e-5 * (head.grad + 5e-4 * head))


def test_passes_are_the_same_without_batch_norm():
    X, y, _ = blobs([40, 20, 10])
    nets = []
    for passes in ("released", "lean"):
        torch.manual_seed(0)
        nets.append(
            net(contenders.AuthorsNet, mlp, blobs([3, 3, 3])[:2], feature_layer="2", passes=passes, head_lr=0.1)
        )
        nets[-1].fit(X, y)
    torch.testing.assert_close(nets[0].weights_, nets[1].weights_)
    torch.testing.assert_close(nets[0].module_.state_dict(), nets[1].module_.state_dict())


# ------------------------------------------------------------------ bilevel methods


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_l2rw_gradient_of_a_linear_model(gradient):
    X, Z = torch.randn(7, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    y, y_meta = torch.arange(7) % 3, torch.arange(5) % 3
    model = nn.Linear(4, 3).double()
    zero = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    losses = cross_entropy(model(X), y, reduction="none")
    (found,) = gradient(model, zero, losses, 1.0, (X, y), (Z, y_meta), (zero,))
    residual = model(X).softmax(1) - one_hot(y, 3)
    residual_meta = (model(Z).softmax(1) - one_hot(y_meta, 3)) / 5
    # <gradient of loss i, gradient of the meta loss>; the bias is a feature of ones
    products = ((residual @ residual_meta.T) * (X @ Z.T + 1)).sum(1)
    torch.testing.assert_close(found, -products)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_mw_net_gradient_is_that_of_finite_differences(gradient):
    module, weight_net = Convolutional().double(), nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    (X, y), (Z, y_meta) = images(9, torch.float64), images(6, torch.float64)
    module.train()

    def meta_loss(weight):
        """As it is written: a copy of the module takes the step."""
        virtual = copy.deepcopy(module)
        losses = cross_entropy(virtual(X), y, reduction="none")
        V = functional_call(weight_net, {"0.weight": weight}, (losses.detach()[:, None],))
        (V[:, 0] * losses).mean().backward()
        with torch.no_grad():
            for param in virtual.parameters():
                param -= 0.3 * param.grad
            return cross_entropy(virtual(Z), y_meta)

    losses = cross_entropy(module(X), y, reduction="none")
    statistics = {name: buffer.clone() for name, buffer in module.named_buffers()}
    coefficients = weight_net(losses.detach()[:, None])[:, 0] / 9
    (found,) = gradient(module, coefficients, losses, 0.3, (X, y), (Z, y_meta), (weight_net[0].weight,))
    torch.testing.assert_close(found, numeric_gradient(meta_loss, weight_net[0].weight.detach()), rtol=1e-5, atol=1e-9)
    assert found.abs().max() > 1e-5
    torch.testing.assert_close(dict(module.named_buffers()), statistics)  # the virtual network leaves no traces
    torch.autograd.grad(losses.sum(), tuple(module.parameters()))  # the graph is still there


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("cls", [contenders.MetaWeightNet, contenders.LearningToReweight])
def test_step_is_one_of_the_weighted_loss(cls, forward):
    """With the weights that the step has learned, at the old parameters; and batch norm has seen one batch."""
    X, y = images(12)
    Z, y_meta = images(6)
    trained = net(cls, Convolutional, (Z.numpy(), y_meta.numpy()), forward=forward, iterator_train__shuffle=False)
    trained.initialize()
    module = copy.deepcopy(trained.module_)
    trained.partial_fit(X, y.numpy())
    weights, factor = trained.weights_, 1 / 12 if cls is contenders.MetaWeightNet else 1.0
    losses = cross_entropy(module.train()(X), y, reduction="none")
    (factor * weights * losses).sum().backward()
    for param, found in zip(module.parameters(), trained.module_.parameters(), strict=True):
        torch.testing.assert_close(found, param - 0.1 * param.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(dict(trained.module_.named_buffers()), dict(module.named_buffers()))
    if cls is contenders.LearningToReweight:
        assert (weights >= 0).all()
        assert float(weights.sum()) == pytest.approx(1.0)
    else:
        torch.testing.assert_close(weights, trained.own_.weight_net(losses.detach()[:, None])[:, 0])


def test_l2rw_weights_are_zero_where_nothing_helps():
    """All labels contradict the only trusted one."""
    X = np.ones((8, 4), "float32")
    trained = net(contenders.LearningToReweight, mlp, (X[:1], np.array([0]))).initialize()
    before = copy.deepcopy(trained.module_.state_dict())
    trained.partial_fit(X, np.ones(8, int))
    assert (trained.weights_ == 0).all()
    torch.testing.assert_close(trained.module_.state_dict(), before)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("cls", [contenders.MetaWeightNet, contenders.LearningToReweight])
def test_wrong_labels_weigh_less(cls, forward):
    X, y, wrong = blobs([80, 80, 80], wrong=0.3)
    params = {"weight_lr": 1e-2} if cls is contenders.MetaWeightNet else {}
    trained = net(cls, mlp, blobs([10, 10, 10], seed=1)[:2], warmup_epochs=2, max_epochs=12, forward=forward, **params)
    trained.fit(X, y)
    weights = trained.weights_.numpy()
    assert weights[wrong].mean() < 0.7 * weights[~wrong].mean()


def test_warmup_is_plain_training():
    X, y, _ = blobs([20, 20, 20])
    torch.manual_seed(0)
    trained = net(contenders.LearningToReweight, mlp, blobs([2, 2, 2])[:2], warmup_epochs=3, max_epochs=3).fit(X, y)
    torch.manual_seed(0)
    plain = contenders.NeuralNetClassifier(
        mlp, criterion=nn.CrossEntropyLoss, train_split=None, verbose=0, batch_size=32, lr=0.1, max_epochs=3
    )
    plain.set_params(iterator_train__shuffle=True).fit(X, y)
    torch.testing.assert_close(trained.module_.state_dict(), plain.module_.state_dict())
    assert (trained.weights_ == 1).all()
