"""Time and memory of the exact solve, beside the bare matrix product and beside POT.

Contenders, all on the same float32 rows and timed in turns in one process:

gemm       the product of the (N, d) rows with the (d, M) columns and nothing else, in blocks written into a reused
           buffer: the fastest of three block sizes, with threads over row blocks or inside BLAS
exact      scaling the rows, the unit of the cost and the exact solve, with the default memory budget
blocks     the same where nothing wider than one block may be kept, so that the cost is evaluated twice
estimator  ``OTSampleWeighter(reg=0.1, embedding=None).fit`` as users call it, with the rows' classes mixed
POT        ``ot.unbalanced.sinkhorn_unbalanced`` with a free row marginal, after building the matrix of costs with
           scikit-learn and NumPy; up to N=200,000, M=500, d=64

In its turn each runs twice. The table has the first run, which is what users pay for one call: memory that the system
has to bring, and BLAS threads of the contender before, which go on spinning for a while. Both are of the system more
than of the contender, so the targets are given for the second run as well ("again").

Memory is what the peak resident set gains in a fresh process after its imports, its data and a tiny warm-up.

    python benchmarks/speed/transport_speed.py
    python benchmarks/speed/transport_speed.py --quick
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
from sklearn.metrics.pairwise import cosine_distances
from threadpoolctl import ThreadpoolController

from skotw import OTSampleWeighter
from skotw._transport import exact
from skotw._transport.blocks import Compute, Partition, blas_threads, rows_per_block
from skotw._transport.cost import cosine_cost, unit_rows
from skotw._transport.problem import Problem

REG, LABEL_WEIGHT, N_CLASSES = 0.1, 0.5, 10
GEMM_ROWS = (512, 2048, 8192)
MIB = 2**20
# The sizes: numbers of rows at the middle M, numbers of columns at the middle N, both at d = 64; then the two ends.
FULL = {"rows": (50_000, 100_000, 200_000, 500_000, 1_000_000), "columns": (125, 250, 500, 1000)}
FULL |= {"N": 200_000, "M": 500, "extra": ((200_000, 500, 512), (1_000_000, 1000, 64))}
QUICK = {"rows": (1000, 2000), "columns": (20, 40), "N": 2000, "M": 40, "extra": ((2000, 40, 512),)}
POT_ROWS = 200_000
POOLS = ThreadpoolController()  # looks for BLAS once, outside what is timed


class Data:
    """Rows of independent noise, which cost what any rows cost, in class order."""

    def __init__(self, N, M, d, n_classes=N_CLASSES):
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((N, d), dtype=np.float32)  # float32 from the start: no peak before the baseline
        self.Z = rng.standard_normal((M, d), dtype=np.float32)
        self.y, self.y_meta = np.arange(N) * n_classes // N, np.arange(M) * n_classes // M
        self.y_mixed = rng.permutation(self.y)  # noise: its classes may lie anywhere
        self.counts, self.meta_counts = np.bincount(self.y), np.bincount(self.y_meta)
        self.p = np.repeat(1.0 / (n_classes * self.counts), self.counts)
        self.b = np.repeat(1.0 / (n_classes * self.meta_counts), self.meta_counts)


def gemm(data, n_rows, row_threads, blas):
    """All of X Z' in blocks of ``n_rows`` rows, each thread into its own buffer."""
    X, Zt = data.X, np.ascontiguousarray(data.Z.T)

    def work(first):
        buffer = np.empty((n_rows, Zt.shape[1]), dtype=X.dtype)
        for start in range(first * n_rows, len(X), row_threads * n_rows):
            block = X[start : start + n_rows]
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
        log_ratio=-np.log(N_CLASSES * data.counts),
        column_group=data.y_meta,
        label_cost=label_cost,
    )
    width = exact.tile_width(cost, len(data.Z), compute) or len(data.Z)
    partition = Partition.of(data.counts, rows_per_block(compute, width, data.X.itemsize))
    return exact.solve(cost, np.ones(len(data.X)), problem, partition, compute).weights


