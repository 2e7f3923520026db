"""What the machine may spend, by scikit-learn's settings."""

from contextlib import nullcontext

import numpy as np
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


def one_blas_thread_beside(rows):
    """Context of a whole fit: all that it does to NumPy rows wants this limit, and setting it takes its time.

    Parameters
    ----------
    rows : array
        Those of other libraries run threads of their own.
    """
    return one_blas_thread() if isinstance(rows, np.ndarray) else nullcontext()
