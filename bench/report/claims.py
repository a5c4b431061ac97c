"""Claims of an experiment's file, judged by its records: holds, does not hold, not shown."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.cell import CONTROLS
from bench.report import comparisons, ranks, render, statistics
from bench.report.frame import MEASURES, Results, measures
from bench.report.summary import DECIMALS, with_interval
from bench.report.table import Column, Report, Row, Table

HOLDS, FAILS, OPEN = "holds", "does not hold", "not shown"

SUBJECT = "claims and verdicts"

PAIR = ["dataset", "model", "seed"]

COLUMNS = (
    "claim says dataset model relation margin measure planned pairs first second difference low high low_90 high_90 "
    "ahead behind p verdict reason"
).split()


def judged(results: Results) -> pd.DataFrame:
    """Return COLUMNS, a row for each claim and (dataset, model).

    planned, pairs: seeds that are asked for; of which both sides are done, under the same conditions. first, second:
    means (of first_empty medians, inf where no target empties a layer). difference: first less second, mean over
    pairs, with its 95 % (low, high) and 90 % t interval. ahead, behind: seeds in which first is above, below second; p:
    of the sign test on these. reason: why nothing is shown, what stands for an interval that there is not, or empty.
    """
    rows = [row for claim in results.plan.get("claims", []) for row in _judged(results.frame, claim)]
    return pd.DataFrame(rows, columns=COLUMNS)


def files(results: Results) -> dict[str, bytes]:
    """Return claims.md, .csv, .tex and .html; nothing where the plan claims nothing."""
    return render.files(report(results))


def report(results: Results) -> Report:
    """Return a table of the claims and their verdicts; no table where the plan claims nothing."""
    found = judged(results)
    shown = () if found.empty else (_table(found, results.plan),)
    return Report("claims", results.plan["experiment"], SUBJECT, shown, LEGEND[1:], found)


def _judged(frame: pd.DataFrame, claim: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pruned = frame[~frame["criterion"].isin(CONTROLS)]
    made = [" ".join(map(str, row)) for row in pruned[_conditions(claim)].itertuples(index=False)]
    pruned = pruned.assign(made=made)
    sides = [pruned[_chosen(pruned, claim[side])] for side in ("first", "second")]
    values = [_values(cells, claim["measure"]) for cells in sides]
    pairs = values[0].merge(values[1], on=PAIR, how="outer", suffixes=("_first", "_second"))
    for dataset, model in pruned[PAIR[:2]].drop_duplicates().itertuples(index=False):
        own = pairs[(pairs["dataset"] == dataset) & (pairs["model"] == model)]
        facts = {"claim": claim["name"], "says": claim["says"], "dataset": dataset, "model": model}
        facts |= {name: claim[name] for name in ("relation", "margin")}
        facts |= {"measure": measures(frame)[0] if claim["measure"] == "accuracy" else claim["measure"]}
        if any(_vague(cells, claim["measure"]) for cells in sides):
            reason = "a side names none or several cells"
            yield facts | {"planned": len(own), "pairs": 0, "verdict": OPEN, "reason": reason}
        else:
            yield facts | _verdict(claim, own)


def _conditions(claim: dict[str, Any]) -> list[str]:
    """Return the columns in which the cells of a pair are to be equal: all that the claim is not about."""
    about = {*claim["first"], *claim["second"]}
    about |= {"recipe_hash"} if "recipe" in about else set()
    return [name for name in comparisons.PAIR if name not in {*PAIR, *about}]


def _chosen(frame: pd.DataFrame, columns: dict[str, Any]) -> "pd.Series[bool]":
    """Return which cells a claim's side names; `iterative` stands for every `{name: iterative, ...}`."""
    chosen = pd.Series(True, index=frame.index)
    for column, value in columns.items():
        chosen &= (frame[column] == value) | frame[column].astype(str).str.startswith(f"{{name: {value},")
    return chosen


def _vague(cells: pd.DataFrame, measure: str) -> bool:
    """Whether a side does not say which cell of a seed is meant; first_empty looks at all of its targets."""
    return cells.empty or (measure != "first_empty" and bool(cells.duplicated(PAIR).any()))


