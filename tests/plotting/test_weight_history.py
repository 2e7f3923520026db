"""The weights of a network over the epochs, drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skotw.plotting import WeightHistoryDisplay
from tests.plotting._figures import X_META, Y_META, X, Y


class Net:
    def __init__(self, history):
        self.history = history


def test_curves_are_what_the_epochs_recorded():
    epochs = [{"epoch": k, "weight_ess": 100.0 / k, "weight_max": 1.0 * k} for k in (1, 2, 3)]
    display = WeightHistoryDisplay.from_estimator(Net([{"epoch": 0}, *epochs]), color="black")
    assert display.size_line_.get_xydata().tolist() == [[1, 100], [2, 50], [3, 100 / 3]]
    assert display.largest_line_.get_xydata().tolist() == [[1, 1], [2, 2], [3, 3]]
    assert display.size_line_.get_color() == "black"
    assert [ax.get_ylabel() for ax in display.axes_] == ["effective size", "largest weight"]


def test_history_of_a_trained_network():
    pytest.importorskip("torch")
    deep = pytest.importorskip("skotw.deep")
    from torch import nn

    net = deep.OTWeightedNetClassifier(
        nn.Sequential(nn.Linear(4, 3)),
        meta=(X_META.astype(np.float32), Y_META),
        feature_layer="0",
        warmup_epochs=1,
        max_epochs=2,
        criterion=nn.CrossEntropyLoss,
        train_split=None,
        verbose=0,
    )
    with pytest.raises(NotFittedError, match="Call fit first"):
        WeightHistoryDisplay.from_estimator(net)
    net.fit(X.astype(np.float32), Y)
    display = WeightHistoryDisplay.from_estimator(net)
    assert display.size_line_.get_ydata().tolist() == net.history[:, "weight_ess"]
    assert display.axes_[0].figure is display.figure_


def test_history_without_weights_names_what_records_them():
    with pytest.raises(ValueError, match=r"callback skotw\.deep\.OTReweighting"):
        WeightHistoryDisplay.from_estimator(Net([{"epoch": 1, "train_loss": 1.0}]))
    with pytest.raises(NotFittedError, match="Call fit first"):
        WeightHistoryDisplay.from_estimator(Net([]))


def test_two_axes_are_asked_for():
    figure, axes = plt.subplots(2)
    display = WeightHistoryDisplay(epoch=np.arange(2), effective_size=np.ones(2), largest=np.ones(2)).plot(axes)
    assert display.axes_.tolist() == list(axes)
    assert display.figure_ is figure
    with pytest.raises(ValueError, match="ax must hold 2 axes; got 1"):
        display.plot(axes[0])
