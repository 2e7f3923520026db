"""OTReweighter: weights from the features of a network, for training loops of any kind."""

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError

from skotw._transport.arrays import like_rows, to_numpy
from skotw._transport.standardise import Standardise
from skotw._weighter.auto_reg import UNKNOWN_REG
from skotw._weighter.compute import compute_of
from skotw._weighter.embedding import embed, fit_embedding
from skotw._weighter.estimator import OTSampleWeighter, _can_stream
from skotw._weighter.feature_cost import GEMM_METRICS
from skotw._weighter.model import TransportModel

from ._processes import SharedModel, all_reduce

__all__ = ["DEFAULT_REG", "OTReweighter", "check_labels", "check_weighter"]

DEFAULT_REG = 0.05


class OTReweighter:
    """Learn the weights of training samples from features that a network computed.

    The plain object behind :class:`OTReweighting`, for hand-written loops and for Lightning: it takes tensors on any
    device, knows no network and keeps no data set. The weights are those of :class:`skotw.OTSampleWeighter` on the same
    numbers, with every metric, cost, prior and mode of it. On a CUDA device the transport is solved where the features
    are, always in float32 or float64, whatever autocast is on; the few metrics that only exist for NumPy arrays are
    evaluated on the host.

    Parameters
    ----------
    weighter : OTSampleWeighter or None, default=None
        How weights are learned; it stays as it is. None is ``OTSampleWeighter(reg=0.05)``: learned features fit the
        training labels, wrong ones as well, so that ``reg="auto"`` would trust the labels too much.
    distributed : bool, default=False
        The rows of each call are one part of the training set, and the other processes of ``torch.distributed`` call
        with the other parts at the same time and with the same meta set. The solution is that of all rows. Only sums
        travel: one normaliser per class and meta sample, and a few numbers that settle scales. The histograms behind
        the reliability of the labels are more, and travel for ``reg="auto"`` alone, as do sums of votes: the
        reliability is unknown with another ``reg``.

    Attributes
    ----------
    weighter_ : OTSampleWeighter
        Fitted by the last :meth:`refit`: ``reg_``, ``label_reliability_``, ``effective_sample_size_`` and so on. It
        holds NumPy arrays, so that it can be pickled from one device to another.

    See Also
    --------
    OTReweighting : The same as a callback of skorch.
    OTWeightedNetClassifier : A classifier around it.

    Examples
    --------
    >>> import torch
    >>> from skotw import OTSampleWeighter
    >>> from skotw.deep import OTReweighter
    >>> features = torch.tensor([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [0.0, 0.9]])
    >>> labels = torch.tensor([0, 0, 1, 1])
    >>> meta_features, meta_labels = torch.eye(2).flip(0), torch.tensor([0, 1])
    >>> reweighter = OTReweighter(OTSampleWeighter(reg=0.1))
    >>> weights = reweighter.refit(features, labels, meta_features, meta_labels)
    >>> bool(weights[3] < weights[2] / 5)  # labelled 1, and looks like 0
    True
    >>> loss = (weights * torch.nn.functional.cross_entropy(features, labels, reduction="none")).mean()
    """

    def __init__(self, weighter=None, *, distributed=False):
        self.weighter = weighter
        self.distributed = distributed

    @torch.no_grad()
    def refit(
        self,
        features,
        labels=None,
        meta_features=None,
        meta_labels=None,
        *,
        sample_weight=None,
        sample_weight_meta=None,
        mini_batch=False,
        labels_fitted=False,
    ):
        """Learn weights from the current features.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features)
            Features of the training samples. Half precision is cast to float32.
        labels : tensor or array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels. None, with ``meta_labels=None``, compares features only.
        meta_features : tensor of shape (n_meta, n_features), default=None
            Features of the trusted samples, by the same network. Without them class prototypes of the training samples
            take their place.
        meta_labels : tensor or array-like of shape (n_meta,) or (n_meta, n_outputs), default=None
            Their labels.
        sample_weight : tensor or array-like of shape (n_samples,), default=None
            How much each sample counts beforehand.
        sample_weight_meta : tensor or array-like of shape (n_meta,), default=None
            How much each trusted sample counts within its class.
        mini_batch : bool, default=False
            The samples are one mini-batch of a larger set, so that classes of the meta set may be absent from it. The
            weights are those of the batch by itself, and a single sample has all of its weight. The reliability of so
            few labels is only estimated for ``reg="auto"``.

        Returns
        -------
        weights : tensor of shape (n_samples,)
            On the device of the features; their sum is that of ``sample_weight`` (mean 1 without).

        Raises
        ------
        TypeError
            If ``weighter`` is no OTSampleWeighter, or features are no floating tensors.
        ValueError
            As :meth:`skotw.OTSampleWeighter.fit`; if features have not two dimensions or are not finite; if
            ``metric="precomputed"``; if ``distributed`` meets a setting that needs all rows at once.
        """
        device = features.device if isinstance(features, torch.Tensor) else "cpu"
        weighter = self._new_weighter()
        if labels_fitted and weighter.reg == "auto":
            weighter.set_params(reg=UNKNOWN_REG)
        if mini_batch and len(features) == 1:
            return torch.ones(1, device=device) if sample_weight is None else torch.as_tensor(sample_weight).to(device)
        with torch.autocast(torch.device(device).type, enabled=False):
            weighter.refit(
                _tensor(features, "features"),
                _host(labels),
                None if meta_features is None else _tensor(meta_features, "meta_features"),
                _host(meta_labels),
                _host(sample_weight),
                _host(sample_weight_meta),
                mini_batch=mini_batch,
                ask_labels=not labels_fitted and not (mini_batch and weighter.reg != "auto"),
            )
        self.weighter_ = weighter
        return torch.as_tensor(weighter.sample_weight_, device=device)

    @torch.no_grad()
    def weigh(self, features, labels=None, *, sample_weight=None):
        """Weights of any samples under the transport of the last refit.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features)
            Features, by the network as it was at the refit.
        labels : tensor or array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels, where the refit had labels.
        sample_weight : tensor or array-like of shape (n_samples,), default=None
            How much each sample counts beforehand.

        Returns
        -------
        weights : tensor of shape (n_samples,)
            On the scale of the refit, which is what its samples get back.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If there was no refit.
        ValueError
            If labels are missing or had no training samples, or features do not match those of the refit.
        """
        if not hasattr(self, "weighter_"):
            raise NotFittedError("This OTReweighter has learned no weights yet: call refit first.")
        tensor = _tensor(features, "features")
        with torch.autocast(tensor.device.type, enabled=False):
            weights = self.weighter_.weigh(tensor, _host(labels), sample_weight=_host(sample_weight))
        return torch.as_tensor(weights, device=features.device)

    def _new_weighter(self):
        weighter = OTSampleWeighter(reg=DEFAULT_REG) if self.weighter is None else self.weighter
        if not isinstance(weighter, OTSampleWeighter):
            raise TypeError(f"weighter must be an OTSampleWeighter or None; got {weighter!r}.")
        if weighter.metric == "precomputed":
            raise ValueError("metric='precomputed' has no features to measure; use another metric of the weighter.")
        new = _FeatureWeighter(**weighter.get_params(deep=False))
        new._shared = self.distributed
        return new


