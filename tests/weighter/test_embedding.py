"""The default embedding of data frames: what it makes of columns, and of rows that are not finite."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from skotw import OTSampleWeighter
from skotw._weighter.embedding import ScaleEmbedding, embed
from skotw.datasets import flip_labels
from skotw.metrics import mislabel_auc

rng = np.random.default_rng(0)


@pytest.mark.parametrize("kind", [float, Decimal, lambda v: None if abs(v) > 2.5 else v])
def test_numbers_among_objects_tell_wrong_labels(kind):
    X = rng.normal(size=(300, 4))
    y = (X[:, 0] > 0).astype(int)
    noisy, wrong = flip_labels(y[40:], 0.3, random_state=0, return_mask=True)
    frame = pd.DataFrame([[kind(v) for v in row] for row in X.tolist()], dtype=object)
    w = OTSampleWeighter(reg=0.05).fit_weights(frame[40:], noisy, frame[:40], y[:40])
    # as categories, of which each row has its own, they would be at 0.5
    assert mislabel_auc(w, noisy, wrong) > 0.75


def test_numbers_are_scaled_with_weights_and_words_are_indicators():
    frame = pd.DataFrame({"n": pd.Series([1, Decimal(3), None, 5], dtype=object), "w": ["p", "q", "p", None]})
    weight = np.array([1.0, 2.0, 4.0, 1.0])
    Z = ScaleEmbedding().fit(frame, sample_weight=weight).transform(frame)
    known = np.array([1.0, 3.0, 5.0])
    mean = np.average(known, weights=[1, 2, 1])
    scaled = (known - mean) / np.sqrt(np.average((known - mean) ** 2, weights=[1, 2, 1]))
    assert_allclose(Z[:, 0], [scaled[0], scaled[1], 0.0, scaled[2]])
    assert_allclose(Z[:, 1:], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_column_of_texts_is_warned_of(library):
    texts = [f"a text of its own, number {i}" for i in range(80)]
    with pytest.warns(UserWarning, match=r"'note' has 80 categories in 80 rows.*TfidfVectorizer"):
        ScaleEmbedding().fit(library({"city": ["a", "b"] * 50, "note": [*texts, *[None] * 20]}))


@pytest.mark.parametrize("words", [[f"shop {i % 55}" for i in range(120)], [f"shop {i}" for i in range(40)]])
def test_columns_of_categories_are_not_warned_of(words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ScaleEmbedding().fit(pd.DataFrame({"shop": words}))


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_output_settings_of_users_stay_outside(output):
    frame = pd.DataFrame({"n": [1.0, 2.0], "w": ["p", "q"]})
    plain = ScaleEmbedding().fit(frame).transform(frame)
    with sklearn.config_context(transform_output=output):
        Z = ScaleEmbedding().fit(frame).transform(frame)
    assert isinstance(Z, np.ndarray)
    assert_allclose(Z, plain)


def test_the_first_entry_that_is_not_finite_is_named():
    X = rng.normal(size=(5, 3))
    X[1, 0], X[3, 2], X[2, 1] = np.inf, np.nan, np.inf
    with pytest.raises(ValueError, match=r"X contains NaN, first in row 3, column 2\. Impute or drop"):
        embed(None, X, "X")
    with pytest.raises(ValueError, match="X contains NaN, first in row 30, column 2"):
        embed(None, X, "X", kept=10 * np.arange(5))
    with pytest.raises(ValueError, match=r"X contains infinity, first in row 1, column 0\. No imputer"):
        embed(None, X, "X", allow_nan=True)
    with pytest.raises(ValueError, match=r"X.* contains NaN, first in row 3, column 2"):
        embed(None, sparse.csr_array(X), "X")
    X[3, 2] = 0.0
    with pytest.raises(ValueError, match=r"X contains infinity, first in row 1, column 0\. No imputer"):
        embed(ScaleEmbedding().fit(np.nan_to_num(X, posinf=0.0)), X, "X")
    frame = pd.DataFrame(X, columns=list("abc"))
    with pytest.raises(ValueError, match=r"Column 'a' contains infinity, first in row 1\. No imputer"):
        ScaleEmbedding().fit(frame)
    far = np.full((2, 1), 1e308)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="X after the embedding contains infinity"):
        embed(StandardScaler(with_std=False).fit(-far), far, "X")
