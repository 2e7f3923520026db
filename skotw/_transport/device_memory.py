"""Memory of a GPU: how much is free, and what follows when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from array_api_compat import is_torch_array

T = TypeVar("T")
HOST_BYTES = 2**30


def on_accelerator(X: Any) -> bool:
    """Whether an array lies on a device that works by itself, and is told what to do in microseconds."""
    return not isinstance(X, np.ndarray) and is_torch_array(X) and X.device.type != "cpu"


def on_cuda(X: Any) -> bool:
    """Whether an array is a tensor on a GPU that computes in float64 as well."""
    return on_accelerator(X) and X.device.type == "cuda"


def free_bytes(X: Any) -> int:
    """Memory left on the device of a tensor."""
    if X.device.type != "cuda":
        return HOST_BYTES
    import torch

    free, _ = torch.cuda.mem_get_info(X.device)
    return int(free + torch.cuda.memory_reserved(X.device) - torch.cuda.memory_allocated(X.device))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, or CuPy, says that a device has no more memory."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def too_little() -> MemoryError:
    """The error where not even one row fits."""
    return MemoryError(
        "The device's memory is full: not even one row at a time fits beside what lies there. Free some of it, give "
        "the rows in chunks to partial_fit, or move them to the host with X.cpu()."
    )


def with_less_memory(function: Callable[..., T]) -> Callable[..., T]:
    """Begin again with half of the memory whenever a device has no more; the last arguments are partition and compute.

    What the function had added up by then is gone with it.
    """

    @wraps(function)
    def again(*args: Any) -> T:
        *first, partition, compute = args
        while True:
            try:
                return function(*first, partition, compute)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if partition.block_rows == 1:
                raise too_little()
            partition = partition.halved()
            compute = replace(compute, cache_bytes=compute.cache_bytes // 2)

    return again
