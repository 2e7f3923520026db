"""skotw.dask: chunks give the weights of all rows in memory, whatever happens to chunks and workers."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError

from skotw import OTSampleWeighter
from skotw.datasets import flip_labels

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

from skotw import dask as skotw_dask  # noqa: E402 (needs dask)
from skotw.dask import DaskSampleWeighter  # noqa: E402

SETTLED = {"embedding": None, "cost_scale": 0.8, "reg": 0.1}


@pytest.fixture(autouse=True)
def one_thread():
    """No thread pool for chunks of a hundred rows; a cluster has its own scheduler."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def sets():
    X, y = make_classification(460, 6, n_informative=4, n_classes=3, weights=[0.7, 0.2], random_state=0)
    return X[:400], flip_labels(y[:400], 0.2, random_state=0), X[400:], y[400:]


def chunked(*arrays, chunk=90):
    return tuple(None if a is None else da.from_array(a, chunks=(chunk, *a.shape[1:])) for a in arrays)


def of_chunks(sets, *, weight=None, sample_size=100, **params):
    """A fitted weighter of chunks; the sample is a quarter of the rows."""
    X, y, X_meta, y_meta = sets
    weighter = DaskSampleWeighter(OTSampleWeighter(**params), sample_size=sample_size, random_state=0)
    X, y, weight = chunked(X, y, weight)
    return weighter.fit(X, y, X_meta, y_meta, sample_weight=weight)


def frames(X, y=None):
    """A frame of numbers and text."""
    frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    frame["kind"] = np.where(X[:, 0] > 0.5, "up", "down")
    frame.loc[::7, "x1"] = np.nan
    return frame if y is None else frame.assign(y=y)


# ------------------------------------------------------------------------------------------------
# The weights of all rows


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"prior": "uniform"},
        {"class_mass": "meta"},
        {"class_mass": {0: 1.0, 1: 2.0, 2: 4.0}},
        {"label_cost": "hard"},
        {"label_weight": 0.0},
        {"label_weight": 1.0},
        {"metric": "euclidean"},
        {"metric": "cityblock"},
        {"n_prototypes": 1},
        {"n_jobs": 2},
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_get_the_weights_of_all_rows_at_once(sets, params, weighted):
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, 400).astype(float) if weighted else None
    if weighted:
        weight[90:180] = 0.0  # a whole chunk
    found = of_chunks(sets, weight=weight, **SETTLED | params)
    whole = OTSampleWeighter(**SETTLED | params).fit(*sets, sample_weight=weight)
    w = found.sample_weight_
    assert w.chunks == ((90, 90, 90, 90, 40),)
    assert_allclose(w.compute(), whole.sample_weight_, rtol=1e-12)
    assert_allclose(found.weighter_.potentials_, whole.potentials_, rtol=1e-12)
    assert_allclose(found.weighter_.objective_, whole.objective_, rtol=1e-12)
    assert_allclose(found.weighter_.class_mass_, whole.class_mass_)
    assert_array_equal(found.weighter_.classes_, whole.classes_)


@pytest.mark.parametrize("kind", ["none", "continuous", "columns", "text", "float32", "sparse", "precomputed"])
def test_any_kind_of_rows_and_labels(sets, kind):
    X, y, X_meta, y_meta = sets
    params, rtol = dict(SETTLED), 1e-12
    if kind == "none":
        y = y_meta = None
    elif kind == "continuous":
        y, y_meta = y + X[:, 1], y_meta + X_meta[:, 1]
    elif kind == "columns":
        y, y_meta = (np.stack([z > 0, rows[:, 0] > 0], axis=1).astype(int) for z, rows in ((y, X), (y_meta, X_meta)))
    elif kind == "text":
        y, y_meta = (np.array(["low", "mid", "high"])[labels] for labels in (y, y_meta))
    elif kind == "float32":
        X, X_meta, rtol = X.astype(np.float32), X_meta.astype(np.float32), 1e-6
    elif kind == "precomputed":
        from sklearn.metrics import pairwise_distances

        X, X_meta = pairwise_distances(X, X_meta), None
        del params["embedding"]
        params["metric"] = "precomputed"
    size = 1000 if kind == "continuous" else 100  # the unit of its label cost comes from the sample
    dX, dy = chunked(X, y)
    if kind == "sparse":
        dX = dX.map_blocks(sparse.csr_array)
        X, X_meta = sparse.csr_array(X), sparse.csr_array(X_meta)
    found = DaskSampleWeighter(OTSampleWeighter(**params), sample_size=size, random_state=0)
    w = found.fit(dX, dy, X_meta, y_meta).sample_weight_
    expected = OTSampleWeighter(**params).fit(X, y, X_meta, y_meta).sample_weight_
    assert w.dtype == expected.dtype
    assert w.compute().dtype == expected.dtype
    assert_allclose(w.compute(), expected, rtol=rtol)


