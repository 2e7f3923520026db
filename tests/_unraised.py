"""The `raise` statements in skotw that no test reaches, from what `coverage run` has recorded.

What tests run in processes of their own is not recorded: a missing extra, several processes that train together.
"""

import ast
from pathlib import Path

from coverage import CoverageData


def raise_lines(path):
    return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]


def main(root):
    data = CoverageData()
    data.read()
    reached = {Path(name): set(data.lines(name)) for name in data.measured_files()}
    places = [(path, line) for path in sorted(root.rglob("*.py")) for line in sorted(raise_lines(path))]
    unraised = [(path, line) for path, line in places if line not in reached.get(path, ())]
    for path, line in unraised:
        statement = path.read_text().splitlines()[line - 1].strip()
        print(f"{path.relative_to(root.parent)}:{line}: {statement}")
    print(f"{len(unraised)} of {len(places)} raise statements are reached by no test")


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1] / "skotw")
