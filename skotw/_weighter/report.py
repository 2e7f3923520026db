"""What became of a training set, in words: the report of a fitted weighter, and its first lines in a notebook."""

from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib.metadata import metadata
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skotw._transport.arrays import to_numpy
from skotw._validation import named

from .label_reliability import LARGEST_SE, with_error

__all__ = ["RowGroups", "ShowsReport", "WeighedRow", "WeightReport", "report_of"]

# Classes that the text shows, and rows at either end.
_SHOWN = 20
_ROWS = 5
# Below this share of the effective size of the prior weights, a few rows are all that counts.
_COLLAPSE = 0.1
# Above this share, the features have had no say.
_NO_SAY = 0.999
# A class whose share is wrong by this factor has lost it to others, or won it from them.
_LEAK = 2.0


@dataclass(frozen=True, eq=False)
class RowGroups:
    """What a report needs of the training rows, beside their weights.

    Attributes
    ----------
    codes : ndarray of shape (n_samples,)
        Group of each row given, of the smallest integers that hold it; -1 for rows that took no part.
    squares : ndarray of shape (n_groups,)
        Sum over each group of the squared weights before any transport.
    sample_weight : ndarray of shape (n_samples,) or None
        How much each row counted beforehand; None where those that took part counted the same.
    """

    codes: np.ndarray
    squares: np.ndarray
    sample_weight: np.ndarray | None

    @classmethod
    def of(cls, ordered, chunk):
        """Of training rows, :class:`SortedRows`, of the chunk in which they came."""
        kept, n_groups = slice(None) if chunk.kept is None else chunk.kept, len(ordered.counts)
        groups = np.repeat(np.arange(n_groups), ordered.counts)
        codes = np.full(chunk.n_given, -1, dtype=np.min_scalar_type(-n_groups))
        codes[kept] = ordered.back(groups)
        given = None
        if np.ptp(ordered.weight) > 0:
            given = np.zeros(chunk.n_given)
            given[kept] = ordered.back(ordered.weight)
        return cls(codes, np.bincount(groups, np.square(ordered.prior, dtype=np.float64), n_groups), given)


class WeighedRow(NamedTuple):
    """A training row and its weight."""

    row: int
    label: Any
    weight: float


