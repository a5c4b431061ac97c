"""Accuracy against sparsity, a subplot a panel, for paper and screen."""

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.cell import CONTROLS
from bench.report.frame import MEASURES, Results
from bench.report.panels import Panel, panels
from bench.store import write

KNOWN = (
    "taylor magnitude snip random gradient grasp synflow fisher obd movement wanda lamp bn_scale fpgm hrank l1_norm "
    "l2_norm"
).split()
"""Each keeps its colour, marker and line in all figures; other names take the next ones."""

# Okabe and Ito's colours, which the colour-blind tell apart, less yellow (too light) and black (the controls').
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Seven and five beside six: no two of 210 names look alike, and a print in grey shows markers and dashes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))

ACCURACIES = (10, 20, 30, 50, 70, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
SPARSITIES = (50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)
"""Ticks in percent, where nothing gives others."""
LABEL = 33
"""Longest line of the legend, in characters."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 3,
    "text.parse_math": False,  # a name may hold a dollar sign
    "pdf.fonttype": 42,  # publishers refuse matplotlib's default, Type 3
    "savefig.dpi": 300,
}

Look = dict[str, Any]
"""How a row is drawn: arguments of Axes.plot."""


@mpl.rc_context(STYLE)
def draw(results: Results, folder: Path) -> list[Path]:
    """Write accuracy.pdf and accuracy.png; the same records give the same bytes."""
    files = {folder / f"accuracy.{kind}": data for kind, data in rendered(figure(results)).items()}
    for path, data in files.items():
        write(path, data)
    return [*files]


def rendered(drawn: Figure) -> dict[str, bytes]:
    """Return a figure as pdf and png, the same bytes each time; call it under STYLE."""
    files = {}
    for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {})):
        data = io.BytesIO()
        drawn.savefig(data, format=kind, metadata=metadata)
        files[kind] = data.getvalue()
    return files


def colours_and_markers(criteria: set[str]) -> dict[str, Look]:
    """Return `color` and `marker` of each criterion, the same in all figures; those not KNOWN take the next ones."""
    names = [*KNOWN, *sorted(criteria - {*KNOWN})]
    return {
        name: {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        for place, name in enumerate(names)
    }


def figure(results: Results) -> Figure:
    """Return the figure: lines are means over seeds, bands one sample standard deviation to each side."""
    shown = panels(results)
    looks = _looks(pd.concat([panel.table for panel in shown]))
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3)
    rows = math.ceil(len(shown) / columns)
    size = (5.5 if columns == 1 else 7.2, (3.0 if columns < 3 else 2.4) * rows)
    drawn = Figure(figsize=size, layout="constrained")
    several = len({panel.measure for panel in shown}) > 1
    one_data = results.frame["dataset"].nunique() == 1
    axes = drawn.subplots(rows, columns, squeeze=False, sharey=one_data)
    for number, (panel, place) in enumerate(zip(shown, axes.flat, strict=False)):
        table = pd.concat([p.table for p in (shown if one_data else [panel])])
        _prepare(place, panel, table[table["value"].notna()], drawn.get_figwidth() / columns)
        _plot(place, panel, looks)
        if number + columns >= len(shown):
            place.set_xlabel(_removed(panel))
        if number % columns == 0 or several:
            scale = "\n(log scale of the error)" if place.get_yscale() == "function" else ""
            place.set_ylabel(f"{panel.measure}{scale}")
    for unused in axes.flat[len(shown) :]:
        unused.remove()
    _legend(drawn, looks, results.frame["seed"].nunique())
    return drawn


def _removed(panel: Panel) -> str:
    """Return what the targets are shares of, as an axis is labelled."""
    kinds = {"filters": "filters removed (%)", "params": "parameters removed (%)", "flops": "FLOPs removed (%)"}
    found = [kinds[kind] for kind in panel.cells["target_kind"].dropna().unique() if kind in kinds]
    return found[0] if found else "sparsity (%)"


def _prepare(axes: Axes, panel: Panel, table: pd.DataFrame, width: float) -> None:
    """Set title, scales and ticks of axes of about `width` inches, for the values of a table."""
    means = table["value"]
    percent = panel.measure == MEASURES["top1"]
    axes.set_title("\n".join(textwrap.wrap(panel.title, int(15 * width))))
    axes.set_xscale("function", functions=(_nines, _percent))
    targets = 100 * panel.table.loc[~panel.table["control"], "sparsity_target"].dropna()
    if targets.empty:
        axes.set_xlim(0, SPARSITIES[-1])
    _tick(axes.xaxis, sorted(targets.unique()) or SPARSITIES, 0.35 / width)
    if means.empty:
        axes.set_ylim(0, 100 if percent else 1)
    # Where nets collapse, a linear axis would hide what tells the good ones apart.
    if percent and means.max() - means.min() > 20 and means.max() < 100:
        # Room for the bands, but a band that reaches 100 % may not take the whole axis.
        room = 100 - (means + table["value_std"].fillna(0)).max()
        bottom, top = max(0.0, means.min() - 5), 100 - max(0.9 * room, 0.2 * (100 - means.max()))
        axes.set_yscale("function", functions=(_nines, _percent))
        axes.set_ylim(bottom, top)
        _tick(axes.yaxis, [value for value in ACCURACIES if bottom <= value <= top], 0.09)


def _plot(axes: Axes, panel: Panel, looks: dict[str, Look]) -> None:
    """Draw a line and a band for each row that has numbers; a control has one accuracy, drawn from side to side."""
    table = panel.table.assign(x=100 * panel.table["sparsity_target"].fillna(panel.table["sparsity"]))
    table = table.assign(spread=table["value_std"].fillna(0)).sort_values("x", kind="stable")
    dense = table[table["control"] & table["value"].notna()]
    for name, value in zip(dense["row"], dense["value"], strict=True):
        axes.axhline(value, label=name, **looks[name])
    pruned = table[~table["control"]]
    rows = [(looks[str(name)] | {"label": name}, points) for name, points in pruned.groupby("row", sort=False)]
    alone = pruned["x"].dropna().unique()
    if len(alone) == 1:
        axes.set_xlim(*_percent(_nines(alone[0]) + np.array([-0.3, 0.3])))
    for place, (look, points) in enumerate(rows):
        x, value, spread = points["x"], points["value"], points["spread"]
        if len(alone) == 1:  # beside each other, not on top of each other
            x = _percent(_nines(x) + 0.15 * (2 * place + 1 - len(rows)) / (len(rows) + 1))
        if value.count():
            axes.plot(x, value, **look)
        if value.count() == 1:
            axes.errorbar(x, value, yerr=spread, fmt="none", ecolor=look["color"])
        else:
            axes.fill_between(x, value - spread, value + spread, color=look["color"], alpha=0.15, linewidth=0)


def _nines(percent: Any) -> Any:
    """Return 1 for 90 %, 2 for 99 %, ...: a log scale of what is left, weights or errors."""
    return -np.log10(1 - np.minimum(percent, 99.99999) / 100)


def _percent(nines: Any) -> Any:
    return 100 * (1 - 10.0 ** -np.asarray(nines))


def _tick(axis: Axis, values: Sequence[float], gap: float) -> None:
    """Put ticks at percentages and label those that are `gap` apart, as a share of the axis, from the last down."""
    labelled: list[float] = []
    for value in reversed(values):
        if not labelled or _nines(labelled[-1]) - _nines(value) >= gap * (_nines(values[-1]) - _nines(values[0])):
            labelled.append(value)
    axis.set_ticks(labelled, [f"{value:.6g}" for value in labelled])
    axis.set_ticks(values, minor=True)
    axis.set_minor_formatter(NullFormatter())


def _looks(table: pd.DataFrame) -> dict[str, Look]:
    """Return how each row is drawn, controls first; rows of one criterion share colour and marker."""
    rows = table.drop_duplicates("row").sort_values("row")
    looks: dict[str, Look] = {}
    controls = rows[rows["control"]]
    for name, control in zip(controls["row"], controls["criterion"], strict=True):
        line = "--" if control == CONTROLS[1] else "-"
        looks[name] = {"color": "black", "linewidth": 0.9, "linestyle": line}
    criteria = rows[~rows["control"]]
    for place, (name, mark) in enumerate(colours_and_markers(set(criteria["criterion"])).items()):
        for variant, row in enumerate(criteria.loc[criteria["criterion"] == name, "row"]):
            looks[str(row)] = mark | {
                "markerfacecolor": "white" if variant else mark["color"],
                "linestyle": LINES[(place + variant) % len(LINES)],
            }
    return looks


def _legend(drawn: Figure, looks: dict[str, Look], seeds: int) -> None:
    """Put one legend for all panels below them, in as many columns as fit, and make the figure higher by it."""
    lines = {str(line.get_label()): line for axes in drawn.axes for line in axes.get_lines()}
    labels = {name: "\n".join(textwrap.wrap(name, LABEL)) for name in looks if name in lines}
    longest = max((len(part) for label in labels.values() for part in label.split("\n")), default=0)
    columns = max(1, int(drawn.get_figwidth() / (0.65 + 0.062 * longest)))
    legend = drawn.legend(
        [lines[name] for name in labels],
        list(labels.values()),
        title="one seed" if seeds == 1 else f"mean ± 1 sample standard deviation over {seeds} seeds",
        loc="outside lower center",
        ncols=columns,
    )
    drawn.set_figheight(drawn.get_figheight() + legend.get_window_extent().height / drawn.dpi)
