"""What is left of each layer: its density by criterion and target sparsity, and the nets that fell apart."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from bench.report import render
from bench.report.frame import PANEL, ROW, Results
from bench.report.notes import notes, origin
from bench.report.panels import Panel, panels
from bench.report.summary import by_target, heading
from bench.report.table import Column, Report, Row, Table

KEY = ["row", *ROW, *PANEL, "sparsity_target"]

TIDY = ("panel", *KEY, "layer", "place", "weights", "n", "density", "density_std", "low", "high", "collapsed")

LEGEND = (
    "Weights left over weights, in percent, mean over seeds; 0: nothing is left in any seed.",
    "collapsed: nets with a layer without any weight; disconnected: nets without a path from input to output.",
)

Details = Mapping[str, Mapping[str, Any]]
"""As Results has them."""


def files(results: Results) -> dict[str, bytes]:
    """Return layers.md, .csv, .tex and .html; nothing where no record holds its layers."""
    shown = [(panel, own) for panel in panels(results) if len(own := points(panel, results.details))]
    if not shown:
        return {}
    tables = tuple(_table(panel, own) for panel, own in shown)
    tidy = pd.concat([own for _, own in shown], ignore_index=True)[list(TIDY)]
    legend = (*LEGEND, *origin(results))
    return render.files(Report("layers", results.plan["experiment"], _subject(results.frame), tables, legend, tidy))


def _subject(cells: pd.DataFrame) -> str:
    return f"weights left in each layer (%) {by_target(cells)}"


def points(panel: Panel, details: Details) -> pd.DataFrame:
    """Return TIDY, one row for each row, target sparsity and layer of a panel, from the cells that are ok."""
    cells = panel.cells[panel.cells["status"].eq("ok") & ~panel.cells["control"]]
    rows = [
        {**{name: cell[name] for name in KEY}, "layer": layer["name"], "place": place, **_left(layer)}
        for _, cell in cells.iterrows()
        for place, layer in enumerate(details.get(cell["cell"], {}).get("layers") or [])
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
    """Return layers downwards, criteria across below each target, in the order of the accuracy table."""
    planned = panel.table[~panel.table["control"]]
    places = planned.sort_values("sparsity_target", kind="stable")[["sparsity_target", "row"]]
    across = [(heading(target), str(row)) for target, row in places.itertuples(index=False)]
    named = points.assign(column=points["sparsity_target"].map(heading, na_action=None))
    density = {(p["column"], p["row"], p["layer"]): p["density"] for _, p in named.iterrows()}
    states = {(p["column"], str(p["row"])): p["shown"] for _, p in planned.iterrows() if not p["n"]}
    layers = points.sort_values("place", kind="stable").drop_duplicates("layer")
    fallen = {column: _counts(panel, column) for column in ("collapsed", "disconnected")}
    columns = _merged(
        {
            at: (
                *(states.get(at) or _percent(density.get((*at, name))) for name in layers["layer"]),
                *(counts.get(at, "") for counts in fallen.values()),
            )
            for at in across
        }
    )
    stub = [(name.removesuffix(".weight"), str(weights)) for name, weights in layers[["layer", "weights"]].to_numpy()]
    stub += [(column, "") for column in fallen]
    lines = zip(stub, *(texts for _, texts in columns), strict=True)
    rows = tuple(Row((*names, *cells), rule=place == len(layers)) for place, (names, *cells) in enumerate(lines))
    heads = (Column("layer"), Column("weights"), *(column for column, _ in columns))
    return Table(_subject(panel.cells), panel.title, panel.about, heads, rows, tuple(notes(panel)), stub=2)


def _merged(columns: Mapping[tuple[str, str], tuple[str, ...]]) -> list[tuple[Column, tuple[str, ...]]]:
    """Return columns of texts, those of (target, row) that read the same at one target in one column."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (target, row), texts in columns.items():
        alike.setdefault((target, texts), []).append(row)
    rows = Counter(target for target, _ in columns)
    return [
        (Column("all criteria" if len(own) == rows[target] > 1 else ", ".join(own), target), texts)
        for (target, texts), own in alike.items()
    ]


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
