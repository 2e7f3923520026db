"""Every way of handing in the same numbers gives the same weights."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, ot_sample_weight

rng = np.random.default_rng(0)
# whole numbers, so that every type holds the same
X, X_META = rng.integers(-9, 10, (60, 4)), rng.integers(-9, 10, (12, 4))
Y, Y_META = np.arange(60) % 3, np.arange(12) % 3
NAMES = list("abcd")


def read_only(rows):
    rows = rows.astype(float)
    rows.flags.writeable = False
    return rows


def objects(rows, kind):
    return pd.DataFrame([[kind(v) for v in row] for row in rows.tolist()], columns=NAMES, dtype=object)


def in_turn(rows):
    """Columns of every type in one frame."""
    frame = pd.DataFrame(rows, columns=NAMES).astype({"a": "Int64", "b": "float32", "c": object})
    return frame.assign(d=[Decimal(v) for v in rows[:, 3].tolist()], index=0).drop(columns="index")


CONTAINERS = {
    "integers": np.asarray,
    "floats": lambda rows: rows.astype(float),
    "int8": np.int8,
    "Fortran": lambda rows: np.asfortranarray(rows, dtype=float),
    "strided": lambda rows: np.repeat(np.repeat(rows, 2, axis=0), 3, axis=1).astype(float)[::2, ::3],
    "backwards": lambda rows: rows[::-1, ::-1].astype(float).copy()[::-1, ::-1],
    "other byte order": lambda rows: rows.astype(">f8"),
    "read-only": read_only,
    "objects": lambda rows: rows.astype(object),
    "Decimal": lambda rows: np.array([[Decimal(v) for v in row] for row in rows.tolist()]),
    "masked nowhere": lambda rows: np.ma.masked_equal(rows, 99),
    "list of lists": lambda rows: rows.tolist(),
    "tuple of tuples": lambda rows: tuple(map(tuple, rows.tolist())),
    "list of arrays": list,
    "pandas": lambda rows: pd.DataFrame(rows, columns=NAMES),
    "pandas, another index": lambda rows: pd.DataFrame(rows, columns=NAMES, index=np.arange(len(rows)) * 7 + 100),
    "pandas, numbered columns": pd.DataFrame,
    "pandas, objects": lambda rows: objects(rows, int),
    "pandas, Decimal": lambda rows: objects(rows, Decimal),
    "pandas, Fraction": lambda rows: objects(rows, Fraction),
    "pandas, nullable": lambda rows: pd.DataFrame(rows, columns=NAMES).astype("Int64"),
    "pandas, Float64": lambda rows: pd.DataFrame(rows, columns=NAMES).astype("Float64"),
    "pandas, sparse": lambda rows: pd.DataFrame(rows, columns=NAMES).astype(pd.SparseDtype(float, 0.0)),
    "pandas, in turn": in_turn,
    "polars": lambda rows: pl.DataFrame(rows, schema=NAMES),
    "polars, Decimal": lambda rows: pl.DataFrame(rows, schema=NAMES).cast(pl.Decimal(10, 2)),
    "polars, objects": lambda rows: pl.DataFrame(
        {
            name: pl.Series([Decimal(v) for v in column], dtype=pl.Object)
            for name, column in zip(NAMES, rows.T.tolist(), strict=True)
        }
    ),
    "tensor": lambda rows: pytest.importorskip("torch").tensor(rows, dtype=pytest.importorskip("torch").float64),
    "tensor that requires grad": lambda rows: pytest.importorskip("torch").tensor(rows.astype(float)).requires_grad_(),
}


def weigher(**params):
    return lambda X, y, X_meta, y_meta: ot_sample_weight(X, y, X_meta, y_meta, **params)


def streamed(X, y, X_meta, y_meta):
    w = OTSampleWeighter().partial_fit(X, y, X_meta, y_meta)
    return w.weigh(X, y)


def weighed(X, y, X_meta, y_meta):
    w = OTSampleWeighter().fit(X, y, X_meta, y_meta)
    assert_allclose(w.transport_plan(X, y).sum(axis=1) * len(y), w.sample_weight_, rtol=1e-9)
    return w.weigh(X, y)


def classified(X, y, X_meta, y_meta):
    clf = OTWeightedClassifier().fit(X, y, X_meta=X_meta, y_meta=y_meta)
    return np.r_[clf.sample_weight_, clf.sample_weight_meta_]


def drawn(X, y, X_meta, y_meta):
    sampler = OTResampler(meta=(X_meta, y_meta), random_state=0)
    sampler.fit_resample(X, y)
    return np.r_[sampler.sample_weight_, sampler.sample_weight_meta_]


ENTRIES = {
    "ot_sample_weight": weigher(),
    "no embedding": weigher(embedding=None),
    "sqeuclidean": weigher(embedding=None, metric="sqeuclidean"),
    "cityblock": weigher(metric="cityblock"),
    "weigh": weighed,
    "partial_fit": streamed,
    "classifier": classified,
    "resampler": drawn,
}


@pytest.fixture(scope="module")
def expected():
    return {name: entry(X.astype(float), Y, X_META.astype(float), Y_META) for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("convert", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("name", ENTRIES)
def test_the_same_numbers_have_the_same_weights(name, convert, expected):
    sets = convert(X), Y, convert(X_META), Y_META
    if name == "classifier" and isinstance(sets[0], pl.DataFrame) and pl.Object in sets[0].dtypes:
        pytest.skip("scikit-learn takes no such frame")
    assert_allclose(ENTRIES[name](*sets), expected[name], rtol=1e-6 if "float32" in str(sets[0]) else 1e-9)


# ------------------------------------------------------------------------------------------------
# One container beside another


def frame(rows):
    return pd.DataFrame(rows, columns=NAMES)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize(
    ("convert", "convert_meta"),
    [
        (np.asarray, frame),
        (np.asarray, lambda rows: pl.DataFrame(rows, schema=NAMES)),
        (np.asarray, lambda rows: rows.tolist()),
        (lambda rows: rows.tolist(), np.asarray),
        (np.asarray, sparse.csr_array),
        (np.asarray, sparse.coo_matrix),
        (frame, lambda rows: frame(rows)[["c", "a", "d", "b"]]),
        (pd.DataFrame, lambda rows: pd.DataFrame(rows)[[2, 0, 3, 1]]),
        (
            lambda rows: pl.DataFrame(rows, schema=NAMES),
            lambda rows: pl.DataFrame(rows, schema=NAMES)[["c", "a", "d", "b"]],
        ),
        (frame, lambda rows: objects(rows, Decimal)),
        (lambda rows: objects(rows, Decimal), frame),
        (frame, lambda rows: pl.DataFrame(rows, schema=NAMES)),
        (np.asarray, lambda rows: pytest.importorskip("torch").tensor(rows)),
    ],
)
def test_the_meta_set_may_come_in_another_container(name, convert, convert_meta, expected):
    assert_allclose(ENTRIES[name](convert(X), Y, convert_meta(X_META), Y_META), expected[name], rtol=1e-9)


SPARSE = {
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "coo_array": sparse.coo_array,
    "lil_matrix": sparse.lil_matrix,
    "dense": np.asarray,
    "list": lambda rows: rows.tolist(),
    "pandas": frame,
}


@pytest.mark.parametrize("convert", SPARSE.values(), ids=SPARSE)
def test_sparse_rows_beside_any_meta_rows(convert):
    rows, meta = sparse.csr_array(X), convert(X_META)
    for name in ("ot_sample_weight", "partial_fit", "weigh", "classifier", "resampler"):
        if convert is frame:
            with pytest.raises(ValueError, match="X is of type csr_array and X_meta is a data frame"):
                ENTRIES[name](rows, Y, meta, Y_META)
            continue
        expected = ENTRIES[name](rows, Y, sparse.csr_array(X_META), Y_META)
        assert_allclose(ENTRIES[name](rows, Y, meta, Y_META), expected, rtol=1e-12)


@pytest.mark.parametrize("embedding", ["scale", None, MaxAbsScaler()])
@pytest.mark.parametrize("first", [sparse.csr_array, np.asarray])
@pytest.mark.parametrize("later", [sparse.csc_matrix, np.asarray, lambda rows: rows.tolist(), frame])
def test_later_rows_may_come_in_another_container(embedding, first, later):
    w = OTSampleWeighter(embedding=embedding).fit(first(X), Y, first(X_META), Y_META)
    assert_allclose(w.weigh(later(X), Y), w.sample_weight_, rtol=1e-12)
    stream = OTSampleWeighter(embedding=embedding).partial_fit(first(X[:30]), Y[:30], first(X_META), Y_META)
    stream.partial_fit(later(X[30:]), Y[30:])
    same = OTSampleWeighter(embedding=embedding).partial_fit(first(X[:30]), Y[:30], first(X_META), Y_META)
    assert_allclose(stream.weigh(first(X), Y), same.partial_fit(first(X[30:]), Y[30:]).weigh(first(X), Y), rtol=1e-12)


def test_later_frames_may_have_their_columns_in_another_order():
    for embedding in ("scale", None, StandardScaler()):
        w = OTSampleWeighter(embedding=embedding).fit(frame(X), Y, frame(X_META), Y_META)
        assert_array_equal(w.weigh(frame(X)[["d", "b", "a", "c"]], Y), w.weigh(frame(X), Y))
        with pytest.raises(ValueError, match=r"X lacks \['b'\] and has \['e'\] that they lack"):
            w.weigh(frame(X).rename(columns={"b": "e"}), Y)


def test_the_classifier_aligns_columns_for_its_estimator():
    sets = {"X_meta": frame(X_META)[["c", "a", "d", "b"]], "y_meta": Y_META}
    clf = OTWeightedClassifier().fit(frame(X), Y, **sets)
    direct = OTWeightedClassifier().fit(X, Y, X_meta=X_META, y_meta=Y_META)
    assert_allclose(clf.estimator_.coef_, direct.estimator_.coef_, rtol=1e-6)


@pytest.mark.parametrize(
    ("convert", "convert_meta"),
    [
        (lambda rows: rows.tolist(), np.asarray),
        (np.asarray, sparse.csr_array),
        (frame, lambda rows: frame(rows)[["c", "a", "d", "b"]]),
        (lambda rows: objects(rows, Decimal), frame),
    ],
)
def test_models_of_the_labels_take_rows_of_any_container(convert, convert_meta):
    weigh = weigher(embedding="supervised", prior="confidence")
    expected = weigh(X, Y, X_META, Y_META)
    assert_allclose(weigh(convert(X), Y, convert_meta(X_META), Y_META), expected, rtol=1e-6)


def test_columns_of_the_same_name_are_refused():
    twice = pd.DataFrame(X, columns=list("aabb"))
    for entry in ENTRIES.values():
        with pytest.raises(ValueError, match=r"several columns of the same name: 'a', 'b'\. Give every"):
            entry(twice, Y, pd.DataFrame(X_META, columns=list("aabb")), Y_META)


# ------------------------------------------------------------------------------------------------
# What users set scikit-learn to put out


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_output_settings_are_not_for_what_is_inside(output, expected):
    mixed = frame(X).assign(e=np.where(Y, "p", "q")), frame(X_META).assign(e=np.where(Y_META, "p", "q"))
    sets = mixed[0], Y, mixed[1], Y_META
    plain = ot_sample_weight(*sets)
    with sklearn.config_context(transform_output=output):
        assert_array_equal(ot_sample_weight(*sets), plain)
        assert_allclose(classified(frame(X), Y, frame(X_META), Y_META), expected["classifier"], rtol=1e-9)
        assert_allclose(weigher(embedding=StandardScaler())(X, Y, X_META, Y_META), expected["ot_sample_weight"])


# ------------------------------------------------------------------------------------------------
# Records


TEXTS = [f"w{i % 5} w{i % 7} w{i % 3}" for i in range(60)]
TEXTS_META = [f"w{i % 3} w{i % 4} v{i}" for i in range(12)]
RECORDS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "objects": lambda texts: np.array(texts, dtype=object),
    "series": lambda texts: pd.Series(texts, index=np.arange(len(texts)) + 40),
    "text series": lambda texts: pd.Series(texts, dtype="string", index=[f"row {i}" for i in range(len(texts))]),
    "polars": pl.Series,
    "bytes": lambda texts: [text.encode() for text in texts],
}


@pytest.mark.parametrize("convert", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("convert_meta", [list, lambda texts: pd.Series(texts, index=np.arange(len(texts)) + 5)])
def test_texts_in_any_container(convert, convert_meta):
    weighter = OTSampleWeighter(embedding=TfidfVectorizer())
    expected = weighter.fit_weights(TEXTS, Y, TEXTS_META, Y_META)
    assert_array_equal(weighter.fit_weights(convert(TEXTS), Y, convert_meta(TEXTS_META), Y_META), expected)
    assert_array_equal(weighter.fit_weights(convert(TEXTS), Y, convert(TEXTS_META), Y_META), expected)
    assert_allclose(weighter.weigh(convert(TEXTS), Y), expected, rtol=1e-9)
    model = make_pipeline(CountVectorizer(), LogisticRegression())
    clf = OTWeightedClassifier(model, weighter=weighter)
    clf.fit(convert(TEXTS), Y, X_meta=convert(TEXTS_META), y_meta=Y_META)
    assert_allclose(clf.weighter_.sample_weight_, expected, rtol=1e-12)
    assert len(clf.sample_weight_meta_) == 12


def test_records_and_token_lists():
    records, meta = ([dict(zip("abcd", row, strict=True)) for row in rows.tolist()] for rows in (X, X_META))
    expected = weigher(embedding=None)(X, Y, X_META, Y_META)
    weighter = OTSampleWeighter(embedding=DictVectorizer())
    assert_allclose(weighter.fit_weights(records, Y, meta, Y_META), expected, rtol=1e-9)
    model = make_pipeline(DictVectorizer(), LogisticRegression())
    clf = OTWeightedClassifier(model, weighter=weighter).fit(records, Y, X_meta=meta, y_meta=Y_META)
    assert_allclose(clf.weighter_.sample_weight_, expected, rtol=1e-9)
    tokens, tokens_meta = ([text.split()[: 1 + i % 3] for i, text in enumerate(texts)] for texts in (TEXTS, TEXTS_META))
    joined = [[" ".join(row) for row in rows] for rows in (tokens, tokens_meta)]
    split = OTSampleWeighter(embedding=CountVectorizer(analyzer=lambda row: row))
    whole = OTSampleWeighter(embedding=CountVectorizer())
    assert_array_equal(
        split.fit_weights(tokens, Y, tokens_meta, Y_META), whole.fit_weights(joined[0], Y, joined[1], Y_META)
    )


def test_a_frame_with_a_column_of_lists_goes_to_its_own_embedding():
    def stack(rows):
        return np.array(rows["l"].tolist())

    sets = [pd.DataFrame({"l": rows.tolist()}) for rows in (X, X_META)]
    expected = weigher(embedding=None)(X, Y, X_META, Y_META)
    embedding = FunctionTransformer(stack)
    clf = OTWeightedClassifier(
        make_pipeline(embedding, LogisticRegression()), weighter=OTSampleWeighter(embedding=embedding)
    )
    clf.fit(sets[0], Y, X_meta=sets[1], y_meta=Y_META)
    assert_allclose(clf.weighter_.sample_weight_, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="Column 'l' holds lists or records, which the default embedding cannot place"):
        ot_sample_weight(sets[0], Y, sets[1], Y_META)


# ------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize("embedding", ["scale", None])
@pytest.mark.parametrize(
    ("convert", "match"),
    [
        (lambda rows: [str(row) for row in rows], r"X holds texts.*Pass embedding=.*such as TfidfVectorizer\(\)"),
        (lambda rows: pd.Series([str(row) for row in rows]), r"X holds texts.*TfidfVectorizer\(\)"),
        (lambda rows: [str(row).encode() for row in rows], r"X holds texts.*TfidfVectorizer\(\)"),
        (lambda rows: [{"a": 1} for _ in rows], r"X holds records.*DictVectorizer\(\)"),
        (lambda rows: [[1] * (1 + i % 2) for i, _ in enumerate(rows)], r"X holds rows of type list.*Pass embedding="),
        (lambda rows: [[1.0, "p"] for _ in rows], "X holds 'p' in row 0, which is no number.*Pass a data frame"),
        (lambda rows: np.array([[1.0, pd.NA]] * len(rows), dtype=object), "X contains NaN, first in row 0, column 1"),
        (lambda rows: np.ma.masked_equal(rows, rows[0, 2]), "X contains NaN, first in row 0"),
        (lambda rows: np.full((len(rows), 2), np.datetime64("2020-01-01")), "X holds dates or durations. Turn them"),
        (lambda rows: np.full((len(rows), 2), np.timedelta64(5, "D")), "X holds dates or durations. Turn them"),
        (lambda rows: rows * 1j, "Complex data not supported"),
    ],
)
def test_rows_that_are_no_numbers_are_refused(embedding, convert, match):
    with pytest.raises(ValueError, match=match):
        OTSampleWeighter(embedding=embedding).fit(convert(X), Y, convert(X_META), Y_META)


def test_an_index_in_another_order_is_refused():
    index = np.arange(60) + 5
    rows, labels = frame(X).set_axis(index), pd.Series(Y, index=index[::-1])
    meta, meta_labels = frame(X_META), pd.Series(Y_META, index=np.arange(12)[::-1])
    for entry in ENTRIES.values():
        with pytest.raises(ValueError, match=r"X and y have the same index in another order.*y = y.loc\[X.index\]"):
            entry(rows, labels, frame(X_META), Y_META)
        with pytest.raises(ValueError, match="X_meta and y_meta have the same index in another order"):
            entry(rows, Y, meta, meta_labels)
    w = OTSampleWeighter().fit(rows, Y, meta, Y_META)
    with pytest.raises(ValueError, match="X and y have the same index"):
        w.weigh(rows, labels)
    with pytest.raises(ValueError, match="X and sample_weight have the same index"):
        OTSampleWeighter().fit(rows, Y, meta, Y_META, sample_weight=labels + 1)
    with pytest.raises(ValueError, match="X and y have the same index"):
        OTWeightedRegressor().fit(rows, labels * 0.5, X_meta=meta, y_meta=Y_META * 0.5)
    assert_array_equal(w.weigh(rows, labels.set_axis(index)), w.weigh(rows, Y))


def test_the_row_that_is_not_finite_is_counted_among_all_rows():
    bad = X.astype(float)
    bad[7, 2] = np.inf
    sample_weight = np.r_[np.zeros(5), np.ones(55)]
    with pytest.raises(ValueError, match="X contains infinity, first in row 7, column 2"):
        OTSampleWeighter().fit(bad, Y, X_META, Y_META, sample_weight=sample_weight)
    with pytest.raises(ValueError, match="X contains infinity, first in row 7, column 2"):
        OTSampleWeighter().fit(sparse.csr_array(bad), Y, X_META, Y_META, sample_weight=sample_weight)
    with pytest.raises(ValueError, match=r"Column 'c' contains infinity, first in row 7\. No imputer"):
        OTSampleWeighter().fit(frame(bad), Y, frame(X_META), Y_META)
    w = OTSampleWeighter().fit(X, Y, X_META, Y_META)
    with pytest.raises(ValueError, match="X contains infinity, first in row 7, column 2"):
        w.weigh(bad, Y, sample_weight=sample_weight)
    broken = FunctionTransformer(lambda rows: rows / np.float64(0))
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(ValueError, match="X after the embedding contains"),
    ):
        OTSampleWeighter(embedding=broken).fit(X, Y, X_META, Y_META)
