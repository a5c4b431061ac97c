"""What the axes of figures share: a subplot a panel, scales, ticks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.report.frame import MEASURES
from bench.report.panels import Panel
from bench.report.style import DOUBLE, SINGLE, wrapped

ACCURACIES = (10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 98, 99, 99.5, 99.8, 99.9)
"""Ticks in percent of an axis of accuracies with a log scale of the error."""
CROWDED = 6
"""Rows of a panel from which a single one is drawn over two columns, and spreads as bars instead of bands."""


def subplots(shown: Sequence[Panel], xlabel: Sequence[str]) -> tuple[Figure, list[Axes], float]:
    """Return a figure, titled axes for each panel, their values ready to be compared, and the axes' width in inches.

    Panels of one data set share the scale of their values. xlabel: what the horizontal axis of each panel shows.
    """
    columns = min(len(shown), 2 if len(shown) in (2, 4) else 3)
    rows = math.ceil(len(shown) / columns)
    narrow = len(shown) == 1 and shown[0].table["row"].nunique() - 2 <= CROWDED
    drawn = Figure(figsize=(SINGLE if narrow else DOUBLE, (2.6 if columns < 3 else 2.2) * rows), layout="constrained")
    width = drawn.get_figwidth() / columns
    one_data = len({panel.cells["dataset"].iloc[0] for panel in shown}) == 1
    grid = drawn.subplots(rows, columns, squeeze=False, sharey=one_data)
    several = len({panel.measure for panel in shown}) > 1
    for number, (panel, axes) in enumerate(zip(shown, grid.flat, strict=False)):
        axes.set_title(wrapped(panel.short, width - 0.45))
        _scale_values(axes, panel.measure, pd.concat([p.table for p in (shown if one_data else [panel])]))
        below = number + columns
        if below >= len(shown) or xlabel[below] != xlabel[number]:
            axes.set_xlabel(xlabel[number])
        if number % columns == 0 or several:
            scale = "\n(log scale of the error)" if axes.get_yscale() == "function" else ""
            axes.set_ylabel(f"{panel.measure}{scale}")
    for unused in grid.flat[len(shown) :]:
        unused.remove()
    return drawn, list(grid.flat[: len(shown)]), width


def _scale_values(axes: Axes, measure: str, table: pd.DataFrame) -> None:
    """Set the vertical scale for the values of a table."""
    known = table[table["value"].notna()]
    means = known["value"]
    percent = measure == MEASURES["top1"]
    if means.empty:
        axes.set_ylim(0, 100 if percent else 1)
    # Where good nets collapse, a linear axis would hide what tells them apart.
    if percent and means.max() - means.min() > 20 and 90 < means.max() < 100:
        # Room for the bands, but a band that reaches 100 % may not take the whole axis.
        room = 100 - (means + known["value_std"].fillna(0)).max()
        top = 100 - max(0.9 * room, 0.2 * (100 - means.max()))
        lowest = nines(max(0.0, (means - known["value_std"].fillna(0)).min()))
        bottom = float(percentage(lowest - 0.03 * (nines(top) - lowest)))  # and room for a marker
        axes.set_yscale("function", functions=(nines, percentage))
        axes.set_ylim(bottom, top)
        tick(axes.yaxis, [value for value in ACCURACIES if bottom <= value <= top], 0.09)


def nines(percent: Any) -> Any:
    """Return 1 for 90 %, 2 for 99 %, ...: a log scale of what is left, weights or errors."""
    return -np.log10(1 - np.minimum(percent, 99.99999) / 100)


def percentage(nines: Any) -> Any:
    """Return the percentage of a number of nines."""
    return 100 * (1 - 10.0 ** -np.asarray(nines))


def tick(axis: Axis, values: Sequence[float], gap: float) -> None:
    """Put ticks at values and label those that are `gap` apart, as a share of the axis, from the last down."""
    places = dict(zip(values, axis.get_transform().transform(np.array(values, dtype=float)), strict=True))
    labelled: list[float] = []
    for value in reversed(values):
        if not labelled or places[labelled[-1]] - places[value] >= gap * (places[values[-1]] - places[values[0]]):
            labelled.append(value)
    axis.set_ticks(labelled, [f"{value:.6g}" for value in labelled])
    axis.set_ticks(values, minor=True)
    axis.set_minor_formatter(NullFormatter())


def power(value: float) -> str:
    """Return a short number as 0.01, 1, 250, or 10⁻⁵ and 2.5·10⁻⁵ where that is shorter."""
    exponent = math.floor(math.log10(value) + 1e-9)
    if abs(exponent) < 3:
        return f"{value:.3g}"
    digits = f"{value / 10.0**exponent:.3g}"
    superscript = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{superscript}" if digits == "1" else f"{digits}·10{superscript}"
