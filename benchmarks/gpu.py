"""All that is to be measured on a GPU, by one command, most valuable first.

    python benchmarks/gpu.py --minutes 9 --data FOLDER --out results
    python benchmarks/gpu.py --device cpu --minutes 2 --out results      # that it runs, at toy sizes

Every stage is a process with a time limit of its own. Its result is a line of ``OUT/results.jsonl`` as soon as it is
there, and what it printed is in ``OUT/log.txt``: a run that is cut off has still said something. A stage that fails
shows its last lines, and the next one goes on. A second run with the same ``--out`` leaves out what has passed, and
adds to the table of CIFAR-10. ``--only`` names stages.

Time plan of nine minutes, as limits in seconds; they shrink with ``--minutes``, by half at most, and what a stage does
not need goes to the table:

===============  =====  ===============================================================================================
device              60  the GPU and the versions; without a GPU all ends here
tests               85  those that need CUDA
transport           80  1.28 million x 10,000 x 2048 against ``torch.matmul``
transport-64        25  200,000 x 500 x 64
transport-512       25  200,000 x 500 x 512
epochs              60  ResNet-32, 12,406 images: plain, and with weights from cached and from clean features
graphs              40  whether training steps as CUDA graphs are the same, and how long they take
table             rest  CIFAR-10 long-tailed at imbalance 100, 200, 50 and 20, right labels and 30 % wrong ones, plain,
                        balanced and OT weights without and with the meta loss, in 4 processes; 24 + 9 epochs
others              60  epochs of Meta-Weight-Net, Learning to Reweight and the authors' procedure, 2048 images
===============  =====  ===============================================================================================

The table needs ``cifar10_lt.npz`` or ``cifar-10-batches-py`` in ``--data``. On an H100 a step of the network took 4 ms
as a graph and 13 to 22 ms otherwise. Four processes made 4 to 7 epochs a second together and eight fewer than 3, so
that one seed of the table, 8 stages 1 and 80 runs of 10 epochs, takes some four minutes. Nobody has seen it end yet.

A machine without a network needs Python 3.12 on Linux with torch, SciPy, scikit-learn, pandas, pytest, hypothesis and
Pillow. ``make gpu-wheels DATA=FOLDER`` collects all else into ``.gpu/``. Copy the checkout with that folder there, and

    python3 -m pip install -q --no-index --no-deps --target .gpu/site .gpu/*.whl
    PYTHONPATH=.gpu/site python3 benchmarks/gpu.py --minutes 9 --data .gpu --out results

The skotw that is measured is that of the checkout.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLANNED_MINUTES = 9.0
LEAST = 3.0  # seconds, without which a stage is not begun

DEVICE = """
import json, sys, platform, numpy, scipy, sklearn, torch
found = {module.__name__: module.__version__ for module in (torch, numpy, scipy, sklearn)}
found["python"] = platform.python_version()
if sys.argv[1] == "cuda":
    found["device"] = torch.cuda.get_device_name()
    found["memory_gib"] = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    found["sum"] = float(torch.ones(1000, device="cuda").sum())
else:
    found["device"] = platform.processor() or platform.machine()
