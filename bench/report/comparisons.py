"""Each criterion of a panel against one reference: differences of pairs of the same seed, intervals, tests, wins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report import ranks, render, statistics
from bench.report.frame import ENVIRONMENT, MEASURES, NET, Results, measures
from bench.report.notes import of_weights
from bench.report.panels import Panel, panels
from bench.report.summary import DECIMALS, heading, removed, signed
from bench.report.table import Column, Report, Row, Table

REFERENCES = ("magnitude", "random")
"""The criterion that others of its NET are compared with: the first of these in the panel, else the plan's first."""

PAIR = ["seed", *NET, *ENVIRONMENT]
"""Two cells equal in these were pruned from the same dense net (or the same initial one): a pair."""

SUBJECT = "criteria compared over seeds"

COLUMNS = (
    "panel row reference sparsity_target measure planned pairs difference low high p p_holm p_wilcoxon_holm "
    "wins ties wins_low wins_high bootstrap_low bootstrap_high reason"
).split()


def comparisons(results: Results) -> pd.DataFrame:
    """Return COLUMNS, one row for each panel, criterion other than its reference, and target sparsity.

    planned: seeds of the criterion; pairs: those that are ok for both and come from the same dense net. difference:
    criterion less reference, in percentage points (R² as it is), with its 95 % t interval (low, high) and, from
    LEAST_UNITS pairs, its bootstrap interval; p: paired t test; p_holm, p_wilcoxon_holm: after Holm over all rows,
    those of other panels included; reason: why there is no test, or empty.
    """
    compared = [own for panel in panels(results) if len(own := _compared(panel))]
    if not compared:
        return pd.DataFrame(columns=COLUMNS)
    found = pd.concat(compared, ignore_index=True)
    found["p_holm"] = statistics.holm(found["p"].to_numpy(float))
    signed = [statistics.wilcoxon(differences, len(found)) for differences in found["differences"]]
    found["p_wilcoxon_holm"] = statistics.holm(np.array(signed, dtype=float))
    return found[COLUMNS]


def report(results: Results) -> Report:
    """Return a table for each panel, and ranks where there are several networks."""
    every = comparisons(results)
    found = [(panel, every[every["panel"] == panel.title]) for panel in panels(results)]
    tables = [_table(panel, own) for panel, own in found if len(own)]
    # The last digits of a p depend on the version of scipy.
    tidy = every.map(lambda v: float(f"{v:.6g}") if isinstance(v, float) else v)
    tables += ranks.tables(results)
    alone = [panel.title or panel.about for panel, own in found if own.empty]
    lines = (*_legend(tables, tidy), *([f"Nothing to compare in: {'; '.join(alone)}."] if alone else []))
    return Report("comparisons", str(results.plan["experiment"]), SUBJECT, tuple(tables), lines, tidy)


def files(results: Results) -> dict[str, bytes]:
    """Return comparisons.md, .csv, .tex and .html; nothing where there is nothing to compare."""
    return render.files(report(results))


LEGEND = (
    "difference: criterion less reference, mean over pairs, with its 95 % t interval, which holds for one comparison "
    "at a time.",
    "pairs: seeds for which both are done and began with the same net, dense or initial (same data, model, recipe and "
    "environment).",
    "p: paired t test, two-sided, after Holm's correction over all comparisons shown here, those without a test "
    "included.",
    "wins: pairs in which the criterion is above the reference; a tie is none.",
)
SHARE = f"From {statistics.LEAST_SHARE} pairs, wins have the exact 95 % interval of their share."
BOOTSTRAP = (
    f"Bootstrap intervals (percentile, 95 %, whole units resampled) are given from {statistics.LEAST_UNITS} units."
)


def _legend(tables: list[Table], tidy: pd.DataFrame) -> Iterator[str]:
    """Yield what explains the columns that the tables have."""
    yield from LEGEND
    if tidy["wins_low"].notna().any():
        yield SHARE
    if any("bootstrap" in column.name for table in tables for column in table.columns):
        yield BOOTSTRAP


def _compared(panel: Panel) -> pd.DataFrame:
    cells = ranks.pruned(panel)
    nets = [own for _, own in cells.groupby(NET, dropna=False, sort=False)]
    rows = [row for own in nets for row in _against(own, _reference(own))]
    shared = {"panel": panel.title, "measure": measures(panel.cells)[0]}
    frame = pd.DataFrame([row | shared for row in rows])
    if frame.empty:
        return frame
    order = {name: place for place, name in enumerate(panel.table["row"].unique())}
    return frame.sort_values(["sparsity_target", "row"], key=lambda c: c.map(order) if c.name == "row" else c)


def _reference(cells: pd.DataFrame) -> str:
    """Return the row to compare with, chosen by the plan's order: a choice by results would bias every p."""
    known = [row for name in REFERENCES for row in cells.loc[cells["criterion"] == name, "row"]]
    return str([*known, *cells["row"]][0])


