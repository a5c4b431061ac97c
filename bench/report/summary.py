"""Means over seeds and how they are shown."""

from typing import Any

import pandas as pd

from bench.report.frame import MEASURED, PANEL, ROW


def summarise(cells: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each (row, sparsity_target) of a panel: controls first, then the best criterion first.

    Columns: row, ROW, PANEL, control, sparsity_target, column (its heading), n_planned, n (seeds that are ok), failed,
    missing, the means of MEASURED over those that are ok, top1_std (sample standard deviation), shown, best.
    """
    ok = cells["status"] == "ok"
    measured = [name for name in MEASURED if name != "epochs_total"]
    known = cells.assign(failed=cells["status"] == "failed", missing=cells["status"] == "missing")
    known[measured] = known[measured].where(ok)
    table = (
        known.groupby(["row", *ROW, "control", "sparsity_target"], dropna=False, sort=False)
        .agg(
            n_planned=("cell", "size"),
            n=("top1", "count"),
            failed=("failed", "sum"),
            missing=("missing", "sum"),
            top1_std=("top1", "std"),
            **{name: (name, "mean") for name in MEASURED},
            **{name: (name, "first") for name in PANEL},
        )
        .reset_index()
    )
    table["column"] = [heading(sparsity) for sparsity in table["sparsity_target"]]
    table["shown"] = [_shown(row) for _, row in table.iterrows()]
    table["best"] = _best(table)
    return _ordered(table)


def heading(sparsity: float) -> str:
    """Return a target as the heading of its column: `90 %`, or `converged` where the schedule stops by itself."""
    return "converged" if pd.isna(sparsity) else f"{100 * sparsity:.10g} %"


def _shown(row: "pd.Series[Any]") -> str:
    """Return e.g. `97.1 ± 0.4 (2 of 3)`, in percent; `missing` or `failed` where no seed is ok."""
    if not row["n"]:
        states = [f"{row[state]} {state}" for state in ("failed", "missing") if row[state]]
        return ", ".join(states) if len(states) > 1 else states[0].split()[1]
    spread = f" ± {row['top1_std']:.1f}" if row["n"] > 1 else ""
    reached = f" at {100 * row['sparsity']:.1f} %" if pd.isna(row["sparsity_target"]) else ""
    seeds = f" ({row['n']} of {row['n_planned']})" if row["n"] < row["n_planned"] else ""
    return f"{row['top1']:.1f}{spread}{reached}{seeds}"


def _best(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which means are the best of their column as shown: of two criteria or more, each with all its seeds."""
    pruned = ~table["control"]
    if table.loc[pruned, "row"].nunique() < 2:
        return pd.Series(False, index=table.index)
    # A net that decides itself how far to go is not to be ranked by its accuracy alone.
    comparable = pruned & table["n"].eq(table["n_planned"]) & table["sparsity_target"].notna()
    rounded = table["top1"].map("{:.1f}".format).astype(float).where(comparable)
    return rounded.eq(rounded.groupby(table["column"]).transform("max"))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return controls in their order, then criteria by mean top1; one without numbers at a sparsity comes later."""
    rows = table.groupby("row", sort=False).agg(
        control=("control", "first"), filled=("top1", "count"), top1=("top1", "mean")
    )
    rows.loc[rows["control"], ["filled", "top1"]] = 0
    order = rows.sort_values(["control", "filled", "top1"], ascending=False, kind="stable").index
    return table.set_index("row").loc[order].reset_index()
