"""Memory of a GPU: how much is free, and what follows when it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_torch_array

HOST_BYTES = 2**30


def on_accelerator(X: Any) -> bool:
    """Whether an array lies on a device that works by itself, and is told what to do in microseconds."""
    return not isinstance(X, np.ndarray) and is_torch_array(X) and X.device.type != "cpu"


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


def too_little(n_bytes: int) -> MemoryError:
    """The error where not even one row fits."""
    return MemoryError(
        f"A block of one row takes {n_bytes / 2**20:.1f} MiB of the device's memory, and there is less. Free what else "
        "lies there, give the rows in chunks to partial_fit, or move them to the host with X.cpu()."
    )