open(sys.argv[2], "w").write(json.dumps(found))
print(found)
"""


@dataclass(frozen=True)
class Stage:
    """A process.

    Attributes
    ----------
    name : str
    command : function
        Of the JSON file for the result, the seconds that it has, and the results of the stages before by name; the
        command as a list, or None where there is nothing to run.
    limit : float or None
        Seconds of the nine minutes; None is what the others leave.
    lines : int
        How many lines of what it printed are shown, where it has passed.
    show : function or None
        Of the result: the lines to show instead.
    required : bool
        Without it the others are not begun.
    resumes : bool
        It leaves out by itself what it has done, and so is run again.
    """

    name: str
    command: Callable
    limit: float | None
    lines: int = 6
    show: Callable | None = None
    required: bool = False
    resumes: bool = False


def script(name, *options):
    return [sys.executable, str(ROOT / "benchmarks" / name), *map(str, options)]


def cuda_tests():
    """Files with tests that need CUDA."""
    return [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.cuda" in path.read_text()]


def transport_lines(records):
    """What ``speed/gpu_transport.py`` measured, a line each."""
    lines = []
    for record in records:
        if "failed" in record:
            lines.append(f"{record['what']}: {record['failed']}")
        elif "seconds" in record:
            lines.append(f"{record['what']:<20} {1e3 * record['seconds']:9.2f} ms")
            if "ratio" in record:
                peak = record["peak_bytes"]
                lines[-1] += f" {record['ratio']:6.2f} x matmul, relative error at most {record['error_max']:.1e}"
                lines[-1] += "" if peak is None else f", {peak / 2**30:.1f} GiB"
    return lines


def epoch_lines(medians):
    """What ``epoch_time.py`` measured, a line each."""
    return [f"{name:<10} {found['seconds']:7.3f} s  {found['x plain']:6.3f} x plain" for name, found in medians.items()]


def stages(args):
    """What there is to do, most valuable first."""
    cuda = args.device == "cuda"
    on = ("--device", args.device)
    # other versions than those that the tests are run with every day may warn of what is to come
    options = ("-q", "-m", "cuda", "-W", "default", "-p", "no:cacheprovider", "--continue-on-collection-errors")
    tests = [sys.executable, "-m", "pytest", *options, *map(str, cuda_tests())]
    net = ("--width", 16, "--depth", 5) if cuda else ("--width", 2, "--depth", 1)
    steps = ("--steps", 90 if cuda else 9)

    def transport(n_rows, n_columns, n_features):
        size = (n_rows, n_columns, n_features) if cuda else (2000, 50, n_features // 32)
        flags = [part for pair in zip(("--n-rows", "--n-columns", "--n-features"), size, strict=True) for part in pair]
        return lambda out, limit, results: script("speed/gpu_transport.py", *flags, *on, "--out", out)

    def epochs(n_samples, rounds, *contenders):
        size = ("--n-samples", n_samples, "--rounds", rounds) if cuda else ("--n-samples", 200, "--rounds", 1)
        options = (*on, *net, *size, "--resident", "--contenders", *contenders)
        return lambda out, limit, results: script("epoch_time.py", *options, "--out", out)

    def table(out, limit, results):
        data = args.data or (None if cuda else "toy")
        if data is None:
            return None
        long = (*net, "--jobs", args.jobs, "--stage-1", 24, "--stage-2", 9, "--imbalance", 100, 200, 50, 20)
        short = (*net, "--jobs", 2, "--stage-1", 2, "--stage-2", 1, "--imbalance", 100, "--no-bfloat16")
        options = [*on, "--data", data, *(long if cuda else short), "--seeds", *((0, 1, 2) if cuda else (0,))]
        options += ["--flip", 0, 0.3, "--methods", "plain", "balanced", "OT 0.05", "OT 0.1", "OT auto"]
        options += ["--minutes", (limit - 15) / 60, "--out", args.out / "table.jsonl"]
        found = results.get("graphs") or {}
        if found.get("agrees") and found["graphs ms"] < found["eager ms"]:
            options.append("--graphs")
        return script("cifar_long_tailed.py", *options)

    return [
        Stage("device", lambda out, *_: [sys.executable, "-c", DEVICE, args.device, out], 60, required=True),
        Stage("tests", lambda *_: tests, 85, lines=14),
        Stage("transport", transport(1_280_000, 10_000, 2048), 80, show=transport_lines),
        Stage("transport-64", transport(200_000, 500, 64), 25, show=transport_lines),
        Stage("transport-512", transport(200_000, 500, 512), 25, show=transport_lines),
        Stage("epochs", epochs(12_406, 5, "cached", "clean"), 60, show=epoch_lines),
        Stage("graphs", lambda out, *_: script("graph_steps.py", *on, *net, *steps, "--out", out), 40, lines=1),
        Stage("table", table, None, lines=84, resumes=True),
        Stage("others", epochs(2048, 3, "MW-Net", "L2RW", "authors"), 60, show=epoch_lines),
    ]


# ---------------------------------------------------------------------------------------------
# The runner


def run_stages(chosen, minutes, out):
    """Run stages; return their records, which are in ``out / "results.jsonl"`` too.

    A record has the stage, its state ("passed", "failed", "cut off", "no time", "nothing to run"), the seconds it took,
    and its result: what it wrote into its JSON file, or a list of what it wrote line by line, or None.
    """
    out.mkdir(parents=True, exist_ok=True)
    deadline, scale = time.monotonic() + 60 * minutes, minutes / PLANNED_MINUTES
    passed = {record["stage"]: record for record in read_lines(out / "results.jsonl") if record["state"] == "passed"}
    records = []
    for i, stage in enumerate(chosen):
        if stage.name in passed and not stage.resumes:
            print(f"== {stage.name}: has passed before", flush=True)
            records.append(passed[stage.name])
            continue
        left = deadline - time.monotonic()
        later = sum(other.limit * scale for other in chosen[i + 1 :] if other.limit is not None)
        limit = left - later if stage.limit is None else min(left, stage.limit * max(scale, 0.5))
        results = {record["stage"]: record["result"] for record in records}
        record, shown = run_stage(stage, limit, results, out)
        records.append(record)
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(
            f"== {stage.name}: {record['state']}, {record['seconds']:.0f} s of {limit:.0f}",
            *shown,
            sep="\n",
            flush=True,
        )
        if stage.required and record["state"] != "passed":
            break
    return records


def run_stage(stage, limit, results, out):
    """Record of a stage, and the lines of what it printed that are shown."""
    record = {"stage": stage.name, "state": "no time", "seconds": 0.0, "result": None}
    if limit < LEAST:
        return record, []
    with tempfile.TemporaryDirectory() as folder, (out / "log.txt").open("a+b") as log:
        answer = Path(folder, "result.json")
        command = stage.command(str(answer), limit, results)
        if command is None:
            return {**record, "state": "nothing to run"}, []
        log.write(f"\n== {stage.name}\n".encode())
        log.flush()
        begin, start = log.seek(0, os.SEEK_END), time.monotonic()
        record["state"] = finish(command, limit, log)
        record["seconds"] = round(time.monotonic() - start, 1)
        record["result"] = read_result(answer)
        log.seek(begin)
        printed = log.read().decode(errors="replace").splitlines()
    if record["state"] == "failed":
        return record, printed[-30:]
    if stage.show is not None and record["result"] is not None:
        return record, stage.show(record["result"])
    return record, printed[-stage.lines :]


def finish(command, limit, log):
    """Run a command, and whatever it starts, for so many seconds; how it ended."""
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    paths = [str(ROOT), *(str(Path(path).resolve()) for path in given)]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "SCIPY_ARRAY_API": "1",
    }
    streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
    process = subprocess.Popen(command, cwd=ROOT, env=env, process_group=0, **streams)
    try:
        return "passed" if process.wait(timeout=limit) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "cut off"
    finally:
        with suppress(ProcessLookupError):  # its children end with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_lines(path):
    """What the lines of a file say in JSON, but for one that was cut off."""
    values = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):
            values.append(json.loads(line))
    return values


def read_result(path):
    """The JSON in a file, or all of its lines, or None."""
    values = read_lines(path)
    return values[0] if len(values) == 1 else values or None


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=PLANNED_MINUTES, help="for all stages (default: 9)")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help='"cpu" takes toy sizes')
    parser.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help="folder of CIFAR-10")
    parser.add_argument("--jobs", type=int, default=4, help="processes of the table side by side (default: 4)")
    parser.add_argument("--only", help="stages, with commas between them")
    parser.add_argument("--out", type=Path, required=True, help="folder for results.jsonl, table.jsonl and log.txt")
    args = parser.parse_args(argv)
    args.out = args.out.resolve()  # stages run in the checkout
    chosen = stages(args)
    if args.only:
        names = args.only.split(",")
        unknown = set(names) - {stage.name for stage in chosen}
        if unknown:
            parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in chosen)}")
        chosen = [stage for stage in chosen if stage.name in names]
    records = run_stages(chosen, args.minutes, args.out)
    print("; ".join(f"{record['stage']} {record['state']}" for record in records))
    return int(any(record["state"] == "failed" for record in records))


if __name__ == "__main__":
    sys.exit(main())
