"""Networks: ways to use trusted samples while one trains, on images, texts and point clouds.

All contenders of a draw go on from the same stage 1, plain training at one learning rate, and train for the same epochs
of stage 2, at a tenth of it and then at a hundredth. Only *LDAM-DRW* has a stage 1 of its own, since its margins belong
there. Where a method has no use of its own for the trusted samples, their mean loss is added in stage 2. The score is
that of the last epoch; *authors, best epoch* has the best epoch of its stage 2, as its script reports it, chosen on the
test set.
"""

import copy
import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize

from benchmarks._contenders import AuthorsNet, LearningToReweight, MetaBatchNet, MetaWeightNet
from benchmarks._images import Images, load_long_tailed_cifar
from benchmarks._networks import ResNet
from skotw import OTSampleWeighter
from skotw.datasets import make_long_tailed
from skotw.deep import OTWeightedNetClassifier
from skotw.deep._feature_weighter import Settled
from skotw.metrics import mislabel_auc

from .contenders import NETWORK_ABLATION
from .results import SCORE, failed, record
from .sources import Source
from .task import Task, at_most, draw, given_labels, trusted_count
from .texts import N_TOKENS, as_tokens, text_loaders, text_task

__all__ = ["ABLATION", "CONTENDERS", "MAIN", "Training", "network_sources", "run_cell"]

META_LOSS = 1.0
CIFAR_IMBALANCE, N_POINTS = 100, 256


@dataclass(frozen=True)
class Training:
    """How networks are trained on a set.

    Attributes
    ----------
    module : callable
        ``module(n_classes)`` makes a network whose last layer is ``head``, a linear one.
    collate : callable or None
        Augments a batch.
    """

    module: object
    stage_1: int
    stage_2: int
    lr: float = 0.1
    batch_size: int = 128
    collate: object = None


# ---------------------------------------------------------------------------------------------
# Contenders


