"""The file of measured times, beside the records that they belong to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import store

PLACE = ["device", "cpu", "gpu", "cores", "torch", "onnxruntime"]
"""Columns of the machine: what differs in them shares no table."""
SETTING = ["engine", "dtype", "threads", "batch"]

Timed = dict[str, Any]
"""cell, variant (VARIANTS), PLACE, SETTING, turns_s, median_s, iqr_s (null: see reason), reason, load, clock_mhz,
started. Rows of one cell, place and setting were timed in turns, so that turns_s are pairs."""


def path(root: Path, plan: Mapping[str, Any]) -> Path:
    """Return where a plan's times lie: beside the records of a published folder, below OUT/latency elsewhere."""
    published = (root / store.RECORDS).is_file()
    return root / ("latency.json" if published else f"latency/{plan['experiment']}.json")


def read(path: Path) -> list[Timed]:
    """Return the rows of a file of times, none where there is no file; CorruptError for one that does not parse."""
    if not path.is_file():
        return []
    try:
        rows: list[Timed] = json.loads(path.read_text(encoding="utf-8"))
        [key(row) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise store.CorruptError(f"{path} is corrupt; remove it, and `make latency` writes it again") from None
    return rows


def key(row: Timed) -> tuple[Any, ...]:
    """Return what tells a row from all others."""
    return tuple(row[column] for column in ("cell", "variant", *PLACE, *SETTING))
