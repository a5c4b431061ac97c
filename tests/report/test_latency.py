"""Speed-ups beside accuracy: the decision under noise and drift, the rows, the notes, and hostile names."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.report import latency
from bench.report.latency import speed_up
from tests.report.conftest import Cell, Out

TURNS = 31


def noisy(chance: np.random.Generator, repeats: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Two series [repeats, TURNS]: a drift that both share, heavy-tailed noise, turns that other work doubled."""
    drift = np.exp(np.cumsum(chance.normal(0, 0.02, (repeats, TURNS)), axis=1))

    def own() -> np.ndarray:
        tail = np.exp(0.01 * chance.standard_t(2, (repeats, TURNS)))
        return 1e-4 * drift * tail * np.where(chance.random((repeats, TURNS)) < 0.2, 2.0, 1.0)

    return own() * gain, own()


def test_the_same_network_twice_shows_a_difference_in_at_most_5_of_100() -> None:
    pairs = zip(*noisy(np.random.default_rng(0), 500), strict=True)
    assert np.mean([speed_up(one, other).differs for one, other in pairs]) < 0.02
    slower = zip(*noisy(np.random.default_rng(1), 100, gain=1.1), strict=True)
    assert np.mean([speed_up(one, other).differs for one, other in slower]) > 0.8


def test_the_interval_is_that_of_order_statistics() -> None:
    ratios = np.sort(np.random.default_rng(3).lognormal(0.3, 0.1, TURNS))
    gain = speed_up(ratios, np.ones(TURNS))
    outside = next(k for k in range(TURNS) if 2 * stats.binom.cdf(k, TURNS, 0.5) > 0.01)
    assert (gain.low, gain.high) == (ratios[outside - 1], ratios[-outside])
    assert gain.ratio == np.median(ratios)
    assert gain.differs
    few = speed_up([1.0, 1.1], [2.0, 2.0])
    assert np.isnan(few.low)
    assert not few.differs


