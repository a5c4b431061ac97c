"""Verdicts against intervals and counts worked out by hand, and what too little data may not decide."""

import math
from typing import Any

import pandas as pd
import pytest

from bench.report import claims
from tests.report.conftest import Out, pruned

ABOVE = {
    "name": "b",
    "says": "taylor beats random",
    "first": {"criterion": "taylor"},
    "second": {"criterion": "random"},
    "relation": "above",
    "margin": None,
    "measure": "accuracy",
}
EQUAL = ABOVE | {"relation": "equal", "margin": 0.5}


def verdict(out: Out, claim: dict[str, Any], first: list[float | None], second: list[float | None]) -> "pd.Series[Any]":
    cells = [*out.seeds("taylor", 0.9, *first), *out.seeds("random", 0.9, *second)]
    out.plan(*cells, claims=[claim])
    (row,) = [row for _, row in claims.judged(out.results()).iterrows()]
    return row


def test_a_difference_is_judged_by_its_t_interval(out: Out) -> None:
    row = verdict(out, ABOVE, [91.0, 92.0, 93.0], [90.0, 90.0, 90.0])
    # mean 2, standard deviation 1, n 3: 2 +- t(.975, 2) / sqrt(3) with t = 4.302653
    assert (row["low"], row["high"]) == pytest.approx((2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert (row["verdict"], row["ahead"], row["pairs"]) == ("not shown", 3, 3)


@pytest.mark.parametrize(
    ("first", "expected"),
    [([92.0, 92.1, 92.2], "holds"), ([88.0, 88.1, 88.2], "does not hold"), ([89.0, 90.0, 91.5], "not shown")],
)
def test_a_claim_holds_fails_or_is_open(out: Out, first: list[float | None], expected: str) -> None:
    assert verdict(out, ABOVE, first, [90.0, 90.0, 90.0])["verdict"] == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([90.0, 90.1, 89.9, 90.05], "holds"),
        # 90 % inside the margin, 95 % not: two one-sided tests at 5 % are what equivalence asks.
        ([90.1, 90.3, 89.8, 90.3, 90.2, 90.65], "holds"),
        ([90.0, 91.0, 89.0, 90.5], "not shown"),
        ([92.0, 92.1, 91.9, 92.0], "does not hold"),
    ],
)
def test_equivalence_takes_two_one_sided_tests(out: Out, first: list[float | None], expected: str) -> None:
    row = verdict(out, EQUAL, first, [90.0] * len(first))
    assert row["verdict"] == expected


@pytest.mark.parametrize(
    ("claim", "difference", "expected"),
    [
        (EQUAL, 0, "holds"),
        (EQUAL, 1, "does not hold"),
        (ABOVE, 1, "holds"),
        (ABOVE, -1, "does not hold"),
        (ABOVE, 0, "not shown"),
    ],
)
def test_differences_without_spread_are_an_interval_of_one_value(
    out: Out, claim: dict[str, Any], difference: float, expected: str
) -> None:
    second = [90.0, 91.0, 93.5]
    row = verdict(out, claim, [value + difference for value in second], [*second])
    assert [row[end] for end in ("low", "high", "low_90", "high_90")] == [difference] * 4
    assert (row["verdict"], row["reason"]) == (expected, "all differences are equal")
    assert f"{expected} (all differences are equal)" in claims.files(out.results())["claims.md"].decode()


def test_too_few_seeds_decide_nothing(out: Out) -> None:
    row = verdict(out, ABOVE, [92.0, 92.5, None], [90.0, 90.0, 90.0])
    assert (row["verdict"], row["reason"], row["pairs"], row["planned"]) == ("not shown", "too few seeds", 2, 3)


def _collapse(out: Out, criterion: str, empty: dict[int, list[int]]) -> list[dict[str, Any]]:
    """Record cells at 50, 70 and 90 %, with so many empty layers each, of every seed."""
    cells = []
    for seed, counts in empty.items():
        for sparsity, count in zip((0.5, 0.7, 0.9), counts, strict=True):
            cells.append(pruned(criterion, sparsity, seed))
            out.record(cells[-1], 50.0, collapsed_layers=count)
    return cells


def test_the_first_empty_layer_is_counted_by_seeds(out: Out) -> None:
    early, never = {seed: [0, 1, 2] for seed in range(6)}, {seed: [0, 0, seed % 2] for seed in range(6)}
    cells = [*_collapse(out, "taylor", early), *_collapse(out, "random", never)]
    claim = ABOVE | {"relation": "below", "measure": "first_empty"}
    out.plan(*cells, claims=[claim])
    row = claims.judged(out.results()).iloc[0]
    # Six of six: the two-sided sign test gives 2 / 2^6 = .031.
    assert (row["verdict"], row["behind"], row["first"]) == ("holds", 6, pytest.approx(0.7))
    assert row["p"] == pytest.approx(2 / 2**6)
    assert math.isinf(row["second"])  # three of six seeds never empty
    assert b"beyond all targets" in claims.files(out.results())["claims.md"]


