"""From rows as they come to rows whose distances mean something."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import get_namespace
from skotw._transport.arrays import to_numpy
from skotw._transport.blocks import one_blas_thread
from skotw._transport.standardise import Standardise
from skotw._validation import is_plain, warn

from .compute import compute_of
from .containers import is_records
from .frames import category_column, column_kinds, is_frame, number_columns

# Above this many one-hot columns a frame's embedding is sparse.
_MAX_DENSE_CATEGORIES = 1000
# A column with at least so many categories, most of them of one row, holds texts or names rather than categories.
_MANY_CATEGORIES = 50
_AGAINST_INFINITY = (
    "No imputer takes it for a missing value. Drop these rows, or replace infinity beforehand, by NaN where it means "
    "that the value is unknown, or by a bound, as numpy.clip does."
)


class ScaleEmbedding(BaseEstimator):
    """The default: standardised columns, with weights, for arrays and for data frames.

    Dense arrays are standardised; sparse matrices stay as they are, since centring would fill them. In a data
    frame numeric columns are standardised and their missing values set to the mean, and every other column becomes
    one indicator per category, with none for a category that ``fit`` has not seen. ``impute`` sets missing values of
    dense arrays to the mean as well.
    """

    def __init__(self, n_jobs=None, impute=False):
        self.n_jobs = n_jobs
        self.impute = impute

    @classmethod
    def of(cls, scaler, n_jobs=None):
        """Fitted to dense arrays by whoever has the scaler."""
        embedding = cls(n_jobs)
        embedding.is_frame_, embedding.scaler_ = False, scaler
        return embedding

    def fit(self, X, y=None, sample_weight=None):
        self.is_frame_ = is_frame(X)
        if self.is_frame_:
            with one_blas_thread():
                self._fit_frame(X, sample_weight)
        elif not sparse.issparse(X):
            self._fit_numbers(X, sample_weight)
        return self

    def _imputes(self, X):
        return (self.impute or self.is_frame_) and isinstance(X, np.ndarray)

    def _fit_numbers(self, X, sample_weight):
        if self._imputes(X) and np.isnan(X).any() and not np.isinf(X).any():
            self.scaler_ = _of_known_values(X, sample_weight)
        else:
            self.scaler_ = Standardise.fit(X, sample_weight, compute_of(self.n_jobs))

    def _scaled(self, X):
        scaled = self.scaler_.transform(X, compute_of(self.n_jobs))
        if self._imputes(X):
            scaled[np.isnan(X)] = 0.0  # the mean
        return scaled

    def _fit_frame(self, X, sample_weight):
        kinds = column_kinds(X)
        self.numeric_ = [name for name, kind in kinds.items() if kind == "number"]
        self.categorical_ = [name for name, kind in kinds.items() if kind == "category"]
        # what scikit-learn is set to put out for the user is not for us
        if self.numeric_:
            self._fit_numbers(self._numbers(X), sample_weight)
        if self.categorical_:
            encoder = OneHotEncoder(handle_unknown="ignore").set_output(transform="default")
            words = self._categories(X)
            self.encoder_ = encoder.fit(words)
            for name, categories, column in zip(self.categorical_, self.encoder_.categories_, words.T, strict=True):
                _warn_of_texts(name, sum(category is not None for category in categories), column)

    def _numbers(self, X):
        values = number_columns(X, self.numeric_)
        infinite = np.isinf(values)
        if infinite.any():
            column, row = np.argwhere(infinite.T)[0]
            name = self.numeric_[column]
            raise ValueError(f"Column {name!r} contains infinity, first in row {row}. {_AGAINST_INFINITY}")
        return values

    def _categories(self, X):
        return np.column_stack([category_column(X, name) for name in self.categorical_])

    def transform(self, X):
        if not self.is_frame_:
            if sparse.issparse(X):
                return X
            if not is_plain(X, 2):  # by itself it meets lists and whole numbers, too
                X = check_array(X, dtype=float_dtypes(X), ensure_all_finite=False)
            return self._scaled(X)
        if not is_frame(X):
            raise ValueError(
                "The training rows are a data frame and these rows are not. Pass them as a frame with "
                f"the same columns: {list(self.numeric_ + self.categorical_)}."
            )
        parts = []
        if self.numeric_:
            parts.append(self._scaled(self._numbers(X)))
        if self.categorical_:
            parts.append(self.encoder_.transform(self._categories(X)))
        if self.categorical_ and parts[-1].shape[1] > _MAX_DENSE_CATEGORIES:
            return sparse.hstack(parts, format="csr")
        return np.hstack([part.toarray() if sparse.issparse(part) else part for part in parts])


def _warn_of_texts(name, n_categories, column):
    """Warn of a column of which hardly two rows have the same category."""
    n_known = sum(value is not None for value in column)
    if n_categories >= _MANY_CATEGORIES and 2 * n_categories > n_known:
        warn(
            f"Column {name!r} has {n_categories} categories in {n_known} rows, so that hardly any two rows are alike "
            "in it. If it identifies rows, drop it. If it holds texts, turn them into numbers: pass "
            "weighter=OTSampleWeighter(embedding=..., prior='confidence') with a ColumnTransformer that encodes every "
            "column, this one by a TfidfVectorizer."
        )


def _of_known_values(X, sample_weight):
    """What scikit-learn's scaler makes of the known values of X."""
    # of mean one, since its bound on rounding takes their sum for the number of rows
    weight = None if sample_weight is None else sample_weight / sample_weight.mean()
    with np.errstate(invalid="ignore"):  # a constant column's variance may come out as -1e-33
        scaler = StandardScaler().fit(X, sample_weight=weight)
    unknown = np.isnan(scaler.mean_)  # columns without any value, in which later rows do not differ either
    return Standardise(np.where(unknown, 0.0, scaler.mean_), np.where(unknown, np.inf, scaler.scale_))


