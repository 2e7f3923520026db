"""OTReweighter: weights from the features of a network, for training loops of any kind."""

import numpy as np
import torch
from sklearn.exceptions import NotFittedError

from skotw._transport.arrays import to_numpy
from skotw._typing import ArrayLike
from skotw._validation import takes_no
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.input import Given
from skotw._weighter.label_reliability import LabelReliability

from ._feature_weighter import Settled, check_weighter, fit_features, read_features, weigh_features

__all__ = ["OTReweighter", "check_labels", "check_refits"]

_FEATURES = (
    "It takes what the network makes of the trusted samples: meta_features, and their labels as meta_labels. Samples "
    "that were reviewed leave features and labels for them."
)


class OTReweighter:
    """Learn the weights of training samples from features that a network computed.

    The plain object behind :class:`OTReweighting`, for hand-written loops and for Lightning (:doc:`/guide/networks`).
    It takes tensors on any device, knows no network and keeps no data set. The weights are those of
    :class:`skotw.OTSampleWeighter` on the same numbers, with every metric, cost, prior and mode of it. On a CUDA device
    the transport is solved where the features are, always in float32 or float64, whatever autocast is on. A few metrics
    exist only for NumPy arrays, and are evaluated on the host.

    Parameters
    ----------
    weighter : OTSampleWeighter or None, default=None
        How weights are learned. It stays as it is. None is ``OTSampleWeighter()``, with ``reg="auto"``.
    distributed : bool, default=False
        The samples of each call are one part of the training set. The other processes of ``torch.distributed`` call
        with the other parts at the same time, and with the same trusted samples. The weights are those of all samples
        together. Only sums travel: one number per class and trusted sample, and a few that settle scales. What tells
        the reliability of the labels is larger, and travels for ``reg="auto"`` alone. With another ``reg`` the
        reliability is unknown.

    Attributes
    ----------
    weighter_ : OTSampleWeighter
        Fitted by the last :meth:`refit`: ``reg_``, ``label_reliability_``, ``effective_sample_size_`` and so on. It
        holds NumPy arrays, so that it can be pickled from one device to another, and weighs them.

    See Also
    --------
    OTReweighting : The same as a callback of skorch.
    OTWeightedNetClassifier : A classifier around it.

    Notes
    -----
    A network goes on to fit its labels, wrong ones as well, and its features then vouch for them. So the trusted
    samples are asked once. The first :meth:`refit` settles how reliable the labels are and what ``reg="auto"`` comes
    to. Later ones keep it, or raise it for once where weights would be much sharper than it takes to dismiss the wrong
    labels. :meth:`read_labels` asks before, in the first epochs. Take a new object for other training data. A pickle
    keeps what was settled.

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

    def __init__(self, weighter: OTSampleWeighter | None = None, *, distributed: bool = False) -> None:
        self.weighter = weighter
        self.distributed = distributed
        self._settled = Settled()

    @takes_no("X_meta", "y_meta", "y_verified", remedy=_FEATURES)
    @torch.no_grad()
    def refit(
        self,
        features: torch.Tensor,
        labels: ArrayLike | torch.Tensor | None = None,
        meta_features: torch.Tensor | None = None,
        meta_labels: ArrayLike | torch.Tensor | None = None,
        *,
        sample_weight: ArrayLike | torch.Tensor | None = None,
        sample_weight_meta: ArrayLike | torch.Tensor | None = None,
        mini_batch: bool = False,
        labels_fitted: bool = False,
    ) -> torch.Tensor:
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
            The samples are one mini-batch of a larger set, so that classes of the trusted samples may be absent from
            it. The weights are those of the batch by itself, and a single sample has all of its weight. The reliability
            of so few labels is only estimated for ``reg="auto"``.
        labels_fitted : bool, default=False
            The network has learned the labels by heart, or has trained on the trusted samples. Then its features vouch
            for wrong labels, too. So a first refit does not ask how reliable they are. That stays unknown, and
            ``reg="auto"`` is 0.1. Later refits do not ask in any case.

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
        weighter = self._checked_weighter()
        if mini_batch and len(features) == 1:
            return torch.ones(1, device=device) if sample_weight is None else torch.as_tensor(sample_weight).to(device)
        with torch.autocast(torch.device(device).type, enabled=False):
            given = _given(features, labels, meta_features, meta_labels, sample_weight, sample_weight_meta)
            fitted, weights, settled = fit_features(
                weighter,
                given,
                shared=self.distributed,
                mini_batch=mini_batch,
                labels_fitted=labels_fitted,
                settled=self._settled,
            )
        weights = torch.as_tensor(weights, device=device)
        self.weighter_, self._settled = fitted, settled
        return weights

    @takes_no("X_meta", "y_meta", "y_verified", remedy=_FEATURES)
    @torch.no_grad()
    def read_labels(
        self,
        features: torch.Tensor,
        labels: ArrayLike | torch.Tensor,
        meta_features: torch.Tensor,
        meta_labels: ArrayLike | torch.Tensor,
        *,
        sample_weight: ArrayLike | torch.Tensor | None = None,
        sample_weight_meta: ArrayLike | torch.Tensor | None = None,
    ) -> LabelReliability | None:
        """Ask how reliable the labels are, without learning weights.

        For the epochs before the first :meth:`refit`, while the network has not fitted single labels yet. What a
        network has fitted can only make its labels look better. So the lowest of several readings counts. After the
        first refit nothing is asked any more.

        Parameters
        ----------
        features : tensor of shape (n_samples, n_features)
            Features of training samples; some thousand at random will do.
        labels : tensor or array-like of shape (n_samples,)
            Their labels.
        meta_features : tensor of shape (n_meta, n_features)
            Features of the trusted samples, by the same network.
        meta_labels : tensor or array-like of shape (n_meta,)
            Their labels.
        sample_weight : tensor or array-like of shape (n_samples,), default=None
            How much each sample counts beforehand.
        sample_weight_meta : tensor or array-like of shape (n_meta,), default=None
            How much each trusted sample counts within its class.

        Returns
        -------
        reliability : LabelReliability or None
            The lowest reading so far. None where labels are no classes, and with ``distributed`` unless
            ``reg="auto"``.

        Raises
        ------
        TypeError
            As :meth:`refit`.
        ValueError
            As :meth:`refit`.
        """
        weighter = self._checked_weighter()
        if not self._settled.answers(weighter):
            with torch.autocast(_tensor(features, "features").device.type, enabled=False):
                given = _given(features, labels, meta_features, meta_labels, sample_weight, sample_weight_meta)
                self._settled = self._settled.lower(*read_features(weighter, given, shared=self.distributed))
        return self._settled.reliability

    @torch.no_grad()
    def weigh(
        self,
        features: torch.Tensor,
        labels: ArrayLike | torch.Tensor | None = None,
        *,
        sample_weight: ArrayLike | torch.Tensor | None = None,
    ) -> torch.Tensor:
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
            raise NotFittedError("This OTReweighter has learned no weights yet. Call refit first.")
        tensor = _tensor(features, "features")
        with torch.autocast(tensor.device.type, enabled=False):
            given = Given(tensor, _host(labels), sample_weight=_host(sample_weight))
            weights = weigh_features(self.weighter_, given)
        return torch.as_tensor(weights, device=features.device)

    def _checked_weighter(self):
        weighter = OTSampleWeighter() if self.weighter is None else self.weighter
        if not isinstance(weighter, OTSampleWeighter):
            raise TypeError(f"weighter must be an OTSampleWeighter or None; got {weighter!r}.")
        if weighter.metric == "precomputed":
            raise ValueError("metric='precomputed' has no features to measure. Use another metric of the weighter.")
        return weighter


def check_refits(weighter, meta, *, distributed):
    """Raise what any refit would raise of the weighter.

    Parameters
    ----------
    weighter : OTSampleWeighter or None
        How weights are learned.
    meta : object
        None where prototypes take the place of a meta set.
    distributed : bool
        Whether other processes have other parts of the training set.

    Raises
    ------
    ValueError
        If a parameter is invalid, or contradicts another or ``distributed``.
    """
    check_weighter(OTReweighter(weighter)._checked_weighter(), meta, shared=distributed)


def check_labels(weighter, labels, meta_labels):
    """Raise, or warn of, what a refit would find in the labels, whatever the features are.

    Parameters
    ----------
    weighter : OTSampleWeighter or None
        How weights are learned.
    labels : array-like of shape (n_classes,) or (n_classes, n_outputs)
        One training label of each class.
    meta_labels : array-like of shape (n_meta,) or (n_meta, n_outputs)
        All trusted labels.

    Raises
    ------
    ValueError
        As :meth:`OTReweighter.refit`.
    """
    weighter = OTSampleWeighter() if weighter is None else weighter
    plain = {"metric": "cosine", "embedding": None, "cost_scale": 1.0, "reg": 1.0, "reg_prior": 0.0}
    plain |= {"max_weight": None, "solver": "exact", "verbose": 0}
    probe = OTReweighter(type(weighter)(**{**weighter.get_params(deep=False), **plain}))
    labels, meta_labels = np.repeat(_host(labels), 2, axis=0), _host(meta_labels)
    rows, meta_rows = (torch.stack([torch.ones(n), torch.arange(n) / n], 1) for n in map(len, (labels, meta_labels)))
    # one class alone, as a chunk of partial_fit may have, is weighed as a mini-batch is
    probe.refit(rows, labels, meta_rows, meta_labels, mini_batch=len(labels) == 2, labels_fitted=True)


def _given(features, labels, meta_features, meta_labels, sample_weight, sample_weight_meta):
    """Both sets, tensors of rows and NumPy arrays beside them."""
    return Given(
        _tensor(features, "features"),
        _host(labels),
        None if meta_features is None else _tensor(meta_features, "meta_features"),
        _host(meta_labels),
        _host(sample_weight),
        _host(sample_weight_meta),
    )


def _tensor(features, name):
    """Features as the solver takes them: two dimensions, float32 or float64, on the host or on a CUDA device."""
    if not isinstance(features, torch.Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, torch.Tensor) else type(features).__name__
        raise TypeError(f"{name} must be a floating tensor; got {kind}. For arrays use OTSampleWeighter.")
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
