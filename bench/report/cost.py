"""What scoring costs: seconds, in epochs of training, memory; each measured run of a criterion counts once."""

from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from bench.report import render
from bench.report.frame import ENVIRONMENT, Results
from bench.report.notes import notes, origin
from bench.report.panels import Panel, panels
from bench.report.summary import significant
from bench.report.table import Column, Report, Row, Table

MADE = ("device", "precision", *ENVIRONMENT)
"""Cells that differ in one of these were made elsewhere: their times share no row."""

NET = ["dataset", "model", "recipe", *MADE]
"""Trainings equal in these take equally long."""

SUBJECT = "cost of scoring"

TIDY = (
    *("panel", "row", "criterion", *NET, "state", "cells", "measured", "score_samples", "score_batch"),
    *("score_s", "score_s_low", "score_s_high", "epoch_s", "epochs", "peak_memory_mb"),
)

HEADINGS = ("criterion", "samples", "batch", "measured", "seconds", "epochs", "peak MB")

LEGEND = {
    "seconds": "seconds: median of the runs of the criterion (least to most), all steps of the schedule together. "
    "Cells that share their scores share one run, which counts once (measured).",
    "epochs": "epochs: the same in epochs of dense training on the same machine.",
    "samples": "samples, batch: of the scoring set, which every criterion is given, whether it reads it or not.",
    "peak MB": "peak MB: highest memory of tensors on the GPU while a cell was made, training included; the median of "
    "the cells.",
}
"""By the column that each explains."""


def files(results: Results) -> dict[str, bytes]:
    """Return cost.md, .csv, .tex and .html; nothing where no scoring was timed."""
    shown = panels(results)
    points = [_points(panel) for panel in shown]
    timed = [pair for pair in zip(shown, points, strict=True) if pair[1]["measured"].any()]
    if not timed:
        return {}
    tables = tuple(_table(panel, own) for panel, own in timed)
    tidy = pd.concat(points, ignore_index=True)[list(TIDY)]
    names = {column.name for table in tables for column in table.columns}
    legend = (*(text for name, text in LEGEND.items() if name in names), *origin(results))
    return render.files(Report("cost", results.plan["experiment"], SUBJECT, tables, legend, tidy))


def _points(panel: Panel) -> pd.DataFrame:
    """Return TIDY, the cheapest first: a row for each criterion and environment of a panel."""
    cells = panel.cells[~panel.cells["control"]].merge(_epochs(panel), how="left", on=NET)
    done = cells[cells["status"] == "ok"]
    keys = ["row", "criterion", *NET]
    groups = done.groupby(keys, dropna=False, sort=False)
    rows = [dict(zip(keys, key, strict=True)) | _measured(own) for key, own in groups]
    others = cells[~cells["row"].isin(done["row"])].groupby(["row", "criterion"], sort=False)
    rows += [{"row": row, "criterion": name, "measured": 0, "state": _state(own)} for (row, name), own in others]
    table = pd.DataFrame(rows, columns=[name for name in TIDY if name != "panel"]).assign(panel=panel.title)
    return table.sort_values("score_s", kind="stable", ignore_index=True)


def _state(cells: pd.DataFrame) -> str:
    """Return `missing`, `failed`, or `1 failed, 2 missing`."""
    counts = cells["status"].value_counts().sort_index()
    return ", ".join(f"{count} {state}" for state, count in counts.items()) if len(counts) > 1 else str(counts.index[0])


def _measured(cells: pd.DataFrame) -> dict[str, Any]:
    # Shared scores bring their time along, to the last bit.
    runs = cells.drop_duplicates(["seed", "score_s"])["score_s"].dropna().astype(float)
    seconds, epoch = runs.median(), cells["epoch_s"].median()
    return {
        "state": "",
        "cells": len(cells),
        "measured": len(runs),
        **{name: pd.to_numeric(cells[name]).median() for name in ("score_samples", "score_batch", "peak_memory_mb")},
        **{"score_s": seconds, "score_s_low": runs.min(), "score_s_high": runs.max()},
        **{"epoch_s": epoch, "epochs": seconds / epoch},
    }


def _epochs(panel: Panel) -> pd.DataFrame:
    """Return NET and epoch_s: the median time of an epoch of dense training; a net that was not trained has none."""
    dense = panel.cells[panel.cells["criterion"].eq("dense") & panel.cells["status"].eq("ok")]
    seconds = pd.to_numeric(dense["train_s"]) / pd.to_numeric(dense["epochs_total"]).replace(0, np.nan)
    known = dense.assign(epoch_s=seconds.replace(0, np.nan))
    return known.groupby(NET, dropna=False, sort=False)["epoch_s"].median().reset_index()


def _table(panel: Panel, points: pd.DataFrame) -> Table:
    names = _names(points)
    lines = [(name, *_cells(point)) for name, (_, point) in zip(names, points.iterrows(), strict=True)]
    told = [any(texts) for texts in zip(*lines, strict=True)]
    columns = tuple(map(Column, compress(HEADINGS, told)))
    rows = tuple(Row(tuple(compress(line, told))) for line in lines)
    where = [
        f"{name} {points[name].dropna().iloc[0]}" for name in ("cpu", "gpu", "threads", "torch") if _one(points[name])
    ]
    about = "; ".join([panel.about, ", ".join(where)])
    return Table(SUBJECT, panel.title, about, columns, rows, tuple(notes(panel)))


def _one(values: "pd.Series[Any]") -> bool:
    return values.nunique() == 1


def _names(points: pd.DataFrame) -> list[str]:
    """Return each row's name, with what tells it from one of the same criterion that was made elsewhere."""
    names = []
    for _, point in points.iterrows():
        alike = points[points["row"] == point["row"]]
        told = [f"{name}={point[name]}" for name in MADE if alike[name].nunique(dropna=False) > 1]
        names.append(f"{point['row']} ({', '.join(told)})" if told else str(point["row"]))
    return names


def _cells(point: "pd.Series[Any]") -> list[str]:
    counts = [f"{point[name]:.0f}" if pd.notna(point[name]) else "" for name in ("score_samples", "score_batch")]
    spread = (
        f" ({significant(point['score_s_low'])} to {significant(point['score_s_high'])})"
        if point["measured"] > 1
        else ""
    )
    seconds = f"{significant(point['score_s'])}{spread}" if point["measured"] else point["state"]
    # On a CPU what a worker took for former cells counts, too.
    memory = significant(point["peak_memory_mb"]) if point["device"] == "cuda" else ""
    return [*counts, str(point["measured"]), seconds, significant(point["epochs"], 2), memory]
