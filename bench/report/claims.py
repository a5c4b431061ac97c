"""Claims that an experiment wrote down before it ran, judged by its records: holds, does not hold, not shown."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from scipy import stats

from bench.cell import CONTROLS
from bench.report import render, statistics
from bench.report.frame import MEASURES, Results, measures
from bench.report.summary import DECIMALS
from bench.report.table import Column, Report, Row, Table

HOLDS, FAILS, OPEN = "holds", "does not hold", "not shown"

SUBJECT = "claims and verdicts"

PAIR = ["dataset", "model", "seed"]

COLUMNS = (
    "claim says dataset model relation margin measure planned pairs first second difference low high low_90 high_90 "
    "ahead behind verdict reason"
).split()


def judged(results: Results) -> pd.DataFrame:
    """Return COLUMNS, a row for each claim and (dataset, model).

    planned, pairs: seeds of which both sides are asked for, are done. first, second: means (null where a layer never
    empties). difference: first less second, mean over pairs, with its 95 % (low, high) and 90 % t interval. ahead,
    behind: seeds in which first is above, below second. reason: why nothing is shown, or empty.
    """
    rows = [row for claim in results.plan.get("claims", []) for row in _judged(results.frame, claim)]
    return pd.DataFrame(rows, columns=COLUMNS)


def files(results: Results) -> dict[str, bytes]:
    """Return claims.md, .csv, .tex and .html; nothing where the plan claims nothing."""
    found = judged(results)
    if found.empty:
        return {}
    return render.files(Report("claims", results.plan["experiment"], SUBJECT, (_table(found),), LEGEND[1:], found))


def _judged(frame: pd.DataFrame, claim: dict[str, Any]) -> Iterator[dict[str, Any]]:
    pruned = frame[~frame["criterion"].isin(CONTROLS)]
    sides = [_values(pruned[_chosen(pruned, claim[side])], claim["measure"]) for side in ("first", "second")]
    pairs = sides[0].merge(sides[1], on=PAIR, how="outer", suffixes=("_first", "_second"))
    for (dataset, model), own in pairs.groupby(PAIR[:2], sort=False):
        facts = {"claim": claim["name"], "says": claim["says"], "dataset": dataset, "model": model}
        facts |= {name: claim[name] for name in ("relation", "margin")}
        facts |= {"measure": measures(frame)[0] if claim["measure"] == "accuracy" else claim["measure"]}
        yield facts | _verdict(claim, own)


def _chosen(frame: pd.DataFrame, columns: dict[str, Any]) -> "pd.Series[bool]":
    """Return which cells a claim's side names; `iterative` stands for every `{name: iterative, ...}`."""
    chosen = pd.Series(True, index=frame.index)
    for column, value in columns.items():
        chosen &= (frame[column] == value) | frame[column].astype(str).str.startswith(f"{{name: {value},")
    return chosen


def _values(cells: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return PAIR and `value`, NaN for a seed of which a cell is not done."""
    done = cells.assign(done=cells["status"] == "ok", empty=cells["collapsed_layers"] > 0)
    if measure == "first_empty":
        reached = done["sparsity_target"].where(done["empty"], math.inf)
        seeds = done.assign(value=reached.where(done["done"])).groupby(PAIR, sort=False)["value"]
        return seeds.agg(lambda targets: targets.min(skipna=False)).reset_index()
    column = measures(cells)[0] if measure == "accuracy" else "collapsed_layers"
    seeds = done.assign(value=done[column].where(done["done"])).groupby(PAIR, sort=False)["value"]
    # More than one cell a seed is a claim that does not say which.
    return seeds.agg(lambda values: values.iloc[0] if len(values) == 1 else math.nan).reset_index()


def _verdict(claim: dict[str, Any], own: pd.DataFrame) -> dict[str, Any]:
    pairs = own.dropna(subset=["value_first", "value_second"])
    first, second = pairs["value_first"], pairs["value_second"]
    facts: dict[str, Any] = {"planned": len(own), "pairs": len(pairs)}
    facts |= {"first": _mean(first), "second": _mean(second)}
    facts |= {"ahead": int((first > second).sum()), "behind": int((first < second).sum())}
    if claim["measure"] != "accuracy":
        return facts | _by_count(claim["relation"], facts["ahead"], facts["behind"])
    # Equal counts of test images can differ in their last bits.
    differences = (first - second).round(10).to_numpy(float)
    low, high = (float(end) for end in statistics.t_interval(differences))
    narrow = tuple(float(end) for end in statistics.t_interval(differences, 1 - 2 * statistics.ALPHA))
    facts |= {"difference": _mean(first - second), "low": low, "high": high, "low_90": narrow[0], "high_90": narrow[1]}
    if math.isnan(low):
        few = len(pairs) < statistics.LEAST_PAIRS
        return facts | {"verdict": OPEN, "reason": "too few seeds" if few else "all differences are equal"}
    return facts | {"verdict": _by_interval(claim["relation"], claim["margin"], (low, high), narrow), "reason": ""}


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
    if not told or stats.binomtest(ahead, told).pvalue >= statistics.ALPHA:
        return {"verdict": OPEN, "reason": "" if told else "no seed tells the two apart"}
    return {"verdict": HOLDS if (ahead > behind) == (relation == "above") else FAILS, "reason": ""}


def _mean(values: "pd.Series[float]") -> float | None:
    mean = values.mean()
    return float(mean) if math.isfinite(mean) else None


LEGEND = (
    "Written down before the run. A difference is judged by its 95 % t interval over pairs of the same seed, an "
    "equivalence by its 90 % interval inside the margin (two one-sided tests), a count by a two-sided sign test.",
    "Each claim is judged by itself. not shown: the seeds that there are decide neither way.",
)

HEADINGS = ("claim", "model", "first", "second", "difference", "interval", "seeds", "verdict")


def _table(found: pd.DataFrame) -> Table:
    said = [f"{row['claim']}: {row['says']}{_margin(row)}." for _, row in found.drop_duplicates("claim").iterrows()]
    rows = tuple(Row(_cells(row)) for _, row in found.iterrows())
    return Table(SUBJECT, "", "; ".join(said), tuple(map(Column, HEADINGS)), rows, (LEGEND[0],), stub=2)


def _margin(row: "pd.Series[Any]") -> str:
    return "" if pd.isna(row["margin"]) else f" (within {row['margin']:g} points)"


def _cells(row: "pd.Series[Any]") -> tuple[str, ...]:
    counted = row["measure"] not in MEASURES
    places = 0 if counted else DECIMALS[row["measure"]] + 1
    number, signed = "{:.5g}".format if counted else f"{{:.{places}f}}".format, f"{{:+.{places}f}}".format
    never = "never" if row["measure"] == "first_empty" else ""
    means = [never if pd.isna(row[side]) else number(row[side]) for side in ("first", "second")]
    difference = f"{row['ahead']} above, {row['behind']} below"
    interval = ""
    if not counted:
        level, low, high = ("90", "low_90", "high_90") if row["relation"] == "equal" else ("95", "low", "high")
        difference = "" if pd.isna(row["difference"]) else signed(row["difference"])
        ends = [signed(row[end]) for end in (low, high)]
        interval = "" if pd.isna(row["low"]) else f"{ends[0]} to {ends[1]} ({level} %)"
    reason = f" ({row['reason']})" if row["reason"] else ""
    seeds = f"{row['pairs']}" if row["pairs"] == row["planned"] else f"{row['pairs']} of {row['planned']}"
    return (str(row["claim"]), str(row["model"]), *means, difference, interval, seeds, f"{row['verdict']}{reason}")
