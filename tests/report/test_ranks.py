"""Ranks over networks and the critical-difference diagram."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from bench.report import grid, ranks
from bench.report.frame import ENVIRONMENT, Results
from bench.report.panels import panels
from bench.report.statistics import average_ranks
from bench.report.style import KNOWN, STYLE, Look, colours_and_markers, looks
from bench.report.table import Report
from tests.report import legible
from tests.report.conftest import Out

NAMES = ("taylor", "magnitude", "random")
HERE = dict.fromkeys(ENVIRONMENT, "the same")


def networks(out: Out, count: int, names: Sequence[str] = NAMES, swapped: int = 0) -> Results:
    """Networks on which the names have this order; on the first `swapped` the first two change places."""
    cells = []
    for number in range(count):
        order = [*names[1::-1], *names[2:]] if number < swapped else names
        for place, name in enumerate(order):
            cells += out.seeds(name, 0.5, 90.0 - place, 91.0 - place, model=f"net{number}")
    out.plan(*cells)
    return out.results()


def markdown(results: Results) -> str:
    return grid.document(Report("ranks", "e", "s", tuple(ranks.tables(results)), (), pd.DataFrame()))


def test_blocks_average_what_all_criteria_have() -> None:
    rows = [("d", "m", 0.5, 0, "a", 1.0), ("d", "m", 0.5, 0, "b", 2.0), ("d", "m", 0.9, 1, "a", 5.0)]
    rows += [("d", "m", 0.9, 1, "b", 4.0), ("d", "m", 0.9, 2, "a", 100.0), ("d", "n", 0.5, 0, "a", 7.0)]
    cells = pd.DataFrame(rows, columns=["dataset", "model", "sparsity_target", "seed", "row", "value"])
    assert ranks.blocks(cells.assign(**HERE)).to_dict("index") == {("d", "m"): {"a": 3.0, "b": 3.0}}


def test_what_another_machine_made_is_not_ranked_against_the_rest(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.5, 97.0, model="one"), *out.seeds("snip", 0.5, 90.0, model="one")]
    cells += [*out.seeds("taylor", 0.5, 97.0, model="two"), *out.seeds("snip", 0.5, 98.0, model="two")]
    cells += [*out.seeds("taylor", 0.5, 97.0, model="three"), *out.seeds("snip", 0.5, 98.0, model="three")]
    cells += (faster := [out.pruned(name, 0.9, 0, model="one") for name in ("taylor", "snip")])
    out.plan(*cells)
    out.record(faster[0], 10.0, cpu="Another")
    out.record(faster[1], 90.0)
    (table,) = ranks.tables(out.results())
    assert [row.cells for row in table.rows] == [("snip", "1.33"), ("taylor", "1.67")]
    assert table.notes[1].startswith("Used are 3 of 3 planned pairs and 3 of 4 planned (dataset, model, target, seed)")


def test_what_not_all_criteria_have_is_counted(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.5, 97.0, 96.0, model="one"), *out.seeds("snip", 0.5, 90.0, None, model="one")]
    cells += [*out.seeds("taylor", 0.5, 97.0, model="two"), *out.seeds("snip", 0.5, 90.0, model="two")]
    cells += [*out.seeds("taylor", 0.5, 97.0, model="three"), *out.seeds("snip", 0.5, None, model="three")]
    out.plan(*cells)
    (table,) = ranks.tables(out.results())
    assert table.notes[:2] == (
        "Ranks over 2 (dataset, model) pairs, targets and seeds averaged inside.",
        "Used are 2 of 3 planned pairs and 2 of 4 planned (dataset, model, target, seed); the others were left out, "
        "since not all criteria have them from one environment.",
    )


def orders(results: Results) -> dict[str, list[str]]:
    """The last setting of each ranking -> its criteria, the best first."""
    found = ranks.rankings(results)
    return {ranking.about.rpartition(", ")[2]: [*ranking.ranks.mean.index] for ranking in found}


def test_numbers_of_fine_tuning_epochs_are_not_averaged_but_ranked_apart(out: Out) -> None:
    top1 = {("a", 5): 80.0, ("b", 5): 90.0, ("a", 10): 95.0, ("b", 10): 80.0}
    cells = [
        cell
        for net in ("one", "two")
        for (name, epochs), value in top1.items()
        for cell in out.seeds(name, 0.5, value, model=net, finetune_epochs=epochs)
    ]
    out.plan(*cells, *out.dense(98.0, model="one"))
    results = out.results()
    assert orders(results) == {"finetune_epochs=5": ["b", "a"], "finetune_epochs=10": ["a", "b"]}
    assert [[row.cells[0] for row in table.rows] for table in ranks.tables(results)] == [["b", "a"], ["a", "b"]]


@pytest.mark.parametrize("vary", [[], ["recipe"]])
def test_recipes_of_one_network_are_ranked_apart_unless_under_study(out: Out, vary: list[str]) -> None:
    cells = [
        cell
        for net in ("one", "two")
        for recipe, epochs, values in (("long", 20, (95.0, 90.0)), ("short", 10, (80.0, 85.0)))
        for name, value in zip("ab", values, strict=True)
        for cell in out.seeds(name, 0.5, value, model=net, recipe=recipe, finetune_epochs=epochs)
    ]
    out.plan(*cells, vary=vary)
    found = [*orders(out.results()).values()]
    both = [[f"{name} (recipe={recipe})" for name, recipe in (("a", "long"), ("b", "long"), ("b", "short"))]]
    assert ([own[:3] for own in found] == both) if vary else (found == [["a", "b"], ["b", "a"]])


def test_networks_with_a_recipe_and_a_number_of_epochs_each_are_ranked_together(out: Out) -> None:
    cells = [
        cell
        for net, epochs in (("one", 5), ("two", 10))
        for name, value in (("a", 90.0), ("b", 80.0))
        for cell in out.seeds(name, 0.5, value, model=net, recipe=net, finetune_epochs=epochs)
    ]
    out.plan(*cells, recipes={"one": "chosen", "two": "chosen"})
    (ranking,) = ranks.rankings(out.results())
    assert ranking.ranks.blocks == 2
    assert ranking.ranks.mean.to_dict() == {"a": 1.0, "b": 2.0}


def test_one_network_has_no_ranks(out: Out) -> None:
    assert ranks.tables(networks(out, 1)) == []


def test_where_a_criterion_was_never_done_the_table_says_which_and_that_there_are_no_ranks(out: Out) -> None:
    cells = [cell for net in "abcdefg" for cell in out.seeds("taylor", 0.5, 97.0, model=net)]
    cells += [cell for net in "abcdefg" for cell in out.seeds("snip", 0.5, None, model=net)]
    out.plan(*cells)
    (table,) = ranks.tables(out.results())
    assert [row.cells for row in table.rows] == [("taylor", "7 of 7"), ("snip", "0 of 7")]
    assert table.notes == (
        "No ranks: fewer than 2 (dataset, model) pairs on which all criteria were measured.",
        "Used are 0 of 7 planned pairs and 0 of 7 planned (dataset, model, target, seed); the others were left out, "
        "since not all criteria have them from one environment.",
    )
    assert ranks.files(out.results()) == {}


def test_criteria_of_different_networks_are_not_ranked(out: Out) -> None:
    out.plan(*(cell for net in ("one", "two") for cell in out.seeds(f"only_{net}", 0.5, 97.0, model=net)))
    assert ranks.tables(out.results()) == []


def untested(results: Results) -> list[str]:
    return [note for table in ranks.tables(results) for note in table.notes if "without a test" in note]


def test_each_reason_for_no_test_is_told_where_it_holds(out: Out, tmp_path: Path) -> None:
    assert untested(networks(out, 6)) == []
    for place, (count, names, reason) in enumerate(
        (
            (5, NAMES, "fewer than 6 pairs"),
            (6, NAMES[:2], "fewer than three criteria"),
            (5, NAMES[:2], "fewer than 6 pairs, fewer than three criteria"),
        )
    ):
        other = networks(Out(tmp_path / str(place)), count, names)
        assert untested(other) == [f"Ranks without a test: {reason}."]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [6, 7, 20])
def test_where_all_criteria_tie_on_every_network_there_is_nothing_to_test(out: Out, count: int) -> None:
    out.plan(*(cell for net in range(count) for name in NAMES for cell in out.seeds(name, 0.5, 90.0, model=f"m{net}")))
    results = out.results()
    assert untested(results) == ["Ranks without a test: all criteria tie on every pair."]
    assert {rank for ranking in ranks.rankings(results) for rank in ranking.ranks.mean} == {2.0}
    assert ranks.files(results) == {}


def test_below_six_networks_ranks_stand_without_test_or_diagram(out: Out) -> None:
    results = networks(out, 5, swapped=1)
    text = markdown(results)
    assert "| taylor    |      1.20 |" in text
    assert "Ranks without a test" in text
    assert ranks.files(results) == {}


def test_from_six_networks_the_table_says_what_is_told_apart_and_a_diagram_shows_it(out: Out) -> None:
    results = networks(out, 6, swapped=2)
    text = markdown(results)
    # Demsar's quantile for three criteria, 2.343, times the root of 3 * 4 / (6 * 6).
    assert "mean ranks that differ by less than the critical difference, 1.35, are not told apart" in text
    first = ranks.files(results)
    assert list(first) == ["ranks.pdf", "ranks.png"]
    look = looks(pd.concat([panel.table for panel in panels(results)]))
    with mpl.rc_context(STYLE):
        drawn = ranks.figure(ranks.rankings(results), look)
        legible.check(drawn)
    shown = [text.get_text() for text in legible.texts(drawn)]
    assert {"taylor  1.33", "magnitude  1.67", "random  3.00", "critical difference 1.35"} <= {*shown}
    bars = [line.get_xdata() for line in drawn.axes[0].lines if line.get_linewidth() == 2.5]
    assert [list(bar) for bar in bars] == [pytest.approx([4 / 3, 5 / 3]), pytest.approx([5 / 3, 3])]
    colours = {line.get_color() for line in drawn.axes[0].lines if line.get_marker() != "None"}
    assert {colours_and_markers({*NAMES})[name]["color"] for name in NAMES} <= colours


def ranking(scores: np.ndarray, names: Sequence[str]) -> ranks.Ranking:
    frame = pd.DataFrame(scores, columns=list(names))
    return ranks.Ranking("", frame, average_ranks(frame))


def look_of(names: Sequence[str]) -> dict[str, Look]:
    return looks(pd.DataFrame({"row": names, "criterion": names, "control": False}))


def test_where_friedman_does_not_reject_no_pair_is_tested() -> None:
    even = ranking(np.array([[1.0, 2, 3], [3, 2, 1]] * 3), NAMES)
    table = ranks._table(even)
    assert "It does not tell any apart, so pairs are not tested." in table.notes
    assert len(table.columns) == 2
    with mpl.rc_context(STYLE):
        drawn = ranks.figure([even], look_of(NAMES))
    assert not any("critical" in text.get_text() for text in legible.texts(drawn))


@pytest.mark.parametrize("count", [3, 9, 17])
def test_diagrams_of_many_criteria_and_hostile_names_are_legible(count: int) -> None:
    hostile = ["$x_{very}$ <long> & name # that goes on and on and on", "$x_{very}$ <long> again and again"]
    names = [*KNOWN[: count - 2], *hostile]
    scores = np.random.default_rng(0).standard_normal((8, count)) - np.arange(count)
    several = [ranking(scores, names), ranking(scores[:, ::-1], names)]
    with mpl.rc_context(STYLE):
        legible.check(ranks.figure(several, look_of(names)))
        legible.check(ranks.figure([ranking(scores, KNOWN[:count])], look_of(KNOWN[:count])))


def test_from_twenty_networks_mean_ranks_have_an_interval() -> None:
    better = np.array([[2.0, 1.0]] * 15 + [[1.0, 2.0]] * 5)
    table = ranks._table(ranking(better, NAMES[:2]))
    assert [row.cells for row in table.rows] == [
        ("taylor", "1.25", "1.10 to 1.45"),
        ("magnitude", "1.75", "1.55 to 1.90"),
    ]
    assert [len(row.cells) for row in ranks._table(ranking(better[1:], NAMES[:2])).rows] == [2, 2]
