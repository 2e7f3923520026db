"""The criterion: what hangs on it, and what it is asked."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from skotw.deep._weighted_criterion import SampleWeights, own_criterion
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()
COMPILED = {"compile": True, "compile__backend": "eager"}
compiling = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


def plain(module=Net, cls=NeuralNetClassifier, criterion=nn.CrossEntropyLoss, meta=META, **params):
    """A net of skorch itself, with the callback."""
    callback = OTReweighting(meta, "head", OTSampleWeighter(), warmup_epochs=1)
    defaults = {"max_epochs": 2, "batch_size": 32, "verbose": 0, "callbacks": [callback]}
    return cls(module, criterion=criterion, **{**defaults, **params})


def bare(criterion):
    """Nothing of ours is on it."""
    return not (
        criterion._modules or criterion._forward_hooks or criterion._forward_pre_hooks or criterion.state_dict()
    )


# ---------------------------------------------------------------------- an instance


@compiling
@pytest.mark.parametrize("params", [{}, COMPILED])
@pytest.mark.parametrize("make", [make_net, plain])
def test_an_instance_stays_as_the_user_gave_it(make, params):
    torch._dynamo.reset()
    criterion = nn.CrossEntropyLoss()
    net = make(criterion=criterion, **params).fit(X, y)
    assert SampleWeights.of(net.criterion_).learned
    assert bare(criterion)
    assert net.criterion is criterion
    assert bare(clone(net).criterion)
    assert clone(net).initialize().criterion_.reduction == "mean"


@pytest.mark.parametrize("make", [make_net, plain])
def test_a_fit_starts_anew(make):
    """As with the class: neither weights, nor trusted ids, nor reg, of the earlier data."""
    other, labels = blobs((60, 40, 20), seed=7)
    first, seen = Recording(), []
    for criterion in (nn.CrossEntropyLoss, nn.CrossEntropyLoss()):
        torch.manual_seed(0)
        net = make(criterion=criterion, meta=4, train_split=None)
        net.set_params(callbacks=[*(net.callbacks or []), first])
        net.fit(X, y)
        torch.manual_seed(0)
        net.fit(other, labels)
        state = SampleWeights.of(net.criterion_)
        seen.append((first.learned, state.weight, state.trusted, float(state.reg)))
        assert int(state.trusted.max()) < len(labels)
    assert seen[0][0] == seen[1][0] == [False, False]
    assert len(seen[1][1]) == len(labels)
    # the meta set is drawn by NumPy, and so the weights may differ
    assert seen[0][2].shape == seen[1][2].shape


class Recording(Callback):
    """Whether weights were there when training began."""

    def initialize(self):
        self.learned = getattr(self, "learned", [])[-1:]
        return self

    def on_train_begin(self, net, **kwargs):
        weights = SampleWeights.of(net.criterion_)
        self.learned.append(weights is not None and weights.learned)


def test_a_search_starts_each_fold_anew():
    net = make_net(criterion=nn.CrossEntropyLoss(), meta=4, train_split=None, weighter=OTSampleWeighter())
    search = GridSearchCV(net, {"weighter__reg": [0.1, 0.5]}, cv=2, error_score="raise").fit(X, y)
    assert float(SampleWeights.of(search.best_estimator_.criterion_).reg.nan_to_num(-1)) == -1  # a number was given
    assert bare(net.criterion)


def test_weights_of_another_net_are_left_behind():
    used = make_net(train_split=None).fit(X, y).criterion_
    net = make_net(criterion=used)
    assert not SampleWeights.of(net.initialize().criterion_).learned
    assert SampleWeights.of(used).learned


def test_an_instance_trains_its_parameters():
    """They are shared, so that the optimizer moves what the user holds, as by skorch."""

    class Scaled(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, y_pred, y_true):
            return super().forward(self.scale * y_pred, y_true)

    for make in (make_net, plain):
        criterion = Scaled()
        net = make(criterion=criterion).fit(X, y)
        assert criterion.scale.item() != 1.0
        assert net.criterion_.scale is criterion.scale


def test_a_criterion_with_a_forward_of_its_own_is_not_copied():
    """As accelerate makes it: the forward would be that of the original."""

    class Holder:
        criterion = criterion_ = nn.CrossEntropyLoss()

    Holder.criterion.forward = Holder.criterion.forward
    assert own_criterion(Holder) is Holder.criterion


def test_partial_fit_and_pickles_keep_the_weights():
    net = make_net(criterion=nn.CrossEntropyLoss(), train_split=None).fit(X, y)
    weights = net.sample_weight_
    loaded = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(loaded.sample_weight_, weights)
    np.testing.assert_array_equal(copy.deepcopy(net).sample_weight_, weights)
    loaded.set_params(refit_every=100).partial_fit(X, y)
    np.testing.assert_array_equal(loaded.sample_weight_, weights)


# ---------------------------------------------------------------------- the first batch


class Reduced(nn.Module):
    def forward(self, y_pred, y_true):
        return nn.functional.cross_entropy(y_pred, y_true)


class Disobedient(Reduced):
    reduction = "mean"


class Settled(nn.Module):
    """It heard of its reduction when it was made, and never again."""

    def __init__(self, reduction="mean"):
        super().__init__()
        self.reduction = reduction
        self.loss = nn.CrossEntropyLoss(reduction=reduction)

    def forward(self, y_pred, y_true):
        return self.loss(y_pred, y_true)


@compiling
@pytest.mark.parametrize("params", [{}, COMPILED])
@pytest.mark.parametrize("criterion", [Disobedient, Disobedient(), Settled])
@pytest.mark.parametrize("make", [make_net, plain])
def test_a_criterion_that_does_not_obey_is_told_before_the_first_step(make, criterion, params):
    torch._dynamo.reset()
    module = Net()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"already reduced. With reduction='none' it returned shape \(\).*self.red"):
        make(module, criterion=criterion, max_epochs=50, **params).fit(X, y)
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, before[name])


class Moody(nn.CrossEntropyLoss):
    """It counts, remembers and draws, which one call more or less would show."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, y_pred, y_true):
        self.calls += 1
        self.mean += y_pred.detach().mean()
        loss = super().forward(y_pred + 0.1 * torch.rand_like(y_pred), y_true)
        return loss + 0 * self.mean


