"""The checks as named steps, each of which is done once: a later call goes on where the time ran out."""

import functools
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import criteria
from bench import store
from bench.gpu import numbers, timings
from bench.gpu.rows import Row, failure
from bench.gpu.setting import Sizes

Steps = dict[str, Callable[[], list[Row]]]
Done = dict[str, list[Row]]


def plan(device: torch.device, sizes: Sizes) -> Steps:
    """Return the checks of a device by name, in the order in which they run."""
    scores: Steps = {
        f"scores-{name}-{form}": functools.partial(numbers.scores, name, form, device, sizes)
        for name in criteria.available()
        for form in numbers.forms(name)
    }
    others = {
        "deterministic": numbers.deterministic,
        "networks": numbers.networks,
        "compacted": numbers.compacted,
        "training-step": timings.training_steps,
        "semi-structured": timings.semi_structured,
    }
    return scores | {name: functools.partial(step, device, sizes) for name, step in others.items()}


def run(steps: Steps, root: Path, machine: dict[str, Any], deadline: float) -> Done:
    """Return the rows of each step, made now or read from ROOT/STEP where this machine and code have passed it before.

    machine: what a stored result must agree with. deadline: on time.monotonic's clock; what would begin later is
    left to the next call. A step that raises or fails is no end of the others, and is made again next time.
    """
    done: Done = {}
    for name, step in steps.items():
        if (rows := _stored(root / name, machine)) is None:
            if time.monotonic() > deadline:
                done[name] = [Row(name, note="no time was left: run again")]
                continue
            rows = _made(name, step)
            if all(row.ok is not False for row in rows):
                store.commit(root / name, {"machine": machine, "rows": [asdict(row) for row in rows]}, {})
        done[name] = rows
        print(f"{'FAILED' if any(row.ok is False for row in rows) else 'ok':8}{name}", flush=True)
    return done


def _made(name: str, step: Callable[[], list[Row]]) -> list[Row]:
    try:
        return step()
    except Exception as error:  # a card can fail in any way, and the report is to say how
        return [failure(name, error)]


def _stored(folder: Path, machine: dict[str, Any]) -> list[Row] | None:
    try:
        record = store.read_record(folder)
    except store.CorruptError:
        return None
    return [Row(**row) for row in record["rows"]] if record and record["machine"] == machine else None