def test_empty_layers_are_compared_at_one_target(out: Out) -> None:
    cells = [*_collapse(out, "taylor", {s: [0, 1, 2] for s in range(5)})]
    cells += _collapse(out, "random", {s: [0, 0, 1] for s in range(5)})
    at = {"sparsity_target": 0.9}
    claim = ABOVE | {"measure": "empty_layers", "first": ABOVE["first"] | at, "second": ABOVE["second"] | at}  # type: ignore[operator]
    out.plan(*cells, claims=[claim])
    row = claims.judged(out.results()).iloc[0]
    # Five of five: .0625, not below 5 %.
    assert (row["verdict"], row["ahead"], row["first"], row["second"]) == ("not shown", 5, 2, 1)


def test_a_claim_that_names_several_cells_a_seed_shows_nothing(out: Out) -> None:
    cells = [*_collapse(out, "taylor", {s: [0, 1, 2] for s in range(5)})]
    cells += _collapse(out, "random", {s: [0, 0, 1] for s in range(5)})
    out.plan(*cells, claims=[ABOVE])
    row = claims.judged(out.results()).iloc[0]
    assert (row["verdict"], row["reason"]) == ("not shown", "a side names none or several cells")


def test_cells_of_two_machines_are_no_pair(out: Out) -> None:
    cells = [pruned(name, 0.9, seed) for name in ("taylor", "random") for seed in range(4)]
    for cell in cells:
        out.record(cell, 90.0 + cell["seed"] * (cell["criterion"] == "taylor"), cpu=cell["criterion"])
    out.plan(*cells, claims=[ABOVE])
    row = claims.judged(out.results()).iloc[0]
    assert (row["verdict"], row["pairs"], row["planned"]) == ("not shown", 0, 4)
    assert "one machine" in row["reason"]


def test_a_claim_about_nothing_that_was_run_says_so(out: Out) -> None:
    out.plan(*out.seeds("magnitude", 0.9, 90.0, 91.0), claims=[ABOVE])
    assert claims.judged(out.results()).iloc[0]["reason"] == "a side names none or several cells"


def test_a_plan_without_claims_has_no_file(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 90.0))
    assert claims.files(out.results()) == {}


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([88.0, 88.1, 87.9, 88.0], "does not hold"),
        ([89.2, 89.4, 89.3, 89.5], "not shown"),
        ([89.9, 89.7, 90.2, 89.7, 89.8, 89.35], "holds"),
    ],
)
def test_equivalence_looks_to_both_sides(out: Out, first: list[float | None], expected: str) -> None:
    assert verdict(out, EQUAL, first, [90.0] * len(first))["verdict"] == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [([88.0, 88.1, 88.2], "holds"), ([92.0, 92.1, 92.2], "does not hold"), ([89.0, 90.0, 91.5], "not shown")],
)
def test_below_is_above_seen_from_the_other_side(out: Out, first: list[float | None], expected: str) -> None:
    assert verdict(out, ABOVE | {"relation": "below"}, first, [90.0, 90.0, 90.0])["verdict"] == expected


@pytest.mark.parametrize(("relation", "expected"), [("below", "holds"), ("above", "does not hold")])
@pytest.mark.parametrize("ties", [0, 3])
def test_a_count_may_speak_against_a_claim_and_ties_do_not_count(
    out: Out, relation: str, expected: str, ties: int
) -> None:
    told = 5 if ties else 6
    early = {seed: [0, 1, 2] for seed in range(told + ties)}
    late = {seed: [0, 1, 2] if seed >= told else [0, 0, 1] for seed in range(told + ties)}
    out.plan(
        *_collapse(out, "taylor", early),
        *_collapse(out, "random", late),
        claims=[ABOVE | {"relation": relation, "measure": "first_empty"}],
    )
    row = claims.judged(out.results()).iloc[0]
    assert (row["ahead"], row["behind"], row["p"]) == (0, told, pytest.approx(2 / 2**told))
    assert row["verdict"] == ("not shown" if ties else expected)


def test_a_seed_of_which_a_target_has_failed_has_no_first_empty_layer(out: Out) -> None:
    cells = [*_collapse(out, "taylor", {s: [0, 1, 2] for s in range(6)})]
    cells += _collapse(out, "random", {s: [0, 0, 1] for s in range(6)})
    out.record(cells[0])  # failed, where the layer may have emptied first
    out.plan(*cells, claims=[ABOVE | {"relation": "below", "measure": "first_empty"}])
    row = claims.judged(out.results()).iloc[0]
    assert (row["pairs"], row["planned"], row["behind"]) == (5, 6, 5)
