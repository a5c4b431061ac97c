"""`verify`: do results contradict themselves?"""

from pathlib import Path

from bench.audit import curves, derived, files, grid, identity, numbers, rereading, shared, tensors
from bench.audit.findings import Findings
from bench.audit.gather import gather
from bench.errors import UserError


def main(arguments: list[str]) -> int:
    """Audit OUT, a published folder, or a folder of these; print what is wrong, a line each, and return 1 if anything.

    recompute=N (or all) says how many cells are read again from their weights.
    """
    folders = [argument for argument in arguments if "=" not in argument or Path(argument).is_dir()]
    options = dict(argument.split("=", 1) for argument in arguments if argument not in folders)
    folders += [options.pop("out")] if "out" in options else []
    options.pop("debug", None)
    if len(folders) > 1 or set(options) - {"recompute"}:
        raise UserError("verify takes one folder, and recompute=N or all: verify results/runs recompute=all")
    count = _count(options.get("recompute"))
    findings = Findings()
    for evidence in gather(Path(folders[0] if folders else "results/runs"), findings):
        for part in (files, identity, grid, shared, numbers, curves, tensors, derived):
            part.check(evidence, findings)
        rereading.check(evidence, findings, count)
    print(findings.text())
    return 1 if findings.problems else 0


def _count(given: str | None) -> int | None:
    """Return how many cells to read again; None where that is left to the time it takes."""
    if given is None:
        return None
    if given != "all" and not given.isdecimal():
        raise UserError(f"recompute={given}: give a number of cells, or all")
    return 10**9 if given == "all" else int(given)
