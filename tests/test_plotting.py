"""Pictures: what they draw, and in which artists. How they look was looked at."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge

from skotw import OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor, find_label_errors
from skotw.datasets import flip_labels
from skotw.meta import balanced_meta_split
from skotw.metrics import class_weight_mass, effective_sample_size
from skotw.plotting import (
    LabelErrorsDisplay,
    LabelReliabilityDisplay,
    RegularizationPathDisplay,
    SampleWeightDisplay,
    TransportPlanDisplay,
    WeightHistoryDisplay,
)

plt.switch_backend("Agg")

X, TRUE, X_META, Y_META = balanced_meta_split(*load_iris(return_X_y=True), n_per_class=5, random_state=0)
_KEPT = np.random.default_rng(0).permutation(np.r_[0:40, 45:65, 90:100])
X, TRUE = X[_KEPT], TRUE[_KEPT]
Y, WRONG = flip_labels(TRUE, 0.2, random_state=0, return_mask=True)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def weighter(**params):
    return OTSampleWeighter(**params).fit(X, Y, X_META, Y_META)


def heights(bars):
    return [bar.get_height() for bar in bars]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def many_classes(n_classes=15):
    """Labels of which class k has n_classes - k rows, and equal weights of every class."""
    y = np.repeat(np.arange(n_classes), np.arange(n_classes, 0, -1))
    return 1.0 / np.bincount(y)[y], y


# ---------------------------------------------------------------------------------------------
# Weights


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


# ---------------------------------------------------------------------------------------------
# Reliability


def test_points_are_precisions_and_bars_their_errors():
    fitted = weighter()
    found = fitted.label_reliability_
    display = LabelReliabilityDisplay.from_estimator(fitted)
    points, _, (bars,) = display.errorbar_
    np.testing.assert_array_equal(points.get_ydata(), found.precision)
    spans = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(spans.mean(axis=1), found.precision)
    np.testing.assert_allclose(np.ptp(spans, axis=1) / 2, found.precision_se)
    np.testing.assert_allclose(display.mean_line_.get_ydata(), 1 / 3 + 2 / 3 * found.overall)
    assert display.text_ == []


def test_unknown_precision_is_a_question_mark():
    rows = np.r_[np.flatnonzero(Y_META < 2), np.flatnonzero(Y_META == 2)[:1]]
    fitted = OTSampleWeighter().fit(X, Y, X_META[rows], Y_META[rows])
    display = LabelReliabilityDisplay.from_estimator(fitted)
    assert [(text.get_text(), text.get_position()[0]) for text in display.text_] == [("?", 2)]
    one = [np.flatnonzero(k == Y_META)[0] for k in range(3)]
    display = LabelReliabilityDisplay.from_estimator(OTSampleWeighter().fit(X, Y, X_META[one], Y_META[one]))
    assert len(display.text_) == 3
    assert display.mean_line_ is None


def test_pooled_precision_is_the_mean_by_mass():
    mass = np.arange(12.0, 0.0, -1.0)
    precision = np.full(12, 0.9)
    precision[[5, 6]] = 0.8, 0.4
    errors = np.full(12, 0.1)
    display = LabelReliabilityDisplay(
        classes=range(12), precision=precision, precision_se=errors, mass=mass, overall=0.5
    ).plot()
    points, _, (bars,) = display.errorbar_
    assert points.get_ydata()[-1] == pytest.approx((7 * 0.8 + 6 * 0.4) / 13)
    assert np.ptp(bars.get_segments()[-1][:, 1]) / 2 == pytest.approx(0.1 * np.hypot(7, 6) / 13)


def test_reliability_is_there_after_chunks_and_not_without_classes():
    stream = OTSampleWeighter(reg=0.1).partial_fit(X, Y, X_META, Y_META)
    points = LabelReliabilityDisplay.from_estimator(stream).errorbar_[0]
    np.testing.assert_array_equal(points.get_ydata(), stream.label_reliability_.precision)
    with pytest.raises(ValueError, match="fitted to other targets"):
        LabelReliabilityDisplay.from_estimator(OTSampleWeighter().fit(X, X[:, 0], X_META, X_META[:, 0]))


# ---------------------------------------------------------------------------------------------
# Epochs


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


# ---------------------------------------------------------------------------------------------
# Regularisation


def test_path_is_that_of_separate_fits():
    regs = [0.5, 0.05]
    given = {"sample_weight": np.random.default_rng(0).uniform(0.5, 2.0, len(Y))}
    mine = OTSampleWeighter(reg=0.2)
    display = RegularizationPathDisplay.from_estimator(mine, X, Y, X_META, Y_META, reg=regs, fit_params=given)
    assert not hasattr(mine, "reg_")
    assert display.size_line_.get_xdata().tolist() == sorted(regs)
    for i, reg in enumerate(sorted(regs)):
        w = OTSampleWeighter(reg=reg).fit(X, Y, X_META, Y_META, **given).sample_weight_
        assert display.size_line_.get_ydata()[i] == pytest.approx(effective_sample_size(w))
        mass = [line.get_ydata()[i] for line in display.mass_lines_]
        np.testing.assert_allclose(mass, list(class_weight_mass(w, Y).values()))
    assert [line.get_label() for line in display.mass_lines_] == ["0", "1", "2"]
    assert [line.get_xdata()[0] for line in display.chosen_lines_] == [0.2, 0.2]
    assert all(ax.get_xscale() == "log" for ax in display.axes_)


def test_path_marks_what_auto_chooses_and_does_not_warn_of_a_collapse():
    display = RegularizationPathDisplay.from_estimator(OTSampleWeighter(), X, Y, X_META, Y_META, reg=[1e-6, 1.0])
    assert display.chosen == weighter().reg_


def test_path_warns_of_the_rows_once():
    with pytest.warns(UserWarning, match="classes without training rows") as warned:
        RegularizationPathDisplay.from_estimator(
            OTSampleWeighter(), X[TRUE < 2], TRUE[TRUE < 2], X_META, Y_META, reg=[0.1, 1.0]
        )
    assert len(warned) == 1


def test_path_of_many_classes_pools_and_without_classes_has_no_names():
    mass = np.tile(np.arange(1.0, 13.0) / 78, (2, 1))
    display = RegularizationPathDisplay(
        reg=np.array([0.1, 1.0]), effective_size=np.ones(2), class_mass=mass, classes=range(12), mass_before=mass[0]
    ).plot()
    assert len(display.mass_lines_) == 11
    np.testing.assert_allclose(display.mass_lines_[-1].get_ydata(), (6 + 7) / 78)
    looks = {(line.get_color(), line.get_linestyle()) for line in display.mass_lines_}
    assert len(looks) == 11
    assert display.chosen_lines_ == []
    display = RegularizationPathDisplay.from_estimator(OTSampleWeighter(), X, None, X_META, None, reg=[0.1, 1.0])
    assert display.axes_[1].get_legend() is None


def test_empty_path_is_refused():
    with pytest.raises(ValueError, match="reg is empty"):
        RegularizationPathDisplay.from_estimator(OTSampleWeighter(), X, Y, X_META, Y_META, reg=[])


# ---------------------------------------------------------------------------------------------
# Plan


def test_cells_are_the_plan_summed_by_class(monkeypatch):
    fitted = weighter(reg=0.5, label_weight=0.2)
    plan = fitted.transport_plan(X, Y)
    expected = np.array([[plan[k == Y][:, l * 5 : (l + 1) * 5].sum() for l in range(3)] for k in range(3)])  # noqa: E741
    monkeypatch.setattr("skotw.plotting._ROWS_AT_ONCE", 7)
    display = TransportPlanDisplay.from_estimator(fitted, X, Y)
    np.testing.assert_allclose(display.plan, expected)
    share = expected / expected.sum(axis=0)
    np.testing.assert_allclose(display.im_.get_array(), share)
    assert display.text_[0, 1].get_text() == f"{100 * share[0, 1]:.0f}"
    assert display.text_[0, 1].get_position() == (1, 0)


def test_plan_takes_weights_and_other_rows():
    fitted = weighter()
    sample_weight = np.zeros(len(Y))
    sample_weight[:20] = 2.0
    display = TransportPlanDisplay.from_estimator(fitted, X, Y, sample_weight=sample_weight)
    plan = fitted.transport_plan(X, Y, sample_weight=sample_weight)
    np.testing.assert_allclose(display.plan.sum(axis=1), np.bincount(Y, plan.sum(axis=1)))
    display = TransportPlanDisplay.from_estimator(fitted, X[Y == 1], Y[Y == 1])
    assert not display.plan[[0, 2]].any()
    assert display.plan[1].sum() > 0


def test_plan_of_hard_label_costs_is_diagonal_and_of_prototypes_has_one_column_each():
    for params in ({"label_cost": "hard"}, {"label_cost": "hard", "n_prototypes": 2}):
        display = TransportPlanDisplay.from_estimator(weighter(**params), X, Y)
        np.testing.assert_allclose(display.plan, np.eye(3) / 3, atol=1e-12)


def test_plan_of_many_classes_pools_rows_and_columns():
    plan = np.arange(144.0).reshape(12, 12)
    display = TransportPlanDisplay(plan=plan, classes=range(12), mass_before=np.arange(12.0, 0.0, -1.0)).plot()
    drawn = display.im_.get_array()
    assert drawn.shape == (11, 11)
    assert drawn[-1, -1] == pytest.approx(plan[5:7, 5:7].sum() / plan[:, 5:7].sum())
    assert ticks(display.ax_.yaxis)[-1] == "other"


def test_plan_needs_classes_and_labels_of_the_length():
    with pytest.raises(ValueError, match="fitted without classes"):
        TransportPlanDisplay.from_estimator(OTSampleWeighter().fit(X, None, X_META, None), X, None)
    with pytest.raises(ValueError, match="69 labels for 70 rows"):
        TransportPlanDisplay.from_estimator(weighter(), X, Y[:-1])


# ---------------------------------------------------------------------------------------------
# Suspicious labels


def test_suspects_as_a_table():
    found = find_label_errors(X, Y, X_META, Y_META, weighter=OTSampleWeighter())
    display = LabelErrorsDisplay.from_errors(found, n_shown=4)
    cells = display.table_.get_celld()
    for i in range(4):
        texts = [cells[i + 1, k].get_text().get_text() for k in range(4)]
        assert texts[:3] == [str(found.indices[i]), str(found.label[i]), str(found.suggested[i])]
        assert float(texts[3]) == pytest.approx(found.confidence[i], rel=0.05)
    assert (5, 0) not in cells
    assert display.images_ == []


def test_suspects_as_images():
    images = np.arange(len(X) * 12.0).reshape(len(X), 3, 4)
    found = find_label_errors(X, Y, X_META, Y_META, weighter=OTSampleWeighter())
    display = LabelErrorsDisplay.from_errors(found, images, n_shown=7, cmap="viridis")
    assert display.table_ is None
    assert len(display.axes_) == len(display.figure_.axes) == 7
    for i, (image, ax) in enumerate(zip(display.images_, display.axes_, strict=True)):
        np.testing.assert_array_equal(image.get_array(), images[found.indices[i]])
        assert ax.get_title() == f"{found.label[i]} → {found.suggested[i]}"
        assert ax.get_xlabel() == f"row {found.indices[i]}"
        assert image.get_cmap().name == "viridis"
    with pytest.raises(ValueError, match="ax must hold 7 axes; got 1"):
        display.plot(plt.gca())


@pytest.mark.parametrize("images", [X, X.reshape(-1, 2, 2)[:5]], ids=["flat", "too few"])
def test_images_must_be_those_of_the_rows(images):
    found = find_label_errors(X, Y, X_META, Y_META, weighter=OTSampleWeighter())
    with pytest.raises(ValueError, match=r"X\.reshape\(-1, height, width\)"):
        LabelErrorsDisplay.from_errors(found, images)
    with pytest.raises(ValueError, match="n_shown must be a whole number of at least 1; got 0"):
        LabelErrorsDisplay.from_errors(found, n_shown=0)


# ---------------------------------------------------------------------------------------------
# Bad input


@pytest.mark.parametrize(
    "draw",
    [
        SampleWeightDisplay.from_estimator,
        LabelReliabilityDisplay.from_estimator,
        lambda estimator: TransportPlanDisplay.from_estimator(estimator, X, Y),
    ],
    ids=["weights", "reliability", "plan"],
)
@pytest.mark.parametrize("estimator", [OTSampleWeighter(), OTWeightedClassifier(LogisticRegression())], ids=repr)
def test_unfitted_estimators_say_so(draw, estimator):
    with pytest.raises(NotFittedError):
        draw(estimator)
    assert plt.get_fignums() == []


def test_estimators_without_weights_say_what_has_some():
    with pytest.raises(TypeError, match=r"Ridge has no weights .* SampleWeightDisplay\.from_weights"):
        SampleWeightDisplay.from_estimator(Ridge().fit(X, Y))
    with pytest.raises(TypeError, match=r"ndarray has no weights .* SampleWeightDisplay\.from_weights"):
        SampleWeightDisplay.from_estimator(np.ones(len(X)))
    with pytest.warns(UserWarning, match="Every row keeps its sample_weight"):
        plain = OTWeightedRegressor(Ridge()).fit(X, X[:, 0])
    assert plain.weighter_ is None
    with pytest.raises(TypeError, match="OTWeightedRegressor has no weights"):
        SampleWeightDisplay.from_estimator(plain)
    with pytest.raises(ValueError, match="Use from_weights with what weigh"):
        SampleWeightDisplay.from_estimator(OTSampleWeighter(reg=0.1).partial_fit(X, Y, X_META, Y_META))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": [1.0, 2.0], "y": [0, 1, 1]}, "weights and y must have the same length.* got 2 and 3"),
        ({"weights": [1.0, -2.0], "y": [0, 1]}, "weights must not be negative"),
        ({"weights": [1.0, 2.0], "y": [0, 1], "sample_weight": [1.0]}, "sample_weight must have shape"),
        ({"weights": [1.0, 2.0], "y": [0, 1], "mislabelled": [True]}, "mislabelled must hold 2 booleans"),
        ({"weights": [1.0, 2.0], "y": [0, 1], "mislabelled": [0, 1]}, "mislabelled must hold 2 booleans"),
        ({"weights": [1.0, 2.0], "y": [0.5, 1.5]}, "continuous numbers, which are no classes"),
        ({"weights": [1.0, 2.0], "y": [0, 1], "kind": "bars"}, "kind must be 'shares', 'weights' or None; got 'bars'"),
    ],
)
def test_weights_that_cannot_be_drawn(given, message):
    with pytest.raises(ValueError, match=message):
        SampleWeightDisplay.from_weights(**given)
    assert plt.get_fignums() == []


def test_flags_of_another_length_than_the_training_rows():
    with pytest.raises(ValueError, match="mislabelled must hold 70 booleans"):
        SampleWeightDisplay.from_estimator(weighter(), mislabelled=WRONG[1:])


def test_without_matplotlib_the_extra_is_named():
    code = """
import importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
from skotw import plotting
history = plotting.WeightHistoryDisplay(epoch=[1], effective_size=[1], largest=[1])
calls = [history.plot, lambda: plotting.SampleWeightDisplay.from_weights([1.0])]
for call in calls:
    try:
        call()
    except ImportError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{name} needs matplotlib. Install it with: pip install skotw[plot]"
        for name in ("WeightHistoryDisplay.plot", "SampleWeightDisplay.from_weights")
    ]


@pytest.mark.parametrize("other", [LogisticRegression(), OTWeightedClassifier(), 3, None], ids=str)
def test_what_cannot_be_drawn_is_refused_with_what_can(other):
    with pytest.raises(TypeError, match=r"weighter must be an OTSampleWeighter.*pass its weighter_"):
        RegularizationPathDisplay.from_estimator(other, X, Y, X_META, Y_META)
    with pytest.raises(TypeError, match=r"Call found = find_label_errors\(X, y, X_meta, y_meta\) first"):
        LabelErrorsDisplay.from_errors(other)
    with pytest.raises(TypeError, match=r"has no epochs\. Pass a trained skotw\.deep\.OTWeightedNetClassifier"):
        WeightHistoryDisplay.from_estimator(other)


@pytest.mark.parametrize("reg", [[-1.0], "auto", [np.nan], [0.1, 0.0]])
def test_values_of_reg_are_positive(reg):
    with pytest.raises(ValueError, match="reg must hold positive numbers; got"):
        RegularizationPathDisplay.from_estimator(OTSampleWeighter(), X, Y, X_META, Y_META, reg=reg)


def test_axes_are_matplotlibs():
    fitted = weighter()
    for draw in (
        lambda ax: SampleWeightDisplay.from_estimator(fitted, ax=ax),
        lambda ax: LabelReliabilityDisplay.from_estimator(fitted, ax=ax),
        lambda ax: TransportPlanDisplay.from_estimator(fitted, X, Y, ax=ax),
    ):
        with pytest.raises(TypeError, match="ax must be one Axes of matplotlib"):
            draw(3)
        with pytest.raises(TypeError, match="ax must be one Axes of matplotlib"):
            draw(plt.subplots(2)[1])
    with pytest.raises(TypeError, match="ax must be 2 Axes of matplotlib"):
        RegularizationPathDisplay.from_estimator(OTSampleWeighter(), X, Y, X_META, Y_META, reg=[0.1], ax=[3, 4])


def test_a_number_is_no_weights():
    with pytest.raises(ValueError, match=r"weights must have shape \(n_samples,\), one weight per row; got \(\)"):
        SampleWeightDisplay.from_weights(3)
