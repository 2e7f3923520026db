"""The package as a whole: what importing it costs, and what it promises."""

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import skotw

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = ["skotw", "skotw.datasets", "skotw.meta", "skotw.metrics"]
EXTRA_MODULES = ["skotw.deep"] if all(map(importlib.util.find_spec, ("torch", "skorch"))) else []
PUBLIC_OBJECTS = [
    (module, name)
    for module in PUBLIC_MODULES + EXTRA_MODULES
    for name in importlib.import_module(module).__all__
    if not name.startswith("__")
]

# Runs in a fresh interpreter. The finder sees every attempt to import an optional package, also one
# that is not installed here and whose ImportError the package would have caught.
IMPORT_AND_REPORT = """
import importlib.abc, sys

optional = {"torch", "skorch", "dask", "matplotlib"}
attempts = []

class Recorder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in optional:
            attempts.append(name)

sys.meta_path.insert(0, Recorder())
import MODULE
print(sorted(optional & {*sys.modules, *attempts}))
"""


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_import_leaves_optional_packages_alone(module):
    code = IMPORT_AND_REPORT.replace("MODULE", module)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["torch", "skorch"])
def test_deep_names_the_extra_that_it_needs(missing):
    code = f"""
import importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import skotw
try:
    import skotw.deep
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "pip install skotw[deep]" in result.stdout


@pytest.mark.parametrize("module", PUBLIC_MODULES + EXTRA_MODULES)
def test_all_names_are_there(module):
    module = importlib.import_module(module)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize(("module", "name"), PUBLIC_OBJECTS)
def test_public_objects_show_an_example(module, name):
    obj = getattr(importlib.import_module(module), name)
    if callable(obj):
        assert ">>> " in obj.__doc__


@pytest.mark.parametrize(("module", "name"), PUBLIC_OBJECTS)
def test_public_objects_are_in_the_api_reference(module, name):
    reference = ROOT.joinpath("doc", "api.rst").read_text()
    path = f"{module}.{name}".removeprefix("skotw.")
    assert f"   {path}\n" in reference


def test_version_is_that_of_the_metadata():
    assert skotw.__version__ == importlib.metadata.version("skotw")


def test_package_is_marked_as_typed():
    assert importlib.resources.files(skotw).joinpath("py.typed").is_file()


def version(text):
    """1.12.0 and 1.12 are one version."""
    return re.sub(r"(\.0)+$", "", text)


def test_oldest_supported_versions_are_those_tested():
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pins = ROOT.joinpath("constraints-oldest.txt").read_text()
    tested = {name.lower(): version(pin) for name, pin in re.findall(r"^([\w-]+)==([\w.]+)$", pins, re.MULTILINE)}
    bounds = {}
    for requirement in [*project["dependencies"], *extras["dev"], *extras["plot"], *extras["interop"]]:
        name, bound = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()
        bounds[name.lower()] = version(bound)
    assert {name: tested.get(name) for name in bounds} == bounds
    assert project["requires-python"].startswith(">=3.11,")
    assert "PYTHON=python3.11 VENV=.venv-oldest" in ROOT.joinpath("Makefile").read_text()
