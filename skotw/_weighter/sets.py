"""The training rows and the meta samples, embedded, as the transport takes them."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import is_torch_array
from scipy import sparse

from skotw._transport.arrays import empty, namespace, take
from skotw._transport.cost import ScaledRows
from skotw._transport.rows import LazyRows, SquaredRows

from .labels import Target

__all__ = ["Meta", "Rows", "SortedRows", "bits_of"]

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
    beliefs: np.ndarray | None = None  # in each label, of all models and of those of the trusted rows, (2, n, n_groups)


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
    beliefs: np.ndarray | None = None  # in each label, of all that is known, (n, n_groups)

    @property
    def prior(self):
        """Weight of each row before any transport, within its group."""
        return self.weight if self.belief is None else self.weight * self.belief

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


def bits_of(rows):
    """A number that changes when rows on the host are written to: a sum of their bits, by place; 0 on a device."""
    while isinstance(rows, LazyRows | ScaledRows | SquaredRows):
        rows = rows.X
    values = rows.data[:, None] if sparse.issparse(rows) else rows
    if is_torch_array(values) and values.device.type == "cpu":
        values = values.detach().numpy()
    if not isinstance(values, np.ndarray):
        return 0
    bits, total = values.view(f"u{values.itemsize}"), 0
    for start in range(0, len(bits), _ROWS_AT_A_TIME):
        sums = bits[start : start + _ROWS_AT_A_TIME].sum(axis=1, dtype=bits.dtype if bits.itemsize >= 4 else np.uint64)
        odd = np.arange(2 * start + 1, 2 * (start + len(sums)), 2, dtype=np.uint64)
        total ^= int(sums.astype(np.uint64) @ odd)
    return total
