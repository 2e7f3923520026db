"""OTWeightedNetClassifier: its parameters, what errors leave of it, what files keep, and modules of any output."""

import copy
import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LoadInitState, TrainEndCheckpoint
from skorch.dataset import Dataset as SkorchDataset
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting, OTWeightedNetClassifier
from tests.deep._nets import META, OUTPUTS, Net, Records, Saying, blobs, make_net

X, y = blobs()
NAMES = np.array(["oak", "ash", "elm"])
NAMED_META = META[0], NAMES[META[1]]


def state_of(net):
    return torch.cat([p.flatten() for p in net.module_.state_dict().values()])


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"smoothness": 0.5}, ValueError),
        ({"weighter__rag": 0.5}, ValueError),
        ({"callbacks__patience__patience": 3}, ValueError),
        ({"callbacks__reweighting__frieze": True}, ValueError),
        ({"weighter": None, "weighter__reg": 0.3}, ValueError),
    ],
)
def test_one_wrong_name_changes_nothing(wrong, error, fitted):
    watching = EarlyStopping(patience=7)
    net = make_net(callbacks=[("stop", watching)], meta=4, train_split=None)
    if fitted:
        net.set_params(callbacks__stop__monitor="train_loss").fit(X, y)
        before, weights = state_of(net), net.sample_weight_
    params, weighter = copy.copy(net.get_params()), net.weighter.get_params()
    params["_params_to_validate"] = set(params["_params_to_validate"])
    right = {"smoothing": 0.5, "lr": 0.7, "max_epochs": 9, "callbacks__stop__patience": 2, "weighter__reg": 0.9}
    right = {name: value for name, value in right.items() if name not in wrong}
    with pytest.raises(error):
        net.set_params(**right, module__n_hidden=4, optimizer__momentum=0.5, **wrong)
    after = net.get_params()
    public = {name for name in params if name[0] != "_" and not name.startswith("callbacks__")}
    assert [name for name in public if params[name] is not after[name]] == []
    assert after["_params_to_validate"] == params["_params_to_validate"]
    assert set(after) == set(params)
    assert watching.patience == 7
    assert net.weighter.get_params() == weighter
    if fitted:
        assert torch.equal(state_of(net), before)
        assert net.optimizer_.param_groups[0]["lr"] == 0.1
        assert net.optimizer_.param_groups[0]["momentum"] == 0
        np.testing.assert_array_equal(net.sample_weight_, weights)
        assert net.module_.body[0].out_features == 8
        net.partial_fit(X, y)


def test_a_module_that_does_not_take_its_parameters_changes_nothing():
    net = make_net().fit(X, y)
    before, predicted = state_of(net), net.predict(X)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        net.set_params(smoothing=0.5, module__hidden=4)
    with pytest.raises(TypeError):
        net.set_params(smoothing=0.5, module__n_hidden="four")
    assert net.smoothing == 0.0
    assert torch.equal(state_of(net), before)
    np.testing.assert_array_equal(net.predict(X), predicted)
    clone(net).fit(X, y)


def test_a_weighter_and_its_parameters_at_once():
    net = make_net(weighter=None).set_params(weighter=OTSampleWeighter(), weighter__reg=0.3)
    assert net.weighter.reg == 0.3


# ---------------------------------------------------------------------- errors


class Failing(Callback):
    """It fails at a point of the training, until it is told otherwise."""

    def __init__(self, where, at=1):
        self.where, self.at, self.seen = where, at, 0

    def __getattribute__(self, name):
        if name.startswith("on_") and name == object.__getattribute__(self, "where"):
            self.seen += 1
            if self.seen >= self.at:
                raise RuntimeError("the disk is full")
        return super().__getattribute__(name)


def test_a_failed_fit_is_no_fit():
    net = make_net(meta=NAMED_META)
    with pytest.raises(NotFittedError):
        net.predict(X)
    cases = [
        ({"meta": (META[0][:, :2], NAMES[META[1]])}, ValueError),  # before the first step
        ({"callbacks": [Failing("on_epoch_end", 3)]}, RuntimeError),  # after some
        ({"smoothing": 2.0}, ValueError),  # a parameter
    ]
    for params, error in cases:
        net.fit(X, NAMES[y])
        with pytest.raises(error):
            clone(net).set_params(**params).fit(X, NAMES[y])
        failed = copy.deepcopy(net).set_params(**params)
        with pytest.raises(error):
            failed.fit(X, NAMES[y])
        for method in (failed.predict, failed.predict_proba):
            with pytest.raises(NotFittedError, match="last call of fit of this net has failed"):
                method(X)
        failed.set_params(**{name: getattr(net, name) for name in params})
        assert failed.fit(X, NAMES[y]).predict(X).dtype.kind == "U"


