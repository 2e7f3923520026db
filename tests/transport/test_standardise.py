"""Standardised columns."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from skotw._transport.arrays import namespace, to_numpy
from skotw._transport.blocks import Compute, Partition
from skotw._transport.cost import cosine_cost, unit_rows
from skotw._transport.kernel_histograms import kernel_histograms
from skotw._transport.standardise import Standardise

NUMPY = namespace(np.empty(0))


def columns(dtype):
    """Rows with columns of all sorts: far from zero, tiny, constant, an indicator."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 6)) * [1.0, 5.0, 1e-6, 0.0, 1.0, 0.0] + [0.0, 200.0, 0.0, 0.1, 0.0, -3.0]
    X[:, 4] = X[:, 4] > 1
    weight = rng.uniform(0.1, 3.0, 300).astype(np.float32)  # which StandardScaler makes of weights for such rows
    return X.astype(dtype), weight.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block_bytes", [2**7, 2**21])
def test_standardised_as_by_scikit_learn(dtype, weighted, block_bytes):
    X, weight = columns(dtype)
    weight = weight if weighted else None
    compute = Compute(2, block_bytes=block_bytes)
    ours = Standardise.fit(X, weight, compute)
    theirs = StandardScaler().fit(X, sample_weight=weight)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-10)
    np.testing.assert_array_equal(ours.scale[[3, 5]], 1.0)
    Z = ours.transform(X, compute)
    assert Z.dtype == dtype
    np.testing.assert_allclose(Z, theirs.transform(X), atol=1e-9 if dtype == np.float64 else 1e-5)


@pytest.mark.parametrize("factor", [1e-30, 1.0 / 300, 1e-10, 1e10, 1e30])
def test_the_unit_of_the_weights_does_not_matter(factor):
    X, weight = columns(np.float64)
    X = np.c_[X, 1e8 + 1e-3 * np.arange(300)]  # varies little enough that a bound on rounding might hide it
    ours, scaled = (Standardise.fit(X, w, Compute()) for w in (weight, weight * factor))
    np.testing.assert_allclose(scaled.mean, ours.mean, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(scaled.scale, ours.scale, rtol=1e-12)
    np.testing.assert_array_equal(scaled.scale[[3, 5]], 1.0)
    assert scaled.scale[-1] < 0.1


def test_standardised_in_parts_that_other_processes_have():
    X, weight = columns(np.float64)
    whole = Standardise.fit(X, weight, Compute())
    parts = [(X[:100], weight[:100]), (X[100:], weight[100:])]
    # each moment of this part plus that of the other, which a second process would send
    mass = np.array([parts[1][1].sum(), len(parts[1][1])])
    sums = parts[1][1] @ parts[1][0]
    squares = parts[1][1] @ (parts[1][0] - whole.mean) ** 2
    others = iter([mass, sums, squares])
    shared = Standardise.fit(*parts[0], Compute(), lambda values: values + next(others))
    np.testing.assert_allclose(shared.mean, whole.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(shared.scale, whole.scale, rtol=1e-12)


# ---- another array library


def test_standardised_and_binned_the_same_on_tensors():
    torch = pytest.importorskip("torch")
    X, weight = columns(np.float64)
    arrays, tensors = Standardise.fit(X, weight, Compute()), Standardise.fit(torch.from_numpy(X), weight, Compute())
    np.testing.assert_allclose(tensors.mean, arrays.mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(tensors.scale, arrays.scale, rtol=1e-12)
    Z = arrays.transform(X, Compute())
    np.testing.assert_allclose(to_numpy(tensors.transform(torch.from_numpy(X), Compute())), Z, rtol=1e-12, atol=1e-12)
    partition = Partition.of([120, 180], 50)
    ours, theirs = (
        kernel_histograms(cosine_cost(unit_rows(rows, Compute()), rows[:7]), weight, 0.8, partition, Compute())
        for rows in (Z, torch.from_numpy(Z))
    )
    np.testing.assert_allclose(theirs, ours, atol=1e-9)