@pytest.mark.parametrize("params", [{}, {"metric": "seuclidean"}, {"reg": 0.2, "prior": "uniform"}])
def test_a_sample_of_all_rows_settles_what_fit_does(sets, params):
    found = of_chunks(sets, sample_size=1000, **params)
    whole = OTSampleWeighter(**params).fit(*sets)
    assert_allclose(found.sample_weight_.compute(), whole.sample_weight_, rtol=1e-12)
    for name in ("reg_", "cost_scale_"):
        assert_allclose(getattr(found.weighter_, name), getattr(whole, name), rtol=1e-12)
    for name in ("overall", "overall_se", "precision"):
        found_part, part = (getattr(w.label_reliability_, name) for w in (found.weighter_, whole))
        assert_allclose(found_part, part, rtol=1e-9)


def test_a_sample_settles_nearly_what_all_rows_do():
    X, y = make_classification(4060, 6, n_informative=4, weights=[0.85], random_state=0)
    sets = X[:4000], flip_labels(y[:4000], 0.1, random_state=0), X[4000:], y[4000:]
    found, whole = of_chunks(sets, sample_size=1000).weighter_, OTSampleWeighter().fit(*sets)
    assert_allclose(found.reg_, whole.reg_, rtol=0.3)
    assert_allclose(found.cost_scale_, whole.cost_scale_, rtol=0.02)
    assert abs(found.label_reliability_.overall - whole.label_reliability_.overall) < 0.1


@pytest.mark.parametrize("known", [True, False])
def test_mixed_frames_give_a_series_that_fits_into_them(sets, known):
    X, y, X_meta, y_meta = sets
    frame, meta = frames(X, y).set_index(np.arange(400) * 3 + 7), frames(X_meta)
    chunks = dd.from_pandas(frame, npartitions=5)
    if not known:
        chunks = chunks.clear_divisions()
    rows = chunks.drop(columns="y")
    w = DaskSampleWeighter(random_state=0).fit(rows, chunks["y"], meta, y_meta).sample_weight_
    expected = OTSampleWeighter().fit(frame.drop(columns="y"), frame["y"], meta, y_meta).sample_weight_
    assert isinstance(w, dd.Series)
    assert w.name == "sample_weight"
    assert w.divisions == rows.divisions
    joined = chunks.assign(w=w).compute().sort_index()  # dask shuffles where it knows no divisions
    assert_array_equal(joined.index, frame.index)
    assert_allclose(joined["w"], expected, rtol=1e-12)


def test_categories_that_partitions_have_by_themselves_unite(sets):
    X, y, X_meta, y_meta = sets
    order = np.argsort(X[:, 0])
    frame = frames(X[order], y[order])
    parts = [frame[:200].copy(), frame[200:].copy()]
    for part in parts:
        part["kind"] = part["kind"].astype("category")  # the first part has one category
    chunks = dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[1].iloc[:0], verify_meta=False)
    w = DaskSampleWeighter().fit(chunks.drop(columns="y"), chunks["y"], frames(X_meta), y_meta).sample_weight_
    expected = OTSampleWeighter().fit(frame.drop(columns="y"), y[order], frames(X_meta), y_meta).sample_weight_
    assert_allclose(w.compute(), expected, rtol=1e-12)


def test_other_rows_are_weighed_lazily_as_in_memory(sets):
    _, _, X_meta, y_meta = sets
    found = of_chunks(sets)
    weight = np.arange(60.0)
    dX, dy, dw = chunked(X_meta, y_meta, weight, chunk=25)
    w = found.weigh(dX, dy, sample_weight=dw)
    assert w.chunks == ((25, 25, 10),)
    assert_allclose(w.compute(), found.weighter_.weigh(X_meta, y_meta, sample_weight=weight), rtol=1e-12)


