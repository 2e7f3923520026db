"""The weighter on features: tensors, standardised and solved where they are, perhaps spread over processes.

With ``torch.distributed`` every process solves for the rows that it has. What they must agree on are sums over all
rows, and those are few numbers: one normaliser per class and meta sample, the sums of weights per class, the unit of
the cost and, where ``reg="auto"`` asks for them, the histograms behind the reliability and sums of votes. No features
travel.
"""

import json
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.distributed as dist
from scipy.sparse import issparse

from skotw._transport.arrays import to_numpy
from skotw._transport.standardise import Standardise
from skotw._weighter.auto_reg import CANDIDATES, UNKNOWN_REG
from skotw._weighter.compute import compute_of
from skotw._weighter.embedding import ScaleEmbedding, embed, fit_embedding
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.feature_cost import GEMM_METRICS
from skotw._weighter.input import Intake, check_chunk, check_sets, check_settings
from skotw._weighter.label_reliability import LabelReliability
from skotw._weighter.model import Reduction, Stream, effective_sizes, settle, solve
from skotw._weighter.report import RowGroups
from skotw._weighter.settings import Settings, can_stream

__all__ = ["Settled", "all_reduce", "check_weighter", "fit_features", "read_features", "weigh_features"]

# Weights may leave so much of the size that they would leave by dismissing wrong labels and nothing else.
_LEAST_OF_RIGHT = 0.7


def all_reduce(values, op=dist.ReduceOp.SUM):
    """Combine an ndarray over all processes."""
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    tensor = torch.tensor(np.asarray(values), device=device)  # a copy: the reduction is in place
    dist.all_reduce(tensor, op)
    return tensor.cpu().numpy()


class Processes(Reduction):
    """Sums over the rows of all processes."""

    def sum(self, values):
        return all_reduce(values)

    def logsumexp(self, values):
        """Elementwise; all -inf stays -inf."""
        peak = all_reduce(values, dist.ReduceOp.MAX)
        shift = np.where(np.isfinite(peak), peak, 0.0)
        with np.errstate(divide="ignore"):
            return np.log(all_reduce(np.exp(values - shift))) + shift

    def mean(self, cost, p, b, compute):
        if hasattr(cost, "squared"):  # the root of a mean
            return math.sqrt(self.mean(cost.squared, p, b, compute))
        mass = p.sum()
        total, mass = all_reduce(np.array([mass * super().mean(cost, p, b, compute), mass]))
        return float(total / mass)


@dataclass(frozen=True, eq=False)
class TensorIntake(Intake):
    """Rows that are tensors, standardised where they are."""

    reduction: Reduction = field(default_factory=Reduction)

    def embed(self, X, name, kept=None):
        settings = self.settings
        if settings.embeds_by_itself:
            scaler = None if self.embedding is None else self.embedding.scaler_
            Z = X if scaler is None else scaler.transform(X, compute_of(settings.n_jobs))
            if not bool(torch.isfinite(Z).all()):
                raise ValueError(
                    f"{name} contains NaN or infinity. Look for it in the input, or lower the learning rate."
                )
        else:
            Z = embed(self.embedding, to_numpy(X), name, kept=kept)
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
                f"{name} has {X.shape[1]} features, but the training samples have {features['n_features_in_']}. Take "
                "both from the same layer of the network."
            )
        return X, features

    def _fit_embedding(self, X, y, sample_weight):
        settings = self.settings
        if settings.embedding is None:
            return None
        if settings.embeds_by_itself:
            scaler = Standardise.fit(X, sample_weight, compute_of(settings.n_jobs), self.reduction.sum)
            return ScaleEmbedding.of(scaler, settings.n_jobs)
        return fit_embedding(settings.embedding, to_numpy(X), y, sample_weight, settings.random_state)


def check_weighter(weighter, X_meta, *, shared):
    """Settings of a weighter that :func:`fit_features` can take.

    Parameters
    ----------
    weighter : OTSampleWeighter
    X_meta : object
        None where prototypes take the place of the meta set.
    shared : bool

    Raises
    ------
    ValueError
    """
    weighter._validate_params()
    settings = Settings.of(weighter)
    check_settings(settings)
    if settings.asks_models:
        raise ValueError(
            "The features of a network are supervised already, and the weights are learned anew in every epoch. Leave "
            "the weighter's embedding at a transformer, 'scale' or None, and its prior at 'balanced' or 'uniform'."
        )
    if shared:
        _check_shared(settings, X_meta)
    return settings


