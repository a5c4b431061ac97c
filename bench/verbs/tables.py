"""`tables`: the tables and the figure of one plan, from its records."""

from pathlib import Path

from bench.errors import UserError, near_misses
from bench.report import frame, tables
from bench.report.write import table_folder, write
from bench.store import RECORDS

KEYS = {"out": "results/runs", "experiment": None, "debug": None}


def main(arguments: list[str]) -> int:
    """Write the last plan's report (of one experiment, where named) and print its table and where the files are."""
    given: dict[str, str | None] = dict(KEYS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in KEYS or not equals:
            raise UserError(f"tables takes KEY=VALUE: {argument!r}; {near_misses(key, KEYS)}")
        given[key] = value
    root = Path(given["out"] or ".")
    results = frame.tabulate(root, given["experiment"])
    # A published folder is its own report.
    paths = write(results, root if (root / RECORDS).is_file() else table_folder(root, results))
    print(tables.text(results))
    print(*paths, sep="\n")
    return 0
