"""The code of doc/guide/clusters.rst that needs Spark or Ray gives the weights of fit, where they are installed."""

import os
import re
import shutil
import sys
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.frozen import FrozenEstimator

from skotw import OTSampleWeighter

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "doc" / "guide" / "clusters.rst"


def code(engine):
    """The page's block of code that begins with the engine's name."""
    (block,) = re.findall(rf"\n   # {engine}\n((?:   .*\n|\n)+)", PAGE.read_text())
    return "".join(line[3:] or "\n" for line in block.splitlines(keepends=True))


def setting(as_frame):
    """What the page takes for given."""
    X, y = make_classification(340, 4, random_state=0)
    features = [f"x{j}" for j in range(4)]
    if as_frame:
        X = pd.DataFrame(X, columns=features)
    X, y, X_meta, y_meta = X[:300], y[:300], X[300:], y[300:]
    s = OTSampleWeighter().fit(X[:100], y[:100], X_meta, y_meta)
    part = OTSampleWeighter(embedding=FrozenEstimator(s.embedding_), cost_scale=s.cost_scale_, reg=s.reg_)
    names = {"reduce": reduce, "clone": clone, "np": np, "pd": pd, "OTSampleWeighter": OTSampleWeighter}
    expected = clone(part).fit(X, y, X_meta, y_meta).sample_weight_
    return expected, names | {"X": X, "y": y, "X_meta": X_meta, "y_meta": y_meta, "part": part, "features": features}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # theirs
def test_spark(monkeypatch):
    pyspark = pytest.importorskip("pyspark.sql")
    if not shutil.which("java"):
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    expected, names = setting(as_frame=True)
    spark = pyspark.SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
    try:
        rows = names["X"].assign(label=names["y"], place=range(300))
        names["rows"] = spark.createDataFrame(rows).repartition(3)
        exec(code("Spark"), names)
        weighted = names["weighted"].toPandas().sort_values("place")
    finally:
        spark.stop()
    assert_allclose(weighted["weight"], expected, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray():
    ray = pytest.importorskip("ray")
    expected, names = setting(as_frame=False)
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}})
    try:
        exec(code("Ray"), names)
    finally:
        ray.shutdown()
    assert_allclose(np.concatenate(names["w"]), expected, rtol=1e-11)