def test_weights_wait_until_they_are_asked_for(sets):
    X, y, X_meta, y_meta = sets
    reads = []

    def read(block):
        reads.append(len(block))
        return block

    X, y = chunked(X, y)
    X = X.map_blocks(read, meta=np.empty((0, 0)))
    found = DaskSampleWeighter(OTSampleWeighter(**SETTLED)).fit(X, y, X_meta, y_meta)
    assert len(reads) == 10  # the sample, and what is learned
    found.sample_weight_[:90].sum().compute()
    assert len(reads) == 11


def test_only_sums_per_class_and_column_travel(sets, monkeypatch):
    sent = []
    merge = skotw_dask._merge
    monkeypatch.setattr(skotw_dask, "_merge", lambda parts: sent.append(parts) or merge(parts))
    of_chunks(sets, **SETTLED)
    ((part, *_),) = sent
    assert [array.shape for array in part] == [(3,), (3, 60)]


def test_progress_is_shown_by_dask(sets, capsys):
    from dask.diagnostics import ProgressBar

    with ProgressBar(minimum=0):
        of_chunks(sets, **SETTLED)
    assert "100% Completed" in capsys.readouterr().out


def test_it_is_an_estimator(sets):
    weighter = DaskSampleWeighter(OTSampleWeighter(), sample_size=77)
    assert clone(weighter.set_params(weighter__reg=0.3)).get_params()["weighter__reg"] == 0.3
    found = of_chunks(sets)
    assert not hasattr(found.weighter, "classes_")  # a clone has learned
    again = pickle.loads(pickle.dumps(found))
    assert_array_equal(again.sample_weight_.compute(), found.sample_weight_.compute())
    assert_array_equal(of_chunks(sets).sample_weight_.compute(), found.sample_weight_.compute())


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # dask's reader, of pandas 3.1
def test_partitions_of_files_pair_whichever_columns_are_read(sets, tmp_path):
    """dask reads few columns of several files at once, and must do so for rows and labels alike."""
    X, y, X_meta, y_meta = sets
    frame = frames(X, y).assign(weight=np.arange(400.0))
    for number, part in enumerate(np.array_split(np.arange(400), 7)):
        frame.iloc[part].to_parquet(tmp_path / f"{number}.parquet", index=False)
    chunks = dd.read_parquet(tmp_path)
    found = DaskSampleWeighter().fit(
        chunks[["x0", "kind"]], chunks["y"], frames(X_meta)[["x0", "kind"]], y_meta, sample_weight=chunks["weight"]
    )
    assert found.sample_weight_.npartitions == 7
    expected = OTSampleWeighter().fit(
        frame[["x0", "kind"]], y, frames(X_meta)[["x0", "kind"]], y_meta, sample_weight=frame["weight"]
    )
    assert_allclose(found.sample_weight_.compute(), expected.sample_weight_, rtol=1e-12)
    # as the page on clusters adds them to the rows, whose index begins anew in each file
    joined = dd.map_partitions(
        lambda part, w: part.assign(w=w), chunks, found.sample_weight_, align_dataframes=False
    ).compute()
    assert_array_equal(joined["x0"], frame["x0"])
    assert_allclose(joined["w"], expected.sample_weight_, rtol=1e-12)
    # weights alone are of few columns, too
    negative = chunks["weight"].where(chunks["weight"] != 300.0, -1.0)
    with pytest.raises(ValueError, match=r"sample_weight must not be negative. its minimum is -1\.0") as raised:
        DaskSampleWeighter().fit(chunks[["x0"]], chunks["y"], frames(X_meta)[["x0"]], y_meta, sample_weight=negative)
    assert raised.value.__notes__ == ["This happened in chunk 5 of X, counted from 0."]


def test_chunks_that_cut_features_or_pair_badly_are_cut_anew(sets):
    X, y, X_meta, y_meta = sets
    dX, dy = da.from_array(X, chunks=(90, 4)), da.from_array(y, chunks=150)
    w = DaskSampleWeighter(OTSampleWeighter(**SETTLED)).fit(dX, dy, X_meta, y_meta).sample_weight_
    assert_allclose(w.compute(), OTSampleWeighter(**SETTLED).fit(*sets).sample_weight_, rtol=1e-12)


def test_chunks_of_unknown_size(sets):
    X, y, X_meta, y_meta = sets
    dX, dy = chunked(X, y)
    chosen = X[:, 0] > -0.5
    mask = da.from_array(chosen, chunks=90)
    kept = DaskSampleWeighter(OTSampleWeighter(**SETTLED)).fit(dX[mask], dy[mask], X_meta, y_meta)
    expected = OTSampleWeighter(**SETTLED).fit(X[chosen], y[chosen], X_meta, y_meta).sample_weight_
    assert np.isnan(kept.sample_weight_.shape[0])
    assert_allclose(kept.sample_weight_.compute(), expected, rtol=1e-12)


