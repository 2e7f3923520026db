"""What happens in which epoch."""

import numpy as np
import pytest

from tests.deep._nets import blobs, make_net

X, y = blobs()


def test_schedule():
    net = make_net(warmup_epochs=2, refit_every=3, max_epochs=7).fit(X, y)
    spent = [epoch for epoch, seconds in enumerate(net.history[:, "refit_dur"], 1) if seconds > 0]
    assert spent == [1, 2, 3, 6]  # labels are read after the first
    costs = net.history[:, "transport_cost"]
    refitted = [epoch for epoch, cost in enumerate(costs, 1) if np.isfinite(cost)]
    assert refitted == [2, 3, 6]  # stage 2 begins with weights, whatever the multiples
    sizes, largest = net.history[:, "weight_ess"], net.history[:, "weight_max"]
    assert sizes[0] == 108.0
    assert max(sizes[1:]) < 80
    assert sizes[2:5] == [sizes[2]] * 3
    assert largest[0] == 1.0
    assert largest[-1] == pytest.approx(net.sample_weight_.max())
