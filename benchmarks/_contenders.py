"""Other ways to learn sample weights from a trusted meta set, as skorch nets, to measure skotw against.

- :class:`AuthorsNet`: stage 2 of Guo et al., "Learning to Re-weight Examples with Optimal Transport for Imbalanced
  Classification", NeurIPS 2022, as the script that its authors have released goes about it.
- :class:`MetaWeightNet`: Shu et al., "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting", NeurIPS
  2019.
- :class:`LearningToReweight`: Ren et al., "Learning to Reweight Examples for Robust Deep Learning", ICML 2018.

They share the data loader, sample ids and bookkeeping of skorch with the nets that they are compared with, so that
epochs differ in what the methods do.
"""

from types import SimpleNamespace

import torch
from skorch import NeuralNetClassifier
from skorch.dataset import unpack_data
from skorch.utils import to_device
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, cross_entropy, one_hot
from torch.utils.data import DataLoader

from skotw.deep._feature_tap import FeatureTap
from skotw.deep._sample_ids import IndexedIterator, ids_of
from skotw.deep._trusted_set import labels_of, meta_dataset

__all__ = ["AuthorsNet", "LearningToReweight", "MetaWeightNet"]


class WeighingNet(NeuralNetClassifier):
    """What the contenders share: a plain stage 1, sample ids, the meta set, and the last weight of every sample.

    Parameters
    ----------
    meta : (X_meta, y_meta)
        Trusted samples.
    warmup_epochs : int, default=0
        Epochs of plain loss at the start.

    Attributes
    ----------
    weights_ : tensor of shape (n_train,)
        As the samples were weighed last; 1 before that.
    """

    def __init__(self, module, *args, meta, warmup_epochs=0, **kwargs):
        kwargs.setdefault("iterator_train", IndexedIterator(DataLoader))
        super().__init__(module, *args, **kwargs)
        self.meta = meta
        self.warmup_epochs = warmup_epochs

    def initialize(self):
        super().initialize()
        self.own_ = None
        return self

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        super().on_epoch_begin(net, dataset_train=dataset_train, **kwargs)
        if self.own_ is None:
            self.own_ = SimpleNamespace()  # modules and optimizers that skorch should not train along with its own
            self.start(dataset_train)

    def start(self, dataset_train):
        self.weights_ = torch.ones(len(dataset_train), device=self.device)

    def train_step(self, batch, **fit_params):
        if len(self.history) <= self.warmup_epochs:
            return super().train_step(batch, **fit_params)
        X, y = to_device(tuple(unpack_data(batch)), self.device)
        loss, logits, ids, weights = self.weighted_step(X, y, ids_of(batch).to(self.device))
        self.weights_[ids] = weights
        return {"loss": loss.detach(), "y_pred": logits.detach()}

    def weighted_step(self, X, y, ids):
        """Update the module; return loss, logits, ids and weights of the batch."""
        raise NotImplementedError

    def meta_loader(self, **params):
        """Batches of the meta set that are collated, and thus augmented, like those of the training set."""
        collate = {k: v for k, v in self.get_params_for("iterator_train").items() if k == "collate_fn"}
        return DataLoader(meta_dataset(self.meta, self), **collate, **params)


# ---------------------------------------------------------------------------------------------
# Guo et al.


def transport_cost(features, y, meta_features, y_meta, n_classes):
    """Half the cosine distance of features, and half the squared distance of one-hot labels over their number."""
    cosine = 1 - cosine_similarity(features[:, None], meta_features[None], dim=-1)
    labels = (one_hot(y, n_classes)[:, None] - one_hot(y_meta, n_classes)[None]).square().sum(-1) / n_classes
    return (cosine + labels) / 2


def sinkhorn_distance(cost, a, b, reg=0.1, tolerance=0.1, max_iter=200):
    """<P, cost> of the plan P that Sinkhorn's algorithm has when it stops, differentiable in all of its arguments.

    It stops once the potential of the columns has moved by less than ``tolerance`` in total, which is early: the
    marginal ``a`` of the rows holds exactly, ``b`` about.
    """
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(max_iter):
        last = g
        g = reg * (b.log() - torch.logsumexp((f[:, None] - cost) / reg, 0))
        f = reg * (a.log() - torch.logsumexp((g[None] - cost) / reg, 1))
        if (g - last).detach().abs().sum().item() < tolerance:
            break
    return (torch.exp((f[:, None] + g[None] - cost) / reg) * cost).sum()