def _against(cells: pd.DataFrame, reference: str) -> Iterator[dict[str, Any]]:
    for (row, sparsity), own in cells.groupby(["row", "sparsity_target"], sort=False):
        other = cells[(cells["row"] == reference) & (cells["sparsity_target"] == sparsity)]
        if row != reference:
            known = [side.dropna(subset="value")[[*PAIR, "value"]] for side in (own, other)]
            pairs = known[0].merge(known[1], on=PAIR, suffixes=("", "_reference"))
            seeds = set(known[0]["seed"]) & set(known[1]["seed"])
            names = {"row": row, "reference": reference, "sparsity_target": sparsity, "planned": len(own)}
            # Equal counts of test images can differ in their last bits, which would break ties.
            differences = (pairs["value"] - pairs["value_reference"]).round(10).to_numpy(float)
            yield names | _comparison(differences, len(seeds))


def _comparison(differences: statistics.Array, seeds: int) -> dict[str, Any]:
    """Return what the differences of the pairs say; `seeds` counts those both have, from the same dense net or not."""
    low, high = statistics.t_interval(differences)
    resampled = statistics.bootstrap(differences, np.random.default_rng(0))
    p, wins = float(statistics.paired_t(differences)), statistics.wins(differences)
    return {
        "differences": differences,
        "pairs": len(differences),
        "difference": differences.mean() if len(differences) else np.nan,
        "low": float(low),
        "high": float(high),
        "p": p,
        "wins": wins.wins,
        "ties": wins.ties,
        "wins_low": wins.low,
        "wins_high": wins.high,
        "bootstrap_low": float(resampled[0]),
        "bootstrap_high": float(resampled[1]),
        "reason": _reason(len(differences), seeds, p),
    }


def _reason(pairs: int, seeds: int, p: float) -> str:
    """Return why there is no test, nothing where there is one."""
    if pairs < statistics.LEAST_PAIRS:
        return "too few seeds for a test" if seeds < statistics.LEAST_PAIRS else "not from the same dense nets: no test"
    return "all differences are equal: no test" if np.isnan(p) else ""


def _about(own: pd.DataFrame) -> str:
    """Return what is compared with what, and how often."""
    measure = own["measure"].iloc[0]
    unit = "percentage points of " if measure == "top1" else ""
    count, tested = len(own), int(own["p"].notna().sum())
    references = own["reference"].unique()
    which = ", whichever has the same dense nets" if len(references) > 1 else ""
    return (
        f"Against {' or '.join(references)}{which}, in {unit}{MEASURES[measure].removesuffix(' (%)')}; {count} "
        f"comparison{'s' if count > 1 else ''}, {tested} of them tested."
    )


def _table(panel: Panel, own: pd.DataFrame) -> Table:
    signed, many = (bool(own[column].notna().any()) for column in ("p_wilcoxon_holm", "bootstrap_low"))
    headings = ["criterion", removed(panel.cells), "pairs", "difference", "95 % interval", "p (Holm)", "wins"]
    headings += ["Wilcoxon p (Holm)"] * signed + ["bootstrap interval"] * many
    rows = tuple(Row(tuple(_cells(row, signed, many))) for _, row in own.iterrows())
    reference, *others = own["reference"].unique()
    subject = f"differences from {'the reference' if others else reference} over seeds"
    told = tuple(filter(None, (_about(own), of_weights(panel))))
    return Table(subject, panel.title, panel.about, tuple(map(Column, headings)), rows, told, stub=2)


def _cells(row: "pd.Series[Any]", signed: bool, many: bool) -> list[str]:
    difference = _signed(row, "difference")
    missing = f" of {row['planned']}" if row["pairs"] < row["planned"] else ""
    wins = statistics.Wins(row["wins"], row["ties"], row["pairs"], row["wins_low"], row["wins_high"])
    won = f"{wins}, {wins.ties} tied" if wins.ties else str(wins)
    cells = [str(row["row"]), heading(row["sparsity_target"]), f"{row['pairs']}{missing}", difference]
    cells += [_interval(row, "low", "high"), row["reason"] or ranks.shown(row["p_holm"]), won if wins.pairs else ""]
    cells += [ranks.shown(row["p_wilcoxon_holm"])] * signed
    return cells + [_interval(row, "bootstrap_low", "bootstrap_high")] * many


def _interval(row: "pd.Series[Any]", low: str, high: str) -> str:
    return "" if np.isnan(row[low]) else f"{_signed(row, low)} to {_signed(row, high)}"


def _signed(row: "pd.Series[Any]", column: str) -> str:
    return "" if np.isnan(row[column]) else signed(row[column], DECIMALS[row["measure"]] + 1)
