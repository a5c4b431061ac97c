"""What the page shows, as plain values: an overview that it reads at once, details for the cell that is opened."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from bench.cell import CONTROLS
from bench.report.command import command
from bench.report.frame import PANEL, Results, measures
from bench.report.notes import legend, notes
from bench.report.panels import USUAL, Panel, panels
from bench.report.style import LINES, MARKERS, Look, looks
from bench.report.summary import heading
from bench.report.table import Report
from bench.store import canonical

MEANS = ("value", "value_std", "sparsity", "sparsity_effective", "params", "flops", "epochs_total")
"""Numbers of a row of the leaderboard, means over its seeds that are ok."""

SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
DASHES = ("solid", "6px,3px", "8px,2px,2px,2px", "2px,2px", "5px,2px,2px,2px,2px,2px")
"""MARKERS and LINES in plotly's words."""
CONTROL_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}

DIGITS = 6
"""Significant digits of the numbers of the page."""

VARYING = ("seed", "sparsity", "sparsity_target")
"""What the cells of a row have each for itself; the rest of their configuration is kept once."""


@dataclass(frozen=True)
class Book:
    """One plan and its results, under the name that the page gives them."""

    name: str
    results: Results
    reports: tuple[Report, ...] = ()
    """What the page shows of it besides, as it is."""


class Pool:
    """Values that are equal are kept once, and named by their place."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, value: Any) -> int:
        """Return where a value is kept."""
        place = self._places.setdefault(canonical(value), len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place


def overview(books: Sequence[Book]) -> dict[str, Any]:
    """Return books, their panels, and groups: the seeds of one row of a panel at one target, with their means."""
    settings = Pool()
    shown: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    for number, book in enumerate(books):
        found = panels(book.results)
        look = looks(pd.concat([panel.table for panel in found]))
        for panel in found:
            groups += _groups(panel, len(shown), settings)
            drawn = {name: _look(look[name]) for name in panel.table["row"].unique()}
            texts = {"title": panel.title, "about": panel.about, "measure": panel.measure, "notes": notes(panel)}
            shown.append(texts | {"book": number, "looks": drawn})
    return {
        "summary": _summary(books),
        "books": [{"name": book.name, "notes": legend(book.results, "bold")[1:]} for book in books],
        "panels": shown,
        "groups": groups,
        "settings": settings.values,
    }


def _summary(books: Sequence[Book]) -> list[str]:
    """Return how many experiments, cells, criteria and, where there are some, what is failed or missing."""
    cells = pd.concat([book.results.frame[["cell", "criterion", "status"]] for book in books]).drop_duplicates()
    criteria = cells.loc[~cells["criterion"].isin(CONTROLS), "criterion"].nunique()
    states = cells["status"].value_counts()
    counts = {"experiments": len(books), "criteria": criteria, "cells": len(cells)}
    counts |= {state: int(states.get(state, 0)) for state in ("failed", "missing")}
    singular = {"experiments": "experiment", "criteria": "criterion", "cells": "cell"}
    return [f"{count} {singular.get(name, name) if count == 1 else name}" for name, count in counts.items() if count]


def _groups(panel: Panel, number: int, settings: Pool) -> list[dict[str, Any]]:
    """Return the rows of a panel's leaderboard: controls, then target by target the best criterion first."""
    ids: dict[tuple[str, str], list[str]] = {}
    for row, target, cell in panel.cells.sort_values("seed")[["row", "sparsity_target", "cell"]].itertuples(
        index=False
    ):
        ids.setdefault((row, heading(target)), []).append(cell)
    change = _change(panel)
    table = panel.table.sort_values(
        ["control", "sparsity_target", "value"], ascending=[False, True, False], kind="stable"
    )
    groups = []
    for row in table.to_dict("records"):
        own = {name: row[name] for name in ("row", "column", "shown", "n", "n_planned")}
        own |= {"control": bool(row["control"]), "best": bool(row["best"]), "cells": ids[row["row"], row["column"]]}
        own |= {name: rounded(row[name]) for name in MEANS}
        own["against_dense"] = rounded(change.get((row["row"], row["column"])))
        setting = settings.place({name: None if row[name] == USUAL.get(name) else rounded(row[name]) for name in PANEL})
        groups.append(own | {"target": rounded(row["sparsity_target"]), "panel": number, "setting": setting})
    return groups


def _change(panel: Panel) -> dict[Any, float]:
    """Return (row, heading) -> mean over seeds of the difference to the dense net of the same seed; none of dense."""
    (measure, *_) = measures(panel.cells)
    cells = panel.cells[panel.cells["status"].eq("ok") & panel.cells["criterion"].ne("dense")]
    differences = cells[measure] - pd.to_numeric(cells[f"{measure}_dense"])
    means = differences.groupby([cells["row"], cells["sparsity_target"].map(heading)]).mean()
    # Equal counts of test images can differ in their last bits: what remains of zero is to be zero, without a sign.
    return (means.round(10) + 0.0).to_dict()


def _look(look: Look) -> dict[str, Any]:
    """Return how a row is drawn in plotly's words; no colour: the text's, as the controls have."""
    if "marker" not in look:
        return {"dash": CONTROL_DASHES[look["linestyle"]]}
    hollow = "-open" if look["markerfacecolor"] == "white" else ""
    symbol = SYMBOLS[MARKERS.index(look["marker"])] + hollow
    return {"color": look["color"], "symbol": symbol, "dash": DASHES[LINES.index(look["linestyle"])]}


def details(books: Sequence[Book]) -> dict[str, Any]:
    """Return cells (a mapping by id for each book) and the pool that holds what several of them share."""
    pool = Pool()
    return {"cells": [_cells(book, pool) for book in books], "pool": pool.values}


def _cells(book: Book, pool: Pool) -> dict[str, Any]:
    frame = book.results.frame.astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    return {
        cell["cell"]: _cell(cell, book, pool)
        | {
            "measured": {
                str(name): rounded(value) for name, value in row.items() if name not in cell and value is not None
            }
        }
        for cell, row in zip(book.results.plan["cells"], rows, strict=True)
    }


def _cell(columns: Mapping[str, Any], book: Book, pool: Pool) -> dict[str, Any]:
    """Return what the page tells of a planned cell, but for what its record measured."""
    found = book.results.details.get(columns["cell"], {})
    layers = found.get("layers") or []
    config = found.get("config") or {name: value for name, value in columns.items() if name != "cell"}
    return {
        "seed": columns["seed"],
        "target": columns["sparsity_target"],
        "command": command(book.results.plan, columns, found.get("config")),
        "config": pool.place({name: value for name, value in config.items() if name not in VARYING}),
        "curves": [pool.place(stage) for stage in _stages(found.get("curves") or [])],
        "layers": pool.place([[layer["name"], layer["total"]] for layer in layers]),
        "kept": [layer["kept"] for layer in layers],
        "histogram": rounded(found.get("histogram")),
    }


def _stages(curves: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each stage's name, number of epochs, and a list of values for each curve that it has."""
    stages = []
    for name, rows in groupby(curves, key=lambda row: row["stage"]):
        epochs = list(rows)
        names = [key for key in epochs[0] if "/" in key]
        values = {key: [rounded(row.get(key)) for row in epochs] for key in names}
        stages.append({"stage": name, "epochs": len(epochs), "values": values})
    return stages


def rounded(value: Any) -> Any:
    """Return plain values of JSON, floats with DIGITS significant digits, None where one is not finite."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
