"""`gpu-check`: whether a CUDA card computes what the CPU does, and how fast, as one report folder."""

import time
from pathlib import Path

import torch

from bench.errors import UserError
from bench.gpu import report, steps, table
from bench.gpu.setting import Sizes
from bench.tasks import Start
from bench.worker import prepared

RESERVE_S = 90
"""Kept for stopping the run and writing the report."""


def main(arguments: list[str]) -> int:
    """Check for `minutes` at most, write OUT/gpu-check/report; return 1 where a check has failed.

    Other keys than out and minutes go to the run of the table: dataset=cifar10_parquet dataset.root=DIR seed=0.
    """
    own = dict(argument.split("=", 1) for argument in arguments if argument.startswith(("out=", "minutes=")))
    passed = [argument for argument in arguments if argument.partition("=")[0] not in own]
    minutes, root = _minutes(own.get("minutes", "20")), Path(own.get("out", "results/runs"))
    deadline = time.monotonic() + 60 * minutes - RESERVE_S
    if not torch.cuda.is_available():
        raise UserError(
            "gpu-check needs a CUDA device; none is visible to torch: run it where one is, with a CUDA build of torch"
        )
    table.missing(table.arguments(root, passed))  # a wrong argument is told before the checks, not after
    device = prepared(Start(root, "cuda", 0, torch.get_num_threads(), debug=False))
    return check(device, Sizes(), root, passed, deadline)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not RESERVE_S / 60 < minutes < float("inf"):
        raise UserError(f"minutes={text}: give a number of minutes above {RESERVE_S / 60:g}")
    return minutes


def check(device: torch.device, sizes: Sizes, root: Path, passed: list[str], deadline: float) -> int:
    """Run the steps, then the table; write the report and return the exit status. deadline: on time.monotonic's clock.

    The report is written even where the table's run is interrupted.
    """
    folder, facts = root / "gpu-check", report.machine(device)
    done = steps.run(steps.plan(device, sizes), folder, facts, deadline)
    try:
        if device.type == "cuda":
            torch.cuda.empty_cache()  # the run's workers are other processes
        done["table"] = table.run(root, passed, folder / "report", deadline)
    finally:
        print(*report.write(done, facts, folder / "report"), sep="\n")
    return 1 if any(row.ok is False for rows in done.values() for row in rows) else 0
