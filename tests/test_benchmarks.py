"""The benchmark scripts run, at sizes that say nothing."""

import importlib.util
import json
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skotw import OTWeightedClassifier

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name):
    (path,) = FOLDER.rglob(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_label_reliability(capsys):
    rows, by_label = load("label_reliability").main(["--quick"])
    assert {row["rate"] for row in rows} == {0.0, 0.3}
    for row in rows:
        assert row["truth"] == 1.0 or row["rate"] > 0
        assert 0 <= row["estimate"] <= 1
    assert all(row["error"] < 0.3 and row["within"] > 0.5 for row in by_label)
    assert "settings within" in capsys.readouterr().out


def test_true_reliability_is_that_of_the_precisions():
    module = load("label_reliability")
    given, true = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    # precisions 3/4 and 1, of which 1/2 is chance
    assert module.true_reliability(given, true) == pytest.approx(0.75)
    assert module.true_reliability(true, true) == 1.0


def test_automatic_settings(capsys):
    table = load("automatic_settings").main(["--quick", "--jobs", "1"])
    assert len(table) == 4 * 4 + 5 + 1
    assert all(scores.shape == (2, 3) and (scores > 0.5).all() for scores in table.values())
    assert "auto minus the best" in capsys.readouterr().out


def test_automatic_settings_with_labels_by_annotators(tmp_path):
    module = load("automatic_settings")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 2)), np.repeat([0, 1], 30)
    wrong = np.where(rng.random(60) < 0.3, 1 - y, y)
    path = tmp_path / "crowd.npz"
    np.savez(path, X_train=X, y_train=y, y_majority=wrong, y_random=1 - y, X_test=X[:5], y_test=y[:5])
    truth = {tuple(row): label for row, label in zip(X, y, strict=True)}
    for labels, given in (("right", y), ("majority", wrong), ("one annotator", 1 - y)):
        rows, shown, trusted, y_meta, _, _ = module.annotated(path, labels, seed=0)
        assert len(rows) == 30
        assert np.bincount(y_meta).tolist() == [15, 15]
        assert not {tuple(row) for row in rows} & {tuple(row) for row in trusted}
        assert [truth[tuple(row)] for row in trusted] == y_meta.tolist()
        by_row = {tuple(row): label for row, label in zip(X, given, strict=True)}
        assert [by_row[tuple(row)] for row in rows] == shown.tolist()


def test_label_errors(capsys):
    table = load("quality/label_errors").main(["--quick"])
    assert {"find_label_errors", "weights", "KNN-Shapley", "trusted only, forest"} <= set(table)
    assert all(areas.shape == (2,) and (areas > 0.4).all() for areas in table.values())
    assert "within 2 standard errors" in capsys.readouterr().out


def test_shapley_values_are_what_rows_add_to_all_orders():
    """Of four rows and their 24 orders, one trusted row and two neighbours."""
    rng = np.random.default_rng(0)
    X, X_meta, y = rng.normal(size=(4, 2)), rng.normal(size=(1, 2)), np.array([0, 1, 1, 0])

    def accuracy(rows):
        nearest = sorted(rows, key=lambda i: np.linalg.norm(X[i] - X_meta[0]))[:2]
        return sum(y[i] == 1 for i in nearest) / 2

    added = np.zeros(4)
    for order in permutations(range(4)):
        for k, row in enumerate(order):
            added[row] += (accuracy(order[: k + 1]) - accuracy(order[:k])) / 24
    values = load("quality/label_errors").knn_shapley(X, y, X_meta, np.array([1]), n_neighbors=2)
    np.testing.assert_allclose(values, added, atol=1e-12)


def test_weighting_overhead(capsys):
    ratios = load("speed/weighting_overhead").main(["--quick"])
    assert set(ratios) == {(2, False), (2, True), (10, False), (10, True)}
    assert all(ratio > 0 for ratio in ratios.values())
    assert "target at most" in capsys.readouterr().out


