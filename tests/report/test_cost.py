import pytest

from bench.report import cost
from tests.report.conftest import Cell, Out
from tests.report.test_tradeoff import lines, tidy


def scored(out: Out, criterion: str, sparsity: float, *seconds: float, **columns: object) -> list[Cell]:
    """Record a cell a seed whose scoring took so long."""
    cells = [out.pruned(criterion, sparsity, seed) for seed in range(len(seconds))]
    for cell, took in zip(cells, seconds, strict=True):
        facts = {"score_s": took, "score_samples": 1024, "score_batch": 32, "peak_memory_mb": 500.0}
        out.record(cell, 97.0, **facts | columns)
    return cells


@pytest.fixture
def dense(out: Out) -> list[Cell]:
    """Three seeds of 30 epochs that took 60, 66 and 90 seconds."""
    cells = out.controls(0, 1, 2)
    for cell in cells:
        out.record(cell, 98.0, train_s=(60.0, 66.0, 90.0)[cell["seed"]])
    return cells


def test_shared_scores_count_once(out: Out, dense: list[Cell]) -> None:
    shared = [*scored(out, "taylor", 0.5, 1.0, 2.0, 9.0), *scored(out, "taylor", 0.9, 1.0, 2.0, 9.0)]
    own = [*scored(out, "movement", 0.5, 1.0, 2.0, 4.0), *scored(out, "movement", 0.9, 3.0, 5.0, 6.0)]
    out.plan(*dense, *shared, *own)
    files = cost.files(out.results())
    frame = tidy(files, "cost").set_index("row")
    assert frame["measured"].to_dict() == {"taylor": 3, "movement": 6}
    assert frame["score_s"].to_dict() == {"taylor": 2.0, "movement": 3.5}
    assert frame.loc["taylor", ["score_s_low", "score_s_high", "cells"]].tolist() == [1, 9, 6]
    # An epoch of the median dense training takes 66 / 30 seconds.
    assert frame.loc["taylor", "epochs"] == pytest.approx(2 / 2.2)
    assert lines(files, "cost")[1] == ["taylor", "1024", "32", "3", "2.00 (1.00 to 9.00)", "0.91"]
    assert "peak MB" not in files["cost.md"].decode(), "on a CPU it is the worker's history"
    assert "cpu A CPU, threads 1, torch 2.11.0" in files["cost.md"].decode()


def test_machines_share_no_row_and_no_epoch(out: Out, dense: list[Cell]) -> None:
    out.plan(
        *dense,
        *scored(out, "taylor", 0.5, 1.0, 1.0, 1.0),
        *scored(out, "taylor", 0.9, 8.0, 8.5, 9.0, cpu="B CPU"),
        *scored(out, "snip", 0.9, 2.0, 2.0, 2.0),
    )
    files = cost.files(out.results())
    rows = {row[0]: row[3:6] for row in lines(files, "cost")[1:]}
    assert rows["taylor (cpu=A CPU)"] == ["3", "1.00 (1.00 to 1.00)", "0.45"]
    assert rows["taylor (cpu=B CPU)"] == ["3", "8.50 (8.00 to 9.00)", ""]
    assert rows["snip"] == ["3", "2.00 (2.00 to 2.00)", "0.91"]
    assert "made on different machines: cpu (A CPU; B CPU)" in files["cost.md"].decode()
    assert "cpu A CPU," not in files["cost.md"].decode()


def test_what_is_missing_or_failed_says_so(out: Out, dense: list[Cell]) -> None:
    failed, partly = [out.pruned("grasp", 0.9, seed) for seed in range(3)], scored(out, "snip", 0.9, 2.0)
    out.record(failed[0])
    out.plan(*dense, *partly, out.pruned("snip", 0.9, 1), out.pruned("obd", 0.9, 0), *failed)
    rows = {row[0]: row[3:6] for row in lines(cost.files(out.results()), "cost")[1:]}
    assert rows["snip"] == ["1", "2.00", "0.91"]
    assert rows["obd"] == ["0", "missing", ""]
    assert rows["grasp"] == ["0", "1 failed, 2 missing", ""]


def test_without_times_there_is_no_table(out: Out) -> None:
    out.plan(*out.dense(98.0), *out.seeds("taylor", 0.9, 97.0))
    assert cost.files(out.results()) == {}


def test_memory_is_told_of_gpus_and_columns_that_say_nothing_are_left_out(out: Out) -> None:
    cell = out.pruned("taylor", 0.9, 0, device="cuda")
    out.record(cell, 97.0, score_s=1.0, score_samples=1024, score_batch=32, peak_memory_mb=512.4)
    out.plan(cell)
    files = cost.files(out.results())
    assert lines(files, "cost")[0] == ["criterion", "samples", "batch", "measured", "seconds", "peak MB"]
    assert lines(files, "cost")[1][-1] == "512"
    assert "- peak MB:" in files["cost.md"].decode()
    assert "- epochs:" not in files["cost.md"].decode()
