"""What tests and documentation share: one OpenMP thread, and no module whose extra is not installed."""

import importlib.util

import pytest
from threadpoolctl import threadpool_limits

collect_ignore_glob = []
if any(importlib.util.find_spec(name) is None for name in ("torch", "skorch")):
    collect_ignore_glob.append("skotw/deep/*")
if any(importlib.util.find_spec(name) is None for name in ("dask", "pandas")):
    collect_ignore_glob.append("skotw/dask.py")


@pytest.fixture(scope="session", autouse=True)
def one_openmp_thread():
    """Fits here are tiny, and on a busy machine OpenMP threads mostly spin: twenty times as long, once measured."""
    import sklearn.ensemble  # noqa: F401 (loads OpenMP, which is what is limited)

    with threadpool_limits(1, user_api="openmp"):
        yield
