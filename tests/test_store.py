"""The commit rule: whole or not at all, and nothing that does not hold is believed."""

import contextlib
import errno
import fcntl
import hashlib
import json
import multiprocessing
import os
import socket
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import store
from bench.errors import UserError


def record(status: str = "ok", final: bool = True, **columns: Any) -> dict[str, Any]:
    return store.cell_record({"status": status, **columns}, config={}, final=final)


def plan_of(experiment: str, key: str, written: str) -> dict[str, Any]:
    named = {"experiment": experiment, "hash": key, "written": written}
    return named | {"titles": {}, "recipes": {}, "vary": [], "changed": [], "cells": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A committed cell."""
    path = tmp_path / "cells" / "abc"
    store.commit(path, record(cell="abc", top1=91.5, sparsity_target=0.9), {"weights.bin": b"12345"})
    return path


def test_what_is_committed_is_read_back(folder: Path) -> None:
    got = store.read_record(folder)
    assert got is not None
    assert got["columns"]["top1"] == 91.5
    assert store.read_artefact(folder, "weights.bin") == b"12345"
    assert store.finished(folder) == got


def test_no_record_is_not_done(tmp_path: Path) -> None:
    assert store.read_record(tmp_path / "nothing") is None
    assert store.finished(tmp_path / "nothing") is None


def test_artefacts_without_a_record_are_not_done(tmp_path: Path) -> None:
    store.write(tmp_path / "cells" / "x" / "weights.bin", b"1")
    assert store.finished(tmp_path / "cells" / "x") is None


def test_every_cut_of_a_record_is_named_corrupt(folder: Path) -> None:
    path = folder / store.RECORD
    text = path.read_bytes()
    for length in range(0, len(text), 7):
        path.write_bytes(text[:length])
        with pytest.raises(store.CorruptError, match=r"record.json is corrupt"):
            store.read_record(folder)


def test_an_edited_metric_is_named_corrupt(folder: Path) -> None:
    path = folder / store.RECORD
    path.write_text(path.read_text().replace("91.5", "92.5"))
    with pytest.raises(store.CorruptError, match="hash does not match"):
        store.finished(folder)


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"hash": "x"}', "\x00\x01"])
def test_a_record_of_another_shape_is_named_corrupt(folder: Path, text: str) -> None:
    (folder / store.RECORD).write_text(text)
    with pytest.raises(store.CorruptError, match="does not parse"):
        store.read_record(folder)


def test_a_missing_or_shorter_artefact_is_named(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"1234")
    with pytest.raises(store.CorruptError, match="not 5 bytes"):
        store.finished(folder)
    (folder / "weights.bin").unlink()
    with pytest.raises(store.CorruptError, match=r"weights\.bin"):
        store.finished(folder)


def test_a_changed_artefact_of_the_same_size_is_named_when_read(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"12346")
    assert store.finished(folder) is not None
    with pytest.raises(store.CorruptError, match="hash does not match"):
        store.read_artefact(folder, "weights.bin")
    with pytest.raises(store.CorruptError, match=r"other\.bin"):
        store.read_artefact(folder, "other.bin")


def test_failures_are_final_only_where_the_record_says_so(tmp_path: Path) -> None:
    store.commit(tmp_path / "a", record("failed", final=True), {})
    store.commit(tmp_path / "b", record("failed", final=False), {})
    assert store.finished(tmp_path / "a") is not None
    assert store.finished(tmp_path / "b") is None


def test_records_hold_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.commit(tmp_path / "a", record(top1=float("nan")), {})
    assert store.read_record(tmp_path / "a") is None


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(tmp_path / "f", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(tmp_path / "f", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("f", b"old")]


def test_sweep_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "a"
    cell.mkdir(parents=True)
    host = socket.gethostname()
    dead, alive = cell / f"w.tmp-{host}-{2**22 + 1}", cell / f"w.tmp-{host}-{os.getpid()}"
    foreign, plain = cell / "w.tmp-elsewhere-1", cell / "weights.bin"
    for path in (dead, alive, foreign, plain):
        path.write_bytes(b"")
    store.sweep(tmp_path)
    assert {path.name for path in cell.iterdir()} == {alive.name, foreign.name, plain.name}


def _hold(root: Path, held: Event, release: Event) -> None:
    with store.locked(root, "key"):
        held.set()
        release.wait(30)


@pytest.mark.parametrize(
    ("number", "lockless"),
    [(errno.ENOLCK, True), (errno.ENOSYS, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)],
)
def test_a_file_system_without_locks_does_the_work_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, lockless: bool
) -> None:
    def refused(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    outcome = contextlib.nullcontext() if lockless else pytest.raises(OSError, match="Input/output error")
    # Twice inside each other: no file may stay behind that keeps out another machine once its maker was killed.
    with outcome, store.locked(tmp_path, "key") as mine, store.locked(tmp_path, "key", wait=False) as other:
        assert mine
        assert other


def test_a_lock_excludes_other_processes_and_is_never_deleted(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(30)
    with store.locked(tmp_path, "key", wait=False) as mine:
        assert not mine
    with store.locked(tmp_path, "other", wait=False) as mine:
        assert mine
    release.set()
    with store.locked(tmp_path, "key") as mine:
        assert mine
    process.join()
    assert (tmp_path / "locks" / "key.lock").exists()


def test_load_records_gives_a_row_a_cell_with_all_columns(tmp_path: Path) -> None:
    store.commit(tmp_path / "cells" / "a", record(cell="a", top1=90.0), {})
    store.commit(tmp_path / "cells" / "b", record("failed", cell="b", reason="why"), {})
    frame = store.load_records(tmp_path)
    assert list(frame.columns) == store.COLUMNS
    assert frame.cell.tolist() == ["a", "b"]
    assert frame.top1.tolist()[0] == 90.0
    assert list(store.load_records(str(tmp_path)).cell) == ["a", "b"]


def test_load_records_of_an_empty_or_missing_folder(tmp_path: Path) -> None:
    frame = store.load_records(tmp_path)
    assert len(frame) == 0
    assert list(frame.columns) == store.COLUMNS
    with pytest.raises(UserError, match="does not exist"):
        store.load_records(tmp_path / "nothing")


def test_load_records_reads_a_published_folder(tmp_path: Path) -> None:
    store.commit(tmp_path / "cells" / "a", record(cell="a", top1=90.0), {})
    records = store.load(tmp_path)
    frame = store.with_details(records.frame, records.details)
    published = tmp_path / "published"
    published.mkdir()
    frame.to_parquet(published / store.RECORDS)
    sha256 = hashlib.sha256((published / store.RECORDS).read_bytes()).hexdigest()
    plan = plan_of("e", "h", "w") | {"records_sha256": sha256}
    (published / "plan.json").write_text(json.dumps(plan))
    assert store.load(published).details == records.details
    pd.testing.assert_frame_equal(store.load_records(published), records.frame)
    frame.assign(top1=99.9).to_parquet(published / store.RECORDS)
    with pytest.raises(store.CorruptError, match=r"records\.parquet is corrupt"):
        store.load_records(published)


def test_a_corrupt_record_goes_to_skip_where_one_is_given(tmp_path: Path) -> None:
    store.commit(tmp_path / "cells" / "a", record(cell="a", top1=90.0), {})
    store.write(tmp_path / "cells" / "b" / store.RECORD, b"{")
    told: list[store.CorruptError] = []
    assert store.load_records(tmp_path, told.append).cell.tolist() == ["a"]
    assert len(told) == 1
    with pytest.raises(store.CorruptError, match="cells/b"):
        store.load_records(tmp_path)


def test_the_last_plan_is_the_default(tmp_path: Path) -> None:
    plans = [("a", "1", "2026-01-01"), ("b", "2", "2026-01-03"), ("a", "3", "2026-01-02")]
    for experiment, key, written in plans:
        store.write_plan(tmp_path, plan_of(experiment, key, written))
    assert store.load_plan(tmp_path)["hash"] == "2"
    assert store.load_plan(tmp_path, "a")["hash"] == "3"
    with pytest.raises(UserError, match="no plan of experiment 'c'"):
        store.load_plan(tmp_path, "c")


def test_a_plan_that_does_not_parse_is_named(tmp_path: Path) -> None:
    path = store.write_plan(tmp_path, plan_of("a", "1", "x"))
    for text in (path.read_text()[:-3], "{}", "[]", "null", "3", '{"experiment": "a"}'):
        path.write_text(text)
        with pytest.raises(store.CorruptError, match=r"a-1\.json is corrupt"):
            store.load_plan(tmp_path)


def test_digest_does_not_depend_on_key_order_but_on_every_value() -> None:
    assert store.digest({"a": 1, "b": [1, 2]}) == store.digest({"b": [1, 2], "a": 1})
    assert len({store.digest(value) for value in ({"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {})}) == 5
    assert json.loads(store.canonical({"ä": 1})) == {"ä": 1}
