"""Sphinx configuration."""

import importlib.metadata
import os
from pathlib import Path

from sphinx_gallery.sorting import FunctionSortKey

# -- Project -----------------------------------------------------------------------------------

project = "skotw"
author = copyright = "the skotw developers"
release = version = importlib.metadata.version("skotw")

# -- Sources -----------------------------------------------------------------------------------

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_parser",
    "numpydoc",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# Of Markdown there is the changelog alone, which a page of its own includes.
source_suffix = {".rst": "restructuredtext"}

autosummary_generate = True
autodoc_member_order = "bysource"
# The docstrings say in words what is taken and given.
autodoc_typehints = "none"
# In the list beside a page methods are named without their class, for which there is no room.
toc_object_entries_show_parents = "hide"
# The class template lists the methods, so numpydoc must not do it once more.
numpydoc_show_class_members = False

# The order of the examples, all of which are named. Files that begin with "_" are what several of them share.
EXAMPLES = [
    "plot_quickstart.py",
    "plot_rare_class.py",
    "plot_mixed_frame.py",
    "plot_probabilities.py",
    "plot_label_errors.py",
    "plot_grid_search.py",
    "plot_boosters.py",
    "plot_smote_focal_loss.py",
    "plot_groups.py",
    "plot_imbalanced_regression.py",
    "plot_covariate_shift.py",
    "plot_parquet_stream.py",
    "weigh_parquet.py",
    "plot_deep_digits.py",
    "plot_deep_text.py",
    "plot_deep_point_clouds.py",
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "ignore_pattern": "^_",
    "within_subsection_order": FunctionSortKey(EXAMPLES.index),
    "gallery_dirs": "auto_examples",
    # What each example calls, for the galleries on the pages of the API reference.
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skotw",),
    "reference_url": {"skotw": None},
    "abort_on_example_error": True,
    # A last line such as ax.legend() has no output that says anything.
    "ignore_repr_types": r"matplotlib\.",
    "show_signature": False,
    "write_computation_times": False,
}

# A doctest is copied without its prompts and its output.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# -- Other packages ----------------------------------------------------------------------------

MANUALS = {
    "dask": "https://docs.dask.org/en/stable/",
    "imblearn": "https://imbalanced-learn.org/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "ot": "https://pythonot.github.io/",
    "pandas": "https://pandas.pydata.org/docs/",
    "polars": "https://docs.pola.rs/api/python/stable/",
    "python": "https://docs.python.org/3/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "skorch": "https://skorch.readthedocs.io/en/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}


def inventories(folder):
    """The manuals whose inventory is in the folder, as NAME.inv: what they list is linked, and nothing is fetched."""
    found = {name: Path(folder, f"{name}.inv").resolve() for name in MANUALS} if folder else {}
    return {name: (MANUALS[name], str(path)) for name, path in found.items() if path.is_file()}


intersphinx_mapping = inventories(os.environ.get("SKOTW_INVENTORIES"))

# Every reference to a name of ours must resolve, and one to another package where its inventory is at hand.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", rf"({'|'.join([*MANUALS, 'array_api_compat'])})\..*"),
]

# -- Pages -------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"skotw {release}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["skotw.css"]
# Pages with no others below them need no list of these, and get its width for formulas and tables.
_ALONE = ("index", "start", "coming_from", "paper", "theory", "glossary", "design", "changelog", "genindex", "search")
html_sidebars = {page: [] for page in _ALONE}
html_theme_options = {
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 5,
    "logo": {"text": "skotw"},
    "navigation_with_keys": False,
    # The code of an example needs the width more than a list of its few sections.
    "secondary_sidebar_items": {
        "**": ["page-toc"],
        "index": [],
        **{f"auto_examples/{name.removesuffix('.py')}": [] for name in EXAMPLES},
    },
}


def skip_generated_methods(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to every estimator: its text points into its own manual."""
    is_request = name.startswith("set_") and name.endswith("_request")
    return skip or is_request or name == "get_metadata_routing"


def setup(app):
    """Connect the hook above."""
    app.connect("autodoc-skip-member", skip_generated_methods)
