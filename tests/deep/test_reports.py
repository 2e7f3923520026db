"""What is printed, recorded and warned of."""

import pickle

import numpy as np
import pytest
import torch
from skorch import NeuralNetRegressor

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, NAMES, Net, blobs, make_net

X, y = blobs()


def test_print_out_has_the_columns(capsys):
    make_net(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    for column in ("refit_dur", "transport_cost", "weight_ess", "weight_max"):
        assert column in lines[0]
    assert len({len(line.split()) for line in lines[2:5]}) == 1


def test_collapse_is_reported_once():
    one_each = META[0][np.unique(META[1], return_index=True)[1]], np.arange(3)
    with pytest.warns(UserWarning, match=r"collapsed.*Raise the weighter's reg") as record:
        make_net(meta=one_each, weighter=OTSampleWeighter(reg=1e-3), max_epochs=4).fit(X, y)
    assert len(record) == 1


@pytest.mark.parametrize("params", [{}, {"refit_every": "batch"}])
def test_what_every_refit_finds_is_reported_once(params):
    two = y < 2
    with pytest.warns(UserWarning, match="classes without training rows: 2") as seen:
        make_net(max_epochs=4, **params).fit(X[two], y[two])
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_contradiction_is_reported_once():
    """Though its numbers differ from refit to refit."""
    meta = blobs((20, 20, 20), seed=1)
    with pytest.warns(UserWarning, match="labels contradict the trusted ones") as seen:
        make_net(meta=meta, max_epochs=4, lr=1e-4).fit(X, (y + 1) % 3)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_imbalance_is_no_collapse():
    """The suite turns warnings into errors."""
    rows, labels = blobs((900, 60, 3))
    make_net(weighter=OTSampleWeighter(label_weight=0.9, reg=0.3), train_split=None).fit(rows, labels)
    make_net(weighter=OTSampleWeighter(prior="uniform", reg=1.0), train_split=None).fit(rows, labels)


def accuracy_of(net, rows, labels):
    module = net.module_.eval()
    with torch.no_grad():
        return (module(torch.as_tensor(rows)).argmax(1).numpy() == labels).mean()


def test_accuracies():
    """Of the training pass as it was, and of the network at the refit."""
    net = make_net(max_epochs=4, refit_every=2, train_split=None, module__norm=False).fit(X, y)
    assert [epoch for epoch, value in enumerate(net.history[:, "meta_accuracy"], 1) if np.isfinite(value)] == [1, 2, 4]
    assert net.history[-1, "meta_accuracy"] == pytest.approx(accuracy_of(net, *META))
    still = make_net(max_epochs=2, lr=1e-12, train_split=None, module__norm=False).fit(X, y)
    assert still.history[-1, "label_accuracy"] == pytest.approx(accuracy_of(still, X, y))


def test_targets_that_are_no_classes_have_no_accuracy():
    """Continuous ones, and no meta set."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    target, trusted = ((part[:, :1] + part[:, 1:2]).astype(np.float32) for part in (X, META[0]))
    callback = OTReweighting((META[0], trusted), "head", OTSampleWeighter(reg=0.1), warmup_epochs=1)
    net = NeuralNetRegressor(One, callbacks=[callback], max_epochs=2, verbose=0).fit(X, target)
    assert "meta_accuracy" not in net.history[-1]
    assert "meta_accuracy" not in make_net(meta=None).fit(X, y).history[-1]


def test_report_names_classes_and_samples_as_they_were_given():
    order = np.argsort(NAMES)
    names = NAMES[order]  # sorted, as classes are
    net = make_net(meta=4, random_state=0).fit(X, names[y])
    report = net.report()
    assert report.classes == ("ash", "elm", "oak")
    trusted = net.criterion_.sample_weights.trusted.numpy()
    rest = np.delete(net.train_indices_, trusted)
    assert report.count.tolist() == np.bincount(y[rest]).tolist()
    given = np.full(len(y), np.nan)
    given[net.train_indices_] = net.sample_weight_
    for row, label, _ in report.heaviest:
        assert label == names[y[row]]
        assert given[row] >= np.nanquantile(given, 0.9)
    for row, label, _ in report.lightest:
        assert label == names[y[row]]
        assert given[row] <= np.nanquantile(given, 0.1)
    assert "oak" in str(report)
    assert pickle.loads(pickle.dumps(net)).report().heaviest == report.heaviest
    indices = make_net(meta=4, random_state=0).fit(X, y).report()
    assert indices.classes == (0, 1, 2)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"warmup_epochs": 5, "max_epochs": 2}, AttributeError, "no report before the first refit"),
        ({"refit_every": "batch"}, ValueError, "refit was of one mini-batch.*net.history"),
    ],
)
@pytest.mark.filterwarnings("ignore:Training ends")
def test_report_without_weights_of_all_samples(params, error, message):
    net = make_net(**params).fit(X, y)
    with pytest.raises(error, match=message):
        net.report()
    with pytest.raises(AttributeError, match="Call fit first"):
        make_net().report()


def test_displays_name_classes_as_they_were_given():
    pytest.importorskip("matplotlib").use("agg")
    from skotw.plotting import LabelReliabilityDisplay, SampleWeightDisplay

    names = np.sort(NAMES)
    net = make_net(meta=(META[0], names[META[1]])).fit(X, names[y])
    assert SampleWeightDisplay.from_estimator(net).classes == names.tolist()
    assert LabelReliabilityDisplay.from_estimator(net).classes == names.tolist()
    assert SampleWeightDisplay.from_estimator(net.reweighter_).classes == [0, 1, 2]
