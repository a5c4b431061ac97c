"""Each criterion of a panel against one reference: differences of pairs of the same seed, intervals, tests, wins."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.report import grid, statistics
from bench.report.frame import ENVIRONMENT, MEASURES, PANEL, Results, measures
from bench.report.panels import USUAL, Panel, panels
from bench.report.summary import DECIMALS, heading

REFERENCES = ("magnitude", "random")
"""The criterion that others are compared with: the first of these in the panel, else the plan's first."""

PAIR = ["seed", "dataset", "model", "recipe", "precision", "device", *ENVIRONMENT]
"""Two cells equal in these were pruned from the same dense net (or the same initial one): a pair."""

COLUMNS = (
    "panel row reference sparsity_target measure planned pairs difference low high p p_holm p_wilcoxon_holm "
    "wins ties wins_low wins_high reason"
).split()

BLOCK = ["dataset", "model"]


def comparisons(results: Results) -> pd.DataFrame:
    """Return COLUMNS, one row for each panel, criterion other than its reference, and target sparsity.

    planned: seeds of the criterion; pairs: those that are ok for both and come from the same dense net. difference:
    criterion less reference, in percentage points (R² as it is), with its 95 % t interval (low, high); p: paired t
    test; p_holm, p_wilcoxon_holm: after Holm over the panel's comparisons; reason: why there is no test, or empty.
    """
    found = [frame for panel in panels(results) if len(frame := _compared(panel))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=COLUMNS)


def markdown(results: Results) -> str:
    """Return the comparisons as Markdown: a table for each panel, ranks where there are several networks."""
    parts = [f"# {grid.escaped(results.plan['experiment'])}: criteria compared over seeds"]
    shown = panels(results)
    for panel in shown:
        own = _compared(panel)
        parts += [f"## {grid.escaped(panel.title)}"] if panel.title else []
        parts += [grid.escaped(panel.about)]
        parts += [_table(own), grid.items([_about(own)])] if len(own) else ["Nothing to compare."]
    return "\n\n".join([*parts, *_ranked(results, shown), grid.items(LEGEND)]) + "\n"


def csv(results: Results) -> str:
    """Return the comparisons as CSV, six digits: the last ones of a p depend on the version of scipy."""
    return comparisons(results).to_csv(index=False, lineterminator="\n", float_format="%.6g")


LEGEND = (
    "difference: criterion less reference, mean over pairs, with its 95 % t interval, which holds for one comparison "
    "at a time.",
    "pairs: seeds for which both are done and were pruned from the same dense net (same data, model, recipe and "
    "environment).",
    "p: paired t test, two-sided, after Holm's correction over all comparisons of the panel, those without a test "
    "included.",
    "wins: pairs in which the criterion is above the reference; a tie is none. From "
    f"{statistics.LEAST_SHARE} pairs, with the exact 95 % interval of that share.",
)


def _pruned(panel: Panel) -> pd.DataFrame:
    """Return the cells that can be ranked, with `value`; a net that decides itself how far to go is none of them."""
    cells = panel.cells[~panel.cells["control"] & panel.cells["sparsity_target"].notna()]
    return cells.assign(value=cells[measures(panel.cells)[0]].where(cells["status"] == "ok"))


def _compared(panel: Panel) -> pd.DataFrame:
    cells = _pruned(panel)
    rows = list(_against(cells, _reference(cells))) if len(cells) else []
    shared = {"panel": panel.title, "measure": measures(panel.cells)[0]}
    differences = [row.pop("differences") for row in rows]
    frame = pd.DataFrame([row | shared for row in rows], columns=COLUMNS)
    frame["p_holm"] = statistics.holm(frame["p"].to_numpy(float))
    signed = [statistics.wilcoxon(values, len(frame)) for values in differences]
    frame["p_wilcoxon_holm"] = statistics.holm(np.array(signed, dtype=float))
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
    return (
        f"Against {own['reference'].iloc[0]}, in {unit}{MEASURES[measure].removesuffix(' (%)')}; {count} "
        f"comparison{'s' if count > 1 else ''}, {tested} of them tested."
    )


def _table(own: pd.DataFrame) -> str:
    signed = bool(own["p_wilcoxon_holm"].notna().any())
    header = ["criterion", "sparsity", "pairs", "difference", "95 % interval", "p (Holm)", "wins"]
    return grid.table([header + ["Wilcoxon p (Holm)"] * signed, *(_cells(row, signed) for _, row in own.iterrows())])


def _cells(row: "pd.Series[Any]", signed: bool) -> list[str]:
    places = DECIMALS[row["measure"]] + 1
    difference, low, high = ("" if np.isnan(row[c]) else f"{row[c]:+.{places}f}" for c in ("difference", "low", "high"))
    missing = f" of {row['planned']}" if row["pairs"] < row["planned"] else ""
    wins = statistics.Wins(row["wins"], row["ties"], row["pairs"], row["wins_low"], row["wins_high"])
    won = f"{wins}, {wins.ties} tied" if wins.ties else str(wins)
    cells = [grid.escaped(str(row["row"])), heading(row["sparsity_target"]), f"{row['pairs']}{missing}", difference]
    cells += [f"{low} to {high}" if low else "", row["reason"] or _p(row["p_holm"]), won if wins.pairs else ""]
    return cells + [_p(row["p_wilcoxon_holm"])] * signed


def _p(p: float) -> str:
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def blocks(cells: pd.DataFrame) -> pd.DataFrame:
    """Return mean `value`, a line for each (dataset, model), a column for each `row` of the cells.

    The mean is over the sparsities and seeds that all rows have; a pair without any is left out.
    """
    wide = cells.groupby([*BLOCK, "sparsity_target", "seed", "row"], sort=False)["value"].mean().unstack("row")
    return wide.dropna().groupby(level=BLOCK, sort=False).mean()


def _ranked(results: Results, shown: list[Panel]) -> list[str]:
    """Return a section of ranks for each setting in which several (dataset, model) pairs were measured."""
    free = {*BLOCK, "recipe", "finetune_epochs", *results.plan["vary"]}
    setting = [column for column in PANEL if column not in free]
    cells = pd.concat([_pruned(panel) for panel in shown])
    parts = []
    for _, own in cells.groupby(setting, dropna=False, sort=False):
        ranks = statistics.average_ranks(blocks(own))
        if ranks.blocks > 1 and len(ranks.mean) > 1:
            same = own[setting].iloc[0].dropna()
            about = ", ".join(f"{name}={value}" for name, value in same.items() if value != USUAL.get(str(name)))
            parts += [f"## Mean ranks over {ranks.blocks} (dataset, model) pairs", grid.escaped(about), _ranks(ranks)]
    return parts


def _ranks(ranks: statistics.Ranks) -> str:
    rows = [[grid.escaped(str(row)), f"{rank:.2f}"] for row, rank in ranks.mean.items()]
    few = f"Ranks without a test: fewer than {statistics.LEAST_BLOCKS} pairs, or fewer than three criteria."
    test = few if np.isnan(ranks.p) else f"Friedman's test that all rank alike: p {_p(ranks.p)}."
    return grid.table([["criterion", "mean rank"], *rows]) + f"\n\n- {test}"
