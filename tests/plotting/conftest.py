"""What holds for all pictures: matplotlib is there, draws into memory, and leaves nothing open."""

from importlib.util import find_spec

import pytest

if find_spec("matplotlib") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def _close_figures():
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    plt.close("all")  # those of other tests
    yield
    plt.close("all")
