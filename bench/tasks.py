"""What a parent and its workers say to each other. No torch."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import store
from bench.cell import Cell


@dataclass(frozen=True)
class Start:
    """How a worker starts."""

    root: Path
    device: str
    index: int
    """Number of the worker; on CUDA it takes the GPU of that number."""
    threads: int
    debug: bool


@dataclass(frozen=True)
class Result:
    """What became of a cell: `busy` means that another run is making it."""

    cell: str
    status: Literal["ok", "failed", "busy"]
    reason: str | None = None
    columns: dict[str, Any] | None = None


def record_failure(root: Path, cell: Cell, reason: str) -> Result:
    """Record a failure that the next run tries again, as far as the disk allows."""
    columns = cell.columns() | {"status": "failed", "reason": reason}
    with contextlib.suppress(OSError):
        store.commit(root / "cells" / cell.id, store.cell_record(columns, cell.config(), final=False), {})
    return Result(cell.id, "failed", reason, columns)
