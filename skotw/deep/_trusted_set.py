"""The trusted samples of a network: where they come from, whether they fit, and mini-batches of them."""

import numbers
from collections.abc import Mapping

import joblib
import numpy as np
import torch
from scipy.sparse import issparse
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import unpack_data
from skorch.utils import is_dataset
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

from skotw._compat import num_samples
from skotw._validation import check_index, named, refuse_arguments
from skotw._weighter.frames import is_frame
from skotw._weighter.two_sets import TAKE_THEM_OUT, warn_far, warn_repeated
from skotw.meta import balanced_meta_split

from ._sample_ids import check_indexable
from ._sample_kinds import TORCH, dtype_of, error_in, in_words, look, quietly, rows_in_memory, rows_of, spread

__all__ = [
    "balanced_batches",
    "check_class_mass",
    "check_fit_params",
    "check_no_names",
    "check_trusted",
    "draw_trusted",
    "fingerprint",
    "has_names",
    "in_one_dimension",
    "is_draw",
    "labels_of",
    "meta_dataset",
    "stored_labels",
    "warn_of_mistakes",
]

_LOOKED_AT = 64  # rows
_COMPARED = 4  # training samples that show how samples look
_SAME_STEPS = (
    "The trusted samples must go through the same steps as X, and no Pipeline transforms meta=: fit its steps before, "
    "transform both sets, and give the net meta=(steps.transform(X_meta), y_meta)."
)
_TAKE_THEM_OUT = f"{TAKE_THEM_OUT} Or pass a number, such as meta=10, by which the net draws them from X."


def meta_dataset(meta, net, dataset_train=None):
    """Data set of the trusted samples that ``meta=`` gives; they fit those of the training split, where it is given.

    Raises
    ------
    TypeError
        If it is neither a data set nor a pair.
    ValueError
        If it is empty, has no length, no labels, names for labels, or frames in different orders, or as
        :func:`check_trusted`.
    """
    ours = False
    if isinstance(meta, Dataset):
        check_indexable(meta)
        dataset = meta
    elif isinstance(meta, (tuple, list)) and len(meta) == 2:
        if meta[1] is None and not is_dataset(meta[0]):
            raise ValueError("The trusted samples have no labels: y_meta is None. Give the label of every one of them.")
        check_index(X_meta=meta[0], y_meta=meta[1])
        try:
            dataset = net.get_dataset(*meta)
        except ValueError as error:
            error.add_note("This was meta=(X_meta, y_meta). As by skorch, a list of X_meta holds one array per input.")
            raise
        ours = type(dataset) is SkorchDataset and dataset is not meta[0]
        if dataset_train is not None:
            _refuse_other_kinds(rows_of(dataset_train), meta[0])
    else:
        raise TypeError(
            "meta must be (X_meta, y_meta), a torch Dataset of trusted samples, a number of training samples per class "
            f"to set aside, or None; got {type(meta).__name__}."
        )
    if ours and has_names((None, dataset.y)):
        raise ValueError(
            f"y_meta has names of classes, such as {named(dataset.y[:1])}, and the labels of training go to the "
            "criterion as they are. Give y_meta as class indices, like y."
        )
    check_no_names(dataset, "meta")
    if not len(dataset):
        raise ValueError("There are no trusted samples. Give at least one of every class.")
    if dataset_train is None:
        return dataset
    if ours:
        with quietly():
            (X, y), (sample, label) = (dataset.X, dataset.y), unpack_data(dataset_train[0])
        dataset.X, dataset.y = _of_type(X, sample), _of_shape(_of_type(y, label), label)
    check_trusted(dataset, dataset_train, net)
    return dataset


# ---------------------------------------------------------------------------------------------
# Whether they fit


def _refuse_other_kinds(X, X_meta):
    """Refuse a pair of which the rows are a data frame, beside training samples in an array, or the reverse."""
    if is_frame(X) == is_frame(X_meta) or not all(is_frame(rows) or hasattr(rows, "dtype") for rows in (X, X_meta)):
        return
    kinds = ["a data frame" if is_frame(rows) else f"of type {type(rows).__name__}" for rows in (X, X_meta)]
    raise ValueError(
        f"X is {kinds[0]} and X_meta is {kinds[1]}. Give both in the same form. If the network takes one array, that "
        "is to_numpy(dtype=numpy.float32) of the data frame. If X has been transformed, transform X_meta likewise."
    )


def _of_type(values, sample):
    """Numbers in the type that training samples have, where that changes none of them; float64 becomes float32."""
    if isinstance(values, Mapping) and isinstance(sample, Mapping):
        return {name: _of_type(part, sample.get(name)) for name, part in values.items()}
    if hasattr(values, "iloc") and isinstance(sample, Mapping):  # a frame, whose rows skorch makes dictionaries
        return values.assign(**{name: _of_type(values[name].to_numpy(), sample.get(name)) for name in values})
    if isinstance(values, (tuple, list)) and isinstance(sample, (tuple, list)) and len(values) == len(sample):
        return type(values)(_of_type(part, of) for part, of in zip(values, sample, strict=True))
    wanted, given = dtype_of(sample), dtype_of(values)
    if not isinstance(values, (np.ndarray, torch.Tensor)) or wanted is None or given is None or wanted == given:
        return values
    if wanted.kind not in "fiu" or given.kind not in "biuf":
        return values
    cast = values.to(TORCH[wanted.name]) if isinstance(values, torch.Tensor) else values.astype(wanted)
    return cast if wanted.kind == "f" or bool((cast == values).all()) else values


