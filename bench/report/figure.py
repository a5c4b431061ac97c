"""Accuracy against sparsity, a subplot a panel, for paper and screen."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report.axes import CROWDED, nines, percentage, subplots, tick
from bench.report.frame import Results
from bench.report.panels import Panel, panels
from bench.report.style import STYLE, Look, legend, looks, over_seeds, partial, rendered
from bench.report.summary import removed

SPARSITIES = (50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
"""Ticks in percent, where nothing gives others."""


@mpl.rc_context(STYLE)
def files(results: Results) -> dict[str, bytes]:
    """Return accuracy.pdf and accuracy.png; the same records give the same bytes."""
    return rendered(figure(results), "accuracy")


@mpl.rc_context(STYLE)
def figure(results: Results) -> Figure:
    """Return the figure: lines are means over seeds, bands or bars one sample standard deviation to each side."""
    shown = panels(results)
    table = pd.concat([panel.table for panel in shown])
    look = looks(table)
    drawn, places, width = subplots(shown, [f"{removed(panel.cells)} (%)" for panel in shown])
    for panel, axes in zip(shown, places, strict=True):
        _scale_targets(axes, panel, width)
        _plot(axes, panel, look)
    lines = {str(line.get_label()): line for axes in places for line in axes.get_lines()}
    legend(drawn, {name: lines[name] for name in look if name in lines}, _spread(table))
    return drawn


def _spread(table: pd.DataFrame) -> str:
    """Return what points and bands are."""
    known = table[table["value"].notna()]
    counts = known["n"] if len(known) else table["n_planned"]
    half = "; half filled: not all seeds" if (~known["control"] & (known["n"] < known["n_planned"])).any() else ""
    return over_seeds("mean ± 1 sample standard deviation", counts) + half


def _scale_targets(axes: Axes, panel: Panel, width: float) -> None:
    """Set scale and ticks of the horizontal axis, about `width` inches long."""
    axes.set_xscale("function", functions=(nines, percentage))
    targets = 100 * panel.table.loc[~panel.table["control"], "sparsity_target"].dropna()
    if targets.empty:
        axes.set_xlim(0, SPARSITIES[-1])
    tick(axes.xaxis, sorted(targets.unique()) or SPARSITIES, 0.35 / width)


def _plot(axes: Axes, panel: Panel, look: dict[str, Look]) -> None:
    """Draw a line and its spread for each row that has numbers; a control has one accuracy, from side to side."""
    table = panel.table.assign(x=100 * panel.table["sparsity_target"].fillna(panel.table["sparsity"]))
    table = table.assign(spread=table["value_std"].fillna(0)).sort_values("x", kind="stable")
    dense = table[table["control"] & table["value"].notna()]
    for name, value in zip(dense["row"], dense["value"], strict=True):
        axes.axhline(value, label=name, **look[name])
    pruned = table[~table["control"]]
    rows = [(str(name), points) for name, points in pruned.groupby("row", sort=False) if points["value"].count()]
    places = np.unique(nines(pruned["x"].dropna()))
    if len(places) == 1:
        axes.set_xlim(*percentage(places + np.array([-0.3, 0.3])))
    # Beside each other, not on top of each other, where bands would hide one another.
    room = 0.15 if len(places) == 1 else 0.08 * np.diff(places).min(initial=1) if len(rows) > CROWDED else 0
    for number, (name, points) in enumerate(rows):
        x = percentage(nines(points["x"]) + room * (2 * number + 1 - len(rows)) / (len(rows) + 1))
        size = {"markersize": 3.5, "linewidth": 0.8} if len(rows) > CROWDED else {}
        _line(axes, x, points, look[name] | size | {"label": name}, bars=room > 0)


def _line(axes: Axes, x: Any, points: pd.DataFrame, look: Look, bars: bool) -> None:
    value, deviation = points["value"], points["spread"]
    axes.plot(x, value, **look)
    lacking = value.notna() & (points["n"] < points["n_planned"])
    if lacking.any():
        axes.plot(x[lacking], value[lacking], **partial(look) | {"label": ""})
    if bars or value.count() == 1:
        axes.errorbar(x, value, yerr=deviation, fmt="none", ecolor=look["color"], elinewidth=0.7)
    else:
        axes.fill_between(x, value - deviation, value + deviation, color=look["color"], alpha=0.15, linewidth=0)
