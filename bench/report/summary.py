"""Means over seeds and how they are shown."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.report.frame import MEASURED, PANEL, ROW, measures

DECIMALS = {"top1": 1, "r2": 3}

SHORT = {"top1": "top-1", "r2": "R²"}
"""Measures as headings of columns."""

REMOVED = {"filters": "filters removed", "params": "parameters removed", "flops": "FLOPs removed"}
"""What targets are shares of, by target_kind; those of weights are sparsities."""


def summarise(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each (row, sparsity_target) of a panel: controls first, then the best criterion first.

    Columns: row, ROW, PANEL, control, sparsity_target, column (its heading), n_planned, n (seeds that are ok), failed,
    missing, the means of MEASURED over those that are ok, top1_std and r2_std (sample standard deviation), value and
    value_std (those of the one that the panel shows), shown, best.
    """
    (measure, *_) = measures(cells)
    ok = cells["status"] == "ok"
    measured = [name for name in MEASURED if name != "epochs_total"]
    known = cells.assign(ok=ok, failed=cells["status"] == "failed", missing=cells["status"] == "missing")
    known[measured] = known[measured].where(ok)
    table = (
        known.groupby(["row", *ROW, "control", "sparsity_target"], dropna=False, sort=False)
        .agg(
            n_planned=("cell", "size"),
            n=("ok", "sum"),
            failed=("failed", "sum"),
            missing=("missing", "sum"),
            top1_std=("top1", "std"),
            r2_std=("r2", "std"),
            **{name: (name, "mean") for name in MEASURED},
            **{name: (name, "first") for name in PANEL},
        )
        .reset_index()
    )
    table["value"], table["value_std"] = table[measure], table[f"{measure}_std"]
    table["column"] = [heading(sparsity) for sparsity in table["sparsity_target"]]
    number = f"{{:.{DECIMALS[measure]}f}}".format
    table["shown"] = [_shown(row, number) for _, row in table.iterrows()]
    table["best"] = _best(table, number)
    return _ordered(table)


def heading(sparsity: float) -> str:
    """Return a target as the heading of its column: `90 %`, or `converged` where the schedule stops by itself."""
    return "converged" if pd.isna(sparsity) else f"{100 * sparsity:.10g} %"


def removed(cells: pd.DataFrame) -> str:
    """Return what the targets of cells are, as a heading: `sparsity`, or e.g. `filters removed`."""
    return " or ".join(_removed(cells))


def by_target(cells: pd.DataFrame) -> str:
    """Return e.g. `by target sparsity or share of filters removed`."""
    shares = [kind if kind == "sparsity" else f"share of {kind}" for kind in _removed(cells)]
    return f"by target {' or '.join(shares)}"


def _removed(cells: pd.DataFrame) -> list[str]:
    kinds = [REMOVED.get(kind, "sparsity") for kind in cells["target_kind"].dropna()]
    return list(dict.fromkeys(kinds)) or ["sparsity"]


def ratio(value: float) -> str:
    """Return how many times more or less, in three digits: `0.95`, `1.98`, `10.4`, `132`; nothing for NaN."""
    if pd.isna(value):
        return ""
    # Rounded first: 9.996 has two digits before its point.
    return "∞" if value == float("inf") else f"{value:.{max(0, 3 - len(str(int(float(f'{value:.3g}')))))}f}"


def significant(value: float, digits: int = 3) -> str:
    """Return at least that many digits, without an exponent: `0.00187`, `12.3`, `1234`; nothing for NaN."""
    if pd.isna(value):
        return ""
    decimals = digits - 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{max(0, decimals)}f}"


def with_interval(difference: float, low: float, high: float, places: int) -> str:
    """Return e.g. `-1.20 (-2.31 to -0.09)`; no interval where an end is NaN."""
    interval = "" if pd.isna(low) or pd.isna(high) else f" ({signed(low, places)} to {signed(high, places)})"
    return signed(difference, places) + interval


def signed(difference: float, places: int) -> str:
    """Return a difference with its sign, `+0.4`; what rounds to zero has none."""
    text = f"{difference:+.{places}f}"
    return text if float(text) else text[1:]


def _shown(row: "pd.Series[Any]", number: Callable[[float], str]) -> str:
    """Return e.g. `97.1 ± 0.4 (2 of 3)`; `missing` or `failed` where no seed is ok, or `untrained`."""
    if not row["n"]:
        states = [f"{row[state]} {state}" for state in ("failed", "missing") if row[state]]
        return ", ".join(states) if len(states) > 1 else states[0].split()[1]
    if pd.isna(row["value"]):
        return "untrained"
    spread = f" ± {number(row['value_std'])}" if row["n"] > 1 else ""
    reached = f" at {100 * row['sparsity']:.1f} %" if pd.isna(row["sparsity_target"]) else ""
    seeds = f" ({row['n']} of {row['n_planned']})" if row["n"] < row["n_planned"] else ""
    return f"{number(row['value'])}{spread}{reached}{seeds}"


def _best(table: pd.DataFrame, number: Callable[[float], str]) -> "pd.Series[bool]":
    """Return which means are the best of their column as shown: of two criteria or more, each with all its seeds."""
    pruned = ~table["control"]
    if table.loc[pruned, "row"].nunique() < 2:
        return pd.Series(False, index=table.index)
    # A net that decides itself how far to go is not to be ranked by its accuracy alone.
    comparable = pruned & table["n"].eq(table["n_planned"]) & table["sparsity_target"].notna()
    rounded = table["value"].map(number).astype(float).where(comparable)
    return rounded.eq(rounded.groupby(table["column"]).transform("max"))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return controls in their order, then criteria by mean value; one without numbers at a sparsity comes later."""
    rows = table.groupby("row", sort=False).agg(
        control=("control", "first"), filled=("value", "count"), value=("value", "mean")
    )
    rows.loc[rows["control"], ["filled", "value"]] = 0
    order = rows.sort_values(["control", "filled", "value"], ascending=False, kind="stable").index
    return table.set_index("row").loc[order].reset_index()
