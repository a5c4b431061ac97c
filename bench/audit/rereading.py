"""Test results, sizes and masks read again from the stored weights, in workers."""

import math
import time
from collections.abc import Sequence
from typing import Any

from bench.audit.evidence import Entry, Evidence
from bench.audit.findings import Findings
from bench.cell import Cell
from bench.cores import cores
from bench.launch import Pool
from bench.store import digest
from bench.tasks import Reread

DEFAULT_S = 60.0
"""How long cells are read again where nobody says how many."""
HEAVY = 3e8
"""FLOPs a sample above which a cell is read again only when asked for: one would take minutes of a CPU."""
LOSS, POINTS = 1e-3, 0.2
"""On another machine: relative difference of the loss, and points of accuracy (or 0.002 of r2), that rounding makes."""
EXACT = "sparsity sparsity_effective collapsed_layers disconnected params params_dense flops flops_dense".split()


def check(evidence: Evidence, findings: Findings, count: int | None) -> None:
    """Read cells again, in an order that a hash gives: `count` of them, or as many as fit into DEFAULT_S."""
    ready = [entry for entry in evidence.entries if entry.ok and entry.folder and entry.cell is not None]
    ready = [entry for entry in ready if entry.cell is not None and entry.cell.id == entry.id]
    chosen = sorted(ready, key=lambda entry: digest(entry.id))
    if count is None:
        chosen = [entry for entry in chosen if entry.columns["flops_dense"] <= HEAVY]
    chosen = chosen[:count]
    read = _read(evidence, findings, chosen, math.inf if count is not None else DEFAULT_S) if chosen else 0
    if read:
        findings.checked["cells read again from their weights"] += read
    if left := len(ready) - read:
        findings.unchecked["test results against the weights (recompute=all reads every cell)"] += left


def _read(evidence: Evidence, findings: Findings, chosen: Sequence[Entry], seconds: float) -> int:
    end = time.monotonic() + seconds
    device = "cuda" if all(entry.columns["device"] == "cuda" for entry in chosen) else "cpu"
    read = 0
    with Pool(evidence.root, threads=1, debug=False) as pool:
        if device == "cuda" and not pool.ask("gpus", None):
            device = "cpu"
        pool.grow(1 if device == "cuda" else min(cores(), len(chosen)), device)
        cells: list[Cell] = [entry.cell for entry in chosen if entry.cell is not None]
        for number, (again, reason) in pool.ask_all("reread", cells):
            if again is None:
                findings.unchecked[f"weights of some cells: {reason}"] += 1
            else:
                _compare(chosen[number], again, findings)
            read += again is not None
            if time.monotonic() > end:
                break
    return read


def _compare(entry: Entry, again: Reread, findings: Findings) -> None:
    here = all(entry.columns.get(name) == value for name, value in again.machine.items())
    for name, value in again.columns.items():
        told = entry.columns.get(name)
        if told != value and not (not here and _near(name, told, value)):
            what = f"{name} is {told!r}, its stored weights give {value!r}"
            findings.problem(entry, what, "the number was edited, or the weights are of another net")
    share = 0.0 if here else 1e-3
    weights = sum(layer["total"] for layer in entry.layers or [])
    if again.moved is not None and again.moved > share * weights:
        what = f"its mask differs at {again.moved} places from what the scores of {entry.columns['criterion']} give"
        findings.problem(entry, what, "the mask is of another criterion, seed or sparsity")
    findings.unchecked.update(again.unread)


def _near(name: str, told: Any, value: Any) -> bool:
    """Whether rounding on another machine can make one of the other."""
    if told is None or value is None or name in EXACT:
        return False
    if name == "loss":
        return bool(math.isclose(told, value, rel_tol=LOSS))
    return bool(abs(told - value) <= (POINTS / 100 if name.startswith("r2") else POINTS))
