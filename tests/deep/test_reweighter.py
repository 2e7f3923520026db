"""OTReweighter: the weights of OTSampleWeighter, for tensors."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB

from skotw import OTSampleWeighter
from skotw.deep import OTReweighter
from skotw.metrics import effective_sample_size
from tests.deep._nets import blobs

# rows of dead units, all zero, are on both sides
pytestmark = pytest.mark.filterwarnings("ignore:.*trusted rows are also training rows")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture
def sets():
    X, y = make_classification(150, 6, n_informative=4, n_classes=3, random_state=0)
    X = np.maximum(X, 0).astype(np.float32)
    X[:, 5] = 0.5  # a dead unit
    return X[:120], y[:120], X[120:], y[120:]


def tensors(sets, device="cpu"):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return [torch.as_tensor(part, device=device) for part in sets]


@pytest.mark.parametrize("params", [{"embedding": "supervised"}, {"embedding": GaussianNB()}, {"prior": "confidence"}])
def test_features_of_a_network_need_no_models_of_the_labels(sets, params):
    X, y, X_meta, y_meta = tensors(sets)
    with pytest.raises(ValueError, match="are supervised already"):
        OTReweighter(OTSampleWeighter(**params)).refit(X, y, X_meta, y_meta)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"reg": 0.1, "embedding": None},
        {"metric": "euclidean", "reg": 0.2},
        {"metric": "cityblock"},
        {"prior": "uniform", "class_mass": "meta"},
        {"reg_prior": 0.5, "reg": 0.1},
        {"label_cost": "hard", "max_weight": 3.0},
        {"n_prototypes": 2},
        {"solver": "gradient", "reg": 0.2},
        {"embedding": PCA(3, random_state=0)},
        {"class_mass": {0: 1, 1: 2, 2: 3}},
    ],
    ids=str,
)
def test_equals_the_weighter_on_arrays(sets, params, device):
    if device == "cuda" and params.get("solver") == "gradient":
        params = params | {"reg": 2.0}  # it works on the host, and takes thousands of steps for less
    X, y, X_meta, y_meta = tensors(sets, device)
    expected = OTSampleWeighter(**params).fit(*sets)
    reweighter = OTReweighter(OTSampleWeighter(**params))
    weights = reweighter.refit(X, y, X_meta, y_meta)
    assert weights.device == X.device
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.cpu().numpy(), expected.sample_weight_, rtol=2e-4)
    assert reweighter.weighter_.reg_ == pytest.approx(expected.reg_, rel=1e-5)
    again = reweighter.weigh(X[:50], y[:50])
    np.testing.assert_allclose(again.cpu().numpy(), weights[:50].cpu().numpy(), rtol=2e-4)


def test_double_stays_double(sets):
    X, y, X_meta, y_meta = sets
    expected = OTSampleWeighter().fit_weights(X.astype(float), y, X_meta.astype(float), y_meta)
    X, y, X_meta, y_meta = tensors((X.astype(float), y, X_meta.astype(float), y_meta))
    np.testing.assert_allclose(
        OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta).numpy(), expected, rtol=1e-10
    )


def test_without_labels_and_without_meta_set(sets):
    X, y, X_meta, _ = tensors(sets)
    expected = OTSampleWeighter().fit_weights(sets[0], None, sets[2])
    np.testing.assert_allclose(OTReweighter(OTSampleWeighter()).refit(X, None, X_meta).numpy(), expected, rtol=1e-4)
    expected = OTSampleWeighter(n_prototypes=1).fit_weights(sets[0], sets[1])
    np.testing.assert_allclose(OTReweighter(OTSampleWeighter()).refit(X, y).numpy(), expected, rtol=1e-4)


def test_continuous_and_column_targets(sets):
    X, y, X_meta, y_meta = sets
    for target in (np.linspace(0, 1, 150), np.c_[np.r_[y, y_meta], np.arange(150) % 2]):
        expected = OTSampleWeighter(reg=0.2).fit_weights(X, target[:120], X_meta, target[120:])
        found = OTReweighter(OTSampleWeighter(reg=0.2)).refit(*tensors((X, target[:120], X_meta, target[120:])))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_sample_weights_count_rows(sets):
    X, y, X_meta, y_meta = tensors(sets)
    k = torch.arange(120) % 3
    weights = OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta, sample_weight=k)
    repeated = OTReweighter(OTSampleWeighter()).refit(X.repeat_interleave(k, 0), y.repeat_interleave(k), X_meta, y_meta)
    total = torch.zeros(120).index_add(0, torch.arange(120).repeat_interleave(k), repeated)
    np.testing.assert_allclose(weights.numpy(), total.numpy(), rtol=2e-4, atol=1e-7)
    counted = torch.arange(len(y_meta)) % 2 + 1
    weights = OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta, sample_weight_meta=counted)
    expected = OTSampleWeighter().fit_weights(*sets, sample_weight_meta=counted.numpy())
    np.testing.assert_allclose(weights.numpy(), expected, rtol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_solved_in_single_even_under_autocast(sets, dtype):
    X, y, X_meta, y_meta = tensors(sets)
    X, X_meta = X.to(dtype), X_meta.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta)
    expected = OTSampleWeighter().fit_weights(X.float().numpy(), sets[1], X_meta.float().numpy(), sets[3])
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), expected, rtol=2e-4)


def test_no_gradient_flows_through_the_weights(sets):
    X, y, X_meta, y_meta = tensors(sets)
    weights = OTReweighter(OTSampleWeighter()).refit(X.requires_grad_(), y, X_meta, y_meta)
    assert not weights.requires_grad


def test_mini_batch_of_some_classes(sets):
    X, y, X_meta, y_meta = tensors(sets)
    some = y < 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = OTReweighter(OTSampleWeighter()).refit(X[some], y[some], X_meta, y_meta, mini_batch=True)
    known = y_meta < 2
    expected = OTReweighter(OTSampleWeighter()).refit(X[some], y[some], X_meta[known], y_meta[known])
    np.testing.assert_allclose(weights.numpy(), expected.numpy(), rtol=0.1)  # the reliability sees one class more
    one = OTReweighter(OTSampleWeighter()).refit(X[y == 0], y[y == 0], X_meta, y_meta, mini_batch=True)
    assert float(one.mean()) == pytest.approx(1.0, rel=1e-5)
    assert float(one.std()) > 0.01
    assert OTReweighter(OTSampleWeighter()).refit(X[:1], y[:1], X_meta, y_meta, mini_batch=True).tolist() == [1.0]
    assert OTReweighter(OTSampleWeighter()).refit(
        X[:1], y[:1], mini_batch=True, sample_weight=torch.tensor([3.0])
    ).tolist() == [3.0]


def test_whole_set_as_mini_batch_is_the_same(sets):
    X, y, X_meta, y_meta = tensors(sets)
    np.testing.assert_array_equal(
        OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta, mini_batch=True).numpy(),
        OTReweighter(OTSampleWeighter()).refit(X, y, X_meta, y_meta).numpy(),
    )


@pytest.mark.parametrize("device", DEVICES)
def test_pickle_holds_no_device(sets, device):
    X, y, X_meta, y_meta = tensors(sets, device)
    reweighter = OTReweighter(OTSampleWeighter())
    reweighter.refit(X, y, X_meta, y_meta)
    weights = reweighter.weigh(X, y)
    data = pickle.dumps(reweighter)
    assert b"torch._utils" not in data
    np.testing.assert_allclose(pickle.loads(data).weigh(X.cpu(), y).numpy(), weights.cpu().numpy(), rtol=1e-4)


def test_bad_input(sets):
    X, y, X_meta, y_meta = tensors(sets)
    reweighter = OTReweighter(OTSampleWeighter())
    with pytest.raises(NotFittedError, match="Call refit first"):
        reweighter.weigh(X, y)
    with pytest.raises(TypeError, match="must be a floating tensor; got ndarray"):
        reweighter.refit(sets[0], y)
    with pytest.raises(TypeError, match=r"meta_features must be a floating tensor; got torch.int64"):
        reweighter.refit(X, y, X_meta.long(), y_meta)
    with pytest.raises(ValueError, match=r"x.mean\(\(2, 3\)\) for the maps of a convolution"):
        reweighter.refit(X[:, :, None, None], y)
    with pytest.raises(ValueError, match="X_meta has 4 features, but the training samples have 6"):
        reweighter.refit(X, y, X_meta[:, :4], y_meta)
    with pytest.raises(ValueError, match="X_meta has 0 sample"):
        reweighter.refit(X, y, X_meta[:0], y_meta[:0])
    with pytest.raises(ValueError, match="X has 0 sample"):
        reweighter.refit(X[:0], y[:0], X_meta, y_meta)
    with pytest.raises(ValueError, match="X contains NaN or infinity"):
        reweighter.refit(X / 0, y, X_meta, y_meta)
    with pytest.raises(ValueError, match="lack: 2"):
        reweighter.refit(X, y, X_meta[y_meta < 2], y_meta[y_meta < 2])
    with pytest.raises(TypeError, match="weighter must be an OTSampleWeighter"):
        OTReweighter(weighter=0.1).refit(X, y)
    with pytest.raises(ValueError, match="has no features to measure"):
        OTReweighter(OTSampleWeighter(metric="precomputed")).refit(X, y)
    with pytest.raises(ValueError, match="'reg' parameter"):
        OTReweighter(OTSampleWeighter(reg=-1)).refit(X, y)
    reweighter.refit(X, y, X_meta, y_meta)
    with pytest.raises(TypeError, match="must be a floating tensor; got ndarray"):
        reweighter.weigh(sets[0], y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_weight": 2.0}, "no process has all rows.*max_weight"),
        ({"embedding": PCA(2)}, "takes embedding='scale' or None"),
        ({"metric": "seuclidean"}, "needs all rows at once"),
    ],
)
def test_distributed_refuses_what_needs_all_rows(sets, params, message):
    with pytest.raises(ValueError, match=message):
        OTReweighter(OTSampleWeighter(**params), distributed=True).refit(*tensors(sets))


def test_distributed_needs_a_meta_set(sets):
    X, y, _, _ = tensors(sets)
    with pytest.raises(ValueError, match="distributed=True needs trusted samples"):
        OTReweighter(distributed=True).refit(X, y)


def test_default_weighter(sets):
    X, y, X_meta, y_meta = tensors(sets)
    reweighter, expected = OTReweighter(), OTSampleWeighter().fit(*sets)
    np.testing.assert_allclose(reweighter.refit(X, y, X_meta, y_meta).numpy(), expected.sample_weight_, rtol=2e-4)
    assert reweighter.weighter_.reg_ == pytest.approx(expected.reg_, rel=1e-4)


@pytest.mark.parametrize("reg", ["auto", 0.2])
def test_labels_that_are_fitted_are_not_asked(sets, reg):
    X, y, X_meta, y_meta = tensors(sets)
    reweighter = OTReweighter(OTSampleWeighter(reg=reg))
    found = reweighter.refit(X, y, X_meta, y_meta, labels_fitted=True)
    assert np.isnan(reweighter.weighter_.label_reliability_.overall)
    expected = OTSampleWeighter(reg=0.1 if reg == "auto" else reg).fit_weights(*sets)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4)
    asked = OTReweighter(OTSampleWeighter(reg=reg))
    asked.refit(X, y, X_meta, y_meta)
    assert np.isfinite(asked.weighter_.label_reliability_.overall)


@pytest.fixture
def vouching():
    """Rows of which three in ten have wrong labels; and as a network sees them that knows the labels by heart."""
    (X, y), (X_meta, y_meta) = blobs((60, 60, 60)), blobs((10, 10, 10), seed=1)
    rng = np.random.default_rng(0)
    given = np.where(rng.random(len(y)) < 0.3, (y + rng.integers(1, 3, len(y))) % 3, y)

    def known(rows, labels):
        return (0.2 * rows + 3 * np.eye(rows.shape[1])[labels]).astype(np.float32)

    return tensors((X, given, X_meta, y_meta)), tensors((known(X, given), given, known(X_meta, y_meta), y_meta))


def test_the_lowest_reading_counts(vouching):
    honest, fitted = vouching
    low, high = (OTReweighter().read_labels(*rows).overall for rows in (honest, fitted))
    assert low < 0.8 < 0.95 < high
    for readings in ((honest, fitted), (fitted, honest)):
        reweighter = OTReweighter()
        for rows in readings:
            found = reweighter.read_labels(*rows)
        assert found.overall == low
        reweighter.refit(*fitted)  # which reads once more
        assert reweighter.weighter_.label_reliability_.overall == low
        assert reweighter.weighter_.reg_ < 0.39
    alone = OTReweighter()
    alone.refit(*fitted)
    assert alone.weighter_.reg_ > 0.39


def test_labels_that_a_network_learns_need_sharper_weights(vouching):
    """Only the probability that all labels are right is gone back, where arrays go back by what labels are worth."""
    honest, _ = vouching
    network, arrays = OTReweighter(), OTReweighter()
    read = network.read_labels(*honest)
    network.refit(*honest)
    arrays.refit(*honest)
    steps = [np.log(0.4 / each._settled.reg) for each in (network, arrays)]
    np.testing.assert_allclose(steps[0] / steps[1], (1 - read.posterior.all_right) / (1 - read.label_information()))
    assert steps[0] > steps[1]


def test_weights_are_no_sharper_than_wrong_labels_call_for(vouching):
    """Those that dismiss wrong labels alone leave the share of the right ones of the effective sample size."""
    honest, _ = vouching
    reweighter = OTReweighter()
    read = reweighter.read_labels(*honest)
    size = effective_sample_size(reweighter.refit(*honest).numpy())
    reg, voted = reweighter.weighter_.reg_, reweighter._settled.reg
    arrays = [part.numpy() for part in honest]

    def size_at(reg):
        return effective_sample_size(OTSampleWeighter(reg=reg).fit_weights(*arrays))

    right = read.posterior_mean + (1 - read.posterior_mean) / 3
    assert size_at(voted) < 0.7 * right * size_at(1e6) < size
    assert size_at(reg / np.sqrt(2)) < 0.7 * right * size_at(1e6)  # raised no further than that
    np.testing.assert_allclose(size, size_at(reg), rtol=1e-3)
    sharp = OTReweighter(OTSampleWeighter(reg=voted))  # a number stays
    sharp.refit(*honest)
    assert sharp.weighter_.reg_ == voted
    groups = [3.0 * torch.eye(6)[2 * part + torch.arange(len(part)) % 2] for part in (honest[1], honest[3])]
    reweighter.refit(groups[0], honest[1], groups[1], honest[3])  # where it chooses less, the votes count again
    assert reweighter.weighter_.reg_ == voted


@pytest.mark.parametrize("reg", ["auto", 0.2])
def test_later_refits_ask_nothing(vouching, reg, monkeypatch):
    honest, fitted = vouching
    reweighter = OTReweighter(OTSampleWeighter(reg=reg))
    reweighter.refit(*honest)
    first = reweighter.weighter_
    monkeypatch.setattr("skotw._weighter.model.ReliabilityMeter.of", None)  # nor could they
    monkeypatch.setattr("skotw._weighter.model.own_class_votes", None)
    weights = reweighter.refit(*fitted)
    assert reweighter.weighter_.reg_ == first.reg_
    assert reweighter.weighter_.label_reliability_ is first.label_reliability_
    assert reweighter.read_labels(*fitted) is first.label_reliability_
    monkeypatch.undo()
    expected = OTSampleWeighter(reg=first.reg_).fit_weights(*(part.numpy() for part in fitted))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=2e-4)


def test_a_new_wish_for_automatic_reg_is_met(sets):
    """Though there have been refits at a constant."""
    rows = tensors(sets)
    reweighter = OTReweighter(OTSampleWeighter(reg=7.0))
    reweighter.refit(*rows)
    reweighter.weighter = OTSampleWeighter()
    reweighter.refit(*rows)
    assert reweighter.weighter_.reg_ <= 0.4001


def test_batches_have_the_reading_of_their_classes(sets):
    X, y, X_meta, y_meta = rows = tensors(sets)
    reweighter = OTReweighter()
    reweighter.refit(*rows)
    whole = reweighter.weighter_
    two = y != 1
    reweighter.refit(X[two][:9], y[two][:9], X_meta, y_meta, mini_batch=True)
    found = reweighter.weighter_
    assert found.label_reliability_.overall == whole.label_reliability_.overall
    np.testing.assert_array_equal(
        found.label_reliability_.precision, whole.label_reliability_.precision[found.classes_]
    )
    assert found.reg_ == whole.reg_


def test_a_failed_reading_leaves_the_last(sets):
    X, y, X_meta, y_meta = rows = tensors(sets)
    reweighter = OTReweighter()
    found = reweighter.read_labels(*rows)
    with pytest.raises(ValueError, match="NaN or infinity"):
        reweighter.read_labels(X / 0, y, X_meta, y_meta)
    with pytest.raises(TypeError, match="floating tensor"):
        reweighter.read_labels(X.numpy(), y, X_meta, y_meta)
    assert reweighter._settled.reliability is found


def test_targets_that_are_no_classes_have_no_reading(sets):
    X, _, X_meta, _ = tensors(sets)
    assert OTReweighter().read_labels(X, X[:, 0], X_meta, X_meta[:, 0]) is None


def test_a_pickle_keeps_what_was_settled(vouching):
    honest, fitted = vouching
    reweighter = OTReweighter()
    reweighter.read_labels(*honest)
    loaded = pickle.loads(pickle.dumps(reweighter))
    np.testing.assert_array_equal(loaded.refit(*fitted).numpy(), reweighter.refit(*fitted).numpy())
    assert loaded.weighter_.reg_ == reweighter.weighter_.reg_


@pytest.mark.parametrize(
    "bad",
    [
        lambda X, y, X_meta, y_meta: (X / 0, y, X_meta, y_meta),
        lambda X, y, X_meta, y_meta: (X, y + 7, X_meta, y_meta),
        lambda X, y, X_meta, y_meta: (X, y, X_meta[:, :4], y_meta),
    ],
)
def test_a_failed_refit_leaves_the_weights_of_the_last(sets, bad):
    X, y, X_meta, y_meta = tensors(sets)
    reweighter = OTReweighter(OTSampleWeighter())
    with pytest.raises(ValueError, match=r"X|y"):
        reweighter.refit(*bad(X, y, X_meta, y_meta))
    with pytest.raises(NotFittedError, match="Call refit first"):
        reweighter.weigh(X, y)
    weights = reweighter.refit(X, y, X_meta, y_meta)
    before = pickle.dumps(reweighter)
    with pytest.raises(ValueError, match=r"X|y"):
        reweighter.refit(*bad(X + 1, y, X_meta, y_meta))
    assert pickle.dumps(reweighter) == before
    np.testing.assert_allclose(reweighter.weigh(X, y).numpy(), weights.numpy(), rtol=1e-5)
    assert pickle.dumps(reweighter) == before


@pytest.mark.parametrize("params", [{}, {"embedding": None, "metric": "euclidean"}, {"embedding": PCA(3)}])
def test_fitted_weighter_is_the_public_one_and_weighs_arrays(sets, params):
    X, y, X_meta, y_meta = tensors(sets)
    reweighter = OTReweighter(OTSampleWeighter(random_state=0, **params))
    weights = reweighter.refit(X, y, X_meta, y_meta)
    assert type(reweighter.weighter_) is OTSampleWeighter
    np.testing.assert_allclose(reweighter.weighter_.weigh(sets[0], sets[1]), weights.numpy(), rtol=2e-4)


def test_verbose_names_the_public_class(sets, capsys):
    OTReweighter(OTSampleWeighter(verbose=1)).refit(*tensors(sets))
    assert capsys.readouterr().out.startswith("[OTSampleWeighter]")
