"""The plan, summed by class and drawn."""

import numpy as np
import pytest

from skotw import OTSampleWeighter
from skotw.plotting import TransportPlanDisplay
from tests.plotting._figures import X_META, X, Y, ticks, weighter


def test_cells_are_the_plan_summed_by_class(monkeypatch):
    fitted = weighter(reg=0.5, label_weight=0.2)
    plan = fitted.transport_plan(X, Y)
    expected = np.array([[plan[k == Y][:, l * 5 : (l + 1) * 5].sum() for l in range(3)] for k in range(3)])  # noqa: E741
    monkeypatch.setattr("skotw.plotting._transport_plan._ROWS_AT_ONCE", 7)
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
