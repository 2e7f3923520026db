"""Ground costs, evaluated block by block.

A cost knows its shape, its mean under a product of measures (the unit ``s`` of the mathematics page) and how to
make a :class:`Kernel`, which evaluates the base-2 logarithm of ``exp(-rate * d_ij)`` on a block. Base 2 because
NumPy's float32 ``exp2`` takes half the time of ``exp``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skotw._transport.arrays import dtype_of, empty, functions, like, namespace, on_device, scratch, take, to_numpy
from skotw._transport.blocks import Block, Compute, Partition, for_blocks, rows_per_block, sum_blocks
from skotw._transport.rows import LazyRows, SquaredRows, fetch, in_order, reference_of

LOG2E = math.log2(math.e)


class Kernel(Protocol):
    """``L_ij = constant - log2(e) * rate * d_ij``, on request."""

    @property
    def constant(self) -> float:
        """What a caller subtracts for the logarithm itself."""
        ...

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        """L on the block's rows and the given columns, in ``out`` or in the thread's scratch memory."""
        ...


class Cost(Protocol):
    """A feature cost between N rows and M columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        ...

    @property
    def reference(self) -> Any:
        """An array of the library, dtype and device in which blocks are evaluated."""
        ...

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        """Mean cost under the product of the probability vectors p (N,) and b (M,)."""
        ...

    @property
    def work(self) -> float:
        """What an entry costs, in multiplications of a matrix product."""
        ...

    def kernel(self, rate: float) -> Kernel:
        """The kernel of decay ``rate`` (1 / cost unit)."""
        ...


@dataclass(frozen=True, eq=False)
class InnerProductCost:
    """``d_ij = constant - <rows_i, columns_j>``: cosine and squared Euclidean.

    The squared norms of the latter ride inside the product as two more features, so a dense block is one
    ``matmul`` and nothing else.
    """

    rows: Any  # (N, d) dense, to be fetched or scaled, or CSR
    columns: Any  # (M, d)
    constant: float = 0.0
    degenerate: float = 0.0  # means up to this are rounding noise
    squares: bool = False  # whether the last two features are those of the squared norms

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.columns.shape[0]

    @property
    def reference(self) -> Any:
        return self.rows.reference if isinstance(self.rows, UnitRows) else reference_of(self.rows)

    @property
    def unscaled(self) -> Any:
        """The rows before each is multiplied by its scale."""
        return self.rows.unscaled if isinstance(self.rows, UnitRows) else self.rows

    @property
    def row_scale(self) -> Any | None:
        """(N,): what each row is yet to be multiplied by."""
        return self.rows.scale if isinstance(self.rows, UnitRows) else None

    @property
    def work(self) -> float:
        return math.inf if sparse.issparse(self.rows) else float(self.rows.shape[1])

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        """Closed form, O((N + M) d): the inner product of the two means."""
        rows = self.rows
        of_rows = rows.weighted_sum(p) if isinstance(rows, UnitRows) else _weighted_sum(rows, p, compute)
        product = of_rows @ _weighted_sum(self.columns, b, compute)
        value = self.constant - float(product)
        return value if value > self.degenerate else 0.0

    def kernel(self, rate: float) -> Kernel:
        rate = rate * LOG2E
        if sparse.issparse(self.rows):
            return _SparseProductKernel(self.rows, (self.columns * rate).T, rate * self.constant)
        Zt = empty((self.columns.shape[1], self.columns.shape[0]), self.columns)
        Zt[...] = namespace(self.columns).permute_dims(self.columns, (1, 0)) * rate
        return _ProductKernel(self.unscaled, Zt, rate * self.constant, self.row_scale)


@dataclass(frozen=True, eq=False)
class _ProductKernel:
    rows: Any
    Zt: Any
    constant: float
    row_scale: Any | None

    @cached_property
    def functions(self) -> Any:
        return functions(self.Zt)

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        rows, scale = fetch(self.rows, block, work), self.scale_of(block)
        if scale is None:
            return self._product(rows, columns, work, out)
        n_features, n_columns = self.Zt[:, columns].shape
        if n_features < n_columns:  # whichever has fewer entries
            scaled = scratch(work, "rows", (block.n_rows, n_features), self.Zt)  # where fetched rows are already
            return self._product(self.functions.multiply(rows, scale[:, None], out=scaled), columns, work, out)
        out = self._product(rows, columns, work, out)
        self.functions.multiply(out, scale[:, None], out=out)
        return out

    def unscaled(self, block: Block, columns: slice, work: dict[str, Any]) -> Any:
        """The same before each row is multiplied by its scale."""
        return self._product(fetch(self.rows, block, work), columns, work, None)

    def scale_of(self, block: Block) -> Any | None:
        """Scale of the block's rows, if there is any."""
        return None if self.row_scale is None else self.row_scale[block.rows]

    def _product(self, rows: Any, columns: slice, work: dict[str, Any], out: Any | None) -> Any:
        Zt = self.Zt[:, columns]
        if out is None:
            out = scratch(work, "kernel", (rows.shape[0], Zt.shape[1]), Zt)
        self.functions.matmul(rows, Zt, out=out)
        return out


