"""Networks here are tiny: one thread is quicker than two, and repeats to the bit."""

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("skorch") is None:
    collect_ignore_glob = ["*.py"]
else:
    import torch

    @pytest.fixture(autouse=True)
    def one_thread():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(0)
        yield
        torch.set_num_threads(threads)
