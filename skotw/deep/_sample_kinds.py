"""What samples are made of, whether a network takes them, and in words why not."""

import random
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np
import torch
from scipy import sparse
from skorch import NeuralNet
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import unpack_data
from skorch.utils import to_device
from torch.utils.data import Subset, TensorDataset

from skotw._compat import num_samples
from skotw._validation import is_missing, is_number, named
from skotw._weighter.frames import is_frame

from ._feature_tap import logits_of

__all__ = [
    "TORCH",
    "check_any",
    "check_taken",
    "dtype_of",
    "error_in",
    "explained",
    "in_words",
    "look",
    "quietly",
    "rows_in_memory",
    "rows_of",
    "spread",
]

_TRIED = 4  # samples that show whether the network takes them

TORCH = {
    name: getattr(torch, name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
}
_ENCODE = (
    "A network takes numbers. Encode these columns, for example by steps = make_column_transformer("
    "(OneHotEncoder(sparse_output=False), columns), remainder=StandardScaler()). Give the net "
    "steps.fit_transform(X).astype(numpy.float32). Put the trusted samples, and those to predict, through the same "
    "steps: steps.transform(X_meta).astype(numpy.float32)."
)
_LIKEWISE = ". Do so with training samples, trusted samples and samples to predict alike."


def dtype_of(part):
    """Type of the numbers of an array or a tensor, or of a number, as NumPy names it; or None."""
    if isinstance(part, torch.Tensor):
        return next((np.dtype(name) for name, dtype in TORCH.items() if dtype == part.dtype), None)
    if isinstance(part, (np.ndarray, np.generic)) or sparse.issparse(part):
        return part.dtype
    return np.dtype(type(part)) if isinstance(part, (bool, int, float)) else None


def look(sample):
    """Form of a sample in words, and whether all of its numbers are finite."""
    if isinstance(sample, Mapping):
        forms, finite = zip(*map(look, sample.values()), strict=True) if sample else ((), ())
        return ", ".join(f"{name!r}: {form}" for name, form in zip(sample, forms, strict=True)), all(finite)
    if isinstance(sample, (tuple, list)):
        forms, finite = zip(*map(look, sample), strict=True) if sample else ((), ())
        return f"({', '.join(forms)})", all(finite)
    dtype = dtype_of(sample)
    if dtype is None:
        return type(sample).__name__, True
    form = f"shape {tuple(np.shape(sample))} of {dtype}"
    if dtype.kind != "f":
        return form, True
    return form, bool(sample.isfinite().all() if isinstance(sample, torch.Tensor) else np.isfinite(sample).all())


def spread(dataset, most):
    """Indices of as many samples, evenly over the data set."""
    return np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), most)).astype(np.intp)).tolist()


def error_in(net, dataset):
    """The error that these samples raise in the network, or None, and whether its outputs are numbers."""
    finite = True
    try:
        with torch.no_grad():
            net.module_.eval()
            for batch in NeuralNet.get_iterator(net, dataset, training=False):
                part = unpack_data(batch)[0]
                if net.device is None:  # accelerate has taken over
                    part = to_device(part, next(net.module_.parameters()).device)
                finite = finite and bool(torch.isfinite(logits_of(net.infer(part))).all())
    except Exception as error:
        return error, False
    return None, finite


@contextmanager
def quietly():
    """Leave the random numbers of the process as they are, whatever samples and samplers draw."""
    # the global generators, since those are what transforms of samples draw from
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


# ---------------------------------------------------------------------------------------------
# Why not


def check_any(X):
    """Raise where there are no training samples.

    Raises
    ------
    ValueError
    """
    if X is None:
        raise ValueError("There are no training samples: X is None.")
    rows = rows_in_memory(X)
    if rows is not None and not num_samples(rows):
        raise ValueError(f"There are no training samples: X has the shape {tuple(rows.shape)}.")


def check_taken(dataset, net):
    """Raise where the network cannot take the training samples, and their kind shows why.

    Samples that are numbers of the type of the network's parameters are not tried.

    Raises
    ------
    ValueError
    """
    if not len(dataset) or not _is_odd(rows_of(dataset), net):
        return
    with quietly():
        error, _ = error_in(net, Subset(dataset, spread(dataset, _TRIED)))
    if error is not None and (said := in_words(dataset, net, "X", error)):
        raise said from error