def check_weighter(weighter, meta, *, distributed):
    """Raise what any refit with this weighter would raise.

    Parameters
    ----------
    weighter : OTSampleWeighter or None
    meta : object
        None where prototypes take the place of a meta set.
    distributed : bool

    Raises
    ------
    ValueError
    """
    OTReweighter(weighter, distributed=distributed)._new_weighter().check(meta)


def check_labels(weighter, labels, meta_labels):
    """Raise, or warn of, what a refit would find in the labels, whatever the features are.

    Parameters
    ----------
    weighter : OTSampleWeighter or None
    labels : array-like of shape (n_classes,) or (n_classes, n_outputs)
        One training label of each class.
    meta_labels : array-like of shape (n_meta,) or (n_meta, n_outputs)

    Raises
    ------
    ValueError
    """
    weighter = OTSampleWeighter(reg=DEFAULT_REG) if weighter is None else weighter
    plain = {"metric": "cosine", "embedding": None, "cost_scale": 1.0, "reg": 1.0, "reg_prior": 0.0, "max_weight": None}
    probe = OTReweighter(
        type(weighter)(**{**weighter.get_params(deep=False), **plain, "solver": "exact", "verbose": 0})
    )
    labels, meta_labels = np.repeat(_host(labels), 2, axis=0), _host(meta_labels)
    rows, meta_rows = (torch.stack([torch.ones(n), torch.arange(n) / n], 1) for n in map(len, (labels, meta_labels)))
    # one class alone, as a chunk of partial_fit may have, is weighed as a mini-batch is
    probe.refit(rows, labels, meta_rows, meta_labels, mini_batch=len(labels) == 2, labels_fitted=True)