def test_reviewed_rows_have_a_way_in(sets):
    X, y, X_meta, y_meta = sets
    n = len(X)
    both, labels = np.concatenate([X, X_meta]), np.concatenate([y, y_meta])
    y_verified = np.r_[np.full(n, np.nan), y_meta]
    with pytest.raises(TypeError, match=r"DaskSampleWeighter.fit takes no y_verified\. .* the weight 0"):
        DaskSampleWeighter().fit(*chunked(both, labels), y_verified=y_verified)
    # as the message says
    weight = np.isnan(y_verified).astype(float)
    found = of_chunks((both, labels, X_meta, y_meta), weight=weight, sample_size=1000, reg=0.1)
    expected = OTSampleWeighter(reg=0.1).fit_weights(both, labels, y_verified=y_verified)
    assert_allclose(found.sample_weight_.compute(), expected, rtol=1e-10)


def test_a_trusted_set_of_dask_is_computed(sets):
    dX, dy, dX_meta, dy_meta = chunked(*sets)
    w = DaskSampleWeighter(OTSampleWeighter(**SETTLED)).fit(dX, dy, dX_meta, dy_meta).sample_weight_
    assert_allclose(w.compute(), OTSampleWeighter(**SETTLED).fit(*sets).sample_weight_, rtol=1e-12)


# ------------------------------------------------------------------------------------------------
# The sample


def drawn(X, y=None, weight=None, size=200, *, by_label=True, chunk=300):
    """The sample of arrays that are cut into chunks."""
    chunks = skotw_dask._Chunks.of(*chunked(X, y, weight, chunk=chunk))
    return skotw_dask._sample(chunks, skotw_dask._Plan(0, by_label), size)


def numbered(n):
    """Rows that hold their number."""
    return np.arange(n)[:, None]


def test_rare_labels_are_drawn_more_often_and_counted_for_less():
    y = np.repeat(["a", "b", "c"], [5, 50, 20_000])
    sample = drawn(numbered(len(y)), y, size=400, chunk=len(y))
    names, counts = np.unique(sample.y, return_counts=True)
    assert names.tolist() == ["a", "b", "c"]
    assert counts[:2].tolist() == [5, 50]
    assert abs(counts[2] - 345) < 4 * np.sqrt(345)
    weight = sample.weight_of_all()
    assert_array_equal(weight[sample.y != "c"], 1.0)
    assert_allclose(weight[sample.y == "c"], 20_000 / 345)


