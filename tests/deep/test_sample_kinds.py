"""Samples that a network does not take: told at once, with what to do, whatever the entry."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skotw import OTSampleWeighter
from skotw.deep import OTReweighting
from tests.deep._nets import META, N_FEATURES, Net, blobs, make_net

X, y = blobs()
COLUMNS = [f"c{j}" for j in range(N_FEATURES)]
FRAME, META_FRAME = (pd.DataFrame(rows, columns=COLUMNS) for rows in (X, META[0]))
MIXED = FRAME.assign(town=np.where(X[:, 0] > 0, "Aa", "Bern"))
META_MIXED = META_FRAME.assign(town="Bern")


def plain_net(meta=META, **params):
    """A net of skorch itself, with the callback."""
    callback = OTReweighting(meta, "head", OTSampleWeighter(reg=0.2), warmup_epochs=1)
    return NeuralNetClassifier(Net, callbacks=[callback], criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0)


@pytest.mark.parametrize("make", [make_net, plain_net])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            X.astype(np.float64),
            r"It is float64, and the network computes in float32\. Pass X\.astype\(numpy\.float32\)",
        ),
        (torch.as_tensor(X, dtype=torch.float64), r"It is float64.* Pass X\.to\(torch\.float32\)"),
        (X.astype(np.int64), r"It is int64.*X\.astype\(numpy\.float32\)"),
        (X.astype(object), r"an array of objects that are numbers\. Pass X\.astype\(numpy\.float32\)"),
        (MIXED.to_numpy(), r"an array of objects, such as '(Aa|Bern)'\. .*OneHotEncoder.*X_meta"),
        (X.astype(str), r"an array of text, such as .*OneHotEncoder"),
        (FRAME, r"a data frame, and skorch hands each .* by name\. .*X\.to_numpy\(dtype=numpy\.float32\)"),
        (MIXED, r"its columns 'town' hold no numbers\. .*OneHotEncoder"),
        (MIXED.assign(town=MIXED["town"].astype("category")), r"its columns 'town' hold no numbers"),
        (sparse.csr_matrix(X.astype(float)), r"It is float64.*X\.astype\(numpy\.float32\)"),
        (sparse.coo_matrix(X), r"a sparse matrix in the format 'coo', .*Pass X\.tocsr\(\)"),
        (np.array(["a text"] * len(y)), r"an array of text, such as 'a text'\. .*token ids"),
        ({"X": X.astype(np.float64)}, r"Pass X\['X'\]\.astype\(numpy\.float32\)"),
    ],
    ids=[
        "double",
        "tensor",
        "int",
        "objects",
        "mixed",
        "text",
        "frame",
        "mixed frame",
        "category",
        "sparse",
        "coo",
        "texts",
        "dict",
    ],
)
def test_training_samples(make, rows, message):
    net = make()
    with pytest.raises(ValueError, match=f"The network does not take X\\. .*{message}.*The error was"):
        net.fit(rows, y)
    assert not len(net.history)  # before the first epoch


def test_what_a_network_takes_is_not_refused():
    class Doubles(Net):
        def forward(self, X):
            return super().forward(X.float())

    class Indices(Net):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, N_FEATURES)

        def forward(self, X):
            return super().forward(self.embedding(X).mean(1))

    class Columns(Net):
        def forward(self, **columns):
            return super().forward(torch.cat(list(columns.values()), 1))

    found, expected = (make_net(module).fit(rows, y) for module, rows in ((Doubles, X.astype(np.float64)), (Net, X)))
    assert found.predict(X.astype(np.float64)).shape == expected.predict(X).shape
    indices, meta = np.abs(X).astype(np.int64), (np.abs(META[0]).astype(np.int64), META[1])
    make_net(Indices, meta=meta).fit(indices, y)
    make_net(Columns, meta=(META_FRAME, META[1])).fit(FRAME, y)
    doubles = nn.Sequential(nn.Linear(N_FEATURES, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    make_net(doubles, feature_layer="2").fit(X.astype(np.float64), y)


class Tokens(Net):
    """Token ids, and which of them are words."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, N_FEATURES)

    def forward(self, ids, mask):
        return super().forward((self.embedding(ids) * mask[..., None]).mean(1) @ torch.ones(N_FEATURES, N_FEATURES))


