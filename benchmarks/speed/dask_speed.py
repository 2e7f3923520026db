"""Time of the weights of a dask array on two worker processes, beside the in-memory fit on two threads.

Both weigh the same float32 rows under the same cost, ``reg`` and unit, and bring all weights to this process. The rows
are spread over the workers' memory beforehand, as the in-memory ones are in this process's. Contenders take turns, and
the ratio is the median of the rounds' ratios.

    python benchmarks/speed/dask_speed.py
    python benchmarks/speed/dask_speed.py --quick
"""

import argparse
import json
from time import perf_counter

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

from skotw import OTSampleWeighter
from skotw.dask import DaskSampleWeighter

N_CLASSES, TARGET = 10, 1.4


def rows(start, stop, d):
    """Rows and labels of noise, the same wherever they are made."""
    rng = np.random.default_rng(start)
    return rng.standard_normal((stop - start, d), dtype=np.float32), rng.integers(0, N_CLASSES, stop - start)


def timed(function):
    start = perf_counter()
    result = function()
    return perf_counter() - start, result


def measure(N, M, d, chunk, rounds, n_workers):
    """One dictionary: seconds of every round, the ratio, and the largest relative difference of a weight."""
    edges = [*range(0, N, chunk), N]
    parts = [rows(start, stop, d) for start, stop in zip(edges, edges[1:], strict=False)]
    X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    del parts
    X_meta, y_meta = rows(N, N + M, d)
    y_meta[:N_CLASSES] = np.arange(N_CLASSES)
    settings = {"embedding": None, "reg": 0.1, "cost_scale": 1.0}
    memory = OTSampleWeighter(**settings, n_jobs=n_workers)
    spread = DaskSampleWeighter(OTSampleWeighter(**settings), random_state=0)
    cluster = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(**cluster) as local, Client(local) as client:
        dX = da.from_array(X, chunks=(chunk, -1)).persist()
        dy = da.from_array(y, chunks=chunk).persist()
        wait([dX, dy])
        client.rebalance()
        times, gap = {"memory": [], "dask fit": [], "dask": []}, 0.0
        for _ in range(rounds):
            spent, w = timed(lambda: memory.fit(X, y, X_meta, y_meta).sample_weight_)
            times["memory"].append(spent)
            fit, _ = timed(lambda: spread.fit(dX, dy, X_meta, y_meta))
            weigh, found = timed(lambda: spread.sample_weight_.compute())
            times["dask fit"].append(fit)
            times["dask"].append(fit + weigh)
            gap = max(gap, float(np.max(np.abs(found / w - 1.0))))
    ratios = np.divide(times["dask"], times["memory"])
    return {"N": N, "M": M, "d": d, "chunk": chunk, "seconds": times, "ratio": float(np.median(ratios)), "gap": gap}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--columns", type=int, default=500, help="trusted rows")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--quick", action="store_true", help="20,000 rows: shows that it runs, and nothing else")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.columns, args.chunk, args.rounds = 20_000, 40, 5_000, 1
    found = measure(args.rows, args.columns, args.features, args.chunk, args.rounds, args.workers)
    print(f"{args.rows:,} rows, {args.columns} trusted, {args.features} features, chunks of {args.chunk:,}")
    for name, seconds in found["seconds"].items():
        print(f"{name:10} {np.median(seconds):8.2f} s   rounds: {', '.join(f'{s:.2f}' for s in seconds)}")
    hit = "hit" if found["ratio"] <= TARGET else "missed"
    print(f"dask / memory {found['ratio']:.2f}   target {TARGET}: {hit}")
    print(f"largest relative difference of a weight {found['gap']:.1e}   target 1e-6")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