def _tensor(features, name):
    """Features as the solver takes them: two dimensions, float32 or float64, on the host or on a CUDA device."""
    if not isinstance(features, torch.Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, torch.Tensor) else type(features).__name__
        raise TypeError(f"{name} must be a floating tensor; got {kind}. For arrays there is OTSampleWeighter.")
    if features.ndim != 2:
        raise ValueError(
            f"{name} must have shape (n_samples, n_features); got {tuple(features.shape)}. Pool them first: "
            "x.mean((2, 3)) for the maps of a convolution, x.mean(1) for tokens, x.flatten(1) otherwise."
        )
    features = features.detach()
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    return features if features.device.type == "cuda" else features.cpu()


def _host(values):
    return to_numpy(values.detach()) if isinstance(values, torch.Tensor) else values


class _FeatureWeighter(OTSampleWeighter):
    """The weighter with its checks, whose rows are tensors: embedded by torch, solved where they are."""

    _shared = False
    _ask_labels = True

    def check(self, X_meta):
        """What can be said of the parameters before there are rows."""
        self._validate_params()
        self._check_parameters()
        if self._shared:
            self._check_shared(X_meta)

    def refit(self, X, y, X_meta, y_meta, sample_weight, sample_weight_meta, *, mini_batch, ask_labels=True):
        self._ask_labels = ask_labels
        self.check(X_meta)
        chunk = self._start(X, y, X_meta, y_meta, sample_weight, sample_weight_meta, stream=self._shared or mini_batch)
        if self._shared:
            self._model.learn(chunk.rows)
            weights = self._model.weigh(chunk.rows)
        else:
            weights = self._model.solve(chunk.rows)
        self._publish(to_numpy(chunk.scatter(weights)))
        self._model.columns = replace(self._model.columns, Z=_host_rows(self._model.columns.Z))
        self._model._meter = None
        self._streaming = False

    def _chunk(self, X, y, sample_weight):
        chunk = super()._chunk(X, y, sample_weight)
        self._model.columns = replace(self._model.columns, Z=like_rows(self._model.columns.Z, chunk.rows.Z))
        return chunk

    def weigh(self, X, y=None, *, sample_weight=None):
        try:
            return to_numpy(super().weigh(X, y, sample_weight=sample_weight))
        finally:
            self._model.columns = replace(self._model.columns, Z=_host_rows(self._model.columns.Z))

    def _check_shared(self, X_meta):
        try:
            _can_stream(self)
        except AttributeError as error:
            raise ValueError(f"With distributed=True no process has all rows. {error}") from error
        if X_meta is None:
            raise ValueError("distributed=True needs a meta set: prototypes of the rows would differ by process.")
        if not (self.embedding is None or isinstance(self.embedding, str)):
            raise ValueError("distributed=True takes embedding='scale' or None: another would differ by process.")
        if self.metric in ("seuclidean", "mahalanobis"):
            raise ValueError(f"metric={self.metric!r} needs all rows at once: with distributed=True use another.")

    def _check_rows(self, X, name, *, reset):
        if not len(X):
            raise ValueError(f"{name} has 0 sample(s), while a minimum of 1 is required.")
        if reset:
            self.n_features_in_ = X.shape[1]
        elif X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{name} has {X.shape[1]} features, but the training samples have {self.n_features_in_}: take both "
                "from the same layer of the network."
            )
        return X

    def _fit_embedding(self, X, y, sample_weight):
        if self.embedding is None:
            return None
        if isinstance(self.embedding, str):
            total = all_reduce if self._shared else np.asarray
            return Standardise.fit(X, sample_weight, compute_of(self.n_jobs), total)
        return fit_embedding(self.embedding, _host(X), y, sample_weight, self.random_state)

    def _embed(self, X, name):
        ours = self.embedding is None or isinstance(self.embedding, str)
        if ours:
            Z = X if self.embedding_ is None else self.embedding_.transform(X, compute_of(self.n_jobs))
            if not bool(torch.isfinite(Z).all()):
                raise ValueError(f"{name} contains NaN or infinity: the network, or its input, is broken.")
        else:
            Z = embed(self.embedding_, _host(X), name)
        if X.device.type == "cpu" or self.metric not in GEMM_METRICS or issparse(Z):
            Z = _host_rows(Z)
        else:
            Z = torch.as_tensor(Z, device=X.device)
        return Z.astype(np.float64) if self._widen else Z

    def _new_model(self, rows, meta, target, stream):
        model = SharedModel if self._shared else TransportModel if self._ask_labels else _UnaskedModel
        return model(self.get_params(deep=False), rows, meta, target, stream=stream)


class _UnaskedModel(TransportModel):
    """The reliability stays unknown: that of a mini-batch says little and takes longer than all else."""

    def _meter_add(self, ordered):
        pass


def _host_rows(Z):
    return Z if issparse(Z) else to_numpy(Z)
