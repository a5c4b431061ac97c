"""Verdicts against intervals of scipy's own tests on the runs themselves; what too little data may not decide."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.errors import UserError
from bench.report import agreement, compare, oracle, published
from tests.report.conftest import Out

PAPER = {"source": "A 2020", "place": "table 1", "how": "table", "checked": "read"}
FIGURE = PAPER | {
    "criterion": "taylor",
    "measure": "top1",
    "relation": "",
    "versus": "",
    "value": "",
    "std": "",
    "n": "",
}
BELOW_RANDOM = FIGURE | {"relation": "below", "versus": "criterion=random"}
THEIRS = [93.0, 93.1, 93.2, 93.3, 93.9]


def rows(*given: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(given).fillna("")


def figure(value: float, *runs: float, **columns: str) -> dict[str, str]:
    """Return a published figure; runs: those of the paper, which it shows as their deviation and number."""
    spread = {"std": repr(float(np.std(runs, ddof=1))), "n": str(len(runs))} if runs else {}
    return FIGURE | {"value": repr(value)} | spread | columns


def judge(out: Out, ours: list[float | None], row: dict[str, str], *others: Any) -> "pd.Series[Any]":
    out.plan(*out.seeds("taylor", 0.9, *ours), *others)
    return agreement.compared(out.results(), rows(row)).iloc[0]


def test_both_spreads_give_welchs_interval(out: Out) -> None:
    ours: list[float | None] = [92.0, 92.9, 93.1]
    got = judge(out, ours, figure(float(np.mean(THEIRS)), *THEIRS))
    test = stats.ttest_ind(ours, THEIRS, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (got["low"], got["high"]) == pytest.approx((interval.low, interval.high))
    assert got["in_standard_errors"] == pytest.approx(test.statistic)
    assert (got["ours"], got["ours_n"], got["planned"]) == (pytest.approx(92.6666667), 3, 3)
    assert got["verdict"] == agreement.SAME


def test_a_figure_without_spread_is_exact(out: Out) -> None:
    ours: list[float | None] = [92.0, 92.1, 92.2]
    got = judge(out, ours, figure(93.0))
    interval = stats.ttest_1samp(ours, 93.0).confidence_interval(0.95)
    assert (got["low"], got["high"]) == pytest.approx((interval.low - 93.0, interval.high - 93.0))
    # 0.1 / sqrt(3)
    assert (got["standard_error"], got["verdict"]) == (pytest.approx(0.0577350), "differs")


@pytest.mark.parametrize(("value", "verdict"), [("93", agreement.SAME), ("93.0", "differs"), ("92.5", agreement.SAME)])
def test_what_is_published_was_rounded(out: Out, value: str, verdict: str) -> None:
    # Ours reaches up to 92.3 + 4.302653 x 0.1 / sqrt(3) = 92.548; 93 may have been 92.5, 93.0 no less than 92.95.
    assert judge(out, [92.2, 92.3, 92.4], FIGURE | {"value": value})["verdict"] == verdict


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        ([None, None, None], "3 missing"),
        ([93.0, None, None], "fewer than 3 seeds"),
        ([93.0, 93.0, 93.0], "neither side has a spread"),
    ],
)
def test_too_little_says_nothing(out: Out, ours: list[float | None], reason: str) -> None:
    got = judge(out, ours, figure(93.0))
    assert (got["verdict"], got["reason"]) == ("cannot be said", reason)


def test_a_figure_of_no_cell_says_so(out: Out) -> None:
    got = judge(out, [93.0], figure(93.0, criterion="snip"))
    assert (got["verdict"], got["reason"]) == ("cannot be said", "no such cell")


@pytest.mark.parametrize(
    ("relation", "taylor", "verdict"),
    [
        ("above", [92.0, 92.1, 92.2], "agrees"),
        ("above", [88.0, 88.1, 88.2], "differs"),
        ("above", [89.0, 90.0, 91.5], "cannot be said"),
        ("below", [88.0, 88.1, 88.2], "agrees"),
        ("not below", [89.9, 90.0, 90.1], "agrees"),
        ("not below", [88.0, 88.1, 88.2], "differs"),
        ("not below", [88.0, 90.0, 92.0], "cannot be said"),
        ("not above", [88.0, 88.1, 88.2], "agrees"),
        ("above", [92.0, None, None], "cannot be said"),
    ],
)
def test_directions_go_by_pairs_of_seeds(out: Out, relation: str, taylor: list[float | None], verdict: str) -> None:
    random = out.seeds("random", 0.9, 90.0, 90.0, 90.0)
    got = judge(out, taylor, BELOW_RANDOM | {"relation": relation}, *random)
    assert (got["kind"], got["verdict"]) == ("direction", verdict)


def test_a_direction_has_its_difference_in_standard_errors_of_pairs(out: Out) -> None:
    taylor, random = [92.0, 92.3, 92.9], [90.0, 90.2, 90.1]
    got = judge(out, [*taylor], BELOW_RANDOM | {"relation": "above"}, *out.seeds("random", 0.9, *random))
    differences = np.subtract(taylor, random)
    assert got["standard_error"] == pytest.approx(np.std(differences, ddof=1) / math.sqrt(3))
    assert got["in_standard_errors"] == pytest.approx(stats.ttest_rel(taylor, random).statistic)
    assert got["difference"] == pytest.approx(differences.mean())
    text = compare.files(out.results(), rows(BELOW_RANDOM | {"relation": "above"}))["compare.md"].decode()
    # 2.3 +- 4.302653 x .4359 / sqrt(3); one cell: no range.
    assert "| 92.40 |      +2.30 | +1.22 to +3.38 |    +9.1 |" in text


def test_equal_differences_are_judged_as_a_bound_of_equal_values_is(out: Out) -> None:
    random = out.seeds("random", 0.9, 90.0, 91.0, 93.0)
    got = judge(out, [90.0, 91.0, 93.0], BELOW_RANDOM | {"relation": "not below"}, *random)
    assert (got["low"], got["high"], got["verdict"]) == (0, 0, "agrees")
    assert (got["standard_error"], got["reason"]) == (0, "all differences are equal")
    assert math.isnan(got["in_standard_errors"])


def test_a_statement_of_several_cells_shows_from_where_to_where_they_lie(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.5, 92.0, 92.1, 92.2), *out.seeds("random", 0.5, 90.0, 90.0, 90.0)]
    cells += [*out.seeds("taylor", 0.9, 92.0, 92.1, 92.2), *out.seeds("random", 0.9, 94.0, 94.0, 94.0)]
    out.plan(*cells)
    text = compare.files(out.results(), rows(BELOW_RANDOM))["compare.md"].decode()
    # +-4.302653 x .1 / sqrt(3) = .2484 about +2.1 and -1.9; .1 / sqrt(3) = .0577.
    assert "| 92.10 | -1.90 to +2.10 | -2.15 to +2.35 | -32.9 to +36.4 |" in text


def test_a_direction_is_judged_at_each_sparsity(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.5, 92.0, 92.1, 92.2), *out.seeds("random", 0.5, 90.0, 90.0, 90.0)]
    cells += [*out.seeds("taylor", 0.9, 92.0, 92.1, 92.2), *out.seeds("random", 0.9, 94.0, 94.0, None)]
    out.plan(*cells, *out.dense(95.0, 95.0, 95.0))
    got = agreement.compared(out.results(), rows(BELOW_RANDOM))
    assert list(got["sparsity_target"]) == [0.5, 0.9]
    assert list(got["verdict"]) == ["differs", "cannot be said"]
    text = compare.files(out.results(), rows(BELOW_RANDOM))["compare.md"].decode()
    assert "**differs** 1 of 2 (at 50 %); **cannot be said** 1 of 2 (at 90 %; too few seeds)" in text


@pytest.mark.parametrize(
    ("relation", "value", "verdict"),
    [("not above", "0", "agrees"), ("above", "0", "cannot be said"), ("above", "0.5", "differs")],
)
def test_a_bound_holds_for_each_cell(out: Out, relation: str, value: str, verdict: str) -> None:
    got = judge(out, [90.0, 91.0, 92.0], FIGURE | {"measure": "collapsed_layers", "relation": relation, "value": value})
    assert (got["kind"], got["ours"], got["verdict"]) == ("bound", 0, verdict)


def test_a_bound_has_its_difference_in_standard_errors_of_our_mean(out: Out) -> None:
    got = judge(out, [90.0, 91.0, 92.0], FIGURE | {"relation": "above", "value": "90"})
    assert got["standard_error"] == pytest.approx(1 / math.sqrt(3))
    assert got["in_standard_errors"] == pytest.approx(stats.ttest_1samp([90.0, 91.0, 92.0], 90).statistic)


def test_orders_that_the_papers_own_errors_bear_out(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 92.0, 92.1, 92.2), *out.seeds("random", 0.9, 95.0, 95.1, 95.2))
    near = figure(94.99, 94.8, 94.9, 95.1, 95.2, criterion="random", place="table 2")
    far = figure(90.0, 89.9, 90.0, 90.1, criterion="random", place="table 2")
    ours = figure(95.0, 94.9, 95.0, 95.1)
    assert "order" not in set(agreement.compared(out.results(), rows(ours, near))["kind"])
    got = agreement.compared(out.results(), rows(ours, far)).iloc[-1]
    assert (got["kind"], got["difference"], got["verdict"]) == ("order", pytest.approx(-3.0), "differs")
    assert got["says"] == "criterion=taylor at 90 %: above criterion=random at 90 %"
    assert got["in_standard_errors"] == pytest.approx(-3 / math.sqrt(2 * 0.1**2 / 3))


def units(correlation: float, count: int) -> pd.DataFrame:
    """Return an oracle's units: of one criterion, whose scores are the squared changes in another order."""
    change = np.linspace(0.1, 1, count)
    score = change**2 * (1 if correlation > 0 else -1)
    score[0], score[1] = score[1], score[0]
    names = {"dataset": "D", "model": "m", "recipe": "r", "precision": "fp32", "granularity": "filter", "seed": 0}
    columns = {"images": 9, "layer": "a", "unit": range(count), "change": change, "criterion": "taylor", "score": score}
    return pd.DataFrame(names | columns | {"reason": None})


