"""The weighter on features: tensors, standardised and solved where they are, perhaps spread over processes.

With ``torch.distributed`` every process solves for the rows that it has. What they must agree on are sums over all
rows, and those are few numbers: one normaliser per class and meta sample, the sums of weights per class, the unit of
the cost and, where ``reg="auto"`` asks for them, the histograms behind the reliability and sums of votes. No features
travel.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.distributed as dist
from scipy.sparse import issparse

from skotw._transport.arrays import to_numpy
from skotw._transport.standardise import Standardise
from skotw._weighter.auto_reg import UNKNOWN_REG
from skotw._weighter.compute import compute_of
from skotw._weighter.embedding import ScaleEmbedding, embed, fit_embedding
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.feature_cost import GEMM_METRICS
from skotw._weighter.input import Intake, check_chunk, check_sets, check_settings
from skotw._weighter.model import Reduction, Stream, settle, solve
from skotw._weighter.report import RowGroups
from skotw._weighter.settings import Settings, can_stream

__all__ = ["all_reduce", "check_weighter", "fit_features", "weigh_features"]


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
                raise ValueError(f"{name} contains NaN or infinity: the network, or its input, is broken.")
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
                f"{name} has {X.shape[1]} features, but the training samples have {features['n_features_in_']}: take "
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
            "The features of a network are supervised already, and the weights are learned anew in every epoch: leave "
            "the weighter's embedding at a transformer, 'scale' or None, and its prior at 'balanced' or 'uniform'."
        )
    if shared:
        _check_shared(settings, X_meta)
    return settings


def fit_features(weighter, given, *, shared, mini_batch, labels_fitted):
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
        The features vouch for wrong labels, too: how reliable the labels are stays unknown.

    Returns
    -------
    fitted : OTSampleWeighter
        Another one, which holds NumPy arrays.
    weights : ndarray of shape (n_samples,)
    """
    new = OTSampleWeighter(**weighter.get_params(deep=False))
    if labels_fitted and new.reg == "auto":
        new.set_params(reg=UNKNOWN_REG)
    settings = check_weighter(new, given.X_meta, shared=shared)
    # Histograms are many numbers to send, and of a batch they say little.
    reliability = not labels_fitted and (settings.reg == "auto" or not (shared or mini_batch))
    reduction = (Processes if shared else Reduction)(reliability)
    checked = check_sets(given, TensorIntake(settings, reduction=reduction), stream=shared or mini_batch)
    start = settle(checked, reduction, stream=shared or mini_batch)
    if shared:
        fitted = Stream.begin(start, reduction).fitted()
        weights = fitted.weigh_sorted(start.ordered)
    else:
        fitted, weights = solve(start)
    weights = to_numpy(checked.chunk.scatter(weights))
    intake = Intake(settings, checked.intake.features, checked.intake.embedding, checked.intake.widen)
    # other processes have rows of which this one knows sums alone
    groups = None if shared else RowGroups.of(start.ordered, checked.chunk)
    new._publish(intake, _on_host(fitted), weights, weights, groups=groups)
    return new, weights


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
        raise ValueError("distributed=True needs trusted samples: prototypes of the rows would differ by process.")
    if not settings.embeds_by_itself:
        raise ValueError("distributed=True takes embedding='scale' or None: another would differ by process.")
    if settings.metric in ("seuclidean", "mahalanobis"):
        raise ValueError(f"metric={settings.metric!r} needs all rows at once: with distributed=True use another.")


def _on_host(fitted):
    columns = replace(fitted.basis.columns, Z=_host_rows(fitted.basis.columns.Z))
    return replace(fitted, basis=replace(fitted.basis, columns=columns))


def _host_rows(Z):
    return Z if issparse(Z) else to_numpy(Z)
