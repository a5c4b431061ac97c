"""Where reports lie, and which folders are published."""

from pathlib import Path

from bench import store
from bench.report.frame import Results

UNITS = "units.csv"
"""What the oracle measured: the records of a folder that it has written."""


def table_folder(root: Path, results: Results) -> Path:
    """Return where the report of a plan goes: OUT/tables/EXPERIMENT-HASH."""
    return root / "tables" / f"{results.plan['experiment']}-{results.plan['hash']}"


def published(root: Path) -> list[Path]:
    """Return the published folders: `root` itself, or those in it; none where it is a folder of runs."""
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    found = [folder for folder in folders if any((folder / name).is_file() for name in (store.RECORDS, UNITS))]
    return [root] if root in found else found