def test_a_correlation_of_one_network_has_an_interval_over_units() -> None:
    found = oracle.correlations(units(1, 30))
    results = agreement.oracle_results("o", found)
    row = FIGURE | {"layer": "all", "measure": "pearson_squared", "relation": "above", "value": "0.93"}
    got = agreement.compared(results, rows(row)).iloc[0]
    own = units(1, 30)
    low, high = stats.pearsonr(own["score"], own["change"] ** 2).confidence_interval(0.95)
    assert (got["low"] + 0.93, got["high"] + 0.93) == pytest.approx((low, high))
    assert got["verdict"] == "agrees"
    assert got["in_standard_errors"] == pytest.approx((math.atanh(got["ours"]) - math.atanh(0.93)) * math.sqrt(27))
    ranked = agreement.compared(results, rows(row | {"measure": "spearman_squared"})).iloc[0]
    r = ranked["ours"]
    assert r == pytest.approx(stats.spearmanr(own["score"], own["change"] ** 2).statistic)
    half = 1.959964 * math.sqrt((1 + r**2 / 2) / 27)
    assert ranked["low"] + 0.93 == pytest.approx(math.tanh(math.atanh(r) - half))
    three = agreement.oracle_results("o", oracle.correlations(units(1, 3)))
    assert agreement.compared(three, rows(row)).iloc[0]["verdict"] == "cannot be said"
    few = agreement.oracle_results("o", oracle.correlations(units(1, 30).assign(reason="refused")))
    assert agreement.compared(few, rows(row)).iloc[0]["reason"] == "not measured"


