"""Bad input: what is wrong, and what to do."""

import numpy as np
import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from skotw import OTSampleWeighter
from skotw.deep import OTReweighter, OTReweighting
from tests.deep._nets import META, Net, blobs, make_net

X, y = blobs()


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"warmup_epochs": -1}, "'warmup_epochs' parameter of OTReweighting"),
        ({"refit_every": "epoch"}, "'refit_every' parameter"),
        ({"refit_every": 0}, "'refit_every' parameter"),
        ({"features": "fresh"}, "'features' parameter"),
        ({"smoothing": 1.0}, "'smoothing' parameter"),
        ({"weighter": 0.1}, "'weighter' parameter"),
        ({"feature_layer": 2}, "'feature_layer' parameter"),
        ({"meta_loss_weight": -1.0}, "'meta_loss_weight' parameter"),
        ({"freeze": 3}, "'freeze' parameter"),
        ({"refit_every": "batch", "features": "clean"}, "Leave features='cached'"),
        ({"meta": None, "meta_loss_weight": 1.0}, "meta_loss_weight needs trusted samples"),
        ({"feature_layer": None, "freeze": True}, "freeze=True trains the feature layer alone"),
        ({"freeze": "encoder"}, "names no layer of the module: .*encoder.*body.0"),
        ({"feature_layer": "fc"}, "is no layer of Net.*body, body.0.*head.*returns? .logits, features"),
    ],
)
def test_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        make_net(**params).fit(X, y)


def test_weighter_that_is_none_has_no_parameters():
    with pytest.raises(ValueError, match="Pass weighter=OTSampleWeighter"):
        make_net(weighter=None).set_params(weighter__reg=0.1)


def test_parameters_of_skorch_are_still_checked():
    with pytest.raises(ValueError, match="unexpected argument"):
        make_net(warm_up=3).fit(X, y)


# ---------------------------------------------------------------------- the meta set


@pytest.mark.parametrize("meta", [True, 0.5, "trusted", META[0], (*META, None)])
def test_meta_of_another_kind(meta):
    with pytest.raises(TypeError, match=r"meta must be \(X_meta, y_meta\), a torch Dataset"):
        make_net(meta=meta).fit(X, y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", ["y_verified", "X_meta"])
def test_trusted_samples_that_come_with_fit(method, name):
    with pytest.raises(
        TypeError, match=rf"OTWeightedNetClassifier.{method} takes no {name}\. .* meta=\(X_meta, y_meta\)"
    ):
        getattr(make_net(), method)(X, y, **{name: y})


@pytest.mark.parametrize("name", ["y_verified", "X_meta", "sample_weight"])
def test_a_net_with_the_callback_takes_no_trusted_samples_in_fit(name):
    net = NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, callbacks=[OTReweighting(META, "head")], verbose=0)
    with pytest.raises(TypeError, match=f"NeuralNetClassifier.fit takes no {name}. "):
        net.fit(X, y, **{name: y})


def test_weights_are_not_passed_to_a_net():
    with pytest.raises(TypeError, match=r"takes no sample_weight\. It learns the weights"):
        make_net().fit(X, y, sample_weight=y)


@pytest.mark.parametrize("method", ["refit", "read_labels"])
def test_a_reweighter_takes_features_of_trusted_samples(method):
    features = torch.as_tensor(X)
    with pytest.raises(TypeError, match=f"OTReweighter.{method} takes no y_verified. .* meta_features"):
        getattr(OTReweighter(), method)(features, y, y_verified=y)


def test_meta_set_is_empty():
    with pytest.raises(ValueError, match="There are no trusted samples"):
        make_net(meta=(META[0][:0], META[1][:0])).fit(X, y)


@pytest.mark.parametrize("refit_every", [1, "batch"])
def test_meta_set_misses_a_class(refit_every):
    meta = tuple(part[META[1] < 2] for part in META)
    with pytest.raises(ValueError, match="classes that the trusted rows lack: 2"):
        make_net(meta=meta, refit_every=refit_every).fit(X, y)


def test_too_few_samples_to_draw_from():
    with pytest.raises(ValueError, match=r"meta=12 cannot be drawn from the training split.*2 \(12\)"):
        make_net(meta=12).fit(X, y)


