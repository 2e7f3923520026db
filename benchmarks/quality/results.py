"""The results file: one JSON line for each thing that was measured; a later line replaces an earlier one."""

import json
import traceback
from pathlib import Path

__all__ = ["FIELDS", "SCORE", "ResultsFile", "failed", "record"]

# What a line says beside "measure" and "value". Without model: of the contender; without contender: of the draw.
FIELDS = ("suite", "set", "half", "noise", "rows", "seed", "contender", "model")
SCORE = "balanced accuracy"


def record(cell, contender, model, measure, value):
    """One line."""
    return {**cell, "contender": contender, "model": model, "measure": measure, "value": value}


def failed(cell, contender, error):
    """The line of an exception."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f"{type(error).__name__}: {error} ({frame.name}, line {frame.lineno})"
    return record(cell, contender, None, "error", text)


class ResultsFile:
    """Lines that are there, and those that are added."""

    def __init__(self, path):
        self.path = Path(path)

    def read(self):
        """Records, the last one of each thing that was measured. A line that a crash cut off is skipped."""
        if not self.path.exists():
            return []
        latest = {}
        for line in self.path.read_text().splitlines():
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            latest[tuple(found[name] for name in (*FIELDS, "measure"))] = found
        return list(latest.values())

    def finished(self):
        """{(cell, contender, model)} that have a score, or None as one where the contender does not apply."""
        return {tuple(found[name] for name in FIELDS) for found in self.read() if found["measure"] == SCORE}

    def add(self, records):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        starts_line = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a") as file:
            if not starts_line:
                file.write("\n")
            file.writelines(json.dumps(found) + "\n" for found in records)