@contextmanager
def explained(X, net):
    """Where the network cannot take X, an error within says why, as far as the kind of X shows it.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except (TypeError, RuntimeError, NotImplementedError) as error:
        said = in_words(X, net, "X", error)
        if said is None:
            raise
        raise said from error


def in_words(X, net, name, error):
    """The error that X, or a data set of it, has raised in the network, with what is wrong; None where unknown."""
    X = rows_of(X)
    why = _of_kind(X, name) or _of_type(X, net, name)
    return None if why is None else ValueError(f"The network does not take {name}. {why} (The error was: {error})")


def rows_of(given):
    """Rows that a data set of skorch keeps; anything else as it is."""
    while isinstance(given, Subset):
        given = given.dataset
    if isinstance(given, SkorchDataset):
        return given.X
    return given


def rows_in_memory(given):
    """Samples as an array, a tensor, a sparse matrix or a data frame, where they are that; else None."""
    if type(given) is TensorDataset:
        given = given.tensors[0]
    elif type(given) is SkorchDataset:
        given = given.X
    kinds = (np.ndarray, torch.Tensor)
    return given if isinstance(given, kinds) or sparse.issparse(given) or is_frame(given) else None


def _is_odd(X, net):
    """Whether X is of a kind that networks may not take."""
    if isinstance(X, Mapping):
        return any(_is_odd(part, net) for part in X.values())
    if is_frame(X) or (sparse.issparse(X) and X.format != "csr"):
        return True
    return _is_array(X) and dtype_of(X) != _type_of(net)


def _is_array(X):
    return dtype_of(X) is not None and getattr(X, "ndim", 0) > 0


def _type_of(net):
    """Type of the numbers by which the network computes."""
    return next((dtype_of(p) for p in net.module_.parameters() if p.is_floating_point()), np.dtype(np.float32))


def _of_kind(X, name):
    """What about X is no array of numbers; None where all is."""
    if isinstance(X, Mapping):
        return next(filter(None, (_of_kind(part, f"{name}[{key!r}]") for key, part in X.items())), None)
    if is_frame(X):
        return _of_frame(X, name)
    if sparse.issparse(X) and X.format != "csr":
        return f"It is a sparse matrix in the format {X.format!r}, of which rows are not taken. Pass {name}.tocsr()."
    if _is_array(X) and dtype_of(X).kind in "OUS":
        return _of_objects(np.asarray(X), dtype_of(X), name)
    return None


def _of_type(X, net, name):
    """What about the type of numbers the network does not take; None where it takes them in no other type either."""
    wanted, parts = _type_of(net), X if isinstance(X, Mapping) else {None: X}
    odd = [key for key, part in parts.items() if _is_array(part) and dtype_of(part) != wanted]
    floats = [key for key in odd if dtype_of(parts[key]).kind == "f"]
    for cast in [*([key] for key in odd), floats]:
        some = {key: _in_type(part[:_TRIED], wanted) if key in cast else part[:_TRIED] for key, part in parts.items()}
        with quietly():
            error, _ = error_in(net, SkorchDataset(some if isinstance(X, Mapping) else some[None]))
        if cast and error is None:
            part, name = parts[cast[0]], name if cast[0] is None else f"{name}[{cast[0]!r}]"
            how = f"to(torch.{wanted})" if isinstance(part, torch.Tensor) else f"astype(numpy.{wanted})"
            return f"It is {dtype_of(part)}, and the network computes in {wanted}. Pass {name}.{how}{_LIKEWISE}"
    return None


def _in_type(rows, dtype):
    return rows.to(TORCH[dtype.name]) if isinstance(rows, torch.Tensor) else rows.astype(dtype)


def _of_frame(X, name):
    text = [column for column in X.columns if not _holds_numbers(X[column])]
    if text:
        return f"It is a data frame, and its columns {named(text)} hold no numbers. {_ENCODE}"
    return (
        "It is a data frame, and skorch hands each of its columns to forward() by name. If the module takes one array, "
        f"pass {name}.to_numpy(dtype=numpy.float32){_LIKEWISE}"
    )


def _holds_numbers(column):
    values = np.asarray(column)
    return values.dtype.kind in "biuf" or (values.dtype.kind == "O" and _first_text(values) is None)


def _of_objects(X, dtype, name):
    text = _first_text(X.ravel())
    kind = "objects" if dtype.kind == "O" else "text"
    if text is None:
        return f"It is an array of {kind} that are numbers. Pass {name}.astype(numpy.float32){_LIKEWISE}"
    if X.ndim == 1:
        return (
            f"It is an array of {kind}, such as {named(text)}. A network takes numbers. Give every text as token ids, "
            "padded to one length, in an array of whole numbers. Do so with the trusted samples, too."
        )
    return f"It is an array of {kind}, such as {named(text)}. {_ENCODE}"


def _first_text(values):
    """The first value that is no number, in a list; None where all are."""
    return next(([value] for value in values.tolist() if not (is_number(value) or is_missing(value))), None)
