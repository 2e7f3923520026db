"""Precision of labels, drawn."""

import numpy as np
import pytest

from skotw import OTSampleWeighter
from skotw.plotting import LabelReliabilityDisplay
from tests.plotting._figures import X_META, Y_META, X, Y, weighter


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
