"""Where an extra is not installed its documentation is not run."""

import importlib.util

if any(importlib.util.find_spec(name) is None for name in ("torch", "skorch")):
    collect_ignore_glob = ["skotw/deep/*", "doc/deep.rst"]