@dataclass(frozen=True, eq=False)
class Settled:
    """What is asked of the trusted samples once for all: the network fits the labels later on.

    Attributes
    ----------
    reliability : LabelReliability or None
    classes : ndarray of shape (n_classes,) or None
        Class indices, of which the reliability has precisions.
    reg : float
        What ``reg="auto"`` came to by votes; NaN where it was a number, and before the first refit.
    final : bool
        Whether there has been a refit.
    """

    reliability: LabelReliability | None = None
    classes: np.ndarray | None = None
    reg: float = math.nan
    final: bool = False

    @classmethod
    def of_json(cls, text, reg):
        """What :meth:`to_json` has written, and ``reg`` beside it."""
        reliability, classes, final = json.loads(text)
        if reliability is not None:
            parts = {name: np.array(part) if isinstance(part, list) else part for name, part in reliability.items()}
            parts["query_class"] = parts["query_class"].astype(np.intp)
            reliability = LabelReliability(**parts)
        return cls(reliability, None if classes is None else np.array(classes), reg, final)

    def to_json(self):
        """All but ``reg``, for a checkpoint."""
        reliability = None if self.reliability is None else vars(self.reliability)
        return json.dumps([reliability, self.classes, self.final], default=np.ndarray.tolist)

    @property
    def knows(self):
        """Whether the trusted samples told how reliable the labels are."""
        return self.reliability is not None and not np.isnan(self.reliability.overall)

    def answers(self, weighter):
        """Whether the weighter has nothing left to ask."""
        return self.final and (weighter.reg != "auto" or math.isfinite(self.reg))

    def lower(self, reliability, classes):
        """The same with another reading, if that is lower: what a network has fitted of its labels only adds to it."""
        if reliability is None or (self.reliability is not None and _rank(self.reliability) <= _rank(reliability)):
            return self
        return replace(self, reliability=reliability, classes=classes)

    def reliability_of(self, classes):
        """The reliability, with precisions of these classes."""
        if self.reliability is None or self.classes is None or np.array_equal(classes, self.classes):
            return self.reliability
        places = np.minimum(np.searchsorted(self.classes, classes), len(self.classes) - 1)
        known = self.classes[places] == classes
        precision, precision_se = (
            np.where(known, values[places], np.nan)
            for values in (self.reliability.precision, self.reliability.precision_se)
        )
        return replace(self.reliability, precision=precision, precision_se=precision_se)


def _rank(reliability):
    """Lowest first; last are those of features that do not tell classes apart."""
    return np.isnan(reliability.overall), reliability.label_information()


def read_features(weighter, given, *, shared, mini_batch=False):
    """How reliable the labels look, and of which classes; (None, None) where it is not asked.

    Parameters
    ----------
    weighter, given, shared, mini_batch
        As in :func:`fit_features`.

    Returns
    -------
    reliability : LabelReliability or None
    classes : ndarray of shape (n_classes,) or None
    """
    if weighter.reg != "auto" and (shared or mini_batch):
        return None, None  # histograms are many numbers to send, and of a batch they say little
    asking = OTSampleWeighter(**{**weighter.get_params(deep=False), "reg": 1.0})
    settings = check_weighter(asking, given.X_meta, shared=shared)
    reduction = (Processes if shared else Reduction)()
    start = settle(check_sets(given, TensorIntake(settings, reduction=reduction), stream=True), reduction, stream=True)
    if start.reliability is None:
        return None, None
    return start.reliability, start.basis.target.labels[start.group_weight > 0]


