"""The trusted samples: given, drawn, and in mini-batches."""

import numpy as np
import pytest
import torch
from skorch.dataset import Dataset as SkorchDataset
from torch.utils.data import Subset, TensorDataset

from tests.deep._nets import META, Records, blobs, make_net

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
