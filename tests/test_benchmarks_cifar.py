"""The table of CIFAR-10: images that stay on the device, training that goes on from a file, runs that fit the time."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skorch")

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALL = ["--data", "toy", "--width", "1", "--stage-1", "2", "--stage-2", "1", "--seeds", "0", "--no-bfloat16"]
SMALL += ["--jobs", "1", "--imbalance", "20", "--methods", "plain", "OT 0.1", "--meta-loss", "0"]


@pytest.fixture
def cifar(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    threads = torch.get_num_threads()
    yield importlib.import_module("cifar_long_tailed")
    torch.set_num_threads(threads)


@pytest.fixture
def images(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("_images")


def test_augmented_images_are_shifted_and_mirrored(images):
    X = np.random.default_rng(0).normal(size=(40, 3, 32, 32)).astype(np.float32)
    dataset = images.ImageRows(np.arange(39, -1, -1), np.arange(40) % 10)
    samples = dataset.__getitems__([0, 7, 39] * 60)
    found, labels = images.Images(X, "cpu").augmented(samples)
    assert labels.tolist() == [0, 7, 9] * 60
    padded = np.pad(X, ((0, 0), (0, 0), (4, 4), (4, 4)))
    moves = set()
    for image, (row, _) in zip(found.numpy(), samples, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(padded[row], (32, 32), (1, 2))
        same = [
            (down, right, mirrored)
            for mirrored, shown in enumerate((image, image[:, :, ::-1]))
            for down, right in np.argwhere((windows == shown[:, None, None]).all((0, 3, 4))).tolist()
        ]
        assert len(same) == 1
        moves.add(same[0])
    downs, rights, mirrors = map(set, zip(*moves, strict=True))
    assert downs == rights == set(range(9))
    assert mirrors == {0, 1}


def test_batches_are_the_images_of_their_numbers(images):
    X = np.random.default_rng(0).normal(size=(6, 3, 32, 32)).astype(np.float32)
    dataset = images.ImageRows([4, 2], [1, 0])
    found, labels = images.Images(X, "cpu").batch([dataset[0], dataset[1]])
    np.testing.assert_array_equal(found, X[[4, 2]])
    assert labels.tolist() == [1, 0]
    assert len(dataset) == 2


def test_toy_images_have_a_long_tail(images):
    parts = images.toy_images(20)
    counts = np.bincount(parts["train"][1])
    assert counts[0] == 20 * counts[-1]
    assert (np.diff(counts) <= 0).all()
    assert np.bincount(parts["meta"][1]).tolist() == [10] * 10


def test_every_run_is_kept_and_not_repeated(cifar, tmp_path, capsys, monkeypatch):
    out = tmp_path / "new" / "table.jsonl"
    cifar.main([*SMALL, "--out", str(out)])
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({record["key"] for record in records}) == 2 * 2  # methods, right labels and wrong ones
    assert all(0 <= record["test"] <= 1 for record in records)
    assert [record["auc"] is None for record in records] == [True, True, False, False]
    assert "OT 0.1" in capsys.readouterr().out
    monkeypatch.setattr(cifar, "stage_1", None)  # would raise
    cifar.main([*SMALL, "--out", str(out)])
    assert len(out.read_text().splitlines()) == 4


def test_no_run_begins_when_the_time_is_over(cifar, tmp_path):
    out = tmp_path / "table.jsonl"
    cifar.main([*SMALL, "--out", str(out), "--minutes", "0"])
    assert not out.exists()


def test_stages_2_come_before_the_next_stage_1_and_a_failure_stops_its_cell_alone(cifar, tmp_path, monkeypatch, capsys):
    began = []

    def stage_1(cell, start, args):
        began.append((cell.imbalance, cell.flip))
        if cell.imbalance == 50:
            raise ValueError("no such images")

    def run(cell, start, method, meta_loss, args):
        began.append((cell.imbalance, cell.flip, method))
        return {"test": 0.5, "dev": 0.5, "per_class": [0.5] * 10, "auc": 0.5, "seconds_per_epoch": 1.0}

    monkeypatch.setattr(cifar, "stage_1", stage_1)
    monkeypatch.setattr(cifar, "run", run)
    out = tmp_path / "table.jsonl"
    cifar.main([*SMALL, "--out", str(out), "--imbalance", "100", "50", "20", "--flip", "0"])
    first, last = (
        [(imbalance, 0.0), *((imbalance, 0.0, method) for method in ("plain", "OT 0.1"))] for imbalance in (100, 20)
    )
    assert began == [*first, (50, 0.0), *last]
    assert len(out.read_text().splitlines()) == 4
    assert "no such images" in capsys.readouterr().err


def test_training_goes_on_from_a_file_as_if_it_had_not_stopped(cifar, tmp_path):
    args = cifar.parse([*SMALL, "--stage-1", "3", "--out", str(tmp_path / "table.jsonl")])
    cell, start = cifar.Cell(20.0, 0.3, 0), tmp_path / "start.pt"
    sets = cifar.load("toy", 20.0, "cpu")
    train = cifar.ImageRows(sets.train.rows, cell.labels(sets.train.y)[0])
    cifar.stage_1(cell, start, args)
    torch.manual_seed(0)
    net = cifar.our_net(sets, args)
    for _ in range(2):
        net.partial_fit(train)
    resumed = cifar.go_on(cifar.our_net(sets, args), torch.load(start, weights_only=False))
    for name, value in net.criterion_.state_dict().items():  # what was read of the labels
        np.testing.assert_array_equal(resumed.criterion_.state_dict()[name], value, err_msg=name)
    for one in (net, resumed):  # the end of stage 1 and an epoch of stage 2
        torch.manual_seed(1)
        one.partial_fit(train).partial_fit(train)
    assert len(resumed.history) == 4
    np.testing.assert_array_equal(resumed.sample_weight_, net.sample_weight_)
    assert not np.allclose(net.sample_weight_, 1)
    of = [one.reweighter_.weighter_.label_reliability_.overall for one in (net, resumed)]
    assert of[0] == of[1]
    for name, value in net.module_.state_dict().items():
        np.testing.assert_array_equal(resumed.module_.state_dict()[name], value, err_msg=name)
