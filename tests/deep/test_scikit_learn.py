"""clone, parameters and searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.dataset import Dataset as SkorchDataset
from skorch.helper import SliceDataset

from skotw import OTSampleWeighter
from tests.deep._nets import NAMES, blobs, make_net

X, y = blobs()


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
