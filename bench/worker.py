"""A worker process: makes one cell at a time and tells its parent of it; it ends when the parent does."""

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

import criteria
from bench import data, store
from bench.errors import UserError
from bench.plan import CONTROLS, Cell
from bench.run import initial, run_cell
from bench.schema import Dataset
from bench.score import scoring_set, taking_part
from bench.stage import Workbench
from bench.tasks import Result, Start, record_failure
from criteria import CriterionError


def main(connection: Connection, start: Start) -> None:
    """Answer (verb, argument) requests by ("answer", value) until the connection closes.

    On the way come (kind, facts) of Workbench.tell. A UserError is answered by ("error", line).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    device = _prepared(start)
    worker = Worker(Workbench(start.root, device, lambda kind, facts: connection.send((kind, facts))), start.debug)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            verb, argument = connection.recv()
            try:
                answer = ("answer", getattr(worker, verb)(argument))
            except UserError as error:
                answer = ("error", str(error))
            connection.send(answer)


def _end_with_parent() -> None:
    """Leave no orphan: the parent's death closes its sentinel, whatever killed it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _prepared(start: Start) -> torch.device:
    """Make this process's numbers reproducible and return its device."""
    torch.set_num_threads(start.threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if start.device != "cuda":
        return torch.device(start.device)
    torch.cuda.set_device(start.index % torch.cuda.device_count())
    return torch.device("cuda", torch.cuda.current_device())


class Worker:
    """What a parent may ask for."""

    def __init__(self, bench: Workbench, debug: bool) -> None:
        self.bench = bench
        self.debug = debug

    def gpus(self, _: None) -> int:
        """Return the number of CUDA devices."""
        return torch.cuda.device_count()

    def fetch(self, dataset: Dataset) -> None:
        """Download a dataset that is not there."""
        data.fetch(dataset)

    def check(self, cells: list[Cell]) -> dict[str, str]:
        """Try what these cells need before any training; return criterion -> what is wrong with it.

        Raises UserError for data that cannot be read, a model that cannot be built, or a scoring set that is too small.
        """
        problems: dict[str, str] = {}
        for cell in cells:
            samples = data.load(cell.dataset, self.bench.device)
            model = initial(cell, samples, self.bench.device)
            if cell.recipe.loss == "bce" and samples.num_classes != 2:
                raise UserError(f"recipe.loss=bce is for two classes; {cell.dataset.name} has {samples.num_classes}")
            taking_part(cell, model)
            if cell.criterion not in CONTROLS:
                scoring_set(cell, samples)
                try:
                    criteria.load(cell.criterion_file, **cell.criterion_options)
                except CriterionError as error:
                    problems[cell.criterion] = str(error)
        return problems

    def make(self, cell: Cell) -> Result:
        """Make a cell unless it is there or another process is making it; a failure is recorded, never raised."""
        with store.locked(self.bench.root, f"cell-{cell.id}", wait=False) as mine:
            if not mine:
                return Result(cell.id, "busy")
            with contextlib.suppress(store.CorruptError):
                if record := store.finished(self.bench.root / "cells" / cell.id):
                    return _result(record)
            reason = self._attempt(cell)
            if isinstance(reason, Result):
                return reason
            return record_failure(self.bench.root, cell, reason)

    def _attempt(self, cell: Cell) -> Result | str:
        """Return the cell's result, or the reason why there is none."""
        try:
            return _result(run_cell(cell, self.bench))
        except (UserError, CriterionError) as error:
            return str(error)
        except (torch.OutOfMemoryError, MemoryError):
            return f"out of memory on {self.bench.device}; lower recipe.batch_size or the number of workers"
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return f"the disk of {self.bench.root} is full; make room and run again"
            return _located(error)
        except Exception as error:
            if self.debug:
                traceback.print_exc()
            return _located(error)


def _result(record: dict[str, Any]) -> Result:
    columns = record["columns"]
    return Result(columns["cell"], columns["status"], columns["reason"], columns)


def _located(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno}; debug=true shows more)"
