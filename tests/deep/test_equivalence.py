"""What the deep path must equal: plain skorch, OTSampleWeighter, and its own other modes."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import WeightedRandomSampler

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from skotw.deep._weighted_criterion import SampleWeights
from tests.deep._nets import META, Net, blobs, make_net, state_of

X, y = blobs()


def features_of(net, rows):
    """Features in evaluation mode, by hand."""
    module = net.module_.eval()
    with torch.no_grad():
        return module.body(torch.as_tensor(rows)).numpy()


@pytest.mark.filterwarnings("ignore:Training ends after")
@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize("params", [{"refit_every": 10**6, "warmup_epochs": 0}, {"warmup_epochs": 10**6}])
def test_never_refitted_is_plain_skorch_bit_for_bit(criterion, params):
    class Probabilities(Net):
        def forward(self, X):
            return super().forward(X).softmax(1) if criterion is nn.NLLLoss else super().forward(X)

    shared = {"criterion": criterion, "module__dropout": 0.2, "iterator_train__shuffle": True, "verbose": 0, "lr": 0.1}
    torch.manual_seed(0)
    plain = NeuralNetClassifier(Probabilities, max_epochs=4, batch_size=32, **shared).fit(X, y)
    torch.manual_seed(0)
    ours = make_net(Probabilities, max_epochs=4, **params, **shared).fit(X, y)
    assert torch.equal(state_of(ours), state_of(plain))
    for column in ("train_loss", "valid_loss", "valid_acc"):
        assert ours.history[:, column] == plain.history[:, column]


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_weights_that_are_all_one_train_as_plain_skorch():
    """The weighted loss itself: label cost only, balanced classes, so that each weight is one."""
    even, labels = blobs((40, 40, 40))
    weighter = OTSampleWeighter(label_weight=1.0, reg=0.5)
    torch.manual_seed(0)
    ours = make_net(weighter=weighter, train_split=None).fit(even, labels)
    torch.manual_seed(0)
    plain = make_net(warmup_epochs=10, train_split=None).fit(even, labels)
    np.testing.assert_allclose(ours.sample_weight_, 1.0, rtol=1e-5)
    np.testing.assert_allclose(state_of(ours).numpy(), state_of(plain).numpy(), rtol=1e-3, atol=1e-5)


def test_weights_that_are_all_one_keep_the_mean_of_the_criterion():
    """By its own class weights, without the labels that it ignores."""
    even, labels = blobs((40, 40, 40))
    weighter = OTSampleWeighter(label_weight=1.0, reg=0.5)
    criterion = {"criterion__weight": torch.tensor([1.0, 5.0, 20.0]), "criterion__ignore_index": 1}
    net = make_net(weighter=weighter, train_split=None, lr=1e-12, batch_size=-1, module__norm=False, **criterion)
    with pytest.warns(UserWarning, match="balanced twice"):
        losses = net.fit(even, labels).history[:, "train_loss"]
    np.testing.assert_allclose(net.sample_weight_, 1.0, rtol=1e-5)
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)


@pytest.mark.parametrize("targets", [torch.tensor([0, 2, -100, 1]), torch.eye(3)[[0, 2, 2, 1]]])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 5.0, 20.0])])
def test_losses_of_samples_have_the_mean_of_the_criterion(targets, weight):
    logits, found = torch.randn(4, 3), []
    criterion = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    expected = criterion(logits, targets)
    weights = SampleWeights.attach(criterion)
    weights.per_sample, weights.step = True, lambda loss, reduction: found.append(loss) or loss.mean()
    torch.testing.assert_close(criterion(logits, targets), expected)
    assert found[0].shape == (4,)


@pytest.mark.filterwarnings("ignore:Training ends after")
@pytest.mark.parametrize(
    "params", [{}, {"reg": 0.1, "embedding": None, "metric": "euclidean"}, {"reg": 0.2, "label_cost": "hard"}]
)
def test_clean_weights_are_those_of_the_weighter_on_the_same_features(params):
    weighter = OTSampleWeighter(**params)
    epochs = 3 if params else 1  # reg="auto" is settled by the first refit, by a rule of its own
    net = make_net(weighter=weighter, features="clean", module__dropout=0.3, max_epochs=epochs).fit(X, y)
    rows, weighter = net.train_indices_, clone(weighter).set_params(reg=net.reweighter_.weighter_.reg_)
    expected = weighter.fit_weights(features_of(net, X[rows]), y[rows], features_of(net, META[0]), META[1])
    np.testing.assert_allclose(net.sample_weight_, expected, rtol=2e-4)


def test_cached_weights_are_those_of_the_weighter_on_the_training_pass():
    """With a learning rate of nearly zero and no batch norm the training pass sees the final network."""
    net = make_net(weighter=OTSampleWeighter(), lr=1e-12, module__norm=False).fit(X, y)
    rows, weighter = net.train_indices_, OTSampleWeighter(reg=net.reweighter_.weighter_.reg_)
    expected = weighter.fit_weights(features_of(net, X[rows]), y[rows], features_of(net, META[0]), META[1])
    np.testing.assert_allclose(net.sample_weight_, expected, rtol=2e-4)


def test_without_meta_set_prototypes_take_its_place():
    weighter = OTSampleWeighter(reg=0.2, n_prototypes=1)
    net = make_net(meta=None, weighter=weighter, features="clean").fit(X, y)
    rows = net.train_indices_
    expected = weighter.fit_weights(features_of(net, X[rows]), y[rows])
    np.testing.assert_allclose(net.sample_weight_, expected, rtol=2e-4)


def test_batch_mode_on_one_full_batch_is_the_epoch_solve():
    """Before the step of epoch 2 both see the network that epoch 1 left."""
    weights = []
    for refit_every in (1, "batch"):
        torch.manual_seed(0)
        net = make_net(
            refit_every=refit_every, lr=1e-12, max_epochs=2, batch_size=-1, train_split=None, module__norm=False
        )
        net.fit(X, y)
        weights.append(net.sample_weight_)
    np.testing.assert_allclose(weights[1], weights[0], rtol=2e-4)


def test_batch_mode_weighs_each_batch_by_itself():
    net = make_net(refit_every="batch", train_split=None, weighter=OTSampleWeighter(reg=0.3), batch_size=45)
    net.set_params(iterator_train__shuffle=False, max_epochs=2).fit(X, y)
    for start in (0, 45, 90):
        of_batch = net.sample_weight_[start : start + 45]
        assert of_batch.mean() == pytest.approx(1.0, rel=1e-5)
        mass = [of_batch[y[start : start + 45] == c].sum() / 45 for c in range(3)]
        np.testing.assert_allclose(mass, 1 / 3, atol=0.1)


def test_callback_on_a_plain_net_is_the_classifier():
    params = {"max_epochs": 3, "criterion": nn.CrossEntropyLoss, "lr": 0.1, "batch_size": 32, "verbose": 0}
    callback = OTReweighting(META, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    torch.manual_seed(0)
    plain = NeuralNetClassifier(Net, callbacks=[callback], iterator_train__shuffle=True, **params).fit(X, y)
    torch.manual_seed(0)
    ours = make_net().fit(X, y)
    assert torch.equal(state_of(ours), state_of(plain))
    np.testing.assert_array_equal(callback.sample_weight_, ours.sample_weight_)


def test_module_that_returns_features_is_the_named_layer():
    states = []
    for params in ({}, {"feature_layer": None, "module__both": True}):
        torch.manual_seed(0)
        states.append(state_of(make_net(**params).fit(X, y)))
    assert torch.equal(*states)


class Ids(nn.Module):
    """Its only feature is the sample's number, which the first column of X is."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 3)

    def forward(self, X):
        return self.head(X)