def timed(cell: Cell, variant: str, seconds: float | None, **columns: Any) -> dict[str, Any]:
    """A row of the file of times; the turns are spread by 1 %, iqr_s is `spread` of the median."""
    spread = columns.pop("spread", 0.01)
    turns = None if seconds is None else [seconds * (1 + 0.01 * (n % 3 - 1)) for n in range(TURNS)]
    row = {
        "cell": cell["cell"], "variant": variant, "device": "cpu", "cpu": "A CPU", "gpu": None, "cores": 2,
        "torch": "2.11.0", "onnxruntime": None, "engine": "eager", "dtype": "fp32", "threads": 1, "batch": 1,
        "turns_s": turns, "median_s": seconds, "iqr_s": seconds and spread * seconds, "reason": None, "load": 0.5,
        "clock_mhz": 3000, "started": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return row | columns


SIZES = {"params_dense": 2000, "params": 500, "flops_dense": 9000.0, "flops": 3000.0}


def filters(out: Out, criterion: str = "taylor") -> list[Cell]:
    cells = [out.pruned(criterion, 0.5, seed, granularity="filter") for seed in (0, 1)]
    for cell, top1 in zip(cells, (97.0, 96.0), strict=True):
        out.record(cell, top1, **SIZES)
    out.plan(*out.dense(99.0, 98.0), *cells)
    return cells


def table(files: dict[str, bytes]) -> list[list[str]]:
    lines = [line for line in files["latency.md"].decode().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_accuracy_sizes_and_speed_up_stand_in_one_row(out: Out) -> None:
    first, _ = filters(out)
    rows = [timed(first, v, s) for v, s in (("dense", 3e-3), ("masked", 3e-3), ("compacted", 2e-3))]
    rows += [timed(first, v, s, batch=32) for v, s in (("dense", 9e-3), ("masked", 9e-3))]
    rows += [timed(first, "compacted", 6e-3, batch=32, spread=0.11), timed(first, "2:4", None, reason="no *kernel*")]
    results = out.results()
    files = latency.files(results, rows)
    assert sorted(files) == ["latency.csv", "latency.html", "latency.md", "latency.tex"]
    assert files == latency.files(results, rows)
    header, _, dense, pruned = table(files)
    assert header == ["criterion", "sparsity", "top-1 (%)", "params ×", "FLOPs ×", "batch 1", "batch 32"]
    assert dense == ["dense", "", "98.5 ± 0.7", "1.00", "1.00", "3.00 ms", "9.00 ms"]
    assert pruned[:5] == ["taylor", "50 %", "96.5 ± 0.7", "4.00", "3.00"]
    assert pruned[5:] == ["1.50 (1.50–1.50)", "1.50 (1.50–1.50)!"]
    text = files["latency.md"].decode()
    assert "A CPU, 2 cores, torch 2.11.0, eager, fp32, 1 thread" in text
    assert "1.00 times as fast as dense, the median of 2 comparisons, of which 0 show a difference" in text
    assert r"Not timed: 2:4: no \*kernel\*." in text
    assert "Timed on the compacted networks of seed 0, 2026-01-01; clock 3000 MHz; mean load 0.5." in text
    assert "- top-1: mean ± sample standard deviation over seeds." in text

    tidy = pd.read_csv(io.BytesIO(files["latency.csv"])).set_index(["variant", "batch"])
    assert tidy.loc[("compacted", 1), "speed_up"] == pytest.approx(1.5)
    assert tidy.loc[("compacted", 1), ["top1", "n", "rounds"]].tolist() == [96.5, 2, TURNS]
    assert tidy["flagged"].to_dict() == dict.fromkeys(tidy.index, False) | {("compacted", 32): True}
    assert bool(tidy.loc[("compacted", 1), "differs"])
    assert not bool(tidy.loc[("masked", 1), "differs"])


def test_machines_share_no_table_and_settings_without_times_no_column(out: Out) -> None:
    first, _ = filters(out)
    here = [timed(first, v, s) for v, s in (("dense", 2e-3), ("compacted", 1e-3))]
    there = [row | {"cpu": "Another"} for row in here]
    onnx = [timed(first, v, None, engine="onnx", reason="absent") for v in ("dense", "masked")]
    report = latency.report(out.results(), [*here, *there, *onnx])
    assert [len(one.columns) for one in report.tables] == [6, 6]
    assert [one.title for one in report.tables] == [
        f"{cpu}, 2 cores, torch 2.11.0, eager, fp32, 1 thread" for cpu in ("A CPU", "Another")
    ]
    assert any("dense, masked with onnx: absent" in note for note in report.tables[0].notes)


@pytest.mark.parametrize(("load", "busy"), [(1.4, False), (1.6, True)])
def test_a_load_above_the_timed_threads_is_other_work(out: Out, load: float, busy: bool) -> None:
    first, _ = filters(out)
    rows = [timed(first, v, s, load=load) for v, s in (("dense", 2e-3), ("compacted", 1e-3))]
    (table,) = latency.report(out.results(), rows).tables
    (note,) = [note for note in table.notes if note.startswith("Timed on")]
    assert note.endswith(f"mean load {load}{': other work ran beside it' * busy}.")


def test_targets_of_filters_are_no_sparsity_and_one_comparison_shows(out: Out) -> None:
    cell = out.pruned("taylor", 0.5, 0, granularity="filter", target_kind="filters")
    out.record(cell, 97.0, **SIZES | {"sparsity": 0.7})
    out.plan(*out.dense(99.0), cell)
    text = latency.files(out.results(), [timed(cell, v, s) for v, s in (("dense", 2e-3), ("masked", 1e-3))])
    assert "| criterion | filters removed |" in text["latency.md"].decode()
    assert "weights removed: 70 % at 50 %" in text["latency.md"].decode()
    assert "the median of 1 comparison, of which 1 shows a difference" in text["latency.md"].decode()


def test_rows_of_several_forms_name_theirs(out: Out) -> None:
    cells = [out.pruned("taylor", target, 0, granularity="filter") for target in (0.5, 0.9)]
    for cell in cells:
        out.record(cell, 97.0, **SIZES)
    out.plan(*out.dense(99.0), *cells)
    rows = [timed(cells[0], v, s) for v, s in (("dense", 2e-3), ("compacted", 1e-3))]
    rows += [timed(cells[1], v, s) for v, s in (("dense", 2e-3), ("masked", 1e-3))]
    (one,) = latency.report(out.results(), rows).tables
    assert one.column(2) == ["dense", "compacted", "masked"]


@pytest.mark.parametrize(("column", "values"), [("model", ("small", "large")), ("recipe", ("short", "long"))])
def test_networks_of_one_panel_have_each_their_own_dense_row(out: Out, column: str, values: tuple[str, str]) -> None:
    cells: list[Cell] = []
    times = []
    for value, top1, seconds in zip(values, (99.0, 90.0), (1e-3, 100e-3), strict=True):
        cell = out.pruned("taylor", 0.5, 0, granularity="filter", **{column: value})
        out.record(cell, top1 - 2, **SIZES)
        controls = out.controls(0, **{column: value})
        for control in controls:
            out.record(control, top1)
        cells += [*controls, cell]
        times += [timed(cell, v, s) for v, s in (("dense", seconds), ("compacted", seconds / 2))]
    out.plan(*cells, vary=[column])
    times += [timed(cells[-1], v, 0.1, batch=32) for v in ("dense", "compacted")]
    (one,) = latency.report(out.results(), times).tables
    small, large = values
    assert [(row.cells[0], row.cells[2], *row.cells[-2:]) for row in one.rows] == [
        (f"dense ({column}={small})", "99.0", "1.00 ms", ""),
        (f"dense ({column}={large})", "90.0", "100 ms", "100 ms"),
        (f"taylor ({column}={small})", "97.0", "2.00 (2.00–2.00)", ""),
        (f"taylor ({column}={large})", "88.0", "2.00 (2.00–2.00)", "1.00 (1.00–1.00)"),
    ]
    assert [row.rule for row in one.rows] == [False, False, True, True]


@pytest.mark.parametrize(
    ("spreads", "mark"), [((0.01, 0.5), "!"), ((0.01, 0.18), ""), ((0.09, 0.09, 0.9), ""), ((0.09, 0.11, 0.11), "!")]
)
def test_the_dense_row_is_flagged_by_the_median_spread_of_its_races(
    out: Out, spreads: tuple[float, ...], mark: str
) -> None:
    cells = [out.pruned(name, 0.5, 0, granularity="filter") for name in ("taylor", "fpgm", "snip")]
    for cell in cells:
        out.record(cell, 97.0, **SIZES)
    out.plan(*out.dense(99.0), *cells)
    times = [timed(cell, "dense", 2e-3, spread=spread) for cell, spread in zip(cells, spreads, strict=False)]
    times += [timed(cell, "compacted", 1e-3) for cell in cells[: len(spreads)]]
    # A race that nobody finished has no spread.
    times += [timed(cells[0], "dense", None, batch=32, reason="broken"), timed(cells[0], "masked", 1e-3, batch=32)]
    (one,) = latency.report(out.results(), times).tables
    assert one.rows[0].cells[-2:] == (f"2.00 ms{mark}", "–")


def test_what_has_no_row_is_named_with_its_reason(out: Out) -> None:
    seeds = {"granularity": "filter"}
    cells = [out.pruned("taylor", target, 0, **seeds) for target in (0.5, 0.9, 0.98)]
    other = out.pruned("fpgm", 0.5, 0, scope="layer", **seeds)
    for cell in (*cells, other):
        out.record(cell, 97.0, **SIZES)
    failed = [out.pruned("snip", 0.9, seed, **seeds) for seed in (0, 1)]
    out.record(failed[0])
    untimed = out.seeds("random", 0.5, 90.0, None, **seeds)
    missing = [out.pruned(name, 0.9, 0, **seeds) for name in ("random", "obd")]
    out.plan(*out.dense(99.0), *cells, *failed, *untimed, *missing, other)
    times = [timed(cells[0], v, s) for v, s in (("dense", 2e-3), ("compacted", 1e-3))]
    report = latency.report(out.results(), times)
    (one,) = report.tables
    assert one.column(0) == ["dense", "taylor"]
    assert {*one.notes[-3:]} == {
        "Not timed: taylor at 90 % and 98 %, random at 50 %.",
        "Missing: random at 90 %, obd.",
        "1 failed, 1 missing: snip.",
    }
    assert report.legend[-1] == "Nothing was timed of: scope=layer."
    times += [timed(cell, v, 1e-3) for cell in (*cells[1:], untimed[0]) for v in ("dense", "compacted")]
    (one,) = latency.report(out.results(), times).tables
    assert not any(note.startswith("Not timed") for note in one.notes)
    assert "Missing: random at 90 %, obd." in one.notes


def test_without_an_interval_the_speed_up_stands_alone() -> None:
    assert str(speed_up([1.0, 1.1], [2.0, 2.2])) == "0.50"


def test_what_was_not_timed_or_lies_outside_the_plan_makes_no_file(out: Out) -> None:
    cells = filters(out)
    stranger = timed(out.pruned("snip", 0.9, 0), "dense", 1e-3)
    assert latency.files(out.results(), []) == {}
    assert latency.files(out.results(), [stranger]) == {}
    assert latency.files(out.results(), [timed(cells[0], "dense", None, reason="broken")]) == {}


def test_hostile_names_are_escaped(out: Out) -> None:
    first, _ = filters(out, "a|b_%&")
    files = latency.files(out.results(), [timed(first, v, 1e-3, cpu="C_P|U <b>") for v in ("dense", "compacted")])
    assert r"a\|b\_%&" in files["latency.md"].decode()
    assert r"a\textbar{}b\_\%\&" in files["latency.tex"].decode()
    assert "U <b>" not in files["latency.html"].decode()
