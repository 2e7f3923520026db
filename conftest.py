"""What tests and documentation share: one OpenMP thread, and no deep learning where its extra is not installed."""

import importlib.util

import pytest
from threadpoolctl import threadpool_limits

if any(importlib.util.find_spec(name) is None for name in ("torch", "skorch")):
    collect_ignore_glob = ["skotw/deep/*"]


@pytest.fixture(scope="session", autouse=True)
def one_openmp_thread():
    """Fits here are tiny, and on a busy machine OpenMP threads mostly spin: twenty times as long, once measured."""
    import sklearn.ensemble  # noqa: F401 (loads OpenMP, which is what is limited)

    with threadpool_limits(1, user_api="openmp"):
        yield