def fit_estimator(data, threads):
    """The public class; its label reliability and its checks included."""
    weighter = OTSampleWeighter(reg=REG, embedding=None, n_jobs=threads)
    return weighter.fit(data.X, data.y_mixed, data.Z, data.y_meta).sample_weight_


def solve_pot(data):
    """The same problem as people pose it to POT, all of it in float32."""
    import ot

    C = cosine_distances(data.X, data.Z)
    p, b = data.p.astype(np.float32), data.b.astype(np.float32)
    C *= (1.0 - LABEL_WEIGHT) / float(p @ (C @ b))
    C += np.float32(LABEL_WEIGHT) * (data.y[:, None] != data.y_meta)
    return ot.unbalanced.sinkhorn_unbalanced(p, b, C, REG, reg_m=(0, np.inf), reg_type="kl").sum(axis=1)


def contenders(data, threads):
    """What is timed: name -> function of nothing."""
    runs = {
        "exact": lambda: solve_exact(data, Compute(threads)),
        "blocks": lambda: solve_exact(data, Compute(threads, cache_bytes=0)),
        "estimator": lambda: fit_estimator(data, threads),
    }
    for n_rows in GEMM_ROWS:
        for row_threads, blas in {(threads, 1), (1, threads)}:
            name = f"gemm, {n_rows} rows, {row_threads} x {blas} threads"
            runs[name] = lambda n=n_rows, r=row_threads, t=blas: gemm(data, n, r, t)
    (N, d), M = data.X.shape, len(data.Z)
    if N <= POT_ROWS and M <= 500 and d == 64:
        runs["POT"] = lambda: solve_pot(data)
    return runs


