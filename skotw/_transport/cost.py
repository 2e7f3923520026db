"""Ground costs, evaluated block by block.

A cost knows its shape, its mean under a product of measures (the unit ``s`` of the mathematics page) and how to
make a :class:`Kernel`, which evaluates the base-2 logarithm of ``exp(-rate * d_ij)`` on a block. Base 2 because
NumPy's float32 ``exp2`` takes half the time of ``exp``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
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

    rows: Any  # (N, d) dense, to be fetched, or CSR
    columns: Any  # (M, d)
    constant: float = 0.0
    degenerate: float = 0.0  # means up to this are rounding noise
    row_scale: Any | None = None  # (N,), dense rows only: what each row is yet to be multiplied by
    squares: bool = False  # whether the last two features are those of the squared norms

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.shape[0], self.columns.shape[0]

    @property
    def reference(self) -> Any:
        return reference_of(self.rows)

    @property
    def work(self) -> float:
        return math.inf if sparse.issparse(self.rows) else float(self.rows.shape[1])

    def mean(self, p: NDArray[Any], b: NDArray[Any], compute: Compute) -> float:
        """Closed form, O((N + M) d): the inner product of the two means."""
        weight = p if self.row_scale is None else like(p, self.row_scale) * self.row_scale
        product = _weighted_sum(self.rows, weight, compute) @ _weighted_sum(self.columns, b, compute)
        value = self.constant - float(product)
        return value if value > self.degenerate else 0.0

    def kernel(self, rate: float) -> Kernel:
        rate = rate * LOG2E
        if sparse.issparse(self.rows):
            return _SparseProductKernel(self.rows, (self.columns * rate).T, rate * self.constant)
        Zt = empty((self.columns.shape[1], self.columns.shape[0]), self.columns)
        Zt[...] = namespace(self.columns).permute_dims(self.columns, (1, 0)) * rate
        return _ProductKernel(self.rows, Zt, rate * self.constant, self.row_scale)


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
        rows, Zt = fetch(self.rows, block, work), self.Zt[:, columns]
        n_features, n_columns = Zt.shape
        scale = None if self.row_scale is None else self.row_scale[block.rows, None]
        scale_first = scale is not None and n_features < n_columns  # whichever has fewer entries
        if scale_first:
            scaled = scratch(work, "rows", (block.n_rows, n_features), Zt)  # where fetched rows are already
            rows = self.functions.multiply(rows, scale, out=scaled)
        if out is None:
            out = scratch(work, "kernel", (block.n_rows, n_columns), Zt)
        self.functions.matmul(rows, Zt, out=out)
        if scale is not None and not scale_first:
            self.functions.multiply(out, scale, out=out)
        return out


def without_row_scale(kernel: Kernel) -> tuple[Kernel, Any | None]:
    """A kernel to whose rows a factor (N,) is yet to be applied, for who does that on the way; None: there is none."""
    if isinstance(kernel, _ProductKernel):
        return replace(kernel, row_scale=None), kernel.row_scale
    return kernel, None


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
    weight = like(weight, reference_of(X)) if isinstance(weight, np.ndarray) else weight
    X, order = _as_they_lie(X)
    if order is not None:
        ordered, weight = weight, np.empty_like(weight)
        weight[order] = ordered
    matmul = functions(weight).matmul

    def block_sum(block: Block, work: dict[str, Any]) -> NDArray[np.float64]:
        return to_numpy(matmul(weight[block.rows], fetch(X, block, work)))

    total = np.zeros((1, X.shape[1]))
    sum_blocks(block_sum, _row_blocks(X, compute), compute, namespace(weight), total)
    return total.reshape(-1)


def _as_they_lie(X: Any) -> tuple[Any, NDArray[np.intp] | None]:
    """Rows for a walk in any order, the one in memory where all are read, and the order that they had; None: this."""
    if isinstance(X, LazyRows) and X.order is not None and len(X.order) == len(X.X):
        return X.as_they_lie(), X.order
    return X, None


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


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """Rows ``scale_i x_i``, multiplied out block by block: no second copy of X is made."""

    X: Any  # (N, d), dense or to be fetched
    scale: Any  # (N,)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.X.shape[0]), int(self.X.shape[1])

    def in_order(self, order: NDArray[np.intp]) -> ScaledRows:
        """These rows, or some of them, in another order."""
        return ScaledRows(in_order(self.X, order), take(self.scale, order))


def unit_rows(X: Any, compute: Compute) -> Any:
    """x_i / |x_i|, zero rows staying zero; the rows of :func:`cosine_cost`.

    Parameters
    ----------
    X : array, LazyRows or CSR matrix of shape (N, d)
    compute : Compute

    Returns
    -------
    ScaledRows, or a CSR matrix for one
    """
    if sparse.issparse(X):
        X = X.copy()
        inverse = _inverse_norms(X)
        odd = np.flatnonzero((inverse == 0) & (np.diff(X.indptr) > 0))
        units = _unit_rows(X[odd]) if len(odd) else None
        X.data *= np.repeat(inverse, np.diff(X.indptr))
        if units is not None:
            X.data[np.repeat(inverse == 0, np.diff(X.indptr))] = units.data
        return X
    walked, order = _as_they_lie(X)
    scale = empty((int(X.shape[0]),), reference_of(X))

    def invert_norms(block: Block, work: dict[str, Any]) -> None:
        scale[block.rows] = _inverse_norms(fetch(walked, block, work))

    for_blocks(invert_norms, _row_blocks(X, compute), compute, namespace(scale))
    return _scaled_rows(X, scale if order is None else scale[order])


def _scaled_rows(X: Any, scale: Any) -> ScaledRows:
    """x_i / |x_i| of dense rows, from :func:`_inverse_norms`."""
    odd = np.flatnonzero(to_numpy(scale == 0))
    if not len(odd):
        return ScaledRows(X, scale)
    rows = X[odd] if isinstance(X, LazyRows) else take(X, odd)
    if bool(namespace(rows).any(rows != 0)):
        # such rows are replaced: a product with them would leave the range that their norm has left
        X = X[:] if isinstance(X, LazyRows) else namespace(X).asarray(X, copy=True)
        index = namespace(X).asarray(odd, **on_device(X))
        X[index, :] = like(_unit_rows(rows).toarray(), X)
        scale[index] = 1.0
    return ScaledRows(X, scale)


def _row_blocks(X: Any, compute: Compute) -> Partition:
    reference = reference_of(X)
    size = rows_per_block(compute, X.shape[1], dtype_of(reference).itemsize, reference)
    return Partition.of([int(X.shape[0])], size)


def cosine_cost(rows: Any, Z: Any) -> InnerProductCost:
    """1 - <x, z> / (|x| |z|); a zero vector is at distance 1 of everything.

    Parameters
    ----------
    rows : ScaledRows or CSR matrix of shape (N, d)
        From :func:`unit_rows`.
    Z : array or CSR matrix of shape (M, d)
        As they come.
    """
    eps = float(np.finfo(dtype_of(Z)).eps)
    if sparse.issparse(rows):
        return InnerProductCost(rows, unit_rows(Z, Compute()), 1.0, 64 * eps)
    columns = _scaled_rows(Z, _inverse_norms(Z))  # few rows, which need no blocks
    return InnerProductCost(rows.X, columns.X * columns.scale[:, None], 1.0, 64 * eps, row_scale=rows.scale)


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
