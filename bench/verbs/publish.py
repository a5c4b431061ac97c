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
from bench.report import frame, times
from bench.report.write import folder_files, is_report, write
from bench.verbs.where import KEYS, where

PUBLISHED = Path("results/published")
OWN = {"partial", "replace"}
"""Keys that only publishing has."""


def main(arguments: list[str]) -> int:
    """Write results/published/NAME: plan.json, records.parquet, latency.json where times were taken, and the report.

    A plan with missing cells is refused, unless partial=true: its tables then show them as missing. So is one in the
    place of another plan, unless replace=true. Files that no report makes are left alone.
    """
    names = [argument for argument in arguments if "=" not in argument]
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(names) != 1 or not re.fullmatch(r"\w[\w.-]*", names[0]) or set(options) - {*OWN, *KEYS}:
        raise UserError(
            "publish takes a name, and out=DIR, experiment=NAME, partial=true or replace=true: publish digits"
        )
    partial, replaces = (_switch(options, name) for name in ("partial", "replace"))
    root, experiment = where("publish", [f"{key}={value}" for key, value in options.items() if key not in OWN])
    results = frame.tabulate(root, experiment)
    missing = int((results.frame["status"] == "missing").sum())
    if missing:
        said = f"{missing} of {len(results.frame)} cells are missing"
        if not partial:
            raise UserError(f"{said}; run the experiment to its end first, or publish as it is with partial=true")
        print(said, file=sys.stderr)
    folder = PUBLISHED / names[0]
    _check_own(folder, results.plan, replaces)
    buffer = io.BytesIO()
    details = {
        cell: {**detail, "config": store.without_folders(detail["config"] or {}) or None}
        for cell, detail in results.details.items()
    }
    store.with_details(results.frame, details).to_parquet(buffer, index=False)
    plan = results.plan | {"records_sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    plan |= {"partial": True} if missing else {}
    files = {store.RECORDS: buffer.getvalue()}
    if (measured := times.path(root, results.plan)).is_file():
        files["latency.json"] = measured.read_bytes()
        plan["latency_sha256"] = hashlib.sha256(files["latency.json"]).hexdigest()
    files["plan.json"] = (json.dumps(plan, indent=1) + "\n").encode()
    write(files, folder)
    made = write(folder_files(folder), folder)
    # What an earlier plan of this name had and this one has not must not stay behind.
    for path in {*folder.iterdir()} - {*made, *(folder / name for name in files)}:
        if is_report(path) or path.name == "latency.json":
            path.unlink()
    print(*made, sep="\n")
    return 0


def _check_own(folder: Path, plan: Mapping[str, Any], replaces: bool) -> None:
    """Refuse a folder that holds anything but an earlier publication of the plan (or, to replace, the experiment)."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    held = store.load_plan(folder) if (folder / "plan.json").is_file() else {}
    if held.get("experiment") != plan["experiment"]:
        what = f"experiment {held['experiment']!r}" if held else "something else"
        raise UserError(f"{folder} holds {what}: give another name, or remove the folder")
    if held["hash"] != plan["hash"] and not replaces:
        changed = f", changed: {', '.join(plan['changed'])}" if plan["changed"] else ""
        raise UserError(
            f"{folder} holds another plan of {plan['experiment']} ({len(held['cells'])} cells; this one has "
            f"{len(plan['cells'])}{changed}): give another name, or replace=true"
        )


def _switch(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in ("true", "false"):
        raise UserError(f"{name}={value}: give {name}=true or leave it out")
    return value == "true"
