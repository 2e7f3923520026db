"""What the network shows of samples on their way through it: features, and which labels it predicts."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom
from skorch import NeuralNet, NeuralNetClassifier
from skorch.dataset import unpack_data
from skorch.utils import to_device
from torch import nn

from skotw._validation import named

from ._feature_tap import logits_of, unwrapped
from ._sample_ids import IndexedIterator, ids_of
from ._trusted_set import balanced_batches, in_one_dimension

__all__ = [
    "ClassScores",
    "MetaPass",
    "MetaSet",
    "TrainingPass",
    "clean_pass",
    "label_column",
    "learned_by_heart",
    "worse_than_chance",
]

# The network knows its training labels by heart where it predicts trusted ones this much worse, beyond chance.
_GAP, _CHANCE = 0.1, 0.05


def label_column(y):
    """Labels of a batch; the column that the losses of binary labels and of regression want is one label per sample."""
    return in_one_dimension(y if isinstance(y, torch.Tensor) else torch.as_tensor(np.asarray(y)))


def _to(net, part):
    """A part of a batch where the module is; skorch does it by itself unless accelerate has taken over."""
    return part if net.device is not None else to_device(part, next(net.module_.parameters()).device)


def _embed(net, tap, batch):
    """Features of a batch in evaluation mode, its labels, and what the module returned."""
    Xi, yi = unpack_data(batch)
    net.module_.eval()
    with torch.no_grad():
        y_pred = net.infer(_to(net, Xi))
    return tap.take(), label_column(yi), y_pred


# ---------------------------------------------------------------------------------------------
# The training split


class TrainingPass:
    """Ids, features and labels of the batches of a pass, and how many labels of each class the network predicted.

    Parameters
    ----------
    scores : ClassScores or None
        None counts no labels.
    """

    def __init__(self, scores=None):
        self.scores = scores
        self.hits = None
        self._ids, self._features, self._labels = [], [], []

    def add(self, ids, features, labels):
        """Keep the features of a batch."""
        self._ids.append(ids)
        self._features.append(features)
        self._labels.append(labels)

    def count(self, y_pred, labels):
        """Count the labels of a batch that the network predicted."""
        hits = None if self.scores is None else self.scores.hits(y_pred, labels)
        if hits is not None:
            self.hits = hits if self.hits is None else self.hits + hits

    def of_transport(self, trusted):
        """Ids, features and labels: of each sample what came last, without trusted samples.

        Raises
        ------
        ValueError
            If there were no batches.
        """
        if not self._ids:
            raise ValueError(
                "The training pass had no batches, and so there are no features to weigh. With drop_last=True the "
                "training split needs at least batch_size samples. Lower batch_size, or leave drop_last out."
            )
        ids = torch.cat(self._ids)
        last = torch.full((int(ids.max()) + 1,), -1).scatter_reduce(0, ids, torch.arange(len(ids)), "amax")
        last[trusted.cpu()[trusted.cpu() < len(last)]] = -1
        kept = last[last >= 0]
        features, labels = torch.cat(self._features), torch.cat(self._labels)
        return ids[kept], features[kept.to(features.device)], labels[kept.to(labels.device)]


def clean_pass(net, tap, dataset, scores=None):
    """A :class:`TrainingPass` over the whole training split in evaluation mode."""
    found, given = TrainingPass(scores), net.iterator_valid
    net.iterator_valid = IndexedIterator(given)
    try:
        iterator = net.get_iterator(dataset, training=False)
    finally:
        net.iterator_valid = given
    with torch.random.fork_rng(devices=[]):  # a data loader draws a seed, and training must not notice
        for batch in iterator:
            features, labels, y_pred = _embed(net, tap, batch)
            found.add(ids_of(batch), features, labels)
            found.count(y_pred, labels)
    return found


# ---------------------------------------------------------------------------------------------
# The meta set


@dataclass(frozen=True, eq=False)
class MetaPass:
    """What a pass over the meta set found.

    Attributes
    ----------
    features : tensor of shape (n_meta, n_features)
    labels : tensor of shape (n_meta,) or (n_meta, n_outputs)
    outputs : tensor or None
        What the module returned first, where that is a tensor.
    """

    features: torch.Tensor
    labels: torch.Tensor
    outputs: torch.Tensor | None


class MetaSet:
    """The trusted samples while a net trains.

    Parameters
    ----------
    dataset : Dataset
    tap : FeatureTap
    drawn : bool
        Whether they are samples of the training split, and so train.
    """

    def __init__(self, dataset, tap, drawn):
        self.dataset, self.tap, self.drawn = dataset, tap, drawn
        self._batches = None

    def embed(self, net):
        """A :class:`MetaPass` in evaluation mode."""
        # not the iterator of a subclass: every process needs all of the meta set
        with torch.random.fork_rng(devices=[]):
            iterator = NeuralNet.get_iterator(net, self.dataset, training=False)
            features, labels, outputs = zip(*(_embed(net, self.tap, batch) for batch in iterator), strict=True)
        outputs = [_scores(part) for part in outputs]
        outputs = None if any(part is None for part in outputs) else torch.cat(outputs)
        return MetaPass(torch.cat(features), torch.cat(labels), outputs)

    def loss(self, net):
        """Mean loss of a class-balanced mini-batch, which goes through the transforms of its data set."""
        if self._batches is None:
            iterator = NeuralNet.get_iterator(net, self.dataset)
            labels = np.concatenate([label_column(unpack_data(batch)[1]).cpu().numpy() for batch in iterator])
            params = net.get_params_for("iterator_train")
            kept = {name: params[name] for name in ("collate_fn", "pin_memory") if name in params}
            size = min(len(self.dataset), params.get("batch_size", net.batch_size) % 2**31)
            self._batches = balanced_batches(self.dataset, labels, size, **kept)
        Xi, yi = (_to(net, part) for part in unpack_data(next(self._batches)))
        y_pred = logits_of(net.infer(Xi))
        # not that of a subclass, which may scale the loss, as for gradient accumulation, and gets the sum to scale
        loss = (NeuralNetClassifier if isinstance(net, NeuralNetClassifier) else NeuralNet).get_loss(net, y_pred, yi)
        return loss.mean()


# ---------------------------------------------------------------------------------------------
# Labels that the network predicts


def _scores(y_pred):
    """The logits in what the module returned, or None."""
    try:
        logits = logits_of(y_pred)
    except TypeError:
        return None
    return logits if isinstance(logits, torch.Tensor) and logits.ndim else None


@dataclass(frozen=True)
class ClassScores:
    """How outputs tell classes.

    Attributes
    ----------
    n_classes : int
    threshold : float or None
        From where on a single output means class 1; None: the largest output is the class.
    """

    n_classes: int
    threshold: float | None

    @classmethod
    def of(cls, net, meta):
        """Those of a net, read off a pass over its meta set; None where outputs are no scores of classes.

        Raises
        ------
        ValueError
            If a trusted label has no output.
        """
        if meta.outputs is None or meta.labels.ndim != 1 or len(meta.outputs) != len(meta.labels):
            return None
        labels, criterion = meta.labels.cpu(), unwrapped(net.criterion_)
        if meta.outputs.ndim == 2 and meta.outputs.shape[1] > 1:
            indices = isinstance(net, NeuralNetClassifier) or isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss))
            if labels.is_floating_point() or not indices:
                return None
            n_classes = meta.outputs.shape[1]
            outside = torch.unique(labels[(labels < 0) | (labels >= n_classes)]).tolist()
            if outside:
                raise ValueError(
                    f"The trusted samples have labels without an output of the network: {named(outside)}. It has "
                    f"{n_classes} outputs, for classes 0 to {n_classes - 1}."
                )
            return cls(n_classes, None)
        threshold = {nn.BCEWithLogitsLoss: 0.0, nn.BCELoss: 0.5}.get(type(criterion))
        binary = meta.outputs[0].numel() == 1 and bool(((labels == 0) | (labels == 1)).all())
        return cls(2, threshold) if binary and threshold is not None else None

    def hits(self, y_pred, labels):
        """How many samples of each class are predicted, and how many there are: tensor of shape (2, n_classes).

        It stays on the device. Labels that are no classes, which losses ignore, do not count. None where the output is
        of another form.
        """
        outputs = _scores(y_pred)
        if outputs is None or len(outputs) != len(labels):
            return None
        with torch.no_grad():
            found = outputs.argmax(1) if self.threshold is None else (outputs.flatten() > self.threshold).long()
            labels = labels.to(found)
            counts = (labels >= 0) & (labels < self.n_classes)
            parts = torch.stack([counts & (labels == found), counts]).double()
            out = torch.zeros(2, self.n_classes, dtype=torch.float64, device=found.device)
            return out.index_add_(1, labels.clamp(0, self.n_classes - 1), parts)


def learned_by_heart(training, meta):
    """Whether the network predicts training labels so much better than trusted ones that it must have fitted them.

    A network that has not fitted single labels predicts those of the training set, of which some may be wrong, no
    better than trusted ones. Training accuracies of the classes are averaged as the meta set has the classes.

    Parameters
    ----------
    training, meta : ndarray of shape (2, n_classes)
        :meth:`ClassScores.hits` of the two sets.
    """
    known = (training[1] > 0) & (meta[1] > 0)
    n_asked = meta[1, known].sum()
    if n_asked == 0:
        return False
    accuracy = training[0, known] / training[1, known] @ meta[1, known] / n_asked
    return bool(binom.cdf(meta[0, known].sum(), n_asked, max(accuracy - _GAP, 0.0)) < _CHANCE)


def worse_than_chance(hits):
    """Whether fewer labels are predicted than a network would that has never seen a sample."""
    (n_right, n_asked), n_classes = hits.sum(axis=1), (hits[1] > 0).sum()
    return bool(binom.cdf(n_right, n_asked, 1.0 / n_classes) < _CHANCE)
