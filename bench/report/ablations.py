"""Ablations side by side: the same criterion with its mask as it is, shuffled, inverted, its weights drawn anew.

What survives a shuffle within the layers owes its accuracy to the layers' densities alone, what survives new weights to
the mask alone (Frankle et al. 2021, arXiv:2009.08576).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from bench.report import render, statistics
from bench.report.comparisons import PAIR
from bench.report.frame import MEASURES, PANEL, ROW, Results, measures
from bench.report.notes import notes, origin
from bench.report.panels import Panel, panels
from bench.report.summary import DECIMALS, SHORT, removed, summarise, with_interval
from bench.report.table import Column, Report, Row, Table

ORDER = ("none", "shuffle", "reinit", "invert")

POINT = ["row", "sparsity_target"]

TIDY = (
    *("panel", "row", *ROW, *(name for name in PANEL if name != "ablation"), "sparsity_target", "ablation", "measure"),
    *("n_planned", "n", "failed", "missing", "value", "value_std", "pairs", "difference", "low", "high"),
)

LEGEND = (
    "none: the criterion's mask as it is; shuffle: permuted within each layer; reinit: surviving weights drawn anew; "
    "invert: the least important kept. All before retraining.",
    "change: mean over seeds of the difference to none, pairs from the same dense net, with its 95 % t interval, which "
    f"holds for one comparison at a time; without one below {statistics.LEAST_PAIRS} pairs and where all are equal.",
)


def files(results: Results) -> dict[str, bytes]:
    """Return ablations.md, .csv, .tex and .html; nothing where no panel has two of ORDER."""
    # As if it were no setting, so that ablations of one criterion share a row.
    frame = results.frame.assign(ablated=results.frame["ablation"], ablation=None)
    shown = [panel for panel in panels(replace(results, frame=frame)) if len(_ablations(panel)) > 1]
    if not shown:
        return {}
    points = [pd.DataFrame(_points(panel), columns=[*TIDY, "column", "shown"]) for panel in shown]
    tables = tuple(_table(panel, own) for panel, own in zip(shown, points, strict=True))
    legend = ("Mean ± sample standard deviation over seeds.", *LEGEND, *origin(results))
    tidy = pd.concat(points, ignore_index=True)[list(TIDY)]
    return render.files(Report("ablations", results.plan["experiment"], _subject(frame), tables, legend, tidy))


def _subject(cells: pd.DataFrame) -> str:
    return f"{' or '.join(MEASURES[name] for name in measures(cells))} under ablations"


def _ablations(panel: Panel) -> list[str]:
    here = set(panel.cells.loc[~panel.cells["control"], "ablated"])
    return [name for name in ORDER if name in here]


def _points(panel: Panel) -> Iterator[dict[str, Any]]:
    (measure, *_) = measures(panel.cells)
    for name in _ablations(panel):
        cells = panel.cells[panel.cells["ablated"] == name]
        for point in summarise(cells).to_dict("records"):
            own = {"panel": panel.title, "ablation": name, "measure": measure}
            yield {str(key): value for key, value in point.items()} | own | _difference(panel, point, name, measure)


def _difference(panel: Panel, point: Any, name: str, measure: str) -> dict[str, Any]:
    """Return what the pairs of an ablation and `none` say at one point."""
    ok = panel.cells[panel.cells["status"].eq("ok") & panel.cells["row"].eq(point["row"])]
    # Where the schedule stops by itself there is no target.
    target = ok["sparsity_target"]
    ok = ok[target.isna() if pd.isna(point["sparsity_target"]) else target == point["sparsity_target"]]
    one, none = (ok.loc[ok["ablated"] == which, [*PAIR, measure]] for which in (name, "none"))
    pairs = one.merge(none, on=PAIR, suffixes=("", "_none"))
    if name == "none" or pairs.empty:
        return {"pairs": 0}
    differences = (pairs[measure] - pairs[f"{measure}_none"]).round(10).to_numpy(float)
    low, high = statistics.t_interval(differences)
    ends = {"low": float(low), "high": float(high)}
    return {"pairs": len(differences), "difference": differences.mean()} | ends


def _table(panel: Panel, points: pd.DataFrame) -> Table:
    (measure, *_) = measures(panel.cells)
    names = _ablations(panel)
    changed = [name for name in names if name != "none"] if "none" in names else []
    rows: list[Row] = []
    for (row, target), own in points.groupby(["row", "column"], sort=False):
        by_name = {point["ablation"]: point for _, point in own.iterrows()}
        shown = [by_name[name]["shown"] if name in by_name else "" for name in names]
        changes = [_change(by_name[name], measure) if name in by_name else "" for name in changed]
        rows.append(Row((str(row), str(target), *shown, *changes), rule=not rows or rows[-1].cells[0] != row))
    columns = [Column("criterion"), Column(removed(panel.cells)), *(Column(name, SHORT[measure]) for name in names)]
    columns += [Column(name, "change") for name in changed]
    about, told = panel.about, tuple(notes(panel))
    return Table(_subject(panel.cells), panel.title, about, tuple(columns), tuple(rows), told, stub=2)


def _change(point: "pd.Series[Any]", measure: str) -> str:
    """Return e.g. `-1.20 (-2.31 to -0.09)`."""
    if not point["pairs"]:
        return ""
    # A digit more than the values have tells an end of an interval from zero.
    return with_interval(point["difference"], point["low"], point["high"], DECIMALS[measure] + 1)
