"""What all tests share: how hypothesis searches."""

import os

# Before scipy is imported anywhere: the tests of tensors under array API dispatch need it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# Some versions of polars warn when joblib starts its processes, which do not touch polars.
os.environ.setdefault("POLARS_ALLOW_FORKING_THREAD", "1")

from hypothesis import settings

# Helpers of the tests, and scripts that need tools of their own.
collect_ignore_glob = ["_*.py"]

# The time of one example says nothing on a busy machine. Continuous integration draws the same
# examples every time, so that a change is judged by what it changed; elsewhere the search goes on.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
