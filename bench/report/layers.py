"""What is left of each layer: its density by criterion and target sparsity, and the nets that fell apart."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report import render
from bench.report.frame import PANEL, ROW, Results
from bench.report.notes import notes, origin
from bench.report.panels import Panel, panels
from bench.report.summary import heading
from bench.report.table import Column, Report, Row, Table

SUBJECT = "weights left in each layer (%) by target sparsity"

KEY = ["row", *ROW, *PANEL, "sparsity_target"]

TIDY = ("panel", *KEY, "layer", "place", "weights", "n", "density", "density_std", "low", "high", "collapsed")

LEGEND = (
    "Weights left over weights, in percent, mean over seeds; 0: nothing is left in any seed.",
    "collapsed: nets with a layer without any weight; disconnected: nets without a path from input to output.",
)

Details = Mapping[str, Any]
"""As store.load_details gives them."""


def files(results: Results, details: Details) -> dict[str, bytes]:
    """Return layers.md, .csv, .tex and .html; nothing where no record holds its layers."""
    shown = [(panel, own) for panel in panels(results) if len(own := points(panel, details))]
    if not shown:
        return {}
    tables = tuple(_table(panel, own) for panel, own in shown)
    tidy = pd.concat([own for _, own in shown], ignore_index=True)[list(TIDY)]
    legend = (*LEGEND, *origin(results))
    return render.files(Report("layers", results.plan["experiment"], SUBJECT, tables, legend, tidy))


def points(panel: Panel, details: Details) -> pd.DataFrame:
    """Return TIDY, one row for each row, target sparsity and layer of a panel, from the cells that are ok."""
    cells = panel.cells[panel.cells["status"].eq("ok") & ~panel.cells["control"]]
    rows = [
        {**{name: cell[name] for name in KEY}, "layer": layer["name"], "place": place, **_left(layer)}
        for _, cell in cells.iterrows()
        for place, layer in enumerate((details.get(cell["cell"]) or {}).get("layers") or [])
    ]
    if not rows:
        return pd.DataFrame(columns=list(TIDY))
    grouped = pd.DataFrame(rows).groupby([*KEY, "layer", "place", "weights"], dropna=False, sort=False)["density"]
    found = grouped.agg(n="size", density="mean", density_std="std", low="min", high="max", collapsed=_empty)
    return found.reset_index().assign(panel=panel.title)


def _left(layer: dict[str, Any]) -> dict[str, Any]:
    return {"weights": layer["total"], "density": layer["kept"] / layer["total"]}


def _empty(densities: "pd.Series[float]") -> int:
    return int(densities.eq(0).sum())


def _table(panel: Panel, points: pd.DataFrame) -> Table:
    """Return layers downwards, criteria across below each target sparsity, in the order of the accuracy table."""
    planned = panel.table[~panel.table["control"]]
    places = planned.sort_values("sparsity_target", kind="stable")[["sparsity_target", "row"]]
    across = [(heading(target), str(row)) for target, row in places.itertuples(index=False)]
    named = points.assign(column=points["sparsity_target"].map(heading, na_action=None))
    density = {(p["column"], p["row"], p["layer"]): p["density"] for _, p in named.iterrows()}
    states = {(p["column"], str(p["row"])): p["shown"] for _, p in planned.iterrows() if not p["n"]}
    layers = points.sort_values("place", kind="stable").drop_duplicates("layer")
    rows = [
        Row(
            (
                name.removesuffix(".weight"),
                str(weights),
                *(states.get(at) or _percent(density.get((*at, name))) for at in across),
            )
        )
        for name, weights in layers[["layer", "weights"]].itertuples(index=False)
    ]
    for number, column in enumerate(("collapsed", "disconnected")):
        counts = _counts(panel, column)
        rows.append(Row((column, "", *(counts.get(at, "") for at in across)), rule=not number))
    columns = (Column("layer"), Column("weights"), *(Column(row, target) for target, row in across))
    return Table(SUBJECT, panel.title, panel.about, columns, tuple(rows), tuple(notes(panel)), stub=2)


def _percent(density: float | None) -> str:
    """Return one decimal; 0 and 100 only where it is exactly that."""
    if density is None:
        return ""
    if density in (0, 1):
        return f"{100 * density:.0f}"
    return "< 0.1" if density < 0.0005 else "> 99.9" if density >= 0.9995 else f"{100 * density:.1f}"


def _counts(panel: Panel, column: str) -> dict[tuple[str, str], str]:
    """Return (heading, row) -> in how many nets of those that are ok."""
    cells = panel.cells[panel.cells["status"] == "ok"]
    hit = {"collapsed": cells["collapsed_layers"].gt(0), "disconnected": cells["disconnected"].eq(True)}[column]
    groups = hit.groupby([cells["sparsity_target"].map(heading, na_action=None), cells["row"]])
    return {(str(at), str(row)): f"{own.sum()} of {len(own)}" for (at, row), own in groups}
