"""The gallery: its order, its titles, and what its pages share. Building the documentation runs the examples."""

import ast
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def shared(monkeypatch):
    """Lets a test import the modules that examples share."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(ROOT)


def test_every_example_has_a_place_in_the_gallery():
    tree = ast.parse((ROOT / "doc" / "conf.py").read_text())
    (order,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXAMPLES"
    ]
    assert sorted(order) == sorted(path.name for path in EXAMPLES.glob("[!_]*.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("plot_*.py")), ids=lambda path: path.stem)
def test_the_title_of_an_example_is_its_question(path):
    title, line = ast.get_docstring(ast.parse(path.read_text())).splitlines()[:2]
    assert title.endswith("?")
    assert line == "=" * len(title)


def test_the_table_of_customers_is_what_the_pages_say(shared):
    pytest.importorskip("pandas")
    from _churn import as_numbers, as_recorded, customers, in_days

    table, left = customers(20_000, seed=1)
    recorded = as_recorded(left, seed=1)
    assert left.mean() == pytest.approx(0.07, abs=0.01)
    assert recorded[left == 1].mean() == pytest.approx(0.7, abs=1e-3)
    assert recorded[left == 0].mean() == pytest.approx(0.1, abs=1e-3)
    assert table.isna().any().sum() == 3
    days = in_days(table)
    assert (days["joined"] >= 0).all()
    assert days["last_login"].isna().sum() == table["last_login"].isna().sum()
    assert np.isfinite(as_numbers().fit_transform(days)).all()


class Recorder(BaseEstimator):
    """A model that keeps what it is given."""

    def fit(self, X, y, sample_weight):
        self.y_, self.sample_weight_ = y, sample_weight
        return self


@pytest.mark.parametrize(
    "way",
    ["balanced", "balanced, trusted 1/4", "trusted only", "P(y|x), logistic", "KNN-Shapley", "without wrong rows *"],
)
@pytest.mark.parametrize("class_mass", [None, [0.7, 0.2, 0.1]])
def test_simple_ways_give_classes_the_mass_that_is_asked_for(shared, way, class_mass):
    from _cheap_ways import Task, fit_way

    X, y = load_iris(return_X_y=True)
    trusted = np.arange(len(y)) % 50 < 5
    given = np.where(np.arange(len(y)) % 7 == 0, (y + 1) % 3, y)
    task = Task(X[~trusted], given[~trusted], y[~trusted], X[trusted], y[trusted], X, y)
    (fitted,) = fit_way(way, task, [Recorder()], None if class_mass is None else np.array(class_mass))
    mass = np.bincount(fitted.y_, fitted.sample_weight_)
    np.testing.assert_allclose(mass / mass.sum(), [1 / 3] * 3 if class_mass is None else class_mass)
