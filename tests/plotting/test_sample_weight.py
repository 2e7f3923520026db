"""Shares and weights of classes, drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skotw import OTSampleWeighter, OTWeightedClassifier
from skotw.metrics import class_weight_mass
from skotw.plotting import LabelReliabilityDisplay, SampleWeightDisplay
from tests.plotting._figures import WRONG, X_META, Y_META, X, Y, heights, many_classes, ticks, weighter


def test_bars_are_sums_of_weights():
    fitted = weighter()
    display = SampleWeightDisplay.from_estimator(fitted)
    np.testing.assert_allclose(heights(display.bars_["before"]), np.bincount(Y) / len(Y))
    np.testing.assert_allclose(
        heights(display.bars_["after"]), list(class_weight_mass(fitted.sample_weight_, Y).values())
    )
    assert ticks(display.ax_.xaxis) == ["0", "1", "2"]
    assert display.ax_.figure is display.figure_


def test_bars_of_right_and_wrong_labels_add_up():
    fitted = weighter()
    display = SampleWeightDisplay.from_estimator(fitted, mislabelled=WRONG)
    share = fitted.sample_weight_ / fitted.sample_weight_.sum()
    for name, per_row in [("before", np.full(len(Y), 1 / len(Y))), ("after", share)]:
        right, wrong = display.bars_[name], display.bars_[f"{name}, wrong"]
        np.testing.assert_allclose(heights(right), np.bincount(Y, per_row * ~WRONG))
        np.testing.assert_allclose(heights(wrong), np.bincount(Y, per_row * WRONG))
        np.testing.assert_allclose([bar.get_y() for bar in wrong], heights(right))
        np.testing.assert_allclose([bar.get_x() for bar in wrong], [bar.get_x() for bar in right])
    assert len(display.ax_.get_legend().get_texts()) == 4


@pytest.mark.parametrize("kind", ["shares", "weights"])
def test_legend_lies_below_the_title_and_above_what_is_drawn(kind):
    figure, axes = plt.subplots(1, 2, sharey=True)
    rooms = []
    for ax in axes:
        SampleWeightDisplay.from_estimator(weighter(), mislabelled=WRONG, kind=kind, ax=ax)
        rooms.append(ax.get_ylim())
    np.testing.assert_allclose(rooms[1], rooms[0])  # the second picture takes no more room
    figure.canvas.draw()
    legend, top = ax.get_legend().get_window_extent(), ax.transData.transform((0.0, ax.dataLim.y1))[1]
    assert top < legend.y0 < legend.y1 <= ax.get_window_extent().y1


def test_legend_of_reliability_leaves_the_title_its_place():
    display = LabelReliabilityDisplay.from_estimator(weighter())
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert display.ax_.transData.transform((0.0, 1.0))[1] < legend.y0 < legend.y1 < display.ax_.get_window_extent().y1
    assert ticks(display.ax_.yaxis)[-1] == "1.0"


def test_given_weights_are_what_was_before():
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(Y))
    sample_weight[:5] = 0.0
    fitted = OTSampleWeighter().fit(X, Y, X_META, Y_META, sample_weight=sample_weight)
    before = list(class_weight_mass(sample_weight, Y).values())
    for display in (
        SampleWeightDisplay.from_estimator(fitted, mislabelled=WRONG),
        SampleWeightDisplay.from_weights(fitted.sample_weight_, Y, sample_weight=sample_weight, mislabelled=WRONG),
    ):
        both = np.add(heights(display.bars_["before"]), heights(display.bars_["before, wrong"]))
        np.testing.assert_allclose(both, before)
    wrong = np.bincount(Y, sample_weight * WRONG) / sample_weight.sum()
    np.testing.assert_allclose(heights(display.bars_["before, wrong"]), wrong)


@pytest.mark.parametrize("make", [list, np.array], ids=["list", "array"])
def test_weights_of_any_origin_and_labels_of_any_type(make):
    display = SampleWeightDisplay.from_weights(make([1.0, 1.0, 2.0]), make(["cat", "cat", "dog"]))
    np.testing.assert_allclose(heights(display.bars_["after"]), [0.5, 0.5])
    np.testing.assert_allclose(heights(display.bars_["before"]), [2 / 3, 1 / 3])
    assert ticks(display.ax_.xaxis) == ["cat", "dog"]


def test_several_label_columns_are_combinations():
    y = np.array([[0, 0], [0, 1], [0, 1], [1, 1]])
    display = SampleWeightDisplay.from_weights(np.ones(4), y)
    assert ticks(display.ax_.xaxis) == ["(0, 0)", "(0, 1)", "(1, 1)"]
    np.testing.assert_allclose(heights(display.bars_["after"]), [0.25, 0.5, 0.25])
    fitted = OTSampleWeighter().fit(X, np.stack([Y, Y], axis=1), X_META, np.stack([Y_META, Y_META], axis=1))
    assert ticks(SampleWeightDisplay.from_estimator(fitted).ax_.xaxis) == ["(0, 0)", "(1, 1)", "(2, 2)"]


def test_more_classes_than_colours_are_pooled():
    w, y = many_classes()
    display = SampleWeightDisplay.from_weights(w, y)
    names = ["0", "1", "2", "3", "4", "10", "11", "12", "13", "14", "other"]
    assert ticks(display.ax_.xaxis) == names
    np.testing.assert_allclose(heights(display.bars_["after"]), [1 / 15] * 10 + [5 / 15])
    np.testing.assert_allclose(heights(display.bars_["before"])[-1], (np.isin(y, range(5, 10))).mean())
    w, y = many_classes(10)
    assert "other" not in ticks(SampleWeightDisplay.from_weights(w, y).ax_.xaxis)


def test_boxes_are_quartiles_of_relative_weights():
    fitted = weighter()
    display = SampleWeightDisplay.from_estimator(fitted, mislabelled=WRONG, kind="weights")
    relative = fitted.sample_weight_ / fitted.sample_weight_.mean()
    for name, chosen in [("right", ~WRONG), ("wrong", WRONG)]:
        boxes = display.boxes_[name]
        for k in range(3):
            quartiles = np.quantile(relative[chosen & (k == Y)], [0.25, 0.5, 0.75])
            drawn = boxes["boxes"][k].get_path().vertices[:, 1]
            assert boxes["medians"][k].get_ydata()[0] == pytest.approx(quartiles[1])
            assert (drawn.min(), drawn.max()) == pytest.approx((quartiles[0], quartiles[2]))
    assert display.ax_.get_yscale() == "log"


def test_weights_of_zero_stay_on_the_logarithmic_axis():
    display = SampleWeightDisplay.from_weights([0.0, 0.0, 1.0], kind="weights")
    assert display.boxes_["all"]["medians"][0].get_ydata()[0] == pytest.approx(1e-6)


def test_without_classes_the_weights_of_all_rows_are_drawn():
    fitted = OTSampleWeighter().fit(X, X[:, 0], X_META, X_META[:, 0])
    display = SampleWeightDisplay.from_estimator(fitted)
    median = np.median(fitted.sample_weight_) / fitted.sample_weight_.mean()
    assert display.boxes_["all"]["medians"][0].get_ydata()[0] == pytest.approx(median)
    assert ticks(display.ax_.xaxis) == ["all rows"]
    with pytest.raises(ValueError, match="Use kind='weights'"):
        display.plot(kind="shares")


def test_estimators_and_networks_show_what_they_hold():
    classifier = OTWeightedClassifier(LogisticRegression(max_iter=500)).fit(X, Y, X_meta=X_META, y_meta=Y_META)
    display = SampleWeightDisplay.from_estimator(classifier)
    np.testing.assert_array_equal(display.weights, classifier.weighter_.sample_weight_)


def test_network_shows_what_its_reweighter_holds():
    torch = pytest.importorskip("torch")
    deep = pytest.importorskip("skotw.deep")
    reweighter = deep.OTReweighter(OTSampleWeighter(reg=0.1))
    w = reweighter.refit(torch.tensor(X), Y, torch.tensor(X_META), Y_META)
    display = SampleWeightDisplay.from_estimator(reweighter)
    mass = list(class_weight_mass(w, Y).values())
    np.testing.assert_allclose(heights(display.bars_["after"]), mass)
    np.testing.assert_allclose(reweighter.weighter_.report().mass_after, mass)


def test_keywords_are_passed_on_and_axes_are_used():
    figure, ax = plt.subplots()
    display = SampleWeightDisplay.from_estimator(weighter(), ax=ax, alpha=0.25)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert {bar.get_alpha() for bar in display.bars_["after"]} == {0.25}
    boxes = display.plot(kind="weights", widths=0.1, showfliers=True).boxes_["all"]
    assert np.ptp(boxes["medians"][0].get_xdata()) == pytest.approx(0.1)
    assert boxes["fliers"]


def test_new_figures_are_as_wide_as_a_column():
    before = dict(plt.rcParams)
    display = SampleWeightDisplay.from_estimator(weighter())
    assert display.figure_.get_size_inches()[0] == pytest.approx(3.3)
    assert display.ax_.yaxis.label.get_size() == 8
    assert dict(plt.rcParams) == before
