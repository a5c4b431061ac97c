"""Where results live on disk, without torch: the commit rule, locks, records.

OUT/cells/ID, OUT/stages/KIND-KEY   folders of artefacts, each closed by a record.json written last
OUT/plans/EXPERIMENT-HASH.json      what a run set out to do
OUT/cache, OUT/locks, OUT/wandb     nothing that cannot be made again

A folder is done when its record parses, its own hash matches and its artefacts have their sizes; an artefact's hash is
checked whenever it is read. Everything is written to a temporary name, fsynced and renamed, so a kill at any moment
leaves the old state or the new one.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

RECORD = "record.json"
RECORDS = "records.parquet"
WEIGHTS, MASKS, PRUNED, TENSORS = (f"{name}.safetensors" for name in ("weights", "masks", "pruned", "tensors"))
"""Artefacts: a cell's final weights, its masks, its weights right after pruning; what a stage made."""

WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system answers that has no locks."""

COLUMNS = (
    "cell status reason dataset model recipe seed criterion criterion_options criterion_fingerprint granularity scope "
    "schedule when finetune finetune_epochs ablation prunable target_kind sparsity_target sparsity sparsity_effective "
    "collapsed_layers disconnected top1_dense top1_pruned top1_pruned_bn top1 top5 loss params_dense params "
    "flops_dense flops epochs_total score_samples score_batch score_mode train_s score_s finetune_s peak_memory_mb "
    "device cpu precision threads torch numerics recipe_hash dataset_hash git started gpu left_dense "
    "r2_dense r2_pruned r2_pruned_bn r2"
).split()
"""One row of load_records: accuracies in percent (null in a regression, which has r2), times in seconds, flops as
2 x multiply-adds for one sample."""


DETAILS = ("config", "curves", "layers", "histogram")
"""What a record holds beside its columns, null where it has none; a published one as JSON texts."""


@dataclass(frozen=True)
class Records:
    """The records of a folder."""

    frame: "pd.DataFrame"
    """COLUMNS, one row a cell."""
    details: dict[str, dict[str, Any]]
    """Cell -> DETAILS."""


PUBLISHED_AGAIN = "take it back from version control, or publish again"
PLAN = {*"experiment hash written titles recipes vary changed cells".split()}
CELL = {*"cell dataset model recipe seed criterion granularity scope schedule when sparsity_target".split()}
"""What a plan, and a cell of it, holds at least."""


class CorruptError(UserError):
    """A stored file that does not hold what was committed."""


def canonical(value: Any) -> str:
    """Return the one JSON text of a value (sorted keys, no spaces), the text that hashes are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Return 16 hex digits of the sha256 of a value's canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def commit(folder: Path, record: dict[str, Any], artefacts: dict[str, bytes]) -> None:
    """Write a folder's artefacts, then the record that makes them count. `record` must be JSON without NaN."""
    for name, data in artefacts.items():
        write(folder / name, data)
    sealed = record | {
        "artefacts": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in artefacts.items()
        }
    }
    write(folder / RECORD, json.dumps(sealed | {"hash": digest(sealed)}, indent=1, allow_nan=False).encode())


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the folder's record, or None where there is none; raise CorruptError that names what does not hold."""
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = record.pop("hash")
        artefacts = record["artefacts"].items()
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, AttributeError, TypeError):
        raise CorruptError(f"record {path} is corrupt: it does not parse") from None
    if seal != digest(record):
        raise CorruptError(f"record {path} is corrupt: its hash does not match its content")
    for name, facts in artefacts:
        file = folder / name
        if not file.is_file() or file.stat().st_size != facts["size"]:
            raise CorruptError(f"artefact {file} is corrupt: missing or not {facts['size']} bytes long")
    return record


def read_artefact(folder: Path, name: str) -> bytes:
    """Return an artefact's bytes; raise CorruptError unless they have the hash that the record holds."""
    record = read_record(folder)
    data = (folder / name).read_bytes() if record and name in record["artefacts"] else b""
    if record is None or hashlib.sha256(data).hexdigest() != record["artefacts"].get(name, {}).get("sha256"):
        raise CorruptError(f"artefact {folder / name} is corrupt: its hash does not match its record")
    return data


