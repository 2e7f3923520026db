"""What cannot be drawn, and what can instead."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge

from skotw import OTSampleWeighter, OTWeightedClassifier, OTWeightedRegressor
from skotw.plotting import (
    LabelErrorsDisplay,
    LabelReliabilityDisplay,
    RegularizationPathDisplay,
    SampleWeightDisplay,
    TransportPlanDisplay,
    WeightHistoryDisplay,
)
from tests.plotting._figures import WRONG, X_META, Y_META, X, Y, weighter


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
