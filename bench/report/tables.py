"""The accuracy table in the forms in which it is read: terminal, Markdown, LaTeX, CSV, W&B."""

import re
import textwrap
from collections.abc import Callable, Iterable

import pandas as pd

from bench.report import grid
from bench.report.frame import MEASURED, MEASURES, PANEL, ROW, Results, measures
from bench.report.notes import legend, notes, seeds
from bench.report.panels import Panel, panels

COUNTS = ("n_planned", "n", "failed", "missing")
TIDY = ("panel", "row", *ROW, *PANEL, "sparsity_target", *COUNTS, "top1", "top1_std", *MEASURED[1:], "r2_std")
WIDTH = 110

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "²": "$^2$"}
    # Without T1 fonts these three print as other characters.
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    # At the start of a row they would be read as arguments of the line break before it.
    | {"[": "{[}", "*": "{*}"}
)


def text(results: Results) -> str:
    """Return the tables for a terminal; `*` marks the best of a column."""
    lines = [_heading(results)]
    for panel in panels(results):
        lines += ["", *_wrapped(filter(None, (panel.title, panel.about))), ""]
        # A place for the mark in every cell keeps the digits in line.
        rows = grid.aligned(_grid(panel, "{} ".format, lambda cell: f"{cell.rstrip()}*"))
        lines += [" ".join(row).rstrip() for row in rows]
        lines += ["", *_wrapped(notes(panel))]
    return "\n".join([*lines, *_wrapped(legend(results, "*"))]) + "\n"


def markdown(results: Results) -> str:
    """Return the tables in GitHub's Markdown; the best of a column is bold."""
    parts = [f"# {grid.escaped(_heading(results))}"]
    for panel in panels(results):
        parts += [f"## {grid.escaped(panel.title)}"] if panel.title else []
        parts += [grid.escaped(panel.about), grid.table(_grid(panel, grid.escaped, "**{}**".format))]
        parts += [grid.items(notes(panel))]
    return "\n\n".join([*parts, grid.items(legend(results, "bold"))]) + "\n"


def latex(results: Results) -> str:
    """Return a `table` environment a panel (package booktabs), with every text in it escaped."""
    shown = panels(results)
    slug = re.sub(r"[^a-z0-9]+", "-", str(results.plan["experiment"]).lower()).strip("-")
    labels = [f"tab:{slug}" + (f"-{number}" if len(shown) > 1 else "") for number in range(1, len(shown) + 1)]
    tables = [_environment(results, panel, label) for panel, label in zip(shown, labels, strict=True)]
    return "\n".join(["% needs \\usepackage{booktabs}", *tables])


def tidy(results: Results) -> pd.DataFrame:
    """Return TIDY, one row for each panel, row and target sparsity: means over the seeds that are ok, unrounded."""
    tables = [panel.table.assign(panel=panel.title) for panel in panels(results)]
    return pd.concat(tables, ignore_index=True)[list(TIDY)]


def csv(results: Results) -> str:
    """Return tidy as CSV."""
    return tidy(results).to_csv(index=False, lineterminator="\n")


def table(results: Results) -> tuple[list[str], list[list[object]]]:
    """Return tidy as column names and rows of plain values, None where there is none, as W&B takes a table."""
    frame = tidy(results).astype(object)
    return list(TIDY), frame.where(frame.notna(), None).to_numpy().tolist()


def _environment(results: Results, panel: Panel, label: str) -> str:
    header, *rows = _grid(panel, _latex_cell, r"\textbf{{{}}}".format)
    about = "; ".join(filter(None, (panel.about, panel.title)))
    tex = (
        pd.DataFrame(rows, columns=header)
        .style.hide(axis="index")
        .to_latex(
            hrules=True,
            column_format="l" + "r" * (len(header) - 1),
            caption=_latex(
                f"{panel.measure[0].upper()}{panel.measure[1:]} by target sparsity: {about}. {seeds(panel)}"
            ),
            label=label,
            position="t",
            position_float="centering",
        )
    )
    lines = tex.splitlines()
    controls = panel.table.loc[panel.table["control"], "row"].nunique()
    lines.insert(lines.index(r"\midrule") + 1 + controls, r"\midrule")
    lines.insert(lines.index(r"\centering") + 1, r"\small\setlength{\tabcolsep}{3pt}")
    below = _latex(" ".join([*notes(panel)[1:], *legend(results, "bold")]))
    lines.insert(-1, rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {below}}}")
    return "\n".join(lines) + "\n"


def _grid(panel: Panel, escape: Callable[[str], str], mark: Callable[[str], str]) -> list[list[str]]:
    """Return header and rows: name, epochs, a cell for each target sparsity."""
    columns = list(panel.table.sort_values("sparsity_target")["column"].unique())
    rows = []
    for name, points in panel.table.groupby("row", sort=False):
        shown = zip(points["column"], points["shown"], points["best"], strict=True)
        cells = {column: mark(escape(text)) if best else escape(text) for column, text, best in shown}
        epochs = f"{points['epochs_total'].mean():.4g}"
        rows.append([escape(str(name)), epochs, *(cells.get(column, "") for column in columns)])
    return [["criterion", "epochs", *map(escape, columns)], *rows]


def _heading(results: Results) -> str:
    shown = " or ".join(MEASURES[name] for name in measures(results.frame))
    return f"{results.plan['experiment']}: {shown} by target sparsity"


def _wrapped(lines: Iterable[str]) -> list[str]:
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _latex(text: str) -> str:
    return " ".join(text.split()).translate(LATEX)


def _latex_cell(text: str) -> str:
    """Return `97.1 {\\scriptsize $\\pm$ 0.4}`: seven columns of these fit a text width; a minus is no hyphen."""
    cell = re.sub(r"^(-?[\d.]+) ((?:\$|\().+)$", r"\1 {\\scriptsize \2}", _latex(text))
    return re.sub(r"^-(?=\d)", "$-$", cell)