def test_meta_set_without_length():
    with pytest.raises(ValueError, match="map-style dataset"):
        make_net(meta=Stream()).fit(X, y)


# ---------------------------------------------------------------------- data


class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(X, y, strict=True)


@pytest.mark.parametrize("train_split", [True, False])
def test_iterable_dataset(train_split):
    params = {} if train_split else {"train_split": None}
    with pytest.raises(ValueError, match=r"Stream is an iterable dataset without a length.*map-style"):
        make_net(iterator_train__shuffle=False, **params).fit(Stream(), None)


def test_dataset_class_that_is_iterable():
    with pytest.raises(ValueError, match="map-style"):
        make_net(dataset=lambda X, y: Stream(), train_split=None).fit(X, y)


NAMES = np.array(["ash", "elm", "oak"])


@pytest.mark.parametrize(
    ("where", "given", "params"),
    [
        ("meta", (X, NAMES[y]), {"meta": SkorchDataset(META[0], NAMES[META[1]])}),
        ("the validation split", (X, NAMES[y]), {"train_split": predefined_split(SkorchDataset(X, NAMES[y]))}),
        ("the training split", (SkorchDataset(X, NAMES[y].astype(object)), NAMES[y]), {}),
    ],
)
def test_names_of_classes_in_data_sets(where, given, params):
    with pytest.raises(ValueError, match=f"data set of {where} has names of classes .*, such as '(ash|elm|oak)'"):
        make_net(**{"meta": (META[0], NAMES[META[1]]), **params}).fit(*given)


def test_no_batches():
    with pytest.raises(ValueError, match=r"no batches.*drop_last=True"):
        make_net(iterator_train__drop_last=True, batch_size=1000).fit(X, y)


def test_no_labels():
    with pytest.raises(ValueError, match="There are no labels"):
        make_net().fit(X, None)


def test_iterator_that_is_no_data_loader():
    class Batches(list):
        def __init__(self, dataset, **kwargs):
            super().__init__([(torch.as_tensor(X), torch.as_tensor(y))])

    net = make_net(iterator_train=Batches, iterator_train__shuffle=False)
    with pytest.raises(TypeError, match=r"must be a torch DataLoader.*got Batches"):
        net.fit(X, y)
    with pytest.raises(TypeError, match="got Batches"):  # and not something about what the first attempt left
        net.fit(X, y)


def test_batches_that_were_rebuilt():
    class Rebuilding(NeuralNetClassifier):
        def run_single_epoch(self, iterator, *args, **kwargs):
            rebuilt = None if iterator is None else [list(batch) for batch in iterator]
            return super().run_single_epoch(rebuilt, *args, **kwargs)

    net = Rebuilding(Net, criterion=nn.CrossEntropyLoss, callbacks=[OTReweighting(META, "head")], verbose=0)
    with pytest.raises(TypeError, match=r"lost their sample ids.*list"):
        net.fit(X, y)


# ---------------------------------------------------------------------- features


class Unused(Net):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(8, 3)


@pytest.mark.parametrize("refit_every", [1, "batch"])
def test_feature_layer_never_runs(refit_every):
    with pytest.raises(RuntimeError, match=r"'spare' has never run.*torch.compile.*feature_layer=None"):
        make_net(Unused, feature_layer="spare", refit_every=refit_every).fit(X, y)


def test_module_returns_no_features():
    with pytest.raises(RuntimeError, match="feature_layer='head'"):
        make_net(feature_layer=None).fit(X, y)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's own compiled loss
def test_compiled_before_the_layer_was_tapped():
    """Another net has the same trace: it either is traced anew, or the message says what to do."""
    torch._dynamo.reset()
    params = {"compile": True, "compile__backend": "eager"}
    NeuralNetClassifier(Net, criterion=nn.CrossEntropyLoss, verbose=0, max_epochs=1, **params).fit(X, y)
    try:
        net = make_net(**params).fit(X, y)
    except RuntimeError as error:
        assert "torch.compile" in str(error)  # noqa: PT017
    else:
        assert net.sample_weight_.max() > 1.5


