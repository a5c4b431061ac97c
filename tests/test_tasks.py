"""Failures that are recorded."""

from pathlib import Path

from bench import store
from bench.tasks import record_failure
from tests.helpers import cell


def test_a_failure_is_tried_again(tmp_path: Path) -> None:
    one = cell()
    result = record_failure(tmp_path, one, "why")
    assert (result.status, result.reason) == ("failed", "why")
    record = store.read_record(tmp_path / "cells" / one.id)
    assert record is not None
    assert record["columns"]["reason"] == "why"
    assert store.finished(tmp_path / "cells" / one.id) is None


def test_a_cell_that_is_made_is_kept_whatever_became_of_its_worker(tmp_path: Path) -> None:
    one = cell()
    columns = one.columns() | {"status": "ok", "top1": 50.0}
    store.commit(tmp_path / "cells" / one.id, store.cell_record(columns, one.config(), True), {})
    result = record_failure(tmp_path, one, "its worker died")
    assert (result.status, result.reason) == ("ok", None)
    record = store.finished(tmp_path / "cells" / one.id)
    assert record is not None
    assert record["columns"]["top1"] == 50.0
