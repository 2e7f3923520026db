"""Sphinx configuration."""

import importlib.metadata

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

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
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
