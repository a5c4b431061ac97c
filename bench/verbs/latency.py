"""`latency`: what finished cells gain in time, beside what they gain in parameters and FLOPs."""

import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench import config, store
from bench.cell import CONTROLS, Cell
from bench.cores import cores
from bench.errors import UserError, near_misses
from bench.launch import Pool
from bench.plan import Plan, make
from bench.report import latency, times
from bench.report.frame import joined
from bench.report.places import table_folder
from bench.schema import Settings
from bench.tasks import Timing
from bench.workplace import opened

KEYS = ("batch", "dtype", "engine", "timed_threads", "timed_device")
KNOWN = {"dtype": ("fp32", "bf16", "fp16"), "engine": ("eager", "compile", "onnx"), "timed_device": ("cpu", "cuda")}
SAVE_EVERY_S = 20.0
"""What a kill can cost."""


@dataclass(frozen=True)
class Sweep:
    """What is timed of each cell: the product of all, ONNX Runtime on the CPU alone."""

    batch: tuple[int, ...] = (1, 32)
    """Samples an answer."""
    dtype: tuple[str, ...] = ("fp32", "bf16")
    """Of weights, activations and inputs."""
    engine: tuple[str, ...] = ("eager", "compile", "onnx")
    timed_threads: tuple[int, ...] = ()
    """On the CPU; empty = one, and all cores."""
    timed_device: tuple[str, ...] = ()
    """Empty = the CPU, and CUDA where the cells were made there."""

    def places(self, device: str) -> list[tuple[str, int]]:
        """Return (device, threads) of each worker process; device: where the cells were made."""
        threads = self.timed_threads or tuple(sorted({1, cores()}))
        devices = self.timed_device or tuple(dict.fromkeys(("cpu", device)))
        return [place for d in devices for place in ([(d, n) for n in threads] if d == "cpu" else [(d, 1)])]

    def timings(self, cell: Cell, dense: str, device: str) -> list[Timing]:
        """Return what is asked of a worker about a cell."""
        engines = [engine for engine in self.engine if device == "cpu" or engine != "onnx"]
        return [Timing(cell, dense, *how) for how in itertools.product(engines, self.dtype, self.batch)]


def main(arguments: list[str]) -> int:
    """Time the finished cells of the lowest seed, write OUT/latency/EXPERIMENT.json and the tables.

    The settings are a run's, and batch=[1,32] dtype=[fp32,bf16] (fp16 too) engine=[eager,compile,onnx], as they are
    unless given; timed_threads=[1,2], else one and all cores; timed_device=[cpu,cuda], else the CPU, and CUDA where the
    cells were made there. What was timed before, elsewhere or with others of these, stays in the file. Returns 1 where
    a cell could not be timed.
    """
    own = [argument for argument in arguments if argument.partition("=")[0] in KEYS]
    sweep = parsed(own)
    settings = config.load([argument for argument in arguments if argument not in own], KEYS)
    root = Path(settings.out)
    with opened(settings) as (_, device, _):
        plan = make(settings, device)
    cells = _finished(plan, root)
    rows = Rows(times.path(root, plan.to_json()))
    try:
        failed = sum(_timed(place, cells, sweep, settings, rows) for place in sweep.places(device))
    finally:
        rows.save()
    results = joined(store.load(root), plan.to_json())
    files = latency.files(results, rows.all())
    if not files:
        asked = {cell.id for cell, _ in cells}
        reasons = dict.fromkeys(row["reason"] for row in rows.all() if row["cell"] in asked)
        print("error:", "; ".join(("no network could be timed", *filter(None, reasons))), file=sys.stderr)
        return 1
    for name, content in files.items():
        store.write(table_folder(root, results) / name, content)
    print(files["latency.md"].decode())
    print(rows.path, *(table_folder(root, results) / name for name in files), sep="\n")
    return 1 if failed else 0