def test_the_report_escapes_names_and_is_the_same_twice(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 92.0, 92.1, 92.2), experiment="a|b*c", changed=["recipe.lr=0.2"])
    hostile = figure(93.14, *THEIRS) | {"source": "A | <b> [x](y) 2020", "checked": "second-hand: *z*"}
    one, two = (compare.files(out.results(), rows(hostile)) for _ in range(2))
    assert one == two
    text = one["compare.md"].decode()
    assert r"# a\|b\*c" in text
    assert "Changed for this run: recipe.lr=0.2." in text
    assert r"A \| \<b> \[x\](y) 2020, table 1 (table); second-hand: \*z\*." in text
    assert "92.10 ± 0.10 (n = 3)" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert pd.read_csv(pd.io.common.BytesIO(one["compare.csv"]))["verdict"].tolist() == ["differs"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": " "}, "line 2: source is empty"),
        ({"how": "guess"}, "line 2: how='guess' is none of text, table, figure"),
        ({"measure": "top"}, "line 2: measure='top': did you mean top1"),
        ({"value": "9O"}, "line 2: value='9O' is no number"),
        ({"value": "nan"}, "value='nan' is no number"),
        ({"value": "", "std": ""}, "a row has a value, or a relation"),
        ({"relation": "over"}, "relation='over'"),
        ({"value": "", "versus": "abblation=none", "relation": "above"}, "'abblation'"),
        (
            {"value": "", "versus": "ablation=none", "relation": "above", "measure": "top1_pruned"},
            "directions are of top1",
        ),
        ({"critrion": "taylor"}, "'critrion' is no column of the records; did you mean criterion"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, str], words: str) -> None:
    path = tmp_path / "x.csv"
    rows(figure(93.0) | change).to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        published.read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for content, words in (
        (b"", "cannot be read"),
        (b"\xff\xfe\xfa", "cannot be read"),
        (b"source,place\na,b\n", "lacks"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=words):
            published.read(path)


def test_digits_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows(FIGURE | {"value": "93.10", "sparsity_target": "0.9"}).to_csv(path, index=False)
    (row,) = [row for _, row in published.read(path).iterrows()]
    assert row["value"] == "93.10"
    assert published.chosen(row) == {"criterion": "taylor", "sparsity_target": 0.9}
    assert math.isclose(
        agreement.welch(agreement.Sample(1, math.nan, 1, 3), agreement.Sample(0, 0.1, 4, 2)).error, 0.05
    )
