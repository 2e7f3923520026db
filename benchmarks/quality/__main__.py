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
noise           labels by real annotators, 15 trusted rows per class
synthetic       700 rows with 3 or 10 % in the rare class, 5 or 10 trusted
rows            large sets with 700, 2,500 and 10,000 rows to train on; logistic regression and boosting
image, text, pointcloud
                networks: balanced accuracy after the last epoch; the text suite has the tabular contenders as well
"""

import argparse
import os
import sys
from pathlib import Path

from .contenders import ABLATION, CONTENDERS, MAIN
from .results import ResultsFile
from .run import MODELS, cells, run
from .sources import tabular_sources

TABULAR = ("keel", "tabular", "noise", "synthetic", "rows", "text")
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
    running.add_argument(
        "--half", choices=["choose", "confirm", "all"], default="all", help="of keel, tabular and rows"
    )
    running.add_argument("--sets", nargs="+", help="names of sets (default: all of the suite)")
    running.add_argument("--noise", nargs="+", help="such as 'clean' '15 %%' '30 %%' (default: all of the suite)")
    running.add_argument("--rows", type=int, nargs="+", help="training rows at most (default: by suite)")
    running.add_argument("--contenders", nargs="+", help="names, 'main' or 'ablation' (default: main)")
    running.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    running.add_argument("--again", action="store_true", help="run what is chosen even if it is there")
    reporting = commands.add_parser("report", help="write the page and its figures")
    reporting.add_argument("--out", type=Path, default=PAGES, help="folder (default: doc/results)")
    reporting.add_argument("--half", choices=["choose", "confirm", "all"], default="all", help="of keel and tabular")
    for command in (running, reporting):
        command.add_argument("--results", type=Path, default=RESULTS, help="file (default: benchmarks/results)")
    return parser.parse_args(argv)


def named(given, groups, known):
    """Contenders by names and groups of names."""
    names = [name for word in given or ["main"] for name in groups.get(word, [word])]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise SystemExit(f"There is no contender {unknown}. There are: {', '.join([*groups, *known])}.")
    return list(dict.fromkeys(names))


def main(argv=None):
    """Run or report; return the number of failed fits."""
    args = parse(argv)
    results = ResultsFile(args.results)
    if args.command == "report":
        from .report import write

        print(f"Written: {write(results.read(), args.out, args.half)}")
        return 0
    suites = SUITES if args.suite == "all" else (args.suite,)
    failed = 0
    for suite in suites:
        for is_network in (False, True):
            if suite in (NETWORKS if is_network else TABULAR):
                failed += run_suite(suite, args, results, is_network)
    return failed


def run_suite(suite, args, results, is_network):
    if is_network:
        from .networks import CONTENDERS as known
        from .networks import network_sources, run_cell

        sources, groups = network_sources(suite, args.data), {"main": list(known), "ablation": []}
        models, evaluate = ["network"], run_cell
    else:
        known, sources, groups = CONTENDERS, tabular_sources(suite, args.data), {"main": MAIN, "ablation": ABLATION}
        models, evaluate = args.models, None
    chosen = [source for source in sources if args.sets is None or source.name in args.sets]
    if not chosen:
        return 0
    work = cells(chosen, range(args.seeds), args.half, args.noise, args.rows)
    print(f"{suite}{', networks' * is_network}: ", end="")
    names = [name for name in (args.contenders or ["main"]) if name in groups or name in known]
    if not names:
        named(args.contenders, groups, known)
    return run(work, results, named(names, groups, known), models, args.jobs, args.again, evaluate)


if __name__ == "__main__":
    sys.exit(main() > 0)