@dataclass(frozen=True, eq=False, repr=False)
class WeightReport:
    """What the weights of the training rows are, class by class, and what to do about them.

    ``print`` shows it as text, a notebook as a table, and :meth:`to_frame` gives the classes as a data frame.

    Attributes
    ----------
    classes : tuple
        Classes with training rows, sorted; tuples of labels for several label columns. Empty where there are no
        classes: then everything below that goes by class has one entry, of all rows.
    count : ndarray of shape (n_classes,)
        Training rows of each class that took part.
    mass_before, mass_after : ndarray of shape (n_classes,)
        Share of each class in the given ``sample_weight``, and in the learned one.
    effective_size : ndarray of shape (n_classes,)
        Kish's effective size of the weights within each class.
    precision, precision_se : ndarray of shape (n_classes,)
        Share of the rows with this label that really are of the class, and its standard error. The share is NaN where
        it is unknown, as it is where the standard error is above 1/4.
    reliability, reliability_se : float
        ``overall`` of ``label_reliability_``, and its standard error. NaN where unknown. With a standard error above
        1/4 the text says "unknown".
    n_rows : int
        Training rows that took part.
    n_effective : float
        Kish's effective size of all weights.
    reg : float
        Entropic regularisation.
    heaviest, lightest : tuple of (row, label, weight)
        Up to five rows that carry most, and least, by their number among the rows given to ``fit``.
    warnings : tuple of str
        What looks wrong, and the parameter to change. Empty where nothing does.
    """

    classes: tuple[Any, ...]
    count: NDArray[np.intp]
    mass_before: NDArray[np.float64]
    mass_after: NDArray[np.float64]
    effective_size: NDArray[np.float64]
    precision: NDArray[np.float64]
    precision_se: NDArray[np.float64]
    reliability: float
    reliability_se: float
    n_rows: int
    n_effective: float
    reg: float
    heaviest: tuple[WeighedRow, ...]
    lightest: tuple[WeighedRow, ...]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False

    def to_frame(self) -> Any:
        """The classes as a data frame of pandas, one line each.

        Returns
        -------
        frame : pandas.DataFrame
            With the columns count, mass_before, mass_after, effective_size, precision and precision_se, by class.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas. print(report) does without.") from error
        names = ("count", "mass_before", "mass_after", "effective_size", "precision", "precision_se")
        index = pd.Index(self.classes or ("all rows",), name="class", tupleize_cols=False)
        return pd.DataFrame({name: getattr(self, name).copy() for name in names}, index=index)

    @property
    def first_lines(self) -> tuple[str, ...]:
        """The report in two or three sentences.

        Returns
        -------
        lines : tuple of str
        """
        lines = [
            f"{self.n_rows} rows, which count as {self.n_effective:.1f} rows of equal weight (reg={self.reg:.3g})."
        ]
        if not np.isnan(self.reliability):
            shown = with_error(self.reliability, self.reliability_se)
            scale = "" if shown == "unknown" else ", where 1 says that all are right and 0 that they say nothing"
            lines.append(f"Reliability of the labels: {shown}{scale}.")
        if self.warnings:
            lines.append("1 warning." if len(self.warnings) == 1 else f"{len(self.warnings)} warnings.")
        return tuple(lines)

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        rest = [f"... and {len(self.count) - _SHOWN} more classes"] if len(self.count) > _SHOWN else []
        ends = [f"{name}: {'; '.join(map(_row_text, rows))}" for name, rows in self._ends()]
        told = [f"Warning: {warning}" for warning in self.warnings]
        first = self.first_lines[: len(self.first_lines) - bool(told)]
        return "\n".join([*first, "", *lines, *rest, "", *ends, *([""] if told else []), *told])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        rows = [_html_line("th", head)] + [_html_line("td", line) for line in body]
        if len(self.count) > _SHOWN:
            rows.append(f'<tr><td colspan="{len(head)}">... and {len(self.count) - _SHOWN} more classes</td></tr>')
        ends = [f"{name}: {'; '.join(map(_row_text, rows_))}" for name, rows_ in self._ends()]
        told = "".join(f"<li>{escape(warning)}</li>" for warning in self.warnings)
        paragraphs = "".join(f"<p>{escape(line)}</p>" for line in (*self.first_lines, *ends))
        return f"<div>{paragraphs}<table>{''.join(rows)}</table>{f'<ul>{told}</ul>' if told else ''}</div>"

    def _ends(self):
        return ("Most weight", self.heaviest), ("Least weight", self.lightest)

    def _cells(self):
        """The table as text, its head first."""
        known = not np.isnan(self.precision).all()
        head = ["class", "rows", "share before", "share after", "effective size"]
        lines = [head + ["right labels"] * known]
        for k, name in list(enumerate(self.classes or ("all rows",)))[:_SHOWN]:
            line = [_name(name), str(self.count[k]), f"{self.mass_before[k]:.3f}", f"{self.mass_after[k]:.3f}"]
            line.append(f"{self.effective_size[k]:.1f}")
            lines.append(line + [with_error(self.precision[k], self.precision_se[k])] * known)
        return lines


def _name(label):
    return str(label.item() if isinstance(label, np.generic) else label)


def _row_text(row):
    return f"row {row.row}{'' if row.label is None else f' ({_name(row.label)})'} {row.weight:.3g}"


def _html_line(tag, cells):
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def report_of(fitted, row_groups, weights, *, labels=None, rows=None):
    """The report.

    Parameters
    ----------
    fitted : Fitted
    row_groups : RowGroups
        Of the training rows.
    weights : array of shape (n_samples,)
        Their weights, in any library.
    labels : ndarray of shape (n_labels,) or None
        What the classes are called, where the weighter was given their places in it.
    rows : ndarray of shape (n_samples,) or None
        Numbers of the training rows, where they are not those of the order in which the weighter got them.

    Returns
    -------
    WeightReport
    """
    weights, groups = to_numpy(weights).astype(np.float64), fitted.groups
    took_part = np.flatnonzero(row_groups.codes >= 0)
    codes, w = np.searchsorted(groups, row_groups.codes[took_part]), weights[took_part]
    w_top = w / w.max()  # so that no square overflows
    mass, squares = (np.bincount(codes, value, len(groups)) for value in (w_top, np.square(w_top)))
    names = tuple(fitted.target.group_names()[group] for group in groups) if fitted.target.labels is not None else ()
    names = names if labels is None else tuple(labels[name] for name in names)
    numbers = np.arange(len(row_groups.codes)) if rows is None else rows
    reliability, unknown = fitted.reliability, np.full(len(groups), np.nan)
    before = fitted.group_weight[groups]

    def weighed(order):
        return tuple(
            WeighedRow(int(numbers[took_part[i]]), names[codes[i]] if names else None, float(w[i]))
            for i in order[:_ROWS]
        )

    order = np.argsort(w, kind="stable")
    report = WeightReport(
        classes=names,
        count=np.bincount(codes, minlength=len(groups)),
        mass_before=before / before.sum(),
        mass_after=mass / mass.sum(),
        effective_size=np.divide(mass**2, squares, out=np.zeros(len(groups)), where=squares > 0),
        precision=unknown if reliability is None else reliability.precision.copy(),
        precision_se=unknown.copy() if reliability is None else reliability.precision_se.copy(),
        reliability=np.nan if reliability is None else reliability.overall,
        reliability_se=np.nan if reliability is None else reliability.overall_se,
        n_rows=len(took_part),
        n_effective=float(mass.sum() ** 2 / squares.sum()),
        reg=fitted.basis.reg,
        heaviest=weighed(order[::-1]),
        lightest=weighed(order),
        warnings=(),
    )
    given = np.ones(len(took_part)) if row_groups.sample_weight is None else row_groups.sample_weight[took_part]
    n_given = np.bincount(codes, given) ** 2 / np.bincount(codes, given**2)
    told = (
        *_of_size(report, fitted, row_groups, n_given),
        *_of_mass(report, fitted),
        *_of_labels(report, fitted, n_given),
    )
    object.__setattr__(report, "warnings", told)
    return report


def _of_size(report, fitted, row_groups, n_given):
    """Weights that have collapsed, all or those of a class, or are the same within each class.

    A prior that goes by the labels' confidence tells rows apart by itself. So the last is measured by ``n_given``, how
    many rows each class would be worth if all of them counted as they were given.
    """
    groups, basis = fitted.groups, fitted.basis
    prior, squares = fitted.group_prior[groups], row_groups.squares[groups]
    ratio = np.exp(basis.marginals(fitted.group_prior, basis.columns)[2][groups])
    prior_size = (ratio @ prior) ** 2 / (ratio**2 @ squares)
    remedy = f"Raise reg, which is {report.reg:.3g}, or cap the weights by max_weight."
    if report.n_effective < _COLLAPSE * prior_size:
        yield (
            f"A few rows have nearly all the weight. All rows count as {report.n_effective:.1f} rows of equal weight. "
            f"By the prior weights they would count as {prior_size:.1f}. {remedy}"
        )
    elif (lost := np.flatnonzero(report.effective_size < _COLLAPSE * prior**2 / squares)).size and report.classes:
        yield f"A few rows have nearly all the weight of {_classes(report, lost)}. {remedy}"
    elif report.n_effective * (report.mass_after**2 @ (1.0 / n_given)) > _NO_SAY and report.n_rows > len(groups):
        if basis.settings.label_weight == 1.0:
            cause = "At label_weight=1 the features have no say. Lower it."
        elif basis.settings.reg_prior > 0:
            cause = f"Lower reg_prior, which is {basis.settings.reg_prior:.3g}, or reg, which is {report.reg:.3g}."
        else:
            cause = f"Lower reg, which is {report.reg:.3g}, or use an embedding that tells rows apart."
        yield f"Within each class all rows count nearly the same. {cause}"


def _of_mass(report, fitted):
    """Classes that do not hold the mass that they were meant to hold."""
    meant = fitted.group_mass[fitted.groups] / fitted.group_mass[fitted.groups].sum()
    wrong = np.flatnonzero((report.mass_after * _LEAK < meant) | (report.mass_after > _LEAK * meant))
    if wrong.size and report.classes and not fitted.basis.settings.reg_prior > 0:
        yield (
            f"The weight of {_classes(report, wrong)} differs from what class_mass asks for by more than a factor of "
            f"{_LEAK:g}. Raise label_weight, lower reg, or set label_cost='hard', which keeps it exactly."
        )


def _of_labels(report, fitted, n_given):
    """Labels of which nothing is known, or most of which are wrong; ``n_given`` is how many rows of each count."""
    reliability, settings = fitted.reliability, fitted.basis.settings
    if reliability is None or len(report.classes) < 2:
        return
    if contradiction := reliability.contradiction(n_given):
        yield contradiction
        return
    # with a large standard error nothing is wrong, and nothing known: five trusted rows of a class often have that
    unknown = np.flatnonzero(np.isnan(report.precision_se))
    elsewhere = np.flatnonzero(np.isnan(report.precision) & (report.precision_se <= LARGEST_SE))
    if np.isnan(report.reliability) and not len(reliability.query_class):
        columns = np.bincount(fitted.basis.columns.target.meta_codes, minlength=fitted.target.n_groups)
        if settings.n_prototypes is not None or columns[fitted.groups].max() < 2:
            remedy = "Pass at least two trusted rows per class in X_meta and y_meta, or in y_verified. Ten are better."
        elif settings.metric == "precomputed":
            remedy = "With metric='precomputed' it needs the costs among the trusted rows. Pass them as X_meta."
        else:
            remedy = (
                "Raise scikit-learn's working_memory. In a network, begin with one that has not trained on these "
                "labels yet, or let it fit less closely."
            )
        yield f"It is not known how far the labels can be trusted. {remedy}"
    elif np.isnan(report.reliability):
        yield (
            "It is not known how far the labels can be trusted. The features do not tell the trusted rows of one class "
            "from those of another. Use another embedding or metric, or pass more trusted rows in X_meta."
        )
    elif unknown.size:
        yield (
            f"It is not known how many labels are right of {_classes(report, unknown)}. Pass more trusted rows of "
            f"{'it' if unknown.size == 1 else 'them'} in X_meta and y_meta."
        )
    if elsewhere.size:
        yield (
            f"The training rows of {_classes(report, elsewhere)} lie elsewhere than the trusted rows. So it is not "
            "known how many of their labels are right. Look whether X_meta has gone through the same steps as X."
        )
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(report.precision + 2.0 * report.precision_se < 0.5)
    if bad.size:
        yield (
            f"Most labels of {_classes(report, bad)} seem to be wrong. Review rows of "
            f"{'it' if bad.size == 1 else 'them'}, which skotw.find_label_errors lists, and pass the right labels as "
            "y_verified."
        )


def _classes(report, index):
    return f"{'class' if len(index) == 1 else 'classes'} {named([report.classes[k] for k in index])}"


# ---------------------------------------------------------------------------------------------
# Notebooks


@lru_cache(maxsize=1)
def documentation_url():
    """Address of the documentation, as the package's metadata have it; None where they have none."""
    for line in metadata("skotw").get_all("Project-URL") or []:
        label, _, url = line.partition(", ")
        if label.lower() == "documentation":
            return url.rstrip("/")
    return None