def _of_shape(y, label):
    """Labels in a column, or not, as those of training are."""
    ndim = np.ndim(label) + 1
    if isinstance(y, (np.ndarray, torch.Tensor)) and {y.ndim, ndim} == {1, 2}:
        if y.ndim == 2 and y.shape[1] == 1:
            return y[:, 0]
        if y.ndim == 1 and np.shape(label) == (1,):
            return y[:, None]
    return y


def check_trusted(dataset, dataset_train, net):
    """Raise where the network cannot take the trusted samples as it takes those of training.

    Samples that look like those of training are not tried. Others are, by a pass in evaluation mode, since networks may
    take images of any size, texts of any length and missing values.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    with quietly():
        looks, trusted = (
            [look(unpack_data(part[i])[0]) for i in spread(part, most)]
            for part, most in ((dataset_train, _COMPARED), (dataset, _LOOKED_AT))
        )
        label, labels = (dtype_of(unpack_data(part[0])[1]) for part in (dataset_train, dataset))
        forms = {form for form, _ in looks}
        other = next((form for form, _ in trusted if form not in forms), None)
        broken = next((i for i, (_, finite) in enumerate(trusted) if not finite), None)
        odd = other is not None or (broken is not None and all(finite for _, finite in looks))
        error, finite = error_in(net, Subset(dataset, spread(dataset, _LOOKED_AT))) if odd else (None, True)
        if error is not None and error_in(net, Subset(dataset_train, spread(dataset_train, _COMPARED)))[0] is not None:
            return  # training samples are not taken either, and raise their own error
    if label is not None and labels is not None and label.kind in "iu" and labels.kind == "f":
        raise ValueError(
            "The trusted labels are fractions or of floating type, and those of training are class indices. Give "
            "y_meta as integers."
        )
    if other is not None and error is not None:
        if said := in_words(dataset, net, "X_meta", error):
            raise said from error
        raise ValueError(
            f"The network does not take the trusted samples ({error}). They are not as those of training: {other} "
            f"there, and {' or '.join(sorted(forms))} in the training set."
        ) from error
    if broken is not None and not finite:
        raise ValueError(
            "The trusted samples contain NaN or infinity, and so does what the network makes of them. Fill what is "
            "missing there, or leave these samples out."
        )


def warn_of_mistakes(meta, X, *, stream):
    """Warn of trusted samples that missed the steps through which X went, or are a part of X.

    Only of samples that are rows in memory. Of the steps only tables of numbers tell, of which meta= is the pair.
    """
    pair = isinstance(meta, (tuple, list)) and len(meta) == 2
    X, X_meta = rows_in_memory(X), rows_in_memory(meta[0] if pair else meta)
    if X is None or X_meta is None or not num_samples(X_meta):
        return
    arrays = [isinstance(rows, (np.ndarray, torch.Tensor)) for rows in (X, X_meta)]
    if all(arrays):
        if X.ndim < 2 or X.shape[1:] != X_meta.shape[1:]:
            return
        if pair and X.ndim == 2:
            warn_far(X, X_meta, stream=stream, remedy=_SAME_STEPS)
        X, X_meta = (rows.reshape(len(rows), -1) for rows in (X, X_meta))
    elif any(arrays):
        return
    warn_repeated(X, X_meta, rows="samples", remedy=_TAKE_THEM_OUT)


def check_fit_params(net, method, fit_params):
    """Raise where trusted samples or weights are passed as the estimators of tables take them.

    Raises
    ------
    TypeError
    """
    called = f"{type(net).__name__}.{method}"
    remedy = (
        "Pass the trusted samples and their labels as a parameter, meta=(X_meta, y_meta). Samples of X that were "
        "reviewed leave X and y for it."
    )
    refuse_arguments(called, fit_params, ("X_meta", "y_meta", "y_verified"), remedy)
    remedy = "It learns the weights of its samples. Leave sample_weight out."
    refuse_arguments(called, fit_params, ("sample_weight",), remedy)


def check_class_mass(weighter, net):
    """Raise where masses are given by the names of classes: the weighter of a net knows indices.

    Raises
    ------
    ValueError
    """
    mass = getattr(weighter, "class_mass", None)
    if not isinstance(mass, dict):
        return
    classes = list(getattr(net, "classes_", ()))
    encodes = hasattr(net, "_takes_indices") and not net._takes_indices()  # what a plain net does not
    indices = range(len(classes)) if encodes else mass
    if all(name in indices and not isinstance(name, (str, bytes)) for name in mass):
        return
    if all(name in classes for name in mass):
        hint = f": class_mass={ {classes.index(name): share for name, share in mass.items()}!r}"
    else:
        hint = f" {named(classes)}" if classes else ""
    raise ValueError(
        f"class_mass names classes by {named(mass)}. In a net the weighter gets class indices. Give the places of the "
        f"labels in classes_{hint}."
    )


# ---------------------------------------------------------------------------------------------
# Where they come from


def draw_trusted(dataset, n_per_class, random_state):
    """Ids of ``n_per_class`` samples of each class.

    Raises
    ------
    ValueError
        If a class has fewer than ``n_per_class + 1``.
    """
    try:
        return balanced_meta_split(np.arange(len(dataset)), labels_of(dataset), n_per_class, random_state)[2]
    except ValueError as error:
        raise ValueError(f"meta={n_per_class} cannot be drawn from the training split. {error}") from error


def labels_of(dataset):
    """Labels of all samples as an array, without loading the samples where the data set keeps labels apart."""
    labels = stored_labels(dataset)
    if labels is None:
        labels = np.array([np.asarray(dataset[i][1]) for i in range(len(dataset))])
    return in_one_dimension(labels)


def in_one_dimension(labels):
    """Labels, an array or a tensor, of one dimension where they come in a single column."""
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


def stored_labels(dataset):
    """Labels that a data set keeps apart from its samples, as an array, or None."""
    if isinstance(dataset, Subset):
        labels = stored_labels(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices)]
    if isinstance(dataset, TensorDataset):
        return dataset.tensors[-1].cpu().numpy()
    for name in ("y", "targets"):  # of skorch and of torchvision
        labels = getattr(dataset, name, None)
        if isinstance(labels, torch.Tensor):
            labels = labels.cpu()
        if hasattr(labels, "__len__") and not isinstance(labels, (dict, str)) and len(labels) == len(dataset):
            try:
                return np.asarray(labels)
            except ValueError:  # ragged, as the boxes of a detector: no labels
                continue
    return None


def has_names(meta):
    """Whether ``meta=`` is a pair whose labels are names of classes."""
    if not isinstance(meta, (tuple, list)) or len(meta) != 2:
        return False
    return _are_names(meta[1] if isinstance(meta[1], torch.Tensor) else np.asarray(meta[1]))


def _are_names(labels):
    if isinstance(labels, torch.Tensor):
        return False
    return labels.dtype.kind in "US" or any(isinstance(label, str) for label in labels.ravel()[:1])


def check_no_names(dataset, name):
    """Raise where the labels of skorch's own data set, which others may translate, are names of classes.

    Raises
    ------
    ValueError
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    labels = stored_labels(dataset) if type(dataset) is SkorchDataset else None
    if labels is not None and _are_names(labels):
        raise ValueError(
            f"The data set of {name} has names of classes as labels, such as {named(labels[:1])}. Labels in data sets "
            "go to the criterion as they are. Give class indices there, places in classes_. Or pass arrays, whose "
            "labels are encoded."
        )


