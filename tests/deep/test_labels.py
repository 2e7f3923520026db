"""Labels of any type, encoded on the way in and decoded on the way out."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import DataConversionWarning
from skorch.exceptions import NotInitializedError

from tests.deep._nets import META, NAMES, blobs, make_net, state_of

X, y = blobs()


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


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.astype(np.float64),
        lambda y: y.astype(np.float32),
        lambda y: y.tolist(),
        lambda y: y.astype(object),
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pd.Series(y).astype("category"),
        lambda y: torch.as_tensor(y, dtype=torch.float32),
        lambda y: torch.as_tensor(y)[:, None],
    ],
    ids=["double", "float", "list", "objects", "Int64", "category", "tensor", "column tensor"],
)
def test_class_indices_of_any_container(convert):
    found = []
    for labels, trusted in ((y, META[1]), (convert(y), convert(META[1]))):
        torch.manual_seed(0)
        net = make_net(meta=(META[0], trusted)).fit(X, labels)
        found.append((net.sample_weight_, net.predict(X)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_labels_in_a_column():
    torch.manual_seed(0)
    expected = make_net().fit(X, y).sample_weight_
    torch.manual_seed(0)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        net = make_net(meta=(META[0], META[1][:, None])).fit(X, y[:, None])
    np.testing.assert_array_equal(net.sample_weight_, expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pd.Series(y, dtype="Int64").where(np.arange(len(y)) != 3), "NaN or None, first in row 3. Drop the rows"),
        (np.where(np.arange(len(y)) == 3, None, NAMES[y]), "NaN or None, first in row 3"),
        (np.where(np.arange(len(y)) == 3, np.nan, y), "NaN or None, first in row 3"),
        (NAMES[y].astype(bytes), "y holds bytes. Turn them into text"),
        (X[:, 0], "no classes, such as .* CrossEntropyLoss takes classes. Bin them"),
    ],
    ids=["NA", "None", "NaN", "bytes", "continuous"],
)
def test_labels_that_will_not_do(labels, message):
    net = make_net()
    with pytest.raises(ValueError, match=message):
        net.fit(X, labels)
    with pytest.raises(NotInitializedError):
        net.predict(X)


def test_names_beside_indices():
    with pytest.raises(ValueError, match=r"y_meta has names of classes, such as 'oak'.* Give y_meta as class indices"):
        make_net(meta=(META[0], NAMES[np.sort(META[1])])).fit(X, y)


def test_labels_in_another_order_than_rows():
    frame = pd.DataFrame({"X": range(len(y))})
    with pytest.raises(ValueError, match="same index in another order"):
        make_net().fit(frame, pd.Series(y, index=np.roll(frame.index, 1)))