@pytest.mark.parametrize("kind", ["numbers", "text", "columns", "types that differ"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_is_drawn_if_its_number_is_below_the_chance_of_its_label(kind, weighted):
    """Numbers go by chunk and row, and chances by all rows that count, whatever a chunk has of them."""
    codes = np.repeat(np.arange(4), [2700, 240, 40, 20])  # no chunk has all labels
    y = {
        "numbers": codes,
        "text": np.array(["a", "bb", "ccc", "dddd"])[codes],
        "columns": np.stack([codes // 2, codes % 2], axis=1),
        "types that differ": np.where(codes == 3, codes + 0.5, codes.astype(object)),
    }[kind]
    weight = np.ones(3000)
    if weighted:
        weight[::3] = weight[600:900] = 0.0
    numbers = [np.random.default_rng(np.random.SeedSequence(0, spawn_key=(k,))).random(300) for k in range(10)]
    n_rows = np.bincount(codes[weight > 0])
    shared = (200 - n_rows[2:].sum()) / 2  # what the rare labels leave to the others
    chance = np.minimum(1.0, [shared / n_rows[0], shared / n_rows[1], 1.0, 1.0])[codes]
    expected = np.flatnonzero((np.concatenate(numbers) < chance) & (weight > 0))
    sample = drawn(numbered(3000), y, weight if weighted else None)
    assert_array_equal(sample.X[:, 0], expected)
    assert_array_equal(sample.y, y[expected])
    assert_allclose(sample.weight_of_all(), 1.0 / chance[expected])


def test_a_chunk_hands_on_no_more_than_its_share(monkeypatch):
    joined, join = [], skotw_dask._join
    monkeypatch.setattr(skotw_dask, "_join", lambda samples: joined.append(samples) or join(samples))
    y = np.random.default_rng(0).choice(2, 20_000, p=[0.9, 0.1])
    sample = drawn(numbered(20_000), y, size=400, chunk=1000)
    sizes = np.array([len(part.X) for part in joined[0]])
    assert len(sizes) == 20
    assert sizes.max() < 20 + 4 * np.sqrt(20)
    assert sizes.sum() == len(sample.X)


def test_a_chunk_of_which_no_row_is_drawn(sets):
    X, y, X_meta, y_meta = sets
    dX, dy = chunked(X, y, chunk=5)
    w = DaskSampleWeighter(OTSampleWeighter(**SETTLED), sample_size=20, random_state=0).fit(dX, dy, X_meta, y_meta)
    assert_allclose(w.sample_weight_.compute(), OTSampleWeighter(**SETTLED).fit(*sets).sample_weight_, rtol=1e-12)


@pytest.mark.parametrize("fan_in", [2, 3, 8])
def test_counts_do_not_depend_on_the_tree(fan_in, monkeypatch):
    monkeypatch.setattr(skotw_dask, "_FAN_IN", fan_in)
    y = np.random.default_rng(0).choice(4, 3000, p=[0.9, 0.07, 0.02, 0.01])
    chunks = skotw_dask._Chunks.of(*chunked(numbered(3000), y, None))
    n_rows = skotw_dask._rows_by_label(chunks, skotw_dask._Plan(0, by_label=True))
    assert_array_equal(n_rows.sort_index(), np.bincount(y))


def test_all_rows_are_drawn_where_there_are_no_more():
    y = np.array([0, 0, 0, 1])
    weight = np.array([1.0, 0.0, 2.0, 3.0])
    sample = drawn(np.eye(4), y, weight, size=3)
    assert_array_equal(sample.X, np.eye(4)[[0, 2, 3]])
    assert_array_equal(sample.weight_of_all(), [1.0, 2.0, 3.0])
    assert drawn(np.eye(4), y, size=4).weight_of_all() is None
    assert len(drawn(np.eye(4), size=4, by_label=False).X) == 4


@pytest.mark.parametrize("labelled", [False, True])
def test_rows_without_weight_do_not_count_where_labels_do_not_matter(labelled):
    weight = np.zeros(4000)
    weight[::4] = 2.0
    sample = drawn(numbered(4000), np.arange(4000.0) if labelled else None, weight, size=400, by_label=False)
    assert abs(len(sample.X) - 400) < 4 * np.sqrt(400 * 0.6)
    assert_allclose(sample.weight_of_all(), 2.0 * 1000 / 400)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("by_label", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_counted_without_a_look_at_them(known, by_label, weighted):
    reads = []

    def read(block, name):
        reads.append(name)
        return block

    def part(values, name):
        values = chunked(values)[0].map_blocks(read, name, meta=values[:0])
        return values if known else values[chunked(np.arange(180) < 100)[0]]

    X, y = part(numbered(180), "X"), part(np.arange(180) % 3, "y")
    weight = part(np.arange(180) % 2, "weight") if weighted else None
    chunks, plan = skotw_dask._Chunks(X, y, weight), skotw_dask._Plan(0, by_label)
    n_rows = skotw_dask._rows_by_label(chunks, plan)
    assert n_rows.sum() == (180 if known else 100) // (2 if weighted else 1)
    expected = {"y"} if by_label else set()
    expected |= {"weight"} if weighted else set()
    assert set(reads) == (expected if known else expected or {"y"})
    # rows of which nothing else is known
    reads.clear()
    n_rows = skotw_dask._rows_by_label(skotw_dask._Chunks(X, None, None), skotw_dask._Plan(0, by_label=False))
    assert n_rows.tolist() == [180 if known else 100]
    assert set(reads) == (set() if known else {"X"})


@pytest.fixture
def files():
    """A frame of four parts that are read by columns, and the columns that were read."""
    frame = pd.DataFrame({"x0": np.arange(80.0), "x1": 1.0, "y": np.arange(80) % 2, "weight": np.arange(80) % 4 / 2})
    reads = []

    def read(number, columns=None):
        reads.append(None if columns is None else tuple(columns))
        part = frame[number * 20 : number * 20 + 20]
        return part if columns is None else part[columns]

    rows = dd.from_map(read, range(4), meta=frame[:0])
    reads.clear()
    return rows, reads


def test_frames_are_counted_by_the_columns_that_count(files):
    rows, reads = files
    X, by_label, not_by_label = rows[["x0", "x1"]], skotw_dask._Plan(0, True), skotw_dask._Plan(0, False)
    for y, weight, plan, n_rows, columns in (
        ("y", None, by_label, [40, 40], {("y",)}),
        ("y", "weight", by_label, [20, 40], {("y",), ("weight",)}),
        ("y", "weight", not_by_label, [60], {("weight",)}),
        ("y", None, not_by_label, [80], {("y",)}),
    ):
        reads.clear()
        chunks = skotw_dask._Chunks.of(X, rows[y], None if weight is None else rows[weight])
        assert skotw_dask._rows_by_label(chunks, plan).sort_index().tolist() == n_rows
        assert set(reads) == columns
    some = X.partitions[1:]
    assert skotw_dask._rows_by_label(skotw_dask._Chunks.of(some, None, None), not_by_label).tolist() == [60]


def test_a_count_names_the_partition_to_blame(files):
    rows, _ = files
    y = rows["y"].where(rows["x0"] != 45.0)  # the sixth row of the third part
    weight = rows["weight"].where(rows["x0"] != 45.0, -1.0)
    for labels, weights, match in ((y, None, "first in row 5"), (rows["y"], weight, "must not be negative")):
        with pytest.raises(ValueError, match=match) as raised:
            DaskSampleWeighter().fit(rows[["x0", "x1"]], labels, np.eye(2), [0, 1], sample_weight=weights)
        assert raised.value.__notes__ == ["This happened in chunk 2 of X, counted from 0."]


# ------------------------------------------------------------------------------------------------
# Faults


def test_a_class_that_comes_in_the_last_chunk_counts(sets):
    X, y, X_meta, y_meta = sets
    order = np.argsort(y, kind="stable")
    sets = X[order], y[order], X_meta, y_meta
    found, whole = of_chunks(sets, **SETTLED), OTSampleWeighter(**SETTLED).fit(*sets)
    assert_allclose(found.sample_weight_.compute(), whole.sample_weight_, rtol=1e-12)


def test_classes_that_one_side_lacks_are_told(sets):
    X, y, X_meta, y_meta = sets
    with pytest.raises(ValueError, match="y has classes that the trusted rows lack: 7"):
        of_chunks((X, np.r_[y[:-1], 7], X_meta, y_meta))
    with pytest.warns(UserWarning, match="classes without training rows: 2"):
        found = of_chunks((X, np.minimum(y, 1), X_meta, y_meta))
    with pytest.raises(ValueError, match="had no training rows: 2") as caught:
        found.weigh(*chunked(X, y)).compute()
    assert "This happened in chunk" in caught.value.__notes__[0]
    with pytest.raises(ValueError, match="y has one class, 0"):
        of_chunks((X, np.zeros(400, dtype=int), X_meta, y_meta))


def broken(block, block_info=None):
    """Rows of which the third chunk has lost a column."""
    number = block_info[0]["chunk-location"][0] if block_info else 0
    return block[:, :4] if number == 2 else block


def test_a_chunk_with_other_features_is_named(sets):
    X, y, X_meta, y_meta = sets
    X, y = chunked(X, y)
    X = X.map_blocks(broken, meta=np.empty((0, 0)), chunks=X.chunks)
    with pytest.raises(ValueError, match="This chunk of X has 4 features, and X has 6") as caught:
        DaskSampleWeighter().fit(X, y, X_meta, y_meta)
    assert caught.value.__notes__ == ["This happened in chunk 2 of X, counted from 0."]


def partitions(*parts):
    """A frame of partitions that need not be as the first one is."""
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=parts[0].iloc[:0], verify_meta=False)


def test_partitions_with_other_columns_are_named_and_another_order_is_not_minded(sets):
    X, y, X_meta, y_meta = sets
    frame, meta = frames(X), frames(X_meta)
    labels = dd.from_pandas(pd.Series(y), npartitions=2)
    first, second = frame[:200], frame[200:]
    expected = DaskSampleWeighter().fit(partitions(first, second), labels, meta, y_meta).sample_weight_.compute()
    turned = partitions(first, second[second.columns[::-1]])
    w = DaskSampleWeighter().fit(turned, labels, meta, y_meta).sample_weight_
    assert_array_equal(w.compute(), expected)
    other = partitions(first, second.rename(columns={"x3": "x9"}))
    with pytest.raises(ValueError, match=r"lacks \['x3'\] and has \['x9'\]") as caught:
        DaskSampleWeighter().fit(other, labels, meta, y_meta)
    assert "chunk 1" in caught.value.__notes__[0]
    text = partitions(first, second.assign(x3="three"))
    with pytest.raises(
        ValueError, match=r"Column 'x3' of this chunk of X holds .*, and X\.dtypes says numbers\. Correct the meta"
    ):
        DaskSampleWeighter().fit(text, labels, meta, y_meta)


def test_a_chunk_whose_labels_or_weights_do_not_pair_with_its_rows(sets):
    X, y, X_meta, y_meta = sets
    dX, dy = chunked(X, y)
    short = dy.map_blocks(lambda block: block[:30], meta=np.empty(0, int))
    pairs = ((short, None, "y"), (dy, short + 1.0, "sample_weight"), (dy, short * 0.0, "sample_weight"))
    for labels, weight, name in pairs:
        with pytest.raises(ValueError, match=f"{name} has 30 values for the .0 rows of X"):
            DaskSampleWeighter().fit(dX, labels, X_meta, y_meta, sample_weight=weight)
    bad = da.from_array(np.r_[np.ones(399), -1.0], chunks=90)
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        DaskSampleWeighter().fit(dX, dy, X_meta, y_meta, sample_weight=bad)
    frame = dd.from_pandas(frames(X), npartitions=2)
    labels = frame["x0"].map_partitions(lambda part: (part[::-1] > 0).astype(int), meta=("y", int))
    with pytest.raises(ValueError, match="X and y have the same index in another order"):
        DaskSampleWeighter().fit(frame, labels, frames(X_meta), y_meta % 2)


def test_empty_chunks_are_passed_by(sets):
    X, y, X_meta, y_meta = sets
    dX = da.concatenate([da.from_array(part, chunks=part.shape) for part in (X[:0], X[:200], X[200:200], X[200:])])
    dy = da.concatenate([da.from_array(part, chunks=part.shape) for part in (y[:0], y[:200], y[200:200], y[200:])])
    w = DaskSampleWeighter(OTSampleWeighter(**SETTLED)).fit(dX, dy, X_meta, y_meta).sample_weight_
    assert_allclose(w.compute(), OTSampleWeighter(**SETTLED).fit(*sets).sample_weight_, rtol=1e-12)
    frame = dd.from_pandas(frames(X, y), npartitions=4)
    some = frame[frame["x0"] * 0 + frame.index > 150]
    w = DaskSampleWeighter().fit(some.drop(columns="y"), some["y"], frames(X_meta), y_meta).sample_weight_
    expected = frames(X, y)[151:]
    expected = OTSampleWeighter().fit(expected.drop(columns="y"), expected["y"], frames(X_meta), y_meta)
    assert_allclose(w.compute(), expected.sample_weight_, rtol=1e-12)
    with pytest.raises(ValueError, match="No row counts: all chunks of X are empty, or sample_weight is zero"):
        DaskSampleWeighter().fit(dX, dy, X_meta, y_meta, sample_weight=da.zeros_like(dy))


def test_collections_that_do_not_pair_are_refused_at_once(sets):
    X, y, X_meta, y_meta = sets
    dX, dy = chunked(X, y)
    frame, series = dd.from_pandas(frames(X), npartitions=3), dd.from_pandas(pd.Series(y), npartitions=3)
    unknown = dX[dX[:, 0] > 0]
    for args, error, match in [
        ((X, y), TypeError, "X must be a dask Array or a dask DataFrame; got ndarray.*OTSampleWeighter"),
        ((dX, y), TypeError, r"X is a dask Array and y is of type ndarray.*from_array\(y, chunks=X.chunks\[0\]\)"),
        ((dX, series), TypeError, r"y is of type Series.*y.to_dask_array\(\)"),
        ((frame, dy), TypeError, "X is a dask DataFrame and y is of type Array.*column of the frame"),
        ((dX[:, 0], dy), ValueError, "X must have two dimensions"),
        ((dX, dy[:, None, None]), ValueError, "y must have one dimension, or two; got 3"),
        ((dX, dy[:399]), ValueError, "y has 399 values for the 400 rows of X"),
        ((unknown, dy[:180]), ValueError, "X has 5 chunks of rows and y has 2, of sizes.*X.compute_chunk_sizes"),
        ((frame, series.repartition(npartitions=2)), ValueError, "X and y are cut into partitions differently"),
        ((frame, series.repartition(divisions=(0, 10, 20, 399))), ValueError, "y.repartition.divisions=X.divisions."),
    ]:
        with pytest.raises(error, match=match):
            DaskSampleWeighter().fit(*args, X_meta, y_meta)
    with pytest.raises(NotFittedError):
        DaskSampleWeighter().weigh(dX, dy)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"max_weight": 3.0}, r"max_weight=3.0 needs all rows at once.*cap those that come out, by dask.array.minimum"),
        ({"reg_prior": 1.0}, r"reg_prior=1.0 needs all rows at once, and no chunk has them. Leave reg_prior at its"),
        ({"solver": "gradient"}, "solver='gradient' needs all rows at once"),
        ({"prior": "confidence"}, "prior='confidence' needs all rows at once"),
        (
            {"embedding": "supervised"},
            "^A supervised embedding is learned from all rows at once, and no chunk",
        ),
    ],
)
def test_what_needs_all_rows_is_refused(sets, params, match):
    with pytest.raises(ValueError, match=match):
        of_chunks(sets, **params)


