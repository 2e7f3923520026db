"""Quality benchmark: what learned weights gain over every other use of the same trusted rows.

    python -m benchmarks.quality run --suite keel --data FOLDER --half choose --seeds 3
    python -m benchmarks.quality run --suite all --data FOLDER --jobs 2
    python -m benchmarks.quality report

Each measurement is a line of the results file, and what is there is not run again: an interrupted run goes on where it
was. ``--again`` runs what is chosen once more, as after a change of the library; the new lines then count. The report
goes to ``doc/results``. Suites without ``--data``, and without SKOTW_DATA, take scikit-learn's bundled data and
generators.

keel, tabular   data sets, sorted by name; the first, third, ... are the half to choose by, the others only confirm.
                A stratified half of the rows is for testing, ten rows per class are trusted (half of the rarest class
                where it has fewer than twenty), up to 1,250 train, with labels that are right, 15 or 30 % wrong, or
                wrong by 15 to 45 % depending on the class, in an order drawn by the seed
review          the same sets; 15 in 100 rows are trusted, 200 at most, drawn at random whatever their class; for two
                classes also probabilities, where the classes have the shares of the trusted rows
noise           labels by real annotators, 15 trusted rows per class
synthetic       700 rows with 3 or 10 % in the rare class, 5 or 10 trusted
rows            large sets with 700, 2,500, 10,000 and 50,000 rows to train on; logistic regression and boosting
image, text, pointcloud
                networks: balanced accuracy after the last epoch; the text suite has the tabular contenders as well
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from .contenders import ABLATION, CONTENDERS, MAIN
from .results import ResultsFile
from .run import MODELS, cells, run, run_cell
from .sources import HALVES, tabular_sources

TABULAR = ("keel", "tabular", "review", "noise", "synthetic", "rows", "text")
NETWORKS = ("image", "text", "pointcloud")
SUITES = (*TABULAR, "image", "pointcloud")
RESULTS = Path(__file__).parents[1] / "results" / "quality.jsonl"
PAGES = Path(__file__).parents[2] / "doc" / "results"


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure what has not been measured")
    running.add_argument("--suite", choices=[*SUITES, "all"], default="all")
    running.add_argument("--data", default=os.environ.get("SKOTW_DATA"), help="folder of the data sets")
    running.add_argument("--seeds", type=int, default=3, help="number of seeds, 0 to SEEDS - 1 (default: 3)")
    running.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    running.add_argument("--sets", nargs="+", help="names of sets (default: all of the suite)")
    running.add_argument("--noise", nargs="+", help="such as 'clean' '15 %%' '30 %%' (default: all of the suite)")
    running.add_argument("--rows", type=int, nargs="+", help="training rows at most (default: by suite)")
    running.add_argument("--contenders", nargs="+", help="names, 'main' or 'ablation' (default: main)")
    running.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    running.add_argument("--again", action="store_true", help="run what is chosen even if it is there")
    reporting = commands.add_parser("report", help="write the page and its figures")
    reporting.add_argument("--out", type=Path, default=PAGES, help="folder (default: doc/results)")
    for command in (running, reporting):
        command.add_argument(
            "--half", choices=[*HALVES, "all"], default="all", help="of keel, tabular, review and rows"
        )
        command.add_argument("--results", type=Path, default=RESULTS, help="file (default: benchmarks/results)")
    return parser.parse_args(argv)


def main(argv=None):
    """Run or report; return the number of failed fits."""
    args = parse(argv)
    results = ResultsFile(args.results)
    if args.command == "report":
        from .report import write

        print(f"Written: {write(results.read(), args.out, args.half)}")
        return 0
    suites = SUITES if args.suite == "all" else (args.suite,)
    parts = [tabular_part(suite, args) for suite in suites if suite in TABULAR]
    networks = [suite for suite in suites if suite in NETWORKS]
    if networks and not all(find_spec(name) for name in ("torch", "skorch")):
        print(f"Networks are left out ({', '.join(networks)}): they need the extra 'deep', torch and skorch.")
        networks = []
    parts += [network_part(suite, args) for suite in networks]
    check_names("contenders", args.contenders, {name for part in parts for name in [*part.contenders, *part.groups]})
    check_names("sets", args.sets, {source.name for part in parts for source in part.sources})
    return sum(run_part(part, args, results) for part in parts)


@dataclass(frozen=True)
class Part:
    """What competes where: a suite of data sets for one kind of learner."""

    title: str
    sources: list
    contenders: dict
    groups: dict
    models: list
    evaluate: Callable


def tabular_part(suite, args):
    groups = {"main": [*MAIN], "ablation": [*ABLATION]}
    return Part(suite, tabular_sources(suite, args.data), CONTENDERS, groups, args.models, run_cell)


def network_part(suite, args):
    from . import networks

    groups = {"main": [*networks.MAIN], "ablation": [*networks.ABLATION]}
    sources = networks.network_sources(suite, args.data)
    return Part(f"{suite}, networks", sources, networks.CONTENDERS, groups, ["network"], networks.run_cell)


def check_names(what, given, known):
    unknown = sorted(set(given or ()) - known)
    if unknown:
        raise SystemExit(f"There are no {what} {unknown} here. There are: {', '.join(sorted(known))}.")


def run_part(part, args, results):
    words = args.contenders or ["main"]
    names = dict.fromkeys(name for word in words for name in part.groups.get(word, [word]) if name in part.contenders)
    sources = [source for source in part.sources if args.sets is None or source.name in args.sets]
    if not (names and sources):
        return 0
    print(f"{part.title}: ", end="")
    work = cells(sources, range(args.seeds), args.half, args.noise, args.rows)
    return run(work, results, list(names), part.models, part.evaluate, args.jobs, args.again)


if __name__ == "__main__":
    sys.exit(main() > 0)
