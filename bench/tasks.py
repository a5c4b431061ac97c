"""What a parent and its workers say to each other. No torch."""

import contextlib
from dataclasses import dataclass, field
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


VARIANTS = ("dense", "masked", "compacted", "2:4")
"""Of a cell's network: not pruned; with zeros; without what the zeros fill whole; with kernels for 2:4 weights."""


@dataclass(frozen=True)
class Timing:
    """What is timed of a cell; the worker that is asked says the device and the threads."""

    cell: Cell
    dense: str
    """Id of its dense control."""
    engine: str
    dtype: str
    batch: int


@dataclass(frozen=True)
class Result:
    """What became of a cell: `busy` means that another run is making it."""

    status: Literal["ok", "failed", "busy"]
    reason: str | None = None
    columns: dict[str, Any] | None = None


@dataclass
class Reread:
    """What the stored weights of a cell say."""

    machine: dict[str, Any]
    """cpu, gpu and torch of who read them."""
    columns: dict[str, Any] = field(default_factory=dict)
    """Measured columns, computed again."""
    moved: int | None = None
    """Positions at which the criterion's scores give another mask than the stored; None where that is not known."""
    unread: list[str] = field(default_factory=list)
    """Why some of it could not be computed."""


@dataclass(frozen=True)
class Price:
    """What the pieces of a run take on this machine, in seconds of one worker, for one dataset, network and recipe."""

    load_s: float
    """Reading the data, once a worker."""
    step_s: float
    """One training step."""
    steps: int
    """Training steps an epoch."""
    validation_s: float
    test_s: float
    """One pass over the validation split, and over the test set."""
    forward_s: float
    """One pass of the network over the scoring set."""
    sizes_s: float
    """Counting what masks leave: effective sparsity and FLOPs."""
    structure_s: float
    """Finding which channels go together; 0 where no cell asks."""
    half_share: float
    """A training step of a network that has lost half of its units whole, over one of the whole; 1 where none asks."""
    scores_s: dict[str, float]
    """Name of a criterion's form (bench.estimate.scored_as) -> one pass over the scoring set."""
    weights_mb: float
    masks_mb: float
    """Of one cell on disk, 10^6 bytes."""
    peak_mb: float | None
    """Memory of the worker that measured this."""


def record_failure(root: Path, cell: Cell, reason: str) -> Result:
    """Record a failure that the next run tries again, as far as the disk allows, and unless the cell is made already.

    Its worker may have died with the record written and the answer unsent, or another run may have made it.
    """
    with contextlib.suppress(OSError):
        if known := made(root, cell):
            return known
    columns = cell.columns() | {"status": "failed", "reason": reason}
    with contextlib.suppress(OSError):
        store.commit(root / "cells" / cell.id, store.cell_record(columns, cell.config(), final=False), {})
    return Result("failed", reason, columns)


def made(root: Path, cell: Cell) -> Result | None:
    """Return what became of a cell that need not run again, None where it is to be made."""
    with contextlib.suppress(store.CorruptError):
        if record := store.finished(root / "cells" / cell.id):
            return result_of(record)
    return None


def result_of(record: dict[str, Any]) -> Result:
    """Return what a record says of its cell."""
    columns = record["columns"]
    return Result(columns["status"], columns["reason"], columns)
