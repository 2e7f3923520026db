"""Time and memory of weights as users call for them, beside other solvers and other work on the same two sets.

    python benchmarks/speed/run.py --out FILE                  # about half an hour on two cores
    python benchmarks/speed/run.py --out FILE --minutes 2      # a part of it, and the next when called again
    python benchmarks/speed/run.py --quick --out FILE          # that it runs
    python benchmarks/speed/run.py --out FILE --report FOLDER  # the page and its plots from what has been measured

N training rows, M trusted ones, d features and a number of classes, float32 noise: it costs what any rows cost.
Contenders, which all get the rows as they are:

solve       the exact solution by itself: scaling the rows, the unit of the cost, the weights; rows in class order
blocks      the same where nothing wider than one block may be kept, so that the cost is evaluated twice
solve hard  the first where mass moves within a class only
... NumPy   the first two without numba, which the others use from 34 million pairs on where it is installed
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
product     the bare matrix product of the rows with the trusted ones, in blocks of 2048 rows, with threads over the
            blocks or inside BLAS: the quicker of the two

The targets come first. What a target compares is timed in one process, in turns. In its turn each rests, as BLAS
threads that have worked go on spinning for a while, and then runs twice. The first run pays for memory that the system
has to bring. The ratios of a round are of neighbours in time, and their median over the rounds counts. Beside the wall
time there is the processor time of the second run, in which other tenants of the machine show less.

Then the sizes are varied, one at a time. There each measurement is a fresh process: a tiny run for imports, threads and
numba, which takes half a second and some 50 MiB once, then the contender and the product in turns, again with a rest
before the contender. A measurement has the time of the first run, the median of the later ones, the median of the
product, and how far the first run raised the peak of the resident memory. Contenders whose memory or time has no end
are measured up to a size (N x M). Every measurement is a line of ``--out``, and is not repeated.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, perf_counter, process_time, sleep
from unittest.mock import patch

import numpy as np
from contenders import CONTENDERS, Data, gemm, solve_exact

from skotw._transport import power_sums
from skotw._transport.blocks import Compute, blas_threads

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
# What is compared in turns, and in how many rounds.
TOGETHER = [
    (("solve", "blocks", "solve hard", "solve NumPy", "blocks NumPy", "weighter", "defaults", "ArgKmin"), LARGE, 21),
    (("solve", "blocks", "solve NumPy", "blocks NumPy"), WIDE, 11),
    (("solve", "weighter", "defaults", "ArgKmin"), MANY, 9),
    (("solve", "POT"), {**BASE, "N": 200_000}, 9),
]
QUICK_TOGETHER = [(("solve", "weighter"), QUICK_BASE, 2)]
# contender, what its time is divided by, size, and what the ratio is to be at most, or at least
TARGETS = [
    ("solve", "product", LARGE, 1.8, "most"),
    ("solve", "product", WIDE, 1.3, "most"),
    ("blocks", "product", LARGE, 2.4, "most"),
    ("blocks", "product", WIDE, 2.05, "most"),
    ("solve NumPy", "product", LARGE, 1.8, "most"),
    ("solve NumPy", "product", WIDE, 1.3, "most"),
    ("blocks NumPy", "product", LARGE, 2.4, "most"),
    ("blocks NumPy", "product", WIDE, 2.05, "most"),
    ("solve hard", "product", LARGE, 0.5, "most"),
    ("weighter", "solve", LARGE, 1.25, "most"),
    ("weighter", "solve", MANY, 1.25, "most"),
    ("defaults", "solve", LARGE, 1.6, "most"),
    ("defaults", "solve", MANY, 1.6, "most"),
    ("ArgKmin", "solve", LARGE, 2.0, "least"),
    ("ArgKmin", "solve", MANY, 2.0, "least"),
    ("POT", "solve", {**BASE, "N": 200_000}, 20.0, "least"),
]
# The same of memory that a fresh process adds: in MiB, or divided by that of another contender.
MEMORY_TARGETS = [
    ("weighter", None, MANY, 64.0, "most"),
    ("defaults", None, MANY, 64.0, "most"),
    ("POT", "solve", {**BASE, "N": 200_000}, 50.0, "least"),
    ("POT", "blocks", {**BASE, "N": 200_000}, 50.0, "least"),
]
RUNS = ("first", "again", "cpu")
TARGET_HEAD = ["time of", "rows x trusted x features", "first", "again", "CPU", "target", "verdict"]
MEMORY_HEAD = ["memory of", "rows x trusted x features", "MiB", "target", "verdict"]
EXPONENTS_FROM = 100_000  # rows: below, what a call costs once is seen
STILL = 0.2  # seconds in which BLAS threads that have worked end their spinning
MIB = 2**20


def sizes(quick):
    """[(what is varied, size)]: each sweep passes through the base."""
    base, sweeps = (QUICK_BASE, QUICK_SWEEPS) if quick else (BASE, SWEEPS)
    return [(name, {**base, name: value}) for name, values in sweeps.items() for value in values]


def measurements(quick, chosen):
    """[(names, size, rounds or None)]: what is compared in turns, then each contender and size by itself."""
    together = [
        (tuple(name for name in names if name in chosen), size, rounds)
        for names, size, rounds in (QUICK_TOGETHER if quick else TOGETHER)
    ]
    alone = [] if quick else [(name, size) for ours, other, size, *_ in MEMORY_TARGETS for name in (ours, other)]
    alone += [(name, size) for _, size in sizes(quick) for name in CONTENDERS]
    return [one for one in together if one[0]] + [((name,), size, None) for name, size in alone if name in chosen]


def key(names, size, rounds=None):
    what = " + ".join(names) + (" in turns" if rounds else "")
    return f"{what}, N={size['N']}, M={size['M']}, d={size['d']}, {size['classes']} classes"


def prepared(names, size, threads):
    """The data, after a tiny run of each contender, and with loops that are compiled."""
    tiny = Data(100, 2 * size["classes"], size["d"], size["classes"])
    for name in names:
        CONTENDERS[name][0](tiny, threads)
    with patch.object(power_sums, "COMPILED_FROM", 1):
        for tiles in ({}, {"cache_bytes": 0}):  # each has loops of its own
            solve_exact(tiny, Compute(threads, **tiles))
    return Data(size["N"], size["M"], size["d"], size["classes"])


def timed(run, *args):
    """Wall and processor seconds."""
    wall, processor = perf_counter(), process_time()
    run(*args)
    return perf_counter() - wall, process_time() - processor


def measure(name, size, repeats, threads):
    """By itself, in a fresh process."""
    run, data = CONTENDERS[name][0], prepared([name], size, threads)
    before, spent = peak_bytes(), []
    products = {setting: [] for setting in ((threads, 1), (1, threads))}
    for k in range(repeats + 1):
        sleep(STILL)
        spent.append(timed(run, data, threads)[0])
        if k == 0:
            added = peak_bytes() - before
        for setting, seconds in products.items():
            seconds.append(timed(gemm, data, *setting)[0])
    return {
        "first": spent[0],
        "again": float(np.median(spent[1:])),
        "gemm": min(float(np.median(seconds[1:])) for seconds in products.values()),
        "added_mib": added / MIB,
    }


def measure_in_turns(names, size, rounds, threads):
    """{contender: {"first", "again", "cpu": [seconds of each round]}}, the product among them."""
    data = prepared(names, size, threads)
    runs = {name: (CONTENDERS[name][0], data, threads) for name in names}
    runs |= {setting: (gemm, data, *setting) for setting in ((threads, 1), (1, threads))}
    found = {name: {run: [] for run in RUNS} for name in runs}
    for _ in range(rounds):
        for name, call in runs.items():
            sleep(STILL)
            first, again = timed(*call), timed(*call)
            for run, seconds in zip(RUNS, (first[0], *again), strict=True):
                found[name][run].append(seconds)
    products = [found.pop(setting) for setting in list(found) if isinstance(setting, tuple)]
    return {"seconds": found | {"product": min(products, key=lambda spent: np.median(spent["again"]))}}


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


def possible(name, size):
    _, most, library = CONTENDERS[name]
    return size["N"] * size["M"] <= most and importlib.util.find_spec(library) is not None


def run_all(args):
    known = {record["key"] for record in read(args.out)}
    end = monotonic() + 60 * args.minutes
    for names, size, rounds in measurements(args.quick, args.contenders):
        names = [name for name in names if possible(name, size)]
        if not names or key(names, size, rounds) in known:
            continue
        if monotonic() > end:
            print("The time is over; the same command goes on.", flush=True)
            return
        command = [sys.executable, __file__, "--measure", json.dumps(names), json.dumps(size)]
        command += ["--threads", str(args.threads), *(["--rounds", str(rounds)] if rounds else [])]
        done = subprocess.run([*command, "--repeats", str(args.repeats)], capture_output=True, text=True)
        record = {"key": key(names, size, rounds), "contenders": names, **size}
        record |= {"threads": args.threads, "cpu": cpu(), "numba": numba_version()}
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
    if "seconds" in record:
        ratios = (f"{name} {ratio(record, name, 'product', 'again'):.2f}" for name in record["contenders"])
        return f"{record['key']}, x product: {', '.join(ratios)}"
    times = f"{1e3 * record['first']:.1f} ms at first, {1e3 * record['again']:.1f} ms again"
    return f"{record['key']}: {times}, {record['again'] / record['gemm']:.2f} x product, {record['added_mib']:.0f} MiB"


def ratio(record, name, other, run):
    """Median over the rounds."""
    return float(np.median(np.divide(record["seconds"][name][run], record["seconds"][other][run])))


def cpu():
    return f"{platform.machine()}, {os.cpu_count()} cores"


def numba_version():
    try:
        return version("numba")
    except PackageNotFoundError:
        return None


def read(path):
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


# ---------------------------------------------------------------------------------------------
# The page


def curves(records, base, varied):
    """{contender: [(value, record)]} of what differs from the base in ``varied`` alone."""
    found = {}
    for record in sorted(records, key=lambda one: one[varied]):
        others = all(record[name] == value for name, value in base.items() if name != varied)
        if others and "again" in record:
            found.setdefault(record["contenders"][0], []).append((record[varied], record))
    return found


def with_product(found):
    """The same, with the median of the product of each size as a further contender."""
    products = {}
    for points in found.values():
        for value, record in points:
            products.setdefault(value, []).append(record["gemm"])
    return {**found, "product": [(value, {"again": float(np.median(of))}) for value, of in sorted(products.items())]}


def exponents(records, base):
    """{contender: {"N": slope, "M": slope}} of log time in log size; of N from where fixed costs are small."""
    slopes = {}
    for varied in ("N", "M"):
        for name, points in with_product(curves(records, base, varied)).items():
            least = EXPONENTS_FROM if varied == "N" and base["N"] >= EXPONENTS_FROM else 0
            kept = [(value, record["again"]) for value, record in points if value >= least]
            if len(kept) > 1:
                slope, _ = np.polyfit(*np.log(np.transpose(kept)), 1)
                slopes.setdefault(name, {})[varied] = float(slope)
    return slopes


def verdicts(records):
    """Rows of the table of targets: what, size, ratios of each kind of run, target, hit or missed."""
    rows = []
    for name, other, size, limit, sense in TARGETS:
        for record in records:
            if {name, other} <= {*record.get("seconds", ())} and all(record[k] == v for k, v in size.items()):
                ratios = [ratio(record, name, other, run) for run in RUNS]
                first, again = (meets(value, limit, sense) for value in ratios[:2])
                verdict = "hit" if first and again else "hit at first" if first else "hit again" if again else "missed"
                cells = [f"{value:.2f}" for value in ratios]
                rows.append([f"{name} / {other}", shape(size), *cells, f"at {sense} {limit:g}", verdict])
    return rows


def memory_verdicts(records):
    known, rows = {record["key"]: record.get("added_mib") for record in records}, []
    for name, other, size, limit, sense in MEMORY_TARGETS:
        ours, theirs = known.get(key([name], size)), 1.0 if other is None else known.get(key([other], size))
        if ours and theirs:
            what = name if other is None else f"{name} / {other}"
            cells = f"{ours:.0f}" if other is None else f"{ours:.0f} / {theirs:.0f} = {ours / theirs:.0f}"
            verdict = "hit" if meets(ours / theirs, limit, sense) else "missed"
            rows.append([what, shape(size), cells, f"at {sense} {limit:g}", verdict])
    return rows


def meets(value, limit, sense):
    return value <= limit if sense == "most" else value >= limit


def shape(size):
    return f"{size['N']:,} x {size['M']} x {size['d']}"


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
    colors = dict(zip(CONTENDERS, mpl.colormaps["tab20"].colors, strict=False))
    panels = [*((varied, "again", "seconds") for varied in base), ("N", "added_mib", "MiB added")]
    for ax, (varied, field, label) in zip(axes.flat[:5], panels, strict=True):
        for name, points in curves(records, base, varied).items():
            values, shown = zip(*((value, max(record[field], 1e-4)) for value, record in points), strict=True)
            ax.loglog(values, shown, "o-", ms=4, color=colors[name], label=name)
        ax.set(xlabel=varied, ylabel=label)
        ax.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        ax.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if high < min(100 * low, 1e4):  # a decade or two, of which powers of ten alone would say little
                axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter("{x:g}")
    axes[1, 2].axis("off")
    axes[1, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", ncols=2, fontsize="small", frameon=False)
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
    if "product" in slopes:
        cells.append(
            ["product", f"{base['N']:,}", *[""] * 4, *(f"{slopes['product'].get(v, np.nan):.2f}" for v in "NM")]
        )
    targets, memory = verdicts(records), memory_verdicts(records)
    failed = [f"- {record['key']}: {record['failed']}" for record in records if "failed" in record]
    numba = {record["numba"] for record in records if record.get("numba")}
    machine = f"{records[0]['cpu']}, with {records[0]['threads']} threads"
    machine += f" and numba {', '.join(sorted(numba))}" if numba else ""
    setting = f"{base['M']} trusted rows, {base['d']} features, {base['classes']} classes"
    intro = (
        f"Measured by ``python benchmarks/speed/run.py`` on {machine}; its help describes the contenders. {setting}; "
        "medians. *x product* is the time over that of the bare matrix product of the rows with the trusted ones. "
        "Exponents are slopes of log time in log size; that in N is from 100,000 rows on."
    )
    in_turns = (
        "Contenders of a size take turns in one process, and run twice in each. The ratios are medians over the "
        "rounds: of the first runs of the turns, of the second ones, and of the processor time of the latter."
    )
    lines = [
        "Time and memory",
        "===============",
        "",
        *(*textwrap.wrap(intro, 120), ""),
        *(*table(head, cells), ""),
        *(("Targets", "-------", "") if targets or memory else ()),
        *((*textwrap.wrap(in_turns, 120), "", *table(TARGET_HEAD, targets), "") if targets else ()),
        *(("MiB that one call adds to a fresh process:", "", *table(MEMORY_HEAD, memory), "") if memory else ()),
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
    parser.add_argument("--measure", nargs=2, type=json.loads, metavar=("NAMES", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        names, size = args.measure
        if args.rounds:
            print(json.dumps(measure_in_turns(names, size, args.rounds, args.threads)))
        else:
            print(json.dumps(measure(*names, size, args.repeats, args.threads)))
    elif args.report:
        report(args)
    else:
        run_all(args)


if __name__ == "__main__":
    main()
