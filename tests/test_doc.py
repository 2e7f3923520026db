"""The documentation's own machinery: what checks its links and its words, and links to other manuals."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ._check_links import faults

ROOT = Path(__file__).parents[1]
CONF = ROOT / "doc" / "conf.py"


# ---------------------------------------------------------------------------------------------
# Links


@pytest.fixture
def site(tmp_path):
    """A site of two pages, by what stands on the first."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "guide" / "page.html").write_text(
        '<h1 id="top">Page</h1><a name="old"></a><a href="../index.html">up</a>'
    )
    (tmp_path / "plot.png").write_bytes(b"")

    def faults_of(html):
        (tmp_path / "index.html").write_text(f'<body id="here">{html}</body>')
        return faults(tmp_path)

    return faults_of


@pytest.mark.parametrize(
    "html",
    [
        '<a href="guide/page.html">',
        '<a href="guide/page.html#top">',
        '<a href="guide/page.html#old">',
        '<a href="guide/../guide/page.html">',
        '<a href="/guide/page.html#top">',
        '<a href="#here">',
        '<a href="#">',
        '<a href="">',
        "<a>",
        '<a href="?q=1">',
        '<a href="https://example.org/page#anywhere">',
        '<a href="mailto:us@example.org">',
        '<link rel="canonical" href="https://example.org/">',
        '<img src="plot.png">',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_good_links_pass(site, html):
    assert site(html) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="missing.html">', "leads to no file"),
        ('<a href="guide/">', "leads to no file"),
        ('<a href="../outside.html">', "leads to no file"),
        ('<img src="missing.png">', "leads to no file"),
        ('<script src="missing.js"></script>', "leads to no file"),
        ('<a href="guide/page.html#bottom">', "leads to no anchor of guide/page.html"),
        ('<a href="#there">', "leads to no anchor of index.html"),
        ('<a href="https://exam ple.org">', "is no address of a page"),
        ('<a href="https:///page">', "is no address of a page"),
        ('<a href="http://localhost/page">', "is no address of a page"),
        ('<a href="htps://example.org">', "is neither http nor https"),
        ('<a href="https://example.org:port/">', "is no address"),
        ('<a href="https://[example.org/">', "is no address"),
        ('<img src="https://example.org/plot.png">', "is loaded from the network"),
        ('<script src="//example.org/mathjax.js"></script>', "is loaded from the network"),
        ('<link rel="stylesheet" href="https://example.org/fonts.css">', "is loaded from the network"),
    ],
)
def test_each_wrong_link_is_told_with_its_page(site, html, fault):
    (found,) = site(html)
    assert found.startswith("index.html: ")
    assert fault in found


def test_a_link_that_stands_twice_is_told_once(site):
    assert len(site('<a href="missing.html"><a href="missing.html">')) == 1


def test_templates_of_a_theme_are_no_pages(site, tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "macros.html").write_text('<a href="{{ page }}">')
    assert site('<img src="_static/macros.html">') == []


def test_a_folder_without_pages_is_no_good_site(tmp_path):
    (found,) = faults(tmp_path)
    assert "make doc" in found


def test_command_fails_where_a_link_is_wrong(tmp_path):
    def run(html):
        (tmp_path / "index.html").write_text(html)
        command = [sys.executable, ROOT / "tests" / "_check_links.py", tmp_path]
        return subprocess.run(command, capture_output=True, text=True)

    good, bad = run('<a href="index.html">'), run('<a href="elsewhere.html">')
    assert (good.returncode, good.stdout) == (0, "0 wrong links\n")
    assert bad.returncode == 1
    assert "index.html: elsewhere.html leads to no file of the site" in bad.stdout


# ---------------------------------------------------------------------------------------------
# Words


@pytest.mark.skipif(not importlib.util.find_spec("codespell_lib"), reason="codespell is an extra: doc")
@pytest.mark.parametrize(("word", "status"), [("teh", 65), ("the", 0), ("KEEL", 0)])
def test_spelling_is_checked_as_pyproject_says(tmp_path, word, status):
    page = tmp_path / "page.rst"
    page.write_text(f"Of {word} rows.\n")
    command = [sys.executable, "-m", "codespell_lib", "--toml", ROOT / "pyproject.toml", page]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == status, result.stderr
    assert (f"{word} ==> the" in result.stdout) is (status != 0)


def test_spelling_is_checked_where_people_read():
    text = ROOT.joinpath("Makefile").read_text()
    recipe = text[text.index("\nspelling:") :].partition("\n\n")[0]
    for place in ("doc", "skotw", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples"):
        assert f" {place}" in recipe


def test_labels_are_right_or_wrong():
    """One name for each thing, as the glossary has it; quoted terms and titles are as others have them."""
    pages = [*ROOT.joinpath("doc").glob("**/*.rst"), *ROOT.joinpath("skotw").rglob("*.py"), ROOT / "README.md"]
    built = [ROOT / "doc" / name for name in ("_build", "auto_examples", "generated")]
    written = [page for page in pages if not any(page.is_relative_to(folder) for folder in built)]
    other_name = re.compile(r"(?<![\"*“])\b(?:[Cc]lean|[Nn]oisy)\s+labels?\b")
    found = [(page.name, match[0]) for page in written for match in other_name.finditer(page.read_text())]
    assert found == []


# ---------------------------------------------------------------------------------------------
# Other packages' manuals


def test_manuals_are_linked_where_their_inventory_is_at_hand(tmp_path, monkeypatch):
    pytest.importorskip("sphinx_gallery")  # which the configuration may import
    inventory = tmp_path / "numpy.inv"
    inventory.write_bytes(b"")
    (tmp_path / "stranger.inv").write_bytes(b"")
    monkeypatch.setitem(os.environ, "SKOTW_INVENTORIES", str(tmp_path))
    mapping = runpy.run_path(str(CONF))["intersphinx_mapping"]
    assert mapping == {"numpy": ("https://numpy.org/doc/stable/", str(inventory))}
    monkeypatch.setitem(os.environ, "SKOTW_INVENTORIES", str(tmp_path / "missing"))
    assert runpy.run_path(str(CONF))["intersphinx_mapping"] == {}
    monkeypatch.delitem(os.environ, "SKOTW_INVENTORIES")
    assert runpy.run_path(str(CONF))["intersphinx_mapping"] == {}


def test_every_package_of_the_docs_is_pinned():
    """So that a build next year is the build of today."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    pins = {line.partition("==")[0].lower() for line in ROOT.joinpath("constraints.txt").read_text().splitlines()}
    needed = {requirement.partition(">=")[0].lower() for requirement in project["optional-dependencies"]["doc"]}
    assert needed <= pins