class LossNet(MetaBatchNet):
    """A loss of every training sample, and the mean one of a mini-batch of trusted samples.

    Parameters
    ----------
    loss : callable or None, default=None
        ``loss(logits, y) -> losses`` of the samples; None is the cross-entropy.
    class_weight : tensor of shape (n_classes,) or None, default=None
    with_meta : bool, default=True
        Whether trusted samples take part.
    """

    def __init__(self, module, *args, loss=None, class_weight=None, with_meta=True, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.loss = loss
        self.class_weight = class_weight
        self.with_meta = with_meta

    def weighted_step(self, X, y, ids):
        self.module_.train()
        logits = self.infer(X)
        losses = cross_entropy(logits, y, reduction="none") if self.loss is None else self.loss(logits, y)
        weights = torch.ones(len(y)) if self.class_weight is None else self.class_weight[y]
        loss = (weights * losses).mean()
        if self.with_meta:
            X_meta, y_meta = next(self.own_.meta_batches)
            loss = loss + META_LOSS * cross_entropy(self.infer(X_meta), y_meta)
        self.optimizer_.zero_grad()
        loss.backward()
        self.optimizer_.step()
        return loss, logits, ids, weights


def focal_loss(logits, y, gamma=2.0):
    """Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017."""
    log_p = logits.log_softmax(1).gather(1, y[:, None])[:, 0]
    return -((1 - log_p.exp()) ** gamma) * log_p


def balanced_softmax(logits, y, log_prior):
    """Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020.

    It is the loss of Menon et al. with logits adjusted in training, at their temperature 1.
    """
    return cross_entropy(logits + log_prior, y, reduction="none")


def ldam_loss(logits, y, margins, scale=30.0):
    """Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019, (13)."""
    own = nn.functional.one_hot(y, logits.shape[1])
    return cross_entropy(scale * (logits - margins[y][:, None] * own), y, reduction="none")


class NormedHead(nn.Linear):
    """The cosine of features and class weights, on which the margins of LDAM are."""

    def forward(self, X):
        return linear(normalize(X), normalize(self.weight))


class LearningRate(Callback):
    """``lr`` in stage 1, a tenth of it in stage 2, a hundredth in the last third; the first epoch is half as fast."""

    def __init__(self, training):
        self.training = training

    def on_epoch_begin(self, net, **kwargs):
        epoch, t = len(net.history), self.training
        lr = t.lr / 2 if epoch == 1 else t.lr
        if epoch > t.stage_1:
            lr = t.lr / 10 if epoch <= t.stage_1 + 2 * t.stage_2 // 3 else t.lr / 100
        for group in net.optimizer_.param_groups:
            group["lr"] = lr


class Draw:
    """What the contenders of one draw share: the task, and nets at the end of stage 1."""

    def __init__(self, task, training):
        self.task, self.training = task, training
        self.noisy = task.X, task.y
        counts = np.maximum(np.bincount(task.y, minlength=task.n_classes), 1)
        self.counts = torch.as_tensor(counts, dtype=torch.float32)
        self.by_class = self.counts.sum() / (len(counts) * self.counts)
        self.starts = {}
        self.readings = None

    def params(self, **changed):
        t = self.training
        return {
            "meta": (self.task.X_meta, self.task.y_meta),
            "criterion": nn.CrossEntropyLoss,
            "optimizer__momentum": 0.9,
            "optimizer__nesterov": True,
            "optimizer__weight_decay": 5e-4,
            "batch_size": t.batch_size,
            "iterator_train__shuffle": True,
            "train_split": None,
            "max_epochs": 1,
            "callbacks": [LearningRate(t)],
            "verbose": 0,
            **({"iterator_train__collate_fn": t.collate} if t.collate else {}),
            **changed,
        }

    @property
    def ldam(self):
        margins = self.counts**-0.25
        return partial(ldam_loss, margins=0.5 * margins / margins.max())

    def start(self, kind):
        """Module, state of the optimizer and history, copied, after stage 1.

        "plain" and "LDAM" by their loss; "last epoch" is the former before its last epoch, of which the features are
        wanted. On the way :attr:`readings` comes to what skotw reads of the labels, which changes no training.
        """
        if kind not in self.starts:
            torch.manual_seed(self.task.seed)
            module = self.training.module(self.task.n_classes)
            params = {"loss": self.ldam} if kind == "LDAM" else {}
            if kind == "LDAM":
                module.head = NormedHead(module.head.in_features, module.head.out_features, bias=False)
            net = LossNet(module, with_meta=False, **self.params(**params)).initialize()
            if kind != "LDAM":
                reading = OTWeightedNetClassifier(
                    module, feature_layer="head", warmup_epochs=self.training.stage_1, **self.params()
                ).initialize()
                for _ in range(self.training.stage_1 - 1):
                    reading.partial_fit(*self.noisy)
                self.starts["last epoch"] = state_of(reading)
                self.readings = reading.criterion_.sample_weights.settled
                net.optimizer_.load_state_dict(reading.optimizer_.state_dict())
                net.history = reading.history
            while len(net.history) < self.training.stage_1:
                net.partial_fit(*self.noisy)
            self.starts["LDAM" if kind == "LDAM" else "plain"] = state_of(net)
        return copy.deepcopy(self.starts[kind])

    def go_on(self, cls, start="plain", data=None, each=None, **params):
        """A net that has gone on from stage 1; ``each(net)`` is called after every epoch."""
        module, optimizer, history = self.start(start)
        torch.manual_seed(1000 + self.task.seed)
        net = cls(module, **self.params(**params)).initialize()
        net.optimizer_.load_state_dict(optimizer)
        net.history = history
        if cls is OTWeightedNetClassifier:
            net.criterion_.sample_weights.settle(self.readings)  # as a checkpoint would
        while len(net.history) < self.training.stage_1 + self.training.stage_2:
            net.partial_fit(*(data or self.noisy))
            if each is not None:
                each(net)
        return net

    def score(self, net, log_prior=0.0):
        logits = torch.cat(list(net.forward_iter(self.task.X_test))) - log_prior
        return float(balanced_accuracy_score(self.task.y_test, logits.argmax(1).numpy()))

    def auc(self, weights):
        if self.task.right.all():
            return {}
        value = mislabel_auc(weights, self.task.y, ~self.task.right)
        return {} if np.isnan(value) else {"AUC of right labels": float(value)}


def state_of(net):
    return copy.deepcopy((net.module_, net.optimizer_.state_dict(), net.history))


def by_loss(draw, start="plain", data=None, **params):
    net = draw.go_on(LossNet, start, data, **params)
    return {"balanced accuracy": draw.score(net)}


def trusted_only(draw):
    """Stage 2 on the trusted samples, repeated to as many, from the features of stage 1."""
    repeated = np.arange(len(draw.task.y)) % len(draw.task.y_meta)
    return by_loss(draw, data=(draw.task.X_meta[repeated], draw.task.y_meta[repeated]), with_meta=False)


def logit_adjustment(draw):
    """Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, after training.

    The trusted samples join the training set: with a loss of their own, the logits would not be those of its shares.
    """
    X, y = draw.task.union
    net = draw.go_on(LossNet, data=(X, y), with_meta=False)
    log_prior = torch.as_tensor(np.bincount(y, minlength=draw.task.n_classes) / len(y)).log()
    return {"balanced accuracy": draw.score(net, log_prior)}


def by_weighing(draw, cls, **params):
    net = draw.go_on(cls, **params)
    return {"balanced accuracy": draw.score(net), **draw.auc(net.weights_.cpu().numpy())}


def authors(draw):
    """Their prototypes are means of samples, which make sense as images; of other kinds all samples are taken."""
    scores, are_images = [], draw.task.X.ndim == 4
    net = draw.go_on(
        AuthorsNet, each=lambda net: scores.append(draw.score(net)), feature_layer="head", batch_size=16,
        meta_set="prototype" if are_images else "whole",
    )  # fmt: skip
    return {"balanced accuracy": scores[-1], BEST_EPOCH: max(scores), **draw.auc(net.weights_.cpu().numpy())}


def by_transport(draw, *, meta_loss_weight=META_LOSS, **params):
    net = draw.go_on(
        OTWeightedNetClassifier, "last epoch", feature_layer="head", warmup_epochs=draw.training.stage_1,
        meta_loss_weight=meta_loss_weight, **params,
    )  # fmt: skip
    found = {"balanced accuracy": draw.score(net), **draw.auc(net.sample_weight_)}
    weighter = net.reweighter_.weighter_
    found["reg"] = float(weighter.reg_)
    if weighter.label_reliability_ is not None:
        found["reliability"] = float(weighter.label_reliability_.overall)
    return found


def read_late(draw):
    """The trusted samples are asked at the end of stage 1 only."""
    before, draw.readings = draw.start("plain") and draw.readings, Settled()
    try:
        return by_transport(draw)
    finally:
        draw.readings = before


BEST_EPOCH = "authors, best epoch"
MAIN = {
    "plain": by_loss,
    "balanced": lambda draw: by_loss(draw, class_weight=draw.by_class),
    "trusted only": trusted_only,
    "focal loss": lambda draw: by_loss(draw, loss=focal_loss),
    "LDAM-DRW": lambda draw: by_loss(draw, "LDAM", loss=draw.ldam, class_weight=draw.by_class),
    "logit adjustment": logit_adjustment,
    "balanced softmax": lambda draw: by_loss(draw, loss=partial(balanced_softmax, log_prior=draw.counts.log())),
    "Learning to Reweight": lambda draw: by_weighing(draw, LearningToReweight),
    "Meta-Weight-Net": lambda draw: by_weighing(draw, MetaWeightNet),
    "authors": authors,
    "skotw": by_transport,
    "paper's setting": lambda draw: by_transport(
        draw, weighter=OTSampleWeighter(prior="uniform", n_prototypes=1, reg=0.1), refit_every="batch"
    ),
    "oracle": lambda draw: by_loss(
        draw, data=(draw.task.X[draw.task.right], draw.task.y[draw.task.right]), class_weight=draw.by_class
    ),
}


def at_reg(draw, reg):
    return by_transport(draw, weighter=OTSampleWeighter(reg=reg))


_VARIANTS = {
    "skotw, labels read late": read_late,
    "skotw, no trusted loss": lambda draw: by_transport(draw, meta_loss_weight=0.0),
    "balanced, no trusted loss": lambda draw: by_loss(draw, class_weight=draw.by_class, with_meta=False),
}
ABLATION = {
    name: _VARIANTS[name] if name in _VARIANTS else partial(at_reg, reg=float(name.split()[-1]))
    for name in NETWORK_ABLATION
}
CONTENDERS = {**MAIN, **ABLATION}


def run_cell(source, cell, todo):
    """(cell, records) of one draw."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        task = source.make(cell["noise"], cell["rows"], cell["seed"])
        draw, records = Draw(task, source.training), []
        for name in todo:
            before = time.perf_counter()
            try:
                found = CONTENDERS[name](draw)
            except Exception as error:  # one must not end the run
                records.append(failed(cell, name, error))
                continue
            records.append(record(cell, name, "network", SCORE, found.pop(SCORE)))
            if BEST_EPOCH in found:
                records.append(record(cell, BEST_EPOCH, "network", SCORE, found.pop(BEST_EPOCH)))
            found["seconds"] = time.perf_counter() - before
            records += [record(cell, name, None, measure, value) for measure, value in found.items()]
    records += [record(cell, None, None, fact, value) for fact, value in task.facts().items()]
    records.append(record(cell, None, None, "seconds", time.perf_counter() - start))
    return cell, records


# ---------------------------------------------------------------------------------------------
# Networks and sets


class Pooled(nn.Module):
    """A small perceptron on pooled parts: words, points."""

    def __init__(self, embed, n_features, n_classes, pool):
        super().__init__()
        self.embed, self.pool = embed, pool
        self.body = nn.Sequential(nn.Linear(n_features, n_features), nn.LayerNorm(n_features), nn.ReLU())
        self.head = nn.Linear(n_features, n_classes)

    def forward(self, X):
        return self.head(self.body(self.pool(self.embed(X), X)))


def mean_of_words(embedded, X):
    present = (X > 0).unsqueeze(-1)
    return (embedded * present).sum(1) / present.sum(1).clamp(min=1)


def most_of_points(embedded, X):
    return embedded.amax(1)


def text_network(n_classes, width=64):
    return Pooled(nn.Embedding(N_TOKENS, width, padding_idx=0), width, n_classes, mean_of_words)


def point_network(n_classes, width=96):
    embed = nn.Sequential(nn.Linear(3, 48), nn.ReLU(), nn.Linear(48, width), nn.ReLU())
    return Pooled(embed, width, n_classes, most_of_points)


def digit_network(n_classes):
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(64, n_classes)))


def residual_network(n_classes):
    return ResNet(16, 1, n_classes, bfloat16=True)


def augmented(samples):
    """Collate images, each shifted and mirrored at random."""
    X, y = zip(*samples, strict=True)
    return Images(torch.stack([torch.as_tensor(image) for image in X]), "cpu").augmented(list(enumerate(y)))


def network_sources(suite, folder=None):
    """Sources of a suite, with their training."""
    return _SUITES[suite](folder)


@dataclass(frozen=True)
class NetworkSource(Source):
    """A set, and how networks are trained on it."""

    training: Training | None = None


def _source(suite, name, make, training):
    return NetworkSource(suite, name, make, rows=(None,), models=("network",), training=training)


def _image(folder):
    digits = partial(make_long_tailed, *_digit_images(), 5, random_state=0)
    small = Training(digit_network, 12, 6, lr=0.05, batch_size=64)
    sources = [_source("image", "digits", partial(draw, digits), small)]
    if folder is not None:
        training = Training(residual_network, 16, 6, collate=augmented)
        sources.append(_source("image", "CIFAR-10-LT", partial(_cifar, folder), training))
        sources.append(_source("image", "CIFAR-10-LT, 16 pixels", partial(_small_cifar, folder), training))
    return sources


def _digit_images():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y


_load_cifar = lru_cache(maxsize=1)(load_long_tailed_cifar)


def _cifar(folder, noise, rows, seed):
    parts = _load_cifar(folder, CIFAR_IMBALANCE)
    X, y = parts["train"]
    kept = np.concatenate(at_most(rows, [np.flatnonzero(y == c) for c in range(int(y.max()) + 1)]))
    X, y = X[kept], y[kept]
    return Task(X, given_labels(y, noise, seed), y, *parts["meta"], *parts["test"], seed)


def _small_cifar(folder, noise, rows, seed):
    """The same at half the resolution, a quarter of the work."""
    task = _cifar(folder, noise, rows, seed)
    return replace(task, **{name: _halved(getattr(task, name)) for name in ("X", "X_meta", "X_test")})


def _halved(images):
    n, channels, height, width = images.shape
    return images.reshape(n, channels, height // 2, 2, width // 2, 2).mean((3, 5))


def _text(folder):
    training = Training(text_network, 12, 6, lr=0.5, batch_size=64)
    return [
        _source("text", name, partial(_tokens, load, imbalance), training)
        for name, (load, imbalance) in text_loaders(folder).items()
    ]


def _tokens(load, imbalance, noise, rows, seed):
    return as_tokens(text_task(load, imbalance, noise, rows, seed))


def _pointcloud(folder):
    training = Training(point_network, 30, 12, lr=0.05, batch_size=64)
    if folder is None:
        shapes = partial(make_long_tailed, *_made_up_shapes(), 5, random_state=0)
        return [_source("pointcloud", "made-up shapes", partial(draw, shapes), training)]
    path = Path(folder) / "pointcloud.npz"
    if not path.is_file():
        raise SystemExit(f"{folder} has no pointcloud.npz: name another folder by --data, or none for bundled data.")
    return [_source("pointcloud", "INFOMR shapes", partial(_shapes, path), training)]


def _shapes(path, noise, rows, seed):
    with np.load(path, allow_pickle=False) as file:
        X, y, split = file["X"], file["y"].astype(np.int64), file["split"]
    X = np.ascontiguousarray(X[:, :: X.shape[1] // N_POINTS], dtype=np.float32)
    test, rest = np.flatnonzero(split == "test"), np.flatnonzero(split != "test")
    rest = np.random.default_rng([seed, 0]).permutation(rest)
    by_class = [rest[y[rest] == c] for c in range(int(y.max()) + 1)]
    n = trusted_count(y[rest])
    trusted = np.concatenate([of[:n] for of in by_class])
    train = np.concatenate(at_most(rows, [of[n:] for of in by_class]))
    return Task(X[train], given_labels(y[train], noise, seed), y[train], X[trusted], y[trusted], X[test], y[test], seed)


def _made_up_shapes(n=150, n_points=32):
    """Surfaces of balls, cubes and rods."""
    rng = np.random.default_rng(0)
    ball, cube, rod = rng.standard_normal((3, n, n_points, 3))
    ball /= np.linalg.norm(ball, axis=-1, keepdims=True)
    cube /= np.abs(cube).max(axis=-1, keepdims=True)
    rod[..., :2] *= 0.2
    return np.concatenate([ball, cube, rod]).astype(np.float32), np.repeat(np.arange(3), n)


_SUITES = {"image": _image, "text": _text, "pointcloud": _pointcloud}
