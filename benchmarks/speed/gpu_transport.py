"""Time, error and memory of the exact solve on a GPU, beside one matrix product of its shape in float16.

Rows are made on the device: classes of unequal size, each around a point of its own, in float32. Timed in one process,
medians of several runs after two that are not counted:

matmul     ``torch.matmul`` of the float16 rows and columns, written whole and in blocks of rows; the quicker counts
VARIANT    :func:`skotw._transport.half_precision.solve` from the float32 rows and their norms to weights and potentials
default    :func:`skotw._transport.exact.solve`, which is what estimators call
float32    the same with float16 switched off
norms      what ``unit_rows`` takes before any of them

A variant is a name and options, ``NAME:KEY=VALUE,...``. Names are ``plain`` (torch's own functions) and ``fused``
(Triton). ``keep=none`` evaluates everything twice, where else as much of the kernel is kept as memory allows.
``memory`` is what the solve may take in GiB, and ``block`` the size of a block in MiB. The rest goes to ``Fused``:
``tile`` and ``row_tile`` as 256x128x64, ``stages``, ``warps``, ``tall``, ``flatten``, ``parts``.

The error is that of weights of sampled rows against the formula in float64, over all rows and columns, which is
evaluated here without the library.

    python benchmarks/speed/gpu_transport.py --device cuda --n-rows 1280000 --n-columns 10000 --n-features 2048
    python benchmarks/speed/gpu_transport.py
"""

import argparse
import json
import sys
import traceback
from time import perf_counter

import numpy as np
import torch

from skotw._transport import exact, half_precision
from skotw._transport.blocks import Compute, Partition, rows_per_block
from skotw._transport.cost import cosine_cost, unit_rows
from skotw._transport.problem import Problem

GIB, MIB = 2**30, 2**20
VARIANTS = (
    "plain",
    "plain:keep=none",
    "plain:memory=4",
    "fused",
    "fused:keep=none",
    "fused:memory=4",
)
SAMPLED_ROWS, REFERENCE_BYTES, PRODUCT_BYTES = 2000, 2**29, 2**30