def median_times(runs, repeats):
    """Seconds of each contender, first run and second of its turn: medians over rounds; the fastest gemm as "gemm"."""
    times = {name: ([], []) for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            for spent in times[name]:
                start = perf_counter()
                run()
                spent.append(perf_counter() - start)
    first, again = ({name: float(np.median(spent[k])) for name, spent in times.items()} for k in (0, 1))
    return with_fastest_gemm(first) | {"again": with_fastest_gemm(again)}


def with_fastest_gemm(medians):
    best = min((name for name in medians if name.startswith("gemm")), key=medians.get)
    kept = {name: value for name, value in medians.items() if not name.startswith("gemm")}
    return kept | {"gemm": medians[best], "gemm_setting": best}


def peak_bytes():
    """Peak resident memory of this process.

    Linux keeps it per address space in /proc; ``ru_maxrss`` there starts from that of the process that forked.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except FileNotFoundError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_memory(name, size, threads):
    """In the fresh process: print what one run of the contender adds to the peak."""
    run_of = {key.split(",")[0]: key for key in contenders(Data(100, 10, 64), threads)}
    contenders(Data(100, 10, 64), threads)[run_of[name]]()  # loads libraries, starts threads
    run = contenders(Data(*size), threads)[run_of[name]]
    before = peak_bytes()
    run()
    print(json.dumps(peak_bytes() - before))


def added_memory(name, size, threads):
    """MiB that one run of the contender adds to the peak of a fresh process."""
    command = [sys.executable, __file__, "--threads", str(threads), "--measure", name, *map(str, size)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1]) / MIB


def exponent(sizes, seconds):
    """Slope of log time in log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, says nothing on speed")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--threads", type=int, default=blas_threads(), help="threads of every contender but POT's own")
    parser.add_argument("--no-memory", action="store_true", help="leave the fresh processes out")
    parser.add_argument("--measure", nargs=4, metavar=("NAME", "N", "M", "D"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def print_row(size, result):
    N, M, d = size
    cells = [f"{N:9d} {M:5d} {d:4d} {result['gemm'] * 1e3:9.1f}"]
    for name in ("exact", "blocks", "estimator", "POT"):
        seconds, memory = result.get(name), result["memory"].get(name)
        ratio = f"{seconds / result['gemm']:6.2f} x" if seconds else f"{'-':>8s}"
        cells.append(ratio + (f" {memory:7.0f}" if memory is not None else f" {'-':>7s}"))
    print("  ".join(cells) + f"   {result['gemm_setting'].removeprefix('gemm, ')}", flush=True)


def verdict(value, limit, *, most=True):
    hit = value <= limit if most else value >= limit
    return f"{value:7.2f}   target {'at most' if most else 'at least'} {limit:g}: {'hit' if hit else 'missed'}"


def report(results, sizes):
    """Print exponents and targets."""
    N, M = sizes["N"], sizes["M"]
    reference, wide = results[N, M, 64], results[N, M, 512]
    print("\nfitted exponents of time")
    for name in ("exact", "blocks", "estimator", "gemm"):
        in_rows = exponent(sizes["rows"], [results[n, M, 64][name] for n in sizes["rows"]])
        in_columns = exponent(sizes["columns"], [results[N, m, 64][name] for m in sizes["columns"]])
        print(f"  {name:9s}  in N {in_rows:5.2f}   in M {in_columns:5.2f}")
    print(f"\ntargets at N={N}, M={M}")
    for name in ("exact", "blocks"):
        for run, narrow, broad in (("", reference, wide), (", again", reference["again"], wide["again"])):
            print(f"  {f'{name} / gemm, d=64{run}':30s}{verdict(narrow[name] / narrow['gemm'], 2.5)}")
            print(f"  {f'{name} / gemm, d=512{run}':30s}{verdict(broad[name] / broad['gemm'], 2.1)}")
            if "POT" in narrow:
                print(f"  {f'POT / {name}, time{run}':30s}{verdict(narrow['POT'] / narrow[name], 10, most=False)}")
        memory = reference["memory"]
        if memory.get("POT") and memory[name] > 0:
            print(f"  {f'POT / {name}, memory':30s}{verdict(memory['POT'] / memory[name], 20, most=False)}")


def agreement(data, threads):
    """Largest relative difference of the weights of "exact" and POT."""
    ours, theirs = solve_exact(data, Compute(threads)), solve_pot(data)
    return float(np.max(np.abs(ours - theirs) / theirs))


def main(argv=None):
    """Print the table; return {(N, M, d): times in seconds, and added memory in MiB}."""
    args = parse(argv)
    if args.measure:
        name, *size = args.measure
        return measure_memory(name, tuple(map(int, size)), args.threads)
    sizes = QUICK if args.quick else FULL
    N, M = sizes["N"], sizes["M"]
    grid = dict.fromkeys([(n, M, 64) for n in sizes["rows"]] + [(N, m, 64) for m in sizes["columns"]])
    grid |= dict.fromkeys(sizes["extra"])
    agreed = agreement(Data(2000, 100, 64), args.threads)
    print(f"{args.threads} threads, float32, medians of {args.repeats}; exact and POT differ by {agreed:.1e} at most")
    print(f"{'N':>9s} {'M':>5s} {'d':>4s} {'gemm ms':>9s}  " + "  ".join(
        f"{name:>8s} {'MiB':>7s}" for name in ("exact", "blocks", "estim.", "POT")
    ) + "   fastest gemm")  # fmt: skip
    results = {}
    for size in grid:
        names = ["exact", "blocks", "estimator"] + ["POT"] * (size[0] <= POT_ROWS and size[1:] == (500, 64))
        memory = {} if args.no_memory else {name: added_memory(name, size, args.threads) for name in names}
        data = Data(*size)
        runs = contenders(data, args.threads)
        if size[1] != M:
            runs.pop("POT", None)  # at one M: it is slow
        results[size] = median_times(runs, args.repeats) | {"memory": memory}
        del data, runs
        print_row(size, results[size])
    report(results, sizes)
    return results


if __name__ == "__main__":
    main()
