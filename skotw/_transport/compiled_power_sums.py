"""Powers of two and their sums in one walk over a block, compiled by numba.

NumPy writes a block of powers, and reads it again for each sum. Here sums are taken while the powers lie in registers,
in half the time. Loops are compiled at their first use for a dtype, and kept in numba's cache on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

free_scale = True
ROWS_AT_A_TIME = 64  # whose sums are taken in the dtype of the block, before they join a sum in float64


def enabled() -> bool:
    """Whether numba compiles: with ``NUMBA_DISABLE_JIT=1`` Python would run the loops."""
    return not numba.config.DISABLE_JIT


def over_rows(
    L: NDArray[Any], weight: NDArray[Any], out: NDArray[Any] | None, scale: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """sum_i weight_i E_ij for E = 2^(scale_i L_ij), and E in ``out``, other memory than L."""
    total = np.zeros(L.shape[1])
    _over_rows(L, _scale(L, scale), weight, out, total)
    return total


def over_columns(L: NDArray[Any], factor: NDArray[Any], scale: NDArray[Any] | None = None) -> NDArray[Any]:
    """sum_j 2^(scale_i L_ij) factor_j; the powers themselves are written nowhere."""
    total = np.empty(L.shape[0], dtype=L.dtype)
    _over_columns(L, _scale(L, scale), factor, total)
    return total


def _scale(L: NDArray[Any], scale: NDArray[Any] | None) -> NDArray[Any]:
    return np.ones(len(L), dtype=L.dtype) if scale is None else scale


def stored_over_columns(E: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
    """sum_j E_ij factor_j."""
    total = np.empty(E.shape[0], dtype=E.dtype)
    _stored_over_columns(E, factor, total)
    return total


def _coefficients(dtype: type[np.floating[Any]], degree: int) -> tuple[Any, ...]:
    """Of a polynomial c with 2^f = 1 + f c(f) for -1/2 <= f <= 1/2, from the lowest power on."""

    def slope(f: NDArray[np.float64]) -> NDArray[np.float64]:
        f = np.where(f == 0, np.finfo(np.float64).tiny, f)
        return np.asarray(np.expm1(f * np.log(2.0)) / f)

    c = Chebyshev.interpolate(slope, degree, domain=[-0.5, 0.5])
    return tuple(dtype(x) for x in c.convert(kind=Polynomial).coef)


SINGLE, DOUBLE = _coefficients(np.float32, 4), _coefficients(np.float64, 10)  # as exact as the dtype


def _power_of_two(x: Any) -> Any:
    """2^x; 0 below the normal range, infinity above it, and NaN for NaN. Compiled code alone calls it."""


@overload(_power_of_two, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _power_of_two_of(x: Any) -> Callable[..., Any]:
    dtype, integer, c, n_bits, top = {
        types.float32: (np.float32, np.int32, SINGLE, 23, 128),
        types.float64: (np.float64, np.int64, DOUBLE, 52, 1024),
    }[x]
    low, high, one, zero = dtype(2 - top), dtype(top), dtype(1), dtype(0)
    whole = dtype(1.5 * 2.0**n_bits)  # added to x it leaves the nearest integer in the last bits
    shift, degree = integer(n_bits), len(c) - 1

    def power_of_two(x: Any) -> Any:
        y = high if x > high else x
        rounded = y + whole
        f = y - (rounded - whole)
        p = c[degree]
        for k in range(degree - 1, -1, -1):
            p = p * f + c[k]
        p = p * f + one
        # the integer joins the exponent of 2^f
        value = integer(dtype(p).view(integer) + (dtype(rounded).view(integer) << shift)).view(dtype)
        return zero if y < low else value

    return power_of_two


# a row's sum may be taken in any order, so that many columns are added at once
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@_compiled
def _over_rows(L: Any, scale: Any, weight: Any, out: Any, total: Any) -> None:
    n_rows, n_columns = L.shape
    partial = np.empty(n_columns, L.dtype)
    for start in range(0, n_rows, ROWS_AT_A_TIME):
        partial[:] = 0
        for i in range(start, min(start + ROWS_AT_A_TIME, n_rows)):
            s, w = scale[i], weight[i]
            for j in range(n_columns):
                e = _power_of_two(s * L[i, j])
                if out is not None:  # each has loops of its own, in which this is no question
                    out[i, j] = e
                partial[j] += w * e
        for j in range(n_columns):
            total[j] += partial[j]


@_compiled
def _over_columns(L: Any, scale: Any, factor: Any, total: Any) -> None:
    for i in range(L.shape[0]):
        s, t = scale[i], L.dtype.type(0)
        for j in range(L.shape[1]):
            t += _power_of_two(s * L[i, j]) * factor[j]
        total[i] = t


@_compiled
def _stored_over_columns(E: Any, factor: Any, total: Any) -> None:
    for i in range(E.shape[0]):
        s = E.dtype.type(0)
        for j in range(E.shape[1]):
            s += E[i, j] * factor[j]
        total[i] = s
