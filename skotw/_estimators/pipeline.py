"""Pipelines whose last step is fitted with learned weights."""

from typing import Any

from sklearn import get_config
from sklearn.base import is_regressor
from sklearn.pipeline import make_pipeline

from .base import BaseOTWeighted
from .classifier import OTWeightedClassifier
from .regressor import OTWeightedRegressor

__all__ = ["make_weighted_pipeline"]


def make_weighted_pipeline(*steps: Any, memory: Any = None, verbose: bool = False, **params: Any) -> Any:
    """Build a pipeline whose last step is fitted with learned weights, and which transforms the trusted rows as well.

    Weights are learned from the features that the last step sees, trusted rows pass through the same steps as X, and
    the steps are fitted once for both. Metadata routing must be enabled.

    Where the steps before the last one are not needed for the weights, or routing is to stay off, the pipeline goes
    inside: ``OTWeightedClassifier(make_pipeline(*steps))`` learns weights from X as it came, and works in every search.
    The guide compares the two (:doc:`/guide/scikit_learn`).

    Parameters
    ----------
    *steps : estimators
        Transformers, then a classifier or regressor, bare or in an :class:`OTWeightedClassifier` or
        :class:`OTWeightedRegressor`.
    memory : str or joblib.Memory, default=None
        Where the pipeline caches its fitted transformers.
    verbose : bool, default=False
        Whether the pipeline prints the time of each step.
    **params : dict
        Parameters of :class:`OTWeightedClassifier` or :class:`OTWeightedRegressor`, such as ``weighter``, for a last
        step that is bare.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        Takes ``fit(X, y, X_meta=X_meta, y_meta=y_meta)``, or ``fit(X, y, y_verified=...)``, and ``sample_weight`` for
        its last step. Steps are named as by :func:`~sklearn.pipeline.make_pipeline`.

    Raises
    ------
    RuntimeError
        If metadata routing is not enabled.
    ValueError
        If there are no steps, or there are ``params`` and the last step has its own.

    See Also
    --------
    OTWeightedClassifier : The last step of the pipeline, or what goes around one.

    Examples
    --------
    >>> import sklearn
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skotw import make_weighted_pipeline
    >>> from skotw.meta import balanced_meta_split
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     pipe = make_weighted_pipeline(PCA(2), LogisticRegression())
    ...     pipe.fit(X, y, X_meta=X_meta, y_meta=y_meta).score(X, y) > 0.9
    True
    """
    if not get_config()["enable_metadata_routing"]:
        raise RuntimeError(
            "The trusted rows reach the last step of a pipeline only with metadata routing. Call "
            "sklearn.set_config(enable_metadata_routing=True) first. Or put the pipeline inside: "
            "OTWeightedClassifier(make_pipeline(...))."
        )
    if not steps:
        raise ValueError("A pipeline needs a classifier or a regressor as its last step; got no steps.")
    *transformers, last = steps
    if not isinstance(last, BaseOTWeighted):
        last = (OTWeightedRegressor if is_regressor(last) else OTWeightedClassifier)(last, **params)
        last.set_fit_request(sample_weight=True)
    elif params:
        raise ValueError(
            f"The last step is an {type(last).__name__} already: give it {', '.join(params)} itself, or pass the "
            "estimator inside it."
        )
    return make_pipeline(*transformers, last, memory=memory, transform_input=["X_meta"], verbose=verbose)