def test_weighting_overhead_of_small_sets(capsys):
    module = load("weighting_overhead")
    ratios = module.main(["--quick", "--small"])
    assert set(ratios) == {(n_classes, rate, frame) for n_classes in (2, 10) for rate in (0.0, 0.3) for frame in (0, 1)}
    assert all(ratio > 0 for ratio in ratios.values())
    assert "target at most 5 ms and 0.5" in capsys.readouterr().out
    X, _, X_meta, y_meta = module.draw_small(2, 0.0, frame=True)
    assert X.shape == (700, 20)
    assert np.bincount(y_meta).tolist() == [10, 10]
    assert list(X_meta.columns) == list(X.columns)


def test_weighting_overhead_of_the_classifiers_weights(capsys):
    module = load("weighting_overhead")
    assert module.main(["--quick", "--classifier"]) > 0
    printed = capsys.readouterr().out
    assert "600 rows" in printed
    assert "700 rows" in printed
    X, y, X_meta, y_meta = module.draw_small(2, 0.3, frame=False)
    default = OTWeightedClassifier().fit(X, y, X_meta=X_meta, y_meta=y_meta).weighter_
    assert repr(default.set_params(random_state=None)) == repr(module.default_weighter())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch's forward mode
def test_epoch_time(capsys, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("skorch")
    monkeypatch.syspath_prepend(FOLDER)
    module, sizes = load("epoch_time"), ["--n-samples", "120", "--width", "2", "--rounds", "1", "--imbalance", "2"]
    seconds = module.main(sizes)
    assert list(seconds) == ["plain", "cached", "clean", "batch", "MW-Net", "L2RW", "authors", "authors 128"]
    assert all((values > 0).all() for values in seconds.values())
    assert "target at most 1.05" in capsys.readouterr().out
    chosen = ["authors lean", "authors lean 64", "MW-Net forward"]
    assert list(module.main([*sizes, "--contenders", *chosen])) == ["plain", *chosen]
    out = tmp_path / "medians.json"
    module.main([*sizes, "--resident", "--out", str(out), "--contenders", "cached", "L2RW", "authors"])
    medians = json.loads(out.read_text())
    assert list(medians) == ["plain", "cached", "L2RW", "authors"]
    assert medians["plain"]["x plain"] == 1
    with pytest.raises(ValueError, match="no contender 'authors large'"):
        module.main([*sizes, "--contenders", "authors large"])


def test_speed_suite(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "speed")
    module, out = load("speed/run"), tmp_path / "new" / "speed.jsonl"
    command = ["--quick", "--out", str(out), "--repeats", "1", "--threads", "1", "--contenders", "weighter"]
    monkeypatch.setattr(module, "QUICK_SWEEPS", {"N": (300, 600), "M": (20,)})
    module.main(command)
    in_turns, *records = module.read(out)
    assert [len(times) for times in in_turns["seconds"]["weighter"].values()] == [2, 2, 2]  # rounds
    assert in_turns["seconds"].keys() == {"weighter", "product"}
    assert [record["N"] for record in records] == [300, 600]  # both sweeps pass through the base, which runs once
    assert all(record["first"] > 0 and record["again"] > 0 and record["gemm"] > 0 for record in records)
    assert capsys.readouterr().out.count("x product") == 3
    module.main([*command, "ArgKmin", "--minutes", "0"])
    assert "The time is over" in capsys.readouterr().out
    error = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nMemoryError: of matrices")
    monkeypatch.setattr(module.subprocess, "run", lambda *args, **kwargs: error)
    module.main([*command, "ArgKmin"])  # the weighter has been measured
    assert [record.get("failed") for record in module.read(out)] == [None] * 3 + ["MemoryError: of matrices"] * 2
    assert "N=300, M=20, d=8, 2 classes: MemoryError" in capsys.readouterr().out


def test_contenders_of_the_speed_suite_do_what_they_say(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "speed")
    module = load("speed/run")
    data = module.Data(300, 20, 8, 2)
    results = {
        name: run(data, 1)
        for name, (run, _, library) in module.CONTENDERS.items()
        if importlib.util.find_spec(library) is not None
    }
    assert all(len(result) == 300 for result in results.values())
    assert not np.allclose(results["weighter"], results["hard"])
    assert np.argmin(((data.X[0] - data.Z) ** 2).sum(axis=1)) == results["ArgKmin"][0]
    data.y_mixed = data.y
    np.testing.assert_allclose(module.CONTENDERS["weighter"][0](data, 1) / 300, results["POT"], rtol=1e-3)
    np.testing.assert_allclose(results["solve"], results["POT"], rtol=1e-3)
    np.testing.assert_allclose(results["blocks"], results["solve"], rtol=1e-4)
    np.testing.assert_allclose(module.CONTENDERS["hard"][0](data, 1) / 300, results["solve hard"], rtol=1e-3)


@pytest.mark.slow
def test_memory_of_a_fresh_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "speed")
    module, out = load("speed/run"), tmp_path / "speed.jsonl"
    monkeypatch.setattr(module, "QUICK_SWEEPS", {"N": (20_000,)})
    monkeypatch.setattr(module, "QUICK_BASE", {"N": 20_000, "M": 50, "d": 64, "classes": 10})
    module.main(["--quick", "--out", str(out), "--repeats", "1", "--threads", "1", "--contenders", "blocks", "POT"])
    added = {record["contenders"][0]: record["added_mib"] for record in module.read(out)}
    # blocks and no copy of the rows, which are 4.9 MiB; POT holds several matrices of 3.8 MiB
    assert 0.0 < added["blocks"] < 4.0
    assert added["POT"] > 7.0


