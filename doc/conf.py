"""Sphinx configuration."""

import importlib.metadata

from sphinx_gallery.sorting import FunctionSortKey

# -- Project -----------------------------------------------------------------------------------

project = "skotw"
author = copyright = "the skotw developers"
release = version = importlib.metadata.version("skotw")

# -- Sources -----------------------------------------------------------------------------------

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

autosummary_generate = True
autodoc_member_order = "bysource"
# The docstrings say in words what is taken and given.
autodoc_typehints = "none"
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
    "abort_on_example_error": True,
    "show_signature": False,
    "write_computation_times": False,
}

# Every reference to a name of ours must resolve. Those to other packages would need inventories
# from the network, and a build of the documentation fetches nothing.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(array_api_compat|imblearn|matplotlib|numpy|ot|pandas|polars|scipy|sklearn|skorch|torch)\..*"),
]

# -- Pages -------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"skotw {release}"
html_copy_source = False


def skip_generated_methods(app, what, name, obj, skip, options):
    """Leave out what scikit-learn adds to every estimator: its text points into its own manual."""
    is_request = name.startswith("set_") and name.endswith("_request")
    return skip or is_request or name == "get_metadata_routing"


def setup(app):
    """Connect the hook above."""
    app.connect("autodoc-skip-member", skip_generated_methods)