def exponents(
    kernel: Kernel, block: Block, columns: slice, work: dict[str, Any], *, scaled: bool
) -> tuple[Any, Any | None]:
    """L on a block, and what its rows are yet to be multiplied by, unless it is to be ``scaled`` or needs none."""
    if scaled or not isinstance(kernel, _ProductKernel):
        return kernel.block(block, columns, work), None
    return kernel.unscaled(block, columns, work), kernel.scale_of(block)


@dataclass(frozen=True, eq=False)
class _SparseProductKernel:
    rows: Any
    Zt: Any
    constant: float

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        product = self.rows[block.rows] @ self.Zt[:, columns]
        dense = product.toarray() if sparse.issparse(product) else product
        if out is None:
            return np.ascontiguousarray(dense)
        out[...] = dense
        return out


def _weighted_sum(X: Any, weight: Any, compute: Compute) -> NDArray[np.float64]:
    """sum_i weight_i x_i; partial sums are added up in float64 whatever the dtype of X."""
    if sparse.issparse(X):
        return np.asarray(X.T @ weight, dtype=np.float64)
    walked, order = _as_they_lie(X)
    weight = like(weight, reference_of(X)) if isinstance(weight, np.ndarray) else weight
    weight = _as_taken(weight, order)
    matmul = functions(weight).matmul

    def block_sum(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
        return to_numpy(matmul(weight[block.rows], fetch(walked, block, work)))

    return _sum_of_rows(block_sum, X, compute)


def _sum_of_rows(block_sum: Callable[[Block, dict[str, Any]], Any], X: Any, compute: Compute) -> NDArray[np.float64]:
    total = np.zeros((1, X.shape[1]))
    sum_blocks(block_sum, _row_blocks(X, compute), compute, namespace(reference_of(X)), total)
    return total.reshape(-1)


def _as_they_lie(X: Any) -> tuple[Any, NDArray[np.intp] | None]:
    """Rows for a walk in any order, the one in memory where all are read, and the order that they had; None: this."""
    if isinstance(X, LazyRows) and X.order is not None and len(X.order) == len(X.X):
        return X.as_they_lie(), X.order
    return X, None


def _as_taken(values: Any, order: NDArray[np.intp] | None) -> Any:
    """Values of rows in their order, in that of memory."""
    if order is None:
        return values
    out = np.empty_like(values)
    out[order] = values
    return out


def _squared_norms(X: Any) -> Any:
    if sparse.issparse(X):
        return np.asarray(X.multiply(X).sum(axis=1)).ravel()
    if isinstance(X, np.ndarray):
        return np.einsum("ij,ij->i", X, X)
    return namespace(X).sum(X * X, axis=1)


def _inverse_norms(X: Any) -> Any:
    """1 / |x_i|, and 0 for zero rows and for rows whose squares over- or underflow: see :func:`_unit_rows`."""
    xp = np if sparse.issparse(X) else namespace(X)
    info = np.finfo(dtype_of(X))
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        squares = _squared_norms(X)
        sound = (squares > float(info.tiny) / float(info.eps)) & (squares < float(info.max))
        return xp.where(sound, 1.0 / xp.sqrt(squares), xp.zeros_like(squares))


def _unit_rows(X: Any) -> sparse.csr_array:
    """x_i / |x_i| of a few rows, in double precision and whatever their scale; zero rows stay zero."""
    X = sparse.csr_array(X if sparse.issparse(X) else to_numpy(X), dtype=np.float64, copy=True)
    row = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    peak = np.zeros(X.shape[0])
    np.maximum.at(peak, row, np.abs(X.data))
    X.data = np.ldexp(X.data, -np.frexp(peak)[1][row])  # exact, and the squares are about one
    squares = np.bincount(row, X.data**2, X.shape[0])
    X.data /= np.sqrt(np.where(squares > 0, squares, 1.0))[row]
    return X


class UnitRows:
    """Dense rows x_i / |x_i|, zero rows staying zero, multiplied out block by block: no second copy of X is made.

    The walk over X that takes the norms is that of the first sum of the rows, where one is asked for before the norms
    are. A long one reads X from memory, and takes about as long for both as for one of them.

    Parameters
    ----------
    X : array or LazyRows of shape (N, d)
    compute : Compute
    scale : array of shape (N,), optional
        Inverse norms, where they are known.
    """

    def __init__(self, X: Any, compute: Compute, scale: Any | None = None) -> None:
        self._X, self._compute, self._scale = X, compute, scale

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._X.shape[0]), int(self._X.shape[1])

    @property
    def reference(self) -> Any:
        """An array of the library, dtype and device of the rows."""
        return reference_of(self._X)

    @property
    def unscaled(self) -> Any:
        """What is multiplied by the scale: the rows as they came, but for those whose squares over- or underflow."""
        self._measure()
        return self._X

    @property
    def scale(self) -> Any:
        self._measure()
        return self._scale

    def in_order(self, order: NDArray[np.intp]) -> UnitRows:
        """These rows, or some of them, in another order."""
        return UnitRows(in_order(self.unscaled, order), self._compute, take(self.scale, order))

    def weighted_sum(self, p: NDArray[Any]) -> NDArray[np.float64]:
        """sum_i p_i x_i / |x_i|."""
        p = like(p, self.reference)
        total = self._measure(p)
        return _weighted_sum(self._X, p * self._scale, self._compute) if total is None else total

    def _measure(self, p: Any | None = None) -> NDArray[np.float64] | None:
        """Take the norms, unless they are known; return what the same walk has of the sum for p, or None."""
        if self._scale is not None:
            return None
        X, (walked, order) = self._X, _as_they_lie(self._X)
        scale, weight = empty((self.shape[0],), self.reference), None if p is None else _as_taken(p, order)
        matmul = functions(scale).matmul

        def block_sum(block: Block, work: dict[str, Any]) -> Any:
            rows = fetch(walked, block, work)
            scale[block.rows] = inverse = _inverse_norms(rows)
            return 0.0 if weight is None else to_numpy(matmul(weight[block.rows] * inverse, rows))

        total = _sum_of_rows(block_sum, X, self._compute)
        self._X, self._scale = _with_odd_rows(X, scale if order is None else scale[order])
        return None if weight is None or self._X is not X else total


