"""The README's code runs, and its commands exist."""

import importlib.util
import re
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV

ROOT = Path(__file__).parents[1]
HAS_TORCH = all(importlib.util.find_spec(name) for name in ("torch", "skorch"))
README = ROOT.joinpath("README.md").read_text()


def test_code_runs_from_top_to_bottom():
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        if "torch" in code and not HAS_TORCH:
            continue
        exec(compile(code, "README.md", "exec"), names)
    w, pipe, search = names["w"], names["pipe"], names["search"]
    assert set(names["errors"].indices) <= set(range(len(w)))
    assert w.shape == names["y"].shape
    np.testing.assert_allclose(w.mean(), 1.0)
    assert pipe.predict(names["X"]).shape == w.shape
    assert isinstance(search, GridSearchCV)
    assert search.best_score_ > 0.5
    assert not HAS_TORCH or set(names["net"].predict(names["X"].astype("float32"))) <= set(range(10))


def test_commands_exist():
    targets = re.findall(r"^ {4}make ([a-z-]+)", README, re.MULTILINE)
    assert {"demo", "test", "check"} <= set(targets)
    assert set(targets) <= set(re.findall(r"^([a-z-]+):.*## ", ROOT.joinpath("Makefile").read_text(), re.MULTILINE))
    pages = re.findall(r"`((?:doc|benchmarks)/[\w/.]+|CONTRIBUTING\.md|CITATION\.cff)`", README)
    assert len(pages) > 5
    assert [page for page in pages if not ROOT.joinpath(page).exists()] == []
