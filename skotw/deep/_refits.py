"""Refits of the sample weights in the course of one call of ``fit``."""

import functools
import math
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from skorch.dataset import unpack_data
from torch.utils.data import Subset

from skotw._validation import warn
from skotw._weighter.estimator import OTSampleWeighter
from skotw.meta._sampling import choose_evenly
from skotw.metrics import effective_sample_size

from ._epoch_plan import EpochPlan
from ._feature_weighter import all_reduce
from ._passes import ClassScores, TrainingPass, clean_pass, label_column, learned_by_heart, worse_than_chance
from ._reweighter import OTReweighter, check_labels
from ._sample_ids import ids_of
from ._sample_kinds import quietly
from ._trusted_set import stored_labels
from ._weighted_criterion import weighted_loss

__all__ = ["RefitSettings", "Refits"]

# Labels that are numbers are compared with those of the meta set by so many of them.
_LABELS_ASKED = 64
# Training samples by which trusted ones say how reliable labels are.
_READ = 2000
# Below this share of the effective sample size of the prior weights, a few samples carry the training.
_COLLAPSE = 0.1


@dataclass(frozen=True)
class RefitSettings:
    """Parameters of :class:`OTReweighting` as they were when training began."""

    weighter: OTSampleWeighter | None
    warmup_epochs: int
    refit_every: int | str
    features: str
    smoothing: float
    meta_loss_weight: float


