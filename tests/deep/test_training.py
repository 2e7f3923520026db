"""Training with weights: what users of skorch do with their nets."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import Checkpoint, LoadInitState
from skorch.dataset import Dataset as SkorchDataset
from skorch.dataset import ValidSplit
from skorch.helper import SliceDataset, predefined_split
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

from skotw import OTSampleWeighter
from skotw._weighter.auto_reg import UNKNOWN_REG
from skotw.deep import OTReweighting
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()
NAMES = np.array(["oak", "ash", "elm"])


def state_of(net):
    return torch.cat([p.flatten() for p in net.module_.state_dict().values()])


# ---------------------------------------------------------------------- input


class Records(Dataset):
    """Samples made on demand, with nothing to read labels from but the samples."""

    def __init__(self, X, y):
        self.data = X, y

    def __len__(self):
        return len(self.data[1])

    def __getitem__(self, i):
        return self.data[0][i], self.data[1][i]


class Batched(Records):
    """Several samples at a time."""

    def __getitems__(self, indices):
        return [self[i] for i in indices]


class ByName(Net):
    def forward(self, data):
        return super().forward(data)


@pytest.mark.parametrize("make", [Records, Batched, TensorDataset, SkorchDataset])
@pytest.mark.parametrize("meta", [META, 4])
def test_datasets(make, meta):
    tensors = (torch.as_tensor(X), torch.as_tensor(y)) if make is TensorDataset else (X, y)
    torch.manual_seed(0)
    net = make_net(meta=meta, random_state=0, train_split=None).fit(make(*tensors), None)
    torch.manual_seed(0)
    arrays = make_net(meta=meta, random_state=0, train_split=None).fit(X, y)
    assert torch.equal(state_of(net), state_of(arrays))
    np.testing.assert_array_equal(net.sample_weight_, arrays.sample_weight_)


@pytest.mark.parametrize("train_split", [None, ValidSplit(3, stratified=False)])
def test_rows_of_a_subset_are_counted_in_the_subset(train_split):
    given = Subset(SkorchDataset(X, y), list(range(100, 130)))
    net = make_net(train_split=train_split).fit(given, None)
    if train_split is None:
        assert net.train_indices_.tolist() == list(range(30))
    labels = np.array([given[i][1] for i in net.train_indices_])
    assert len(labels) == len(net.sample_weight_)
    mass = [net.sample_weight_[labels == c].sum() / len(labels) for c in range(3)]
    np.testing.assert_allclose(mass, 1 / 3, atol=0.1)


@pytest.mark.parametrize("meta", [Records(*META), META, 4])
def test_dictionaries(meta):
    meta = ({"data": META[0]}, META[1]) if isinstance(meta, tuple) else meta
    if isinstance(meta, Records):
        meta = Records([{"data": row} for row in META[0]], META[1])
    net = make_net(ByName, meta=meta, max_epochs=15).fit({"data": X}, y)
    assert net.sample_weight_.mean() == pytest.approx(1.0, rel=1e-3)
    assert (net.predict({"data": X}) == y).mean() > 0.6


def test_predefined_validation_split():
    valid = SkorchDataset(*blobs(seed=5))
    net = make_net(train_split=predefined_split(valid), max_epochs=20).fit(X, y)
    assert len(net.sample_weight_) == len(y)
    assert net.history[-1, "valid_acc"] > 0.8


def test_workers_and_pinned_memory_keep_ids():
    from skotw.deep._sample_ids import IndexedBatch, IndexedIterator, ids_of

    data = SkorchDataset(X, y)
    loader = IndexedIterator(torch.utils.data.DataLoader)(data, batch_size=10, num_workers=2, shuffle=True)
    for Xi, yi in (batch := b for b in loader):
        assert isinstance(batch, IndexedBatch)
        assert torch.equal(torch.as_tensor(X)[ids_of(batch)], Xi)
        assert torch.equal(torch.as_tensor(y)[ids_of(batch)], yi)


def test_batches_move_between_devices_with_their_ids():
    from skotw.deep._sample_ids import IndexedBatch

    batch = IndexedBatch([{"a": torch.ones(2), "b": [torch.ones(2)], "c": ("x", 1)}, torch.zeros(2)])
    batch.ids = torch.arange(2)
    moved = batch.to("meta")
    assert moved[0]["a"].device.type == moved[0]["b"][0].device.type == moved[1].device.type == "meta"
    assert moved[0]["c"] == ("x", 1)
    assert moved.ids.device.type == "cpu"


# ---------------------------------------------------------------------- labels


def test_labels_of_any_kind():
    indices = make_net(meta=META)
    torch.manual_seed(0)
    indices.fit(X, y)
    order = np.argsort(NAMES)  # the classes are sorted: ash, elm, oak
    torch.manual_seed(0)
    names = make_net(meta=(META[0], NAMES[order][META[1]])).fit(X, NAMES[order][y])
    assert torch.equal(state_of(names), state_of(indices))
    assert names.classes_.tolist() == ["ash", "elm", "oak"]
    assert names.history[:, "valid_acc"] == indices.history[:, "valid_acc"]
    np.testing.assert_array_equal(names.predict(X), NAMES[order][indices.predict(X)])
    np.testing.assert_array_equal(np.argmax(names.predict_proba(X), 1), indices.predict(X))
    assert names.score(X, NAMES[order][y]) == indices.score(X, y)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, torch.int32])
def test_narrow_integers_are_class_indices(dtype):
    def narrow(labels):
        return torch.as_tensor(labels, dtype=dtype) if dtype is torch.int32 else labels.astype(dtype)

    weights = []
    for convert in (np.asarray, narrow):
        torch.manual_seed(0)
        weights.append(make_net(meta=(META[0], convert(META[1]))).fit(X, convert(y)).sample_weight_)
    np.testing.assert_array_equal(*weights)


def test_order_of_classes_may_be_given():
    net = make_net(meta=(META[0], NAMES[META[1]]), classes=NAMES, max_epochs=30).fit(X, NAMES[y])
    assert (net.predict_proba(X).argmax(1) == y).mean() > 0.8
    assert (net.predict(X) == NAMES[y]).mean() > 0.8


def test_a_fold_may_lack_a_class():
    net = make_net(meta=tuple(part[META[1] != 1] for part in META), max_epochs=15).fit(X[y != 1], y[y != 1])
    assert net.classes_.tolist() == [0, 1, 2]
    assert (net.predict(X[y != 1]) == y[y != 1]).mean() > 0.9


def test_unknown_labels_are_named():
    with pytest.raises(ValueError, match="no classes of this net: 'yew'"):
        make_net(meta=(META[0], np.array(["yew"] * len(META[1])))).fit(X, NAMES[y])


def test_labels_that_are_no_classes_pass():
    """Soft labels and regression targets stay as they come."""
    net = make_net(classes=["a", "b"])
    soft = np.ones((4, 2), dtype=np.float32)
    assert net.get_dataset(X[:4], soft)[0][1].tolist() == [1.0, 1.0]
    net = make_net()
    net.classes_inferred_ = np.array([0.5, 1.5])
    assert net.get_dataset(X[:2], np.array([0.5, 1.5]))[1][1] == 1.5


# ---------------------------------------------------------------------- the meta set


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


def test_meta_loss_is_added():
    params = {"lr": 1e-12, "max_epochs": 2, "batch_size": -1, "train_split": None, "module__norm": False}
    losses = []
    for factor in (0.0, 1.0, 10.0):
        torch.manual_seed(0)
        net = make_net(meta_loss_weight=factor, **params).fit(X, y)
        losses.append(net.history[:, "train_loss"])
    losses = np.array(losses)
    np.testing.assert_allclose(losses[:, 0], losses[0, 0], rtol=1e-6)  # not in stage 1
    added = losses[1:, 1] - losses[0, 1]
    assert added[1] == pytest.approx(10 * added[0], rel=1e-4)
    with torch.no_grad():
        logits = net.module_(torch.as_tensor(META[0]))
        one_each = [
            float(nn.functional.cross_entropy(logits[i : i + 1], torch.as_tensor(META[1][i : i + 1])))
            for i in range(12)
        ]
    assert min(one_each) < added[0] < max(one_each)


def test_meta_loss_trains_on_the_meta_set():
    """Training labels that say nothing, trusted ones that do."""
    shuffled = np.random.default_rng(0).permutation(y)
    scores = [
        make_net(meta_loss_weight=factor, max_epochs=30, lr=0.02, batch_size=16, weighter=OTSampleWeighter(reg=20.0))
        .fit(X, shuffled)
        .score(X, y)
        for factor in (0.0, 10.0)
    ]
    assert scores[1] > scores[0] + 0.2


# ---------------------------------------------------------------------- schedule


def test_schedule():
    net = make_net(warmup_epochs=2, refit_every=3, max_epochs=7).fit(X, y)
    refitted = [epoch for epoch, seconds in enumerate(net.history[:, "refit_dur"], 1) if seconds > 0]
    assert refitted == [2, 3, 6]  # stage 2 begins with weights, whatever the multiples
    costs = net.history[:, "transport_cost"]
    assert [epoch for epoch, cost in enumerate(costs, 1) if np.isfinite(cost)] == [2, 3, 6]
    sizes, largest = net.history[:, "weight_ess"], net.history[:, "weight_max"]
    assert sizes[0] == 108.0
    assert max(sizes[1:]) < 80
    assert sizes[2:5] == [sizes[2]] * 3
    assert largest[0] == 1.0
    assert largest[-1] == pytest.approx(net.sample_weight_.max())


def test_automatic_regularisation_is_settled_once(tmp_path):
    net = make_net(weighter=OTSampleWeighter(), max_epochs=2, train_split=None).fit(X, y)
    first = make_net(weighter=OTSampleWeighter(), max_epochs=1, train_split=None)
    settled = net.reweighter_.weighter_.reg_
    net.partial_fit(X, y)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(settled)
    net.save_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    first.initialize().load_params(f_criterion=tmp_path / "criterion.pt", f_params=tmp_path / "params.pt")
    first.partial_fit(X, (y + 1) % 3)  # labels that would have another reliability, were it looked at
    assert first.reweighter_.weighter_.reg_ == pytest.approx(settled)
    first.partial_fit(X, y)  # but other data than last time are new data
    assert first.reweighter_.weighter_.reg_ != pytest.approx(settled)


def test_batches_keep_the_regularisation_of_stage_1():
    net = make_net(weighter=OTSampleWeighter(), warmup_epochs=2, refit_every="batch", max_epochs=2).fit(X, y)
    settled = net.reweighter_.weighter_.reg_
    assert np.isfinite(net.history[1, "transport_cost"])
    net.partial_fit(X, y)
    assert net.reweighter_.weighter_.reg_ == pytest.approx(settled)


def test_a_batch_of_one_class_does_not_settle_the_regularisation():
    order = np.argsort(y, kind="stable")
    net = make_net(weighter=OTSampleWeighter(), warmup_epochs=0, refit_every="batch", train_split=None, batch_size=45)
    net.set_params(iterator_train__shuffle=False, max_epochs=1).fit(X[order], y[order])  # 45, 45, and 30 and 15
    assert net.reweighter_.weighter_.reg_ != pytest.approx(UNKNOWN_REG)


def test_smoothing_mixes_old_and_new():
    params = {"lr": 0.05, "max_epochs": 2, "batch_size": -1, "train_split": None, "module__norm": False}
    torch.manual_seed(0)
    first = make_net(warmup_epochs=1, **{**params, "max_epochs": 1}).fit(X, y).sample_weight_
    weights = {}
    for smoothing in (0.0, 0.9):
        torch.manual_seed(0)
        net = make_net(warmup_epochs=1, smoothing=smoothing, **params).fit(X, y)
        weights[smoothing] = net.sample_weight_
    # both trained epoch 2 on the first weights, which have nothing to be mixed with
    np.testing.assert_allclose(weights[0.9], 0.9 * first + 0.1 * weights[0.0], rtol=1e-4)
    assert not np.allclose(weights[0.0], first, rtol=1e-3)


@pytest.mark.parametrize(
    ("frozen", "trains"), [(True, "head"), ("body", "head"), (["head"], "body"), ("body.1", "head")]
)
def test_frozen_layers_stay_as_they_are(frozen, trains):
    net = make_net(warmup_epochs=2, max_epochs=2, module__dropout=0.5, freeze=frozen).fit(X, y)
    before = {name: value.clone() for name, value in net.module_.state_dict().items()}
    net.partial_fit(X, y)
    after = net.module_.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if frozen == "body.1":
        assert changed == {"body.0.weight", "body.0.bias", "head.weight", "head.bias"}
    else:
        assert {name.split(".")[0] for name in changed} == {trains}


def test_frozen_dropout_rests():
    net = make_net(warmup_epochs=0, max_epochs=1, module__dropout=0.9, freeze=True).fit(X, y)
    module, rows = net.module_.train(), torch.as_tensor(X)
    assert torch.equal(module(rows), module(rows))


# ---------------------------------------------------------------------- scikit-learn


def test_clone_and_parameters():
    net = make_net(weighter=OTSampleWeighter(reg=0.3), smoothing=0.5)
    copy = clone(net)
    assert copy.smoothing == 0.5
    assert copy.weighter.reg == 0.3
    copy.set_params(weighter__reg=0.7, warmup_epochs=2, max_epochs=3)
    copy.fit(X, y)
    assert copy.reweighter_.weighter_.reg_ == 0.7
    assert np.isnan(copy.history[0, "transport_cost"])
    clone(copy).fit(X, y)
    copy.set_params(smoothing=0.25, weighter__reg=0.2).partial_fit(X, y)
    assert copy.reweighter_.weighter_.reg_ == 0.2
    assert dict(copy.callbacks_)["reweighting"].smoothing == 0.25


@pytest.mark.parametrize("form", ["array", "strings", "dataset"])
def test_grid_search(form):
    net = make_net(meta=4, weighter=OTSampleWeighter(), train_split=None, random_state=0)
    grid = {"weighter__reg": [0.1, 0.5], "module__n_hidden": [4]}
    data, labels, scoring = X, y, "balanced_accuracy"
    if form == "strings":
        labels, scoring = NAMES[y], "roc_auc_ovr"
    if form == "dataset":
        data, labels = SliceDataset(SkorchDataset(X, y)), y
    search = GridSearchCV(net, grid, cv=3, scoring=scoring, error_score="raise").fit(data, labels)
    assert search.best_params_["weighter__reg"] in (0.1, 0.5)
    assert search.best_estimator_.sample_weight_.shape == y.shape


def test_without_the_callback_it_is_a_plain_net():
    net = make_net(callbacks__reweighting=None).fit(X, y)
    assert "weight_ess" not in net.history[-1]
    with pytest.raises(AttributeError, match="no sample_weight_"):
        _ = net.sample_weight_
    with pytest.raises(AttributeError, match="no reweighter_"):
        _ = net.reweighter_


# ---------------------------------------------------------------------- saving


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_pickle(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    net = make_net(device=device, meta=(META[0], NAMES[META[1]])).fit(X, NAMES[y])
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.sample_weight_, net.sample_weight_)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    loaded.partial_fit(X, NAMES[y])
    assert len(loaded.history) == 6
    callback = dict(net.callbacks_)["reweighting"]
    assert not any(isinstance(value, torch.Tensor) for value in vars(callback).values())


def test_pickle_within_training(tmp_path):
    """As the pickle option of Checkpoint does it."""
    path = tmp_path / "net.pkl"
    callbacks = [Checkpoint(monitor=None, f_pickle=str(path), dirname="")]
    callbacks[0].set_params(**dict.fromkeys(["f_params", "f_optimizer", "f_criterion", "f_history"]))
    net = make_net(callbacks=callbacks, meta=(META[0], NAMES[META[1]])).fit(X, NAMES[y])
    loaded = pickle.loads(path.read_bytes())
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    torch.manual_seed(1)
    net.partial_fit(X, NAMES[y])
    torch.manual_seed(1)
    loaded.partial_fit(X, NAMES[y])
    assert torch.equal(state_of(net), state_of(loaded))
    clone(loaded)


def test_resuming_from_a_checkpoint_keeps_the_weights(tmp_path):
    def new(**params):
        checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None)
        return checkpoint, make_net(meta=4, train_split=None, iterator_train__shuffle=False, **params)

    checkpoint, whole = new()
    whole.set_params(callbacks=[checkpoint], max_epochs=3).fit(X, y)
    checkpoint, resumed = new()
    resumed.set_params(callbacks=[LoadInitState(checkpoint)], max_epochs=1)
    torch.manual_seed(3)
    resumed.fit(X, y)
    assert len(resumed.history) == 4
    torch.manual_seed(3)
    whole.set_params(max_epochs=1, callbacks=[]).partial_fit(X, y)
    assert resumed.history[-1, "train_loss"] == pytest.approx(whole.history[-1, "train_loss"], rel=1e-6)
    np.testing.assert_allclose(resumed.sample_weight_, whole.sample_weight_, rtol=1e-5)
    # and for a look at them, without training
    checkpoint, net = new()
    net.initialize().load_params(checkpoint=checkpoint)
    assert net.sample_weight_.shape == y.shape


def test_resuming_a_plain_net(tmp_path):
    def new(load):
        checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None)
        callbacks = [OTReweighting(META, "head", warmup_epochs=1), LoadInitState(checkpoint) if load else checkpoint]
        return NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, callbacks=callbacks, max_epochs=2, verbose=0)

    first = new(load=False).fit(X, y)
    resumed = new(load=True).fit(X, y)
    w = first.callbacks[0].sample_weight_
    assert len(resumed.history) == 4
    assert not np.array_equal(resumed.callbacks[0].sample_weight_, np.ones_like(w))
    # the first epoch after resuming was weighted, by the weights of the checkpoint
    assert resumed.history[2, "train_loss"] == pytest.approx(first.history[1, "train_loss"], rel=0.2)


# ---------------------------------------------------------------------- partial_fit


def test_partial_fit_goes_on():
    torch.manual_seed(0)
    whole = make_net(max_epochs=4).fit(X, y)
    torch.manual_seed(0)
    parts = make_net(max_epochs=2).partial_fit(X, y).partial_fit(X, y)
    # the split is the same, shuffling goes on from where it was
    assert torch.equal(state_of(whole), state_of(parts))
    np.testing.assert_array_equal(whole.sample_weight_, parts.sample_weight_)


@pytest.mark.parametrize("n_rows", [135, 80])
def test_partial_fit_on_other_data_weighs_it_at_once(n_rows):
    other, labels = blobs(seed=3)
    other, labels = other[:n_rows], labels[:n_rows]
    net = make_net(train_split=None, max_epochs=2, weighter=OTSampleWeighter(reg=0.2)).fit(X, y)
    before = net.module_.state_dict()["body.0.weight"].clone()
    net.set_params(max_epochs=1, refit_every=100, lr=1e-12).partial_fit(other, labels)
    assert len(net.sample_weight_) == n_rows
    np.testing.assert_allclose(before, net.module_.state_dict()["body.0.weight"])
    mass = [net.sample_weight_[labels == c].sum() / n_rows for c in range(3)]
    np.testing.assert_allclose(mass, 1 / 3, atol=0.1)


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: (X, y),
        lambda X, y: ({"X": X}, y),
        lambda X, y: (torch.as_tensor(X), torch.as_tensor(y)),
        lambda X, y: (SkorchDataset(X, y), None),
        lambda X, y: (Subset(TensorDataset(torch.as_tensor(X), torch.as_tensor(y)), list(range(len(y)))), None),
    ],
    ids=["arrays", "dictionary", "tensors", "skorch", "subset"],
)
def test_other_rows_with_the_same_labels_are_other_data(make):
    """As in chunks that are each sorted by class."""
    labels = np.repeat([0, 1, 2], 20)
    rng = np.random.default_rng(0)
    rows, other = (rng.normal(size=(60, 6)) + 2 * np.eye(6)[labels] for _ in range(2))
    net = make_net(train_split=None, max_epochs=2).fit(*make(rows.astype(np.float32), labels))
    before = net.sample_weight_
    net.set_params(max_epochs=1, refit_every=100)
    net.partial_fit(*make(rows.astype(np.float32), labels))
    np.testing.assert_array_equal(net.sample_weight_, before)
    net.partial_fit(*make(other.astype(np.float32), labels))
    assert not np.allclose(net.sample_weight_, before, rtol=0.1)


def test_classes_grow_by_partial_fit():
    net = make_net(train_split=None, warmup_epochs=20, meta=None).partial_fit(X[y < 2], y[y < 2])
    assert net.classes_.tolist() == [0, 1]
    net.partial_fit(X[y > 0], y[y > 0])
    assert net.classes_.tolist() == [0, 1, 2]
    net.partial_fit(X[y < 1], y[y < 1])
    assert net.classes_.tolist() == [0, 1, 2]


def test_names_of_classes_stay():
    net = make_net(train_split=None, warmup_epochs=9, meta=None, max_epochs=1).partial_fit(X[y < 2], NAMES[y[y < 2]])
    net.partial_fit(X[y < 1], NAMES[y[y < 1]])
    assert net.classes_.tolist() == ["ash", "oak"]
    with pytest.raises(ValueError, match="no classes of this net: 'elm'"):
        net.partial_fit(X, NAMES[y])
    net.fit(X, NAMES[y])
    assert net.classes_.tolist() == ["ash", "elm", "oak"]


# ---------------------------------------------------------------------- torch


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own compiled loss
@pytest.mark.parametrize("params", [{}, {"feature_layer": None, "module__both": True}, {"freeze": True}])
def test_compiled(params):
    torch._dynamo.reset()
    compiled = {"compile": True, "compile__backend": "eager"}
    states = []
    for extra in ({}, compiled):
        torch.manual_seed(0)
        net = make_net(**params, **extra).fit(X, y)
        states.append(net.sample_weight_)
    np.testing.assert_allclose(states[1], states[0], rtol=1e-3)


class Autocast(NeuralNetClassifier):
    """Mixed precision as the documentation of skorch does it, without a scaler."""

    dtype = torch.bfloat16

    def infer(self, x, **fit_params):
        with torch.autocast("cpu", dtype=self.dtype):
            return super().infer(x, **fit_params).float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("refit_every", [1, "batch"])
def test_mixed_precision(dtype, refit_every):
    weights = []
    for cls in (NeuralNetClassifier, Autocast):
        torch.manual_seed(0)
        Autocast.dtype = dtype
        weighter = OTSampleWeighter(reg=0.2)
        callback = OTReweighting(META, "head", weighter, warmup_epochs=1, refit_every=refit_every)
        cls(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], max_epochs=3, verbose=0).fit(X, y)
        weights.append(callback.sample_weight_)
    np.testing.assert_allclose(weights[1], weights[0], rtol=0.1)
    assert weights[1].dtype == np.float32


class Accumulating(NeuralNetClassifier):
    """Gradient accumulation as the documentation of skorch does it."""

    steps = 3

    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) / self.steps

    def train_step(self, batch, **fit_params):
        n = len(self.history[-1, "batches"])
        step = self.train_step_single(batch, **fit_params)
        if n % self.steps == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


def test_gradient_accumulation():
    """Three batches of a third each are one batch, the meta loss included."""
    states = []
    for cls, batch_size in ((NeuralNetClassifier, 135), (Accumulating, 45)):
        torch.manual_seed(0)
        callback = OTReweighting(META, "head", warmup_epochs=1)
        net = cls(
            Net,
            module__norm=False,
            criterion=nn.CrossEntropyLoss,
            callbacks=[callback],
            max_epochs=4,
            batch_size=batch_size,
            train_split=None,
            verbose=0,
            lr=0.1,
        ).fit(X, y)
        states.append(state_of(net))
    np.testing.assert_allclose(states[1], states[0], rtol=1e-3, atol=1e-5)


def test_gradient_accumulation_scales_the_meta_loss_once():
    losses = []
    for steps in (1, 3):
        torch.manual_seed(0)
        Accumulating.steps = steps
        callback = OTReweighting(META, "head", warmup_epochs=1, meta_loss_weight=5.0)
        params = {"batch_size": 135, "train_split": None, "verbose": 0, "lr": 1e-12, "max_epochs": 2}
        net = Accumulating(Net, module__norm=False, criterion=nn.CrossEntropyLoss, callbacks=[callback], **params).fit(
            X, y
        )
        losses.append(net.history[:, "train_loss"])
    Accumulating.steps = 3
    np.testing.assert_allclose(losses[0], 3 * np.array(losses[1]), rtol=1e-5)


def test_optimizer_that_evaluates_several_times():
    net = make_net(optimizer=torch.optim.LBFGS, batch_size=-1, max_epochs=3, module__norm=False).fit(X, y)
    assert net.score(X, y) > 0.9
    assert net.sample_weight_.max() > 1.5


def test_criterion_that_is_evaluated_twice_per_batch():
    class Twice(NeuralNetClassifier):
        def get_loss(self, y_pred, *args, **kwargs):
            return super().get_loss(y_pred, *args, **kwargs) + 0.5 * super().get_loss(2 * y_pred, *args, **kwargs)

    callback = OTReweighting(META, "head", warmup_epochs=1)
    Twice(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], max_epochs=2, verbose=0).fit(X, y)
    assert callback.sample_weight_.max() > 1.5


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_each_reduction(reduction):
    """'none' is for nets that reduce the loss by themselves."""

    class Reducing(NeuralNetClassifier):
        def get_loss(self, *args, **kwargs):
            return super().get_loss(*args, **kwargs).mean()

    callback = OTReweighting(META, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    params = {"max_epochs": 3, "verbose": 0, "batch_size": -1, "criterion__reduction": reduction}
    net = Reducing(Net, criterion=nn.CrossEntropyLoss, callbacks=[callback], lr=1e-12, **params).fit(X, y)
    factor = 108 if reduction == "sum" else 1
    expected = make_net(lr=1e-12, batch_size=-1, iterator_train__shuffle=False)
    expected.set_params(module=Net, verbose=0)
    torch.manual_seed(0)
    expected.fit(X, y)
    torch.manual_seed(0)
    net.fit(X, y)
    np.testing.assert_allclose(
        net.history[:, "train_loss"], factor * np.array(expected.history[:, "train_loss"]), rtol=1e-4
    )
    assert net.criterion_.reduction == reduction


def test_losses_with_more_dimensions():
    """Binary cross-entropy of one-hot labels: a sample's loss is a row."""
    targets = np.eye(3, dtype=np.float32)[y]
    weighter = OTSampleWeighter(target_type="columns", reg=0.2)
    callback = OTReweighting((META[0], np.eye(3, dtype=np.float32)[META[1]]), "head", weighter, warmup_epochs=1)
    net = NeuralNet(
        Net, criterion=nn.BCEWithLogitsLoss, callbacks=[callback], max_epochs=3, verbose=0, train_split=None
    )
    net.fit(X, targets)
    mass = [callback.sample_weight_[y == c].mean() for c in range(3)]
    assert mass[2] > 2 * mass[0]


