"""`publish`: a plan's records and report as one folder that can be committed and made again from itself."""

import hashlib
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import store
from bench.errors import UserError
from bench.report import frame, latency
from bench.report.write import folder_files, write

PUBLISHED = Path("results/published")
PLACED = ("dataset", "model")
"""What of a configuration names paths."""
KEYS = {"out", "experiment", "partial", "debug"}


def main(arguments: list[str]) -> int:
    """Write results/published/NAME: plan.json, records.parquet, latency.json where times were taken, and the report.

    A plan with missing cells is refused, unless partial=true: its tables then show them as missing.
    """
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(names) != 1 or not re.fullmatch(r"\w[\w.-]*", names[0]) or set(options) - KEYS:
        raise UserError("publish takes a name, and out=DIR, experiment=NAME or partial=true: publish digits")
    root = Path(options.get("out", "results/runs"))
    results = frame.tabulate(root, options.get("experiment"))
    missing = int((results.frame["status"] == "missing").sum())
    if missing:
        said = f"{missing} of {len(results.frame)} cells are missing"
        if options.get("partial") != "true":
            raise UserError(f"{said}; run the experiment to its end first, or publish as it is with partial=true")
        print(said, file=sys.stderr)
    folder = PUBLISHED / names[0]
    _check_own(folder, str(results.plan["experiment"]))
    buffer = io.BytesIO()
    details = {cell: without_folders(detail) for cell, detail in results.details.items()}
    store.with_details(results.frame, details).to_parquet(buffer, index=False)
    plan = results.plan | {"records_sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    plan |= {"partial": True} if missing else {}
    files = {store.RECORDS: buffer.getvalue()}
    if (times := latency.path(root, results.plan)).is_file():
        files["latency.json"] = times.read_bytes()
        plan["latency_sha256"] = hashlib.sha256(files["latency.json"]).hexdigest()
    files["plan.json"] = (json.dumps(plan, indent=1) + "\n").encode()
    write(files, folder)
    made = write(folder_files(folder), folder)
    # What an earlier plan of this name had and this one has not must not stay behind.
    for path in {*folder.iterdir()} - {*made, *(folder / name for name in files)}:
        path.unlink()
    print(*made, sep="\n")
    return 0


def without_folders(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's details with the absolute paths of data, weights and code as DIR/NAME."""
    config = detail["config"]
    if config is None:
        return dict(detail)
    places = {
        group: {name: _without_folder(value) for name, value in config[group].items()}
        for group in PLACED
        if group in config
    }
    return {**detail, "config": config | places}


def _without_folder(value: Any) -> Any:
    return re.sub("^/.*/", "DIR/", value) if isinstance(value, str) else value


def _check_own(folder: Path, experiment: str) -> None:
    """Refuse a folder that holds anything but an earlier publication of the experiment."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    held = store.load_plan(folder)["experiment"] if (folder / "plan.json").is_file() else None
    if held != experiment:
        what = f"experiment {held!r}" if held else "something else"
        raise UserError(f"{folder} holds {what}: give another name, or remove the folder")
