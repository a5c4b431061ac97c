"""How the scores of each criterion are spread, and where the cut went through them."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from bench.report.axes import power
from bench.report.frame import Results
from bench.report.layers import Details
from bench.report.panels import Panel, panels
from bench.report.style import DOUBLE, SINGLE, SMALL, STYLE, Look, apart, broken, headed, legend, looks, rendered
from bench.report.summary import by_target, heading

MOST = 5
"""Targets side by side; of more, the first, the last and some between are shown."""
DECADES = 1.5
"""Span of scores, in powers of ten, below which numbers between them are ticks."""
NAME = 20
"""Longest line of a row's name, in characters."""

Histogram = dict[str, Any]
"""See bench.measure.histogram: counts of one cell's scores."""


@mpl.rc_context(STYLE)
def files(results: Results) -> dict[str, bytes]:
    """Return scores.pdf and .png, numbered where the plan has several panels; a panel without histograms has none."""
    found: dict[str, bytes] = {}
    look = looks(pd.concat([panel.table for panel in panels(results)]))
    for panel in panels(results):
        if own := histograms(panel, results.details):
            found |= rendered(figure(panel, own, look), f"scores{panel.suffix}")
    return found


def histograms(panel: Panel, details: Details) -> dict[tuple[str, str], Histogram]:
    """Return (row, heading of its target) -> histogram, of the panel's first seed.

    Cells that are not ok, records without a histogram, and shuffled masks, which are not those of the scores, are left
    out.
    """
    seed = panel.cells["seed"].iloc[0]
    cells = panel.cells[(panel.cells["seed"] == seed) & (panel.cells["status"] == "ok") & ~panel.cells["control"]]
    cells = cells[cells["ablation"] != "shuffle"]
    keys = zip(cells["row"], cells["sparsity_target"].map(heading), cells["cell"], strict=True)
    found = {(row, target): details.get(cell, {}).get("histogram") for row, target, cell in keys}
    return {key: histogram for key, histogram in found.items() if histogram}


@mpl.rc_context(STYLE)
def figure(panel: Panel, own: dict[tuple[str, str], Histogram], look: dict[str, Look]) -> Figure:
    """Return a row of histograms for each criterion, in its colour of `look`, one for each target sparsity."""
    rows = [row for row in panel.table["row"].unique() if any(row == name for name, _ in own)]
    ordered = panel.table.sort_values("sparsity_target")["column"].unique()
    every = [target for target in ordered if any(target == name for _, name in own)]
    targets = _some(every)
    drawn = Figure(figsize=(DOUBLE if len(targets) > 2 else SINGLE, 0.7 * len(rows) + 0.3), layout="constrained")
    grid = drawn.subplots(len(rows), len(targets), squeeze=False, sharex="row", sharey="row")
    shared, names = apart(rows)
    for places, row, name in zip(grid, rows, names, strict=True):
        ticks = _ticks([histogram for (name, _), histogram in own.items() if name == row])
        for axes, target in zip(places, targets, strict=True):
            axes.set_xticks(ticks, [power(10.0**value) for value in ticks])
            _draw(axes, own.get((row, target)), look[row]["color"])
            above = [target] * (row == rows[0]) + [_apart(own.get((row, target)))]
            axes.set_title("\n".join(filter(None, above)), pad=3)
        places[0].set_ylabel(broken(name, NAME), rotation=0, ha="right", va="center", fontsize=SMALL)
    for axes in grid[-1]:
        axes.set_xlabel("absolute score", fontsize=SMALL)
    some = f" ({len(targets)} of {len(every)})" if len(targets) < len(every) else ""
    facts = f"number of scores at the last pruning step, {by_target(panel.cells)}{some}"
    headed(drawn, panel.short, shared, f"{facts}; seed {panel.cells['seed'].iloc[0]}")
    meaning: dict[str, Artist] = {"removed": Patch(**REMOVED), "kept (in colour)": Patch(facecolor="0.3")}
    if any(axes.lines for axes in drawn.axes):
        meaning["cut, where it is one score"] = Line2D([], [], **CUT)
    legend(drawn, meaning, "")
    return drawn


REMOVED: Look = {"facecolor": "white", "edgecolor": "0.55", "hatch": "//////", "linewidth": 0.5}
CUT: Look = {"color": "black", "linewidth": 0.6, "linestyle": (0, (2, 1))}


def _some(targets: list[str]) -> list[str]:
    """Return at most MOST targets, evenly from the first to the last."""
    places = np.linspace(0, len(targets) - 1, min(MOST, len(targets))).round().astype(int)
    return [targets[place] for place in places]


def _draw(axes: Axes, histogram: Histogram | None, colour: str) -> None:
    """Draw counts of kept scores, on top of them those removed, and the cut where it is one of the whole network."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if histogram is None:
        axes.text(0.5, 0.5, "no histogram", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL)
        return
    low, high = histogram["low"], histogram["high"]
    room = 0.5 if low == high else 0.0
    kept, removed = (np.array(histogram[side], dtype=float) for side in ("kept", "removed"))
    edges = np.linspace(low - room, high + room, len(kept) + 1)
    axes.stairs(kept + removed, edges, baseline=kept, fill=True, **REMOVED)
    axes.stairs(kept, edges, fill=True, color=colour, linewidth=0)
    axes.set_ylim(bottom=0)
    first = int(np.argmax(kept > 0))
    # Where hardly any score is kept, its bar is too low to be seen; the line is not.
    if kept.any() and not removed[first + 1 :].any():
        axes.axvline(edges[first], **CUT)


def _ticks(histograms: list[Histogram]) -> list[float]:
    """Return two places or more, as logarithms: powers of ten where the scores span several."""
    low, high = min(own["low"] for own in histograms), max(own["high"] for own in histograms)
    if high - low < DECADES:
        places = np.log10(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(10.0**low, 10.0**high)[1:])
    else:
        places = np.array(MaxNLocator(3, integer=True).tick_values(low, high))
    return [place for place in places.tolist() if low <= place <= high] or [low]


def _apart(histogram: Histogram | None) -> str:
    """Return how many scores have no place on a log scale, or not by their sign."""
    known = {name: histogram[name] for name in ("zero", "negative") if histogram[name]} if histogram else {}
    return ", ".join(f"{name}: {count:,}" for name, count in known.items())
