"""OTReweighting: the callback that refits the weights while a skorch net trains."""

import functools
import math
import time
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNet, NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.dataset import unpack_data
from skorch.utils import is_dataset, to_device
from torch.utils.data import DataLoader, Subset

from skotw._compat import Interval, StrOptions, validate_parameter_constraints
from skotw._validation import warn
from skotw._weighter.estimator import OTSampleWeighter
from skotw.metrics import effective_sample_size

from ._feature_tap import FeatureTap, unwrapped
from ._feature_weighter import all_reduce
from ._freeze import freeze, frozen_layers
from ._reweighter import OTReweighter
from ._sample_ids import IndexedIterator, check_indexable, ids_of
from ._trusted_set import balanced_batches, draw_trusted, fingerprint, is_draw, meta_dataset
from ._weighted_criterion import SampleWeights, weighted_loss

__all__ = ["OTReweighting"]

# Below this share of the effective sample size of the prior weights, a few samples carry the training.
_COLLAPSE = 0.1


class OTReweighting(Callback):
    """Refit the sample weights of a skorch net while it trains.

    Stage 1 trains on the plain loss for ``warmup_epochs``. Stage 2 alternates between refitting the weights, by optimal
    transport between the current features of the training samples and those of a trusted meta set, and training on
    the weighted loss. The features come from the training pass, so that a refit costs a forward pass over the meta set
    and no more.

    It needs nothing of the net but a classifier whose criterion has a ``reduction``: no subclass, no sample weights in
    the data. The loss of validation batches stays as it is.

    Parameters
    ----------
    meta : (X_meta, y_meta), Dataset, int or None, default=None
        The trusted samples: data as the net takes it with labels, or a data set. A number sets as many training
        samples of each class aside, of the training split only; they go on training, with the mean weight of their
        class. None takes class prototypes of the training samples.
    feature_layer : str or None, default=None
        Name of the layer whose input are the features, usually the last: ``"head"``, or ``"layers.4"`` as
        ``module.named_modules()`` has it. None: the module returns ``(logits, features)``.
    weighter : OTSampleWeighter or None, default=None
        How weights are learned; None is ``OTSampleWeighter(reg=0.05)``. With ``reg="auto"`` the first refit settles it,
        since the network later fits wrong labels too, and its features then vouch for them.
    warmup_epochs : int, default=5
        Epochs of plain loss. At the end of the last of them the weights are learned for the first time.
    refit_every : int or "batch", default=1
        Refit at the end of stage 1, and then at the end of every epoch that is a multiple of this. "batch": each
        mini-batch is weighed by itself, as in the paper, at the price of embedding the meta set once per batch; only
        the end of stage 1 refits as above.
    features : {"cached", "clean"}, default="cached"
        "cached": as the training pass computed them in the epoch before the refit, at no cost. "clean": a pass in
        evaluation mode over the training set, with the network as it is at the refit.
    smoothing : float in [0, 1), default=0.0
        Share of a sample's old weight in its new one.
    freeze : bool, str or list of str, default=False
        Names of layers that stop training in stage 2, their batch norm and dropout included; True is all but the
        feature layer.
    meta_loss_weight : float, default=0.0
        In stage 2 add the mean loss of a class-balanced mini-batch of the meta set times this factor (10 in the script
        of the paper's authors). The batch goes through the transforms of its data set.
    random_state : int, RandomState instance or None, default=None
        Draws the meta set where ``meta`` is a number.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_train,)
        Weights of the training split after the last refit, mean 1. A sample that the training pass has never met, as
        by ``drop_last``, keeps the weight it had, at first 1.
    reweighter_ : OTReweighter
        With ``weighter_``, fitted: reliability of the labels, regularisation, and weights of further samples.

    See Also
    --------
    OTWeightedNetClassifier : A classifier that brings this callback with it.
    OTReweighter : The object below, for other training loops.

    Notes
    -----
    Every epoch records in ``net.history``, and thus prints: ``weight_ess``, the effective sample size of the weights;
    ``weight_max``, the largest; ``transport_cost``, the minimised objective; ``refit_dur``, seconds spent on refitting.

    List it before callbacks that load a checkpoint. The weights live in ``net.criterion_``, so that a checkpoint with
    ``f_criterion``, which is skorch's default, has them.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch import NeuralNetClassifier
    >>> from torch import nn
    >>> from skotw.deep import OTReweighting
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], [200, 40, 10])
    >>> X = (rng.normal(size=(250, 6)) + 2 * np.eye(6)[y]).astype("float32")
    >>> y_meta = np.repeat([0, 1, 2], 5)
    >>> X_meta = (rng.normal(size=(15, 6)) + 2 * np.eye(6)[y_meta]).astype("float32")
    >>> net = NeuralNetClassifier(
    ...     nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
    ...     criterion=nn.CrossEntropyLoss,
    ...     callbacks=[OTReweighting(meta=(X_meta, y_meta), feature_layer="2", warmup_epochs=2)],
    ...     max_epochs=4,
    ...     iterator_train__shuffle=True,
    ...     verbose=0,
    ... ).fit(X, y)
    >>> net.history[:, "weight_ess"][0]
    200.0
    >>> net.history[-1, "weight_ess"] < 100
    True
    """

    _parameter_constraints = {
        "feature_layer": [str, None],
        "weighter": [OTSampleWeighter, None],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "refit_every": [Interval(Integral, 1, None, closed="left"), StrOptions({"batch"})],
        "features": [StrOptions({"cached", "clean"})],
        "smoothing": [Interval(Real, 0, 1, closed="left")],
        "freeze": [bool, str, list, tuple],
        "meta_loss_weight": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        meta=None,
        feature_layer=None,
        weighter=None,
        warmup_epochs=5,
        refit_every=1,
        features="cached",
        smoothing=0.0,
        freeze=False,
        meta_loss_weight=0.0,
        random_state=None,
    ):
        self.meta = meta
        self.feature_layer = feature_layer
        self.weighter = weighter
        self.warmup_epochs = warmup_epochs
        self.refit_every = refit_every
        self.features = features
        self.smoothing = smoothing
        self.freeze = freeze
        self.meta_loss_weight = meta_loss_weight
        self.random_state = random_state

    # ------------------------------------------------------------------ hooks of skorch

    def initialize(self):
        """Forget earlier training.

        Returns
        -------
        self : OTReweighting
            The callback.
        """
        for name in ("data_", "drawn_", "reweighter_", "sample_weight_"):
            self.__dict__.pop(name, None)
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Check, and get hold of sample ids, features and loss.

        Parameters
        ----------
        net : NeuralNet
            The net.
        X : object
            Training data.
        y : object
            Training labels.
        **kwargs : dict
            Unused.

        Raises
        ------
        ValueError
            If a parameter is invalid or contradicts another, the feature layer or a layer to freeze does not exist,
            there are no labels, or the data set has no length.
        TypeError
            If the criterion cannot return one loss per sample.
        """
        self._check_parameters()
        if is_dataset(X):
            check_indexable(X)
        elif y is None and net.iterator_train is DataLoader:
            raise ValueError("There are no labels: pass y, or a Dataset that yields (X, y) pairs as X.")
        weights = SampleWeights.attach(net.criterion_)
        weights.step = None  # as an error may have left it
        data = fingerprint(X, y)
        other_data = data is not None and getattr(self, "data_", data) != data
        self.data_ = data
        tap = FeatureTap.attach(net.module_, self.feature_layer)
        frozen = None
        if self.freeze is not False:
            frozen = frozen_layers(unwrapped(net.module_), self.freeze, self.feature_layer)
        self.run_ = _Run(weights, tap, frozen, other_data)
        if not isinstance(net.iterator_train, IndexedIterator):  # as it would be after an interrupted start
            net.iterator_train = IndexedIterator(net.iterator_train)

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Settle what this epoch does.

        Parameters
        ----------
        net : NeuralNet
            The net.
        dataset_train : Dataset
            The training split.
        dataset_valid : Dataset
            The validation split, which is left alone.
        **kwargs : dict
            Unused.
        """
        run = self.run_
        if run.meta is None:
            net.iterator_train = net.iterator_train.iterator  # the data loader is made: give the parameter back
            self._start(net, dataset_train)
        epoch = len(net.history)
        stage_2 = epoch > self.warmup_epochs
        run.refit_seconds, run.costs = 0.0, []
        run.batchwise = stage_2 and self.refit_every == "batch"
        run.due = epoch == self.warmup_epochs
        if self.refit_every != "batch":
            run.due |= stage_2 and epoch % self.refit_every == 0
        run.collect = run.due and self.features == "cached"
        run.rows = _Rows()
        if stage_2 and run.frozen is not None:
            freeze(net.module_, *run.frozen)
        if run.batchwise and not run.weights.learned:
            run.weights.weight = torch.ones(run.n_train)
        elif stage_2 and run.other_data:
            self._pass_clean(net, dataset_train)
            self._refit(net)
        run.other_data = False
        run.weighted = stage_2 and run.weights.learned
        run.meta_loss = stage_2 and self.meta_loss_weight > 0

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Have the loss of the batch weighed.

        Parameters
        ----------
        net : NeuralNet
            The net.
        batch : IndexedBatch
            Data, labels and ids.
        training : bool
            Whether it is a training batch.
        **kwargs : dict
            Unused.
        """
        if not training:
            return
        run, ids = self.run_, ids_of(batch)
        run.finite = None
        if run.batchwise:
            start = time.perf_counter()
            run.batch_meta = self._embed_meta(net)
            run.refit_seconds += time.perf_counter() - start
        run.weights.per_sample = run.weighted
        if run.weighted or run.collect:
            run.weights.step = functools.partial(self._on_loss, net, ids, unpack_data(batch)[1])

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Stop where the loss or the features are not finite.

        Parameters
        ----------
        net : NeuralNet
            The net.
        batch : IndexedBatch
            Data, labels and ids.
        training : bool
            Whether it was a training batch.
        **kwargs : dict
            Unused.

        Raises
        ------
        FloatingPointError
            Naming the epoch and the batch. The weights stay those of the last refit.
        """
        run = self.run_
        run.weights.step = None
        if not training:
            return
        if run.finite is not None and not bool(run.finite):
            raise _not_finite(net, "features")
        if not math.isfinite(net.history[-1]["batches"][-1]["train_loss"]):
            raise _not_finite(net, "loss")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Refit where it is time, and report.

        Parameters
        ----------
        net : NeuralNet
            The net.
        dataset_train : Dataset
            The training split.
        dataset_valid : Dataset
            The validation split, which is left alone.
        **kwargs : dict
            Unused.
        """
        run = self.run_
        if run.due:
            if not run.collect:
                self._pass_clean(net, dataset_train)
            self._refit(net)
        self._report(net)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Let go of the training set.

        Parameters
        ----------
        net : NeuralNet
            The net.
        X : object
            Training data.
        y : object
            Training labels.
        **kwargs : dict
            Unused.
        """
        self.run_.weights.step = None
        del self.run_

    # ------------------------------------------------------------------ the meta set

    def _check_parameters(self):
        params = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, params, type(self).__name__)
        if self.refit_every == "batch" and self.features == "clean":
            raise ValueError("refit_every='batch' weighs the features of the batch: leave features='cached'.")
        if self.meta_loss_weight > 0 and self.meta is None:
            raise ValueError("meta_loss_weight needs trusted samples: pass meta=.")

    def _start(self, net, dataset_train):
        """Meet the training split and the meta set."""
        run = self.run_
        run.n_train = len(dataset_train)
        run.distributed = getattr(getattr(net, "accelerator", None), "num_processes", 1) > 1
        self.reweighter_ = OTReweighter()
        run.other_data = run.other_data or len(run.weights.weight) not in (0, run.n_train)
        if run.other_data:
            run.weights.forget()
        run.meta = ()
        drawn = self.meta if is_draw(self.meta) else None
        if getattr(self, "drawn_", drawn) != drawn or drawn is None:  # another meta set than that of the weights
            run.weights.trusted = run.weights.trusted[:0]
        self.drawn_ = drawn
        if self.meta is None:
            return
        if drawn is not None:
            if not len(run.weights.trusted):
                drawn = draw_trusted(dataset_train, self.meta, self._seed())
                run.weights.trusted = torch.as_tensor(drawn)
            run.meta = Subset(dataset_train, run.weights.trusted.tolist())
        else:
            run.meta = meta_dataset(self.meta, net)

    def _seed(self):
        """The same in every process."""
        if self.random_state is not None or not self.run_.distributed:
            return self.random_state
        return int(all_reduce(np.random.default_rng().integers(2**31)) % 2**31)

    def _embed_meta(self, net):
        """Features and labels of the meta set, or nothing."""
        if not self.run_.meta:
            return ()
        # not that of a subclass: every process needs all of the meta set
        with torch.random.fork_rng(devices=[]):  # a data loader draws a seed, and training must not notice
            iterator = NeuralNet.get_iterator(net, self.run_.meta, training=False)
            parts = [self._embed(net, batch) for batch in iterator]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _meta_loss(self, net):
        """Mean loss of a class-balanced mini-batch of the meta set."""
        run = self.run_
        if run.meta_batches is None:
            labels = np.concatenate([_tensor(y).cpu().numpy() for _, y in NeuralNet.get_iterator(net, run.meta)])
            params = net.get_params_for("iterator_train")
            kept = {name: params[name] for name in ("collate_fn", "pin_memory") if name in params}
            size = min(len(run.meta), params.get("batch_size", net.batch_size) % 2**31)
            run.meta_batches = balanced_batches(run.meta, labels, size, **kept)
        Xi, yi = (_to(net, part) for part in unpack_data(next(run.meta_batches)))
        y_pred = net.infer(Xi)
        y_pred = y_pred[0] if isinstance(y_pred, tuple) else y_pred
        # not that of a subclass, which may scale the loss, as for gradient accumulation, and gets the sum to scale
        loss = (NeuralNetClassifier if isinstance(net, NeuralNetClassifier) else NeuralNet).get_loss(net, y_pred, yi)
        return loss.mean()

    # ------------------------------------------------------------------ features and loss

    def _on_loss(self, net, ids, y, loss, reduction):
        """Loss of a training batch from what the criterion returned."""
        run = self.run_
        if (run.collect or run.batchwise) and not (run.tap.value is None and run.finite is not None):
            features = run.tap.take()
            run.finite = torch.isfinite(features).all()
            if run.batchwise:
                if not bool(run.finite):
                    raise _not_finite(net, "features")
                self._refit_batch(ids, features, _tensor(y))
            else:
                run.rows.add(ids, features, _tensor(y))
        if run.weighted:
            weight = run.weights.weight[ids.to(run.weights.weight.device)].to(loss.device)
            loss = weighted_loss(loss, weight, reduction)
        if run.meta_loss:
            loss = loss + self.meta_loss_weight * self._meta_loss(net)
        return loss

    def _embed(self, net, batch):
        """Features of a batch in evaluation mode, and its labels."""
        Xi, yi = unpack_data(batch)
        net.module_.eval()
        with torch.no_grad():
            net.infer(_to(net, Xi))
        return self.run_.tap.take(), _tensor(yi)

    def _pass_clean(self, net, dataset_train):
        """Features of the whole training split in evaluation mode."""
        run, start = self.run_, time.perf_counter()
        run.rows, given = _Rows(), net.iterator_valid
        net.iterator_valid = IndexedIterator(given)
        try:
            iterator = net.get_iterator(dataset_train, training=False)
        finally:
            net.iterator_valid = given
        with torch.random.fork_rng(devices=[]):
            for batch in iterator:
                features, labels = self._embed(net, batch)
                run.rows.add(ids_of(batch), features, labels)
        run.refit_seconds += time.perf_counter() - start

    # ------------------------------------------------------------------ weights

    def _refit(self, net):
        run, start = self.run_, time.perf_counter()
        ids, features, labels = run.rows.of_transport(run.weights.trusted)
        run.rows = _Rows()
        meta = self._embed_meta(net)
        shares = None
        if run.distributed:  # a sample that several processes met counts once
            counts = all_reduce(np.bincount(ids, minlength=run.n_train))
            shares = 1.0 / counts[ids]
        # all of one class, as a chunk of partial_fit may be: weights within it, as for a mini-batch
        one_class = not run.distributed and labels.ndim == 1 and len(torch.unique(labels)) == 1 and len(meta) > 0
        weight = self._weights_of(
            features, labels, meta, distributed=run.distributed, sample_weight=shares, mini_batch=one_class
        )
        trusted = run.weights.trusted.cpu()
        theirs = _class_means(weight, labels, meta[1], shares) if len(trusted) else None
        if run.distributed:
            everything = all_reduce(np.bincount(ids, weight.cpu().numpy(), run.n_train))
            ids = torch.as_tensor(np.flatnonzero(counts))
            weight = torch.as_tensor(everything, device=weight.device)[ids]
        self._update(ids, weight, trusted, theirs)
        self._publish()
        if len(weight) > 1:  # else there was nothing to solve
            run.costs.append(self.reweighter_.weighter_.objective_)
            self._warn_of_collapse(labels)
        run.refit_seconds += time.perf_counter() - start

    def _refit_batch(self, ids, features, labels):
        run, start = self.run_, time.perf_counter()
        known = torch.isin(ids, run.weights.trusted.cpu())
        if not bool(known.all()):
            rest, trusted, theirs = labels[~known.to(labels.device)], ids[known], None
            features = features[~known.to(features.device)]
            weight = self._weights_of(features, rest, run.batch_meta, mini_batch=True)
            if len(trusted):
                theirs = _class_means(weight, rest, labels[known.to(labels.device)])
            self._update(ids[~known], weight, trusted, theirs)
            if len(weight) > 1:
                run.costs.append(self.reweighter_.weighter_.objective_)
        run.refit_seconds += time.perf_counter() - start

    def _weights_of(self, features, labels, meta, *, distributed=False, **kwargs):
        """Solve; ``reg="auto"`` is settled by the first solution of the training."""
        weights, weighter, reweighter = self.run_.weights, self.weighter, self.reweighter_
        automatic = weighter is not None and weighter.reg == "auto"
        if automatic and weights.reg.isfinite():
            weighter, automatic = clone(weighter).set_params(reg=float(weights.reg)), False
        reweighter.weighter, reweighter.distributed = weighter, distributed
        found = reweighter.refit(features, labels, *meta, **kwargs)
        if automatic and len(torch.unique(labels)) > 1:  # a batch of one class says nothing, and is not to settle it
            weights.reg = torch.tensor(reweighter.weighter_.reg_)
        return found

    def _update(self, ids, weight, trusted, theirs):
        """New weights of samples and of trusted ones among them, mean 1, smoothed where there were others."""
        weights, new, device = self.run_.weights, weight.float(), weight.device
        if theirs is not None:
            ids = torch.cat([ids, trusted[theirs.isfinite()]])
            new = torch.cat([new, theirs[theirs.isfinite()].to(new)])
            new = new / new.mean()
        ids = ids.to(device)
        if weights.learned:
            weight = weights.weight.to(device)
            new = self.smoothing * weight[ids] + (1.0 - self.smoothing) * new
        else:
            weight = torch.ones(self.run_.n_train, device=device)
        weights.weight = weight.index_copy(0, ids, new)

    def _publish(self):
        self.sample_weight_ = self.run_.weights.weight.cpu().numpy().copy()

    def _report(self, net):
        run = self.run_
        weight = np.ones(run.n_train)
        if run.weights.learned:
            self._publish()
            weight = self.sample_weight_
        net.history.record("weight_ess", float(effective_sample_size(weight)))
        net.history.record("weight_max", float(weight.max()))
        net.history.record("transport_cost", float(np.mean(run.costs)) if run.costs else math.nan)
        net.history.record("refit_dur", run.refit_seconds)

    def _warn_of_collapse(self, labels):
        weighter = self.reweighter_.weighter_
        spread = 1.0  # of the prior: its effective share of the samples
        if weighter.prior == "balanced" and isinstance(getattr(weighter, "classes_", None), np.ndarray):
            counts = np.unique(labels.cpu().numpy(), return_counts=True)[1]
            if len(counts) == len(weighter.class_mass_):
                spread = 1.0 / (counts.sum() * np.sum(weighter.class_mass_**2 / counts))
        size, n = effective_sample_size(self.sample_weight_), len(self.sample_weight_)
        if size < _COLLAPSE * spread * n and not self.run_.warned:
            self.run_.warned = True
            warn(
                f"The sample weights have collapsed: {n} samples count as {size:.1f}, and prior weights would make "
                f"them {spread * n:.1f}. Raise the weighter's reg, cap weights by its max_weight, or set smoothing.",
            )

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "run_"}


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


