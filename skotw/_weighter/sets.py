"""The training rows and the meta samples, embedded, as the transport takes them."""

from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import is_torch_array
from scipy import sparse

from skotw._transport.arrays import empty, namespace, take
from skotw._transport.blocks import Partition, for_blocks
from skotw._transport.cost import UnitRows
from skotw._transport.rows import LazyRows, SquaredRows, in_order

from .labels import Target

__all__ = ["Meta", "Rows", "SortedRows", "are_copies", "bits_of"]

# Rows of which what is but a number per row is held at once.
_ROWS_AT_A_TIME = 2**14


@dataclass(eq=False)
class Rows:
    """Training rows, embedded: group codes, label values (where they go by pairs) and positive weights."""

    Z: object
    codes: np.ndarray
    values: np.ndarray | None
    weight: np.ndarray
    index: np.ndarray | None = None  # the rows' numbers in X; None: all of X
    beliefs: np.ndarray | None = None  # in each label, of three kinds: Confidence.of_labels, (3, n, n_groups)


@dataclass(eq=False)
class Meta:
    """Meta samples, or the prototypes that stand for them."""

    Z: object
    target: Target
    weight: np.ndarray

    def take(self, index):
        return Meta(take(self.Z, index), self.target.take(index), self.weight[index])


@dataclass(eq=False)
class SortedRows:
    """Rows group by group, as the core and the metric take them."""

    rows: object
    values: np.ndarray | None
    weight: np.ndarray
    counts: np.ndarray
    order: np.ndarray | None  # row indices in that order; None: as they came
    index: np.ndarray | None  # the rows' numbers in X; None: those in which they stand here
    reference: object  # an array of the rows' library, dtype and device
    belief: np.ndarray | None = None  # in the rows' own labels, as they weigh by it; None: the same in all
    beliefs: np.ndarray | None = None  # in each label, of all models, (n, n_groups)

    @property
    def prior(self):
        """Weight of each row before any transport, within its group."""
        return self.weight if self.belief is None else self.weight * self.belief

    def sample(self, most):
        """At most so many rows of each group, as their weights draw them; all of them where none has more.

        The weights of a group lie one after another on a line, which is cut into ``most`` equal parts, and each part
        draws one row by a random point on it: systematic sampling, of less variance than independent draws have. What
        is drawn does not change with the call, and k copies of a row are drawn as one of k times the weight is.
        """
        if self.counts.max() <= most:
            return self
        points = np.arange(most) + np.random.default_rng(0).random(most)
        taken, weights, last = [], [], np.cumsum(self.counts)
        for stop, count in zip(last, self.counts, strict=True):
            weight = self.weight[stop - count : stop]
            if count > most:
                line = np.cumsum(weight)
                total = line[-1]
                index = np.searchsorted(line, points * (total / most), side="right").clip(max=count - 1)
                weight = np.full(most, total / most)
            else:
                index = np.arange(count)
            taken.append(index + (stop - count))
            weights.append(weight)
        some = np.concatenate(taken)
        values, belief, beliefs = (None if of is None else of[some] for of in (self.values, self.belief, self.beliefs))
        return replace(
            self,
            rows=in_order(self.rows, some),
            values=values,
            weight=np.concatenate(weights),
            counts=np.minimum(self.counts, most),
            order=None,  # there is no way back
            index=some if self.index is None else self.index[some],
            belief=belief,
            beliefs=beliefs,
        )

    def back(self, values):
        """Per-row values in the order in which the rows came."""
        if self.order is None:
            return values
        out = np.empty_like(values) if isinstance(values, np.ndarray) else empty(values.shape, values)
        if isinstance(values, np.ndarray):
            out[self.order] = values
        else:
            out[namespace(values).asarray(self.order, device=values.device)] = values
        return out


def bits_of(rows, compute):
    """A number that changes when rows on the host are written to: a sum of their bits, by place; 0 on a device."""
    values = _held(rows)
    if is_torch_array(values) and values.device.type == "cpu":
        values = values.detach().numpy()
    if not isinstance(values, np.ndarray):
        return 0
    bits, total = values.view(f"u{values.itemsize}"), 0

    def sum_bits(block, work):
        sums = bits[block.rows].sum(axis=1, dtype=bits.dtype if bits.itemsize >= 4 else np.uint64)
        odd = np.arange(2 * block.start + 1, 2 * block.stop, 2, dtype=np.uint64)
        return int(sums.astype(np.uint64) @ odd)

    def add(block, value):
        nonlocal total
        total ^= value

    for_blocks(sum_bits, Partition.of([len(bits)], _ROWS_AT_A_TIME), compute, np, add)
    return total


def are_copies(rows, Z):
    """Whether rows are copies of those of Z, or some of them, which nobody else writes to."""
    rows, Z = _held(rows), _held(Z)
    both = isinstance(rows, np.ndarray) and isinstance(Z, np.ndarray)
    return both and not np.may_share_memory(rows, Z)


def _held(rows):
    """The array that rows are made of; the entries of a sparse matrix as a column."""
    while isinstance(rows, LazyRows | UnitRows | SquaredRows):
        rows = rows.unscaled if isinstance(rows, UnitRows) else rows.X
    return rows.data[:, None] if sparse.issparse(rows) else rows