def test_a_failed_first_partial_fit_is_no_fit():
    net = make_net(meta=(META[0][:, :2], META[1]))
    with pytest.raises(ValueError, match="trusted samples"):
        net.partial_fit(X, y)
    with pytest.raises(NotFittedError):
        net.predict(X)
    assert net.set_params(meta=META).partial_fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("given", "params"),
    [
        ((X, np.where(y == 2, 3, y)), {}),  # a class that the trusted rows lack: classes would grow
        ((X[:20], y[:20]), {"meta": (META[0][:, :2], META[1])}),  # other data, whose weights begin anew
        ((X, y), {"callbacks__reweighting__smoothing": 0.0, "warmup_epochs": -1}),
        ((X[:, :2], y), {}),
        ((Records(X, y * 0.5), None), {}),
    ],
    ids=["classes", "meta set", "parameter", "features", "labels"],
)
def test_a_failed_partial_fit_leaves_the_net_as_it_was(given, params):
    net = make_net(train_split=None, weighter=OTSampleWeighter()).fit(X, y)
    kept = {name: getattr(net, name) for name in params if not name.startswith("callbacks__")}
    state, weights, history = state_of(net), net.sample_weight_, copy.deepcopy(net.history)
    settled, iterator = float(net.criterion_.sample_weights.reg), net.iterator_train
    net.set_params(**params)
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        net.partial_fit(*given)
    assert torch.equal(state_of(net)[:10], state[:10])
    np.testing.assert_array_equal(net.sample_weight_, weights)
    np.testing.assert_array_equal(net.train_indices_, np.arange(len(y)))
    assert net.classes_.tolist() == [0, 1, 2]
    assert net.history == history
    assert net.iterator_train is iterator
    assert float(net.criterion_.sample_weights.reg) == settled
    assert net.predict(X).shape == y.shape
    net.set_params(**kept, refit_every=100).partial_fit(X, y)  # the same data go on with their weights
    np.testing.assert_array_equal(net.sample_weight_, weights)


def test_a_partial_fit_that_fails_later_keeps_what_it_learned():
    net = make_net(train_split=None).fit(X, y)
    before = state_of(net)
    net.set_params(callbacks=[Failing("on_epoch_end", 2)])
    net.initialize_callbacks()
    with pytest.raises(RuntimeError, match="disk is full"):
        net.partial_fit(X, y)
    assert not torch.equal(state_of(net), before)
    assert len(net.history) == 5
    assert net.predict(X).shape == y.shape


# ---------------------------------------------------------------------- files


def saved(net, folder):
    files = {f"f_{name}": folder / name for name in ("params", "criterion", "history")}
    net.save_params(**files)
    return files


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss, nn.CrossEntropyLoss()])
@pytest.mark.parametrize("meta", [NAMED_META, 4])
def test_files_keep_the_names_of_classes(tmp_path, meta, criterion):
    net = make_net(meta=meta, criterion=criterion).fit(X, NAMES[y])
    files = saved(net, tmp_path)
    loaded = make_net(meta=meta, criterion=criterion).initialize()
    loaded.load_params(**files)
    assert loaded.classes_.tolist() == ["ash", "elm", "oak"]
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    np.testing.assert_array_equal(loaded.sample_weight_, net.sample_weight_)
    assert loaded.score(X, NAMES[y]) == net.score(X, NAMES[y])
    some = X[y > 0], NAMES[y[y > 0]]
    with nullcontext() if meta == 4 else pytest.warns(UserWarning, match="classes without training rows"):
        loaded.partial_fit(*some)
    # the outputs keep their meaning
    assert loaded.classes_.tolist() == ["ash", "elm", "oak"]
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again.predict(X), loaded.predict(X))
    if meta == 4:  # and a fit begins anew
        assert loaded.fit(*some).classes_.tolist() == ["ash", "elm"]


def test_checkpoints_keep_the_names_of_classes(tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None, load_best=True)
    net = make_net(meta=NAMED_META, callbacks=[checkpoint, TrainEndCheckpoint(dirname=str(tmp_path / "end"))])
    net.fit(X, NAMES[y])
    loaded = make_net(meta=NAMED_META)
    loaded.load_params(checkpoint=checkpoint)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    resumed = make_net(meta=NAMED_META, callbacks=[LoadInitState(checkpoint)], max_epochs=1).fit(X, NAMES[y])
    assert resumed.classes_.tolist() == ["ash", "elm", "oak"]
    assert len(resumed.history) == 4


