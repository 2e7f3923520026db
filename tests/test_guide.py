"""The pages of the guide: what they refer to exists, and their code runs or says why it does not."""

import re
import runpy
from pathlib import Path

import pytest

DOC = Path(__file__).parents[1] / "doc"
PAGES = sorted(DOC.joinpath("guide").glob("*.rst"))
FIGURES = sorted(DOC.joinpath("_static", "guide").glob("*"))
# What the glossary explains.
TERMS = {
    "balanced weights",
    "columns",
    "effective sample size",
    "meta set",
    "precision of a label",
    "prior",
    "prototypes",
    "regularisation",
    "trusted rows",
}
# Files and words by which a page says why code on it is not run.
NOT_RUN = {"clusters.rst": ("is not run here", "test of its own")}


def named(page, role):
    """What a page refers to by a role, titles left out."""
    return [target.rpartition("<")[2].rstrip(">") for target in re.findall(rf":{role}:`([^`]+)`", page.read_text())]


def test_every_page_is_in_the_table_of_contents():
    index = DOC.joinpath("guide", "index.rst").read_text()
    listed = re.search(r"toctree::\n +:hidden:\n\n((?: +\w+\n)+)", index).group(1).split()
    assert sorted([*listed, "index"]) == [page.stem for page in PAGES]
    assert sorted(named(DOC / "guide" / "index.rst", "doc")) == sorted(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links(page):
    for target in named(page, "doc"):
        file = (DOC / target[1:] if target.startswith("/") else page.parent / target).with_suffix(".rst")
        assert file.exists(), target
    assert {term.lower() for term in named(page, "term")} <= TERMS
    labels = "".join(file.read_text() for file in [*PAGES, *DOC.glob("*.rst")])
    for target in named(page, "ref"):
        example = re.fullmatch(r"sphx_glr_auto_examples_(\w+\.py)", target)
        if example:
            assert (DOC.parent / "examples" / example.group(1)).exists(), target
        else:
            assert f"\n.. _{target}:" in labels, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_is_run_or_says_why_not(page):
    text = page.read_text()
    assert ">>> " in text
    blocks = re.findall(r"^ *\.\. code-block:: python|^(?! *\.\.).*::$", text, re.MULTILINE)
    reasons = [reason for reason in NOT_RUN.get(page.name, ()) if reason in text]
    assert bool(blocks) == bool(reasons)


def test_figures_are_made_shown_and_small():
    script = DOC.joinpath("make_figures.py").read_text()
    shown = [figure for page in PAGES for figure in re.findall(r"figure:: /_static/guide/(\S+)", page.read_text())]
    assert sorted(shown) == [figure.name for figure in FIGURES]
    for figure in FIGURES:
        assert f"def {figure.stem}():" in script
        assert figure.stat().st_size < 60_000
    for page in PAGES:
        assert page.read_text().count("figure::") == page.read_text().count(":alt:")


@pytest.mark.slow
def test_the_script_makes_the_figures(tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    script = runpy.run_path(str(DOC / "make_figures.py"))
    script["main"](tmp_path)
    assert sorted(figure.name for figure in tmp_path.iterdir()) == [figure.name for figure in FIGURES]
