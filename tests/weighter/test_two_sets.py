"""What looks wrong about a meta set beside its training set: told once, by every entry point, at little cost."""

import time
import warnings
from contextlib import contextmanager
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from skotw import OTResampler, OTSampleWeighter, OTWeightedClassifier, ot_sample_weight
from skotw._weighter.row_keys import hash_numbers, hash_sparse
from skotw._weighter.two_sets import _is_among, warn_far, warn_repeated

rng = np.random.default_rng(0)
X, X_META = rng.normal(size=(60, 3)), rng.normal(size=(12, 3))
Y, Y_META = np.arange(60) % 3, np.arange(12) % 3
BOTH = np.r_[X_META[:10], X[[3, 17]]]  # two meta rows are training rows


@contextmanager
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


ENTRIES = {
    "fit": lambda *sets: OTSampleWeighter().fit(*sets),
    "partial_fit": lambda *sets: OTSampleWeighter().partial_fit(*sets),
    "ot_sample_weight": ot_sample_weight,
    "classifier": lambda X, y, *meta: OTWeightedClassifier().fit(X, y, X_meta=meta[0], y_meta=meta[1]),
    "trusted rows apart": lambda X, y, *meta: OTWeightedClassifier(include_meta=False).fit(
        X, y, X_meta=meta[0], y_meta=meta[1]
    ),
    "resampler": lambda X, y, *meta: OTResampler(meta=meta).fit_resample(X, y),
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_entry_point_tells_once(entry):
    with pytest.warns(UserWarning, match="2 of 12 trusted rows are also training rows") as caught:
        entry(X, Y, BOTH, Y_META)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"far outside the range.*skotw.make_weighted_pipeline.*By hand") as caught:
        entry(X, Y, 40 + 10 * X_META, Y_META)
    assert len(caught) == 1
    with silence():
        entry(X, Y, X_META, Y_META)
    with pytest.raises(ValueError, match=r"X_meta has 2 features and X has 3\. The trusted rows must go through"):
        entry(X, Y, X_META[:, :2], Y_META)
    with pytest.raises(ValueError, match="X is a data frame and X_meta is of type ndarray"):
        entry(pd.DataFrame(X), Y, X_META, Y_META)


def test_features_alone_are_compared_too():
    with pytest.warns(UserWarning, match="2 of 12 trusted rows"):
        OTSampleWeighter().fit(X, X_meta=BOTH)
    costs = rng.uniform(size=(60, 12))  # these are no rows
    with silence():
        OTSampleWeighter(metric="precomputed").fit(costs, Y, costs[:12], Y_META)