@pytest.mark.filterwarnings("ignore:Training ends after")
@pytest.mark.parametrize("train_split", [True, False])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"iterator_train__shuffle": False},
        {"iterator_train__num_workers": 2},
        {"iterator_train__drop_last": True},
        {"sampler": True, "iterator_train__shuffle": False},
        {"iterator_train__collate_fn": torch.utils.data.default_collate},
        {"features": "clean"},
    ],
    ids=lambda params: ", ".join(params) or "defaults",
)
def test_each_weight_belongs_to_its_sample(params, train_split, monkeypatch):
    """The reweighter is replaced by one whose weight is the feature, and that is the row's own number."""
    params = dict(params)
    rows = np.arange(1, len(y) + 1, dtype=np.float32)[:, None]

    def refit(self, features, labels, *args, **kwargs):
        assert torch.equal(torch.as_tensor(y)[features[:, 0].long() - 1], labels)
        self.weighter_ = fitted
        return features[:, 0]

    fitted = OTSampleWeighter().fit(X, y, *META)
    monkeypatch.setattr("skotw.deep._reweighter.OTReweighter.refit", refit)
    if params.pop("sampler", False):
        n = len(y) if not train_split else len(y) * 4 // 5
        params["iterator_train__sampler"] = WeightedRandomSampler(torch.ones(n), 200)
    if not train_split:
        params["train_split"] = None
    net = make_net(Ids, meta=None, max_epochs=1, lr=1e-4, **params).fit(rows, y)
    weight, expected = net.sample_weight_, rows[net.train_indices_, 0]
    met = weight == expected
    assert np.all(weight[~met] == 1.0)
    partial = "iterator_train__drop_last" in params or "iterator_train__sampler" in params
    assert met.all() if not partial else 0.5 < met.mean() < 1.0


def test_loss_of_stage_2_is_the_weighted_mean():
    """One full batch: the recorded loss of epoch 2 is the mean of weight times loss, by hand."""
    torch.manual_seed(0)
    net = make_net(lr=1e-12, max_epochs=2, batch_size=-1, train_split=None, iterator_train__shuffle=False)
    net.set_params(module__norm=False).fit(X, y)
    module = net.module_.train()
    with torch.no_grad():
        losses = nn.functional.cross_entropy(module(torch.as_tensor(X)), torch.as_tensor(y), reduction="none")
    # the weights of epoch 2 were learned from epoch 1, whose features are those of epoch 2
    expected = float((torch.as_tensor(net.sample_weight_) * losses).mean())
    assert net.history[1, "train_loss"] == pytest.approx(expected, rel=1e-4)
    assert net.history[0, "train_loss"] == pytest.approx(float(losses.mean()), rel=1e-4)


def test_validation_loss_is_not_weighted():
    net = make_net(lr=1e-12, max_epochs=3, module__norm=False).fit(X, y)
    assert net.history[0, "valid_loss"] == pytest.approx(net.history[2, "valid_loss"], rel=1e-3)
    assert net.history[0, "train_loss"] != pytest.approx(net.history[2, "train_loss"], rel=1e-3)


def test_mislabelled_samples_lose():
    wrong = np.random.default_rng(0).random(len(y)) < 0.2
    given = np.where(wrong, (y + 1) % 3, y)
    net = make_net(warmup_epochs=3, max_epochs=4, train_split=None).fit(X, given)
    w = net.sample_weight_
    for c in range(3):
        assert w[(given == c) & wrong].mean() < 0.7 * w[(given == c) & ~wrong].mean()
