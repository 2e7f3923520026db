"""The trusted samples: given, drawn, and in mini-batches."""

import copy
import random

import numpy as np
import pandas as pd
import pytest
import torch
from skorch import NeuralNet, NeuralNetClassifier
from skorch.dataset import Dataset as SkorchDataset
from torch import nn
from torch.utils.data import Subset, TensorDataset

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, Records, blobs, make_net

X, y = blobs()


def test_trusted_samples_from_the_training_split():
    net = make_net(meta=4, random_state=0).fit(X, y)
    trusted = net.criterion_.sample_weights.trusted.numpy()
    of = y[net.train_indices_]
    assert np.bincount(of[trusted]).tolist() == [4, 4, 4]
    rest = np.setdiff1d(np.arange(len(of)), trusted)
    for c in range(3):
        w = net.sample_weight_
        np.testing.assert_allclose(w[trusted[of[trusted] == c]], w[rest[of[rest] == c]].mean(), rtol=1e-4)
    again = make_net(meta=4, random_state=0).fit(X, y)
    np.testing.assert_array_equal(again.criterion_.sample_weights.trusted, trusted)


@pytest.mark.parametrize(("meta", "n_trusted", "n_columns"), [(5, 15, 15), (META, 0, len(META[1])), (None, 0, 3)])
def test_another_meta_set_between_calls(meta, n_trusted, n_columns):
    net = make_net(meta=4).fit(X, y).set_params(meta=meta).partial_fit(X, y)
    assert len(net.criterion_.sample_weights.trusted) == n_trusted
    fitted = net.reweighter_.weighter_
    assert len(fitted.sample_weight_) == len(net.train_indices_) - n_trusted
    assert len(fitted.potentials_) == n_columns


def test_trusted_samples_in_batches():
    net = make_net(meta=4, random_state=0, refit_every="batch", batch_size=-1, max_epochs=2).fit(X, y)
    trusted, of, w = net.criterion_.sample_weights.trusted.numpy(), y[net.train_indices_], net.sample_weight_
    rest = np.setdiff1d(np.arange(len(of)), trusted)
    for c in range(3):
        np.testing.assert_allclose(w[trusted[of[trusted] == c]], w[rest[of[rest] == c]].mean(), rtol=1e-4)
    # a batch of nothing but trusted samples, or of one sample, has nothing to be weighed against
    net = make_net(meta=4, refit_every="batch", warmup_epochs=0, batch_size=1, max_epochs=2, module__norm=False)
    net.fit(X[:60], y[:60])
    np.testing.assert_array_equal(net.sample_weight_, 1.0)


@pytest.mark.parametrize("make", [Records, TensorDataset, SkorchDataset])
def test_labels_are_found(make):
    from skotw.deep._trusted_set import labels_of

    tensors = (torch.as_tensor(X), torch.as_tensor(y)) if make is TensorDataset else (X, y)
    half = Subset(Subset(make(*tensors), range(50, 100)), range(10))
    np.testing.assert_array_equal(labels_of(half), y[50:60])


def test_ragged_targets_are_no_labels():
    from skotw.deep._trusted_set import fingerprint, labels_of

    records = Records(X[:2], y[:2])
    records.targets = [[1, 2], [3]]
    assert labels_of(records).tolist() == y[:2].tolist()
    assert fingerprint(records, None) is None


def test_labels_of_torchvision():
    from skotw.deep._trusted_set import labels_of

    records = Records([None] * 3, None)
    records.data = [None] * 3, [None] * 3
    records.targets = [2, 0, 1]
    assert labels_of(records).tolist() == [2, 0, 1]


def test_meta_batches_are_balanced():
    from skotw.deep._trusted_set import balanced_batches

    dataset = TensorDataset(torch.arange(120), torch.as_tensor(np.repeat([0, 1, 2], [100, 15, 5])))
    batches = balanced_batches(dataset, dataset.tensors[1].numpy(), 30)
    drawn = torch.cat([next(batches)[1] for _ in range(40)])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), 1 / 3, atol=0.06)


def test_meta_loss_of_several_labels():
    """Every combination is equally likely."""
    from skotw.deep._trusted_set import balanced_batches

    labels = np.repeat([[0, 1], [1, 0], [1, 1]], [100, 15, 5], axis=0)
    dataset = TensorDataset(torch.arange(120), torch.as_tensor(labels))
    batches = balanced_batches(dataset, labels, 30)
    drawn = torch.cat([next(batches)[1] for _ in range(40)]).numpy()
    np.testing.assert_allclose(np.bincount(drawn @ [1, 2]) / len(drawn), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.06)


