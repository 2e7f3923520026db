"""Parameters of the weighter as they were when a fit began."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["Settings", "can_stream", "is_supervised"]

# Parameters that do not change a number, and may change from chunk to chunk.
_HARMLESS = ("n_jobs", "verbose")


@dataclass(frozen=True, eq=False)
class Settings:
    """What :class:`~skotw.OTSampleWeighter` was set to, and what of it the model keeps.

    ``nested`` are the parameters of the embedding, by the names that ``set_params`` takes.
    """

    metric: object
    label_weight: float
    label_cost: str
    reg: float | str
    reg_prior: float
    prior: str
    class_mass: str | Mapping
    target_type: str
    n_prototypes: int | None
    embedding: object
    cost_scale: float | None
    max_weight: float | None
    solver: str
    n_jobs: int | None
    random_state: object
    verbose: int
    nested: Mapping

    @classmethod
    def of(cls, estimator):
        taken = {field.name: getattr(estimator, field.name) for field in fields(cls) if field.name != "nested"}
        # as get_params(deep=True), which reads signatures at each call
        nested = {
            f"{name}__{key}": value
            for name, part in taken.items()
            if hasattr(part, "get_params") and not isinstance(part, type)
            for key, value in part.get_params().items()
        }
        if isinstance(taken["class_mass"], dict):
            taken["class_mass"] = dict(taken["class_mass"])
        return cls(**taken, nested=nested)

    @property
    def embeds_by_itself(self):
        """Whether the embedding is one of ours, or none."""
        return self.embedding is None or isinstance(self.embedding, str)

    @property
    def learner(self):
        """The classifier that is given in the place of an embedding, or None."""
        return self.embedding if _is_learner(self.embedding) else None

    @property
    def supervised(self):
        """Whether rows are compared by what models say of them."""
        return is_supervised(self.embedding)

    @property
    def asks_models(self):
        """Whether models of the labels take part."""
        return self.supervised or self.prior == "confidence"

    def changed(self, now):
        """Names of the parameters that are others in ``now`` and would give other numbers."""
        before, after = ({**vars(settings), **settings.nested} for settings in (self, now))
        names = [name for name in {**before, **after} if name not in ("nested", *_HARMLESS)]
        missing = object()
        return [name for name in names if not _same(before.get(name, missing), after.get(name, missing))]


def can_stream(settings):
    """Raise AttributeError where a parameter needs all rows at once, so that there is no ``partial_fit``."""
    streaming = {
        "reg_prior": settings.reg_prior == 0,
        "max_weight": settings.max_weight is None,
        "solver": settings.solver == "exact",
        "prior": settings.prior != "confidence",
    }
    if is_supervised(settings.embedding):
        raise AttributeError(
            "A supervised embedding is learned from all rows at once: use fit. For partial_fit leave embedding at its "
            "default, or fit s = OTSampleWeighter(embedding='supervised') to a random sample and pass "
            "embedding=FrozenEstimator(s.embedding_)."
        )
    for name, streams in streaming.items():
        if not streams:
            raise AttributeError(
                f"{name}={getattr(settings, name)!r} needs all rows at once: use fit, or leave {name} at its default "
                "for partial_fit."
            )
    return True


def _is_learner(embedding):
    return hasattr(embedding, "predict_proba") and not hasattr(embedding, "transform")


def is_supervised(embedding):
    return _is_learner(embedding) or (isinstance(embedding, str) and embedding == "supervised")


def _same(a, b):
    if a is b:
        return True
    try:
        return bool(a == b) or bool(a != a and b != b)
    except ValueError:  # arrays, of which only the same one is known to be equal
        return False
