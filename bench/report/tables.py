"""The accuracy table in the forms in which it is read: terminal, Markdown, LaTeX, HTML, CSV, W&B."""

import textwrap
from collections.abc import Iterable

import pandas as pd

from bench.report import grid, render, tradeoff
from bench.report.frame import MEASURED, MEASURES, PANEL, ROW, Results, measures, untrained
from bench.report.notes import legend, notes
from bench.report.panels import Panel, panels
from bench.report.summary import by_target
from bench.report.table import Column, Report, Row, Table

COUNTS = ("n_planned", "n", "failed", "missing")
TIDY = ("panel", "row", *ROW, *PANEL, "sparsity_target", *COUNTS, "top1", "top1_std", *MEASURED[1:], "r2_std")
WIDTH = 110


def accuracy(results: Results, best: str = "bold") -> Report:
    """Return a table a panel: name, epochs, accuracy by target sparsity; `best` says how the best is marked."""
    shown = " or ".join(MEASURES[name] for name in measures(results.frame))
    tables = tuple(_table(panel) for panel in panels(results))
    subject = f"{shown} {by_target(results.frame)}"
    lines = tuple(legend(results, best))
    return Report("accuracy", str(results.plan["experiment"]), subject, tables, lines, tidy(results))


def files(results: Results) -> dict[str, bytes]:
    """Return accuracy.md, .csv, .tex and .html."""
    return render.files(accuracy(results))


def text(results: Results) -> str:
    """Return the tables for a terminal, where nothing was trained those of the trade-off; `*`: best of a column."""
    report = tradeoff.report(results) if untrained(results.frame) else accuracy(results, "*")
    lines = [report.heading]
    for table in report.tables:
        lines += ["", *_wrapped(filter(None, (table.title, table.about)))]
        # A place for the mark in every cell keeps the digits in line.
        for piece in grid.texts(table, "{} ".format, lambda cell: f"{cell.rstrip()}*", WIDTH, 1):
            lines += ["", *(" ".join(row).rstrip() for row in grid.aligned(piece))]
        lines += ["", *_wrapped(table.notes)]
    return "\n".join([*lines, *_wrapped(report.legend)]) + "\n"


def tidy(results: Results) -> pd.DataFrame:
    """Return TIDY, one row for each panel, row and target sparsity: means over the seeds that are ok, unrounded."""
    tables = [panel.table.assign(panel=panel.title) for panel in panels(results)]
    return pd.concat(tables, ignore_index=True)[list(TIDY)]


def table(results: Results) -> tuple[list[str], list[list[object]]]:
    """Return tidy as column names and rows of plain values, None where there is none, as W&B takes a table."""
    frame = tidy(results).astype(object)
    return list(TIDY), frame.where(frame.notna(), None).to_numpy().tolist()


def _table(panel: Panel) -> Table:
    targets = list(panel.table.sort_values("sparsity_target")["column"].unique())
    controls = panel.table.loc[panel.table["control"], "row"].nunique()
    rows: list[Row] = []
    for name, points in panel.table.groupby("row", sort=False):
        shown = dict(zip(points["column"], points["shown"], strict=True))
        best = {2 + targets.index(column) for column in points.loc[points["best"], "column"]}
        cells = [str(name), f"{points['epochs_total'].mean():.4g}", *(shown.get(column, "") for column in targets)]
        rows.append(Row(tuple(cells), frozenset(best), rule=len(rows) == controls))
    columns = tuple(Column(name) for name in ("criterion", "epochs", *targets))
    subject = f"{panel.measure} {by_target(panel.cells)}"
    return Table(subject, panel.title, panel.about, columns, tuple(rows), tuple(notes(panel)), stub=2)


def _wrapped(lines: Iterable[str]) -> list[str]:
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