def test_after_an_error_the_weighter_is_as_before(sets):
    X, y, X_meta, y_meta = sets
    found = of_chunks(sets)
    before = dict(vars(found))

    def fails(block):
        raise OSError("the disk is gone")

    dX, dy = chunked(X, y)
    with pytest.raises(OSError, match="the disk is gone"):
        found.fit(dX.map_blocks(fails, meta=np.empty((0, 0))), dy, X_meta, y_meta)
    with pytest.raises(ValueError, match="classes that the trusted rows lack"):
        found.fit(dX, dy + 1, X_meta, y_meta)
    assert vars(found) == before


# ------------------------------------------------------------------------------------------------
# A cluster


def test_a_worker_that_dies_while_it_learns_changes_nothing(sets, tmp_path):
    pytest.importorskip("distributed")
    np.savez(tmp_path / "sets.npz", **dict(zip(("X", "y", "X_meta", "y_meta"), sets, strict=True)))
    command = [sys.executable, "-m", "tests._cluster", str(tmp_path)]
    result = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    found, expected = np.load(tmp_path / "found.npz"), of_chunks(sets).sample_weight_.compute()
    for name, reads in (("alive", 3), ("dies", 4)):
        assert found[f"{name}: reads"] == reads
        assert_array_equal(found[name], found["alive"])
        assert_allclose(found[name], expected, rtol=1e-12)
    assert "sample_weight must not be negative" in str(found["error"])
    assert "This happened in chunk" in str(found["error"])


