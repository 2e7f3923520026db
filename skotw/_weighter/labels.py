"""What labels contribute: groups of rows, and the label cost."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_array, column_or_1d

from skotw._transport.arrays import like
from skotw._transport.cost import FunctionCost
from skotw._validation import check_same_family, clean_labels, is_missing, label_family, named, on_host, one_column

TARGET_TYPES = ("auto", "classes", "continuous", "columns")


@dataclass(frozen=True, eq=False)
class Target:
    """Labels of the meta samples, and what training labels are measured against.

    Attributes
    ----------
    kind : {"classes", "continuous", "columns", "none"}
    labels : ndarray of shape (G,) or (G, n_outputs), or None
        Sorted classes; the distinct rows of several label columns; None where rows form one group.
    meta_codes : ndarray of shape (M,)
        Group of each meta sample.
    meta_values : ndarray of shape (M,) or (M, n_outputs), or None
        What a label cost per pair compares: continuous targets, and codes of label columns.
    categories : list of ndarray, or None
        Sorted values of each label column.
    """

    kind: str
    labels: np.ndarray | None
    meta_codes: np.ndarray
    meta_values: np.ndarray | None = None
    categories: list | None = None

    @property
    def n_groups(self):
        return 1 if self.labels is None else len(self.labels)

    @classmethod
    def of(cls, y, n_samples, target_type, by_cell, name="y_meta"):
        """Target whose meta labels are ``y``; ``by_cell`` makes a group of each distinct label row."""
        if y is None:
            return cls("none", None, np.zeros(n_samples, dtype=np.intp))
        kind = target_kind(y, target_type, name)
        y = check_labels(y, kind, name)
        if kind == "classes":
            labels = np.unique(y)
            return cls(kind, labels, _places(y, labels))
        if kind == "continuous":
            return cls(kind, None, np.zeros(len(y), dtype=np.intp), y)
        categories = [np.unique(y[:, k]) for k in range(y.shape[1])]
        values = _column_codes(y, categories, name)
        if not by_cell:
            return cls(kind, None, np.zeros(len(y), dtype=np.intp), values, categories)
        cells, codes = np.unique(values, axis=0, return_inverse=True)
        return cls(kind, cells, codes.reshape(-1).astype(np.intp), values, categories)

    def take(self, index):
        """The target of some meta samples."""
        values = None if self.meta_values is None else self.meta_values[index]
        return Target(self.kind, self.labels, self.meta_codes[index], values, self.categories)

    def encode(self, y, n_samples, name):
        """Group codes of rows, and their values for a label cost per pair.

        Raises
        ------
        ValueError
            If y is missing or superfluous, or holds labels that the meta set does not have.
        """
        if self.kind == "none":
            if y is not None:
                raise ValueError(
                    f"{name} was given, but the trusted rows have no labels. Pass y_meta as well, or "
                    "neither for weights from the features alone."
                )
            return np.zeros(n_samples, dtype=np.intp), None
        if y is None:
            raise ValueError(
                f"{name} is None, but the trusted rows have labels. "
                f"Pass {name}, or fit without y and y_meta for weights from the features alone."
            )
        y = check_labels(y, self.kind, name)
        if len(y) != n_samples:
            raise ValueError(f"{name} has {len(y)} labels for {n_samples} rows; it needs one per row.")
        if self.kind == "classes":
            return _codes(y, self.labels, name), None
        if self.kind == "continuous":
            return np.zeros(len(y), dtype=np.intp), y
        values = _column_codes(y, self.categories, name)
        if self.labels is None:
            return np.zeros(len(y), dtype=np.intp), values
        return self._cell_codes(values, y, name), values

    def _cell_codes(self, values, y, name):
        known = {tuple(cell): code for code, cell in enumerate(self.labels.tolist())}
        codes = np.array([known.get(tuple(row), -1) for row in values.tolist()], dtype=np.intp)
        if (codes < 0).any():
            missing = sorted({tuple(row) for row in y[codes < 0].tolist()}, key=str)
            raise ValueError(
                f"{name} has combinations of labels that the trusted rows lack: {named(missing)}. Add trusted "
                "rows of them, or use prior='uniform', which does not balance combinations."
            )
        return codes

    def group_names(self):
        """The groups as users know them: labels, or tuples of labels."""
        if self.kind == "columns" and self.labels is not None:
            rows = [
                [categories[c] for categories, c in zip(self.categories, cell, strict=True)] for cell in self.labels
            ]
            return [tuple(v.item() if hasattr(v, "item") else v for v in row) for row in rows]
        return [] if self.labels is None else list(self.labels)

    def pair_cost(self, values, scale, reference):
        """Label cost that differs from row to row, in units of ``scale``; None where groups say it all."""
        if self.meta_values is None:
            return None
        meta = like(self.meta_values, reference)

        def continuous(start, stop):
            return abs(like(values[start:stop], reference)[:, None] - meta[None, :]) / scale

        def columns(start, stop):
            rows = like(values[start:stop], reference)
            n = meta.shape[1]
            return sum((rows[:, k, None] != meta[None, :, k]) * (1.0 / n) for k in range(n))

        function = continuous if self.kind == "continuous" else columns
        return FunctionCost((len(values), len(self.meta_values)), function, reference)


def target_kind(y, target_type, name="y"):
    """Kind of labels, "classes", "continuous" or "columns", from the labels unless ``target_type`` says it."""
    if target_type != "auto":
        return target_type
    y = clean_labels(y, name)
    if y.ndim == 2 and y.shape[1] > 1:
        return "columns"
    return "continuous" if y.dtype.kind == "f" and (y != np.round(y)).any() else "classes"


def check_labels(y, kind, name):
    """Labels as an ndarray of the dimensions and dtype that their kind has."""
    if kind == "continuous":
        y = column_or_1d(on_host(y))
        if y.dtype.kind == "O":
            y = [np.nan if is_missing(value) else value for value in y.tolist()]
        y = np.asarray(y, dtype=np.float64)
        if not np.isfinite(y).all():
            row = np.flatnonzero(~np.isfinite(y))[0]
            raise ValueError(f"{name} contains NaN or infinity, first in row {row}. Drop the rows without a target.")
        return y
    y = clean_labels(y, name)
    if kind == "columns":
        y = check_array(y, dtype=None, ensure_all_finite="allow-nan", input_name=name)
        if y.dtype.kind == "f" and (y != np.round(y)).any():
            raise ValueError(
                f"{name} has columns of continuous numbers. Several label columns are compared for equality. Bin them, "
                "or keep the one column that matters."
            )
        return y
    y = one_column(y, name)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError(f"Input {name} contains infinity. Drop the rows without a label.")
    if y.dtype.kind == "f" and (y != np.round(y)).any():
        raise ValueError(
            f"Unknown label type: {name} holds continuous numbers, which are no classes. Bin them, or use "
            "target_type='continuous' with trusted rows."
        )
    return y


def _places(y, labels):
    """Where each label of ``y`` is, or would be, among the sorted ``labels``; no place is after the last."""
    first, last = (int(labels[0]), int(labels[-1])) if labels.dtype.kind == y.dtype.kind == "i" else (0, len(y))
    if last - first >= len(y):
        return np.searchsorted(labels, y).clip(max=len(labels) - 1)
    # looking up takes a sixth of the time that searching takes
    table = np.searchsorted(labels, np.arange(last - first + 1) + first)
    return table[y.astype(np.int64).clip(first, last) - first]


def _codes(y, labels, name):
    """Index of each label of ``y`` in the sorted ``labels``."""
    check_same_family(y, labels, name)
    codes = _places(y, labels)
    unknown = labels[codes] != y
    if unknown.any():
        amounts = label_family(y) == "number" and len(np.unique(y[unknown])) > len(labels)
        raise ValueError(
            f"{name} has classes that the trusted rows lack: {named(np.unique(y[unknown]))}. Add trusted rows of them "
            "to X_meta and y_meta, or review rows of them for y_verified, or leave these rows out. The trusted rows "
            f"have {named(labels)}: "
            + (
                "if these are amounts, target_type='continuous' compares them."
                if amounts
                else "if it spells a class otherwise, correct it."
            )
        )
    return codes


def _column_codes(y, categories, name):
    if y.shape[1] != len(categories):
        raise ValueError(
            f"{name} has {y.shape[1]} label columns and y_meta has {len(categories)}; they must be the same."
        )
    columns = [_codes(y[:, k], known, f"{name} (column {k})") for k, known in enumerate(categories)]
    return np.stack(columns, axis=1)
