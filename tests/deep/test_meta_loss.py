"""The loss of trusted samples beside the weighted one."""

import numpy as np
import pytest
import torch
from torch import nn

from skotw import OTSampleWeighter
from tests.deep._nets import META, blobs, make_net

X, y = blobs()


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


@pytest.mark.parametrize("features", ["cached", "clean"])
def test_meta_loss_is_added_before_there_are_weights(features):
    params = {"lr": 1e-12, "max_epochs": 3, "train_split": None, "module__norm": False, "features": features}
    plain, added = (
        make_net(meta_loss_weight=factor, warmup_epochs=0, refit_every=2, **params).fit(X, y).history
        for factor in (0.0, 100.0)
    )
    assert added[0, "weight_ess"] == len(y)  # none in the first two epochs
    for epoch in range(3):
        losses = [np.array(history[epoch, "batches", :, "train_loss"]) for history in (plain, added)]
        assert (losses[1] > losses[0] + 50).all()


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