class _Run:
    """What one call of ``fit`` needs, and what no pickle should hold."""

    def __init__(self, weights, tap, frozen, other_data):
        self.weights, self.tap, self.frozen = weights, tap, frozen
        self.other_data = other_data  # than that of the weights
        self.meta = None  # () where there is none
        self.meta_batches = None
        self.warned = False


class _Rows:
    """Ids, features and labels of the batches of a pass."""

    def __init__(self):
        self.ids, self.features, self.labels = [], [], []

    def add(self, ids, features, labels):
        self.ids.append(ids)
        self.features.append(features)
        self.labels.append(labels)

    def of_transport(self, trusted):
        """Of each sample what came last, without trusted samples."""
        if not self.ids:
            raise ValueError(
                "The training pass had no batches, and so there are no features to weigh. With drop_last=True the "
                "training split needs a batch_size of samples at least."
            )
        ids = torch.cat(self.ids)
        last = torch.full((int(ids.max()) + 1,), -1).scatter_reduce(0, ids, torch.arange(len(ids)), "amax")
        last[trusted.cpu()[trusted.cpu() < len(last)]] = -1
        kept = last[last >= 0]
        features, labels = torch.cat(self.features), torch.cat(self.labels)
        return ids[kept], features[kept.to(features.device)], labels[kept.to(labels.device)]


def _not_finite(net, what):
    return FloatingPointError(
        f"NaN or infinity in the {what} of epoch {len(net.history)}, batch {len(net.history[-1]['batches'])}. The "
        "sample weights are those of the last refit. Lower the learning rate, clip gradients, or look for broken input."
    )


def _tensor(y):
    """Labels of a batch; the column that the losses of binary labels and of regression want is one label per sample."""
    y = y if isinstance(y, torch.Tensor) else torch.as_tensor(np.asarray(y))
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _to(net, part):
    """A part of a batch where the module is; skorch does it by itself unless accelerate has taken over."""
    return part if net.device is not None else to_device(part, next(net.module_.parameters()).device)
