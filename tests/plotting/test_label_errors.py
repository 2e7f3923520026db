"""The least likely labels, drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from skotw import OTSampleWeighter, find_label_errors
from skotw.plotting import LabelErrorsDisplay
from tests.plotting._figures import X_META, Y_META, X, Y


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
