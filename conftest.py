"""What tests and documentation share: one OpenMP thread, and no modules whose libraries are not installed."""

import importlib.util

import pytest
from threadpoolctl import threadpool_limits

_NEEDS = {
    "skotw/dask.py": ("dask", "pandas"),
    "skotw/deep/*": ("torch", "skorch"),
    "skotw/_transport/fused_kernels.py": ("torch", "triton"),
    "skotw/plotting.py": ("matplotlib",),
}
collect_ignore_glob = [
    path for path, names in _NEEDS.items() if any(importlib.util.find_spec(name) is None for name in names)
]


@pytest.fixture(scope="session", autouse=True)
def one_openmp_thread():
    """Fits here are tiny, and on a busy machine OpenMP threads mostly spin: twenty times as long, once measured."""
    import sklearn.ensemble  # noqa: F401 (loads OpenMP, which is what is limited)

    with threadpool_limits(1, user_api="openmp"):
        yield
