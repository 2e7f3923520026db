"""The README's code runs, and its commands exist."""

import importlib.util
import re
from pathlib import Path

import numpy as np
from sklearn.model_selection import GridSearchCV

from skotw import OTSampleWeighter

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
    whole = OTSampleWeighter(**names["settled"]).fit(names["X"], names["y"], names["X_meta"], names["y_meta"])
    np.testing.assert_allclose(names["w_chunk"], whole.sample_weight_[:300], rtol=1e-9)
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
    scripts = re.findall(r"python (\S+\.py)", README)
    assert scripts
    assert [script for script in scripts if not ROOT.joinpath(script).is_file()] == []
