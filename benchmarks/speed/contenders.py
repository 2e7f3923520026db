"""What the suite of speed times: functions of the same float32 rows and a number of threads."""

from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import numpy as np
from sklearn.metrics.pairwise import cosine_distances
from threadpoolctl import ThreadpoolController

from skotw._transport import exact, power_sums
from skotw._transport.blocks import Compute, Partition, rows_per_block
from skotw._transport.cost import cosine_cost, unit_rows
from skotw._transport.problem import Problem

__all__ = ["CONTENDERS", "Data", "gemm", "solve_exact"]

REG, LABEL_WEIGHT = 0.1, 0.5
GEMM_ROWS = 2048
POOLS = ThreadpoolController()  # looks for BLAS once, outside what is timed


class Data:
    """Rows of independent noise, which cost what any rows cost, in class order."""

    def __init__(self, N, M, d, n_classes):
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((N, d), dtype=np.float32)  # float32 from the start: no peak before the baseline
        self.Z = rng.standard_normal((M, d), dtype=np.float32)
        self.y, self.y_meta = np.arange(N) * n_classes // N, np.arange(M) * n_classes // M
        self.y_mixed = rng.permutation(self.y)  # noise: its classes may lie anywhere
        self.counts, self.meta_counts = np.bincount(self.y), np.bincount(self.y_meta)
        self.n_classes = n_classes
        self.p = np.repeat(1.0 / (n_classes * self.counts), self.counts)
        self.b = np.repeat(1.0 / (n_classes * self.meta_counts), self.meta_counts)


def gemm(data, row_threads, blas):
    """All of X Z' in blocks of rows, each thread into its own buffer."""
    X, Zt = data.X, np.ascontiguousarray(data.Z.T)

    def work(first):
        buffer = np.empty((GEMM_ROWS, Zt.shape[1]), dtype=X.dtype)
        for start in range(first * GEMM_ROWS, len(X), row_threads * GEMM_ROWS):
            block = X[start : start + GEMM_ROWS]
            np.matmul(block, Zt, out=buffer[: len(block)])

    with POOLS.limit(limits=blas, user_api="blas"):
        if row_threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(row_threads) as pool:
                list(pool.map(work, range(row_threads)))


def solve_exact(data, compute, label_cost=LABEL_WEIGHT):
    """From the rows as they come to their weights."""
    cost = cosine_cost(unit_rows(data.X, compute), data.Z)
    scale = cost.mean(data.p, data.b, compute)
    problem = Problem(
        eps=REG,
        rho=0.0,
        rate=(1.0 - LABEL_WEIGHT) / (scale * REG),
        log_mass=np.log(data.b),
        log_ratio=-np.log(data.n_classes * data.counts),
        column_group=data.y_meta,
        label_cost=label_cost,
    )
    width = exact.tile_width(cost, len(data.Z), compute) or len(data.Z)
    partition = Partition.of(data.counts, rows_per_block(compute, width, data.X.itemsize))
    return exact.solve(cost, np.ones(len(data.X)), problem, partition, compute).weights


def solve_pot(data, threads):
    """The same problem as people pose it to POT, all of it in float32."""
    import ot

    C = cosine_distances(data.X, data.Z)
    p, b = data.p.astype(np.float32), data.b.astype(np.float32)
    C *= (1.0 - LABEL_WEIGHT) / float(p @ (C @ b))
    C += np.float32(LABEL_WEIGHT) * (data.y[:, None] != data.y_meta)
    return ot.unbalanced.sinkhorn_unbalanced(p, b, C, REG, reg_m=(0, np.inf), reg_type="kl").sum(axis=1)


def weighter(**params):
    def fit(data, threads):
        from skotw import OTSampleWeighter

        fitted = OTSampleWeighter(**params, n_jobs=threads).fit(data.X, data.y_mixed, data.Z, data.y_meta)
        return fitted.sample_weight_

    return fit


def core(label_cost=0.5, **limits):
    def solve(data, threads):
        return solve_exact(data, Compute(threads, **limits), label_cost)

    return solve


def without_numba(solve):
    def run(data, threads):
        with patch.object(power_sums, "COMPILED_FROM", np.inf):
            return solve(data, threads)

    return run


def kmm(data, threads):
    from adapt.instance_based import KMM

    X, Z = data.X.astype(np.float64), data.Z.astype(np.float64)  # it takes no others
    return KMM(kernel="rbf", verbose=0).fit_weights(X, Z)


def argkmin(data, threads):
    from sklearn.metrics import pairwise_distances_argmin

    return pairwise_distances_argmin(data.X, data.Z)


def geomloss(backend):
    def potentials(data, threads):
        import torch
        from geomloss import SamplesLoss

        torch.set_num_threads(threads)
        X, Z = (torch.nn.functional.normalize(torch.from_numpy(rows)) for rows in (data.X, data.Z))
        p, b = (torch.full((len(rows),), 1.0 / len(rows)) for rows in (X, Z))
        loss = SamplesLoss("sinkhorn", p=2, blur=0.1**0.5, debias=False, potentials=True, backend=backend)
        return loss(p, X, b, Z)[0].reshape(-1).numpy()

    return potentials


# name: function of data and threads, largest N x M, library that it needs
CONTENDERS = {
    "solve": (core(), np.inf, "skotw"),
    "blocks": (core(cache_bytes=0), np.inf, "skotw"),
    "solve hard": (core(np.inf), np.inf, "skotw"),
    "solve NumPy": (without_numba(core()), np.inf, "numba"),
    "blocks NumPy": (without_numba(core(cache_bytes=0)), np.inf, "numba"),
    "weighter": (weighter(reg=0.1, embedding=None), np.inf, "skotw"),
    "defaults": (weighter(), np.inf, "skotw"),
    "hard": (weighter(reg=0.1, embedding=None, label_cost="hard"), np.inf, "skotw"),
    "gradient": (weighter(reg=0.1, embedding=None, solver="gradient"), 1e7, "skotw"),
    "ArgKmin": (argkmin, np.inf, "sklearn"),
    "POT": (solve_pot, 5e7, "ot"),
    "GeomLoss": (geomloss("tensorized"), 5e7, "geomloss"),
    "KeOps": (geomloss("online"), 5e7, "pykeops"),
    "KMM": (kmm, 5e5, "adapt"),
}
