import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UserError
from bench.store import COLUMNS, RECORD, CorruptError, load, with_details
from tests.report.conftest import Out


def test_a_row_for_every_cell_of_the_plan_in_its_order(out: Out) -> None:
    done, broken, missing = (out.pruned("taylor", 0.9, seed) for seed in range(3))
    out.plan(missing, done, broken)
    out.record(done, 97.0)
    out.record(broken)
    frame = out.results().frame
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["cell"]) == [missing["cell"], done["cell"], broken["cell"]]
    assert list(frame["status"]) == ["missing", "ok", "failed"]
    assert list(frame["seed"]) == [2, 0, 1]
    assert frame["top1"].isna().tolist() == [True, False, True]
    assert frame.loc[1, "top1"] == 97.0
    assert frame.loc[2, "reason"] == "the loss is not finite"
    assert set(frame["criterion"]) == {"taylor"}


def test_a_plan_without_any_record_is_all_missing(out: Out) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0))
    assert list(out.results().frame["status"]) == ["missing"] * 3


def test_records_outside_the_plan_are_counted_and_left_out(out: Out) -> None:
    cells = out.seeds("taylor", 0.9, 97.0)
    out.seeds("taylor", 0.5, 1.0, 2.0)
    out.seeds("grasp", 0.9, 3.0)
    out.plan(*cells)
    results = out.results()
    assert results.outside == {"grasp": 1, "taylor": 2}
    assert list(results.frame["top1"]) == [97.0]


def test_the_last_plan_of_the_experiment_that_is_named(out: Out) -> None:
    out.plan(out.pruned("snip", 0.9, 0), experiment="first", written="2026-01-02")
    out.plan(out.pruned("taylor", 0.9, 0), experiment="second", written="2026-01-03")
    assert list(out.results().frame["criterion"]) == ["taylor"]
    assert list(out.results("first").frame["criterion"]) == ["snip"]
    with pytest.raises(UserError, match="no plan of experiment 'third'"):
        out.results("third")


def test_epochs_that_the_schedule_decided_come_from_the_record(out: Out) -> None:
    cell = out.pruned("taylor", None, 0)
    out.plan(cell)
    out.record(cell, 97.0, epochs_total=34.5)
    assert list(out.results().frame["epochs_total"]) == [34.5]


def test_a_published_folder_gives_the_same_frame(out: Out, tmp_path: Path) -> None:
    cells = [*out.dense(98.0, 97.0), *out.seeds("taylor", 0.9, 97.0, None)]
    out.plan(*cells)
    published = Out(tmp_path / "published")
    published.root.mkdir()
    records = load(out.root)
    with_details(records.frame, records.details).to_parquet(published.root / "records.parquet")
    plan = json.loads(next((out.root / "plans").glob("*.json")).read_text())
    plan["records_sha256"] = hashlib.sha256((published.root / "records.parquet").read_bytes()).hexdigest()
    (published.root / "plan.json").write_text(json.dumps(plan))
    pd.testing.assert_frame_equal(out.results().frame, published.results().frame)


@pytest.mark.parametrize(("column", "values"), [("cpu", ["A", "B"]), ("gpu", [None, "H"]), ("torch", ["2.10", "2.11"])])
def test_a_mean_over_two_environments_is_refused(out: Out, column: str, values: list[str]) -> None:
    cells = [out.pruned("taylor", 0.9, seed) for seed in range(2)]
    out.plan(*cells)
    for cell, value in zip(cells, values, strict=True):
        out.record(cell, 97.0, **{column: value})
    with pytest.raises(UserError) as caught:
        out.results()
    message = str(caught.value)
    assert f"digits digits_net taylor at sparsity 0.9 would mix {column}" in message
    assert all(value is None or repr(value) in message for value in values)
    assert "(seed 0)" in message
    assert "(seed 1)" in message


def test_a_failed_cell_has_no_say_in_the_environment(out: Out) -> None:
    cells = [out.pruned("taylor", 0.9, seed) for seed in range(2)]
    out.plan(*cells)
    out.record(cells[0], 97.0, cpu="A")
    out.record(cells[1], cpu="B")
    assert list(out.results().frame["status"]) == ["ok", "failed"]


def test_two_recipes_of_one_name_are_refused(out: Out) -> None:
    cells = [out.pruned("taylor", 0.9, seed, recipe_hash=str(seed)) for seed in range(2)]
    out.plan(*cells)
    for cell in cells:
        out.record(cell, 97.0)
    with pytest.raises(UserError, match=r"would mix recipe_hash '0' \(seed 0\) and '1' \(seed 1\)"):
        out.results()


def test_two_cells_of_one_configuration_and_seed_are_refused(out: Out) -> None:
    out.plan(out.pruned("taylor", 0.9, 3), out.pruned("taylor", 0.9, 3, threads=2, numerics=2))
    with pytest.raises(UserError) as caught:
        out.results()
    assert "taylor at sparsity 0.9, seed 3" in str(caught.value)
    assert "threads 1 and 2" in str(caught.value)
    assert "numerics 1 and 2" in str(caught.value)


def test_nulls_are_equal_where_cells_are_compared(out: Out) -> None:
    out.plan(out.at_init("snip", 0.9, 3), out.at_init("snip", 0.9, 3, threads=2))
    with pytest.raises(UserError, match="two cells of the plan"):
        out.results()


def test_two_records_of_one_cell_are_refused(out: Out) -> None:
    (cell,) = out.seeds("taylor", 0.9, 97.0)
    out.plan(cell)
    folder = out.root / "cells" / cell["cell"]
    folder.with_name("copy").mkdir()
    (folder.with_name("copy") / RECORD).write_bytes((folder / RECORD).read_bytes())
    with pytest.raises(UserError, match="two records of cell"):
        out.results()


def test_a_corrupt_record_is_named(out: Out) -> None:
    (cell,) = out.seeds("taylor", 0.9, 97.0)
    out.plan(cell)
    path = out.root / "cells" / cell["cell"] / RECORD
    record = json.loads(path.read_text())
    record["columns"]["top1"] = 99.0
    path.write_text(json.dumps(record))
    with pytest.raises(CorruptError, match=cell["cell"]):
        out.results()


def test_report_imports_no_torch_and_only_the_figure_matplotlib() -> None:
    code = """
import sys, bench.report.frame, bench.report.panels, bench.report.tables
assert "matplotlib" not in sys.modules
import bench.report.write
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
