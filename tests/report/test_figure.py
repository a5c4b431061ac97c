from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figure import figure, files
from bench.report.style import COLOURS, KNOWN, STYLE, looks
from tests.report import legible
from tests.report.conftest import Out

SPARSITIES = (0.5, 0.9, 0.98)
CRITERIA = ("taylor", "random")


def experiment(
    out: Out,
    *scopes: str,
    criteria: tuple[str, ...] = CRITERIA,
    sparsities: tuple[float, ...] = SPARSITIES,
    lowest: float = 95.0,
) -> Figure:
    """Two seeds of each criterion at each sparsity, from 97 % down to `lowest`."""
    means = np.linspace(97.0, lowest, len(sparsities))
    cells = [
        cell
        for scope in scopes
        for criterion in criteria
        for sparsity, top1 in zip(sparsities, means, strict=True)
        for cell in out.seeds(criterion, sparsity, top1 - 0.3, top1 + 0.3, scope=scope)
    ]
    out.plan(*out.dense(98.0, 98.0), *cells)
    return figure(out.results())


def lines(axes: Axes) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in axes.get_lines()}


def entries(drawn: Figure) -> list[str]:
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def test_an_axes_a_panel_a_line_a_row_one_legend(out: Out) -> None:
    drawn = experiment(out, "global", "layer", "row")
    assert [axes.get_title() for axes in drawn.axes] == ["scope=global", "scope=layer", "scope=row"]
    for axes in drawn.axes:
        assert set(lines(axes)) == {"dense", "dense_longer", *CRITERIA}
        assert len(axes.collections) == len(CRITERIA)
    assert entries(drawn) == ["dense", "dense_longer", "taylor", "random"]
    assert drawn.legends[0].get_title().get_text() == "mean ± 1 sample standard deviation over 2 seeds"


def test_lines_are_the_means_and_bands_one_deviation(out: Out) -> None:
    axes = experiment(out, "global").axes[0]
    line = lines(axes)["taylor"]
    assert np.allclose(line.get_xdata(), [50, 90, 98])
    assert np.allclose(line.get_ydata(), [97, 96, 95])
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    deviation = np.std([96.7, 97.3], ddof=1)
    assert heights.max() == pytest.approx(97 + deviation)
    assert heights.min() == pytest.approx(95 - deviation)
    assert np.allclose(lines(axes)["dense"].get_ydata(), 98)
    assert lines(axes)["dense_longer"].get_linestyle() == "--"


def test_axes_say_their_units_and_every_sparsity(out: Out) -> None:
    axes = experiment(out, "global").axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sparsity (%)", "top-1 test accuracy (%)")
    assert sorted(label.get_text() for label in axes.get_xticklabels()) == ["50", "90", "98"]
    # A tenth of the weights more is as far from 90 to 99 % as it is from 0 to 90 %.
    zero, ninety, more = axes.get_xaxis_transform().transform([[0, 0], [90, 0], [99, 0]])[:, 0]
    assert more - ninety == pytest.approx(ninety - zero)


@pytest.mark.parametrize(("lowest", "scale"), [(95.0, "linear"), (20.0, "function")])
def test_collapse_does_not_squeeze_the_good_nets(out: Out, lowest: float, scale: str) -> None:
    axes = experiment(out, "global", lowest=lowest).axes[0]
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low < lowest
    assert high > 98


def test_nets_of_moderate_accuracy_have_a_linear_axis_with_ticks_on_both_sides_of_all(out: Out) -> None:
    cells = [cell for sparsity, top1 in ((0.3, 74.0), (0.7, 54.0)) for cell in out.seeds("taylor", sparsity, top1)]
    out.plan(*out.dense(77.0, longer=78.0), *cells)
    axes = figure(out.results()).axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylabel() == "top-1 test accuracy (%)"
    ticks = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
    assert len(ticks) >= 4


def test_a_log_axis_of_the_error_is_labelled_where_nets_collapse_too(out: Out) -> None:
    axes = experiment(out, "global", lowest=20.0).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["98", "95", "90", "85", "75", "60", "40", "10"]


def test_no_text_covers_another_or_leaves_the_page(out: Out) -> None:
    long = 3 * "a_criterion_whose_author_could_not_stop_in_time_"
    names, dense = (*KNOWN[:5], "_$x_$", long, f"{long} again"), (0.5, 0.51, 0.99, 0.991, 0.999)
    with mpl.rc_context(STYLE):
        drawn = experiment(out, "global", "layer", "row", criteria=names, sparsities=dense, lowest=12.0)
        legible.check(drawn)
    assert len(entries(drawn)) == len(names) + 2


def test_one_panel_of_few_criteria_fits_one_column(out: Out) -> None:
    with mpl.rc_context(STYLE):
        drawn = experiment(out, "global")
        legible.check(drawn)
    assert drawn.get_figwidth() == 3.3


def test_many_criteria_stand_beside_each_other_with_bars_in_place_of_bands(out: Out) -> None:
    axes = experiment(out, "global", criteria=tuple(KNOWN[:8])).axes[0]
    first = [lines(axes)[name].get_xdata()[0] for name in KNOWN[:8]]
    assert len({round(float(x), 6) for x in first}) == 8
    assert np.allclose(first, 50, atol=7)
    assert {type(drawn).__name__ for drawn in axes.collections} == {"LineCollection"}


