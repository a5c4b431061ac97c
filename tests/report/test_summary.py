import math
from statistics import mean, stdev

import pandas as pd
import pytest

from bench.report.panels import panels
from bench.report.summary import by_target, ratio, removed, significant
from tests.report.conftest import Out


def table(out: Out) -> pd.DataFrame:
    """The table of the only panel."""
    (panel,) = panels(out.results())
    return panel.table


def test_mean_and_sample_deviation_over_seeds(out: Out) -> None:
    top1 = (97.0, 96.2, 98.1)
    out.plan(*out.seeds("taylor", 0.9, *top1))
    row = table(out).iloc[0]
    assert row["top1"] == pytest.approx(mean(top1))
    assert row["top1_std"] == pytest.approx(stdev(top1))
    assert row["top1_pruned"] == 50.0
    assert row["shown"] == "97.1 ± 1.0"
    assert (row["n"], row["n_planned"], row["column"]) == (3, 3, "90 %")


def test_one_seed_has_no_spread(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 97.04))
    row = table(out).iloc[0]
    assert row["shown"] == "97.0"
    assert math.isnan(row["top1_std"])


def test_what_is_missing_or_failed_is_shown(out: Out) -> None:
    some, one = out.seeds("taylor", 0.5, 97.0, None, 97.4), out.seeds("taylor", 0.7, 97.0, None, None)
    none, failed = (out.seeds("taylor", sparsity, None, None, None) for sparsity in (0.8, 0.9))
    mixed = out.seeds("taylor", 0.95, None, None, None)
    out.plan(*some, *one, *none, *failed, *mixed)
    for cell in (*failed, mixed[0]):
        out.record(cell)
    shown = table(out).set_index("column")["shown"]
    assert shown.to_dict() == {
        "50 %": "97.2 ± 0.3 (2 of 3)",
        "70 %": "97.0 (1 of 3)",
        "80 %": "missing",
        "90 %": "failed",
        "95 %": "1 failed, 2 missing",
    }


def test_numbers_of_a_failed_cell_do_not_count(out: Out) -> None:
    cells = out.seeds("taylor", 0.9, 97.0, None)
    out.plan(*cells)
    out.record(cells[1], top1=10.0, status="failed", reason="out of memory")
    row = table(out).iloc[0]
    assert (row["top1"], row["n"], row["failed"]) == (97.0, 1, 1)


def test_the_best_of_a_column_is_judged_as_it_is_shown(out: Out) -> None:
    dense = out.dense(99.0, 99.0)
    cells = [
        *out.seeds("taylor", 0.5, 97.11, 97.11),
        *out.seeds("snip", 0.5, 97.14, 97.14),
        *out.seeds("grasp", 0.5, 97.04, 97.04),
        *out.seeds("taylor", 0.9, 90.0, 90.0),
        *out.seeds("snip", 0.9, 90.2, 90.2),
        *out.seeds("grasp", 0.9, 99.0, None),
    ]
    out.plan(*dense, *cells)
    best = table(out).query("best")[["row", "column"]]
    assert sorted(map(tuple, best.to_numpy())) == [("snip", "50 %"), ("snip", "90 %"), ("taylor", "50 %")]


def test_one_criterion_alone_is_no_best(out: Out) -> None:
    out.plan(*out.dense(98.0), *out.seeds("taylor", 0.9, 97.0))
    assert not table(out)["best"].any()


def test_controls_come_first_then_the_best_mean_and_gaps_last(out: Out) -> None:
    out.plan(
        *out.seeds("random", 0.5, 60.0),
        *out.seeds("random", 0.9, 40.0),
        *out.seeds("snip", 0.5, 99.0),
        *out.seeds("snip", 0.9, None),
        *out.seeds("taylor", 0.5, 80.0),
        *out.seeds("taylor", 0.9, 70.0),
        *out.dense(50.0, longer=99.0),
    )
    assert list(table(out)["row"].unique()) == ["dense", "dense_longer", "taylor", "random", "snip"]


def test_a_schedule_that_stops_by_itself_has_a_column_of_its_own(out: Out) -> None:
    for criterion, reached in (("taylor", (0.9, 0.92)), ("snip", (0.8, 0.8))):
        for seed in range(2):
            out.record(out.pruned(criterion, None, seed), 97.0 + seed, sparsity=reached[seed], epochs_total=35 + seed)
    out.plan(*(out.pruned(criterion, None, seed) for criterion in ("taylor", "snip") for seed in range(2)))
    rows = table(out).set_index("row")
    assert list(rows["column"]) == ["converged", "converged"]
    assert rows.loc["taylor", "shown"] == "97.5 ± 0.7 at 91.0 %"
    assert rows.loc["snip", "shown"] == "97.5 ± 0.7 at 80.0 %"
    assert rows.loc["taylor", "epochs_total"] == 35.5
    assert not rows["best"].any()


@pytest.mark.parametrize(
    ("kinds", "heading", "subject"),
    [
        ([None], "sparsity", "by target sparsity"),
        ([None, "weights"], "sparsity", "by target sparsity"),
        (["flops", "flops"], "FLOPs removed", "by target share of FLOPs removed"),
        (
            ["weights", "filters"],
            "sparsity or filters removed",
            "by target sparsity or share of filters removed",
        ),
    ],
)
def test_targets_are_named_by_what_they_are_shares_of(kinds: list[str | None], heading: str, subject: str) -> None:
    cells = pd.DataFrame({"target_kind": kinds})
    assert (removed(cells), by_target(cells)) == (heading, subject)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.951, "0.95"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1034.6, "1035"),
        (math.inf, "∞"),
        (math.nan, ""),
    ],
)
def test_ratios_have_three_digits(value: float, text: str) -> None:
    assert ratio(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001862, "0.00186"),
        (0.14, "0.140"),
        (12.34, "12.3"),
        (1234.4, "1234"),
        (0.0, "0"),
        (100.0, "100"),
        (math.nan, ""),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert significant(value) == text
