"""Ids recomputed from configurations: no result under another's name, none twice."""

from bench import store
from bench.audit import plans
from bench.audit.evidence import Entry, Evidence, Table
from bench.audit.findings import Findings
from bench.cell import Cell


def check(evidence: Evidence, findings: Findings) -> None:
    """Recompute each cell's id and each plan's hash; compare columns and plans with the configuration."""
    first: dict[str, Entry] = {}
    for entry in evidence.entries:
        if entry.config is None:
            findings.unchecked["ids of records that were published without their configuration"] += 1
            continue
        cell = entry.cell
        if cell is None:
            why = "altered, or made by another version of this benchmark: audit it with that one"
            findings.problem(entry, "its configuration cannot be read", why)
            continue
        findings.checked["ids from their configuration"] += 1
        if cell.id != entry.id:
            why = "a result under another's name, an altered configuration, or another version of this benchmark"
            findings.problem(entry, f"its configuration has the id {cell.id}", why)
        else:
            _check_columns(entry, cell, findings)
        if first.setdefault(cell.id, entry) is not entry:
            what = f"{first[cell.id].where} is a second result of the same configuration and seed"
            findings.problem(entry, what, "better of two is not a measurement")
    for table in evidence.tables:
        _check_plan(table, findings)
    plans.check(evidence, findings)


def _check_columns(entry: Entry, cell: Cell, findings: Findings) -> None:
    for name, value in cell.columns().items():
        if entry.columns.get(name) != value and not (name == "epochs_total" and cell.stop is not None):
            what = f"column {name} is {entry.columns.get(name)!r}, its configuration says {value!r}"
            findings.problem(entry, what, "the row does not say what was run")


def _check_plan(table: Table, findings: Findings) -> None:
    ids = [row["cell"] for row in table.rows]
    if store.digest(sorted(ids)) != table.plan["hash"]:
        findings.problem(table.where, "its hash is not that of its cells", "cells were taken out, added or exchanged")
    for twice in sorted({name for name in ids if ids.count(name) > 1}):
        findings.problem(table.where, f"it holds {twice} twice", "a mean would count it twice")
    for row in table.rows:
        entry = table.entries.get(row["cell"])
        if entry is None:
            continue
        stops = entry.columns.get("sparsity_target") is None
        for name in row:
            if row[name] != entry.columns.get(name) and not (name == "epochs_total" and stops):
                what = f"{table.where} says {name} is {row[name]!r}, the record says {entry.columns.get(name)!r}"
                findings.problem(entry, what, "the plan is not what was run")
    findings.checked["plans"] += 1