class Data:
    """Rows in class order, columns of all classes, and the problem between them."""

    def __init__(self, args):
        generator = torch.Generator(args.device).manual_seed(0)
        N, M, d, G = args.n_rows, args.n_columns, args.n_features, args.n_classes
        share = np.linspace(1.0, 0.2, G)
        self.counts = np.floor(share / share.sum() * N).astype(int)
        self.counts[0] += N - self.counts.sum()
        meta_counts = np.full(G, M // G)
        meta_counts[0] += M - meta_counts.sum()
        options = {"device": args.device, "generator": generator}
        centres = torch.randn((G, d), **options) * args.separation
        self.X, self.Z = torch.empty((N, d), device=args.device), torch.empty((M, d), device=args.device)
        for rows, counts in ((self.X, self.counts), (self.Z, meta_counts)):
            start = 0
            for g, count in enumerate(counts):
                part = rows[start : start + count]
                torch.randn(part.shape, **options, out=part)
                part += centres[g]
                start += count
        group = np.repeat(np.arange(G), meta_counts)
        b, self.a = 1.0 / (G * meta_counts[group]), np.random.default_rng(0).uniform(0.5, 2.0, N)
        log_ratio = -np.log(G * np.add.reduceat(self.a, np.cumsum(self.counts) - self.counts))
        lam = 0.5 if G > 1 else 0.0
        self.problem = Problem(args.reg, 0.0, (1.0 - lam) / args.reg, np.log(b), log_ratio, group, lam)
        size = rows_per_block(Compute(), M, 4, self.X)
        self.partition = Partition.of(self.counts, size)

    def cost(self):
        return cosine_cost(unit_rows(self.X, Compute()), self.Z)


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def timed(function, repeats, device):
    """Seconds of each run, after two that warm up."""
    seconds = []
    for k in range(repeats + 2):
        synchronize(device)
        start = perf_counter()
        function()
        synchronize(device)
        if k >= 2:
            seconds.append(perf_counter() - start)
    return seconds


def memory(function, device):
    """What the function's result takes, and the peak of allocated memory, above what was allocated before."""
    if device != "cuda":
        return function(), None, None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = function()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    return result, peak, peak - before


def reference(data):
    """Indices of a sample of the rows and their weights by the formula, in float64."""
    device, problem = data.X.device, data.problem
    group = np.repeat(np.arange(len(data.counts)), data.counts)
    log_p = torch.as_tensor(np.log(data.a) + problem.log_ratio[group], device=device)
    group, column_group = (torch.as_tensor(g, device=device) for g in (group, problem.column_group))
    Z = data.Z.double()
    Z /= Z.norm(dim=1, keepdim=True)

    def log_kernel(rows):
        X = data.X[rows].double()
        X /= X.norm(dim=1, keepdim=True)
        L = (X @ Z.T - 1.0) * problem.rate
        L -= (group[rows][:, None] != column_group[None, :]) * (problem.label_cost / problem.eps)
        return L

    total = torch.full((len(Z),), -torch.inf, dtype=torch.float64, device=device)
    step = max(1, REFERENCE_BYTES // (8 * len(Z)))
    for start in range(0, len(data.X), step):
        rows = slice(start, min(start + step, len(data.X)))
        total = torch.logaddexp(total, torch.logsumexp(log_kernel(rows) + log_p[rows, None], 0))
    # evenly over the rows, hence over the classes; the nearest ones of some columns beside them
    index = torch.linspace(0, len(data.X) - 1, SAMPLED_ROWS, dtype=torch.float64, device=device).long()
    column = torch.as_tensor(problem.log_mass, device=device) - total
    weights = torch.cat(
        [torch.exp(torch.logsumexp(log_kernel(i) + column, 1) + log_p[i]) for i in index.split(max(1, step // 2))]
    )
    return index, weights, (-problem.eps * total).cpu().numpy()


def backend_of(name, options):
    if name == "plain":
        return half_precision.Plain()
    from skotw._transport.fused_kernels import Fused

    for key, value in options.items():
        sizes = tuple(int(part) for part in value.split("x"))
        options[key] = sizes if key in ("tile", "row_tile") else sizes[0]
    return Fused(**options)


class Variant:
    """One way to solve, as the command line spells it."""

    def __init__(self, text):
        self.text = text
        name, _, rest = text.partition(":")
        options = dict(part.split("=") for part in rest.split(",") if part)
        self.keep, self.block = options.pop("keep", "all") != "none", int(options.pop("block", 0))
        memory = float(options.pop("memory", 0))
        self.memory = int(memory * GIB) if memory else None
        self.backend = backend_of(name, options)

    def solve(self, cost, data):
        before = half_precision.BLOCK_BYTES
        try:
            half_precision.BLOCK_BYTES = self.block * MIB or before
            problem = data.a, data.problem, data.partition
            result = half_precision.solve(cost, *problem, self.backend, memory=self.memory, keep=self.keep)
        finally:
            half_precision.BLOCK_BYTES = before
        if result is None:
            raise RuntimeError("half precision does not do for these data")
        return result


class Report:
    def __init__(self, path):
        self.path = path

    def __call__(self, **fields):
        line = json.dumps(fields)
        print(line, flush=True)
        if self.path:
            with open(self.path, "a") as file:
                file.write(line + "\n")

    def failure(self, what):
        text = traceback.format_exc()
        print(text, file=sys.stderr, flush=True)
        self(what=what, failed=text.strip().splitlines()[-1], traceback=text[-3000:])


def matmuls(data, args, report):
    """Median seconds of the quickest way to write the product."""
    N, M = args.n_rows, args.n_columns
    A, B = data.X.half(), data.Z.half().T.contiguous().T
    best = np.inf
    whole = torch.empty((N, M), dtype=torch.float16, device=args.device)
    rows = max(1, PRODUCT_BYTES // (2 * M))
    part = whole[:rows]

    def in_blocks():
        for start in range(0, N, rows):
            block = A[start : start + rows]
            torch.matmul(block, B.T, out=part[: len(block)])

    for what, function in (("matmul", lambda: torch.matmul(A, B.T, out=whole)), ("matmul in blocks", in_blocks)):
        seconds = timed(function, args.repeats, args.device)
        median = float(np.median(seconds))
        best = min(best, median)
        report(what=what, seconds=median, all=seconds, teraflops=2e-12 * N * M * args.n_features / median)
    return best


def profile(variant, cost, data, report):
    """Where a solve spends the device's time."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    with profiler(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        variant.solve(cost, data)
        torch.cuda.synchronize()
    kernels = [e for e in found.key_averages() if e.self_device_time_total > 0]
    kernels.sort(key=lambda e: -e.self_device_time_total)
    top = [[e.key[:80], e.count, round(e.self_device_time_total / 1e3, 3)] for e in kernels[:12]]
    report(what=f"profile of {variant.text}", kernels_count_ms=top)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--n-rows", type=int, default=4000)
    parser.add_argument("--n-columns", type=int, default=60)
    parser.add_argument("--n-features", type=int, default=128)
    parser.add_argument("--n-classes", type=int, default=10)
    parser.add_argument("--separation", type=float, default=0.5, help="of the classes, in units of their spread")
    parser.add_argument("--reg", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variants", nargs="+", help="NAME:KEY=VALUE,...; by default those that the device can run")
    parser.add_argument("--float32", action="store_true", help="also the float32 solve")
    parser.add_argument(
        "--profile", nargs="*", metavar="VARIANT", help="also where these, by default all, spend their time (CUDA)"
    )
    parser.add_argument("--out", help="file that the lines are appended to")
    args = parser.parse_args()
    report = Report(args.out)
    on_gpu = args.device == "cuda"
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    sizes = {key: getattr(args, key) for key in ("n_rows", "n_columns", "n_features", "n_classes", "reg")}
    report(what="start", device=name, torch=torch.__version__, **sizes)
    data = Data(args)
    matmul = np.nan
    try:
        matmul = matmuls(data, args, report)
    except Exception:
        report.failure("matmul")
    start = perf_counter()
    index, expected, potentials = reference(data)
    synchronize(args.device)
    report(what="float64 reference", seconds=perf_counter() - start, rows=len(index))
    cost, _, extra = memory(data.cost, args.device)
    seconds = timed(data.cost, args.repeats, args.device)
    report(what="norms", seconds=float(np.median(seconds)), all=seconds, extra_bytes=extra)

    def measure(what, function, repeats):
        result, peak, extra = memory(function, args.device)
        error = torch.abs(result.weights[index].double() / expected - 1.0).cpu().numpy()
        seconds = timed(function, repeats, args.device)
        report(
            what=what,
            seconds=float(np.median(seconds)),
            all=seconds,
            ratio=float(np.median(seconds)) / matmul,
            error_median=float(np.median(error)),
            error_max=float(error.max()),
            potential_error=float(np.abs(result.potentials - potentials).max()),
            total=float(result.weights.double().sum()),
            peak_bytes=peak,
            extra_bytes=extra,
        )

    def default():
        return exact.solve(cost, data.a, data.problem, data.partition, Compute())

    def attempt(what, function):
        try:
            measure(what, function, args.repeats)
            return True
        except Exception:
            report.failure(what)
            return False

    attempt("default", default)
    for text in args.variants or (VARIANTS if on_gpu else VARIANTS[:3]):
        try:
            variant = Variant(text)
            profiled = on_gpu and args.profile is not None and (not args.profile or text in args.profile)
            if attempt(text, lambda variant=variant: variant.solve(cost, data)) and profiled:
                profile(variant, cost, data, report)
        except Exception:
            report.failure(text)
    if args.float32:
        before = half_precision.TOLERANCE
        half_precision.TOLERANCE = 0.0
        attempt("float32", default)
        half_precision.TOLERANCE = before


if __name__ == "__main__":
    main()
