"""Names of what users hand over, for annotations."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "ArrayLike", "MatrixLike", "Metric", "RandomState"]

# Arrays, sparse matrices, data frames, tensors, lists of texts or of anything: no type that says so is common to them.
MatrixLike: TypeAlias = Any

Array: TypeAlias = NDArray[Any]  # of the floating type, or the type of label, that was given

Metric: TypeAlias = str | Callable[[Array, Array], float]

RandomState: TypeAlias = int | np.random.RandomState | None