def fit_features(weighter, given, *, shared, mini_batch, labels_fitted, settled):
    """Weights learned from features.

    Parameters
    ----------
    weighter : OTSampleWeighter
        Its parameters are taken.
    given : Given
        Rows are tensors of two dimensions, float32 or float64; all else NumPy.
    shared : bool
        Other processes have more rows.
    mini_batch : bool
        The rows are a few of many, and need not have all classes.
    labels_fitted : bool
        The features vouch for wrong labels, too: they are not asked how reliable the labels are.
    settled : Settled
        By what came before.

    Returns
    -------
    fitted : OTSampleWeighter
        Another one, which holds NumPy arrays.
    weights : ndarray of shape (n_samples,)
    settled : Settled
        By now.
    """
    final = settled.answers(weighter)
    learned = labels_fitted or settled.reliability is not None  # read while a network trained
    if not (final or labels_fitted):
        settled = settled.lower(*read_features(weighter, given, shared=shared, mini_batch=mini_batch))
    new = OTSampleWeighter(**weighter.get_params(deep=False))
    if new.reg == "auto" and final:
        new.set_params(reg=settled.reg)
    elif new.reg == "auto" and settled.reliability is None:
        new.set_params(reg=UNKNOWN_REG)
    settings = check_weighter(new, given.X_meta, shared=shared)
    reduction = (Processes if shared else Reduction)(reliability=False)
    checked = check_sets(given, TensorIntake(settings, reduction=reduction), stream=shared or mini_batch)
    start = settle(checked, reduction, stream=shared or mini_batch, reliability=settled.reliability, learned=learned)
    voted = start.basis.reg
    fitted, weights = _solved(start, reduction, shared)
    if weighter.reg == "auto" and not mini_batch and settled.knows:
        start, fitted, weights = _less_sharp(start, fitted, weights, reduction, settled.reliability, shared)
    weights = to_numpy(checked.chunk.scatter(weights))
    if fitted.target.kind == "classes" and settled.reliability is not None:
        fitted = replace(fitted, reliability=settled.reliability_of(fitted.target.labels[fitted.groups]))
    intake = Intake(settings, checked.intake.features, checked.intake.embedding, checked.intake.widen)
    # other processes have rows of which this one knows sums alone
    groups = None if shared else RowGroups.of(start.ordered, checked.chunk)
    new._publish(intake, _on_host(fitted), weights, weights, groups=groups)
    if not final and (fitted.target.kind != "classes" or len(fitted.groups) > 1):  # one class says nothing
        settled = replace(settled, reg=voted if weighter.reg == "auto" else math.nan, final=True)
    return new, weights, settled


def _solved(start, reduction, shared):
    """Model and weights."""
    if not shared:
        return solve(start)
    fitted = Stream.begin(start, reduction).fitted()
    return fitted, fitted.weigh_sorted(start.ordered)


def _less_sharp(start, fitted, weights, reduction, reliability, shared):
    """Start, model and weights, with ``reg`` raised until the weights are no sharper than the labels call for.

    Weights that dismiss the wrong labels and nothing else leave the share of the right ones of the effective sample
    size. Where they leave far less, they gather around the few trusted samples instead. It is asked at every refit,
    since the features change.
    """
    n_classes, r = np.count_nonzero(start.group_weight), reliability.posterior_mean
    least, reg = _LEAST_OF_RIGHT * (r + (1.0 - r) / n_classes), start.basis.reg
    size, prior_size = effective_sizes(start, weights, reduction)
    while size < least * prior_size and reg < CANDIDATES[0]:
        reg = min(reg * math.sqrt(2.0), CANDIDATES[0])
        start = replace(start, basis=replace(start.basis, reg=reg))
        fitted, weights = _solved(start, reduction, shared)
        size, _ = effective_sizes(start, weights, reduction)
    return start, fitted, weights


def weigh_features(weighter, given):
    """Weights of features, an ndarray, under a weighter from :func:`fit_features`."""
    intake, fitted = TensorIntake(**vars(weighter._intake)), weighter._model
    chunk = check_chunk(given, intake, fitted.target)
    return to_numpy(chunk.scatter(fitted.with_columns_like(chunk.rows.Z).weigh(chunk.rows)))


def _check_shared(settings, X_meta):
    try:
        can_stream(settings)
    except AttributeError as error:
        raise ValueError(f"With distributed=True no process has all rows. {error}") from error
    if X_meta is None:
        raise ValueError("distributed=True needs trusted samples. Prototypes of the rows would differ by process.")
    if not settings.embeds_by_itself:
        raise ValueError("distributed=True takes embedding='scale' or None. Another would differ by process.")
    if settings.metric in ("seuclidean", "mahalanobis"):
        raise ValueError(f"metric={settings.metric!r} needs all rows at once. With distributed=True use another.")


def _on_host(fitted):
    columns = replace(fitted.basis.columns, Z=_host_rows(fitted.basis.columns.Z))
    return replace(fitted, basis=replace(fitted.basis, columns=columns))


def _host_rows(Z):
    return Z if issparse(Z) else to_numpy(Z)