def _values(cells: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return PAIR, `made` and `value`, NaN for a seed of which a cell is not done; first_empty: inf where none is."""
    if measure == "first_empty":
        values = cells["sparsity_target"].where(cells["collapsed_layers"] > 0, math.inf)
    else:
        values = cells[measures(cells)[0] if measure == "accuracy" else "collapsed_layers"]
    done = cells.assign(value=pd.to_numeric(values).where(cells["status"] == "ok"))
    seeds = done.groupby(PAIR, sort=False)
    return seeds.agg(value=("value", lambda v: v.min(skipna=False)), made=("made", "first")).reset_index()


def _verdict(claim: dict[str, Any], own: pd.DataFrame) -> dict[str, Any]:
    done = own.dropna(subset=["value_first", "value_second"])
    pairs = done[done["made_first"] == done["made_second"]]
    first, second = pairs["value_first"], pairs["value_second"]
    middle = pd.Series.median if claim["measure"] == "first_empty" else pd.Series.mean
    facts: dict[str, Any] = {"planned": len(own), "pairs": len(pairs)}
    facts |= {"first": float(middle(first)), "second": float(middle(second))}
    facts |= {"ahead": int((first > second).sum()), "behind": int((first < second).sum())}
    mixed = " from one machine, one recipe and the same versions" if len(pairs) < len(done) else ""
    if len(pairs) < statistics.LEAST_PAIRS:
        return facts | {"verdict": OPEN, "reason": f"too few seeds{mixed}"}
    if claim["measure"] != "accuracy":
        return facts | _by_count(claim["relation"], facts["ahead"], facts["behind"])
    # Equal counts of test images can differ in their last bits.
    differences = (first - second).round(10).to_numpy(float)
    wide, narrow = interval(differences), interval(differences, 1 - 2 * statistics.ALPHA)
    facts |= {"difference": float(differences.mean()), "low": wide[0], "high": wide[1]}
    facts |= {"low_90": narrow[0], "high_90": narrow[1]}
    reason = "all differences are equal" if wide[0] == wide[1] else ""
    return facts | {"verdict": _by_interval(claim["relation"], claim["margin"], wide, narrow), "reason": reason}


def interval(values: statistics.Array, level: float = 1 - statistics.ALPHA) -> tuple[float, float]:
    """Return both ends of the t interval of a mean, of at least LEAST_PAIRS values.

    Equal values have no t: that value, to which the interval shrinks with their spread, stands for both ends.
    """
    low, high = (float(end) for end in statistics.t_interval(values, level))
    return (float(np.median(values)),) * 2 if math.isnan(low) else (low, high)


def _by_interval(relation: str, margin: float | None, wide: tuple[float, ...], narrow: tuple[float, ...]) -> str:
    """Judge a difference by its 95 % interval, an equivalence by two one-sided tests at 5 % (Schuirmann 1987)."""
    if margin is not None:
        inside = -margin < narrow[0] and narrow[1] < margin
        return HOLDS if inside else FAILS if wide[0] > margin or wide[1] < -margin else OPEN
    low, high = wide if relation == "above" else (-wide[1], -wide[0])
    return HOLDS if low > 0 else FAILS if high < 0 else OPEN


def _by_count(relation: str, ahead: int, behind: int) -> dict[str, Any]:
    """Judge by a two-sided sign test at 5 %, ties left out."""
    told = ahead + behind
    if not told:
        return {"verdict": OPEN, "reason": "no seed tells the two apart"}
    p = float(stats.binomtest(ahead, told).pvalue)
    holds = HOLDS if (ahead > behind) == (relation == "above") else FAILS
    return {"p": p, "verdict": holds if p < statistics.ALPHA else OPEN, "reason": ""}


LEGEND = (
    "Stated in the experiment's file. A difference is judged by its 95 % t interval over pairs of the same seed, an "
    "equivalence by its 90 % interval inside the margin (two one-sided tests), which are shown; it does not hold where "
    "the 95 % interval lies outside. A count and a sparsity are judged by a two-sided sign test over seeds.",
    "Each claim is judged by itself. not shown: the seeds that there are decide neither way.",
)

HEADINGS = ("claim", "network", "measure", "first", "second", "first less second", "seeds", "verdict")

MEASURED = {
    "top1": "top-1 (%)",
    "r2": "R²",
    "empty_layers": "empty layers",
    "first_empty": "sparsity that first empties a layer",
}


def _table(found: pd.DataFrame, plan: dict[str, Any]) -> Table:
    said = [f"{row['claim']}: {row['says']}{_margin(row)}" for _, row in found.drop_duplicates("claim").iterrows()]
    rows = tuple(Row(_cells(row, plan["titles"])) for _, row in found.iterrows())
    sides = "; ".join(
        f"{claim['name']}: {_side(claim['first'])} and {_side(claim['second'])}" for claim in plan["claims"]
    )
    notes = (f"First and second, means over seeds (the median of a sparsity): {sides}.", LEGEND[0])
    return Table(SUBJECT, "", "; ".join(said), tuple(map(Column, HEADINGS)), rows, notes, stub=2)


def _side(columns: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in columns.items())


def _margin(row: "pd.Series[Any]") -> str:
    return "" if pd.isna(row["margin"]) else f" (within {row['margin']:g} points)"


def _cells(row: "pd.Series[Any]", titles: dict[str, str]) -> tuple[str, ...]:
    counted = row["measure"] not in MEASURES
    difference = _by_seeds(row) if counted else _difference(row)
    means = [_middle(row[side], row["measure"]) for side in ("first", "second")]
    network = f"{titles.get(row['dataset'], row['dataset'])}, {row['model']}"
    seeds = f"{row['pairs']}" if row["pairs"] == row["planned"] else f"{row['pairs']} of {row['planned']}"
    reason = f" ({row['reason']})" if row["reason"] else ""
    measure = MEASURED[row["measure"]]
    return (str(row["claim"]), network, measure, *means, difference, seeds, f"{row['verdict']}{reason}")


def _middle(value: float, measure: str) -> str:
    if pd.isna(value) or math.isinf(value):
        return "" if pd.isna(value) else "beyond all targets"
    if measure == "first_empty":
        return f"{100 * value:.6g} %"
    return f"{value:.{DECIMALS[measure] + 1}f}" if measure in MEASURES else f"{value:.5g}"


def _by_seeds(row: "pd.Series[Any]") -> str:
    """Return e.g. `above in 0 seeds, below in 8 (p 0.008)`."""
    p = "" if pd.isna(row["p"]) else f" (p {ranks.shown(row['p'])})"
    return f"above in {row['ahead']} seeds, below in {row['behind']}{p}"


def _difference(row: "pd.Series[Any]") -> str:
    """Return e.g. `+4.81 (+4.37 to +5.25)`."""
    if pd.isna(row["difference"]):
        return ""
    low, high = ("low_90", "high_90") if row["relation"] == "equal" else ("low", "high")
    return with_interval(row["difference"], row[low], row[high], DECIMALS[row["measure"]] + 1)
