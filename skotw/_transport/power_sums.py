"""Sums of powers of two over the rows, or the columns, of a block: all that a walk over the cost does with it.

Arrays of any library have them in two or three steps. For a large problem of NumPy arrays they are compiled, where
numba is installed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import functions, to_numpy

COMPILED_FROM = 2**25  # entries, which take some 50 ms: loading numba takes some ten times as long, once in a process


class PowerSums(Protocol):
    """Sums over blocks of powers E_ij = 2^(scale_i L_ij), or from the powers.

    Attributes
    ----------
    free_scale : bool
        Whether the scale costs next to nothing here, so that L is better left without.
    """

    @property
    def free_scale(self) -> bool: ...

    def over_rows(self, L: Any, weight: Any, out: Any | None, scale: Any | None = None) -> NDArray[np.floating[Any]]:
        """sum_i weight_i E_ij, and E in ``out`` where that is given; L is no longer of use."""
        ...

    def over_columns(self, L: Any, factor: Any, scale: Any | None = None) -> Any:
        """sum_j E_ij factor_j; L is no longer of use, either."""
        ...

    def stored_over_columns(self, E: Any, factor: Any) -> Any:
        """The same from E."""
        ...


class Stepwise:
    """By the functions of the arrays' own library."""

    free_scale = False

    def __init__(self, reference: Any) -> None:
        self._functions = functions(reference)

    def over_rows(self, L: Any, weight: Any, out: Any | None, scale: Any | None = None) -> NDArray[np.floating[Any]]:
        return to_numpy(self._functions.matmul(weight, self._powers(L, out, scale)))

    def over_columns(self, L: Any, factor: Any, scale: Any | None = None) -> Any:
        return self.stored_over_columns(self._powers(L, None, scale), factor)

    def _powers(self, L: Any, out: Any | None, scale: Any | None) -> Any:
        if scale is not None:
            self._functions.multiply(L, scale[:, None], out=L)
        return self._functions.exp2(L, out=L if out is None else out)

    def stored_over_columns(self, E: Any, factor: Any) -> Any:
        # a product for each row takes NumPy half the time of one for all, unless rows are short
        if isinstance(E, np.ndarray) and E.shape[1] >= 64 and hasattr(np, "vecdot"):
            return np.vecdot(E, factor)
        return self._functions.matmul(E, factor)


def power_sums(reference: Any, n_entries: int) -> PowerSums:
    """For a problem of so many entries, in arrays like ``reference``."""
    if n_entries >= COMPILED_FROM and isinstance(reference, np.ndarray) and reference.dtype in ("f4", "f8"):
        compiled = _compiled()
        if compiled is not None:
            return compiled
    return Stepwise(reference)


@lru_cache(maxsize=1)
def _compiled() -> PowerSums | None:
    """Those of numba, where it is installed, fits this NumPy, may compile and finds where to keep what it compiled."""
    try:
        from skotw._transport import compiled_power_sums
    except (ImportError, RuntimeError):
        return None
    return compiled_power_sums if compiled_power_sums.enabled() else None