@pytest.mark.parametrize("params", [{"refit_every": 1}, {"refit_every": "batch"}, {"meta_loss_weight": 1.0}])
@pytest.mark.parametrize("drawn", [False, True])
def test_binary_labels_in_a_column(params, drawn):
    """As BCEWithLogitsLoss wants them; the suite turns warnings into errors."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    labels, trusted = (part[:, None].astype(np.float32) for part in (y > 0, META[1] > 0))
    callback = OTReweighting(4 if drawn else (META[0], trusted), "head", warmup_epochs=1, **params)
    NeuralNet(One, criterion=nn.BCEWithLogitsLoss, callbacks=[callback], max_epochs=3, verbose=0, train_split=None).fit(
        X, labels
    )
    w = callback.sample_weight_
    np.testing.assert_allclose([w[y == 0].sum(), w[y > 0].sum()], len(y) / 2, rtol=0.2)


def test_meta_loss_of_several_labels():
    """Every combination is equally likely."""
    from skotw.deep._trusted_set import balanced_batches

    labels = np.repeat([[0, 1], [1, 0], [1, 1]], [100, 15, 5], axis=0)
    dataset = TensorDataset(torch.arange(120), torch.as_tensor(labels))
    batches = balanced_batches(dataset, labels, 30)
    drawn = torch.cat([next(batches)[1] for _ in range(40)]).numpy()
    np.testing.assert_allclose(np.bincount(drawn @ [1, 2]) / len(drawn), [0, 1 / 3, 1 / 3, 1 / 3], atol=0.06)


def test_regression():
    """Few large targets, many small ones, evenly many trusted."""

    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, :1]

    target = (X[:, :1] + X[:, 1:2]).astype(np.float32)
    weighter = OTSampleWeighter(reg=0.1)
    meta = META[0], (META[0][:, 0] + META[0][:, 1])[:, None].astype(np.float32)
    callback = OTReweighting(meta, "head", weighter, warmup_epochs=1)
    NeuralNetRegressor(One, callbacks=[callback], max_epochs=3, verbose=0).fit(X, target)
    assert callback.sample_weight_.mean() == pytest.approx(1.0, rel=1e-4)


# ---------------------------------------------------------------------- reports


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


def test_imbalance_is_no_collapse():
    """The suite turns warnings into errors."""
    rows, labels = blobs((900, 60, 3))
    make_net(weighter=OTSampleWeighter(label_weight=0.9, reg=0.3), train_split=None).fit(rows, labels)
    make_net(weighter=OTSampleWeighter(prior="uniform", reg=1.0), train_split=None).fit(rows, labels)


def test_tensors():
    torch.manual_seed(0)
    net = make_net(train_split=None).fit(torch.as_tensor(X), torch.as_tensor(y))
    net.partial_fit(torch.as_tensor(X), torch.as_tensor(y))
    torch.manual_seed(0)
    arrays = make_net(train_split=None).fit(X, y).partial_fit(X, y)
    assert torch.equal(state_of(net), state_of(arrays))


def test_a_sample_drawn_several_times_counts_once():
    """As by a sampler with replacement: the features of its last draw."""
    from skotw.deep._callback import _Rows

    rows = _Rows()
    rows.add(torch.tensor([3, 1]), torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]))
    rows.add(torch.tensor([3, 4]), torch.tensor([[2.0], [3.0]]), torch.tensor([0, 2]))
    ids, features, labels = rows.of_transport(torch.tensor([4, 9]))
    assert ids.tolist() == [1, 3]
    assert features.tolist() == [[1.0], [2.0]]
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("n_rows", [2, 20])
def test_a_chunk_of_one_class_is_weighed_within_it(n_rows):
    net = make_net(train_split=None).fit(X, y)
    rows = np.flatnonzero(y == 1)[:n_rows]
    net.partial_fit(X[rows], y[rows])
    w = net.sample_weight_
    assert w.shape == (n_rows,)
    np.testing.assert_allclose(w.mean(), 1.0, rtol=1e-5)
    assert w.std() > 0.001
