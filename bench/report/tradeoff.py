"""Accuracy against size and against FLOPs: what Blalock et al. (2020, arXiv:2003.03033) ask every paper to report.

compression = dense parameters / parameters left; speed-up = dense FLOPs / FLOPs left, in theory. Over seeds both are
ratios of means, that is the harmonic mean of the seeds' ratios: the mean of the ratios is above it, without bound where
one net has nearly nothing left.
"""

from typing import Any

import pandas as pd

from bench.report import render
from bench.report.frame import MEASURES, PANEL, ROW, Results, measures, untrained
from bench.report.notes import notes, origin
from bench.report.panels import Panel, panels
from bench.report.summary import DECIMALS, SHORT, ratio, signed
from bench.report.table import Column, Report, Row, Table

SIZES = ("params_dense", "params", "flops_dense", "flops")

POINT = ["row", "sparsity_target"]

TIDY = (
    *("panel", "row", *ROW, *PANEL, "sparsity_target", "n_planned", "n", "failed", "missing", "sparsity"),
    *("measure", "value", "value_std", "dense", "change", "change_std", *SIZES),
    *("compression", "compression_low", "compression_high", "speedup", "speedup_low", "speedup_high"),
    *("collapsed", "disconnected"),
)

RATIOS = (
    "compr.: compression, parameters of the dense net / parameters left; speed-up: FLOPs of the dense net / FLOPs "
    "left, in theory: measured times are those of `latency`. Both are ratios of means over seeds (the harmonic "
    "mean of the seeds' ratios)."
)
ACCURACY = (
    "Mean ± sample standard deviation over seeds; bold: best of its column as shown.",
    "change: mean over seeds of the difference to the dense net of the same seed.",
)


def files(results: Results) -> dict[str, bytes]:
    """Return tradeoff.md, .csv, .tex and .html."""
    return render.files(report(results))


def report(results: Results) -> Report:
    """Return a table a panel: accuracy, where any was trained, compression and speed-up at each target."""
    shown = panels(results)
    found = [points(panel) for panel in shown]
    tables = tuple(_table(panel, own) for panel, own in zip(shown, found, strict=True))
    legend = (*(() if untrained(results.frame) else ACCURACY), RATIOS, *origin(results))
    tidy = pd.concat(found, ignore_index=True)[list(TIDY)]
    return Report("tradeoff", str(results.plan["experiment"]), _subject(results.frame), tables, legend, tidy)


def _subject(cells: pd.DataFrame) -> str:
    accuracy = "" if untrained(cells) else f"{' or '.join(MEASURES[name] for name in measures(cells))}, "
    return f"{accuracy}compression and theoretical speed-up"


def points(panel: Panel) -> pd.DataFrame:
    """Return TIDY and what summarise gives of the criteria of a panel, one row for each row and target sparsity."""
    (measure, *_) = measures(panel.cells)
    cells = panel.cells[panel.cells["status"].eq("ok") & ~panel.cells["control"]]
    cells = cells.assign(**cells[[*SIZES, f"{measure}_dense"]].apply(pd.to_numeric))
    seeds = pd.DataFrame(
        {
            **{name: cells[name] for name in (*POINT, *SIZES)},
            "dense": cells[f"{measure}_dense"],
            "change": cells[measure] - cells[f"{measure}_dense"],
            "compression": cells["params_dense"] / cells["params"],
            "speedup": cells["flops_dense"] / cells["flops"],
            "collapsed": cells["collapsed_layers"].gt(0),
            "disconnected": cells["disconnected"].eq(True),
        }
    ).groupby(POINT, dropna=False, sort=False)
    found = seeds[["dense", "change", *SIZES]].mean().assign(change_std=seeds["change"].std())
    found = found.join(seeds[["collapsed", "disconnected"]].sum())
    for name, dense, left in (("compression", *SIZES[:2]), ("speedup", *SIZES[2:])):
        ends = {f"{name}_low": seeds[name].min(), f"{name}_high": seeds[name].max()}
        found = found.assign(**{name: found[dense] / found[left]}, **ends)
    table = panel.table[~panel.table["control"]].drop(columns=["params", "flops"])
    return table.merge(found.reset_index(), how="left", on=POINT).assign(panel=panel.title, measure=measure)


def _table(panel: Panel, points: pd.DataFrame) -> Table:
    (measure, *_) = measures(panel.cells)
    targets = list(points.sort_values("sparsity_target")["column"].unique())
    bare = untrained(panel.cells)
    names = (*(() if bare else (SHORT[measure], "change")), "compr.", "speed-up")
    rows = []
    for name, own in points.groupby("row", sort=False):
        cells = [""] * (len(targets) * len(names))
        best = set()
        for _, point in own.iterrows():
            first = targets.index(point["column"]) * len(names)
            cells[first : first + len(names)] = _cells(point, measure, bare)
            best |= {1 + first} if point["best"] else set()
        rows.append(Row((str(name), *cells), frozenset(best)))
    columns = (Column("criterion"), *(Column(name, target) for target in targets for name in names))
    told = (*notes(panel), *_dense(panel), *_broken(points))
    return Table(_subject(panel.cells), panel.title, panel.about, columns, tuple(rows), told)


def _cells(point: "pd.Series[Any]", measure: str, bare: bool) -> list[str]:
    """Return accuracy and change, unless `bare`, and both ratios; a point that no net has says why."""
    ratios = [ratio(point[name]) for name in ("compression", "speedup")]
    if bare:
        return ratios if point["n"] else [point["shown"], ""]
    change = signed(point["change"], DECIMALS[measure]) if pd.notna(point["change"]) else ""
    return [point["shown"], change, *ratios]


def _dense(panel: Panel) -> list[str]:
    """Return what the ratios refer to: accuracy, parameters and FLOPs of each control, in absolute numbers."""
    lines = []
    for name, cells in panel.cells[panel.cells["control"]].groupby("row", sort=False):
        shown = [] if untrained(cells) else [panel.table.loc[panel.table["row"] == name, "shown"].iloc[0]]
        sizes = cells[["params", "flops"]].apply(pd.to_numeric).mean().dropna()
        units = {"params": "parameters", "flops": "FLOPs"}
        lines.append(f"{name}: {', '.join([*shown, *(f'{size:,.0f} {units[str(n)]}' for n, size in sizes.items())])}.")
    return lines


def _broken(points: pd.DataFrame) -> list[str]:
    """Name the points at which nets have an empty layer, or no path from input to output."""
    lines = []
    for column, what in (("collapsed", "a layer without any weight"), ("disconnected", "no path to the output")):
        hit = points[points[column].fillna(0) > 0]
        cases = [f"{p['row']} at {p['column']} ({int(p[column])} of {p['n']})" for _, p in hit.iterrows()]
        lines += [f"Nets with {what}: {', '.join(cases)}."] if cases else []
    return lines