def fingerprint(X, y):
    """Hash by which training data are told from other data, or None where nothing is in memory to look at.

    Of all labels, and of a few rows, since chunks of a stream often have the same labels in the same order.
    """
    if y is None or is_dataset(y):
        y = stored_labels(X) if is_dataset(X) else None
    if y is None:
        return None
    y = np.asarray(y.cpu() if isinstance(y, torch.Tensor) else y)
    return joblib.hash([y, _some_rows(X, np.linspace(0, len(y) - 1, min(len(y), _LOOKED_AT)).astype(np.intp))])


def _some_rows(X, rows):
    """Rows of what skorch takes as X, where they are in memory; a data set that makes its samples has none."""
    if isinstance(X, Subset):
        return _some_rows(X.dataset, np.asarray(X.indices)[rows])
    if isinstance(X, TensorDataset):
        return [_some_rows(part, rows) for part in X.tensors]
    if isinstance(X, SkorchDataset):
        return _some_rows(X.X, rows)
    if isinstance(X, dict):
        return {name: _some_rows(part, rows) for name, part in X.items()}
    if isinstance(X, (tuple, list)):
        return [_some_rows(part, rows) for part in X]
    if isinstance(X, torch.Tensor):
        return X[torch.as_tensor(rows, device=X.device)].detach().cpu().numpy()
    if hasattr(X, "iloc"):
        return np.asarray(X.iloc[rows])
    return np.asarray(X[rows]) if isinstance(X, np.ndarray) else X.tocsr()[rows] if issparse(X) else None


def balanced_batches(dataset, labels, batch_size, **loader_params):
    """Endless mini-batches in which every class, or combination of several labels, is equally likely."""
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True, axis=0)
    sampler = WeightedRandomSampler(1.0 / (len(classes) * counts[codes.ravel()]), batch_size, replacement=True)
    loader = DataLoader(dataset, batch_size=batch_size, sampler=sampler, **loader_params)
    while True:
        yield from loader


def is_draw(meta):
    """Whether ``meta=`` asks for training samples."""
    return isinstance(meta, numbers.Integral) and not isinstance(meta, bool)