def transport_step(weights, cost, lr=0.01, weight_decay=5e-4, **sinkhorn):
    """Weights after a step of gradient descent on the transport from softmax(weights) to uniform meta samples.

    The gradient goes through the iterations, as in the released script. The row potential would be cheaper, but it is
    the gradient of another function, of the entropic objective at convergence: what the procedure lowers is <P, cost>
    of an early P. A batch takes a few iterations, and they a small part of its time, so that little is lost.
    """
    weights = weights.detach().requires_grad_()
    uniform = torch.full_like(cost[0], 1 / cost.shape[1])
    (gradient,) = torch.autograd.grad(sinkhorn_distance(cost, weights.softmax(0), uniform, **sinkhorn), weights)
    return (weights - lr * (gradient + weight_decay * weights)).detach()


def effective_number_weights(y, n_classes, beta=0.9999):
    """Weight of each class, n_classes in total, by the effective number of its samples (Cui et al., CVPR 2019)."""
    counts = torch.bincount(y, minlength=n_classes).clamp(min=1).double()
    weights = (1 - beta) / (1 - beta**counts)  # one over their Proposition 1
    return (weights * (n_classes / weights.sum())).float()


class AuthorsNet(WeighingNet):
    """Stage 2 of Guo et al. as released: one weight per sample, stepped when it is visited; the last layer trains.

    A visit takes one step of :func:`transport_step` on the weights of the mini-batch, and then one of SGD (Nesterov
    momentum .9, weight decay 5e-4) on the last layer, for the sum of the weighted losses plus ten times the mean loss
    of the meta set. Weights start from the effective numbers of their classes, and do not move far in such steps: in
    the fifth digit per visit.

    Two things of the script are left out, since they change no result: the gradient of the encoder, which it computes
    and never uses, and one-hot labels that are filled entry by entry. One is repaired: its script embeds the meta set
    for the transport with the batch norm statistics of the prototypes alone, and training samples with the running
    ones. Here both are embedded in evaluation mode.

    Parameters
    ----------
    feature_layer : str
        The last layer; its input are the features.
    meta_set : {"prototype", "whole"}, default="prototype"
        Transport to the mean image of each class, or to all meta samples.
    passes : {"released", "lean"}, default="released"
        "released": the mini-batch passes through the encoder in evaluation mode for the transport, and once more,
        as does the meta set each time, in training mode for the loss, so that batch norm goes on adapting.
        "lean": batch norm rests along with the encoder. One pass over the mini-batch is enough then, and one over the
        meta set per epoch. Without batch norm and dropout the two are the same.
    head_lr : float, default=2e-5
        Learning rate of the last layer.
    meta_loss_weight : float, default=10.0
        Factor of the loss of the meta set.
    """

    def __init__(
        self,
        module,
        *args,
        meta,
        feature_layer,
        meta_set="prototype",
        passes="released",
        head_lr=2e-5,
        meta_loss_weight=10.0,
        batch_size=16,
        **kwargs,
    ):
        super().__init__(module, *args, meta=meta, batch_size=batch_size, **kwargs)
        self.feature_layer = feature_layer
        self.meta_set = meta_set
        self.passes = passes
        self.head_lr = head_lr
        self.meta_loss_weight = meta_loss_weight

    def start(self, dataset_train):
        super().start(dataset_train)
        self.own_.tap = FeatureTap.attach(self.module_, self.feature_layer)
        self.own_.head = self.module_.get_submodule(self.feature_layer)
        self.own_.n_outputs = self.own_.head.out_features
        labels = torch.as_tensor(labels_of(dataset_train))
        self.weights_ = effective_number_weights(labels, self.own_.n_outputs)[labels].to(self.device)
        self.own_.head_optimizer = torch.optim.SGD(
            self.own_.head.parameters(), self.head_lr, momentum=0.9, nesterov=True, weight_decay=5e-4
        )

    def on_epoch_begin(self, net, **kwargs):
        super().on_epoch_begin(net, **kwargs)
        if len(self.history) > self.warmup_epochs:
            self.embed_targets()

    def embed_targets(self):
        """Meta set and prototypes, once per epoch: the encoder does not train."""
        X, y = to_device(tuple(next(iter(self.meta_loader(batch_size=len(self.meta[1]))))), self.device)
        self.own_.X_meta, self.own_.y_meta = X, y
        if self.meta_set == "prototype":  # averaged as images
            y = torch.unique(y)
            X = torch.stack([X[self.own_.y_meta == label].mean(0) for label in y])
        self.own_.targets = self.embed(X, training=False), y
        if self.passes == "lean":
            self.own_.meta_features = self.embed(self.own_.X_meta, training=False)

    def embed(self, X, training):
        self.module_.train(training)
        with torch.no_grad():
            self.infer(X)
        return self.own_.tap.take()

    def weighted_step(self, X, y, ids):
        features = self.embed(X, training=False)
        cost = transport_cost(features, y, *self.own_.targets, self.own_.n_outputs)
        weights = transport_step(self.weights_[ids], cost)
        if self.passes == "lean":
            meta_features = self.own_.meta_features
        else:
            features, meta_features = self.embed(X, training=True), self.embed(self.own_.X_meta, training=True)
        logits = self.own_.head(features)
        loss = (weights * cross_entropy(logits, y, reduction="none")).sum()
        loss = loss + self.meta_loss_weight * cross_entropy(self.own_.head(meta_features), self.own_.y_meta)
        self.own_.head_optimizer.zero_grad()
        loss.backward()
        self.own_.head_optimizer.step()
        return loss, logits, ids, weights