def tokens(n, most=10, dtype=np.float32):
    ids = np.random.default_rng(0).integers(most, size=(n, 4))
    return {"ids": ids, "mask": np.ones((n, 4), dtype=dtype)}


def test_the_part_that_has_another_type_is_named():
    meta = tokens(len(META[1])), META[1]
    make_net(Tokens, meta=meta).fit(tokens(len(y)), y)
    with pytest.raises(ValueError, match=r"It is float64, .* Pass X\['mask'\]\.astype\(numpy\.float32\)"):
        make_net(Tokens, meta=meta).fit(tokens(len(y), dtype=np.float64), y)


def test_errors_of_another_origin_are_not_blamed_on_the_type():
    meta = tokens(len(META[1])), META[1]
    with pytest.raises(IndexError, match="out of range"):  # of the vocabulary
        make_net(Tokens, meta=meta).fit(tokens(len(y), most=20), y)
    net = make_net(Tokens, meta=meta).fit(tokens(len(y)), y)
    with pytest.raises(IndexError, match="out of range"):
        net.predict(tokens(len(y), most=20))
    with pytest.raises(RuntimeError, match="same dtype"):  # which is not all that is wrong
        make_net().fit(X[:, 1:].astype(np.float64), y)


def test_random_numbers_are_as_without_the_look():
    class Doubles(Net):
        def forward(self, X):
            return super().forward(X.float())

    found = []
    for rows in (X, X.astype(np.float64)):  # the latter are tried
        torch.manual_seed(0)
        net = make_net(Doubles, module__dropout=0.5, max_epochs=2).fit(rows, y)
        found.append(net.history[:, "train_loss"])
    assert found[0] == found[1]


def test_the_remedy_for_mixed_frames_works():
    steps = make_column_transformer((OneHotEncoder(sparse_output=False), ["town"]), remainder=StandardScaler())
    encoded = steps.fit_transform(MIXED).astype(np.float32)
    trusted = steps.transform(META_MIXED).astype(np.float32)
    layers = nn.Sequential(nn.Linear(encoded.shape[1], 8), nn.ReLU(), nn.Linear(8, 3))
    net = make_net(layers, meta=(trusted, META[1]), feature_layer="2", max_epochs=20).fit(encoded, y)
    assert net.score(encoded, y) > 0.5


@pytest.mark.parametrize("method", ["predict", "predict_proba", "forward"])
def test_samples_to_predict(method):
    net = make_net().fit(X, y)
    with pytest.raises(ValueError, match=r"The network does not take X\. It is float64.*X\.astype\(numpy\.float32\)"):
        getattr(net, method)(X.astype(np.float64))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):  # torch's own: the kind is right
        getattr(net, method)(X[:, 1:])


@pytest.mark.parametrize("make", [make_net, plain_net])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (META[0].astype(object), r"does not take X_meta\. .*that are numbers\. Pass X_meta\.astype\(numpy\.float32\)"),
        (META_MIXED.to_numpy(), r"does not take X_meta\. It is an array of objects, such as 'Bern'"),
        (META_FRAME, r"X is of type ndarray and X_meta is a data frame\. Give both in the same form"),
        (META_MIXED, r"X is of type ndarray and X_meta is a data frame\. .*transform X_meta likewise"),
    ],
    ids=["objects", "mixed", "frame", "mixed frame"],
)
def test_trusted_samples(make, rows, message):
    with pytest.raises(ValueError, match=message):
        make(meta=(rows, META[1])).fit(X, y)


def test_an_array_beside_a_frame():
    class Columns(Net):
        def forward(self, **columns):
            return super().forward(torch.cat(list(columns.values()), 1))

    with pytest.raises(ValueError, match="X is a data frame and X_meta is of type ndarray"):
        make_net(Columns).fit(FRAME, y)


def test_rows_in_a_list():
    with pytest.raises(ValueError, match="inconsistent lengths") as caught:
        make_net().fit(X.tolist(), y)
    assert any("Rows go into one array" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("make", [make_net, plain_net])
def test_no_samples(make):
    with pytest.raises(ValueError, match=r"There are no training samples: X has the shape \(0, 6\)"):
        make().fit(X[:0], y[:0])
    with pytest.raises(ValueError, match="There are no training samples: X is None"):
        make().fit(None, y)