def test_parameters_of_the_default_weighter_name_the_remedy():
    weighter = DaskSampleWeighter()
    with pytest.raises(ValueError, match=r"weighter=None has no parameters. Pass weighter=OTSampleWeighter\(\)"):
        weighter.set_params(weighter__reg=0.3, sample_size=7)
    assert weighter.sample_size == 50_000
    assert weighter.set_params(weighter=OTSampleWeighter(), weighter__reg=0.3).weighter.reg == 0.3


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_arrays_that_are_not_finite_are_named_within_their_chunk(sets, weighted):
    X, y, X_meta, y_meta = sets
    X, weight = X.copy(), np.ones(400)
    X[[195, 200], 3] = np.nan
    weight[[181, 195]] = 0.0  # a row that counts for nothing may hold anything
    X[195, 3] = np.nan if weighted else 0.0
    dX, dy, dw = chunked(X, y, weight if weighted else None)
    with pytest.raises(ValueError, match="first in row 20, column 3") as raised:
        DaskSampleWeighter(sample_size=1000).fit(dX, dy, X_meta, y_meta, sample_weight=dw)
    assert any("chunk 2 of X" in note for note in raised.value.__notes__)


def test_an_error_that_names_a_row_of_the_sample_says_so(sets):
    X, y, X_meta, y_meta = sets
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.loc[200, "c"] = np.inf
    frame, labels = dd.from_pandas(frame, npartitions=3), dd.from_pandas(pd.Series(y), npartitions=3)
    meta = pd.DataFrame(X_meta, columns=list("abcdef"))
    with pytest.raises(ValueError, match="'c' contains infinity, first in row") as raised:
        DaskSampleWeighter(sample_size=1000).fit(frame, labels, meta, y_meta)
    assert any("sample of 400 rows" in note for note in raised.value.__notes__)
