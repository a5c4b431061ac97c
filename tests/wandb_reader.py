"""Reads the transaction log that wandb writes offline (`run-ID.wandb`), so that tests see what W&B would be told.

The file is a log in LevelDB's format: a 7-byte head, then blocks of 32 KiB that hold chunks of (crc32, length, type,
data); a record too long for a block is cut into a first, middle and last chunk. A record is one protobuf message.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEAD = b":W&B\xe1\xbe\x00"
BLOCK = 32 * 1024
CHUNK = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class LoggedRun:
    """One W&B run as its log tells it; `exit_code` is None for a run that never ended."""

    id: str = ""
    group: str = ""
    project: str = ""
    job_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_runs(folder: Path) -> dict[str, LoggedRun]:
    """Return the runs logged offline under `folder`/wandb by id; a second log of one id is an error."""
    runs = [read_run(path) for path in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))]
    assert len({run.id for run in runs}) == len(runs)
    return {run.id: run for run in runs}


def read_run(path: Path) -> LoggedRun:
    """Return the run in one log; entries whose key begins with an underscore are wandb's own and left out."""
    run = LoggedRun()
    for payload in _payloads(path.read_bytes()):
        record = Record.FromString(payload)
        match record.WhichOneof("record_type"):
            case "run":
                run.id, run.group = record.run.run_id, record.run.run_group
                run.project, run.job_type = record.run.project, record.run.job_type
                run.config |= _values(record.run.config.update)
            case "config":
                run.config |= _values(record.config.update)
            case "history":
                run.history.append(_values(record.history.item))
            case "summary":
                run.summary |= _values(record.summary.update)
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def _values(items: Iterable[Any]) -> dict[str, Any]:
    """Return the items of one message by key; NaN and infinities are written as the words that Python reads."""
    keyed = ((item.key or "/".join(item.nested_key), item.value_json) for item in items)
    return {key: json.loads(value) for key, value in keyed if not key.startswith("_")}


def _payloads(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log, whole, with every checksum verified."""
    assert data.startswith(HEAD)
    parts: list[bytes] = []
    for kind, chunk in _chunks(data):
        assert (kind in (FULL, FIRST)) == (not parts), "a record begins inside another"
        parts.append(chunk)
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
    assert not parts, "the last record is cut off"


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (type, data) of each chunk; a block's last bytes, too few for a chunk's head, are padding."""
    at = len(HEAD)
    while at < len(data):
        if BLOCK - at % BLOCK < CHUNK.size:
            at += BLOCK - at % BLOCK
            continue
        checksum, length, kind = CHUNK.unpack_from(data, at)
        at += CHUNK.size
        chunk = data[at : at + length]
        assert zlib.crc32(bytes([kind]) + chunk) == checksum, f"wrong checksum before byte {at}"
        yield kind, chunk
        at += length
