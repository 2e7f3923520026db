"""Training passes as CUDA graphs are those that they replace."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def steps(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("graph_steps")


@pytest.mark.parametrize("device", DEVICES)
def test_steps_with_and_without_graphs_go_to_the_same_place(steps, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    args = SimpleNamespace(device=device, width=4, depth=1, batch_size=64)
    assert steps.agree(steps.distances(args))


def test_another_step_is_noticed(steps, monkeypatch):
    args, step = SimpleNamespace(device="cpu", width=4, depth=1, batch_size=64), steps.step
    calls = []

    def broken(net, optimizer, *batches):  # of the third network, one batch is lost
        calls.append(net)
        return step(net, optimizer, *batches[: 1 + (net in calls[:2])])

    monkeypatch.setattr(steps, "step", broken)
    apart = steps.distances(args)
    assert not steps.agree(apart)
    assert max(apart["again"]) < steps.SAME


@pytest.mark.cuda
def test_features_outlive_the_next_replay(steps):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = steps.ResNet(4, 1).cuda().capture([16])
    X, other = torch.randn(2, 16, 3, 32, 32, device="cuda")
    features = net.encode(X)
    before = features.detach().clone()
    net.encode(other)
    assert torch.equal(features, before)
    assert torch.isfinite(net.eval().encode(X)).all()  # another mode, without the graph
