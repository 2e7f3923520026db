"""Sums of powers of two, step by step and compiled."""

import subprocess
import sys

import numpy as np
import pytest

from skotw import ot_sample_weight
from skotw._transport import power_sums
from skotw._transport.power_sums import COMPILED_FROM

FLOATS = [np.float32, np.float64]


def exponents(dtype, n_rows=300, n_columns=77):
    """Of all that the dtype holds as normal numbers, so that powers of half of them sum to something."""
    top = np.finfo(dtype).maxexp - 12
    return np.random.default_rng(0).uniform(-top, top, (n_rows, n_columns)).astype(dtype)


def both(dtype):
    """The two ways, each under its name."""
    pytest.importorskip("numba")
    reference = np.empty(0, dtype)
    return power_sums.power_sums(reference, COMPILED_FROM - 1), power_sums.power_sums(reference, COMPILED_FROM)


@pytest.mark.parametrize("dtype", FLOATS)
def test_compiled_powers_are_as_exact_as_the_dtype(dtype):
    _, compiled = both(dtype)
    L = exponents(dtype)
    E = np.empty_like(L)
    compiled.over_rows(L, np.ones(len(L), dtype), E)
    exact = np.exp2(L.astype(np.longdouble))
    assert np.max(np.abs(E / exact - 1)) < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", FLOATS)
def test_compiled_powers_beyond_the_range_of_the_dtype(dtype):
    _, compiled = both(dtype)
    info = np.finfo(dtype)
    L = np.array([[0, 1, -1, info.minexp, info.minexp - 1, info.maxexp, np.inf, -np.inf, np.nan]], dtype)
    E = np.empty_like(L)
    compiled.over_rows(L, np.ones(1, dtype), E)
    assert E.tolist()[0][:8] == [1.0, 2.0, 0.5, float(info.tiny), 0.0, np.inf, np.inf, 0.0]
    assert np.isnan(E[0, 8])
    assert np.isnan(compiled.over_columns(L, np.ones(9, dtype))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("way", [0, 1])
def test_sums_are_those_of_the_powers(dtype, way):
    sums = both(dtype)[way]
    L, rng = exponents(dtype) / 40, np.random.default_rng(1)
    weight, factor = rng.random(len(L)).astype(dtype), rng.random(L.shape[1]).astype(dtype)
    exact, tolerance = np.exp2(L.astype(np.float64)), 1e3 * np.finfo(dtype).eps
    E = np.empty_like(L)
    np.testing.assert_allclose(sums.over_rows(L.copy(), weight, E), weight @ exact, rtol=tolerance)
    np.testing.assert_allclose(E, exact, rtol=tolerance)
    np.testing.assert_allclose(sums.over_rows(L.copy(), weight, None), weight @ exact, rtol=tolerance)
    np.testing.assert_allclose(sums.stored_over_columns(E, factor), exact @ factor, rtol=tolerance)
    np.testing.assert_allclose(sums.over_columns(L.copy(), factor), exact @ factor, rtol=tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("way", [0, 1])
def test_a_scale_multiplies_exponents(dtype, way):
    sums = both(dtype)[way]
    L, rng = exponents(dtype) / 40, np.random.default_rng(2)
    scale, factor = rng.uniform(0.1, 2.0, len(L)).astype(dtype), rng.random(L.shape[1]).astype(dtype)
    exact, tolerance = np.exp2(scale[:, None] * L.astype(np.float64)), 1e3 * np.finfo(dtype).eps
    E = np.empty_like(L)
    np.testing.assert_allclose(sums.over_rows(L.copy(), scale, E, scale), scale @ exact, rtol=tolerance)
    np.testing.assert_allclose(E, exact, rtol=tolerance)
    np.testing.assert_allclose(sums.over_columns(L.copy(), factor, scale), exact @ factor, rtol=tolerance)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("way", [0, 1])
def test_all_sums_see_the_same_bits_of_a_power(dtype, way):
    sums = both(dtype)[way]
    L = exponents(dtype, 40, 70) / 4
    E = np.empty_like(L)
    sums.over_rows(L.copy(), np.ones(len(L), dtype), E)
    for k in (0, 39):
        unit = np.eye(1, len(L), k, dtype=dtype)[0]
        assert np.array_equal(sums.over_rows(L.copy(), unit, None), E[k])
        unit = np.eye(1, L.shape[1], k, dtype=dtype)[0]
        assert np.array_equal(sums.over_columns(L.copy(), unit), E[:, k])
        assert np.array_equal(sums.stored_over_columns(E, unit), E[:, k])


@pytest.mark.parametrize("width", [3, 64, 200])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_strided_powers_of_any_library_are_summed_over_columns(library, width):
    asarray = pytest.importorskip(library).asarray
    rng = np.random.default_rng(0)
    E, factor = rng.random((50, 2 * width)), rng.random(width)
    found = power_sums.Stepwise(asarray(E)).stored_over_columns(asarray(E)[:, width:], asarray(factor))
    np.testing.assert_allclose(np.asarray(found), (E[:, width:] * factor).sum(axis=1), rtol=1e-12)


def test_sums_over_many_rows_keep_the_digits_of_a_block():
    _, compiled = both(np.float32)
    L = np.zeros((2**16, 1), np.float32)
    weight = np.full(len(L), 0.1, np.float32)
    np.testing.assert_allclose(compiled.over_rows(L, weight, None), 6553.6, rtol=1e-6)


def test_only_large_problems_of_arrays_that_numba_takes_are_compiled():
    pytest.importorskip("numba")
    half = np.empty(0, np.float16)
    assert isinstance(power_sums.power_sums(half, COMPILED_FROM), power_sums.Stepwise)
    for dtype in FLOATS:
        assert [isinstance(way, power_sums.Stepwise) for way in both(dtype)] == [True, False]


def test_tensors_are_summed_by_torch():
    torch = pytest.importorskip("torch")
    assert isinstance(power_sums.power_sums(torch.empty(0), COMPILED_FROM), power_sums.Stepwise)


@pytest.mark.parametrize(
    "obstacle",
    [
        "sys.modules['numba'] = None",  # not installed, or not for this NumPy
        "import numba; numba.config.DISABLE_JIT = True",
        # what numba says where no folder can be written to
        "import numba\ndef njit(**options):\n    raise RuntimeError('no locator available')\nnumba.njit = njit",
    ],
)
def test_what_numba_cannot_do_is_done_step_by_step(obstacle):
    pytest.importorskip("numba")
    code = f"""
import sys
import numpy as np
{obstacle}
from skotw._transport.power_sums import COMPILED_FROM, Stepwise, power_sums
print(isinstance(power_sums(np.empty(0), COMPILED_FROM), Stepwise))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr


@pytest.mark.parametrize("dtype", FLOATS)
def test_users_get_the_same_weights_in_either_way(monkeypatch, dtype):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    X, X_meta = rng.standard_normal((500, 40)).astype(dtype), rng.standard_normal((20, 40)).astype(dtype)
    y, y_meta = rng.integers(0, 3, 500), np.arange(20) % 3
    found = {}
    for limit in (1, np.inf):
        monkeypatch.setattr(power_sums, "COMPILED_FROM", limit)
        for threads in (1, 2):
            found[limit, threads] = ot_sample_weight(X, y, X_meta, y_meta, reg=0.1, n_jobs=threads)
    assert np.array_equal(found[1, 1], found[1, 2])
    np.testing.assert_allclose(found[1, 1], found[np.inf, 1], rtol=1e-5 if dtype == np.float32 else 1e-12)
