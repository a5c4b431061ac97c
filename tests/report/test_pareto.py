"""Accuracy against what is saved: factors, fronts, figures."""

import io
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

from bench.report import pareto
from bench.report.frame import Results
from bench.report.panels import panels
from bench.report.style import STYLE, looks
from tests.report import legible
from tests.report.conftest import Cell, Out

FILTER = {"granularity": "{name: filter, reduce: mean, normalise: none}", "target_kind": "filters", "scope": "layer"}


NETS = (("small", 500.0), ("large", 5000.0))


def seeds(out: Out, criterion: str, sparsity: float, flops: float, *top1: float | None, **columns: Any) -> list[Cell]:
    """One cell a seed with these FLOPs of 1000, and half as many parameters saved."""
    cells = [out.pruned(criterion, sparsity, seed, **columns) for seed in range(len(top1))]
    for cell, value in zip(cells, top1, strict=True):
        left = {"flops": flops, "flops_dense": 1000.0, "params": 2 * flops, "params_dense": 1000}
        out.record(cell, value, **left if value is not None else {})
    return cells


def some(out: Out) -> Results:
    cells = [
        *seeds(out, "taylor", 0.5, 500.0, 98.0, 97.0),
        *seeds(out, "taylor", 0.9, 100.0, 90.0, 91.0),
        *seeds(out, "magnitude", 0.5, 500.0, 97.0, 98.0),  # equal to taylor
        *seeds(out, "magnitude", 0.9, 110.0, 80.0, 90.0),  # beaten in both
        *seeds(out, "random", 0.9, 50.0, 99.0, None),  # the best, of one seed
        *seeds(out, "snip", 0.9, 200.0, 99.0, 99.0, when="init", finetune=None, finetune_epochs=None),
        *seeds(out, "fpgm", 0.5, 400.0, 50.0, 50.0, **FILTER),
        *seeds(out, "taylor", 0.5, 500.0, 10.0, 10.0, model="other"),
    ]
    out.plan(*out.dense(98.0, 98.0, flops_dense=1000.0, params_dense=1000), *cells)
    return out.results()


def test_fronts_hold_what_no_other_complete_point_of_the_network_beats(out: Out) -> None:
    found = pareto.points(some(out))
    speed = found[found["saving"] == "speedup"].set_index(["model", "form", "row", "sparsity_target"])
    assert speed["factor"].to_dict() == {
        ("digits_net", "masked", "taylor", 0.5): 2.0,
        ("digits_net", "masked", "taylor", 0.9): 10.0,
        ("digits_net", "masked", "magnitude", 0.5): 2.0,
        ("digits_net", "masked", "magnitude", 0.9): pytest.approx(1000 / 110),
        ("digits_net", "masked", "random", 0.9): 20.0,
        ("digits_net", "masked", "snip", 0.9): 5.0,
        ("digits_net", "compacted", "fpgm", 0.5): 2.5,
        ("other", "masked", "taylor", 0.5): 2.0,
    }
    # snip saves more than the two at 50 % and is better; taylor at 90 % saves still more.
    assert {key for key, front in speed["front"].items() if front} == {
        ("digits_net", "masked", "snip", 0.9),
        ("digits_net", "masked", "taylor", 0.9),
        ("digits_net", "compacted", "fpgm", 0.5),
        ("other", "masked", "taylor", 0.5),
    }
    assert (found.loc[found["saving"] == "compression", "factor"].to_numpy() * 2 == speed["factor"].to_numpy()).all()


def test_equal_points_are_on_the_front_together(out: Out) -> None:
    out.plan(*seeds(out, "taylor", 0.5, 500.0, 98.0, 97.0), *seeds(out, "magnitude", 0.5, 500.0, 97.0, 98.0))
    assert pareto.points(out.results())["front"].all()


def test_files_name_the_members(out: Out) -> None:
    cells = [*seeds(out, "taylor", 0.5, 500.0, 98.0, 97.0), *seeds(out, "snip", 0.9, 200.0, 98.0, 99.0)]
    out.plan(*cells, *seeds(out, "a|b", 0.9, 100.0, 9.0, 9.0), *seeds(out, "random", 0.9, 300.0, 20.0, 20.0))
    found = pareto.files(out.results())
    figures = ["speedup.pdf", "speedup.png", "compression.pdf", "compression.png"]
    assert [*found] == ["pareto.md", "pareto.csv", "pareto.tex", "pareto.html", *figures]
    text = found["pareto.md"].decode()
    assert "## Digits, digits_net, masked: top-1 test accuracy (%) against speed-up" in text
    assert "| snip      |     90 % |         5.00 |              98.5 ± 0.7 |" in text
    assert "- 2 seeds (0, 1)." in text
    assert "| a\\|b      |" in text
    assert "2 of 4 points are on the front." in text
    assert len(pd.read_csv(io.BytesIO(found["pareto.csv"]))) == 8


