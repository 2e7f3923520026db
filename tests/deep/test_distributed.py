"""Rows that are spread over processes: two of them, on CPUs."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skotw import OTSampleWeighter
from tests.deep._nets import META
from tests.deep._worker import SETTINGS, X, y

HAS_ACCELERATE = importlib.util.find_spec("accelerate") is not None
needs_accelerate = pytest.mark.skipif(not HAS_ACCELERATE, reason="accelerate is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each process found."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    env |= {"ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, "-m", "tests.deep._worker", str(folder)]
    command += ["--train"] if HAS_ACCELERATE else []
    processes = [
        subprocess.Popen(
            command,
            cwd=Path(__file__).parents[2],  # whose skotw is under test
            env=os.environ | env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return [dict(np.load(folder / f"{rank}.npz")) for rank in range(2)]


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_those_of_all_rows(found, name):
    expected = OTSampleWeighter(**SETTINGS[name]).fit(X, y, *META)
    for process in found:
        np.testing.assert_allclose(process[name], expected.sample_weight_[process["rows"]], rtol=5e-4)
        np.testing.assert_allclose(process[f"again_{name}"], process[name], rtol=1e-5)
        assert process[f"reg_{name}"] == pytest.approx(expected.reg_, rel=1e-4)


@pytest.mark.parametrize("name", ["plain", "unscaled", "euclidean", "hard"])
def test_few_numbers_are_sent(found, name):
    """Twice classes x meta samples for the normalisers; moments, sums per class and scales besides."""
    n_features, n_classes, n_meta = X.shape[1], 3, len(META[1])
    for process in found:
        assert process[f"sent_{name}"] <= 2 * n_classes * n_meta + 2 * n_features + 2 * n_classes + 4


@needs_accelerate
def test_accelerated_net_weighs_as_one_process_would(found):
    for process in found:
        expected = OTSampleWeighter(reg=0.2).fit_weights(process["net_train"], y, process["net_meta"], META[1])
        np.testing.assert_allclose(process["net_weight"], expected, rtol=2e-3)


@needs_accelerate
@pytest.mark.parametrize("name", ["net", "cached", "drawn", "batch", "loss"])
def test_processes_agree(found, name):
    first, second = found
    np.testing.assert_allclose(first[f"{name}_state"], second[f"{name}_state"], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(first[f"{name}_trusted"], second[f"{name}_trusted"])
    np.testing.assert_allclose(first[f"{name}_weight"].mean(), 1.0, rtol=0.3 if name == "batch" else 1e-4)
    if name != "batch":  # there each process weighs its own batches
        np.testing.assert_array_equal(first[f"{name}_weight"], second[f"{name}_weight"])
        np.testing.assert_array_equal(first[f"{name}_size"], second[f"{name}_size"])


@needs_accelerate
def test_trusted_samples_have_the_mean_weight_of_their_class(found):
    weight, trusted = found[0]["drawn_weight"], found[0]["drawn_trusted"]
    rest = np.setdiff1d(np.arange(len(y)), trusted)
    for c in range(3):
        np.testing.assert_allclose(weight[trusted[y[trusted] == c]], weight[rest[y[rest] == c]].mean(), rtol=1e-3)
