"""OTWeightedClassifier: learn weights, then fit any classifier with them."""

from typing import Any, Self

from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from skotw._compat import available_if
from skotw._typing import Array, ArrayLike, MatrixLike, RandomState
from skotw._validation import check_index
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.input import Given

from .base import BaseOTWeighted, inner_has, learns_weights
from .both_sets import check_classes

__all__ = ["OTWeightedClassifier"]


class OTWeightedClassifier(ClassifierMixin, BaseOTWeighted):
    r"""Learn sample weights by optimal transport, then fit any classifier with them.

    In ``fit`` an :class:`OTSampleWeighter` learns how much each training row should count, given the few trusted rows
    ``X_meta`` and ``y_meta``. A clone of ``estimator`` is then fitted to the training rows, and to the trusted ones,
    with these weights. Inside a search or a cross-validation every fold learns its own weights, from its own rows.

    The guide shows it in pipelines and searches (:doc:`/guide/scikit_learn`), where labels are wrong and classes
    unbalanced (:doc:`/guide/noise_and_imbalance`), and where probabilities are wanted (:doc:`/guide/probabilities`).

    Parameters
    ----------
    estimator : classifier or None, default=None
        Any classifier, pipeline or nested meta-estimator. None is :class:`~sklearn.linear_model.LogisticRegression` at
        its defaults. It gets X as it came. Pass an instance to search over its parameters, as in ``estimator__C``.
    weighter : OTSampleWeighter or None, default=None
        Unfitted weighter, which is cloned. None is ``OTSampleWeighter(embedding="supervised", prior="confidence")``
        where there are classes and trusted rows, and ``OTSampleWeighter()`` elsewhere. Pass an instance to search over
        its parameters, as in ``weighter__reg``.
    include_meta : bool, default=True
        Whether the trusted rows join the training set.
    meta_weight : {"auto", "balanced"} or float in [0, 1], default="auto"
        How much the trusted rows weigh where they join.

        - "auto": as "balanced", and a training row counts for the part of a trusted one that its label is worth: the
          posterior mean of the squared reliability of the labels, or 2/3 where that is not known.
        - "balanced": balanced weights computed on both sets together, which transport then changes for the training
          rows.
        - A number: their share of the total weight, with balanced classes among them.
    random_state : int, RandomState instance or None, default=None
        Seeds the bootstrap, and the models of the weighter that ``weighter=None`` stands for. The inner estimator keeps
        its own.

    Attributes
    ----------
    estimator_ : classifier
        The fitted inner classifier.
    weighter_ : OTSampleWeighter
        The fitted weighter.
    sample_weight_ : ndarray of shape (n_samples,)
        Weights of the rows of X in the fit of ``estimator_``. Reviewed rows have theirs among them, or 0 where trusted
        rows do not join.
    sample_weight_meta_ : ndarray of shape (n_meta,)
        Weights of the trusted rows there, empty where none join. Together the two sum to the sum of the given
        ``sample_weight`` (n_samples without) plus one per trusted row that joins. So regularisation strengths such as
        ``C`` keep their meaning. With ``meta_weight="auto"`` training rows count in this sum for what they are worth:
        the less labels can be trusted, the more such an estimator regularises.
    classes_ : ndarray of shape (n_classes,)
        Class labels that ``estimator_`` knows.
    n_features_in_ : int
        Number of features of X.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features of X, where it has names that are all strings.

    Other Parameters
    ----------------
    on_unweighted : {"raise", "bootstrap"}, default="raise"
        What to do with a classifier that takes no ``sample_weight``, or in which a sampler draws rows. "raise" is an
        error. "bootstrap" fits it to as many rows, drawn with replacement, with probabilities that go by the weights.
    sample_weight_name : str, default="auto"
        Keyword by which the weights reach ``estimator.fit``. "auto" finds it: ``sample_weight``, that of a pipeline's
        last step, or that of what is nested deeper.

    See Also
    --------
    OTSampleWeighter : The weights alone.
    make_weighted_pipeline : A pipeline that transforms the trusted rows along with X.
    OTWeightedRegressor : The same for continuous targets.
    OTResampler : The same weights as a step of imbalanced-learn's pipeline.

    Notes
    -----
    Let class c hold mass :math:`q_c` (``class_mass`` of the weighter), prior weight :math:`A_c` among the training rows
    and :math:`m_c` trusted rows; let W be the total weight. With ``meta_weight="balanced"`` class c gets
    :math:`q_c W`, of which its trusted rows hold the part :math:`m_c / (A_c + m_c)`, the same for each. "auto" puts
    :math:`v A_c` in place of :math:`A_c`, in W too, v being the posterior mean of :math:`r^2` with the reliability r: a
    label that is right with probability :math:`1/K + (1 - 1/K) r` has :math:`r^2` of the Fisher information of a
    right one, at even odds. A share s gives :math:`q_c s W` to the trusted rows of class c. The training rows share the
    rest in proportion to what the transport gives them.

    What ``weighter=None`` costs: six models of at most 5,000 rows, their predictions for all others, and two models of
    the trusted rows. That takes seconds at the most for tables, whatever their length.
    ``weighter=OTSampleWeighter()`` fits no models, and finds fewer wrong labels.

    Metadata routing: ``X_meta`` and ``y_meta`` are requested by default. Without routing, put a pipeline inside, as in
    ``OTWeightedClassifier(make_pipeline(StandardScaler(), LogisticRegression()))``. :doc:`/guide/scikit_learn` has
    every combination.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skotw import OTWeightedClassifier
    >>> from skotw.datasets import flip_labels
    >>> from skotw.meta import balanced_meta_split
    >>> X, y, X_meta, y_meta = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
    >>> y_noisy = flip_labels(y, 0.4, random_state=0)
    >>> clf = OTWeightedClassifier(make_pipeline(StandardScaler(), LogisticRegression()))
    >>> clf.fit(X, y_noisy, X_meta=X_meta, y_meta=y_meta).score(X, y) > 0.9
    True
    """

    _default_estimator = LogisticRegression

    def __init__(
        self,
        estimator: Any = None,
        *,
        weighter: OTSampleWeighter | None = None,
        include_meta: bool = True,
        meta_weight: float | str = "auto",
        random_state: RandomState = None,
        on_unweighted: str = "raise",
        sample_weight_name: str = "auto",
    ) -> None:
        self.estimator = estimator
        self.weighter = weighter
        self.include_meta = include_meta
        self.meta_weight = meta_weight
        self.random_state = random_state
        self.on_unweighted = on_unweighted
        self.sample_weight_name = sample_weight_name

    @learns_weights
    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_meta: MatrixLike = None,
        y_meta: ArrayLike | None = None,
        y_verified: ArrayLike | None = None,
        **fit_params: Any,
    ) -> Self:
        """Learn the weights and fit the classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Training rows, of any kind that ``estimator`` and the weighter's embedding take.
        y : array-like of shape (n_samples,)
            Training labels.
        sample_weight : array-like of shape (n_samples,), default=None
            How much each row counts beforehand, against 1 for a trusted row.
        X_meta : the same as X, of shape (n_meta, n_features), default=None
            Trusted rows. Without them prototypes of the training rows take their place, and no rows join. A 1-tuple
            ``(X_meta,)`` is unwrapped. In one, as many trusted rows as training rows are not sliced by searches.
        y_meta : array-like of shape (n_meta,), default=None
            Labels of the trusted rows, or a 1-tuple of them.
        y_verified : array-like of shape (n_samples,), default=None
            Labels of those rows of X that somebody has reviewed, in place of ``X_meta`` and ``y_meta``. Mark all others
            by NaN, None, the missing values of pandas, or a mask. Searches slice it as they do y. Reviewed rows are the
            trusted rows, and are trained on with this label, each counting as its ``sample_weight`` says.
        **fit_params : dict
            Further arguments of ``estimator.fit``: with metadata routing those that it requests, without as they are.
            Where trusted rows join, an argument with one value per row needs values for them as well, at the end.

        Returns
        -------
        self : OTWeightedClassifier
            Fitted classifier.

        Raises
        ------
        ValueError
            If the two sets do not fit together, or a training class has no trusted rows. If y looks recoded. If the
            estimator takes no weights (see ``on_unweighted``), draws rows inside, or is no classifier. After any error
            the classifier is as it was before.
        TypeError
            If the trusted rows are passed by position or by another name.

        Warns
        -----
        UserWarning
            As :meth:`OTSampleWeighter.fit`. Also if the trusted rows look as if they had been sliced or had missed a
            draw of features, or if the estimator balances classes once more.
        """
        check_index(X=X, y=y)
        if y is not None and y_verified is None:  # of rows that were reviewed y says nothing
            y = check_classes(y)
        self._fit_all(Given(X, y, X_meta, y_meta, sample_weight, y_verified=y_verified), fit_params)
        if not hasattr(self.estimator_, "classes_"):
            raise ValueError(
                f"{type(self.estimator_).__name__} knows no classes after fit, so it is no classifier. For a "
                "continuous target use OTWeightedRegressor."
            )
        self.classes_ = self.estimator_.classes_
        return self

    def predict(self, X: MatrixLike) -> Array:
        """Predict with the fitted inner classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predicted classes.
        """
        check_is_fitted(self)
        return self.estimator_.predict(X)

    @available_if(inner_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> Array:
        """Class probabilities of the fitted inner classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(inner_has("predict_log_proba"))
    def predict_log_proba(self, X: MatrixLike) -> Array:
        """Logarithms of the class probabilities of the fitted inner classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Log-probabilities, in the order of ``classes_``.
        """
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(inner_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> Array:
        """Confidence scores of the fitted inner classifier.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, as in ``fit``.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
            What ``estimator_.decision_function`` returns.
        """
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags = get_tags(self._get_estimator()).classifier_tags or tags.classifier_tags
        return tags
