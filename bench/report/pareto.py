"""Accuracy against what is saved, FLOPs or parameters, with the Pareto front of each network."""

import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from bench.report import render, tradeoff
from bench.report.axes import subplots, tick
from bench.report.frame import MEASURES, WHOLE, Results
from bench.report.notes import seeds
from bench.report.panels import Panel, panels
from bench.report.style import STYLE, Look, legend, looks, over_seeds, partial, rendered
from bench.report.summary import DECIMALS, heading, ratio, removed
from bench.report.table import Column, Report, Row, Table

NET = ["dataset", "model", "form"]
"""A front is over all that was measured on one network and data set, in one form: masked, where FLOPs are not time, or
compacted, where whole filters or blocks are gone."""
COLUMNS = (
    "dataset model form saving factor row panel target_kind sparsity_target measure value value_std n n_planned "
    "epochs_total front"
).split()
SAVINGS = ("speedup", "compression")
"""What pruning saves, as bench.report.tradeoff measures it."""
TEXTS = {
    ("speedup", "masked"): "theoretical speed-up in FLOPs (×)",
    ("speedup", "compacted"): "speed-up in FLOPs (×)",
    ("compression", "masked"): "compression in parameters (×)",
    ("compression", "compacted"): "compression in parameters (×)",
}
COARSE, FINE = (
    [digit * 10.0**exponent for exponent in range(6) for digit in digits]
    for digits in ((1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7))
)
"""Ticks of an axis of factors."""

FRONT: Look = {"color": "0.75", "linewidth": 2, "drawstyle": "steps-pre", "zorder": 1}
MEMBER: Look = {"markeredgecolor": "black", "markeredgewidth": 0.7}

LEGEND = (
    "A point (a criterion at a target, mean over seeds) is on the front if no other of its network, in the same form, "
    "saves as much and is as accurate, and is better in one of the two. Points that lack a seed are left out.",
    "A front takes means as they are: neighbours on it need not differ by more than chance, and epochs of training may "
    "differ. ±: sample standard deviation over seeds.",
    "Speed-up: FLOPs of the dense network over those left; compacted: counted on the smaller network; masked: masked "
    "weights count as gone, which saves no time on usual hardware. Compression: the same of parameters.",
)


@mpl.rc_context(STYLE)
def files(results: Results) -> dict[str, bytes]:
    """Return pareto.md, .csv, .tex and .html, and speedup and compression as .pdf and .png; without numbers, none."""
    found = points(results)
    own = render.files(report(results, found))
    for name in found["saving"].unique():
        own |= rendered(figure(results, str(name), found), str(name))
    return own


def points(results: Results) -> pd.DataFrame:
    """Return COLUMNS, a row for each of SAVINGS, panel, criterion and target sparsity: means over seeds.

    factor: dense over what is left; front: whether no other complete point of this network is at least as good in both
    and better in one. Complete are points of which all seeds are ok; others are on no front.
    """
    frames = [_points(panel, name) for name in SAVINGS for panel in panels(results)]
    found = pd.concat(frames, ignore_index=True)
    front = [_front(own) for _, own in found.groupby(["saving", *NET], sort=False)]
    return found.assign(front=pd.concat(front))[COLUMNS] if front else pd.DataFrame(columns=COLUMNS)


def _points(panel: Panel, saving: str) -> pd.DataFrame:
    own = tradeoff.points(panel)
    own = own.assign(saving=saving, form=own["granularity"].map(_form), factor=own[saving].replace(np.inf, np.nan))
    return own[own["value"].notna() & own["factor"].notna()]


def _form(granularity: str) -> str:
    return "compacted" if re.search(WHOLE, granularity) else "masked"


def _front(own: pd.DataFrame) -> "pd.Series[bool]":
    """Return which points of one network no other beats; equal ones are on the front together."""
    complete = own["n"] == own["n_planned"]
    # Means of equal counts can differ in their last bits.
    factor, value = (own[name].to_numpy(float).round(9) for name in ("factor", "value"))
    at_least = (factor[:, None] >= factor) & (value[:, None] >= value) & complete.to_numpy()[:, None]
    better = at_least & ((factor[:, None] > factor) | (value[:, None] > value))
    return complete & ~pd.Series(better.any(axis=0), index=own.index)


def report(results: Results, found: pd.DataFrame) -> Report:
    """Return a table of the members of each front, from the least to the most that is saved; all points beside it."""
    fronts = found.groupby(["saving", *NET], sort=False)
    tables = [_table(results, str(name), own) for (name, *_), own in fronts if own["front"].any()]
    return Report("pareto", str(results.plan["experiment"]), "Pareto fronts", tuple(tables), LEGEND, found)


