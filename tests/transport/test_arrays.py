"""What NumPy, scipy and torch spell differently: values, dtypes and kinds of array survive each helper."""

import numpy as np
import pytest
from scipy import sparse

from skotw._transport import arrays

X = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])


def tensor(X):
    torch = pytest.importorskip("torch")
    return torch.tensor(X)


KINDS = {"numpy": np.asarray, "sparse": sparse.csr_array, "torch": tensor}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
dense = pytest.mark.parametrize("make", [np.asarray, tensor], ids=["numpy", "torch"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@kinds
@dtypes
def test_dtypes_have_the_name_that_numpy_gives_them(make, dtype):
    assert arrays.dtype_of(make(X.astype(dtype))) == np.dtype(dtype)


@dense
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_arrays_come_to_the_host_as_they_are(make, dtype):
    host = arrays.to_numpy(make(X.astype(dtype)))
    assert isinstance(host, np.ndarray)
    np.testing.assert_array_equal(host, X.astype(dtype), strict=True)


def test_tensors_that_require_a_gradient_come_to_the_host():
    np.testing.assert_array_equal(arrays.to_numpy(tensor(X).requires_grad_()), X)


@dense
@dtypes
def test_values_take_the_library_and_the_dtype_of_another_array(make, dtype):
    reference = make(X.astype(dtype))
    given = np.arange(6)[::-2]  # neither contiguous nor floating
    values = arrays.like(given, reference)
    assert type(values) is type(arrays.empty((1,), reference))
    assert arrays.dtype_of(values) == np.dtype(dtype)
    np.testing.assert_array_equal(arrays.to_numpy(values), given)
    if make is np.asarray:
        assert values.flags.c_contiguous


@dtypes
def test_values_beside_a_sparse_matrix_are_dense_and_of_its_dtype(dtype):
    reference = sparse.csr_array(X.astype(dtype))
    for values in (arrays.like(np.arange(3), reference), arrays.empty((3,), reference)):
        assert isinstance(values, np.ndarray)
        assert values.dtype == dtype
        assert values.shape == (3,)


@kinds
def test_functions_of_an_array_act_on_arrays_of_its_kind(make):
    reference = make(X)
    values = arrays.like(X, reference)
    product = arrays.functions(reference).matmul(values, arrays.like(X.T, reference))
    np.testing.assert_array_equal(arrays.to_numpy(product), X @ X.T)
    powers = arrays.namespace(reference).exp2(values)
    np.testing.assert_allclose(arrays.to_numpy(powers), np.exp2(X))


def test_numpy_functions_are_numpys_own():
    assert arrays.functions(X) is np  # a wrapper costs microseconds for each block
    assert arrays.functions(sparse.csr_array(X)) is np


@kinds
def test_rows_are_taken_by_index_in_any_order_and_more_than_once(make):
    rows = arrays.take(make(X), np.array([1, 0, 1]))
    assert type(rows) is type(make(X))
    rows = rows.toarray() if sparse.issparse(rows) else arrays.to_numpy(rows)
    np.testing.assert_array_equal(rows, X[[1, 0, 1]])


@pytest.mark.parametrize("given", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("wanted", KINDS.values(), ids=KINDS.keys())
def test_rows_take_the_library_dtype_and_density_of_others(given, wanted):
    if given is tensor and wanted is not tensor:
        pytest.skip("a tensor beside arrays is brought to the host before")
    reference = wanted(X.astype(np.float32))
    rows = arrays.like_rows(given(X[::-1].copy()), reference)
    assert type(rows) is type(reference)
    assert arrays.dtype_of(rows) == np.float32
    rows = rows.toarray() if sparse.issparse(rows) else arrays.to_numpy(rows)
    np.testing.assert_array_equal(rows, X[::-1])


@dense
def test_scratch_memory_is_one_contiguous_piece_that_is_used_again(make):
    reference, work = make(X), {}
    first = arrays.scratch(work, "kernel", (4, 3), reference)
    assert tuple(first.shape) == (4, 3)
    first[...] = 7.0
    smaller = arrays.scratch(work, "kernel", (2, 5), reference)
    assert tuple(smaller.shape) == (2, 5)
    assert bool((smaller == 7.0).all())  # the same memory
    again = arrays.scratch(work, "kernel", (4, 3), reference)
    assert bool((again == 7.0).all())  # also the whole of it
    other = arrays.scratch(work, "other", (4, 3), reference)
    other[...] = 1.0
    assert bool((again == 7.0).all())  # names have memory of their own


@dense
def test_scratch_memory_grows_and_changes_its_dtype(make):
    work = {}
    arrays.scratch(work, "kernel", (2, 2), make(X))
    assert tuple(arrays.scratch(work, "kernel", (5, 4), make(X)).shape) == (5, 4)
    single = arrays.scratch(work, "kernel", (5, 4), make(X.astype(np.float32)))
    assert arrays.dtype_of(single) == np.float32


def test_numpy_arrays_need_no_device():
    assert arrays.on_device(X) == {}


def test_arrays_are_made_where_a_tensor_is():
    torch = pytest.importorskip("torch")
    nowhere = torch.empty((2, 3), device="meta")  # a device that holds no numbers
    xp = arrays.namespace(nowhere)
    assert xp.asarray(np.arange(3), **arrays.on_device(nowhere)).device == nowhere.device
    assert arrays.empty((2,), nowhere).device == nowhere.device
    assert arrays.like(np.arange(3.0), nowhere).device == nowhere.device
    assert arrays.take(nowhere, np.array([0])).device == nowhere.device