def look(line: Line2D) -> tuple[object, ...]:
    return line.get_color(), line.get_marker(), str(line._dash_pattern), line.get_markerfacecolor()


def test_a_known_criterion_looks_the_same_in_every_figure(out: Out, tmp_path: Path) -> None:
    both = lines(experiment(out, "global").axes[0])
    alone = lines(experiment(Out(tmp_path / "other"), "layer", criteria=("another", "taylor")).axes[0])
    assert look(both["taylor"]) == look(alone["taylor"])


def test_two_plugins_keep_their_looks_in_all_panels(out: Out) -> None:
    scopes = {"global": ("beta", "mine"), "layer": ("mine",), "row": ("beta",)}
    out.plan(
        *(cell for scope, names in scopes.items() for name in names for cell in out.seeds(name, 0.9, 97.0, scope=scope))
    )
    both, mine, beta = (lines(axes) for axes in figure(out.results()).axes)
    assert look(mine["mine"]) == look(both["mine"]) != look(both["beta"]) == look(beta["beta"])


def test_no_two_criteria_look_alike_even_without_colour() -> None:
    names = [*KNOWN, "x", "y", "z"]
    found = looks(pd.DataFrame({"row": names, "criterion": names, "control": False}))
    assert len({(look["marker"], str(look["linestyle"])) for look in found.values()}) == len(names)
    assert len({look["color"] for look in found.values()}) == len(COLOURS)


def test_variants_of_a_criterion_share_their_colour(out: Out) -> None:
    cells = [
        out.pruned("grasp", sparsity, 0, criterion_options=options)
        for options in ("", "{temperature: 1}")
        for sparsity in SPARSITIES
    ]
    for cell in cells:
        out.record(cell, 97.0)
    out.plan(*cells)
    drawn = lines(figure(out.results()).axes[0])
    plain, warm = look(drawn["grasp"]), look(drawn["grasp (temperature=1)"])
    assert plain[:2] == warm[:2]
    assert plain[2:] != warm[2:]


def test_what_has_no_numbers_is_not_drawn_and_gaps_stay_gaps(out: Out) -> None:
    taylor = [*out.seeds("taylor", 0.5, 97.0), *out.seeds("taylor", 0.9, None), *out.seeds("taylor", 0.98, 95.0)]
    out.plan(*out.dense(98.0), *taylor, *out.seeds("snip", 0.5, None))
    drawn = figure(out.results())
    assert entries(drawn) == ["dense", "dense_longer", "taylor"]
    assert np.isnan(np.asarray(lines(drawn.axes[0])["taylor"].get_ydata(), float)).tolist() == [False, True, False]


def test_points_that_lack_seeds_are_half_filled_and_the_legend_says_so(out: Out) -> None:
    cells = [*out.seeds("taylor", 0.5, 97.0, 96.0, 95.0), *out.seeds("taylor", 0.9, 94.0, None, None)]
    out.plan(*out.dense(98.0, 98.0, 98.0), *cells, *out.seeds("snip", 0.5, None, None, None))
    with mpl.rc_context(STYLE):
        drawn = figure(out.results())
        legible.check(drawn)
    (axes,) = drawn.axes
    half = [line for line in axes.get_lines() if line.get_fillstyle() == "left"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in half] == [pytest.approx((90, 94))]
    assert half[0].get_markerfacecoloralt() == "white"
    assert " ".join(drawn.legends[0].get_title().get_text().split()) == (
        "mean ± 1 sample standard deviation over 1 to 3 seeds; half filled: not all seeds"
    )
    assert entries(drawn) == ["dense", "dense_longer", "taylor"]
    assert drawn.legends[0].get_lines()[2].get_linestyle() == "-"


def test_points_of_a_run_under_way_are_of_the_seeds_that_are_done(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.5, 97.0, None), *out.seeds("taylor", 0.9, 94.0, None))
    title = figure(out.results()).legends[0].get_title().get_text()
    assert " ".join(title.split()) == "one seed; half filled: not all seeds"


def test_one_sparsity_puts_criteria_side_by_side(out: Out) -> None:
    out.plan(*out.seeds("taylor", 0.9, 97.0, 96.0), *out.seeds("snip", 0.9, 97.0, 96.0))
    drawn = lines(figure(out.results()).axes[0])
    assert drawn["taylor"].get_xdata()[0] != drawn["snip"].get_xdata()[0]


def test_a_schedule_that_stops_by_itself_is_drawn_where_it_stopped(out: Out) -> None:
    cells = [out.pruned("taylor", None, seed) for seed in range(2)]
    out.plan(*out.dense(98.0, 98.0), *cells)
    for cell, reached in zip(cells, (0.9, 0.92), strict=True):
        out.record(cell, 97.0, sparsity=reached)
    line = lines(figure(out.results()).axes[0])["taylor"]
    assert np.allclose(line.get_xdata(), [91])


def test_both_files_are_equal_when_drawn_again(out: Out) -> None:
    experiment(out, "global", lowest=20.0)
    first = files(out.results())
    assert first == files(out.results())
    assert list(first) == ["accuracy.pdf", "accuracy.png"]
    pdf, png = first.values()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000


def test_a_plan_without_records_is_drawn_empty(out: Out) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0))
    assert all(files(out.results()).values())