class ShowsReport:
    """Adds the first lines of the report to what scikit-learn shows of a fitted estimator in a notebook.

    Only the two names that notebooks ask for are taken over, so that it goes with whatever scikit-learn shows.
    """

    @property
    def _repr_html_(self):
        shown = super()._repr_html_  # AttributeError where scikit-learn is set to show text
        return lambda: shown() + self._first_lines_html()

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._first_lines_html()
        return bundle

    def _get_doc_link(self):
        """Address of the page about the class, to which scikit-learn's diagrams link; a user's own has its parent's."""
        url, ours = documentation_url(), next(cls for cls in type(self).__mro__ if cls.__module__.startswith("skotw."))
        return f"{url}/generated/skotw.{ours.__name__}.html" if url else ""

    def _first_lines_html(self):
        weighter = getattr(self, "weighter_", None if hasattr(self, "weighter") else self)
        if getattr(weighter, "_row_groups", None) is None:  # unfitted, or fitted to chunks
            return ""
        path = "report()" if weighter is self else "weighter_.report()"
        lines = [escape(line) for line in weighter.report().first_lines]
        link = self._get_doc_link()
        more = f'<a href="{escape(link)}" rel="noreferrer" target="_blank">documentation</a>' if link else ""
        lines.append(f"<code>{path}</code> has the rest{f'; what it says is in the {more}' if more else ''}.")
        return f'<div class="skotw-report">{"<br>".join(lines)}</div>'
