"""Histograms of scores: counts as recorded, the first seed's, what is missing."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from bench.report import histograms
from bench.report.panels import Panel, panels
from bench.report.style import COLOURS, KNOWN, STYLE, looks
from tests.report import legible
from tests.report.conftest import Out


def histogram(kept: list[int], removed: list[int], **facts: Any) -> dict[str, Any]:
    own = {"low": -3.0, "high": 1.0, "kept": kept, "removed": removed, "zero": 0, "negative": 0}
    return {"histogram": own | facts}


def figure(panel: Panel, details: histograms.Details) -> Figure:
    """The figure of one panel; no text of it covers another."""
    with mpl.rc_context(STYLE):
        drawn = histograms.figure(panel, histograms.histograms(panel, details), looks(panel.table))
        legible.check(drawn)
    return drawn


def test_counts_of_the_first_seed_are_drawn_kept_below_removed(out: Out) -> None:
    taylor, snip = out.seeds("taylor", 0.9, 97.0, 96.0), out.seeds("magnitude", 0.9, None, 96.0)
    out.plan(*out.dense(98.0, 98.0), *taylor, *snip)
    details = {taylor[0]["cell"]: histogram([0, 1, 4, 2], [5, 2, 0, 0], zero=12, negative=3456)}
    details |= {cell["cell"]: histogram([9], [9]) for cell in (taylor[1], *snip)}
    panel = panels(out.results())[0]
    assert [*histograms.histograms(panel, details)] == [("taylor", "90 %")]
    drawn = figure(panel, details)
    (axes,) = drawn.axes
    removed, kept = (patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch))
    assert list(kept.values) == [0, 1, 4, 2]
    assert list(removed.values - removed.baseline) == [5, 2, 0, 0]
    assert list(kept.edges) == [-3, -2, -1, 0, 1]
    assert axes.get_title() == "90 %\nzero: 12, negative: 3,456"
    assert any("seed 0" in text.get_text() for text in drawn.texts)
    assert axes.patches[1].get_facecolor() == mpl.colors.to_rgba(COLOURS[KNOWN.index("taylor")])


def test_of_many_targets_some_are_shown_and_equal_scores_and_gaps_are_drawn(out: Out) -> None:
    targets = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
    names = (*KNOWN[:2], "$x_$ & a name # of somebody who could not stop")
    cells = [cell for name in names for target in targets for cell in out.seeds(name, target, 97.0)]
    out.plan(*cells)
    shape = np.arange(48).tolist()
    details = {cell["cell"]: histogram(shape, shape[::-1], low=-30.0, high=30.0) for cell in cells[1:]}
    details[cells[2]["cell"]] = histogram([0, 7], [0, 0], low=0.5, high=0.5)
    panel = panels(out.results())[0]
    drawn = figure(panel, details)
    assert [axes.get_title() for axes in drawn.axes[:5]] == ["50 %", "70 %", "80 %", "90 %", "98 %"]
    assert [text.get_text() for text in drawn.axes[0].texts] == ["no histogram"]


@pytest.mark.parametrize(
    ("kept", "removed", "cut"),
    [([0, 0, 1, 2], [5, 2, 3, 0], [-1]), ([0, 1, 0, 2], [5, 2, 3, 0], []), ([0, 0, 0, 0], [5, 2, 3, 1], [])],
)
def test_the_cut_is_a_line_where_one_score_parts_kept_from_removed(
    out: Out, kept: list[int], removed: list[int], cut: list[float]
) -> None:
    cells = out.seeds("taylor", 0.9, 97.0)
    out.plan(*cells)
    drawn = figure(panels(out.results())[0], {cells[0]["cell"]: histogram(kept, removed)})
    assert [np.ravel(line.get_xdata())[0] for line in drawn.axes[0].lines] == cut
    named = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert ("cut, where it is one score" in named) == bool(cut)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (-3, 1, ["0.01", "1"]),
        (np.log10(1.02), np.log10(2.9), ["1.5", "2", "2.5"]),
        (np.log10(3e-5), np.log10(9e-5), ["4·10⁻⁵", "6·10⁻⁵", "8·10⁻⁵"]),
        (0.5, 0.5, ["3.16"]),
    ],
)
def test_ticks_are_powers_of_ten_or_numbers_between_them(out: Out, low: float, high: float, labels: list[str]) -> None:
    cells = out.seeds("taylor", 0.9, 97.0)
    out.plan(*cells)
    drawn = figure(panels(out.results())[0], {cells[0]["cell"]: histogram([1, 2], [3, 0], low=low, high=high)})
    assert [text.get_text() for text in drawn.axes[0].get_xticklabels()] == labels


def test_names_of_rows_say_what_tells_them_apart_and_break_at_words(out: Out) -> None:
    schedules = ("one_shot", "{name: iterative, steps: 100, curve: exponential}")
    cells = [cell for schedule in schedules for cell in out.seeds("snip", 0.9, 97.0, schedule=schedule)]
    out.plan(*cells, vary=["schedule"])
    panel = panels(out.results())[0]
    drawn = figure(panel, {cell["cell"]: histogram([1, 2], [3, 4]) for cell in cells})
    assert {axes.get_ylabel() for axes in drawn.axes} == {"one_shot", "iterative steps=100\ncurve=exponential"}
    assert any("snip (schedule=…)" in text.get_text() for text in drawn.texts)


def test_a_plugin_has_one_colour_in_all_panels(out: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [*out.seeds("mine", 0.9, 97.0), *out.seeds("beta", 0.9, 97.0), *out.seeds("mine", 0.9, 96.0, scope="row")]
    out.plan(*cells)
    results = out.results(details={cell["cell"]: histogram([1, 2], [3, 4]) for cell in cells})
    drawn: list[Figure] = []
    monkeypatch.setattr(histograms, "rendered", lambda figure, _: drawn.append(figure) or {})
    histograms.files(results)
    look = looks(pd.concat([panel.table for panel in panels(results)]))
    assert look["mine"]["color"] != looks(panels(results)[1].table)["mine"]["color"], "these two are no example"
    found = {
        (axes.get_ylabel(), mpl.colors.to_hex(axes.patches[1].get_facecolor()).upper())
        for figure in drawn
        for axes in figure.axes
    }
    assert found == {(name, look[name]["color"]) for name in ("mine", "beta")}


def test_files_are_the_same_again_and_none_without_histograms(out: Out) -> None:
    cells = out.seeds("taylor", 0.9, 97.0)
    out.plan(*cells)
    details = {cells[0]["cell"]: histogram([1, 2], [3, 4])}
    first = histograms.files(out.results(details=details))
    assert first == histograms.files(out.results(details=details))
    assert [*first] == ["scores.pdf", "scores.png"]
    for nothing in ({}, {cells[0]["cell"]: {"histogram": None}}, {cells[0]["cell"]: {"layers": []}}):
        assert histograms.files(out.results(details=nothing)) == {}