def unit_rows(X: Any, compute: Compute) -> Any:
    """x_i / |x_i|, zero rows staying zero; the rows of :func:`cosine_cost`.

    Parameters
    ----------
    X : array, LazyRows or CSR matrix of shape (N, d)
    compute : Compute

    Returns
    -------
    UnitRows, or a CSR matrix for one
    """
    if not sparse.issparse(X):
        return UnitRows(X, compute)
    X = X.copy()
    inverse = _inverse_norms(X)
    odd = np.flatnonzero((inverse == 0) & (np.diff(X.indptr) > 0))
    units = _unit_rows(X[odd]) if len(odd) else None
    X.data *= np.repeat(inverse, np.diff(X.indptr))
    if units is not None:
        X.data[np.repeat(inverse == 0, np.diff(X.indptr))] = units.data
    return X


def _with_odd_rows(X: Any, scale: Any) -> tuple[Any, Any]:
    """X and its scale, from :func:`_inverse_norms`, such that rows of any norm have a product with it."""
    odd = np.flatnonzero(to_numpy(scale == 0))
    if not len(odd):
        return X, scale
    rows = X[odd] if isinstance(X, LazyRows) else take(X, odd)
    if bool(namespace(rows).any(rows != 0)):
        # such rows are replaced: a product with them would leave the range that their norm has left
        X = X[:] if isinstance(X, LazyRows) else namespace(X).asarray(X, copy=True)
        index = namespace(X).asarray(odd, **on_device(X))
        X[index, :] = like(_unit_rows(rows).toarray(), X)
        scale[index] = 1.0
    return X, scale


def _row_blocks(X: Any, compute: Compute) -> Partition:
    reference = reference_of(X)
    size = rows_per_block(compute, X.shape[1], dtype_of(reference).itemsize, reference)
    return Partition.of([int(X.shape[0])], size)


