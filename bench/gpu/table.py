"""As much of the ResNet-20 table of CIFAR-10 as the time allows: an ordinary run that is stopped when it is over."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from bench import catalogue, config
from bench.errors import UserError
from bench.gpu.rows import Row
from bench.report import frame
from bench.report.write import accuracy_files, write

EXPERIMENT = "experiment=cifar10_resnet20"
GRACE_S = 60
"""How long a run may take to stop when it is told to."""


def arguments(root: Path, passed: list[str]) -> list[str]:
    """Return the arguments of the run; `passed` come from the command line (dataset=..., seed=0)."""
    return [EXPERIMENT, "device=cuda", "logger=none", *passed, f"out={root}"]


def missing(called: list[str]) -> str | None:
    """Return why the run's data cannot be read, None where they lie there. Raises UserError for a wrong argument."""
    datasets = [choice.dataset for choice in config.load(called).choices]
    absent = [dataset for dataset in datasets if not catalogue.is_present(dataset)]
    return str(catalogue.absent(absent[0])) if absent else None


def run(root: Path, passed: list[str], report: Path, deadline: float) -> list[Row]:
    """Run until `deadline` (time.monotonic), then write the table so far into the report; return what is done.

    What is made stays in `root`, and the next call goes on from there.
    """
    called = arguments(root, passed)
    if reason := missing(called):
        return [Row("cells", note=reason)]
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        return [Row("cells", note="no time was left: run again")]
    status = stopped([sys.executable, "-m", "bench", "run", *called], seconds)
    if status == 2:
        return [Row("cells", ok=False, note="the run was refused: see its message above")]
    try:
        results = frame.tabulate(root, EXPERIMENT.partition("=")[2])
    except UserError as error:
        return [Row("cells", note=f"no table: {error}")]
    write(accuracy_files(results), report)
    done, failed = ((results.frame["status"] == word).sum() for word in ("ok", "failed"))
    note = f"of {len(results.frame)}; {failed} failed" + ("" if status == 0 else "; run again to go on")
    return [Row("cells", float(done), ok=False if failed or status == 1 else None, note=note)]


def stopped(command: list[str], seconds: float) -> int:
    """Run a command for so long at most, then interrupt it as Ctrl-C does; return its exit status.

    Whatever ends this function ends the command too.
    """
    process = subprocess.Popen(command)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return _interrupted(process)
    finally:
        if process.poll() is None:
            _interrupted(process)


def _interrupted(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
