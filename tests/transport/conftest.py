"""Ways in which powers are summed."""

import importlib.util

import pytest

from skotw._transport import power_sums


@pytest.fixture(params=["stepwise", "compiled"])
def ways_to_sum(request, monkeypatch):
    """Run a test with the sums of NumPy, and once more with those that numba compiles."""
    if request.param == "compiled" and not importlib.util.find_spec("numba"):
        pytest.skip("needs numba")
    monkeypatch.setattr(power_sums, "COMPILED_FROM", 1 if request.param == "compiled" else float("inf"))
    return request.param
