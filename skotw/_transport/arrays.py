"""The few things that NumPy, torch and CuPy spell differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array, to_device
from numpy.typing import NDArray
from scipy import sparse

_NUMPY = array_namespace(np.empty(0))


def namespace(X: Any) -> Any:
    """Array namespace of ``X``; that of NumPy for a scipy sparse matrix."""
    return _NUMPY if isinstance(X, np.ndarray) or sparse.issparse(X) else array_namespace(X)


def functions(X: Any) -> Any:
    """Where ``matmul``, ``multiply`` and ``exp2`` of arrays like ``X`` are called many times over.

    NumPy's own have the standard's meaning, without the microseconds that a wrapper spends with the interpreter
    locked, for which the other threads wait.
    """
    xp = namespace(X)
    return np if xp is _NUMPY else xp


def to_numpy(x: Any) -> NDArray[Any]:
    """``x`` as a NumPy array on the host."""
    if isinstance(x, np.ndarray):
        return x
    if is_torch_array(x):
        return np.asarray(x.detach().cpu().numpy())
    return np.asarray(to_device(x, "cpu"))


def dtype_of(X: Any) -> np.dtype[Any]:
    """NumPy's name for the dtype of ``X``."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        dtype: np.dtype[Any] = X.dtype
        return dtype
    return to_numpy(X[:0]).dtype


def like(values: Any, X: Any) -> Any:
    """``values`` (NumPy) in the library, dtype and device of ``X``."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        return np.ascontiguousarray(values, dtype=X.dtype)
    return namespace(X).asarray(np.ascontiguousarray(values), dtype=X.dtype, device=device(X))


def empty(shape: tuple[int, ...], X: Any) -> Any:
    """An uninitialised array in the library, dtype and device of ``X``."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        return np.empty(shape, dtype=X.dtype)
    return namespace(X).empty(shape, dtype=X.dtype, device=device(X))


def scratch(work: dict[str, Any], name: str, shape: tuple[int, int], X: Any) -> Any:
    """A contiguous array of ``shape`` from a thread's scratch memory, contents undefined."""
    size = shape[0] * shape[1]
    buffer = work.get(name)
    if buffer is None or buffer.shape[0] < size or buffer.dtype != X.dtype:
        buffer = work[name] = empty((size,), X)
    return buffer[:size].reshape(shape)


def on_device(X: Any) -> dict[str, Any]:
    """Keyword arguments that make an array where ``X`` is."""
    return {} if namespace(X) is _NUMPY else {"device": device(X)}


def take(X: Any, index: NDArray[np.intp]) -> Any:
    """Rows of ``X`` by an index array."""
    if isinstance(X, np.ndarray) or sparse.issparse(X):
        return X[index]
    xp = namespace(X)
    return xp.take(X, xp.asarray(index, device=device(X)), axis=0)


def like_rows(Z: Any, X: Any) -> Any:
    """Rows ``Z``, dense or sparse, in the library, dtype, device and density of ``X``."""
    if sparse.issparse(X):
        return sparse.csr_array(Z if sparse.issparse(Z) else to_numpy(Z)).astype(X.dtype)
    if sparse.issparse(Z):
        Z = Z.toarray()
    if isinstance(X, np.ndarray) or isinstance(Z, np.ndarray):
        return like(to_numpy(Z), X)
    xp = namespace(X)
    return xp.asarray(Z if namespace(Z) is xp else to_numpy(Z), dtype=X.dtype, device=device(X))


def beside(Z: Any, X: Any) -> Any:
    """Rows ``Z`` in the library and on the device of ``X``; sparse ones, and arrays beside arrays, as they are."""
    if sparse.issparse(Z) or sparse.issparse(X) or (isinstance(Z, np.ndarray) and isinstance(X, np.ndarray)):
        return Z
    return like_rows(Z, X)