# ---------------------------------------------------------------------- whether they fit


def plain(module=Net, meta=META, cls=NeuralNetClassifier, **params):
    """A net of skorch itself."""
    callback = OTReweighting(meta, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    defaults = {"criterion": nn.CrossEntropyLoss, "max_epochs": 2, "batch_size": 32, "verbose": 0, "lr": 0.1}
    return cls(module, callbacks=[callback], **{**defaults, **params})


def untouched(net, module, message):
    """The error comes before the first step."""
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=message):
        net.fit(X, y)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("make", [make_net, lambda **params: plain(**params)])
@pytest.mark.parametrize(
    "convert",
    [
        lambda X, y: (X.astype(np.float64), y.astype(np.float64)),
        lambda X, y: (X.astype(np.float16).astype(np.float64), y.astype(np.uint8)),
        lambda X, y: (torch.as_tensor(X, dtype=torch.float64), torch.as_tensor(y, dtype=torch.float64)),
        lambda X, y: (X, y[:, None]),
        lambda X, y: (X, torch.as_tensor(y, dtype=torch.int16)[:, None]),
    ],
    ids=["doubles", "half", "tensors", "column", "tensor column"],
)
def test_other_types_mean_the_same(make, convert):
    rounded = META[0].astype(np.float16).astype(np.float32), META[1]
    found = []
    for meta in (rounded, convert(*rounded)):
        torch.manual_seed(0)
        net = make(meta=meta, iterator_train__shuffle=False)
        net.set_params(max_epochs=2).fit(X, y)
        found.append(net.history[:, "weight_ess"])
    assert found[0] == found[1]
    assert found[0][-1] < 100


def test_types_of_dictionaries_and_of_labels_in_a_column():
    class One(Net):
        def forward(self, a):
            return super().forward(a)[:, :1]

    labels = (y > 0).astype(np.float32)[:, None]
    meta = {"a": META[0].astype(np.float64)}, (META[1] > 0)
    callback = OTReweighting(meta, "head", warmup_epochs=1, meta_loss_weight=1.0)
    params = {"criterion": nn.BCEWithLogitsLoss, "callbacks": [callback], "max_epochs": 3, "train_split": None}
    net = NeuralNet(One, verbose=0, **params).fit({"a": X}, labels)
    assert np.isfinite(net.history[:, "train_loss"]).all()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # torch, of rows of a frame of pandas 3
def test_types_of_frames():
    pandas = pytest.importorskip("pandas")

    class Columns(Net):
        def forward(self, **columns):
            return super().forward(torch.cat([columns[f"x{i}"] for i in range(6)], dim=1))

    def frame(rows):
        return pandas.DataFrame(rows, columns=[f"x{i}" for i in range(6)])

    found = []
    for dtype in (np.float32, np.float64):
        torch.manual_seed(0)
        given = frame(META[0]).astype(dtype)
        found.append(make_net(Columns, meta=(given, META[1])).fit(frame(X), y).sample_weight_)
        assert set(given.dtypes) == {np.dtype(dtype)}
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("make", [make_net, plain])
def test_frames_in_another_order(make):
    pandas = pytest.importorskip("pandas")
    rows, labels = pandas.DataFrame(X), pandas.Series(y)
    trusted, theirs = pandas.DataFrame(META[0]), pandas.Series(META[1])
    with pytest.raises(ValueError, match="X_meta and y_meta have the same index in another order"):
        make(meta=(trusted[::-1], theirs)).fit(X, y)
    with pytest.raises(ValueError, match="X and y have the same index in another order"):
        make(meta=META).fit(rows[::-1], labels)


@pytest.mark.parametrize("meta", [(META[0], META[1][:5]), (META[0].tolist(), META[1])])
def test_lengths_that_differ(meta):
    with pytest.raises(ValueError, match="inconsistent lengths") as raised:
        make_net(meta=meta).fit(X, y)
    assert "This was meta=(X_meta, y_meta)" in raised.value.__notes__[0]