@pytest.mark.filterwarnings("ignore:Training ends after")
def test_asking_leaves_no_trace():
    criteria = []
    for callbacks in ([], None):
        torch.manual_seed(0)
        net = plain(criterion=Moody, max_epochs=1, **({} if callbacks is None else {"callbacks": callbacks})).fit(X, y)
        criteria.append(net.criterion_)
    without, ours = criteria
    assert ours.calls == without.calls
    assert torch.equal(ours.mean, without.mean)


@pytest.mark.parametrize("cls", [NeuralNetClassifier, NeuralNet])
@pytest.mark.parametrize("outputs", ["logits", "log_softmax", "sigmoid"])
def test_logits_under_the_default_criterion(cls, outputs):
    class Outputs(Net):
        def forward(self, X):
            logits = super().forward(X)
            return {"logits": logits, "log_softmax": logits.log_softmax(1), "sigmoid": logits.sigmoid()}[outputs]

    if cls is NeuralNet and outputs == "log_softmax":  # which is what torch means by it
        plain(Outputs, cls, nn.NLLLoss).fit(X, y)
        return
    for make in (
        lambda module: plain(module, cls, nn.NLLLoss),
        lambda module: make_net(module, criterion=nn.NLLLoss()),
    ):
        module = Outputs()
        before = copy.deepcopy(module.state_dict())
        with pytest.raises(ValueError, match=r"If the module returns logits, pass criterion=nn\.CrossEntropyLoss"):
            make(module).fit(X, y)
        for name, parameter in module.named_parameters():
            assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_probabilities_under_the_default_criterion(dtype):
    class Probabilities(Net):
        def forward(self, X):
            return super().forward(X).softmax(1).to(dtype)

    assert plain(Probabilities, criterion=nn.NLLLoss).fit(X, y).history[-1, "weight_max"] > 1.5


def test_binary_net():
    class One(Net):
        def forward(self, X):
            return super().forward(X)[:, 0]

    labels, trusted = (y > 0).astype(np.float32), (META[1] > 0).astype(np.float32)
    for criterion in (nn.BCEWithLogitsLoss, nn.BCEWithLogitsLoss()):
        net = plain(One, NeuralNetBinaryClassifier, criterion, (META[0], trusted)).fit(X, labels)
        assert net.history[-1, "weight_max"] > 1.1
        assert net.predict(X).shape == y.shape


def test_a_tuple_reaches_the_losses_of_torch():
    """They take tensors only, and skorch predicts from the first of a tuple."""
    net = plain(Net, module__both=True).fit(X, y)
    assert net.predict_proba(X).shape == (len(y), 3)


class Named(Net):
    def forward(self, X):
        return {"logits": super().forward(X)}


def test_a_dict_in_a_plain_net():
    with pytest.raises(TypeError, match=r"returns dict.*Or let your net's infer return the logits"):
        plain(Named).fit(X, y)

    class Inferring(NeuralNetClassifier):
        def infer(self, x, **fit_params):
            return super().infer(x, **fit_params)["logits"]

    assert plain(Named, Inferring).fit(X, y).predict(X).shape == y.shape


# ---------------------------------------------------------------------- labels of classes


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["ash", "élm", "oak"]),
        np.array(["ash", "elm"], dtype=object),
        np.array([b"a\xff", b"b"]),
        np.array([3, 7], dtype=np.int16),
        np.array([0.5, 2.0]),
        np.array([False, True]),
        np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]"),
        np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"),
        np.array([], dtype=np.int64),
    ],
    ids=lambda classes: classes.dtype.str,
)
def test_labels_of_classes_are_kept(classes, tmp_path):
    weights, loaded = SampleWeights(), SampleWeights()
    assert weights.recall() is None
    weights.remember(classes)
    torch.save(weights.state_dict(), tmp_path / "weights.pt")
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert loaded.recall().dtype == classes.dtype
    np.testing.assert_array_equal(loaded.recall(), classes)


def test_labels_that_cannot_be_written_are_unknown():
    weights = SampleWeights()
    weights.remember(np.array([1 + 2j, 3]))
    assert weights.recall() is None


def test_files_of_earlier_versions():
    weights = SampleWeights()
    weights.remember(["ash", "elm"])
    state = {"weight": torch.ones(5), "trusted": torch.tensor([1]), "reg": torch.tensor(0.2)}
    weights.load_state_dict(state)
    assert weights.weight.tolist() == [1.0] * 5
    assert weights.recall() is None