class Refits:
    """Collects features of the training split, learns weights from them, and reports.

    Parameters
    ----------
    settings : RefitSettings
    weights : SampleWeights
        Of the criterion.
    tap : FeatureTap
    meta : MetaSet or None
    n_train : int
        Samples of the training split.
    distributed : bool
        Whether other processes train on other parts of it.
    other_data : bool
        Whether the net has trained on other data.

    Attributes
    ----------
    reweighter : OTReweighter
        Of the last refit.
    plan : EpochPlan
        Of the present epoch.
    n_weighted : int
        Epochs begun with weights.
    weighed : ndarray or None
        Ids of the samples that the last refit has weighed, in its order; None where it was of a mini-batch, or was
        shared by several processes.
    """

    def __init__(self, settings, weights, tap, meta, *, n_train, distributed, other_data):
        self.settings, self.weights, self.tap, self.meta = settings, weights, tap, meta
        self.n_train, self.distributed = n_train, distributed
        self.reweighter = OTReweighter(settings.weighter, distributed=distributed)
        self.reweighter._settled = weights.settled
        self._heart = None  # hits of training labels and of trusted ones, where they were learned by heart
        self.plan = None
        self.n_weighted = 0
        self.weighed = None
        self._other_data = other_data
        self._scores = None  # how outputs tell classes
        self._meta_labels = None
        self._width = None  # of the features
        self._labels = _LabelsMet()
        self._looked = False  # at the features of a training batch
        self._warned = set()

    @property
    def sample_weight(self):
        """The weights on the host, or None before the first refit."""
        return self.weights.weight.cpu().numpy().copy() if self.weights.learned else None

    # ---- before the first refit

    def check(self, net, dataset_train):
        """Tell at once what the first refit would otherwise tell after stage 1.

        Raises
        ------
        ValueError
            If the weighter, or labels or features of the meta set, will not do.
        """
        if self.meta is not None:
            with quietly():
                found = self.meta.embed(net)
            if not bool(torch.isfinite(found.features).all()):
                raise ValueError(
                    "The features of the trusted samples contain NaN or infinity. Look for them in these samples, and "
                    "fill or drop what is missing there as in X."
                )
            self._scores, self._width = ClassScores.of(net, found), found.features.shape[1]
            self._meta_labels = found.labels
        labels = stored_labels(dataset_train)
        if labels is not None and labels.dtype.kind in "biuf":
            self._check_labels(label_column(labels))
            self._labels.complete = True

    def _check_labels(self, labels):
        """Compare labels that are new with those of the meta set."""
        if self.meta is not None and self._labels.add(labels):
            self._each_once(check_labels, self.settings.weighter, self._labels.values, self._meta_labels)

    # ---- epochs and batches

    def begin_epoch(self, net, dataset_train):
        """Settle what this epoch does."""
        s = self.settings
        self.plan = EpochPlan.of(
            len(net.history),
            warmup_epochs=s.warmup_epochs,
            refit_every=s.refit_every,
            features=s.features,
            meta_loss_weight=s.meta_loss_weight,
            learned=self.weights.learned,
            other_data=self._other_data,
        )
        self._other_data = False
        self._seconds, self._costs, self._meta_accuracy = 0.0, [], math.nan
        if self.plan.catch_up:
            self._refit(net, dataset_train)
        elif self.plan.batchwise and not self.weights.learned:
            self.weights.start_even(self.n_train)
        self.n_weighted += self.plan.weighted
        self._pass = TrainingPass(self._scores)

    def begin_batch(self, net, batch):
        """Have the loss of a training batch weighed, and its features kept."""
        ids, labels = ids_of(batch), label_column(unpack_data(batch)[1])
        if not self._labels.complete:
            self._check_labels(labels)
        meta = None
        if self.plan.batchwise:
            start = time.perf_counter()
            meta = self._embed_meta(net)
            self._seconds += time.perf_counter() - start
        self._batch = _Batch(ids, labels, meta)
        wanted = self.plan.weighted or self.plan.collect or self.plan.meta_loss or not self._looked
        self.weights.expect(
            functools.partial(self._on_loss, net, self._batch) if wanted else None,
            per_sample=self.plan.weighted,
            check=None if self._looked else len(ids),
        )

    def end_batch(self, net, y_pred):
        """Stop where the loss or the features are not finite.

        Raises
        ------
        FloatingPointError
        """
        batch = self._batch
        if batch.finite is not None and not bool(batch.finite):
            raise _not_finite(net, "features")
        if not math.isfinite(net.history[-1]["batches"][-1]["train_loss"]):
            raise _not_finite(net, "loss")
        self._pass.count(y_pred, batch.labels)
        self._looked = True

    def end_epoch(self, net, dataset_train):
        """Refit where it is time, and report."""
        self._labels.complete = True
        if self.plan.read:
            self._read_labels(net, dataset_train)
        if self.plan.refit:
            self._refit(net, dataset_train, self._pass if self.plan.collect else None)
        self._report(net.history)

    def _on_loss(self, net, batch, loss, reduction):
        """Loss of a training batch from what the criterion returned."""
        plan = self.plan
        if self._wants_features and not (self.tap.value is None and batch.finite is not None):
            features = self.tap.take()
            self._check_width(features)
            batch.finite = torch.isfinite(features).all()
            if plan.batchwise:
                if not bool(batch.finite):
                    raise _not_finite(net, "features")
                self._refit_batch(batch, features)
            elif plan.collect:
                self._pass.add(batch.ids, features, batch.labels)
        if plan.weighted:
            weight = self.weights.weight[batch.ids.to(self.weights.weight.device)].to(loss.device)
            loss = weighted_loss(loss, weight, reduction)
        if plan.meta_loss:
            loss = loss + self.settings.meta_loss_weight * self.meta.loss(net)
        return loss

    @property
    def _wants_features(self):
        return self.plan.collect or self.plan.batchwise or not self._looked

    def _check_width(self, features):
        if self._width is not None and features.shape[1] != self._width:
            raise ValueError(
                f"The training samples have {features.shape[1]} features at the feature layer, and the trusted samples "
                f"have {self._width}. Both must have as many there. Pool over what differs, such as positions of a "
                "text or of an image."
            )

    def _clean_pass(self, net, dataset_train):
        start = time.perf_counter()
        found = clean_pass(net, self.tap, dataset_train, self._scores)
        self._seconds += time.perf_counter() - start
        return found

    def _embed_meta(self, net):
        """A pass over the meta set, or None; its accuracy is recorded."""
        if self.meta is None:
            return None
        found = self.meta.embed(net)
        if self._scores is not None:
            hits = self._scores.hits(found.outputs, found.labels).cpu().numpy()
            self._meta_accuracy = _accuracy(hits)
        return found

    # ---- weights

    def _refit(self, net, dataset_train, kept=None):
        """Learn weights from the pass that trained, or from a clean one."""
        if not self.reweighter._settled.final:
            self._read_labels(net, dataset_train)
        if kept is None:
            kept = self._clean_pass(net, dataset_train)
        start = time.perf_counter()
        ids, features, labels = kept.of_transport(self.weights.trusted)
        meta = self._embed_meta(net)
        self.weighed = None if self.distributed else ids.numpy()
        shares = None
        if self.distributed:  # a sample that several processes met counts once
            counts = all_reduce(np.bincount(ids, minlength=self.n_train))
            shares = 1.0 / counts[ids]
        # all of one class, as a chunk of partial_fit may be: weights within it, as for a mini-batch
        one_class = not self.distributed and labels.ndim == 1 and len(torch.unique(labels)) == 1 and meta is not None
        weight = self._weights_of(
            features,
            labels,
            meta,
            labels_fitted=True,  # they have been read, if they could be
            sample_weight=shares,
            mini_batch=one_class,
        )
        trusted = self.weights.trusted.cpu()
        theirs = _class_means(weight, labels, meta.labels, shares) if len(trusted) else None
        if self.distributed:
            everything = all_reduce(np.bincount(ids, weight.cpu().numpy(), self.n_train))
            ids = torch.as_tensor(np.flatnonzero(counts))
            weight = torch.as_tensor(everything, device=weight.device)[ids]
        self._update(ids, weight, trusted, theirs)
        if len(weight) > 1:  # else there was nothing to solve
            self._costs.append(self.reweighter.weighter_.objective_)
            self._warn_of_collapse(labels)
        self._seconds += time.perf_counter() - start

    def _refit_batch(self, batch, features):
        """Learn the weights of a mini-batch by itself."""
        start = time.perf_counter()
        ids, labels = batch.ids, batch.labels
        known = torch.isin(ids, self.weights.trusted.cpu())
        if not bool(known.all()):
            rest, trusted, theirs = labels[~known.to(labels.device)], ids[known], None
            features = features[~known.to(features.device)]
            fitted, self.weighed = self._trusted_train, None
            weight = self._weights_of(features, rest, batch.meta, labels_fitted=fitted, mini_batch=True)
            if len(trusted):
                theirs = _class_means(weight, rest, labels[known.to(labels.device)])
            self._update(ids[~known], weight, trusted, theirs)
            if len(weight) > 1:
                self._costs.append(self.reweighter.weighter_.objective_)
        self._seconds += time.perf_counter() - start

    def _weights_of(self, features, labels, meta, **kwargs):
        """Solve; what the first solution of the training settles is kept with the weights."""
        meta = () if meta is None else (meta.features, meta.labels)
        before = self.reweighter._settled
        if not before.final:
            self._warn_of_labels_learned()
        found = self._each_once(self.reweighter.refit, features, labels, *meta, **kwargs)
        if self.reweighter._settled is not before:
            self.weights.settle(self.reweighter._settled)
        return found

    @property
    def _trusted_train(self):
        """Whether the network has trained on the trusted samples, too."""
        return self.meta is not None and (self.meta.drawn or self.plan.meta_loss)

    def _read_labels(self, net, dataset_train):
        """Ask the trusted samples how reliable the labels are, by some training samples in evaluation mode.

        They have nothing to say where they have trained the network, too, nor where it has learned the training labels
        by heart. Its features then vouch for wrong labels as for right ones.
        """
        if self.meta is None or self._trusted_train or self.reweighter._settled.final:
            return
        some = Subset(dataset_train, _some_of_each(dataset_train))
        start = time.perf_counter()
        with quietly():
            kept, meta = clean_pass(net, self.tap, some, self._scores), self._embed_meta(net)
        self._heart = None
        if self._scores is not None:
            train, trusted = self._hits(kept), self._scores.hits(meta.outputs, meta.labels).cpu().numpy()
            if self.distributed:  # all must come to the same view, and their batch norms differ
                trusted = all_reduce(trusted) / all_reduce(1.0)
            if learned_by_heart(train, trusted):
                self._heart = train, trusted
        if self._heart is None:
            _, features, labels = kept.of_transport(self.weights.trusted)
            self._each_once(self.reweighter.read_labels, features, labels, meta.features, meta.labels)
            self.weights.settle(self.reweighter._settled)
        self._seconds += time.perf_counter() - start

    def _warn_of_labels_learned(self):
        """Warn where nothing is known of the labels since the network has learned them by heart."""
        if self._heart is None or self.reweighter._settled.reliability is not None:
            return
        train, trusted = self._heart
        found = (
            f"The network predicts {_accuracy(train):.0%} of the training labels and {_accuracy(trusted):.0%} of the "
            "trusted ones: "
        )
        if worse_than_chance(trusted):
            found += (
                "they contradict each other. Look whether classes are encoded otherwise in the trusted samples than "
                "in training, and whether samples and labels of one of them are in different orders. If not, "
            )
        self._warn_once(
            "by heart",
            f"{found}it has learned training labels by heart, and its features vouch for wrong ones, too. How reliable "
            "the labels are stays unknown, and reg='auto' takes no account of it. Begin with a network that has not "
            "trained on these labels yet, or let it fit less closely.",
        )

    def _hits(self, kept):
        """Predicted labels and all labels of each class in a pass, of all processes."""
        empty = np.zeros((2, self._scores.n_classes))
        hits = empty if kept.hits is None else kept.hits.cpu().numpy()
        return all_reduce(hits) if self.distributed else hits

    def _update(self, ids, weight, trusted, theirs):
        """New weights of samples and of trusted ones among them, mean 1, smoothed where there were others."""
        new = weight.float()
        if theirs is not None:
            ids = torch.cat([ids, trusted[theirs.isfinite()]])
            new = torch.cat([new, theirs[theirs.isfinite()].to(new)])
            new = new / new.mean()
        self.weights.update(ids, new, self.n_train, self.settings.smoothing)

    # ---- reports

    def _report(self, history):
        weight = self.sample_weight if self.weights.learned else np.ones(self.n_train)
        history.record("weight_ess", float(effective_sample_size(weight)))
        history.record("weight_max", float(weight.max()))
        history.record("transport_cost", float(np.mean(self._costs)) if self._costs else math.nan)
        history.record("refit_dur", self._seconds)
        if self._scores is not None:
            history.record("label_accuracy", _accuracy(self._hits(self._pass)))
            history.record("meta_accuracy", self._meta_accuracy)

    def _warn_of_collapse(self, labels):
        weighter = self.reweighter.weighter_
        spread = 1.0  # of the prior: its effective share of the samples
        if weighter.prior == "balanced" and isinstance(getattr(weighter, "classes_", None), np.ndarray):
            counts = np.unique(labels.cpu().numpy(), return_counts=True)[1]
            if len(counts) == len(weighter.class_mass_):
                spread = 1.0 / (counts.sum() * np.sum(weighter.class_mass_**2 / counts))
        size, n = effective_sample_size(self.sample_weight), self.n_train
        if size < _COLLAPSE * spread * n:
            self._warn_once(
                "collapse",
                f"The sample weights have collapsed: {n} samples count as {size:.1f}, and prior weights would make "
                f"them {spread * n:.1f}. Raise the weighter's reg, cap weights by its max_weight, or set smoothing.",
            )

    def _each_once(self, solve, *args, **kwargs):
        """Let through the warnings of the weighter that no earlier refit has given, whatever their numbers."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = solve(*args, **kwargs)
        for one in caught:
            self._warn_once(str(one.message).split(":")[0], str(one.message), one.category)
        return found

    def _warn_once(self, subject, message, category=UserWarning):
        if subject not in self._warned:
            self._warned.add(subject)
            warn(message, category)


class _Batch:
    """A training batch between its two hooks."""

    def __init__(self, ids, labels, meta):
        self.ids, self.labels, self.meta = ids, labels, meta
        self.finite = None  # whether its features are, once they have been taken


class _LabelsMet:
    """Labels of training samples that have been compared with those of the meta set."""

    def __init__(self):
        self.complete = False  # there are no others
        self.values = None

    def add(self, labels):
        """Whether there are new classes among labels. Of labels that are numbers some stand for all."""
        labels = labels.cpu().numpy()
        numbers = labels.dtype.kind == "f"
        if numbers and self.values is not None:
            return False
        values = np.unique(labels, axis=0)
        if numbers:
            values = values[:: -(-len(values) // _LABELS_ASKED)]
        if self.values is not None:
            values = np.unique(np.concatenate([self.values, values]), axis=0)
        new = self.values is None or len(values) > len(self.values)
        self.values = values
        return new


def _some_of_each(dataset):
    """Indices of some samples, as many of each class where the data set tells; labels that are no classes, any."""
    known = stored_labels(dataset)
    known = None if known is None else label_column(known).cpu().numpy()
    codes = np.zeros(len(dataset), dtype=np.intp)
    if known is not None and known.ndim == 1:
        codes = np.unique(known, return_inverse=True)[1]
    return choose_evenly(None, codes, _READ).tolist()


def _accuracy(hits):
    return float(hits[0].sum() / hits[1].sum()) if hits[1].any() else math.nan


def _class_means(weight, labels, of, shares=None):
    """Mean weight of the class of each label in ``of``, NaN where it has no samples.

    Trusted training samples weigh that much: they would be their own nearest neighbours. ``shares`` of the samples are
    given where other processes have the rest of them.
    """
    labels, of = labels.cpu().numpy(), of.cpu().numpy()
    classes, codes = np.unique(of, return_inverse=True)
    known = np.isin(labels, classes)
    rows = np.searchsorted(classes, labels[known])
    weight = weight.cpu().numpy()[known]
    counts = np.ones(len(rows)) if shares is None else shares[known]
    sums = np.stack([np.bincount(rows, values, len(classes)) for values in (weight, counts)])
    sums = sums if shares is None else all_reduce(sums)
    with np.errstate(invalid="ignore"):
        return torch.as_tensor((sums[0] / sums[1])[codes])


def _not_finite(net, what):
    return FloatingPointError(
        f"NaN or infinity in the {what} of epoch {len(net.history)}, batch {len(net.history[-1]['batches'])}. The "
        "sample weights are those of the last refit. Lower the learning rate, clip gradients, or look for broken input."
    )