def cell_record(
    columns: dict[str, Any],
    config: dict[str, Any],
    final: bool,
    curves: Sequence[dict[str, Any]] = (),
    layers: Sequence[dict[str, Any]] = (),
    histogram: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a cell's record: all COLUMNS (null where unknown), a row an epoch, a row a layer (name, kept, total).

    final: no further run would change it. histogram: of the last step's scores, where it had some.
    """
    own = {"final": final, "config": config, "curves": list(curves), "layers": list(layers), "histogram": histogram}
    return {"columns": {name: columns.get(name) for name in COLUMNS}} | own


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's configuration with the absolute paths of data, weights and code as DIR/NAME."""
    placed = {
        group: {
            name: re.sub("^/.*/", "DIR/", value) if isinstance(value, str) else value for name, value in own.items()
        }
        for group, own in config.items()
        if group in ("dataset", "model")
    }
    return {**config, **placed}


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the record of a cell that need not run again: ok, or failed for non-finite numbers."""
    record = read_record(folder)
    return record if record and (record["columns"]["status"] == "ok" or record["final"]) else None


@contextlib.contextmanager
def locked(root: Path, key: str, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a stage key inside the block; where another process holds it, wait or yield False at once.

    Locks only avoid double work. Where the file system has none, the work is done twice and committed twice, equal.
    """
    folder = root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    # A marker file, which filelock falls back to, would outlive a killed process of another machine.
    lock = FileLock(folder / f"{key}.lock", timeout=-1 if wait else 0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def sweep(root: Path) -> None:
    """Remove temporary files that dead processes of this machine have left."""
    for path in root.glob("*/**/*.tmp-*"):
        match = re.search(r"\.tmp-(.+)-(\d+)$", path.name)
        if match and match[1] == socket.gethostname() and not _lives(int(match[2])):
            path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def forget_unfinished(folder: Path) -> None:
    """Remove the states of trainings that have come to their end."""
    for path in folder.glob("*.resume"):
        path.unlink(missing_ok=True)


def cell_folders(root: Path) -> Iterable[Path]:
    """Return the folders of all cells below OUT, sorted."""
    return sorted(path.parent for path in root.glob(f"cells/*/{RECORD}"))


def load_records(root: str | Path, skip: Callable[[CorruptError], None] | None = None) -> "pd.DataFrame":
    """Return every record of a folder as a DataFrame, one row a cell, with COLUMNS; needs no torch.

    `root` is an OUT folder (results/runs) or a published one (with records.parquet). One without records
    has no rows. Raises UserError where there is no such folder, CorruptError for a record that does not hold, or tells
    `skip` of it and leaves it out.
    """
    return load(root, skip).frame


def load(root: str | Path, skip: Callable[[CorruptError], None] | None = None) -> Records:
    """Return every record of a folder whole, each read once; `root`, `skip` and errors as load_records."""
    import pandas as pd  # here: it costs 0.3 s, and workers that import this module never need it

    root = Path(root)
    if (root / RECORDS).is_file():
        check_published(root)
        frame = pd.read_parquet(root / RECORDS)
        texts = frame[["cell", *DETAILS]].dropna(subset=list(DETAILS), how="all").to_dict("records")
        details = {row["cell"]: {name: json.loads(row[name]) for name in DETAILS} for row in texts}
        return Records(frame.drop(columns=list(DETAILS)), details)
    if not root.is_dir():
        raise UserError(f"no results in {root}: the folder does not exist; make some with `make bench`")
    records = {}
    for folder in cell_folders(root):
        try:
            if record := read_record(folder):
                records[folder.name] = record
        except CorruptError as error:
            if skip is None:
                raise CorruptError(f"{error}; run again, or remove its folder") from error
            skip(error)
    details = {cell: {name: record[name] for name in DETAILS} for cell, record in records.items()}
    columns = [record["columns"] for record in records.values()]
    return Records(pd.DataFrame(columns, columns=None if columns else COLUMNS), details)


def with_details(records: "pd.DataFrame", details: dict[str, dict[str, Any]]) -> "pd.DataFrame":
    """Return records as they are published: with DETAILS as columns of JSON texts, null where a cell is missing."""
    texts: dict[str, Any] = {
        name: [canonical(details[c][name]) if c in details else None for c in records["cell"]] for name in DETAILS
    }
    return records.assign(**texts)


def check_published(root: Path) -> None:
    """Raise CorruptError unless a published folder's records have the hash that its plan holds."""
    sha256 = hashlib.sha256((root / RECORDS).read_bytes()).hexdigest()
    if load_plan(root).get("records_sha256") != sha256:
        raise CorruptError(
            f"{root / RECORDS} is corrupt: its hash does not match {root / 'plan.json'}; {PUBLISHED_AGAIN}"
        )


def write_plan(root: Path, plan: dict[str, Any]) -> Path:
    """Write OUT/plans/EXPERIMENT-HASH.json and return its path."""
    path = root / "plans" / f"{plan['experiment']}-{plan['hash']}.json"
    write(path, json.dumps(plan, indent=1).encode())
    return path


def read_plan(path: Path) -> dict[str, Any]:
    """Return the plan of a file; CorruptError that says what to do where it does not hold PLAN and CELL."""
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not plan.keys() >= PLAN or not all(cell.keys() >= CELL for cell in plan["cells"]):
            raise KeyError
    except (ValueError, KeyError, AttributeError, TypeError):
        again = PUBLISHED_AGAIN if path.name == "plan.json" else "remove it, and `make bench` writes it again"
        raise CorruptError(f"plan {path} is corrupt; {again}") from None
    return plan


def load_plan(root: Path, experiment: str | None = None) -> dict[str, Any]:
    """Return the plan that was written last (of one experiment, where named); UserError where there is none."""
    published = root / "plan.json"
    paths = [published] if published.is_file() else sorted((root / "plans").glob(f"{experiment or '*'}-*.json"))
    plans = [plan for plan in map(read_plan, paths) if experiment in (None, plan["experiment"])]
    if not plans:
        if not root.is_dir():
            raise UserError(f"no plan in {root}: the folder does not exist")
        if (root / RECORDS).is_file():
            raise CorruptError(f"{published} is missing: {PUBLISHED_AGAIN}")
        named, chosen = (f" of experiment {experiment!r}", f" EXPERIMENT={experiment}") if experiment else ("", "")
        raise UserError(f"no plan{named} in {root}: run `make bench{chosen} OUT={root}`")
    return max(plans, key=lambda plan: plan["written"])