def parsed(arguments: list[str]) -> Sweep:
    """Return the sweep of `batch=[1,32] engine=eager ...`; UserError for a value that is not known."""
    fields: dict[str, tuple[Any, ...]] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        values = [value.strip() for value in text.strip("[]").split(",")]
        fields[key] = tuple(_value(key, value) for value in values)
    if fields.get("engine") == ("onnx",) and fields.get("timed_device") == ("cuda",):
        raise UserError("engine=onnx is ONNX Runtime on the CPU: give timed_device=cpu")
    return Sweep(**fields)


def _value(key: str, value: str) -> str | int:
    if key in KNOWN and value not in KNOWN[key]:
        raise UserError(f"{key}={value}: unknown value; {near_misses(value, KNOWN[key])}")
    if key not in KNOWN and not (value.isascii() and value.isdigit() and int(value)):
        raise UserError(f"{key}={value}: give whole numbers from 1, as {key}=[1,32]")
    if key == "timed_threads" and int(value) > cores():
        raise UserError(f"timed_threads={value}: there are {cores()} cores here")
    return value if key in KNOWN else int(value)


def _finished(plan: Plan, root: Path) -> list[tuple[Cell, str]]:
    """Return the pruned cells of the plan's lowest seed that are there, with the ids of their dense controls.

    Says how many are not; UserError where none is.
    """
    dense = {cell.dense_key: cell for cell in plan.cells if cell.criterion == "dense"}
    seed = min(plan.settings.seed)
    asked = [cell for cell in plan.cells if cell.seed == seed and cell.criterion not in CONTROLS]
    there = [cell for cell in asked if _is_ok(root, cell) and _is_ok(root, dense[cell.dense_key])]
    if not there:
        raise UserError(f"no cell of this plan is finished in {root}: run it first, with the same settings")
    if len(there) < len(asked):
        print(f"{len(asked) - len(there)} of {len(asked)} cells of seed {seed} are not finished", file=sys.stderr)
    return [(cell, dense[cell.dense_key].id) for cell in there]


def _is_ok(root: Path, cell: Cell) -> bool:
    record = store.finished(root / "cells" / cell.id)
    return record is not None and record["columns"]["status"] == "ok"


class Rows:
    """The rows of a file: new ones take the place of those of the same cell, variant, setting and machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved_at = time.monotonic()
        self.rows = {times.key(row): row for row in times.read(path)}

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows in, and write them now and then."""
        self.rows |= {times.key(row): row for row in rows}
        if time.monotonic() - self.saved_at > SAVE_EVERY_S:
            self.save()

    def all(self) -> list[dict[str, Any]]:
        """Return all rows."""
        return list(self.rows.values())

    def save(self) -> None:
        """Write the file, a row a line."""
        lines = ",\n".join(json.dumps(row) for row in self.all())
        store.write(self.path, f"[\n{lines}\n]\n".encode())
        self.saved_at = time.monotonic()


def _timed(place: tuple[str, int], cells: list[tuple[Cell, str]], sweep: Sweep, settings: Settings, rows: Rows) -> int:
    """Time cells in one process of this device and number of threads; return how many questions had no answer."""
    device, threads = place
    failed = 0
    with Pool(Path(settings.out), threads, settings.debug) as pool:
        if device == "cuda" and not pool.ask("gpus", None):
            raise UserError("timed_device=cuda, but torch sees no CUDA device")
        pool.grow(1, device)
        timings = [timing for cell, dense in cells for timing in sweep.timings(cell, dense, device)]
        for timing in tqdm(timings, desc=f"{device}, threads {threads}", leave=False, disable=None):
            reason = _ask(pool, timing, rows)
            if reason:
                failed += 1
                how = f"{timing.engine}, {timing.dtype}, batch {timing.batch}"
                print(f"failed: cell {timing.cell.id} ({device}, {how}): {reason}", file=sys.stderr)
    return failed


def _ask(pool: Pool, timing: Timing, rows: Rows) -> str | None:
    """Let the worker time a cell; return why it did not."""
    try:
        answer, reason = pool.ask("latency", timing)
    except UserError as error:  # the process has died, and another is in its place
        return str(error)
    if answer:
        rows.add(answer)
    return None if reason is None else str(reason)
