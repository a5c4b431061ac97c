"""Where a criterion leaves its weights: density of each layer as a heat map, criteria by layers."""

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.report.axes import power
from bench.report.frame import Results
from bench.report.layers import Details, points
from bench.report.panels import Panel, panels
from bench.report.style import CHARACTER, DOUBLE, SINGLE, STYLE, apart, broken, headed, over_seeds, rendered
from bench.report.summary import by_target, heading

COLOURS = "cividis"
"""Perceptually uniform, the same to the colour-blind, and from dark to light in grey."""
ROOM, BAR = 0.115, 0.6
"""Inches that a line of SMALL letters needs, and the colour bar with its label."""
DARK = 0.5
"""Share of the colour scale below which a mark is white."""
ROW, LAYER = 40, 26
"""Longest line of a row's name and longest name of a layer, in characters: of a longer one the end is shown."""


@mpl.rc_context(STYLE)
def files(results: Results) -> dict[str, bytes]:
    """Return density.pdf and .png, numbered where the plan has several panels; a panel without layers has none."""
    found: dict[str, bytes] = {}
    for panel in panels(results):
        if len(table := densities(panel, results.details)):
            found |= rendered(figure(panel, table), f"density{panel.suffix}")
    return found


def densities(panel: Panel, details: Details) -> pd.DataFrame:
    """Return row, sparsity_target, layer, n (seeds), density (their mean, 0 to 1), collapsed (in any), in plan order.

    Cells that are not ok, or whose record has no layers, are left out.
    """
    found = points(panel, details)
    found = found.assign(layer=found["layer"].str.removesuffix(".weight"), collapsed=found["collapsed"] > 0)
    return found[["row", "sparsity_target", "layer", "n", "density", "collapsed"]]


@mpl.rc_context(STYLE)
def figure(panel: Panel, table: pd.DataFrame) -> Figure:
    """Return a heat map for each target sparsity, beside each other where they fit."""
    pruned = panel.table[~panel.table["control"]]
    rows, layers = list(pruned["row"].unique()), list(table["layer"].unique())
    targets = sorted(pruned["sparsity_target"].unique())
    shared, names = apart(rows)
    if _alike(table, len(rows)):
        rows, names = rows[:1], ["all criteria" if pruned["criterion"].nunique() > 1 else "all variants"]
    drawn, places = _grid([broken(name, ROW) for name in names], layers, len(targets))
    lowest = table.loc[table["density"] > 0, "density"].min()
    scale = LogNorm(min(0.1, 10.0 ** math.floor(math.log10(lowest))) if lowest > 0 else 0.1, 1)
    for axes, target in zip(places, targets, strict=True):
        at = table["sparsity_target"].isna() if pd.isna(target) else table["sparsity_target"] == target
        image = _map(axes, table[at].set_index(["row", "layer"]), rows, layers, scale)
        axes.set_title(heading(target))
    height = drawn.get_figheight()
    shrink = 2 / drawn.get_figwidth()
    bar = drawn.colorbar(image, ax=places, location="bottom", shrink=shrink, aspect=25, pad=0.15 / height)
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power(100 * value)))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.set_label("weights kept (%)")
    drawn.set_figheight(height + BAR)
    cross = "; ×: no weight kept, in one seed at least" if table["collapsed"].any() else ""
    headed(drawn, panel.short, shared, f"{by_target(panel.cells)}; {over_seeds('mean', table['n'])}{cross}")
    return drawn


def _alike(table: pd.DataFrame, rows: int) -> bool:
    """Whether all of several rows look the same in each layer at each target."""
    groups = table.groupby(["sparsity_target", "layer"], dropna=False)
    spread = groups["density"].max() - groups["density"].min()
    same = spread.lt(1e-9) & groups["collapsed"].nunique().eq(1) & groups.size().eq(rows)
    return rows > 1 and bool(same.all())


def _grid(names: list[str], layers: list[str], count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` axes with room for the names of rows and layers."""
    left = CHARACTER * max(len(line) for name in names for line in name.split("\n")) + 0.3
    own = ROOM * len(layers) + 0.1
    columns = max(1, min(count, int((DOUBLE - left) / own)))
    lines = math.ceil(count / columns)
    tall = 1.2 * ROOM * len(names) * (1 + max(name.count("\n") for name in names)) + 0.3
    ends = [layer if len(layer) <= LAYER else f"…{layer[1 - LAYER :]}" for layer in layers]
    below = CHARACTER * max(map(len, ends)) * (1 + (count % columns > 0))  # a gap in the last line shows them above it
    width = SINGLE if left + columns * own <= SINGLE else DOUBLE
    drawn = Figure(figsize=(width, lines * tall + below), layout="constrained")
    grid = drawn.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    every = math.ceil(ROOM * len(layers) * columns / (width - left))
    for number, axes in enumerate(grid.flat):
        axes.set_yticks(np.arange(len(names)) + 0.5, names)
        axes.set_xticks(np.arange(0, len(layers), every) + 0.5, ends[::every], rotation=90)
        axes.tick_params(length=0, labelbottom=number + columns >= count)
        if number >= count:
            axes.remove()
    grid[0, 0].set_ylim(len(names), 0)
    return drawn, list(grid.flat[:count])


def _map(axes: Axes, table: pd.DataFrame, rows: list[str], layers: list[str], scale: LogNorm) -> Any:
    """Draw one map; a cross marks a layer of which nothing is left, white what has no record."""
    density, collapsed = (
        table[name].unstack().reindex(index=rows, columns=layers) for name in ("density", "collapsed")
    )
    # Zero has no place on a log scale: the darkest colour, and a mark.
    values = np.ma.masked_invalid(density.clip(lower=scale.vmin).to_numpy(float))
    for place, column in np.argwhere(collapsed.eq(True).to_numpy()):
        colour = "white" if scale(values[place, column]) < DARK else "black"
        axes.plot(column + 0.5, place + 0.5, marker="x", color=colour, markersize=3, markeredgewidth=0.8)
    return axes.pcolormesh(values, cmap=COLOURS, norm=scale, rasterized=True)
