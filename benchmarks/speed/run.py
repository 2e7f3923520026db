"""Time and memory of weights as users call for them, beside other solvers and other work on the same two sets.

    python benchmarks/speed/run.py --out FILE                  # a quarter of an hour on two cores
    python benchmarks/speed/run.py --out FILE --minutes 2      # a part of it, and the next when called again
    python benchmarks/speed/run.py --quick --out FILE          # that it runs
    python benchmarks/speed/run.py --out FILE --report FOLDER  # the page and its plots from what has been measured

N training rows, M trusted ones, d features and a number of classes, float32 noise: it costs what any rows cost. The
sizes of the targets come first; then one of the four is varied at a time. Contenders, which all get the rows as they
are:

solve       the exact solution by itself: scaling the rows, the unit of the cost, the weights; rows in class order
blocks      the same where nothing wider than one block may be kept, so that the cost is evaluated twice
solve hard  the first where mass moves within a class only
weighter    ``OTSampleWeighter(reg=0.1, embedding=None).fit``
defaults    ``OTSampleWeighter().fit``: standardised rows and a regularisation chosen from the data
hard        the weighter with ``label_cost="hard"``
gradient    the weighter with ``solver="gradient"``, the route of Guo et al. (NeurIPS 2022)
ArgKmin     scikit-learn's ``pairwise_distances_argmin``: the nearest trusted row of each training row
POT         ``ot.unbalanced.sinkhorn_unbalanced`` on the matrix of costs, that of the first problem
GeomLoss    balanced Sinkhorn potentials by ``SamplesLoss(backend="tensorized")``, where it is installed: another
            problem of the same size
KeOps       the same by ``backend="online"``, which holds no matrix and compiles itself at first
KMM         kernel mean matching of ADAPT, where it is installed: weights from features alone by a quadratic program of
            N x N

Each measurement is a fresh process: a tiny run for imports and threads, then the contender and the bare matrix product
of the shape in turns, the latter in blocks of 2048 rows and the quicker of two ways to use threads. It has the time of
the first run, the median of the later ones, the median of the matrix product, and how far the first run raised the peak
of the resident memory. Contenders whose memory or time has no end are measured up to a size (N x M). Every measurement
is a line of ``--out``, and is not repeated.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np
from transport_speed import MIB, Compute, Data, blas_threads, exponent, gemm, peak_bytes, solve_exact, solve_pot

BASE = {"N": 100_000, "M": 200, "d": 64, "classes": 10}
SWEEPS = {
    "N": (2_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000),
    "M": (50, 100, 200, 500, 1000),
    "d": (16, 64, 256, 512),
    "classes": (2, 10, 50),
}
QUICK_BASE = {"N": 600, "M": 20, "d": 8, "classes": 2}
QUICK_SWEEPS = {"N": (300, 600), "M": (10, 20), "d": (8, 16), "classes": (2, 5)}
# What the targets are about, beside the sweeps.
LARGE, WIDE, MANY = (
    {"N": n, "M": 500, "d": d, "classes": 10} for n, d in ((200_000, 64), (200_000, 512), (1_000_000, 64))
)
GEMM_ROWS = 2048
RUNS = ("first", "again")
TARGET_HEAD = ["time of", "rows x trusted x features", *RUNS, "target", "verdict"]
EXPONENTS_FROM = 100_000  # rows: below, what a call costs once is seen


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
    "weighter": (weighter(reg=0.1, embedding=None), np.inf, "skotw"),
    "defaults": (weighter(), np.inf, "skotw"),
    "hard": (weighter(reg=0.1, embedding=None, label_cost="hard"), np.inf, "skotw"),
    "gradient": (weighter(reg=0.1, embedding=None, solver="gradient"), 1e7, "skotw"),
    "ArgKmin": (argkmin, np.inf, "sklearn"),
    "POT": (lambda data, threads: solve_pot(data), 5e7, "ot"),
    "GeomLoss": (geomloss("tensorized"), 5e7, "geomloss"),
    "KeOps": (geomloss("online"), 5e7, "pykeops"),
    "KMM": (kmm, 5e5, "adapt"),
}
# contender, what its time is divided by, size, and what the ratio is to be at most, or at least
TARGETS = [
    ("solve", "gemm", LARGE, 1.8, "most"),
    ("solve", "gemm", WIDE, 1.3, "most"),
    ("blocks", "gemm", LARGE, 2.4, "most"),
    ("blocks", "gemm", WIDE, 2.05, "most"),
    ("solve hard", "gemm", LARGE, 0.5, "most"),
    ("weighter", "solve", LARGE, 1.25, "most"),
    ("weighter", "solve", MANY, 1.25, "most"),
    ("defaults", "solve", LARGE, 1.6, "most"),
    ("defaults", "solve", MANY, 1.6, "most"),
    ("ArgKmin", "solve", LARGE, 2.0, "least"),
    ("ArgKmin", "solve", MANY, 2.0, "least"),
    ("POT", "solve", {**BASE, "N": 200_000}, 20.0, "least"),
]


def sizes(quick):
    """[(what is varied, size)]: each sweep passes through the base."""
    base, sweeps = (QUICK_BASE, QUICK_SWEEPS) if quick else (BASE, SWEEPS)
    return [(name, {**base, name: value}) for name, values in sweeps.items() for value in values]


def measurements(quick):
    """[(contender, size)], those of the targets first."""
    wanted = [] if quick else [(name, size) for ours, other, size, *_ in TARGETS for name in (ours, other)]
    wanted += [(name, size) for _, size in sizes(quick) for name in CONTENDERS]
    return [(name, size) for name, size in wanted if name != "gemm"]


def key(name, size):
    return f"{name}, N={size['N']}, M={size['M']}, d={size['d']}, {size['classes']} classes"


def measure(name, size, repeats, threads):
    """In a fresh process."""
    run = CONTENDERS[name][0]
    run(Data(100, 2 * size["classes"], size["d"], size["classes"]), threads)
    data = Data(size["N"], size["M"], size["d"], size["classes"])
    before, spent = peak_bytes(), []
    products = {setting: [] for setting in ((threads, 1), (1, threads))}
    for k in range(repeats + 1):
        start = perf_counter()
        run(data, threads)
        spent.append(perf_counter() - start)
        if k == 0:
            added = peak_bytes() - before
        for setting, seconds in products.items():
            start = perf_counter()
            gemm(data, GEMM_ROWS, *setting)
            seconds.append(perf_counter() - start)
    return {
        "first": spent[0],
        "again": float(np.median(spent[1:])),
        "gemm": min(float(np.median(seconds[1:])) for seconds in products.values()),
        "added_mib": added / MIB,
    }


def run_all(args):
    known = {record["key"] for record in read(args.out)}
    end = monotonic() + 60 * args.minutes
    for name, size in measurements(args.quick):
        _, most, library = CONTENDERS[name]
        possible = size["N"] * size["M"] <= most and importlib.util.find_spec(library) is not None
        if name not in args.contenders or key(name, size) in known or not possible:
            continue
        if monotonic() > end:
            print("The time is over; the same command goes on.", flush=True)
            return
        command = [sys.executable, __file__, "--measure", name, json.dumps(size), "--threads", str(args.threads)]
        done = subprocess.run([*command, "--repeats", str(args.repeats)], capture_output=True, text=True)
        record = {"key": key(name, size), "contender": name, **size, "threads": args.threads, "cpu": cpu()}
        if done.returncode:
            record["failed"] = (done.stderr.strip().splitlines() or [f"signal {-done.returncode}"])[-1]
        else:
            record |= json.loads(done.stdout.splitlines()[-1])
        known.add(record["key"])
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with args.out.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(line(record), flush=True)


def line(record):
    if "failed" in record:
        return f"{record['key']}: {record['failed']}"
    times = f"{1e3 * record['first']:.1f} ms at first, {1e3 * record['again']:.1f} ms again"
    return f"{record['key']}: {times}, {record['again'] / record['gemm']:.2f} x gemm, {record['added_mib']:.0f} MiB"


def cpu():
    return f"{platform.machine()}, {os.cpu_count()} cores"


def read(path):
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


# ---------------------------------------------------------------------------------------------
# The page


def curves(records, base, varied):
    """{contender: [(value, record)]} of what differs from the base in ``varied`` alone."""
    found = {}
    for record in sorted(records, key=lambda one: one[varied]):
        others = all(record[name] == value for name, value in base.items() if name != varied)
        if others and "failed" not in record:
            found.setdefault(record["contender"], []).append((record[varied], record))
    return found


def exponents(records, base):
    """{contender: {"N": slope, "M": slope}} of log time in log size; of N from where fixed costs are small."""
    slopes = {}
    for varied in ("N", "M"):
        for name, points in curves(records, base, varied).items():
            least = EXPONENTS_FROM if varied == "N" and base["N"] >= EXPONENTS_FROM else 0
            points = [(value, record["again"]) for value, record in points if value >= least]
            if len(points) > 1:
                slopes.setdefault(name, {})[varied] = exponent(*zip(*points, strict=True))
    return slopes


def verdicts(records):
    """Rows of the table of targets: what, size, first ratio, ratio again, target, hit or missed."""
    known = {record["key"]: record for record in records if "failed" not in record}
    rows = []
    for name, other, size, limit, sense in TARGETS:
        ours, theirs = known.get(key(name, size)), known.get(key(other, size))
        if ours is None or (theirs is None and other != "gemm"):
            continue
        # each beside the matrix product of its own process
        ratios = [ours[run] / ours["gemm"] / (1.0 if theirs is None else theirs[run] / theirs["gemm"]) for run in RUNS]
        hit = [ratio <= limit if sense == "most" else ratio >= limit for ratio in ratios]
        verdict = "hit" if all(hit) else "missed" if not any(hit) else f"hit {'at first' if hit[0] else 'again'}"
        what = f"{name} / {'product' if other == 'gemm' else other}"
        shape = f"{size['N']:,} x {size['M']} x {size['d']}"
        rows.append([what, shape, *(f"{ratio:.2f}" for ratio in ratios), f"at {sense} {limit:g}", verdict])
    return rows


def table(head, cells):
    """Lines of a simple table."""
    widths = [max(len(row[i]) for row in (head, *cells)) for i in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    pad = "  ".join(f"{{:{width}}}" for width in widths)
    head, *rows = (pad.format(*row).rstrip() for row in (head, *cells))
    return [rule, head, rule, *rows, rule]


def plot(records, base, path):
    """Time against each of the sizes, and added memory against N."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "speed"  # the same file for the same numbers
    figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), constrained_layout=True)
    figure.delaxes(axes[1, 2])
    panels = [*((varied, "again", "seconds") for varied in base), ("N", "added_mib", "MiB added")]
    for ax, (varied, field, label) in zip(axes.flat[:5], panels, strict=True):
        for name, points in curves(records, base, varied).items():
            values, shown = zip(*((value, max(record[field], 1e-4)) for value, record in points), strict=True)
            ax.loglog(values, shown, "o-", label=name)
        ax.set(xlabel=varied, ylabel=label)
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if high < min(100 * low, 1e4):  # a decade or two, of which powers of ten alone would say little
                axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:g}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc=(0.75, 0.25))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def page(records, base):
    """The results as reStructuredText."""
    slopes, at_base = exponents(records, base), curves(records, base, "N")
    cells = []
    for name in CONTENDERS:
        found = dict(at_base.get(name, [])).get(base["N"])
        if found is None:
            largest = at_base.get(name)
            if not largest:
                continue
            found = largest[-1][1]
        slope = [f"{slopes[name][v]:.2f}" if v in slopes.get(name, {}) else "" for v in ("N", "M")]
        times = [f"{1e3 * found['first']:.1f}", f"{1e3 * found['again']:.1f}", f"{found['again'] / found['gemm']:.2f}"]
        cells.append([name, f"{found['N']:,}", *times, f"{found['added_mib']:.0f}", *slope])
    head = ["contender", "rows", "first, ms", "again, ms", "x product", "MiB added", "exponent in N", "exponent in M"]
    targets = verdicts(records)
    failed = [f"- {record['key']}: {record['failed']}" for record in records if "failed" in record]
    machine = f"{records[0]['cpu']}, with {records[0]['threads']} threads"
    setting = f"{base['M']} trusted rows, {base['d']} features, {base['classes']} classes"
    intro = (
        f"Measured by ``python benchmarks/speed/run.py`` on {machine}; its help describes the contenders. {setting}; "
        "medians. *x product* is the time over that of the bare matrix product of the rows with the trusted ones. "
        "Exponents are slopes of log time in log size."
    )
    lines = [
        "Time and memory",
        "===============",
        "",
        *(*textwrap.wrap(intro, 120), ""),
        *(*table(head, cells), ""),
        *(("Targets", "-------", "", *table(TARGET_HEAD, targets), "") if targets else ()),
        *(["Failed:", "", *failed, ""] if failed else []),
        ".. image:: speed.svg",
        "   :alt: time against the numbers of rows, trusted rows, features and classes, and memory against rows",
        "",
    ]
    return "\n".join(lines)


def report(args):
    records, base = read(args.out), QUICK_BASE if args.quick else BASE
    if not records:
        raise SystemExit(f"{args.out} has no measurements.")
    args.report.mkdir(parents=True, exist_ok=True)
    plot(records, base, args.report / "speed.svg")
    (args.report / "speed.rst").write_text(page(records, base))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "speed.jsonl")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3, help="runs after the first (default: 3)")
    parser.add_argument("--threads", type=int, default=blas_threads(), help="of every contender but ArgKmin and POT")
    parser.add_argument(
        "--minutes", type=float, default=np.inf, help="start nothing new after so many (default: no end)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, says nothing on speed")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="measure nothing; write speed.rst and speed.svg there"
    )
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure[0], json.loads(args.measure[1]), args.repeats, args.threads)))
    elif args.report:
        report(args)
    else:
        run_all(args)


if __name__ == "__main__":
    main()
