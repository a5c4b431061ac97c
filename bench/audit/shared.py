"""What every criterion of a comparison must share: machine, data, recipe, dense net, scoring set."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from bench.audit.evidence import CHOICE, Entry, Evidence, Table
from bench.audit.findings import Findings
from bench.report.frame import ENVIRONMENT

SAME = "criteria are compared under one machine, data and recipe"
PARTS = {"dataset": "data", "model": "network", "recipe": "training"}
"""Group of the configuration -> what of it is part of a cell's identity (bench.cell.Cell)."""
SEED = "a seed used twice is no second measurement"


def check(evidence: Evidence, findings: Findings) -> None:
    """Compare the records of each plan with each other."""
    for table in evidence.tables:
        done = [entry for entry in table.entries.values() if entry.ok]
        for choice in _by(done, CHOICE).values():
            _check_environment(table, choice, findings)
            for cells in _by(choice, ("seed",)).values():
                _check_dense(cells, findings)
            _check_seeds(choice, findings)


def _by(entries: Iterable[Entry], names: Iterable[str]) -> dict[tuple[Any, ...], list[Entry]]:
    groups: dict[tuple[Any, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[tuple(entry.columns.get(name) for name in names)].append(entry)
    return groups


def _check_environment(table: Table, entries: list[Entry], findings: Findings) -> None:
    for name in (*ENVIRONMENT, "prunable"):
        _check_same(table.where, name, {entry: entry.columns.get(name) for entry in entries}, findings)
    scored = [entry for entry in entries if not entry.control]
    for cells in _by(scored, ("score_mode",)).values():
        for name in ("score_samples", "score_batch"):
            _check_same(table.where, name, {entry: entry.columns.get(name) for entry in cells}, findings)
    for name, part in PARTS.items():
        configs = {entry: getattr(entry.cell, part) for entry in entries if entry.cell}
        _check_same(table.where, f"configuration of the {name}", configs, findings)
    _check_same(table.where, "configuration of the scoring set", _configs(scored, "scoring"), findings)


def _configs(entries: list[Entry], name: str) -> dict[Entry, Any]:
    return {entry: entry.config[name] for entry in entries if entry.config}


def _check_same(where: str, name: str, values: dict[Entry, Any], findings: Findings) -> None:
    """Name a value that differs from what most have."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry, value in values.items():
        groups[repr(value)].append(entry)
    if len(groups) > 1:
        few, *_, most = sorted(groups, key=lambda value: len(groups[value]))
        odd = groups[few][0]
        what = f"{name} is {few} in {len(groups[few])} cells ({odd}) and {most} in {len(groups[most])}"
        findings.problem(where, what, SAME)


def _check_dense(entries: list[Entry], findings: Findings) -> None:
    """Every cell of a seed must name the same dense net: its accuracy, and the curves of its training."""
    dense = next((entry for entry in entries if entry.columns["criterion"] == "dense"), None)
    for entry in entries if dense else ():
        assert dense is not None
        for name in ("top1", "r2"):
            here, there = entry.columns.get(f"{name}_dense"), dense.columns.get(name)
            if here != there and there is not None and not (here is None and entry.columns["when"] == "init"):
                what = f"{name}_dense is {here!r}, the dense net of its seed has {there!r}"
                findings.problem(entry, what, "it was pruned from another net, or the number was edited")
        own, shared = entry.curves, dense.curves
        if own is not None and shared and entry.columns["when"] != "init" and own[: len(shared)] != shared:
            findings.problem(entry, "its training curves are not those of the dense net of its seed", "another net")


def _check_seeds(entries: list[Entry], findings: Findings) -> None:
    """Two seeds that agree in every digit are one."""
    same = [name for name in entries[0].columns if name in _CONFIGURATION]
    for cells in _by(entries, same).values():
        seen: dict[tuple[Any, ...], Entry] = {}
        for entry in cells:
            row = entry.columns
            if not row.get("epochs_total") or row.get("collapsed_layers") or row.get("disconnected"):
                continue  # an empty net may answer the same whatever its seed
            numbers = tuple(row.get(name) for name in ("loss", "top1", "r2"))
            other = seen.setdefault(numbers, entry)
            if other is not entry and other.columns["seed"] != row["seed"]:
                what = f"its loss is that of seed {other.columns['seed']} to the last digit ({row['loss']!r})"
                findings.problem(entry, what, SEED)


_CONFIGURATION = (
    "criterion criterion_options criterion_fingerprint granularity scope schedule when finetune finetune_epochs "
    "ablation target_kind score_mode sparsity_target"
).split()
