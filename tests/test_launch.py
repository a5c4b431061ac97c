"""The pool: a failed cell costs a GPU's process its place, and a CPU's not."""

from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from bench import launch
from bench.cell import Cell
from bench.launch import Pool
from bench.tasks import Result, Start
from tests.helpers import cell


class Process:
    def is_alive(self) -> bool:
        return True

    def kill(self) -> None: ...

    def join(self) -> None: ...


class Fake(launch.Worker):
    """A worker without a process: what criterion snip gets fails, all else is made."""

    def __init__(self, context: Any, start: Start) -> None:
        self.connection, self.theirs = Pipe()
        self.process, self.start, self.cell = Process(), start, None

    def give(self, cell: Cell) -> None:
        self.cell = cell
        failed = Result("failed", "device-side assert triggered")
        self.theirs.send(("answer", failed if cell.criterion == "snip" else Result("ok")))


@pytest.mark.parametrize(("device", "new"), [("cuda", 2), ("cpu", 0)])
def test_a_gpus_process_is_replaced_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, new: int
) -> None:
    monkeypatch.setattr(launch, "Worker", Fake)
    pool = Pool(tmp_path, 1, debug=False)
    pool.grow(1, device)
    (first,) = pool.workers
    cells = [cell(criterion=name) for name in ("magnitude", "snip", "taylor", "snip")]
    cells[3] = cell(criterion="snip", sparsity=0.9)
    seen = []
    results = pool.run(cells, {}, lambda kind, one, facts: seen.append(pool.workers[0]))
    assert sorted(result.status for result in results) == ["failed", "failed", "ok", "ok"]
    assert len({id(worker) for worker in [first, *seen, *pool.workers]}) == 1 + new
    assert all(worker.start == first.start for worker in pool.workers)
    assert first.connection.closed == bool(new)