def test_settings_stand_below_the_table_and_what_is_shared_stands_once(out: Out) -> None:
    report = pareto.report(some(out), pareto.points(some(out)))
    masked, compacted, _ = (table for table in report.tables if table.title.endswith("speed-up"))
    assert [row.cells[0::5] for row in masked.rows] == [("snip", "(1)"), ("taylor", "(2)")]
    assert masked.stub == 2
    assert masked.notes[2:] == (
        "Settings of all: granularity=weight, scope=global, target_kind=weights.",
        "Settings: (1) when=init, finetune=none; (2) when=trained, finetune=low, finetune_epochs=10.",
    )
    assert [column.name for column in compacted.columns][1::3] == ["filters removed", "epochs"]
    assert compacted.notes[2].startswith("Settings of all: granularity=filter reduce=mean normalise=none, scope=layer")


def test_the_axis_says_where_flops_are_theory_and_members_stand_out(out: Out) -> None:
    results = some(out)
    with mpl.rc_context(STYLE):
        drawn = pareto.figure(results, "speedup", pareto.points(results))
        legible.check(drawn)
    labels = {axes.get_title().split(",")[1]: axes.get_xlabel() for axes in drawn.axes if axes.get_xlabel()}
    assert {*labels.values()} == {"theoretical speed-up in FLOPs (×)", "speed-up in FLOPs (×)"}
    assert all(axes.get_xscale() == "log" for axes in drawn.axes)
    edged = [line for axes in drawn.axes for line in axes.lines if line.get_markeredgewidth() == 0.7]
    assert sorted(x for line in edged for x in line.get_xdata()) == [2, 2.5, 5, 10]


def test_points_that_lack_seeds_are_half_filled_and_the_legend_says_so(out: Out) -> None:
    results = some(out)
    drawn = pareto.figure(results, "speedup", pareto.points(results))
    half = [line for axes in drawn.axes for line in axes.lines if line.get_fillstyle() == "left"]
    assert [list(line.get_xdata()) for line in half] == [[20.0]]
    assert drawn.legends[0].get_title().get_text().split() == (
        "means over 1 to 2 seeds; pale: not on the front of the network, half filled: not all seeds".split()
    )


def test_a_plugin_looks_the_same_whether_another_has_numbers_or_not(out: Out) -> None:
    without = out.seeds("beta", 0.9, 97.0, scope="row")  # neither FLOPs nor parameters of the dense net
    out.plan(*seeds(out, "mine", 0.9, 100.0, 97.0), *without)
    results = out.results()
    drawn = pareto.figure(results, "speedup", pareto.points(results))
    (own,) = (line for axes in drawn.axes for line in axes.lines if line.get_label() == "mine")
    look = looks(pd.concat([panel.table for panel in panels(results)]))
    assert (own.get_color(), own.get_marker()) == (look["mine"]["color"], look["mine"]["marker"])
    assert own.get_color() != looks(panels(results)[0].table)["mine"]["color"], "these two are no example"


def test_a_panel_of_filters_and_weights_has_a_front_of_each(out: Out) -> None:
    filters = seeds(out, "fpgm", 0.5, 400.0, 50.0, 50.0, **FILTER | {"scope": "global", "target_kind": "weights"})
    out.plan(*seeds(out, "taylor", 0.5, 300.0, 98.0, 97.0), *filters, vary=["granularity"])
    results = out.results()
    found = pareto.points(results)
    assert found["panel"].nunique() == 1
    assert found.set_index("row")["form"].groupby(level=0).first().tolist() == ["compacted", "masked"]
    assert found["front"].all()
    with mpl.rc_context(STYLE):
        (axes,) = (own for own in pareto.figure(results, "speedup", found).axes if own.get_xlabel())
    assert axes.get_xlabel() == "theoretical speed-up in FLOPs (×)"
    edged = [line for line in axes.lines if line.get_markeredgewidth() == 0.7]
    assert sorted(x for line in edged for x in line.get_xdata()) == [2.5, pytest.approx(10 / 3)]


def test_networks_of_one_panel_are_each_measured_against_their_own_dense_net(out: Out) -> None:
    small, large = (seeds(out, "taylor", 0.5, flops, 90.0, 91.0, model=model) for model, flops in NETS)
    for cell in large:
        out.record(cell, 95.0, flops=5000.0, flops_dense=20000.0, params=10, params_dense=100)
    out.plan(*small, *large, vary=["model"])
    found = pareto.points(out.results()).set_index(["saving", "model"])["factor"]
    assert found.to_dict() == {
        ("speedup", "small"): 2.0,
        ("speedup", "large"): 4.0,
        ("compression", "small"): 1.0,
        ("compression", "large"): 10.0,
    }


def test_without_flops_there_is_no_file(out: Out) -> None:
    out.plan(*out.dense(98.0), *out.seeds("taylor", 0.5, None))
    assert pareto.files(out.results()) == {}