def cosine_cost(rows: Any, Z: Any) -> InnerProductCost:
    """1 - <x, z> / (|x| |z|); a zero vector is at distance 1 of everything.

    Parameters
    ----------
    rows : UnitRows or CSR matrix of shape (N, d)
        From :func:`unit_rows`.
    Z : array or CSR matrix of shape (M, d)
        As they come.
    """
    eps = float(np.finfo(dtype_of(Z)).eps)
    if sparse.issparse(rows):
        return InnerProductCost(rows, unit_rows(Z, Compute()), 1.0, 64 * eps)
    Z, scale = _with_odd_rows(Z, _inverse_norms(Z))  # few rows, which need no blocks
    return InnerProductCost(rows, Z * scale[:, None], 1.0, 64 * eps)


def squared_rows(X: Any, compute: Compute, center: Any | None = None) -> Any:
    """(x, |x|^2, 1) relative to ``center`` (dense only); the rows of :func:`squared_euclidean_cost`.

    Returns
    -------
    SquaredRows for NumPy, else an array or CSR matrix
    """
    if sparse.issparse(X):
        one = np.ones((X.shape[0], 1), dtype=X.dtype)
        return sparse.hstack([X, _squared_norms(X)[:, None], one], format="csr", dtype=X.dtype)
    if not isinstance(X, LazyRows | np.ndarray):
        return _dense_squared_rows(X, compute, center)
    rows = SquaredRows(X, center, np.zeros(X.shape[0], dtype=reference_of(X).dtype))

    def take_squares(block: Block, work: dict[str, Any]) -> None:
        rows.squares[block.rows] = _squared_norms(rows.fetch(block, work)[:, :-2])

    for_blocks(take_squares, _row_blocks(X, compute), compute, namespace(rows.squares))
    return rows


def _dense_squared_rows(X: Any, compute: Compute, center: Any | None) -> Any:
    """The same rows, all of them at once."""
    d = X.shape[1]
    rows = empty((X.shape[0], d + 2), X)

    def append_squares(block: Block, work: dict[str, Any]) -> None:
        part = X[block.rows, :] if center is None else X[block.rows, :] - center
        rows[block.rows, :d] = part
        rows[block.rows, d] = _squared_norms(part)
        rows[block.rows, d + 1] = 1.0

    for_blocks(append_squares, _row_blocks(X, compute), compute, namespace(X))
    return rows


def squared_euclidean_cost(rows: Any, Z: Any, center: Any | None = None) -> InnerProductCost:
    """|x - z|^2 = -<(x, |x|^2, 1), (2 z, -1, -|z|^2)>.

    Parameters
    ----------
    rows : SquaredRows, array or CSR matrix of shape (N, d + 2)
        From :func:`squared_rows`.
    Z : array or CSR matrix of shape (M, d)
        As they come.
    center : array of shape (d,), optional
        That of the rows: any point near the data, against cancellation.
    """
    dtype = dtype_of(reference_of(rows))
    eps = float(np.finfo(dtype).eps)
    squared = squared_rows(Z, Compute(), center) if sparse.issparse(Z) else _dense_squared_rows(Z, Compute(), center)
    d = squared.shape[1] - 2
    if sparse.issparse(squared):
        factors = sparse.diags_array(np.r_[np.full(d, 2.0), -1.0, -1.0].astype(dtype))
        columns = (squared[:, [*range(d), d + 1, d]] @ factors).tocsr()
        squares = squared[:, [d]].toarray()
    else:
        columns = empty(tuple(squared.shape), squared)
        squares = squared[:, d]
        columns[:, :d] = 2.0 * squared[:, :d]
        columns[:, d] = -1.0
        columns[:, d + 1] = -squares
    level = float(to_numpy(squares).astype(np.float64).mean())
    offset = 0.0 if center is None else float(np.sum(to_numpy(center).astype(np.float64) ** 2))
    # squared distances up to this are what rounding leaves of zero
    return InnerProductCost(rows, columns, 0.0, 16 * eps * level + offset * (16 * eps) ** 2, squares=True)


@dataclass(frozen=True, eq=False)
class EuclideanCost:
    """|x - z|, from the squared cost; pairs so close that it cancels are taken by difference."""

    squared: InnerProductCost

    @property
    def shape(self) -> tuple[int, int]:
        return self.squared.shape

    @property
    def reference(self) -> Any:
        return self.squared.reference

    @property
    def work(self) -> float:
        return math.inf

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        """Root of the mean squared cost: closed form, and no less than the mean."""
        return math.sqrt(self.squared.mean(p, b, compute))

    def kernel(self, rate: float) -> Kernel:
        return _EuclideanKernel(self.squared, self.squared.kernel(1.0 / LOG2E), rate * LOG2E)