class Maps(nn.Module):
    """Feature maps of some size before a 1 x 1 convolution as head."""

    def __init__(self, size=2):
        super().__init__()
        self.size = size
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, X):
        return self.head(X[:, :, None, None].repeat(1, 1, self.size, self.size)).mean((2, 3))


def test_features_that_are_not_pooled():
    with pytest.raises(ValueError, match=r"shape \(12, 6, 2, 2\).*nn.AdaptiveAvgPool2d\(1\) and nn.Flatten\(\)"):
        make_net(Maps).fit(X, y)


def test_maps_of_one_pixel_are_features():
    net = make_net(Maps, module__size=1, features="clean").fit(X, y)
    expected = OTSampleWeighter(reg=0.2).fit_weights(X[net.train_indices_], y[net.train_indices_], *META)
    np.testing.assert_allclose(net.sample_weight_, expected, rtol=2e-4)


class NotANumber(Net):
    """From the given pass in training mode on, something is NaN."""

    def __init__(self, what, after):
        super().__init__()
        self.what, self.after, self.passes = what, after, 0

    def forward(self, X):
        self.passes += self.training
        features = self.body(X)
        logits = self.head(features)
        if self.passes <= self.after:
            return logits, features
        return (logits * np.nan, features) if self.what == "loss" else (logits, features * np.nan)


@pytest.mark.parametrize("what", ["loss", "features"])
@pytest.mark.parametrize("refit_every", [1, "batch"])
def test_not_a_number_stops_training_and_keeps_the_weights(what, refit_every):
    net = make_net(
        NotANumber, feature_layer=None, module__what=what, module__after=10, max_epochs=2, refit_every=refit_every
    )
    # 108 samples in batches of 32 are 4 a epoch: the third epoch has good passes 9 and 10
    net.fit(X, y)
    weights = net.sample_weight_
    with pytest.raises(FloatingPointError, match=f"NaN or infinity in the {what} of epoch 3, batch 3") as raised:
        net.partial_fit(X, y)
    assert "last refit" in str(raised.value)
    if refit_every == 1:
        np.testing.assert_array_equal(net.sample_weight_, weights)


# ---------------------------------------------------------------------- loss


class Reduced(nn.Module):
    def forward(self, y_pred, y_true):
        return nn.functional.cross_entropy(y_pred, y_true)


def test_criterion_without_reduction():
    with pytest.raises(TypeError, match=r"Reduced is already reduced. It has no `reduction`"):
        make_net(criterion=Reduced).fit(X, y)


class Unknown(Dataset):
    """Nothing in memory to tell it from other data by."""

    def __init__(self, *data):
        self.data = data

    def __len__(self):
        return len(self.data[0])

    def __getitem__(self, i):
        return tuple(part[i] for part in self.data)


def test_criterion_survives_an_error():
    net = make_net(train_split=None, meta=None).fit(X, y)
    with pytest.raises(IndexError, match="out of bounds"):
        net.partial_fit(Unknown(X, np.full_like(y, 7)), None)
    assert net.criterion_.reduction == "mean"
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    assert float(net.criterion_(logits, labels)) == pytest.approx(np.log(3))
    assert np.isfinite(net.partial_fit(X, y).history[-1, "train_loss"])


def test_network_survives_an_error():
    net = make_net(train_split=None).fit(X, y)
    with pytest.raises(RuntimeError):
        net.partial_fit(Unknown(X[:, :2], y), None)
    net.set_params(warmup_epochs=100).partial_fit(X, y)
    assert np.isfinite(net.history[-1, "train_loss"])


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 4.0), ("sum", 16.0), ("batchmean", 8.0)])
def test_reductions_of_torch(reduction, expected):
    from skotw.deep._weighted_criterion import weighted_loss

    loss, weight = torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([1.0, 3.0])
    assert float(weighted_loss(loss, weight, reduction)) == expected
    assert weighted_loss(loss, weight, "none").tolist() == [[1.0, 3.0], [6.0, 6.0]]


def test_freezing_under_data_parallelism():
    from skotw.deep._freeze import freeze

    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self):
            nn.Module.__init__(self)
            self.find_unused_parameters = False

    with pytest.raises(ValueError, match="find_unused_parameters=True"):
        freeze(Wrapped(), [], [])
