"""What `make mutants` found: the share of the mutants that a test kills, and where the others are."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

KILLED = ("killed", "timeout", "caught by type check")


def mutmut(*arguments):
    command = Path(sys.executable).with_name("mutmut")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=True).stdout


def module_path(name):
    """The file of a mutant's module: its name ends with that of the function, behind an x."""
    return Path(re.split(r"\.x[_ǁ]", name)[0].replace(".", "/") + ".py")


def changed_line(name):
    """(file:line, the line before, the line after) of a mutant."""
    path, diff = module_path(name), mutmut("show", name)
    at = next(re.finditer(r"^@@ -(\d+)", diff, re.MULTILINE))
    lines = diff[at.start() :].splitlines()[1:]
    n_before = next(i for i, line in enumerate(lines) if line.startswith("-"))
    before = lines[n_before][1:].strip()
    after = next((line[1:].strip() for line in lines if line.startswith("+")), "")
    function = re.split(r"[_ǁ]", name.partition("__mutmut_")[0].rpartition(".x")[2], maxsplit=1)[1].rpartition("ǁ")[2]
    code = path.read_text().splitlines()
    # mutmut counts lines from the function on
    near = [
        node.lineno + int(at[1]) + n_before - 1
        for node in ast.walk(ast.parse("\n".join(code)))
        if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    places = [i for i, line in enumerate(code, 1) if line.strip() == before]
    line = min(places, key=lambda i: min(abs(i - n) for n in near), default=0)
    return f"{path}:{line}", before, after


def main(*asked):
    results = dict(re.findall(r"^ *(\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE))
    chosen = {
        name: status
        for name, status in results.items()
        if status != "not checked" and (not asked or any(module_path(name).is_relative_to(path) for path in asked))
    }
    counts = Counter(chosen.values())
    for name in sorted(name for name, status in chosen.items() if status not in KILLED):
        place, before, after = changed_line(name)
        print(f"{place}: {chosen[name]} ({name})\n    - {before}\n    + {after}")
    killed = sum(counts[status] for status in KILLED)
    rest = ", ".join(f"{n} {status}" for status, n in counts.items() if status not in KILLED)
    print(f"{killed} of {len(chosen)} mutants killed ({killed / max(1, len(chosen)):.1%}){rest and '; ' + rest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