def test_a_network_alone_does_not_know_the_names_of_classes(tmp_path):
    net = make_net(meta=NAMED_META).fit(X, NAMES[y])
    files = saved(net, tmp_path)
    loaded = make_net(meta=NAMED_META).initialize()
    loaded.load_params(f_params=files["f_params"])
    with pytest.raises(ValueError, match=r"does not know the labels of its classes.*load its f_criterion too, or pass"):
        loaded.predict(X)
    assert loaded.predict_proba(X).shape == (len(y), 3)  # which needs no names
    loaded.set_params(classes=["ash", "elm", "oak"])
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    loaded = make_net(meta=4).initialize()  # from which nobody can tell
    loaded.load_params(f_params=files["f_params"])
    with pytest.warns(UserWarning, match=r"does not know the labels.*Until then predict gives class indices") as seen:
        predicted = loaded.predict(X)
    assert seen[0].filename == __file__
    np.testing.assert_array_equal(np.sort(NAMES)[predicted], net.predict(X))


@pytest.mark.parametrize("given", [(X, y), (SkorchDataset(X, y), None), (Records(X, y), None)])
def test_class_indices_need_no_names(tmp_path, given):
    """The suite turns warnings into errors."""
    net = make_net(train_split=None).fit(*given)
    loaded = make_net().initialize()
    loaded.load_params(**saved(net, tmp_path))
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))


def test_another_net_forgets_the_classes_of_the_first(tmp_path):
    files = saved(make_net(meta=NAMED_META).fit(X, NAMES[y]), tmp_path)
    net = make_net().fit(X, y).initialize()
    assert not hasattr(net, "classes_inferred_")
    net.load_params(**files)
    assert set(net.predict(X)) <= set(NAMES)


# ---------------------------------------------------------------------- outputs of the module


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own compiled loss
@pytest.mark.parametrize("compiled", [{}, {"compile": True, "compile__backend": "eager"}])
@pytest.mark.parametrize("feature_layer", [None, "head"])
@pytest.mark.parametrize("form", OUTPUTS)
def test_any_output_with_logits_is_the_tensor(form, feature_layer, compiled):
    params = {"meta_loss_weight": 1.0, "refit_every": 1}
    torch._dynamo.reset()
    torch.manual_seed(0)
    expected = make_net(Saying, **params).fit(X, y)
    torch.manual_seed(0)
    net = make_net(Saying, feature_layer=feature_layer, module__form=form, **params, **compiled).fit(X, y)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if compiled else {"rtol": 0, "atol": 0}
    np.testing.assert_allclose(state_of(net), state_of(expected), **tolerance)
    np.testing.assert_allclose(net.sample_weight_, expected.sample_weight_, **tolerance)
    np.testing.assert_allclose(net.predict_proba(X), expected.predict_proba(X), **tolerance)
    np.testing.assert_array_equal(net.predict(X), expected.predict(X))
    np.testing.assert_allclose(net.history[:, "valid_acc"], expected.history[:, "valid_acc"], **tolerance)


@pytest.mark.parametrize("form", ["dict", "attributes"])
def test_a_subclass_may_infer_as_it_likes(form):
    class Inferring(OTWeightedNetClassifier):
        def infer(self, x, **fit_params):
            return {"logits": super().infer(x, **fit_params)}

        def predict_proba(self, X):
            return np.concatenate([part["logits"].softmax(1).numpy() for part in self.forward_iter(X)])

    net = Inferring(Saying, module__form=form, meta=META, warmup_epochs=1, criterion=nn.CrossEntropyLoss, verbose=0)
    net.set_params(max_epochs=3, meta_loss_weight=1.0).fit(X, y)
    assert net.predict(X).shape == y.shape


def test_an_output_without_logits():
    class Scores(Net):
        def forward(self, X):
            return {"scores": super().forward(X)}

    with pytest.raises(TypeError, match=r"returns dict with 'scores'. Let it return logits.*'logits' of a dict"):
        make_net(Scores).fit(X, y)


def test_a_callback_of_the_users_own_takes_the_place_of_the_built_in_one():
    own = OTReweighting(META, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    net = make_net(callbacks__reweighting=own).fit(X, y)
    assert net.reweighter_ is own.reweighter_