# ---------------------------------------------------------------------------------------------
# Bilevel methods


def batch_loss(module, params, X, y):
    """Losses of the samples under other parameters.

    They pass through batch norm with the statistics of their own batch, as in the released scripts. Running statistics
    of another network than the one that trains are nobody's: it gets a copy to update.
    """
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return cross_entropy(functional_call(module, {**params, **buffers}, (X,)), y, reduction="none")


def trainable(module):
    return {name: param for name, param in module.named_parameters() if param.requires_grad}


def meta_gradient(module, coefficients, losses, step_size, batch, meta, inputs):
    """Gradient in ``inputs`` of the meta loss after a virtual SGD step on the sum of ``coefficients * losses``.

    ``coefficients`` depend on ``inputs``, and ``losses``, those of ``batch``, on the parameters of the module; the
    graph of the latter is kept. The gradient goes back through the virtual step, which takes a second backward pass
    through the module: the way of the papers.
    """
    params = trainable(module)
    gradients = torch.autograd.grad((coefficients * losses).sum(), tuple(params.values()), create_graph=True)
    pairs = zip(params.items(), gradients, strict=True)
    virtual = {name: param - step_size * gradient for (name, param), gradient in pairs}
    return torch.autograd.grad(batch_loss(module, virtual, *meta).mean(), inputs)


def forward_meta_gradient(module, coefficients, losses, step_size, batch, meta, inputs):
    """The same number at a lower price, which no released script makes use of.

    The virtual step is linear in the coefficients. So the meta loss has in the coefficient of a sample the derivative
    -step_size <gradient of its loss, gradient of the meta loss at the virtual parameters>, and these products for all
    samples are one pass over the batch in forward mode, along the latter gradient. That pass must repeat the one that
    gave ``losses``: no dropout.
    """
    params = trainable(module)
    gradients = torch.autograd.grad((coefficients.detach() * losses).sum(), tuple(params.values()), retain_graph=True)
    pairs = zip(params.items(), gradients, strict=True)
    virtual = {name: (param - step_size * gradient).detach().requires_grad_() for (name, param), gradient in pairs}
    direction = torch.autograd.grad(batch_loss(module, virtual, *meta).mean(), tuple(virtual.values()))
    with torch.no_grad(), forward_ad.dual_level():
        pairs = zip(params.items(), direction, strict=True)
        dual = {name: forward_ad.make_dual(param.detach(), tangent) for (name, param), tangent in pairs}
        products = forward_ad.unpack_dual(batch_loss(module, dual, *batch)).tangent
    return torch.autograd.grad(coefficients, inputs, -step_size * products)


