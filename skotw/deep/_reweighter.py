"""OTReweighter: weights from the features of a network, for training loops of any kind."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.exceptions import NotFittedError

from skotw._transport.arrays import like_rows, to_numpy
from skotw._transport.standardise import Standardise
from skotw._weighter.compute import compute_of
from skotw._weighter.embedding import embed, fit_embedding
from skotw._weighter.estimator import OTSampleWeighter, _can_stream
from skotw._weighter.feature_cost import GEMM_METRICS
from skotw._weighter.input import Given, Intake, check_sets, check_settings
from skotw._weighter.model import TransportModel
from skotw._weighter.settings import Settings

from ._processes import SharedModel, all_reduce

__all__ = ["DEFAULT_REG", "OTReweighter"]

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

    def refit(self, X, y, X_meta, y_meta, sample_weight, sample_weight_meta, *, mini_batch):
        self._validate_params()
        settings = Settings.of(self)
        check_settings(settings)
        if self._shared:
            _check_shared(settings, X_meta)
        given = Given(X, y, X_meta, y_meta, sample_weight, sample_weight_meta)
        stream = self._shared or mini_batch
        checked = check_sets(given, TensorIntake(settings, shared=self._shared), stream=stream)
        chunk, self._intake = checked.chunk, checked.intake
        model = SharedModel if self._shared else _BatchModel if stream else TransportModel
        self._model = model(settings, chunk.rows, checked.meta, checked.target, stream=stream)
        if self._shared:
            self._model.learn(chunk.rows)
            weights = self._model.weigh(chunk.rows)
        else:
            weights = self._model.solve(chunk.rows)
        self._publish(to_numpy(chunk.scatter(weights)))
        self._model.columns = replace(self._model.columns, Z=_host_rows(self._model.columns.Z))
        self._model._meter = None

    def _chunk(self, X, y, sample_weight):
        chunk = super()._chunk(X, y, sample_weight)
        self._model.columns = replace(self._model.columns, Z=like_rows(self._model.columns.Z, chunk.rows.Z))
        return chunk

    def weigh(self, X, y=None, *, sample_weight=None):
        try:
            return to_numpy(super().weigh(X, y, sample_weight=sample_weight))
        finally:
            self._model.columns = replace(self._model.columns, Z=_host_rows(self._model.columns.Z))


def _check_shared(settings, X_meta):
    try:
        _can_stream(settings)
    except AttributeError as error:
        raise ValueError(f"With distributed=True no process has all rows. {error}") from error
    if X_meta is None:
        raise ValueError("distributed=True needs a meta set: prototypes of the rows would differ by process.")
    if not settings.embeds_by_itself:
        raise ValueError("distributed=True takes embedding='scale' or None: another would differ by process.")
    if settings.metric in ("seuclidean", "mahalanobis"):
        raise ValueError(f"metric={settings.metric!r} needs all rows at once: with distributed=True use another.")


@dataclass(frozen=True, eq=False)
class TensorIntake(Intake):
    """Rows that are tensors, standardised where they are; ``shared`` with other processes."""

    shared: bool = False

    def embed(self, X, name):
        settings = self.settings
        if settings.embeds_by_itself:
            Z = X if self.embedding is None else self.embedding.transform(X, compute_of(settings.n_jobs))
            if not bool(torch.isfinite(Z).all()):
                raise ValueError(f"{name} contains NaN or infinity: the network, or its input, is broken.")
        else:
            Z = embed(self.embedding, _host(X), name)
        if X.device.type == "cpu" or settings.metric not in GEMM_METRICS or issparse(Z):
            Z = _host_rows(Z)
        else:
            Z = torch.as_tensor(Z, device=X.device)
        return Z.astype(np.float64) if self.widen else Z

    def _check(self, X, name, least):
        if len(X) < least:
            raise ValueError(f"{name} has 0 sample(s), while a minimum of {least} is required.")
        features = self.features or {"n_features_in_": X.shape[1]}
        if X.shape[1] != features["n_features_in_"]:
            raise ValueError(
                f"{name} has {X.shape[1]} features, but the training samples have {features['n_features_in_']}: take "
                "both from the same layer of the network."
            )
        return X, features

    def _fit_embedding(self, X, y, sample_weight):
        settings = self.settings
        if settings.embedding is None:
            return None
        if settings.embeds_by_itself:
            total = all_reduce if self.shared else np.asarray
            return Standardise.fit(X, sample_weight, compute_of(settings.n_jobs), total)
        return fit_embedding(settings.embedding, _host(X), y, sample_weight, settings.random_state)


class _BatchModel(TransportModel):
    """A mini-batch: its reliability, which would take longer than all else, says little."""

    def _meter_add(self, ordered):
        if self.settings.reg == "auto":
            super()._meter_add(ordered)


def _host_rows(Z):
    return Z if issparse(Z) else to_numpy(Z)
