"""What a paper published, as data: conf/experiment/NAME.csv beside conf/experiment/NAME.yaml.

A row is a figure (`value`), a bound (`relation` and `value`: above 0.93) or a direction (`relation` and `versus`: what
it is compared with, as `ablation=none`; further columns after `; `). source, place: which paper, and where in it; how:
text, table, or figure (read off a plot); checked: what it was read in. measure: a column of the tables, or of the
oracle. std, n: sample standard deviation and number of runs, empty where the paper gives none. Every other column is
one of the records' (or the oracle's `layer`) and says which cells are meant; empty: any.
"""

import math
from pathlib import Path

import pandas as pd

from bench.errors import UserError, near_misses
from bench.report.frame import MEASURED
from bench.report.oracle import MEASURES as CORRELATIONS
from bench.store import COLUMNS

ABOUT = ("source", "place", "how", "checked")
FIGURE = ("measure", "relation", "versus", "value", "std", "n")
CELLS = (*COLUMNS, "layer")
WAYS = ("text", "table", "figure")
RELATIONS = ("above", "below", "not above", "not below")
NUMBERS = ("sparsity_target", "finetune_epochs")
"""Columns that choose cells by number."""


def read(path: Path) -> pd.DataFrame:
    """Return the rows of a file of published figures: all texts, digits as they stand, empty where there is nothing.

    Raises UserError in one line that names the file and the line.
    """
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:  # no UTF-8, a row of other length, no row at all
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if missing := [name for name in (*ABOUT, *FIGURE) if name not in rows]:
        raise UserError(f"{path} lacks the column {missing[0]!r}; needed: {', '.join((*ABOUT, *FIGURE))}")
    if unknown := [name for name in rows if name not in (*ABOUT, *FIGURE, *CELLS)]:
        raise UserError(f"{path}: {unknown[0]!r} is no column of the records; {near_misses(str(unknown[0]), CELLS)}")
    for line, (_, row) in enumerate(rows.iterrows(), start=2):
        if wrong := _wrong(row):
            raise UserError(f"{path}, line {line}: {wrong}")
    return rows


def chosen(row: "pd.Series[str]", versus: bool = False) -> dict[str, str | float]:
    """Return column -> value of the cells that a row means; `versus`: of those that it compares with."""
    texts = {name: text for name, text in row.items() if name in CELLS and text}
    if versus:
        texts |= _pairs(row["versus"])
    return {str(name): float(text) if name in NUMBERS else text for name, text in texts.items()}


def _pairs(versus: str) -> dict[str, str]:
    """Return column -> value of `when=trained; finetune=low`."""
    parts = [part.partition("=") for part in versus.split("; ")]
    return {name: value for name, _, value in parts}


def _wrong(row: "pd.Series[str]") -> str | None:
    """Return what is wrong with a row, None where nothing is."""
    measures = (*MEASURED, *CORRELATIONS)
    if empty := [name for name in ABOUT if not row[name].strip()]:
        return f"{empty[0]} is empty: every figure names its source"
    if row["how"] not in WAYS:
        return f"how={row['how']!r} is none of {', '.join(WAYS)}"
    if row["measure"] not in measures:
        return f"measure={row['measure']!r}: {near_misses(row['measure'], measures)}"
    if row["relation"] not in ("", *RELATIONS):
        return f"relation={row['relation']!r} is none of {', '.join(RELATIONS)}"
    if wrong := [name for name in ("value", "std", "n", *NUMBERS) if not _is_number(row.get(name, ""))]:
        return f"{wrong[0]}={row[wrong[0]]!r} is no number"
    if bool(row["value"]) == bool(row["versus"]) or (row["versus"] and not row["relation"]):
        return "a row has a value, or a relation and what it is versus"
    return _wrong_versus(row["versus"], row["measure"]) if row["versus"] else None


def _wrong_versus(versus: str, measure: str) -> str | None:
    if measure != "top1":
        return f"measure={measure!r}: directions are of top1"
    if unknown := [name for name in _pairs(versus) if name not in CELLS]:
        return f"versus names no column of the records: {unknown[0]!r}"
    return None


def _is_number(text: str) -> bool:
    try:
        return not text or math.isfinite(float(text))
    except ValueError:
        return False
