"""From rows as they come to rows whose distances mean something."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import has_fit_parameter

from skotw._compat import get_namespace
from skotw._transport.blocks import one_blas_thread
from skotw._transport.standardise import Standardise

from .compute import compute_of
from .frames import column_kind, column_values, is_frame

# Above this many one-hot columns a frame's embedding is sparse.
_MAX_DENSE_CATEGORIES = 1000


class ScaleEmbedding(BaseEstimator):
    """The default: standardised columns, with weights, for arrays and for data frames.

    Dense arrays are standardised; sparse matrices stay as they are, since centring would fill them. In a data
    frame numeric columns are standardised and their missing values set to the mean, and every other column becomes
    one indicator per category, with none for a category that ``fit`` has not seen.
    """

    def __init__(self, n_jobs=None):
        self.n_jobs = n_jobs

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
            self.scaler_ = Standardise.fit(X, sample_weight, compute_of(self.n_jobs))
        return self

    def _fit_frame(self, X, sample_weight):
        self.numeric_, self.categorical_ = [], []
        for name in X.columns:
            column = self.numeric_ if column_kind(X, name) in "biuf" else self.categorical_
            column.append(name)
        if self.numeric_:
            self.scaler_ = StandardScaler().fit(self._numbers(X), sample_weight=sample_weight)
        if self.categorical_:
            self.encoder_ = OneHotEncoder(handle_unknown="ignore").fit(self._categories(X))

    def _numbers(self, X):
        columns = [column_values(X, name, np.float64) for name in self.numeric_]
        return np.column_stack(columns)

    def _categories(self, X):
        columns = [column_values(X, name, object) for name in self.categorical_]
        return np.column_stack(columns)

    def transform(self, X):
        if not self.is_frame_:
            if sparse.issparse(X):
                return X
            # by itself it meets lists and whole numbers, too
            X = check_array(X, dtype=float_dtypes(X), ensure_all_finite=False)
            return self.scaler_.transform(X, compute_of(self.n_jobs))
        if not is_frame(X):
            raise ValueError(
                "The training rows are a data frame and these rows are not. Pass them as a frame with "
                f"the same columns: {list(self.numeric_ + self.categorical_)}."
            )
        parts = []
        if self.numeric_:
            # zero is the weighted mean after scaling, so this imputes the mean
            parts.append(np.nan_to_num(self.scaler_.transform(self._numbers(X)), nan=0.0))
        if self.categorical_:
            parts.append(self.encoder_.transform(self._categories(X)))
        if self.categorical_ and parts[-1].shape[1] > _MAX_DENSE_CATEGORIES:
            return sparse.hstack(parts, format="csr")
        return np.hstack([part.toarray() if sparse.issparse(part) else part for part in parts])


def fit_embedding(embedding, X, y, sample_weight, random_state, n_jobs=None):
    """Fitted transformer for the ``embedding`` parameter, or None to take rows as they are."""
    if embedding is None:
        return None
    transformer = ScaleEmbedding(n_jobs) if isinstance(embedding, str) else clone(embedding)
    if random_state is not None:
        _seed(transformer, random_state)
    weights = {}
    if sample_weight is not None and has_fit_parameter(transformer, "sample_weight"):
        weights["sample_weight"] = sample_weight
    return transformer.fit(X, y, **weights)


def _seed(transformer, random_state):
    """Set the transformer's unset random states, nested ones included, from one generator."""
    rng = check_random_state(random_state)
    names = [
        name
        for name, value in sorted(transformer.get_params(deep=True).items())
        if name.rpartition("__")[2] == "random_state" and value is None
    ]
    transformer.set_params(**{name: int(rng.randint(np.iinfo(np.int32).max)) for name in names})


def embed(transformer, X, name, *, allow_nan=False):
    """Embedded rows: a finite floating array, or CSR.

    Raises
    ------
    ValueError
        If the rows are not two-dimensional, or hold NaN or infinity.
    """
    Z = X if transformer is None else transformer.transform(X)
    Z = check_array(
        Z,
        accept_sparse="csr",
        dtype=float_dtypes(Z),
        ensure_all_finite=False,
        ensure_min_features=0 if transformer is not None else 1,
        input_name=name,
    )
    _check_finite(Z, name, allow_nan)
    return Z


def float_dtypes(X):
    """float64 and float32 as the library of X has them: other types become the first."""
    xp, _ = get_namespace(X)
    return [xp.float64, xp.float32]


def _check_finite(Z, name, allow_nan):
    try:
        assert_all_finite(Z, allow_nan=allow_nan, input_name=name)
    except ValueError as error:
        raise ValueError(
            f"{name} contains NaN or infinity after the embedding. Impute or drop these rows, or pass "
            "embedding=make_pipeline(SimpleImputer(), StandardScaler()); the default embedding of a data "
            "frame imputes by itself."
        ) from error