def _table(results: Results, name: str, own: pd.DataFrame) -> Table:
    """Return the members of one front."""
    dataset, model, form = own[NET].iloc[0]
    cells = results.frame[results.frame["dataset"].eq(dataset) & results.frame["model"].eq(model)]
    members = own[own["front"]].sort_values("factor", kind="stable")
    every = {panel.title: panel.settings for panel in panels(results)}
    places, told = _settings(
        {title: every[title] for title in members["panel"].unique()}, {f"dataset={dataset}", f"model={model}"}
    )
    measure, saving = MEASURES[own["measure"].iloc[0]], name.replace("speedup", "speed-up")
    headings = ["criterion", removed(own), f"{saving} (×)", measure, "epochs", *["settings"] * bool(places)]
    rows = [Row((*_cells(row), *([places[row["panel"]]] if places else []))) for _, row in members.iterrows()]
    title = f"{results.plan['titles'].get(dataset, dataset)}, {model}, {form}: {measure} against {saving}"
    notes = (seeds(cells), f"{len(members)} of {len(own)} points are on the front.", *told)
    return Table("Pareto front", title, "", tuple(map(Column, headings)), tuple(rows), notes, stub=2)


def _settings(settings: dict[str, tuple[str, ...]], known: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return title -> its number in the table, none where there is only one, and notes that tell what is not known.

    settings: title -> settings of the panels that are on the front.
    """
    parts = {title: [part for part in own if part not in known] for title, own in settings.items()}
    shared = [part for part in next(iter(parts.values())) if all(part in own for own in parts.values())]
    notes = [f"Settings of all: {', '.join(shared)}."] if shared else []
    if len(parts) == 1:
        return {}, notes
    places = {title: f"({number})" for number, title in enumerate(parts, start=1)}
    rest = {title: ", ".join(part for part in own if part not in shared) for title, own in parts.items()}
    own = "; ".join(f"{place} {rest[title] or 'nothing else'}" for title, place in places.items())
    return places, [*notes, f"Settings: {own}."]


def _cells(row: "pd.Series[Any]") -> list[str]:
    number = f"{{:.{DECIMALS[row['measure']]}f}}".format
    value = number(row["value"]) + (f" ± {number(row['value_std'])}" if row["n"] > 1 else "")
    return [str(row["row"]), heading(row["sparsity_target"]), ratio(row["factor"]), value, f"{row['epochs_total']:g}"]


@mpl.rc_context(STYLE)
def figure(results: Results, name: str, found: pd.DataFrame) -> Figure:
    """Return the figure of one of SAVINGS: a subplot a panel, in each of them the front of its network."""
    own = found[found["saving"] == name]
    every = panels(results)
    shown = [panel for panel in every if panel.title in {*own["panel"]}]
    look = looks(pd.concat([panel.table for panel in every]))
    nets = [own.loc[own["panel"] == panel.title, NET].drop_duplicates() for panel in shown]
    texts = [TEXTS[name, max(net["form"])] for net in nets]  # masked, where a panel has both: the weaker word
    drawn, places, width = subplots(shown, texts)
    for panel, axes, net in zip(shown, places, nets, strict=True):
        _plot(axes, panel, own.merge(net), look, width)
    lines = {str(line.get_label()): line for axes in places for line in axes.get_lines()}
    handles: dict[str, Artist] = {label: lines[label] for label in look if label in lines}
    front = Line2D([], [], **FRONT)
    half = ", half filled: not all seeds" if (own["n"] < own["n_planned"]).any() else ""
    means = over_seeds("means", own["n"])
    legend(drawn, handles | {"Pareto front": front}, f"{means}; pale: not on the front of the network{half}")
    return drawn


def _plot(axes: Axes, panel: Panel, net: pd.DataFrame, look: dict[str, Look], width: float) -> None:
    """Draw the panel's points, pale where dominated, over the fronts (one a form) of all panels of its network."""
    low, high = net["factor"].min() / 1.15, net["factor"].max() * 1.15
    axes.set_xlim(low, high)  # before all else: matplotlib warns where it would have to find limits around one point
    axes.set_xscale("log")
    for name, value in panel.table.loc[panel.table["control"], ["row", "value"]].dropna().itertuples(index=False):
        axes.axhline(value, label=name, **look[name])
    for _, members in net[net["front"]].sort_values("factor").groupby("form"):
        axes.plot(members["factor"], members["value"], **FRONT)
    for name, line in net[net["panel"] == panel.title].sort_values("factor").groupby("row", sort=False):
        own = look[str(name)]
        axes.plot(line["factor"], line["value"], **_pale(own), markersize=3, linewidth=0.8)
        lacking = line[line["n"] < line["n_planned"]]
        if len(lacking):
            axes.plot(lacking["factor"], lacking["value"], **partial(_pale(own)), markersize=3)
        best = line[line["front"]]
        edge = {} if own["markerfacecolor"] == "white" else MEMBER  # a hollow marker has its colour at its edge alone
        axes.plot(best["factor"], best["value"], **own | edge | {"linestyle": "none", "zorder": 3}, markersize=5)
        axes.plot([], [], label=name, **own)
    finest = [float(factor) for factor in MaxNLocator(4).tick_values(low, high)]
    seen = [[factor for factor in factors if low <= factor <= high] for factors in (COARSE, FINE, finest)]
    tick(axes.xaxis, next((factors for factors in seen if len(factors) > 2), seen[-1]), 0.35 / width)
    axes.xaxis.set_minor_locator(NullLocator())


def _pale(look: Look) -> Look:
    """Return a look half faded to white, which print keeps apart from full colours also in grey."""
    colour: Any = tuple(0.5 + 0.5 * np.array(to_rgb(look["color"])))
    face = look["markerfacecolor"]
    return look | {"color": colour, "markerfacecolor": face if face == "white" else colour}
