"""OTWeightedNetClassifier: a skorch classifier that refits its sample weights."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from skorch.exceptions import NotInitializedError
from skorch.utils import is_dataset, to_numpy
from torch import nn
from torch.utils.data import Subset

from skotw._typing import Array, RandomState
from skotw._validation import check_index, clean_labels, named, one_column, warn
from skotw._weighter.estimator import OTSampleWeighter
from skotw._weighter.report import WeightReport, report_of

from ._callback import OTReweighting
from ._feature_tap import logits_of
from ._reweighter import OTReweighter
from ._sample_kinds import explained
from ._trusted_set import check_fit_params, check_no_names, has_names
from ._weighted_criterion import SampleWeights, own_criterion

__all__ = ["OTWeightedNetClassifier"]

_CALLBACK = "reweighting"


class OTWeightedNetClassifier(NeuralNetClassifier):
    """Neural network classifier whose sample weights are refitted as its features change.

    A :class:`skorch.NeuralNetClassifier` with :class:`OTReweighting` built in. It takes the same parameters, and more.
    Stage 1 trains on the plain loss for ``warmup_epochs``. Stage 2 trains on the weighted loss, and learns the weights
    anew in every epoch, by optimal transport between the current features of the training samples and those of the
    trusted samples. The guide explains how to use it (:doc:`/guide/networks`).

    Labels that are not class indices, strings for example, are encoded on the way in and decoded by ``predict``.
    Non-negative integers are taken as indices, as by skorch, so that a fold may lack a class. Where the criterion takes
    classes, whole numbers of any type are such indices. Lists, series of pandas and columns are taken as well.

    Parameters
    ----------
    module : torch.nn.Module
        The network, as a class or an instance.
    *args : tuple
        Further positional parameters of :class:`skorch.NeuralNetClassifier`.
    meta : (X_meta, y_meta), Dataset, int or None, default=None
        The trusted samples: data as the net takes it, with labels, or a data set. A number takes that many training
        samples of each class as trusted, from the training split only. The network still trains on these, with the
        mean weight of their class. None takes prototypes of the training samples. It is a parameter, like skorch's
        ``predefined_split``, because a search would slice what is given to ``fit``.
    feature_layer : str or None, default=None
        Name of the layer whose input are the features, usually the last. With None the module returns
        ``(logits, features)``, or a dict with ``"logits"`` and ``"features"``.
    weighter : OTSampleWeighter or None, default=None
        How weights are learned. None is ``OTSampleWeighter()``, whose ``reg="auto"`` is settled by the first refit, and
        raised at a refit whose weights would be much sharper than it takes to dismiss the wrong labels. Pass an
        instance to search over ``weighter__reg``. It gets class indices, so a ``class_mass`` by class names places in
        ``classes_``.
    warmup_epochs : int, default=5
        Epochs of plain loss. At the end of the last of them the weights are learned for the first time.
    refit_every : int or "batch", default=1
        Refit at the end of stage 1, and then at the end of every epoch that is a multiple of this. "batch" is the
        paper's schedule.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_train,)
        Weights of the training split after the last refit, mean 1. Not there before the first refit.
    train_indices_ : ndarray of shape (n_train,)
        Which rows of the data given to ``fit`` are the training split: ``X[train_indices_]`` have ``sample_weight_``.
    reweighter_ : OTReweighter
        With ``weighter_``, fitted: reliability of the labels, regularisation, and weights of further samples.
    classes_ : ndarray of shape (n_classes,)
        Class labels.

    Other Parameters
    ----------------
    features : {"cached", "clean"}, default="cached"
        "cached": as the training pass computed them in the epoch before the refit, at no cost. "clean": a pass in
        evaluation mode over the training set.
    smoothing : float in [0, 1), default=0.0
        Share of a sample's old weight in its new one.
    freeze : bool, str or list of str, default=False
        Names of layers that stop training in stage 2, their batch norm and dropout included. True is all but the
        feature layer. After the call they are as they were.
    meta_loss_weight : float, default=0.0
        In stage 2 the loss gains this factor times the mean loss of a class-balanced mini-batch of trusted samples.
    random_state : int, RandomState instance or None, default=None
        Draws the trusted samples where ``meta`` is a number. It does not seed the network: see ``torch.manual_seed``.
    **kwargs : dict
        Further parameters of :class:`skorch.NeuralNetClassifier`. Its criterion takes probabilities unless you pass
        ``criterion=nn.CrossEntropyLoss``. It shuffles only with ``iterator_train__shuffle=True``. It holds out a fifth
        of the data to validate.

    See Also
    --------
    OTReweighting : The callback alone, for your own nets.
    OTReweighter : The object below, for other training loops.

    References
    ----------
    .. [1] D. Guo, Z. Li, M. Zheng, H. Zhao, M. Zhou and H. Zha. "Learning to Re-weight Examples with Optimal Transport
           for Imbalanced Classification". NeurIPS 2022, arXiv:2208.02951.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from skotw.deep import OTWeightedNetClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["oak", "ash", "elm"], [200, 40, 20])
    >>> X = rng.normal(size=(260, 6)).astype("float32")
    >>> X[y == "ash", 0] += 2
    >>> X[y == "elm", 1] += 2
    >>> net = OTWeightedNetClassifier(
    ...     nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)),
    ...     meta=5,
    ...     feature_layer="2",
    ...     warmup_epochs=2,
    ...     max_epochs=4,
    ...     criterion=nn.CrossEntropyLoss,
    ...     iterator_train__shuffle=True,
    ...     random_state=0,
    ...     verbose=0,
    ... ).fit(X, y)
    >>> net.predict(X[:3]).dtype.kind
    'U'
    >>> w, split = net.sample_weight_, net.train_indices_
    >>> bool(w[y[split] == "elm"].mean() > 3 * w[y[split] == "oak"].mean())
    True
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        meta: Any = None,
        feature_layer: str | None = None,
        weighter: OTSampleWeighter | None = None,
        warmup_epochs: int = 5,
        refit_every: int | str = 1,
        features: str = "cached",
        smoothing: float = 0.0,
        freeze: bool | str | Sequence[str] = False,
        meta_loss_weight: float = 0.0,
        random_state: RandomState = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, *args, **kwargs)
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

    # ------------------------------------------------------------------ weights

    @property
    def sample_weight_(self) -> Array:
        """Weights of the training split.

        Returns
        -------
        sample_weight : ndarray of shape (n_train,)
            In the order of ``train_indices_``.
        """
        weights = SampleWeights.of(self.criterion_) if hasattr(self, "criterion_") else None
        if weights is None or not weights.learned:
            raise AttributeError(f"{type(self).__name__} has no sample_weight_ before the first refit. Call fit first.")
        return weights.weight.cpu().numpy().copy()

    @property
    def reweighter_(self) -> OTReweighter:
        """The object that learned the weights.

        Returns
        -------
        reweighter : OTReweighter
            As the last refit left it.
        """
        callback = dict(getattr(self, "callbacks_", ())).get(_CALLBACK)
        if not hasattr(callback, "reweighter_"):
            raise AttributeError(f"{type(self).__name__} has no reweighter_ before training. Call fit first.")
        return callback.reweighter_

    def report(self) -> WeightReport:
        """Say what became of the training samples at the last refit, class by class, and what to change.

        Returns
        -------
        report : WeightReport
            As :meth:`skotw.OTSampleWeighter.report` has it. Classes have their labels out of ``classes_``. Samples have
            their numbers among the data given to ``fit``. Trusted samples that were drawn from the training split are
            not among them.

        Raises
        ------
        AttributeError
            If no weights have been learned yet.
        ValueError
            If the last refit was of a mini-batch, or shared by several processes.

        Examples
        --------
        >>> import numpy as np
        >>> from torch import nn
        >>> from skotw.deep import OTWeightedNetClassifier
        >>> X = np.random.default_rng(0).normal(size=(260, 2)).astype("float32")
        >>> y = np.where(X[:, 0] > 0, "right", "left")
        >>> layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net = OTWeightedNetClassifier(
        ...     layers,
        ...     meta=5,
        ...     feature_layer="2",
        ...     warmup_epochs=1,
        ...     max_epochs=2,
        ...     criterion=nn.CrossEntropyLoss,
        ...     verbose=0,
        ... ).fit(X, y)
        >>> print(*net.report().classes)
        left right
        """
        weighter = getattr(self.reweighter_, "weighter_", None)
        if weighter is None:
            raise AttributeError(f"{type(self).__name__} has no report before the first refit. Train on until then.")
        weighed = getattr(dict(self.callbacks_)[_CALLBACK], "weighed_", None)
        if weighed is None:
            raise ValueError(
                "A report needs the weights of all samples at once. The last refit was of one mini-batch, by "
                "refit_every='batch', or shared by several processes. net.history has what every epoch found."
            )
        rows, labels = self.train_indices_[weighed], None if self._takes_indices() else self.classes_
        return report_of(weighter._model, weighter._row_groups, weighter.sample_weight_, labels=labels, rows=rows)

    @property
    def _default_callbacks(self):
        return [*super()._default_callbacks, (_CALLBACK, OTReweighting(**self._callback_params()))]

    def _callback_params(self):
        return {name: getattr(self, name) for name in OTReweighting().get_params(deep=False)}

    def initialize(self) -> Self:
        """Initialise all components.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net.
        """
        for name in ("classes_inferred_", "train_indices_"):
            self.__dict__.pop(name, None)
        super().initialize()
        SampleWeights.attach(self.criterion_)  # so that a checkpoint of them can be loaded
        return self

    def initialize_criterion(self) -> Self:
        """Initialise the criterion; an instance that was given stays as it is.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net.
        """
        super().initialize_criterion()
        own_criterion(self)
        return self

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Hand parameters that were set meanwhile to the callback.

        Parameters
        ----------
        net : OTWeightedNetClassifier
            The net itself.
        X : object
            Training data.
        y : object
            Training labels.
        **kwargs : dict
            Unused.
        """
        super().on_train_begin(net, X=X, y=y, **kwargs)
        callback = dict(self.callbacks_).get(_CALLBACK)
        if callback is not None:
            callback.set_params(**self._callback_params())

    def get_split_datasets(self, X: Any, y: Any = None, **fit_params: Any) -> tuple[Any, Any]:
        """Split the data, and remember which rows train.

        Parameters
        ----------
        X : object
            Training data.
        y : object
            Training labels.
        **fit_params : dict
            Passed to ``train_split``.

        Returns
        -------
        dataset_train, dataset_valid : Dataset
            As by skorch.

        Raises
        ------
        ValueError
            If a data set that was given has names for labels.
        """
        try:
            dataset_train, dataset_valid = super().get_split_datasets(X, y, **fit_params)
        except ValueError as error:
            if isinstance(X, (list, tuple)):
                error.add_note("As by skorch, a list of X holds one array per input. Rows go into one array.")
            raise
        check_no_names(dataset_train, "the training split")
        if dataset_valid is not None:
            check_no_names(dataset_valid, "the validation split")
        if hasattr(dataset_train, "__len__"):  # what has none is refused where samples get their ids
            self.train_indices_ = _indices(dataset_train, X)
        return dataset_train, dataset_valid

    def infer(self, x: Any, **fit_params: Any) -> Any:
        """Run the module on a batch.

        Parameters
        ----------
        x : tensor, dict or list
            The batch.
        **fit_params : dict
            Passed to the module.

        Returns
        -------
        y_pred : tensor or tuple of tensors
            Of a module that returns a dict, or an object with ``.logits``, the logits.

        Raises
        ------
        TypeError
            If the module returns something without logits.
        """
        output = super().infer(x, **fit_params)
        return output if type(output) is tuple else logits_of(output)

    def forward_iter(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the module, batch by batch.

        Parameters
        ----------
        X : object
            Data.
        *args : tuple
            Passed to skorch.
        **kwargs : dict
            Passed to skorch.

        Yields
        ------
        y_pred : tensor or tuple of tensors
            What the module returns of a batch.

        Raises
        ------
        ValueError
            If the module cannot take X, as by its type.
        """
        with explained(X, self):
            yield from super().forward_iter(X, *args, **kwargs)

    def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss of the logits, where the module returns features with them.

        Parameters
        ----------
        y_pred : tensor or tuple of tensors
            What the module returned.
        y_true : tensor
            Class indices.
        *args : tuple
            Passed to skorch.
        **kwargs : dict
            Passed to skorch.

        Returns
        -------
        loss : tensor
            As the criterion reduces it.
        """
        return super().get_loss(logits_of(y_pred), y_true, *args, **kwargs)

    # ------------------------------------------------------------------ parameters and training

    def set_params(self, **kwargs: Any) -> Self:
        """Set parameters, those of the weighter among them.

        Parameters
        ----------
        **kwargs : dict
            Parameters of the net, such as ``module__hidden`` and ``weighter__reg``.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net.

        Raises
        ------
        ValueError
            If a parameter is unknown, or of a weighter that is None. The net then is as before.
        """
        prefix = "weighter__"
        nested = {name.removeprefix(prefix): kwargs.pop(name) for name in list(kwargs) if name.startswith(prefix)}
        weighter = kwargs.get("weighter", self.weighter)
        if nested and weighter is None:
            raise ValueError(f"weighter is None and has no {sorted(nested)}. Pass weighter=OTSampleWeighter().")
        if nested:
            clone(weighter).set_params(**nested)  # raises before anything has changed
        with _same_parameters_on_error(self):
            super().set_params(**kwargs)
        if nested:
            weighter.set_params(**nested)
        return self

    def fit(self, X: Any, y: Any, **fit_params: Any) -> Self:
        """Initialise and train.

        Parameters
        ----------
        X : object
            Training data, as skorch takes them.
        y : object
            Training labels, or None where X is a data set.
        **fit_params : dict
            Passed to skorch.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net. If training fails it counts as not fitted: ``predict`` raises NotFittedError.

        Raises
        ------
        TypeError
            If trusted samples are passed here, as ``X_meta``, ``y_meta`` or ``y_verified``, or ``sample_weight`` is.
        """
        check_fit_params(self, "fit", fit_params)
        goes_on = self.warm_start and self.initialized_
        try:
            return super().fit(X, y, **fit_params)
        except BaseException:
            self.initialized_ = goes_on
            raise

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any) -> Self:
        """Go on training.

        Parameters
        ----------
        X : object
            Training data, as skorch takes them.
        y : object
            Training labels, or None where X is a data set.
        classes : array-like
            Unused, as by skorch.
        **fit_params : dict
            Passed to skorch.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net. If training fails before its first step, the net is as before. After that it keeps what it
            learned, as after an interrupt.
        """
        check_fit_params(self, "partial_fit", fit_params)
        check_index(X=X, y=y)
        fresh = not self.initialized_
        if fresh:
            self.initialize()
        try:
            y = self._labels(y)
            with _same_training_on_error(self):
                return super().partial_fit(X, y, classes, **fit_params)
        except BaseException:
            self.initialized_ = not fresh
            raise

    def check_is_fitted(self, attributes: Any = None, *args: Any, **kwargs: Any) -> None:
        """Raise where the net is not initialised, or its training failed.

        Parameters
        ----------
        attributes : iterable of str or None, default=None
            Attributes that are needed. None is the module.
        *args : tuple
            Passed to skorch.
        **kwargs : dict
            Passed to skorch.

        Raises
        ------
        skorch.exceptions.NotInitializedError
            A NotFittedError.
        """
        super().check_is_fitted(attributes, *args, **kwargs)
        if attributes is None and not self.initialized_:
            raise NotInitializedError("The last call of fit of this net has failed. Call fit again before this method.")

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        """Load what ``save_params`` or a checkpoint has saved.

        The labels of the classes are in ``f_criterion``, beside the sample weights. Without it ``predict`` cannot name
        classes, unless ``classes=`` does.

        Parameters
        ----------
        *args : tuple
            Passed to skorch.
        **kwargs : dict
            Passed to skorch.
        """
        super().load_params(*args, **kwargs)
        known = self._recalled()
        if known is not None and len(known):
            self.classes_inferred_ = known

    # ------------------------------------------------------------------ labels

    def check_data(self, X: Any, y: Any) -> None:
        """Learn the classes.

        Class indices may be new in later calls of ``partial_fit``. Other labels must all be there in the first.

        Parameters
        ----------
        X : object
            Training data.
        y : object
            Training labels.
        """
        earlier = getattr(self, "classes_inferred_", np.array([]))
        super().check_data(X, y)
        found = getattr(self, "classes_inferred_", np.array([]))
        if len(found) and found.dtype.kind in "iu" and found[0] >= 0:
            self.classes_inferred_ = np.arange(max(found[-1] + 1, len(earlier)))
        elif len(earlier):  # the outputs of the network have their meaning
            self.classes_inferred_ = earlier
        weights = SampleWeights.of(self.criterion_)
        if weights is not None:
            weights.remember(getattr(self, "classes_", ()))

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        """The data set of X and y, with class indices for labels.

        Parameters
        ----------
        X : object
            Data.
        y : object
            Labels.

        Returns
        -------
        dataset : Dataset
            As by skorch.

        Raises
        ------
        ValueError
            If a label is not among ``classes_``.
        """
        y = y if y is None or is_dataset(y) else self._encode(_of_one_type(y))
        return super().get_dataset(X, y)

    def predict(self, X: Any) -> Array:
        """Predict class labels.

        Parameters
        ----------
        X : object
            Data.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels out of ``classes_``. Within ``fit``, to callbacks, they are class indices, as the labels of the data
            sets there.

        Raises
        ------
        ValueError
            If the classes have names, which are not known since the net was loaded without its ``f_criterion``.
        """
        if getattr(self, "fitting_", False):
            return super().predict(X)
        self._check_classes_known()
        codes = super().predict(X)
        return codes if self._takes_indices() else self.classes_[codes]

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Self:
        """Train, as skorch does.

        Parameters
        ----------
        X : object
            Training data.
        y : object
            Training labels.
        epochs : int or None
            Number of epochs.
        **fit_params : dict
            Passed to skorch.

        Returns
        -------
        self : OTWeightedNetClassifier
            The net.
        """
        self.fitting_ = True
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        finally:
            self.fitting_ = False

    def _recalled(self):
        weights = SampleWeights.of(self.criterion_) if hasattr(self, "criterion_") else None
        return None if weights is None else weights.recall()

    def _check_classes_known(self):
        """Whether the outputs have a meaning: that of a net that was loaded is in its criterion."""
        self.check_is_fitted()
        if getattr(self, "classes_", None) is not None or self._recalled() is not None:
            return
        message = (
            "This net does not know the labels of its classes. They are kept with the criterion: load its f_criterion "
            "too, or pass classes= with the labels in the order of the outputs."
        )
        if has_names(self.meta):
            raise ValueError(message)
        warn(f"{message} Until then predict gives class indices.")

    def _labels(self, y):
        """Labels as the criterion takes them, in one dimension and as whole numbers where it takes classes."""
        y = _of_one_type(y)
        if not isinstance(self.criterion_, (nn.CrossEntropyLoss, nn.NLLLoss)):
            return y
        tensor = isinstance(y, torch.Tensor)
        if not tensor and not isinstance(y, np.ndarray):
            return y
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0] if tensor else one_column(y)
        floating = y.is_floating_point() if tensor else y.dtype.kind == "f"
        if y.ndim != 1 or not floating:
            return y
        whole = y == (torch.floor(y) if tensor else np.floor(y))
        if not whole.all():
            raise ValueError(
                f"y holds numbers that are no classes, such as {named(to_numpy(y[~whole][:1]))}, and "
                f"{type(self.criterion_).__name__} takes classes. Bin them, as "
                "sklearn.preprocessing.KBinsDiscretizer does. For a continuous target use OTWeightedRegressor."
            )
        return y.long() if tensor else y.astype(np.int64)

    def _takes_indices(self):
        classes = getattr(self, "classes_", None)
        if classes is None or classes.dtype.kind == "f":
            return True
        return classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))

    def _encode(self, y):
        if self._takes_indices():
            return _widened(y)
        labels, classes = to_numpy(y), self.classes_
        if labels.ndim != 1:
            return y
        order = np.argsort(classes, kind="stable")
        unknown = np.setdiff1d(labels, classes)
        if len(unknown):
            raise ValueError(
                f"There are labels that are no classes of this net: {named(unknown)}. Its classes are "
                f"{named(classes)}. Pass all classes that will occur as classes=."
            )
        return order[np.searchsorted(classes[order], labels)].astype(np.int64)

    def __getstate__(self):
        return {**super().__getstate__(), "fitting_": False}


@contextmanager
def _same_parameters_on_error(net):
    """After an exception within, the net has the parameters and components that it had before.

    skorch replaces most attributes of a net, and writes to its callbacks and to the groups of its optimizer.
    """
    given = net.callbacks if isinstance(net.callbacks, (list, tuple)) else ()
    callbacks = [pair[-1] if isinstance(pair, tuple) else pair for pair in [*given, *getattr(net, "callbacks_", ())]]
    written = [vars(callback) for callback in callbacks if callback is not None and not isinstance(callback, type)]
    written += getattr(getattr(net, "optimizer_", None), "param_groups", [])
    written.append(vars(net))
    before = [dict(state) for state in written]
    before[-1].update({name: copy.copy(vars(net)[name]) for name in ("_params_to_validate", "virtual_params_")})
    try:
        yield
    except BaseException:
        _put_back(written, before)
        raise


@contextmanager
def _same_training_on_error(net):
    """After an exception within, nothing of the failed call is left, and before its first step nothing has changed."""
    n_epochs, weights = len(net.history), SampleWeights.of(net.criterion_)
    callback = dict(net.callbacks_).get(_CALLBACK)
    written = [vars(part) for part in (net, callback) if part is not None]
    before = [dict(state) for state in written]

    def has_not_stepped():
        epochs = net.history.to_list()[n_epochs:]
        return not any("train_loss" in batch for epoch in epochs for batch in epoch["batches"])

    try:
        with nullcontext() if weights is None else weights.unchanged_on_error(has_not_stepped):
            yield
    except BaseException:
        if has_not_stepped():
            _put_back(written, before)
            if isinstance(net.history, list):  # that of several processes only grows
                del net.history[n_epochs:]
        if callback is not None:
            callback.let_go(net)
        raise


def _put_back(written, before):
    for state, old in zip(written, before, strict=True):
        state.clear()
        state.update(old)


def _of_one_type(y):
    """Labels of any container as an array of numbers or of text; tensors and data sets as they are.

    Raises
    ------
    ValueError
        If labels are missing, or cannot be ordered.
    """
    if y is None or is_dataset(y) or isinstance(y, (torch.Tensor, Mapping)) or not hasattr(y, "__len__"):
        return y
    return clean_labels(y, "y")


def _widened(y):
    """Class indices of any integer type as the one that losses take."""
    if isinstance(y, torch.Tensor):
        whole = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
        return y.long() if whole and y.ndim == 1 else y
    narrow = getattr(getattr(y, "dtype", None), "kind", None) in ("i", "u") and y.ndim == 1
    return np.asarray(y, dtype=np.int64) if narrow else y


def _indices(dataset, given):
    """Rows of the data given that a (nested) subset takes; what was given may be a subset itself."""
    if isinstance(dataset, Subset) and dataset is not given:
        return _indices(dataset.dataset, given)[np.asarray(dataset.indices)]
    return np.arange(len(dataset))
