"""Reads what is audited: OUT folders and published ones."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench import store
from bench.audit.evidence import Entry, Evidence, Table
from bench.audit.findings import Findings
from bench.errors import UserError
from bench.report.places import published


def gather(root: Path, findings: Findings) -> Iterator[Evidence]:
    """Yield the evidence of an OUT folder, of a published one, or of each published one in a folder of them.

    What does not hold its hash is a problem and left out. UserError where there is nothing.
    """
    if not root.is_dir():
        raise UserError(f"no results in {root}: the folder does not exist")
    runs = any(root.glob(f"*/*/{store.RECORD}"))
    folders = published(root)
    if runs:
        yield _stored(root, findings)
    elif not folders:
        raise UserError(f"no results in {root}: it holds no record")
    for folder in folders:
        yield _published(folder, findings) if (folder / store.RECORDS).is_file() else Evidence(folder)


def _stored(root: Path, findings: Findings) -> Evidence:
    found = Evidence(root, stages=sorted(path.parent for path in root.glob(f"stages/*/{store.RECORD}")))
    for folder in store.cell_folders(root):
        try:
            record = store.read_record(folder)
            assert record is not None
            found.entries.append(
                Entry(
                    folder.name,
                    f"cells/{folder.name}",
                    record["columns"],
                    **_details(record),
                    folder=folder,
                    artefacts=(*record["artefacts"],),
                )
            )
        except store.CorruptError as error:
            findings.problem("cells", str(error), f"it is not what was committed; remove {folder} and run again")
    by_id = {entry.id: entry for entry in found.entries}
    for path in sorted(root.glob("plans/*.json")):
        plan = _plan(path, findings)
        if plan:
            held = {row["cell"]: by_id[row["cell"]] for row in plan["cells"] if row["cell"] in by_id}
            found.tables.append(Table(f"plans/{path.name}", plan, held))
    if not found.tables:
        findings.problem("plans", "there is none", "what was left out cannot be seen")
    return found


def _published(root: Path, findings: Findings) -> Evidence:
    try:
        records = store.load(root)
        plan = store.load_plan(root)
    except UserError as error:
        findings.problem(root.name, str(error), "it is not what was published")
        return Evidence(root)
    _check_times(root, plan, findings)
    entries = []
    rows = records.frame[records.frame["status"] != "missing"]  # the plan has them, and nobody ran them
    for raw in rows.to_dict("records"):
        columns = {str(name): _plain(value) for name, value in raw.items()}
        own = _details(records.details.get(columns["cell"], {}))
        entries.append(Entry(columns["cell"], f"{root.name} {columns['cell']}", columns, **own))
    outside = {entry.id for entry in entries} - {row["cell"] for row in plan["cells"]}
    for number in sorted(outside):
        findings.problem(
            f"{root.name} {number}", "the plan has no such cell", "a table holds its plan and nothing else"
        )
    table = Table(f"{root.name}/plan.json", plan, {entry.id: entry for entry in entries})
    return Evidence(root, [table], entries)


def _check_times(root: Path, plan: dict[str, Any], findings: Findings) -> None:
    """Times have nothing that they could contradict but the hash that was published with them."""
    times = root / "latency.json"
    if times.is_file() and hashlib.sha256(times.read_bytes()).hexdigest() != plan.get("latency_sha256"):
        findings.problem(f"{root.name}/latency.json", "its hash is not the plan's", "the times are of another run")


def _details(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record.get(name) for name in ("config", "curves", "layers")}


def _plan(path: Path, findings: Findings) -> dict[str, Any] | None:
    with contextlib.suppress(store.CorruptError):
        return store.read_plan(path)
    findings.problem(f"plans/{path.name}", "it is corrupt", "what was left out cannot be seen; run again")
    return None


def _plain(value: Any) -> Any:
    """Return a value of a data frame as JSON would have it."""
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    return value.item() if hasattr(value, "item") else value