def test_later_chunks_are_not_compared():
    weighter = OTSampleWeighter().partial_fit(X[:30], Y[:30], X_META, Y_META)
    with silence():
        weighter.partial_fit(np.r_[X[30:], X_META[:2]], np.r_[Y[30:], Y_META[:2]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [5, 20, 50])
def test_meta_rows_from_the_same_place_are_not_suspected(seed, n):
    generator = np.random.default_rng(seed)
    draw = {
        "normal": lambda size: generator.normal(size=size),
        "lognormal": lambda size: generator.lognormal(size=size),
        "counts": lambda size: generator.poisson(1.0, size).astype(float),
        "constant": lambda size: np.ones(size),
    }
    with silence():
        for sample in draw.values():
            warn_far(sample((n, 6)), sample((10, 6)))
        holes = draw["normal"]((n, 6))
        holes[::2, 0] = np.nan
        warn_far(holes, holes[:4])


def test_a_rare_class_that_lies_apart_belongs_to_the_range():
    """Though few rows would do for that of the others."""
    apart, rows = rng.normal(size=(14, 3)) + 30, rng.normal(size=(9_000, 3))
    rows[1::2000] = apart[:5]
    with silence():
        warn_far(rows, apart[5:])
        warn_far(pd.DataFrame(rows), pd.DataFrame(apart[5:]))
    with pytest.warns(UserWarning, match="100% of the numbers of the trusted rows lie far"):
        warn_far(rows, 100 * apart[5:])


def test_other_containers_are_not_looked_into():
    with silence():
        warn_far(sparse.csr_array(X), sparse.csr_array(100 * X_META))
        warn_far(["a"] * 9, ["b"])
        warn_far(X[:2], 100 * X_META)  # too few rows for a range


CONTAINERS = {
    "array": np.asarray,
    "float32": np.float32,
    "Fortran": np.asfortranarray,
    "list": lambda rows: rows.tolist(),
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "pandas": lambda rows: pd.DataFrame(rows, columns=list("abc")),
    "objects": lambda rows: pd.DataFrame(rows, columns=list("abc"), dtype=object),
    "polars": lambda rows: pl.DataFrame(rows, schema=list("abc")),
    "text": lambda rows: pd.DataFrame(rows.astype(str), columns=list("abc")),
    "number and text": lambda rows: pl.DataFrame({"a": rows[:, 0], "b": rows[:, 1].astype(str)}),
    "texts": lambda rows: [str(row) for row in rows],
    "texts in a series": lambda rows: pd.Series([str(row) for row in rows], index=np.arange(len(rows)) + 5),
}


@pytest.mark.parametrize("convert", CONTAINERS.values(), ids=CONTAINERS)
def test_repeated_rows_are_found_in_every_container(convert):
    with pytest.warns(UserWarning, match=r"2 of 12 trusted rows are also training rows.*Take them out of X"):
        warn_repeated(convert(X), convert(BOTH))
    with silence():
        warn_repeated(convert(X), convert(X_META))


def test_repeated_rows_are_found_across_containers():
    for rows, meta in (
        (sparse.csr_array(X), BOTH),
        (X, sparse.csr_array(BOTH)),
        (X, pd.DataFrame(BOTH)),
        (np.float32(X), BOTH),
        (pd.DataFrame(X, columns=list("abc")), pd.DataFrame(BOTH, columns=list("abc"))[["c", "a", "b"]]),
        (pd.DataFrame(np.float32(X)), pd.DataFrame(BOTH)),
    ):
        with pytest.warns(UserWarning, match="2 of 12"):
            warn_repeated(rows, meta)


def test_zeros_and_missing_values_are_alike():
    rows = np.c_[X, np.zeros(60), np.full(60, np.nan)]
    meta = np.c_[BOTH, np.full(12, -0.0), np.full(12, np.nan)]
    for convert in (np.asarray, pd.DataFrame):
        with pytest.warns(UserWarning, match="2 of 12"):
            warn_repeated(convert(rows), convert(meta))


def test_sparse_rows_are_alike_however_they_are_stored():
    plain = sparse.csr_array(np.r_[[[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]], X])
    stored = sparse.csr_array(
        (np.array([2.0, 0.5, 0.5, 3.0, 0.0]), np.array([1, 0, 0, 2, 1]), np.array([0, 3, 5])), shape=(2, 3)
    )
    with pytest.warns(UserWarning, match="2 of 2"):
        warn_repeated(plain, stored)


def test_rows_of_small_whole_numbers_are_told_apart():
    rows = np.array(list(product(range(8), repeat=4)), dtype=float)  # few bits of a float differ
    dense, by_entry = hash_numbers(rows), hash_sparse(sparse.csr_array(rows))
    assert len(np.unique(dense)) == len(rows)
    np.testing.assert_array_equal(by_entry, dense)


def test_one_row_in_common_may_be_chance():
    rows, meta = np.abs(X) + 1.0, np.abs(X_META) + 1.0
    rows[0] = meta[0] = 0.0  # as features behind a rectifier are
    with silence():
        warn_repeated(rows, meta)


def test_rows_that_are_alike_by_chance_are_not_suspected():
    once_in_ten = np.r_[np.repeat(np.arange(12.0), 10), np.arange(100.0, 1180.0)][:, None]
    new = np.arange(2000.0, 2098.0)[:, None]
    for convert in (np.asarray, lambda rows: pd.DataFrame(rows), lambda rows: pd.DataFrame(rows.astype(str))):
        with silence():
            warn_repeated(convert(X > 0), convert(X_META > 0))  # eight distinct rows at most
        with silence():
            warn_repeated(convert(once_in_ten), convert(np.r_[[[0.0], [1.0]], new]))
        with pytest.warns(UserWarning, match="80 of 100 trusted rows"):
            warn_repeated(convert(once_in_ten), convert(np.r_[once_in_ten[-80:], new[:20]]))


def test_rows_that_nothing_is_known_of_are_let_be():
    with silence():
        warn_repeated([{"a": 1}, {"a": 2}], [{"a": 1}])
    with silence():
        warn_repeated([["a"], ["a", "b"]], [["a"]])
    with silence():
        warn_repeated(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]}))
    with silence():
        warn_repeated(np.zeros((3, 2, 2)), np.zeros((3, 2, 2)))
    frame = pd.DataFrame({"a": np.arange(30.0), "l": [[i, i + 1] for i in range(30)]})
    with pytest.warns(UserWarning, match="3 of 3"):  # columns of lists have their words
        warn_repeated(frame, frame[:3])


def test_a_look_at_many_rows_is_cheap():
    many, few = rng.normal(size=(50_000, 50)), rng.normal(size=(100, 50))
    for convert in (np.asarray, lambda rows: pd.DataFrame(rows)):
        rows, meta = convert(many), convert(few)
        times = []
        for _ in range(3):
            start = time.process_time()
            warn_far(rows, meta)
            warn_repeated(rows, meta)
            times.append(time.process_time() - start)
        assert min(times) < 0.25  # some milliseconds for arrays on a machine at rest


KINDS = ["float16", "float32", "float64", "longdouble", "int8", "uint16", "int64", "bool"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["same", "float64"])
def test_values_among_others_are_found_whatever_their_type(kind, other):
    rng = np.random.default_rng(0)
    values = np.round(rng.standard_normal(3000) * 40).clip(0, 120).astype(kind)
    known = np.sort(values[:30]).astype(kind if other == "same" else "float64")
    if np.dtype(kind).kind == "f":
        values[::7], values[1::7], known[:1] = np.nan, -0.0, 0.0
        known[-2:] = np.nan
    expected = np.isin(values, known) | ((values != values) & (known[-1] != known[-1]))
    np.testing.assert_array_equal(_is_among(values, known), expected)
    assert expected.any()
    assert not expected.all() or kind == "bool"