def test_several_inputs():
    class Two(Net):
        def forward(self, data):
            return super().forward(data[0] + data[1])

    meta = [META[0].astype(np.float64), 0 * META[0]], META[1]
    net = make_net(Two, meta=meta).fit([X, 0 * X], y)
    assert net.sample_weight_.max() > 1.5


@pytest.mark.parametrize("wrap", [lambda meta: meta, lambda meta: Records(*meta), lambda meta: SkorchDataset(*meta)])
@pytest.mark.parametrize("make", [make_net, plain])
def test_samples_of_another_shape(make, wrap):
    module = Net()
    message = r"does not take the trusted samples.*shape \(5,\) of float32 there, and shape \(6,\) of float32 in the tr"
    untouched(make(module, meta=wrap((META[0][:, :5], META[1]))), module, message)


def test_a_dictionary_against_an_array():
    module = Net()
    untouched(make_net(module, meta=({"a": META[0]}, META[1])), module, r"not as those of training: 'a': shape \(6,\)")


def test_types_in_a_data_set_stay():
    module = Net()
    meta = Records(META[0].astype(np.float64), META[1])
    untouched(make_net(module, meta=meta), module, r"shape \(6,\) of float64 there, and shape \(6,\) of float32")


class AnySize(nn.Module):
    """As many columns as there are, and missing ones."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, X):
        X = X.nan_to_num(0.0)
        return self.head(torch.cat([X[:, :2], X[:, 2:].mean(1, keepdim=True)], dim=1))


def test_networks_that_take_any_size_and_missing_values():
    meta = META[0][:, :5].copy(), META[1]
    meta[0][0, 0] = np.nan
    net = make_net(AnySize, meta=meta).fit(X, y)
    assert np.isfinite(net.sample_weight_).all()


@pytest.mark.parametrize("wrap", [lambda meta: meta, lambda meta: Records(*meta)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_missing_values(wrap, value):
    broken, module = META[0].copy(), Net()
    broken[7, 2] = value
    untouched(make_net(module, meta=wrap((broken, META[1]))), module, "trusted samples contain NaN or infinity")


def test_labels_that_are_fractions():
    module = Net()
    untouched(make_net(module, meta=(META[0], META[1] + 0.5)), module, "labels are fractions.*Give y_meta as integers")
    untouched(plain(module, meta=Records(META[0], META[1] * 1.0)), module, "Give y_meta as integers")


def test_no_trusted_labels():
    module = Net()
    untouched(make_net(module, meta=(META[0], None)), module, "The trusted samples have no labels: y_meta is None")


def test_names_of_classes_in_a_plain_net():
    module = Net()
    meta = META[0], np.array(["ash", "elm", "oak"])[META[1]]
    untouched(plain(module, meta=meta), module, "meta has names of classes")


def test_a_data_set_with_labels_is_a_pair_too():
    torch.manual_seed(0)
    expected = make_net().fit(X, y).sample_weight_
    torch.manual_seed(0)
    np.testing.assert_array_equal(make_net(meta=(SkorchDataset(*META), None)).fit(X, y).sample_weight_, expected)


class Drawing(Records):
    """Samples that are drawn anew each time, as augmented ones are."""

    def __getitem__(self, i):
        noise = 0.01 * (np.random.rand() + random.random() + float(torch.rand(())))  # noqa: NPY002
        return (self.data[0][i] + noise).astype(np.float32), self.data[1][i]


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_looking_at_samples_draws_nothing():
    """Stage 1 is plain training."""
    states = []
    for callbacks in ([], [OTReweighting(Drawing(*META), "head")]):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(0)
        net = NeuralNetClassifier(
            Net, criterion=nn.CrossEntropyLoss, callbacks=callbacks, max_epochs=1, verbose=0, train_split=None
        ).partial_fit(Drawing(X, y), None)
        states.append(torch.cat([p.flatten() for p in net.module_.parameters()]))
    assert torch.equal(*states)


# ---------------------------------------------------------------------- masses of classes


NAMES = np.array(["oak", "ash", "elm"])


def test_masses_by_the_names_of_classes():
    mass = {"oak": 0.5, "ash": 0.25, "elm": 0.25}
    net = make_net(meta=(META[0], NAMES[META[1]]), weighter=OTSampleWeighter(class_mass=mass))
    with pytest.raises(ValueError, match=r"class indices.*class_mass=\{2: 0.5, 0: 0.25, 1: 0.25\}"):
        net.fit(X, NAMES[y])
    by_index = OTSampleWeighter(class_mass={2: 0.5, 0: 0.25, 1: 0.25}, label_weight=1.0)
    net.set_params(weighter=by_index, train_split=None).fit(X, NAMES[y])
    np.testing.assert_allclose(net.sample_weight_[y == 0].sum() / len(y), 0.5, rtol=1e-4)


def test_masses_by_names_that_are_no_classes():
    net = make_net(weighter=OTSampleWeighter(class_mass={"yew": 1.0}))
    with pytest.raises(ValueError, match=r"class_mass names classes by 'yew'.*places of the labels in classes_ 0, 1"):
        net.fit(X, y)
    callback = OTReweighting(META, "head", OTSampleWeighter(class_mass={"yew": 1.0}))
    with pytest.raises(ValueError, match="In a net the weighter gets class indices"):
        NeuralNet(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], verbose=0).fit(X, y)


def test_masses_by_labels_that_are_encoded():
    signs, trusted = np.where(y > 0, 1, -1), (META[0], np.where(META[1] > 0, 1, -1))
    net = make_net(meta=trusted, weighter=OTSampleWeighter(class_mass={-1: 0.25, 1: 0.75}, label_weight=1.0))
    with pytest.raises(ValueError, match=r"places of the labels in classes_: class_mass=\{0: 0.25, 1: 0.75\}"):
        net.fit(X, signs)
    net.set_params(weighter__class_mass={0: 0.25, 1: 0.75}, train_split=None).fit(X, signs)
    np.testing.assert_allclose(net.sample_weight_[signs > 0].sum() / len(y), 0.75, rtol=1e-4)


# ---------------------------------------------------------------------- trusted samples that are training samples


class OfImages(Net):
    def forward(self, X):
        return super().forward(X.flatten(1))


class OfColumns(Net):
    def forward(self, **columns):
        return super().forward(torch.cat(list(columns.values()), 1))


def frame(rows):
    return pd.DataFrame(rows, columns=[f"c{j}" for j in range(rows.shape[1])])


REPEATED = {
    "arrays": (Net, lambda rows, labels: (rows, labels)),
    "tensors": (Net, lambda rows, labels: (torch.as_tensor(rows), torch.as_tensor(labels))),
    "images": (OfImages, lambda rows, labels: (rows.reshape(-1, 1, 2, 3), labels)),
    "frames": (OfColumns, lambda rows, labels: (frame(rows), labels)),
}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")  # of torch, values of frames
@pytest.mark.parametrize("kind", REPEATED)
def test_trusted_samples_that_are_training_samples(kind):
    module, convert = REPEATED[kind]
    rows, labels = (np.concatenate(parts) for parts in zip((X, y), META, strict=True))
    message = r"12 of 12 trusted samples are also training samples\. They count twice.*balanced_meta_split.*meta=10"
    with pytest.warns(UserWarning, match=message) as caught:
        make_net(module, meta=convert(*META)).fit(*convert(rows, labels))
    (ours,) = (one for one in caught if "writable" not in str(one.message))
    assert ours.filename == __file__
    # otherwise, and where skorch's own net has the callback, nothing is said that is not so
    make_net(module, meta=convert(*META)).fit(*convert(X, y))


def test_doubles_of_training_samples_in_single_precision():
    doubles = np.random.default_rng(0).normal(size=(90, 6))
    labels = np.repeat([0, 1, 2], 30)
    rows = doubles.astype(np.float32)
    with pytest.warns(UserWarning, match="30 of 30 trusted samples are also training samples"):
        plain(meta=(doubles[::3], labels[::3])).fit(rows, labels)


def test_data_sets_that_hold_arrays():
    data, meta = (TensorDataset(*map(torch.as_tensor, pair)) for pair in ((X, y), (X[:9], y[:9])))
    labels = np.unique(y[:9])
    assert len(labels) == 3
    with pytest.warns(UserWarning, match="9 of 9 trusted samples"):
        make_net(meta=meta, train_split=None).fit(data, None)
    make_net(meta=Records(X[:9], y[:9]), train_split=None).fit(Records(X, y), None)  # which are not in memory


def test_it_is_said_once_of_a_stream():
    net = make_net(meta=(X[:9], y[:9]))
    with pytest.warns(UserWarning, match="9 of 9 trusted samples"):
        net.partial_fit(X, y)
    net.partial_fit(X, y)
