"""The package as a whole: what importing it costs, and what it promises."""

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import skotw

from . import _user_script

ROOT = Path(__file__).parents[1]
PUBLIC_MODULES = ["skotw", "skotw.datasets", "skotw.meta", "skotw.metrics", "skotw.plotting"]
NEEDS = {"skotw.deep": ("torch", "skorch"), "skotw.dask": ("dask", "pandas")}
EXTRA_MODULES = [module for module, packages in NEEDS.items() if all(map(importlib.util.find_spec, packages))]
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

optional = {"torch", "skorch", "matplotlib", "dask", "distributed", "numba"}
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


@pytest.mark.parametrize(("extra", "missing"), [("deep", "torch"), ("deep", "skorch"), ("dask", "dask")])
def test_modules_name_the_extra_that_they_need(extra, missing):
    code = f"""
import importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NotInstalled())
import skotw
try:
    import skotw.{extra}
except ImportError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"pip install skotw[{extra}]" in result.stdout


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


@pytest.mark.parametrize(("module", "name"), [pair for pair in PUBLIC_OBJECTS if "OT" in pair[1] or "Dask" in pair[1]])
def test_estimators_name_the_page_of_the_guide_that_explains_them(module, name):
    doc = inspect.getdoc(getattr(importlib.import_module(module), name))
    assert re.search(r":doc:`/guide/\w+`", doc)


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
    tested_extras = [extras[name] for name in ("dev", "plot", "dask", "fast", "interop")]
    for requirement in chain(project["dependencies"], *tested_extras):
        name, bound = re.match(r"([\w-]+)(?:\[.*?\])?>=([\d.]+)", requirement).groups()
        bounds[name.lower()] = version(bound)
    assert {name: tested.get(name) for name in bounds} == bounds
    assert project["requires-python"].startswith(">=3.11,")
    assert "PYTHON=python3.11 VENV=.venv-oldest" in ROOT.joinpath("Makefile").read_text()


# ---------------------------------------------------------------------------------------------
# The tree


def python_files(folder):
    return sorted(ROOT.joinpath(folder).rglob("*.py"))


def rooms(folder):
    """Folders of modules, by the names that tests give them."""
    return {path.parent.name.removeprefix("_") for path in ROOT.joinpath(folder).glob("*/__init__.py")}


def test_tests_mirror_the_rooms():
    assert rooms("tests") == rooms("skotw")
    tested = {path.parent.name for path in python_files("tests") if path.name.startswith("test_")}
    assert rooms("skotw") <= tested
    public_files = {path.stem for path in ROOT.glob("skotw/[a-z]*.py")}
    assert {f"test_{name}" for name in public_files} <= {path.stem for path in ROOT.glob("tests/test_*.py")}


def test_what_is_no_test_is_marked_as_a_helper():
    names = {path.name for path in python_files("tests")} - {"conftest.py"}
    assert [name for name in names if not name.startswith(("test_", "_"))] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/ci.yml"])
def test_commands_that_pages_name_are_targets(page):
    path = ROOT.joinpath(page)
    if not path.exists():
        pytest.skip("no checkout")
    targets = re.findall(r"^([a-z-]+):", ROOT.joinpath("Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^ *|`|run: )make ([a-z-]+)", path.read_text(), re.MULTILINE)
    assert named
    assert set(named) <= set(targets)


def test_warnings_point_at_the_line_of_the_user():
    """Python's own function does not know how many of our lines lie between."""
    warning = [path for path in python_files("skotw") if "warnings.warn(" in path.read_text()]
    assert [path.name for path in warning] == ["_validation.py"]


def test_no_file_names_a_folder_of_somebodys_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout")
    private = re.compile(rb"(?<![\w.:/])/(?:home|mnt|root|tmp|Users|work)/\w")
    paths = [path for path in map(ROOT.joinpath, listed.stdout.splitlines()) if path.is_file()]
    assert [path for path in paths if path.suffix != ".png" and private.search(path.read_bytes())] == []


# ---------------------------------------------------------------------------------------------
# Types


def signatures():
    """Every public function, and every public method that is ours, inherited ones included."""
    found = {}
    for module, name in PUBLIC_OBJECTS:
        obj = getattr(importlib.import_module(module), name)
        for member, value in inspect.getmembers(obj) if inspect.isclass(obj) else [(name, obj)]:
            function = inspect.unwrap(value.fget if isinstance(value, property) else value)
            ours = inspect.isfunction(function) and function.__module__.startswith("skotw")
            if ours and (not member.startswith("_") or member == "__init__"):
                found[function.__qualname__] = function
    return [pytest.param(function, id=name) for name, function in found.items()]


@pytest.mark.parametrize("function", signatures())
def test_public_signatures_are_annotated(function):
    signature = inspect.signature(function)
    parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    assert [parameter.name for parameter in parameters if parameter.annotation is parameter.empty] == []
    assert signature.return_annotation is not signature.empty


def test_script_of_a_user_calls_all_that_is_public():
    """mypy reads it (`make types`), and here it runs."""
    code = ROOT.joinpath("tests", "_user_script.py").read_text()
    assert [name for _, name in PUBLIC_OBJECTS if not re.search(rf"\b{name}\b", code)] == []
    _user_script.weights()
    _user_script.estimators()
    if importlib.util.find_spec("matplotlib"):
        _user_script.pictures()
    if "skotw.deep" in EXTRA_MODULES:
        _user_script.networks()
    if "skotw.dask" in EXTRA_MODULES:
        _user_script.chunks()
