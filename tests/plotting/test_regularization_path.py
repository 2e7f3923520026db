"""Weights against reg, drawn."""

import numpy as np
import pytest

from skotw import OTSampleWeighter
from skotw.metrics import class_weight_mass, effective_sample_size
from skotw.plotting import RegularizationPathDisplay
from tests.plotting._figures import TRUE, X_META, Y_META, X, Y, weighter


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