@dataclass(frozen=True, eq=False)
class _EuclideanKernel:
    cost: InnerProductCost
    squares: Kernel  # -d^2
    rate: float
    constant: float = 0.0

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        out = self.squares.block(block, columns, work, out)
        xp = namespace(out)
        out *= -1.0
        self._repair(out, fetch(self.cost.rows, block, work), self.cost.columns[columns])
        out *= out > 0
        xp.sqrt(out, out=out)
        out *= -self.rate
        return out

    def _repair(self, out: Any, rows: Any, columns: Any) -> None:
        """sqrt turns a rounding error e of d^2 into sqrt(e): near pairs are redone as |x - z|^2."""
        xp = namespace(out)
        d = rows.shape[1] - 2
        if sparse.issparse(rows):
            u, v = rows[:, [d]].toarray(), columns[:, [d + 1]].toarray().T
        else:
            u, v = rows[:, d][:, None], columns[:, d + 1][None, :]
        near = 1e-3 if np.finfo(dtype_of(out)).eps > 1e-10 else 1e-6
        i, j = xp.nonzero(out < near * (u - v))
        step = max(1, 2**20 // max(1, d))
        for s in range(0, i.shape[0], step):
            x, z = rows[i[s : s + step]][:, :d], columns[j[s : s + step]][:, :d]
            out[i[s : s + step], j[s : s + step]] = _squared_norms(x - z * 0.5)


@dataclass(frozen=True, eq=False)
class FunctionCost:
    """Any cost that a function evaluates: ``function(start, stop) -> (n, M) array of costs``."""

    shape: tuple[int, int]
    function: Callable[[int, int], Any]
    reference: Any
    work: float = math.inf

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        """One pass over the blocks."""
        xp = namespace(self.reference)
        n_rows, n_columns = self.shape
        itemsize = dtype_of(self.reference).itemsize
        partition = Partition.of([n_rows], rows_per_block(compute, n_columns, itemsize, self.reference))
        kernel, mass = self.kernel(1.0 / LOG2E), like(b, self.reference)

        def block_mean(block: Block, work: dict[str, Any]) -> float:
            L = kernel.block(block, slice(None), work)
            return -float(p[block.rows] @ to_numpy(xp.matmul(L, mass)).astype(np.float64))

        return float(sum_blocks(block_mean, partition, compute, xp, np.zeros((1, 1)))[0, 0])

    def kernel(self, rate: float) -> Kernel:
        return _FunctionKernel(self, rate * LOG2E)


@dataclass(frozen=True, eq=False)
class _FunctionKernel:
    cost: FunctionCost
    rate: float
    constant: float = 0.0

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        values = self.cost.function(block.start, block.stop)[:, columns]
        shape = (int(values.shape[0]), int(values.shape[1]))
        if out is None:
            out = scratch(work, "kernel", shape, self.cost.reference)
        out[...] = values
        out *= -self.rate
        return out


@dataclass(frozen=True, eq=False)
class SumCost:
    """``first_weight * first + second_weight * second``: a feature cost and a label cost per pair."""

    first: Cost
    first_weight: float
    second: Cost
    second_weight: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape

    @property
    def reference(self) -> Any:
        return self.first.reference

    @property
    def work(self) -> float:
        return math.inf

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        first = self.first.mean(p, b, compute)
        return self.first_weight * first + self.second_weight * self.second.mean(p, b, compute)

    def kernel(self, rate: float) -> Kernel:
        first = self.first.kernel(rate * self.first_weight)
        second = self.second.kernel(rate * self.second_weight)
        return _SumKernel(first, second, first.constant + second.constant)


@dataclass(frozen=True, eq=False)
class _SumKernel:
    first: Kernel
    second: Kernel
    constant: float

    def block(self, block: Block, columns: slice, work: dict[str, Any], out: Any | None = None) -> Any:
        out = self.first.block(block, columns, work, out)
        out += self.second.block(block, columns, work.setdefault("second", {}))
        return out


def constant_cost(n_rows: int, n_columns: int, X: Any) -> FunctionCost:
    """No feature cost at all: what ``label_weight=1`` leaves."""
    zero = like(np.zeros((1, 1)), X)

    def function(start: int, stop: int) -> Any:
        return namespace(zero).broadcast_to(zero, (stop - start, n_columns))

    return FunctionCost((n_rows, n_columns), function, zero, work=0.0)
