"""What the machine may spend, by scikit-learn's settings."""

from contextlib import nullcontext

import numpy as np
from array_api_compat import is_array_api_obj
from joblib import effective_n_jobs
from sklearn import get_config

from skotw._transport.blocks import Compute, blas_threads, one_blas_thread


def compute_of(n_jobs):
    """Threads and memory as they are set now.

    Parameters
    ----------
    n_jobs : int or None
        As joblib counts; None takes as many threads as BLAS may use.

    Returns
    -------
    Compute
        Within scikit-learn's ``working_memory``.
    """
    memory = int(get_config()["working_memory"] * 2**20)
    n_threads = blas_threads() if n_jobs is None else effective_n_jobs(n_jobs)
    return Compute(n_threads, min(Compute.block_bytes, memory), memory)


def one_blas_thread_of(settings, rows):
    """Context of a whole fit, all of whose steps want this limit: setting it takes longer than some of them.

    Parameters
    ----------
    settings : Settings
        Transformers that are the user's have all threads.
    rows : as they came
        Tensors have threads of their own.
    """
    ours = settings.embeds_by_itself and (isinstance(rows, np.ndarray) or not is_array_api_obj(rows))
    return one_blas_thread() if ours else nullcontext()
