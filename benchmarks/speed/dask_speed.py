"""Time of the weights of a dask array on two worker processes, beside those in memory on two threads.

solve  checks and solves in memory, and nothing else: no reliability, no warnings
fit    ``OTSampleWeighter.fit``, as users call it
dask   ``DaskSampleWeighter.fit`` and the weights, brought to this process; "learn" is its part without the latter

All weigh the same float32 rows under the same cost, ``reg`` and unit. The rows are spread over the workers' memory
beforehand, as the others are in this process's. Contenders take turns, and ratios are medians of the rounds' ratios.

    python benchmarks/speed/dask_speed.py
    python benchmarks/speed/dask_speed.py --quick
"""

import argparse
import json
from itertools import cycle, pairwise
from time import perf_counter

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from skotw import OTSampleWeighter
from skotw._weighter.input import Given, Intake, check_sets
from skotw._weighter.model import Reduction, settle, solve
from skotw._weighter.settings import Settings
from skotw.dask import DaskSampleWeighter

N_CLASSES, TARGET, GAP = 10, 1.4, 1e-6


def rows(start, stop, d):
    """Rows and labels of noise, the same wherever they are made."""
    rng = np.random.default_rng(start)
    return rng.standard_normal((stop - start, d), dtype=np.float32), rng.integers(0, N_CLASSES, stop - start)


def timed(function):
    start = perf_counter()
    result = function()
    return perf_counter() - start, result


def solved(weighter, *sets):
    """The weights without what ``fit`` does beside them."""
    checked = check_sets(Given(*sets), Intake(Settings.of(weighter)))
    return checked.chunk.scatter(solve(settle(checked, Reduction(reliability=False)))[1])


def scattered(array, chunk, client):
    """An array whose chunks lie in the workers' memory in turn: rows beside their labels."""
    workers, starts = cycle(sorted(client.scheduler_info()["workers"])), range(0, len(array), chunk)
    parts = [client.scatter(array[k : k + chunk], workers=[worker]) for k, worker in zip(starts, workers, strict=False)]
    shapes = [(min(chunk, len(array) - start), *array.shape[1:]) for start in starts]
    blocks = zip(parts, shapes, strict=True)
    return da.concatenate([da.from_delayed(part, shape, dtype=array.dtype) for part, shape in blocks])


def measure(N, M, d, chunk, rounds, n_workers):
    """One dictionary: seconds of every round, the ratios, and the largest relative difference of a weight."""
    edges = [*range(0, N, chunk), N]
    parts = [rows(start, stop, d) for start, stop in pairwise(edges)]
    X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    del parts
    X_meta, y_meta = rows(N, N + M, d)
    y_meta[:N_CLASSES] = np.arange(N_CLASSES)
    settings = {"embedding": None, "reg": 0.1, "cost_scale": 1.0}
    memory = OTSampleWeighter(**settings, n_jobs=n_workers)
    spread = DaskSampleWeighter(OTSampleWeighter(**settings), random_state=0)
    cluster = {"n_workers": n_workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
    with LocalCluster(**cluster) as local, Client(local) as client:
        dX, dy = scattered(X, chunk, client), scattered(y, chunk, client)
        times, gap = {"solve": [], "fit": [], "learn": [], "dask": []}, 0.0
        for _ in range(rounds):
            times["solve"].append(timed(lambda: solved(memory, X, y, X_meta, y_meta))[0])
            spent, w = timed(lambda: memory.fit(X, y, X_meta, y_meta).sample_weight_)
            times["fit"].append(spent)
            learn, _ = timed(lambda: spread.fit(dX, dy, X_meta, y_meta))
            weigh, found = timed(lambda: spread.sample_weight_.compute())
            times["learn"].append(learn)
            times["dask"].append(learn + weigh)
            gap = max(gap, float(np.max(np.abs(found / w - 1.0))))
    ratios = {name: float(np.median(np.divide(times["dask"], times[name]))) for name in ("solve", "fit")}
    return {"N": N, "M": M, "d": d, "chunk": chunk, "seconds": times, "ratios": ratios, "gap": gap}


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
        print(f"{name:6} {np.median(seconds):8.2f} s   rounds: {', '.join(f'{s:.2f}' for s in seconds)}")
    hit = "hit" if found["ratios"]["solve"] <= TARGET else "missed"
    print(f"dask / solve {found['ratios']['solve']:.2f}   target {TARGET}: {hit}")
    print(f"dask / fit   {found['ratios']['fit']:.2f}")
    hit = "hit" if found["gap"] <= GAP else "missed"
    print(f"largest relative difference of a weight {found['gap']:.1e}   target {GAP:.0e}: {hit}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
