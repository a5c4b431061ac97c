"""Curves: as many epochs as the budget says, in order, on validation data alone."""

from itertools import pairwise

from bench.audit.evidence import Entry, Evidence, Row
from bench.audit.findings import Findings
from bench.cell import Cell

COLUMNS = {"stage", "epoch", "lr", "train/loss", "val/loss", "val/top1", "val/r2"}
UNREAD = "the test set is read four times, after all training; a curve on it lets somebody pick"


def check(evidence: Evidence, findings: Findings) -> None:
    """Look at the curves of every record that has some."""
    for entry in evidence.entries:
        if entry.ok and entry.cell is not None and entry.curves is not None:
            _check(entry, entry.cell, entry.curves, findings)
            findings.checked["curves"] += 1


def _check(entry: Entry, cell: Cell, curves: list[Row], findings: Findings) -> None:
    foreign = sorted({name for row in curves for name in row} - COLUMNS)
    if foreign:
        findings.problem(entry, f"its curves hold {', '.join(foreign)}", UNREAD)
        return
    if not cell.dataset.validation and any("val/loss" in row for row in curves):
        findings.problem(entry, "its curves hold validation values, and its data have no validation split", UNREAD)
    runs = _runs(curves)
    ends = [(run[-1]["stage"], run[-1]["epoch"]) for run in runs]
    begins = [run[0]["epoch"] for run in runs]
    gaps = any(one["epoch"] + 1 != other["epoch"] for run in runs for one, other in pairwise(run))
    late = cell.rewind_to is None and any(epoch != 1 for epoch in begins)
    if gaps or late or (ends != _ends(cell) and not _stopped(cell, ends)):
        what = f"its curves run to {_said(ends)}{' with gaps' * (gaps or late)}, its budget is {_said(_ends(cell))}"
        findings.problem(entry, what, "every criterion has the same epochs")


def _runs(curves: list[Row]) -> list[list[Row]]:
    """Return the rows of each training by itself."""
    runs: list[list[Row]] = []
    for row in curves:
        if not runs or row["stage"] != runs[-1][-1]["stage"] or row["epoch"] <= runs[-1][-1]["epoch"]:
            runs.append([])
        runs[-1].append(row)
    return runs


def _ends(cell: Cell) -> list[tuple[str, int]]:
    """Return stage and last epoch of each training that a cell's budget names."""
    ends = [("train", cell.recipe.epochs)] * (1 + cell.rounds) + [("finetune", cell.finetune_epochs or 0)]
    return [end for end in ends if end[1]]


def _stopped(cell: Cell, ends: list[tuple[str, int]]) -> bool:
    """Whether the schedule ended the fine-tuning before its time."""
    whole = _ends(cell)
    return cell.stop is not None and ends[:1] == whole[:1] and ends <= whole


def _said(ends: list[tuple[str, int]]) -> str:
    return ", ".join(f"{stage} epoch {epoch}" for stage, epoch in ends) or "no epoch"
