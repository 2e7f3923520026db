"""The README's code runs, its pictures and pages exist, and so do its commands."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

ROOT = Path(__file__).parents[1]
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
OTHERS = ROOT.joinpath("doc", "coming_from.rst").read_text(encoding="utf-8")


def is_installed(code):
    """Whether all that a piece of code imports is there."""
    modules = re.findall(r"^ *(?:from|import) (\w+)", code, re.MULTILINE)
    return all(importlib.util.find_spec(name) for name in modules) and (
        "skotw.deep" not in code or importlib.util.find_spec("skorch") is not None
    )


def code_blocks():
    return re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_code_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in filter(is_installed, code_blocks()):
        exec(compile(code, "README.md", "exec"), names)
    w, pipe, search = names["w"], names["pipe"], names["search"]
    assert set(names["errors"].suspects) <= set(range(len(w)))
    assert w.shape == names["y"].shape
    np.testing.assert_allclose(w.mean(), 1.0)
    assert pipe.predict(names["X"]).shape == w.shape
    assert isinstance(search, GridSearchCV)
    assert search.best_score_ > 0.5
    if "net" in names:
        assert set(names["net"].predict(names["X"].astype("float32"))) <= set(range(10))
    if "plt" in names:
        assert (tmp_path / "weights.png").stat().st_size > 0
        names["plt"].close("all")


def test_it_can_be_read_in_a_minute_or_three():
    text = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    prose = [line for line in text.splitlines() if not line.startswith(("|", "    "))]
    assert len(" ".join(prose).split()) <= 670


def test_commands_pages_and_pictures_exist():
    targets = re.findall(r"(?:^ {4}|`)make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test", "check"} <= set(targets)
    assert set(targets) <= set(re.findall(r"^([a-z-]+):.*## ", ROOT.joinpath("Makefile").read_text(), re.MULTILINE))
    pages = re.findall(r"`((?:doc|benchmarks)/[\w/.]+|CONTRIBUTING\.md|CITATION\.cff)`", README)
    assert len(pages) > 5
    pictures = re.findall(r"!\[[^\]]+\]\((?:https://[^)]*/main/)?([^)]+)\)", README)
    assert pictures
    assert [page for page in pages + pictures if not ROOT.joinpath(page).exists()] == []


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("library", ["imblearn", "cleanlab", "pydvl", "fairlearn", "adapt", "skada"])
def test_calls_of_other_libraries_run_where_they_are_installed(library):
    pytest.importorskip(library)
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?: {3}.*\n|\n)+)", OTHERS, re.MULTILINE)
    (code,) = (re.sub("^ {3}", "", block, flags=re.MULTILINE) for block in blocks if f"from {library}" in block)
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 2)) + y[:, None]
    rows = {"X": X, "y": y, "X_meta": X[:20], "y_meta": y[:20], "group": rng.integers(2, size=120)}
    domains = {"X_source": X, "y_source": y, "X_target": X[:50] + 0.5}
    exec(
        compile(code, "coming_from.rst", "exec"), {"np": np, "LogisticRegression": LogisticRegression} | rows | domains
    )
