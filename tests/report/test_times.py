"""Where measured times lie, and what is told of a file that does not hold."""

import json
from pathlib import Path

import pytest

from bench.report import times
from bench.store import CorruptError, write


def test_a_file_of_times_is_found_beside_records_and_a_broken_one_is_named(tmp_path: Path) -> None:
    plan = {"experiment": "digits", "hash": "h"}
    path = times.path(tmp_path, plan)
    assert path == tmp_path / "latency" / "digits.json"
    assert times.read(path) == []
    row = dict.fromkeys(["cell", "variant", *times.PLACE, *times.SETTING], "x") | {"median_s": 1e-3}
    write(path, json.dumps([row]).encode())
    assert times.read(path) == [row]
    for broken in (b"[", b"[{}]", b"3"):
        write(path, broken)
        with pytest.raises(CorruptError, match="make latency"):
            times.read(path)
    (tmp_path / "records.parquet").touch()
    assert times.path(tmp_path, plan) == tmp_path / "latency.json"