def test_page_of_the_speed_suite(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "speed")
    pytest.importorskip("matplotlib")
    module, out = load("speed/run"), tmp_path / "speed.jsonl"
    machine, records = {"threads": 2, "cpu": "a machine"}, []

    def alone(name, size, factor, mib=4.0):
        product = 1e-9 * size["N"] * size["M"]
        times = {"first": factor * product + 1.0, "again": factor * product, "gemm": product, "added_mib": mib}
        records.append({"key": module.key([name], size), "contenders": [name], **size, **machine, **times})

    for name, factor in (("weighter", 2.0), ("ArgKmin", 5.0)):
        for _, size in module.sizes(quick=False):
            alone(name, size, factor)
    alone("weighter", module.MANY, 2.0, mib=65.0)
    spent = {  # one slow round in three, which medians pass over
        "solve": {"first": [1.7, 9.0, 1.7], "again": [2.0, 9.0, 2.0], "cpu": [1.9, 1.9, 1.9]},
        "weighter": {"first": [2.5, 2.5, 2.5], "again": [2.6, 2.6, 2.6], "cpu": [2.0, 2.0, 2.0]},
        "product": {"first": [1.0, 1.0, 1.0], "again": [1.0, 1.0, 1.0], "cpu": [1.0, 1.0, 1.0]},
    }
    one = {"key": "in turns", "contenders": ["solve", "weighter"], **module.LARGE, **machine, "seconds": spent}
    records += [one, {**one, "key": "POT, too large", "contenders": ["POT"], "failed": "MemoryError"}]
    del records[-1]["seconds"]
    out.write_text("".join(json.dumps(record) + "\n" for record in records))
    module.main(["--out", str(out), "--report", str(tmp_path / "results")])
    page = (tmp_path / "results" / "speed.rst").read_text()
    rows = [line.split() for line in page.splitlines()]
    assert ["weighter", "100,000", "1040.0", "40.0", "2.00", "4", "1.00", "1.00"] in rows
    assert ["product", "100,000", "1.00", "1.00"] in rows
    assert next(row for row in rows if row[:1] == ["ArgKmin"])[4] == "5.00"
    assert "- POT, too large: MemoryError" in page
    assert [row[-7:] for row in rows if "/" in row] == [
        ["1.90", "at", "most", "1.8", "hit", "at", "first"],
        ["1.47", "1.30", "1.05", "at", "most", "1.25", "missed"],
    ]
    assert ["weighter", "1,000,000", "x", "500", "x", "64", "65", "at", "most", "64", "missed"] in rows
    assert (tmp_path / "results" / "speed.svg").read_text().count("ArgKmin") >= 1
    assert module.curves(records, module.BASE, "M")["weighter"][0][0] == 50
    out.write_text("")
    with pytest.raises(SystemExit, match="no measurements"):
        module.main(["--out", str(out), "--report", str(tmp_path)])
