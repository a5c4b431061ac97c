"""A worker process: makes one cell at a time and tells its parent of it; it ends when the parent does."""

import contextlib
import ctypes
import errno
import functools
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench import contract, data, store
from bench.calibrate import calibrate
from bench.cell import Cell
from bench.errors import UserError, one_line
from bench.mode import set_kernels
from bench.oracle import Oracle
from bench.preflight import Preflight
from bench.reread import reread
from bench.run import run_cell
from bench.schema import Dataset
from bench.stage import Workbench
from bench.tasks import Result, Start, Timing, made, record_failure, result_of
from criteria import CriterionError

if TYPE_CHECKING:
    from bench.latency import Latency


def main(connection: Connection, start: Start) -> None:
    """Answer (verb, argument) requests by ("answer", value) until the connection closes.

    On the way come (kind, facts) of Workbench.tell. A UserError is answered by ("error", line).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    device = prepared(start)
    worker = Worker(Workbench(start.root, device, lambda kind, facts: connection.send((kind, facts))), start.debug)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            verb, argument = connection.recv()
            try:
                answer = ("answer", getattr(worker, verb)(argument))
            except Exception as error:
                answer = ("error", worker.reason(error))
            connection.send(answer)


def _end_with_parent() -> None:
    """Leave no orphan: the parent's death closes its sentinel, whatever killed it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def keep_freed_memory() -> None:
    """Let the C library give a freed tensor's pages to the next tensor, not to the kernel, where it is glibc.

    A training step on CPU allocates the same activations again and again; a tenth of it went into zeroing their pages.
    """
    mmap_max, trim_threshold = -4, -1  # malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library, or another system
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)


def prepared(start: Start) -> torch.device:
    """Make this process's numbers reproducible and return its device."""
    torch.set_num_threads(start.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_kernels()
    if start.device != "cuda":
        return torch.device(start.device)
    torch.cuda.set_device(start.index % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())


class Worker:
    """What a parent may ask for."""

    def __init__(self, bench: Workbench, debug: bool) -> None:
        self.bench = bench
        self.debug = debug
        self.preflight = Preflight(bench)
        self.oracle_of = Oracle(bench)

    def gpus(self, _: None) -> int:
        """Return the number of CUDA devices that can be used: the driver may list more than the runtime can start."""
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def fetch(self, dataset: Dataset) -> None:
        """Download a dataset that is not there."""
        data.fetch(dataset)

    def check(self, cell: Cell) -> None:
        """Try what a cell needs of data and model; UserError for what is wrong."""
        self.preflight.data_and_model(cell)

    def check_criterion(self, cell: Cell) -> str | None:
        """Import a cell's criterion and try it; return what went wrong, UserError where it refuses this network."""
        return self.preflight.criterion(cell)

    def check_target(self, cell: Cell) -> None:
        """Try whether a cell's target can be reached; UserError where it cannot."""
        self.preflight.target(cell)

    def contract(self, name: str) -> tuple[str, bool]:
        """Run the contract suite on a criterion; return its report and whether a case has failed."""
        cases = contract.check(name)
        return contract.report(cases), any(case.status == "failed" for case in cases)

    def oracle(self, question: tuple[str, Any]) -> tuple[Any, str | None]:
        """Return (answer, None) of a method of Oracle to its argument, or (None, why there is none)."""
        verb, argument = question
        return self._tried(getattr(self.oracle_of, verb), argument)

    @functools.cached_property
    def latency_of(self) -> "Latency":
        """What times networks; its benchmark library costs half a second to import, which other verbs need not wait."""
        from bench.latency import Latency

        return Latency(self.bench)

    def latency(self, asked: Timing) -> tuple[Any, str | None]:
        """Return (rows of Latency, None), or (None, why there are none)."""
        return self._tried(self.latency_of.rows, asked)

    def _tried(self, answer: Callable[[Any], Any], argument: Any) -> tuple[Any, str | None]:
        try:
            return answer(argument), None
        except BaseException as error:  # a criterion may raise anything
            return None, self.reason(error)

    def calibrate(self, cells: list[Cell]) -> tuple[Any, str | None]:
        """Return (the Price of a network's pieces of work, None), or (None, why it cannot be measured)."""
        return self._tried(lambda known: calibrate(known, self.bench), cells)

    def reread(self, cell: Cell) -> tuple[Any, str | None]:
        """Return (what a cell's stored weights say, None), or (None, why that cannot be read)."""
        return self._tried(lambda known: reread(known, self.bench), cell)

    def make(self, cell: Cell) -> Result:
        """Make a cell unless it is there or another process is making it; a failure is recorded, never raised."""
        try:
            with store.locked(self.bench.root, f"cell-{cell.id}", wait=False) as mine:
                return self._make_locked(cell) if mine else Result("busy")
        except BaseException as error:  # a criterion may raise anything, SystemExit and KeyboardInterrupt too
            return record_failure(self.bench.root, cell, self.reason(error))

    def _make_locked(self, cell: Cell) -> Result:
        if known := made(self.bench.root, cell):
            return known
        self.bench.tell("start", {})
        return result_of(run_cell(cell, self.bench))

    def reason(self, error: BaseException) -> str:
        """Return in one line why something was not done; with debug=true the traceback goes to stderr."""
        if self.debug:
            traceback.print_exception(error)
        if isinstance(error, UserError | CriterionError):
            return " ".join(str(error).split())
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
            return f"out of memory on {self.bench.device}; lower recipe.batch_size or the number of workers"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {self.bench.root} is full; make room and run again"
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}; debug=true shows more"
        return f"{one_line(error)} ({where})"
