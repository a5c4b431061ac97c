"""Runs cells in worker processes; itself imports no torch, trains nothing and survives any worker's death."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.cell import Cell
from bench.cores import cores
from bench.errors import UserError
from bench.tasks import Result, Start, record_failure

RETRY_S = 1.0
"""Seconds before a cell that another run holds is tried again."""
Listener = Callable[[str, Cell, Any], None]
"""listener(kind, cell, facts): kind is "start" (once a worker has the cell), "stage", "epoch", "note", "result"."""


def _work(connection: Connection, start: Start) -> None:
    from bench import worker  # here, in the child: the parent imports no torch

    worker.main(connection, start)


class Worker:
    """One worker process and what it is doing."""

    def __init__(self, context: Any, start: Start) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, start), name=f"worker-{start.index}")
        self.process.start()
        theirs.close()
        self.start = start
        self.cell: Cell | None = None

    def give(self, cell: Cell) -> None:
        """Let the process make a cell; where it has just died, reading its answer says so."""
        self.cell = cell
        with contextlib.suppress(OSError):
            self.connection.send(("make", cell))

    def died(self) -> str:
        """Return in words how the process ended."""
        self.process.join(5)
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        out_of_memory = "; out of memory? try fewer workers" if -code == signal.SIGKILL else ""
        return f"its worker process was killed by {signal.Signals(-code).name}{out_of_memory}"


class Pool:
    """Worker processes, started when first needed; a context manager that leaves none behind."""

    def __init__(self, root: Path, threads: int, debug: bool) -> None:
        self.root = root
        self.threads = threads
        self.debug = debug
        self.workers: list[Worker] = []
        # A server that has imported torch once, and what its optimisers import at their first step, forks each worker
        # in hundredths of a second.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["bench.worker", "torch._dynamo"])

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.process.kill()
            worker.process.join()
            worker.connection.close()

    def grow(self, count: int, device: str) -> None:
        """Have `count` workers for a device, in place of those of another."""
        for worker in [worker for worker in self.workers if worker.start.device != device]:
            worker.connection.close()
            self.workers.remove(worker)
        while len(self.workers) < count:
            self.workers.append(self._new(device, len(self.workers)))

    def ask(self, verb: str, argument: Any) -> Any:
        """Return the first worker's answer; UserError where it says so or dies."""
        if not self.workers:
            self.grow(1, "cpu")
        worker = self.workers[0]
        try:
            worker.connection.send((verb, argument))
            while (message := worker.connection.recv())[0] not in ("answer", "error"):
                pass
        except (EOFError, OSError):
            line = worker.died()
            self._replace(worker)
            raise UserError(line) from None
        if message[0] == "error":
            raise UserError(message[1])
        return message[1]

    def ask_all(self, verb: str, arguments: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Let all workers answer, one question at a time each; yield (number of the argument, answer) as they come.

        Raises UserError where an answer says so or a worker dies.
        """
        todo, idle = list(enumerate(arguments))[::-1], list(self.workers)
        asked: dict[Any, tuple[Worker, int]] = {}
        while todo or asked:
            while todo and idle:
                worker, (number, argument) = idle.pop(), todo.pop()
                asked[worker.connection] = (worker, number)
                with contextlib.suppress(OSError):  # where it has just died, reading says so
                    worker.connection.send((verb, argument))
            for connection in wait(list(asked)):
                worker, number = asked[connection]
                try:
                    kind, value = worker.connection.recv()
                except (EOFError, OSError):
                    raise UserError(f"{worker.died()}; what is measured is kept, run again to go on") from None
                if kind == "error":
                    raise UserError(value)
                if kind == "answer":
                    del asked[connection]
                    idle.append(worker)
                    yield number, value

    def run(self, cells: list[Cell], failed_dense: dict[str, str], listen: Listener) -> list[Result]:
        """Make all cells; return a result for each.

        A cell waits for the dense control of its key. Where that fails, so do the cells that start from it;
        `failed_dense` holds dense keys that failed before, with the reason.
        """
        results: list[Result] = []
        queue = Queue(cells, failed_dense)

        def settle(cell: Cell, result: Result) -> None:
            if queue.settle(cell, result):
                results.append(result)
                listen("result", cell, result)

        while queue:
            for cell, reason in queue.hopeless():
                settle(cell, record_failure(self.root, cell, reason))
            for place, worker in enumerate(self.workers):
                if worker.cell is None and not worker.process.is_alive():
                    worker = self.workers[place] = self._new(worker.start.device, worker.start.index)
                if worker.cell is None and (ready := queue.next()):
                    worker.give(ready)
            for worker, making in self._speaking():
                try:
                    kind, value = worker.connection.recv()
                    # A fault of the GPU spoils it for the process that met it, whatever that does next.
                    if kind == "answer" and value.status == "failed" and worker.start.device == "cuda":
                        worker.connection.close()
                        self._replace(worker)
                except (EOFError, OSError):
                    kind, value = "answer", record_failure(self.root, making, worker.died())
                    self._replace(worker)
                if kind == "answer":
                    worker.cell = None
                    settle(making, value)
                else:
                    listen(kind, making, value)
        return results

    def _speaking(self) -> list[tuple[Worker, Cell]]:
        """Wait for workers that have something to say; return them with the cells that they are making."""
        busy = {worker.connection: (worker, worker.cell) for worker in self.workers if worker.cell is not None}
        return [busy[connection] for connection in wait(list(busy), timeout=RETRY_S)]

    def _new(self, device: str, index: int) -> Worker:
        return Worker(self.context, Start(self.root, device, index, self.threads, self.debug))

    def _replace(self, worker: Worker) -> None:
        self.workers[self.workers.index(worker)] = self._new(worker.start.device, worker.start.index)


class Queue:
    """Which cell comes next: dense controls first, the cells that start from them once they are there."""

    def __init__(self, cells: list[Cell], failed_dense: dict[str, str]) -> None:
        self.todo = {cell.id: cell for cell in cells}
        self.not_before = dict.fromkeys(self.todo, 0.0)
        self.dense_todo = {cell.dense_key for cell in cells if cell.criterion == "dense"}
        self.failed_dense = dict(failed_dense)
        self.running = 0

    def __bool__(self) -> bool:
        return bool(self.todo) or self.running > 0

    def next(self) -> Cell | None:
        """Take the next cell that can run now, if any."""
        now = time.monotonic()
        for cell in self.todo.values():
            ready = cell.criterion == "dense" or cell.dense_key not in self.dense_todo
            if ready and self.not_before[cell.id] <= now:
                return self._take(cell)
        return None

    def hopeless(self) -> list[tuple[Cell, str]]:
        """Take the cells that start from a dense net that has failed, with the reason."""
        start = (cell for cell in self.todo.values() if cell.criterion != "dense" and cell.when != "init")
        lost = [cell for cell in start if cell.dense_key in self.failed_dense]
        return [(self._take(cell), self.failed_dense[cell.dense_key]) for cell in lost]

    def _take(self, cell: Cell) -> Cell:
        self.running += 1
        return self.todo.pop(cell.id)

    def settle(self, cell: Cell, result: Result) -> bool:
        """Take note of a result; False where the cell has to be tried again."""
        self.running -= 1
        if result.status == "busy":
            self.todo[cell.id] = cell
            self.not_before[cell.id] = time.monotonic() + RETRY_S
            return False
        if cell.criterion == "dense":
            self.dense_todo.discard(cell.dense_key)
            if result.status == "failed":
                self.failed_dense[cell.dense_key] = f"its dense net failed: {result.reason}"
        return True


def worker_count(settings_workers: int | None, threads: int, device: str, gpus: int, cells: int) -> int:
    """Return how many workers: as asked, else one a GPU, or one for each `threads` cores; never more than cells."""
    automatic = gpus if device == "cuda" else max(1, cores() // threads)
    return max(1, min(settings_workers or automatic, cells))
