"""Tensors: the weights of arrays, on any device, of one library or of two."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skotw import OTSampleWeighter
from skotw._weighter import model
from skotw.meta._prototypes import group_prototypes

torch = pytest.importorskip("torch")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def sets():
    X, y = make_classification(140, 6, n_informative=4, n_classes=3, random_state=0)
    return X[:110], y[:110], X[110:], y[110:]


def on(device, values):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.as_tensor(values, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "euclidean"])
@pytest.mark.parametrize(
    "params", [{}, {"reg": 0.1, "reg_prior": 0.3}, {"n_prototypes": 1}, {"n_prototypes": 2}, {"label_cost": "hard"}]
)
def test_torch_tensors_under_array_api_dispatch(sets, metric, params, device):
    X, y, X_meta, y_meta = sets
    expected = OTSampleWeighter(metric=metric, embedding=None, **params).fit(X, y, X_meta, y_meta)
    X, X_meta = (on(device, rows) for rows in (X, X_meta))
    with sklearn.config_context(array_api_dispatch=True):
        weighter = OTSampleWeighter(metric=metric, embedding=None, **params)
        w = weighter.fit_weights(X, y, X_meta, y_meta)
        again = weighter.weigh(X, y)
    assert isinstance(w, torch.Tensor)
    assert w.device == X.device
    np.testing.assert_allclose(w.cpu().numpy(), expected.sample_weight_, rtol=1e-9)
    np.testing.assert_allclose(again.cpu().numpy(), w.cpu().numpy(), rtol=1e-9)


def test_prototypes_are_clustered_on_the_host(sets, monkeypatch):
    """scikit-learn's k-means takes no tensors, and those of a GPU do not become arrays by themselves."""
    taken = []

    def spy(Z, *args):
        taken.append(Z)
        return group_prototypes(Z, *args)

    monkeypatch.setattr(model, "group_prototypes", spy)
    X, y, X_meta, y_meta = sets
    with sklearn.config_context(array_api_dispatch=True):
        OTSampleWeighter(embedding=None, n_prototypes=2).fit(on("cpu", X), y, on("cpu", X_meta), y_meta)
    (Z,) = taken
    assert isinstance(Z, np.ndarray)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dispatch", [False, True])
@pytest.mark.parametrize("names", [["X"], ["X_meta"], ["y"], ["y_meta"], ["X", "y_meta"], ["X_meta", "y"]], ids=str)
def test_arrays_and_tensors_mixed(sets, names, dispatch, device):
    """Weights come as the rows of X are, and nothing else follows from where the other parts lie."""
    expected = OTSampleWeighter(embedding=None).fit(*sets).sample_weight_
    parts = dict(zip(("X", "y", "X_meta", "y_meta"), sets, strict=True))
    parts |= {name: on(device, parts[name]) for name in names}
    with sklearn.config_context(array_api_dispatch=dispatch):
        w = OTSampleWeighter(embedding=None).fit_weights(**parts)
    if "X" in names and dispatch:
        assert w.device == parts["X"].device
        w = w.cpu().numpy()
    assert isinstance(w, np.ndarray)
    np.testing.assert_allclose(w, expected, rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("metric", ["cosine", "sqeuclidean", "euclidean"])
@pytest.mark.parametrize("tensors", [True, False])
def test_rows_that_are_weighed_may_lie_elsewhere_than_those_of_the_fit(sets, metric, tensors, device):
    X, y, X_meta, y_meta = sets
    reference = OTSampleWeighter(embedding=None, metric=metric).fit(*sets)
    fitted, other = (on(device, X), X) if tensors else (X, on(device, X))
    with sklearn.config_context(array_api_dispatch=True):
        weighter = OTSampleWeighter(embedding=None, metric=metric).fit(fitted, y, X_meta, y_meta)
        w, plan = weighter.weigh(other, y), weighter.transport_plan(other, y)
    assert type(w) is type(other)
    w, plan = (values if tensors else values.cpu().numpy() for values in (w, plan))
    np.testing.assert_allclose(w, reference.sample_weight_, rtol=1e-9)
    np.testing.assert_allclose(plan, reference.transport_plan(X, y), rtol=1e-9)


@pytest.mark.cuda
@pytest.mark.parametrize(("rows", "meta"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_tensors_on_two_devices(sets, rows, meta):
    X, y, X_meta, y_meta = sets
    expected = OTSampleWeighter(embedding=None).fit(*sets).sample_weight_
    X, y, X_meta, y_meta = on(rows, X), on("cpu", y), on(meta, X_meta), on(meta, y_meta)
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with sklearn.config_context(array_api_dispatch=True):
        weighter = OTSampleWeighter(embedding=None)
        w = weighter.fit_weights(X, y, X_meta, y_meta)
        assert w.device == X.device
        elsewhere = weighter.weigh(X.to(meta), y)
    np.testing.assert_allclose(w.cpu().numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(elsewhere.cpu().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("embedding", ["supervised", LogisticRegression()], ids=["supervised", "classifier"])
def test_weights_by_models_are_tensors_too(sets, embedding, device):
    params = {"embedding": embedding, "prior": "confidence"}
    expected = OTSampleWeighter(**params).fit(*sets)
    X, y, X_meta, y_meta = sets
    X_meta = on(device, X_meta)
    for meta in (X_meta, X_meta.cpu().numpy()):
        with sklearn.config_context(array_api_dispatch=True):
            weighter = OTSampleWeighter(**params).fit(on(device, X), y, meta, y_meta)
            found = [weighter.sample_weight_, weighter.weigh(on(device, X), y), weighter.potentials_]
        assert all(isinstance(values, torch.Tensor) and values.device == X_meta.device for values in found)
        np.testing.assert_allclose(found[0].cpu().numpy(), expected.sample_weight_, rtol=1e-6)
        np.testing.assert_allclose(found[1].cpu().numpy(), expected.sample_weight_, rtol=1e-6)