def fit_embedding(embedding, X, y, sample_weight, random_state, n_jobs=None):
    """Fitted transformer for the ``embedding`` parameter, or None to take rows as they are."""
    if embedding is None:
        return None
    if isinstance(embedding, str):
        transformer = TfidfVectorizer() if is_records(X) else ScaleEmbedding(n_jobs, impute=embedding == "supervised")
    else:
        transformer = clone(embedding)
    if random_state is not None:
        seed_unset(transformer, random_state)
    weights = {}
    if sample_weight is not None and has_fit_parameter(transformer, "sample_weight"):
        weights["sample_weight"] = sample_weight
    return transformer.fit(X, y, **weights)


def seed_unset(estimator, random_state):
    """Set the unset random states of an estimator, nested ones included, from one generator."""
    rng = check_random_state(random_state)
    names = [
        name
        for name, value in sorted(estimator.get_params(deep=True).items())
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    estimator.set_params(**{name: int(rng.randint(np.iinfo(np.int32).max)) for name in names})


def embed(transformer, X, name, *, allow_nan=False, kept=None):
    """Embedded rows: a finite floating array, or CSR.

    Parameters
    ----------
    transformer : fitted transformer or None
    X : rows as it takes them
    name : str
        What the rows are called in messages.
    allow_nan : bool, default=False
    kept : ndarray of shape (n,) or None
        Where the rows stood among those given, for messages.

    Raises
    ------
    ValueError
        If the rows are not two-dimensional, or hold NaN or infinity.
    """
    Z = X if transformer is None else transformer.transform(X)
    if not is_plain(Z, 2):
        Z = check_array(
            Z,
            accept_sparse="csr",
            dtype=float_dtypes(Z),
            ensure_all_finite=False,
            ensure_min_features=0 if transformer is not None else 1,
            input_name=name,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        if is_plain(Z, 2) and np.isfinite(Z.sum()):  # the quick half of the check below
            return Z
    try:
        with np.errstate(invalid="ignore"):  # of infinity less infinity
            assert_all_finite(Z, allow_nan=allow_nan, input_name=name)
    except ValueError as error:
        # scaling spreads what is not finite over its column: where it came from stands in the rows themselves
        rows = X if isinstance(X, np.ndarray) and X.dtype.kind == "f" and not np.isfinite(X).all() else Z
        raise ValueError(_not_finite(rows, name, kept, allow_nan, came_so=rows is X)) from error
    return Z


def embed_lazily(transformer, X):
    """The rows of :func:`embed` without a copy of X, if they are no more than X standardised; else None.

    Rows that are not finite are left to :func:`embed`, which says so.
    """
    if not isinstance(transformer, ScaleEmbedding) or transformer.is_frame_ or not isinstance(X, np.ndarray):
        return None
    scaler = transformer.scaler_
    # one value that is not finite makes its column's mean the same
    sound = X.dtype in (np.float32, np.float64) and np.isfinite(scaler.mean).all() and np.isfinite(scaler.scale).all()
    return scaler.lazily(X) if sound else None


def float_dtypes(X):
    """float64 and float32 as the library of X has them: other types become the first."""
    xp, _ = get_namespace(X)
    return [xp.float64, xp.float32]


def _not_finite(rows, name, kept, allow_nan, came_so):
    """What is wrong with rows that are not finite, and what to do."""
    if not came_so:
        name = f"{name} after the embedding"
    if sparse.issparse(rows):
        rows = rows.tocoo()
        places, values = np.stack([rows.row, rows.col], axis=1), rows.data
        bad = ~np.isfinite(values)
    else:
        values = to_numpy(rows)
        places, bad = None, ~np.isfinite(values)
    infinite = np.isinf(values)
    is_nan = not allow_nan and bool((bad & ~infinite).any())
    found = bad & ~infinite if is_nan else infinite
    row, column = (np.argwhere(found) if places is None else places[found])[0]
    row = row if kept is None else kept[row]
    if is_nan:
        return (
            f"{name} contains NaN, first in row {row}, column {column}. Impute or drop these rows, or give "
            "OTSampleWeighter embedding=make_pipeline(SimpleImputer(), StandardScaler()). embedding='supervised' and "
            "data frames need no imputer."
        )
    return f"{name} contains infinity, first in row {row}, column {column}. {_AGAINST_INFINITY}"
