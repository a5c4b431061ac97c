from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bench.report.figure import KNOWN, STYLE, draw, figure
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


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    pairs = [(one, two) for place, one in enumerate(boxes) for two in boxes[:place]]
    return [(one[0], two[0]) for one, two in pairs if one[1].overlaps(two[1])]


def test_no_text_covers_another_or_leaves_the_page(out: Out) -> None:
    long = 3 * "a_criterion_whose_author_could_not_stop_in_time_"
    names, dense = (*KNOWN[:9], "$x_$", long, f"{long} again"), (0.5, 0.51, 0.52, 0.9, 0.99, 0.991, 0.999)
    with mpl.rc_context(STYLE):
        drawn = experiment(out, "global", "layer", "row", criteria=names, sparsities=dense, lowest=12.0)
        drawn.draw_without_rendering()
    texts = [*drawn.legends[0].get_texts(), drawn.legends[0].get_title()]
    for axes in drawn.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
        ticks = [*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()]
        texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    assert overlapping(texts) == []
    page = drawn.bbox
    for text in texts:
        box = text.get_window_extent()
        assert box.width == 0 or (box.x0 >= page.x0 and box.x1 <= page.x1 and box.y0 >= page.y0 and box.y1 <= page.y1)


def look(line: Line2D) -> tuple[object, ...]:
    return line.get_color(), line.get_marker(), str(line._dash_pattern), line.get_markerfacecolor()


def test_a_known_criterion_looks_the_same_in_every_figure(out: Out, tmp_path: Path) -> None:
    both = lines(experiment(out, "global").axes[0])
    alone = lines(experiment(Out(tmp_path / "other"), "layer", criteria=("another", "taylor")).axes[0])
    assert look(both["taylor"]) == look(alone["taylor"])


def test_no_two_criteria_look_alike_even_without_colour(out: Out) -> None:
    names = (*KNOWN, "x", "y", "z")
    drawn = lines(experiment(out, "global", criteria=names).axes[0])
    assert len({look(drawn[name])[1:3] for name in names}) == len(names)
    assert len({look(drawn[name])[0] for name in names}) == 6


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


def test_both_files_are_written_and_equal_when_drawn_again(out: Out, tmp_path: Path) -> None:
    experiment(out, "global", lowest=20.0)
    results = out.results()
    first = draw(results, tmp_path / "one")
    second = draw(out.results(), tmp_path / "two")
    assert [path.name for path in first] == ["accuracy.pdf", "accuracy.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    pdf, png = (path.read_bytes() for path in first)
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000


def test_a_plan_without_records_is_drawn_empty(out: Out, tmp_path: Path) -> None:
    out.plan(*out.controls(0), out.pruned("taylor", 0.9, 0))
    assert all(path.stat().st_size for path in draw(out.results(), tmp_path / "empty"))
