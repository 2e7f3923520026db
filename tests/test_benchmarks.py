"""The benchmark scripts run, at sizes that say nothing."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
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


def test_weighting_overhead(capsys):
    ratios = load("weighting_overhead").main(["--quick"])
    assert set(ratios) == {(2, False), (2, True), (10, False), (10, True)}
    assert all(ratio > 0 for ratio in ratios.values())
    assert "target at most" in capsys.readouterr().out


def test_transport_speed(capsys):
    module = load("transport_speed")
    results = module.main(["--quick", "--repeats", "1", "--threads", "2", "--no-memory"])
    assert all(result[name] > 0 for result in results.values() for name in ("gemm", "exact", "blocks", "estimator"))
    printed = capsys.readouterr().out
    assert "fitted exponents" in printed
    assert "target at most 2.5" in printed


def test_transport_speed_contenders_solve_one_problem():
    module = load("transport_speed")
    data = module.Data(600, 40, 8)
    exact, blocks = (module.solve_exact(data, module.Compute(2, cache_bytes=cache)) for cache in (2**30, 0))
    np.testing.assert_allclose(exact, blocks, rtol=1e-4)
    np.testing.assert_allclose(exact, module.solve_pot(data), rtol=1e-3)
    data.y_mixed = data.y
    np.testing.assert_allclose(module.fit_estimator(data, 2) / 600, exact, rtol=1e-3)


@pytest.mark.slow
def test_transport_speed_memory_of_a_fresh_process():
    module = load("transport_speed")
    size = (20_000, 50, 64)
    # blocks and no copy of the rows, which are 4.9 MiB; POT holds several matrices of 3.8 MiB
    assert 0.0 < module.added_memory("blocks", size, 1) < 4.0
    assert module.added_memory("POT", size, 1) > 7.0


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
