"""What tests and documentation share: one OpenMP thread, and no modules whose libraries are not installed."""

import importlib.util
import re

import pytest
from threadpoolctl import threadpool_limits

_NEEDS = {
    "skotw/dask.py": ("dask", "pandas"),
    "skotw/deep/*": ("torch", "skorch"),
    "skotw/_transport/compiled_power_sums.py": ("numba",),
    "skotw/_transport/fused_kernels.py": ("torch", "triton"),
    "skotw/plotting/*": ("matplotlib",),
}
# What an import on a page of the documentation needs, where that is not the module itself.
_NEEDS_OF_IMPORTS = {
    "skotw.dask": ("dask", "pandas"),
    "skotw.deep": ("torch", "skorch"),
    "skotw.plotting": ("matplotlib",),
}
collect_ignore_glob = [
    path for path, names in _NEEDS.items() if any(importlib.util.find_spec(name) is None for name in names)
]


def pytest_collection_modifyitems(items):
    """Skip pages of the documentation that import what is not installed."""
    for item in items:
        if item.path.suffix == ".rst" and (absent := _absent_imports(item.path.read_text(encoding="utf-8"))):
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(absent)}"))


def _absent_imports(page):
    """Modules that the doctests of a page import, and that are not installed."""
    modules = re.findall(r"^\s*(?:>>>|\.\.\.) (?:from|import) +([\w.]+)", page, re.MULTILINE)
    needed = {name for module in modules for name in _NEEDS_OF_IMPORTS.get(module, module.partition(".")[:1])}
    return sorted(name for name in needed if importlib.util.find_spec(name) is None)


@pytest.fixture(scope="session", autouse=True)
def one_openmp_thread():
    """Fits here are tiny, and on a busy machine OpenMP threads mostly spin: twenty times as long, once measured."""
    import sklearn.ensemble  # noqa: F401 (loads OpenMP, which is what is limited)

    with threadpool_limits(1, user_api="openmp"):
        yield