class MetaBatchNet(WeighingNet):
    """Mini-batches of meta samples beside those of the training set.

    They are drawn without replacement, as large as those of the training set or the whole meta set.
    """

    def start(self, dataset_train):
        super().start(dataset_train)
        self.own_.meta_batches = self.draw_meta_batches()

    def draw_meta_batches(self):
        loader = self.meta_loader(batch_size=min(self.batch_size, len(self.meta[1])), shuffle=True)
        while True:
            yield from loader


class BilevelNet(MetaBatchNet):
    """Weights by what a virtual step on the weighted loss does to the loss of a meta mini-batch.

    The mini-batch passes through the network once. Virtual step and step begin at the same parameters, so that the
    second one needs but another backward pass, where the released scripts compute the losses again. Batch norm adapts
    in this pass only.

    Parameters
    ----------
    forward : bool, default=False
        :func:`forward_meta_gradient` instead of :func:`meta_gradient`.
    """

    def __init__(self, module, *args, forward=False, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.forward = forward

    def weighted_step(self, X, y, ids):
        self.module_.train()
        meta = to_device(tuple(next(self.own_.meta_batches)), self.device)
        logits = self.infer(X)
        losses = cross_entropy(logits, y, reduction="none")
        weights, factor = self.weigh(losses, (X, y), meta)
        loss = factor * (weights * losses).sum()
        params = tuple(trainable(self.module_).values())
        for param, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            param.grad = gradient
        self.optimizer_.step()
        return loss, logits, ids, weights

    def meta_gradient(self, *args):
        return (forward_meta_gradient if self.forward else meta_gradient)(self.module_, *args)

    def weigh(self, losses, batch, meta):
        """Weights of the mini-batch, and the factor of the sum of its weighted losses."""
        raise NotImplementedError


class LearningToReweight(BilevelNet):
    """Ren et al.: weights are the gradient of the meta loss in them at zero, rectified and normalised in the batch."""

    def weigh(self, losses, batch, meta):
        zero = torch.zeros_like(losses, requires_grad=True)  # epsilon in their equation (4)
        # (5) to (7). The step sizes alpha and eta are common factors, which normalisation removes.
        (gradient,) = self.meta_gradient(zero, losses, 1.0, batch, meta, (zero,))
        weights = torch.relu(-gradient)  # (8)
        total = weights.sum()
        return weights / (total + (total == 0)), 1.0  # (9): all zero where nothing would help


class MetaWeightNet(BilevelNet):
    """Shu et al.: weights are a function of the loss, a small network that is learned along the way.

    Normalised by the size of the batch, as in their equations and their script for wrong labels (the one for long tails
    divides by the sum of weights); the weighting network takes steps of Adam, as there.

    Parameters
    ----------
    weight_lr : float, default=1e-3
        Learning rate of the weighting network.
    """

    def __init__(self, module, *args, weight_lr=1e-3, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.weight_lr = weight_lr

    def start(self, dataset_train):
        super().start(dataset_train)
        weight_net = nn.Sequential(nn.Linear(1, 100), nn.ReLU(), nn.Linear(100, 1), nn.Sigmoid()).to(self.device)
        self.own_.weight_net = weight_net
        self.own_.weight_optimizer = torch.optim.Adam(weight_net.parameters(), self.weight_lr, weight_decay=1e-4)

    def weigh(self, losses, batch, meta):
        known, factor = losses.detach()[:, None], 1 / len(losses)
        params = tuple(self.own_.weight_net.parameters())
        step_size = self.optimizer_.param_groups[0]["lr"]
        coefficients = factor * self.own_.weight_net(known)[:, 0]
        gradients = self.meta_gradient(coefficients, losses, step_size, batch, meta, params)  # (3) and (4)
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = gradient
        self.own_.weight_optimizer.step()
        with torch.no_grad():
            return self.own_.weight_net(known)[:, 0], factor  # (5)
