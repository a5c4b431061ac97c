"""Ours beside a paper's: difference, standard error, verdict; bounds and directions that the paper states."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from bench.report import claims, statistics
from bench.report.frame import MEAN, Results
from bench.report.oracle import MEASURES as CORRELATIONS
from bench.report.oracle import OVERALL
from bench.report.published import chosen
from bench.report.summary import heading

AGREES, SAME, DIFFERS, OPEN = "agrees", "no difference shown", "differs", "cannot be said"
MARGIN = 0.5
"""Percentage points by which what is `not below` may fall short."""
KEYS = [*MEAN, "layer"]
"""Cells that are equal in these differ in their seeds alone."""

COLUMNS = (
    "kind says measure sparsity_target ours ours_std ours_n planned theirs theirs_std theirs_n relation difference "
    "standard_error low high in_standard_errors verdict reason source place how checked"
).split()


@dataclass(frozen=True)
class Sample:
    """A mean and what is known of its error."""

    mean: float
    std: float
    """Sample standard deviation, NaN where unknown."""
    n: float
    least: int
    """Runs below which its spread says nothing."""

    @property
    def error(self) -> tuple[float, float] | None:
        """Squared standard error of the mean and its degrees of freedom; None where unknown."""
        known = self.n >= self.least and math.isfinite(self.std)
        return (self.std**2 / self.n, self.n - 1) if known else None


@dataclass(frozen=True)
class Difference:
    """One mean less another, with Welch's 95 % interval (1947); NaN where there is no error to speak of."""

    value: float
    error: float = math.nan
    low: float = math.nan
    high: float = math.nan


def welch(one: Sample, other: Sample) -> Difference:
    """Return one less other; a side whose error is unknown counts as exact."""
    value = one.mean - other.mean
    errors = [sample.error for sample in (one, other) if sample.error]
    variance = sum(square for square, _ in errors)
    if not variance > 0:
        return Difference(value)
    freedom = variance**2 / sum(square**2 / free for square, free in errors)
    half = float(special.stdtrit(freedom, 1 - statistics.ALPHA / 2)) * math.sqrt(variance)
    return Difference(value, math.sqrt(variance), value - half, value + half)


def compared(results: Results, published: pd.DataFrame) -> pd.DataFrame:
    """Return COLUMNS, a row for each published figure, for each cell that a bound is about, for each pair of cells
    that a direction is about, and for each two figures whose order the paper's own errors bear out.

    ours: mean over the `ours_n` of `planned` seeds that are done. difference: ours less theirs; in a direction or an
    order, ours of the first less ours of the second; (low, high): its 95 % interval. in_standard_errors: difference
    over standard_error, which is that of pairs of a seed in a direction; of a correlation of one network, on Fisher's
    scale. reason: why nothing can be said, or what stands for an interval that there is not, or empty.
    """
    rows = list(itertools.chain.from_iterable(_rows(results, row) for _, row in published.iterrows()))
    return pd.DataFrame([*rows, *_orders(rows)], columns=COLUMNS)


def oracle_results(experiment: str, correlations: pd.DataFrame) -> Results:
    """Return the oracle's correlations over all units (bench.report.oracle.correlations) in the form of results."""
    frame = correlations[correlations["layer"] == OVERALL].assign(status="ok")
    titles = {title: title for title in frame["dataset"].unique()}
    return Results({"experiment": experiment, "titles": titles, "changed": []}, frame, {})


def _rows(results: Results, row: "pd.Series[str]") -> Iterator[dict[str, Any]]:
    about: dict[str, Any] = {name: row[name] for name in ("source", "place", "how", "checked", "measure", "relation")}
    if row["versus"]:
        yield from (about | found for found in _direction(results, row))
        return
    groups = list(_groups(results.frame, chosen(row)))
    about |= {
        "kind": "bound" if row["relation"] else "figure",
        "says": said(chosen(row)),
        "theirs": float(row["value"]),
    }
    if not groups:
        yield about | _open("no such cell")
    for cells in groups:
        target = cells["sparsity_target"].iloc[0] if "sparsity_target" in cells else math.nan
        yield about | {"sparsity_target": target} | (_bound if row["relation"] else _figure)(cells, row)


def _groups(frame: pd.DataFrame, selected: dict[str, str | float]) -> Iterator[pd.DataFrame]:
    """Yield the cells that the columns choose, those that differ in their seeds alone together."""
    own = pd.Series(True, index=frame.index)
    for column, value in selected.items():
        own &= frame[column] == value if column in frame else False
    keys = [name for name in KEYS if name in frame]
    yield from (cells for _, cells in frame[own].groupby(keys, dropna=False, sort=False))


def _ours(cells: pd.DataFrame, measure: str) -> "pd.Series[float]":
    """Return the values of the seeds that are done."""
    return pd.to_numeric(cells.loc[cells["status"] == "ok", measure]).dropna()


def _sample(cells: pd.DataFrame, measure: str) -> Sample:
    values = _ours(cells, measure)
    return Sample(values.mean(), values.std(), len(values), statistics.LEAST_PAIRS)


def _theirs(row: "pd.Series[str]") -> Sample:
    return Sample(float(row["value"]), float(row["std"] or "nan"), float(row["n"] or "nan"), least=2)


def _figure(cells: pd.DataFrame, row: "pd.Series[str]") -> dict[str, Any]:
    ours, theirs = _sample(cells, row["measure"]), _theirs(row)
    found = welch(ours, theirs)
    facts = _described(ours, cells) | {"difference": found.value}
    facts |= {"theirs_std": theirs.std, "theirs_n": theirs.n}
    if reason := _silent(ours, cells):
        return facts | _open(reason)
    facts |= {"low": found.low, "high": found.high} | _in_errors(found.value, found.error)
    if math.isnan(found.low):
        return facts | _open("neither side has a spread")
    rounding = 0.5 * 10.0 ** -len(row["value"].partition(".")[2])
    same = found.low - rounding <= 0 <= found.high + rounding
    return facts | {"verdict": SAME if same else DIFFERS, "reason": ""}


def _in_errors(difference: float, error: float) -> dict[str, float]:
    return {"standard_error": error, "in_standard_errors": difference / error if error > 0 else math.nan}


def _described(ours: Sample, cells: pd.DataFrame) -> dict[str, Any]:
    return {"ours": ours.mean, "ours_std": ours.std, "ours_n": int(ours.n), "planned": len(cells)}


def _silent(ours: Sample, cells: pd.DataFrame) -> str:
    """Return why our side says nothing, or an empty text."""
    if not ours.n:
        states = cells.loc[cells["status"] != "ok", "status"].value_counts(sort=False)
        return ", ".join(f"{count} {state}" for state, count in states.items()) or "not measured"
    return f"fewer than {statistics.LEAST_PAIRS} seeds" if ours.n < statistics.LEAST_PAIRS else ""


def _open(reason: str) -> dict[str, Any]:
    return {"verdict": OPEN, "reason": reason}


def _bound(cells: pd.DataFrame, row: "pd.Series[str]") -> dict[str, Any]:
    ours, bound = _sample(cells, row["measure"]), float(row["value"])
    facts = _described(ours, cells) | {"difference": ours.mean - bound}
    if ours.error:
        low, high = claims.interval(np.asarray(_ours(cells, row["measure"]), dtype=np.float64) - bound)
        facts |= _in_errors(ours.mean - bound, math.sqrt(ours.error[0]))
    elif row["measure"] in CORRELATIONS and ours.n and (units := int(cells["n"].min())) > 3:
        ranked = str(row["measure"]).startswith("spearman")
        low, high, facts["in_standard_errors"] = _over_units(ours.mean, bound, units, ranked)
    else:
        return facts | _open(_silent(ours, cells))
    return facts | {"low": low, "high": high, "verdict": _by_interval(row["relation"], low, high, 0), "reason": ""}


def _over_units(correlation: float, bound: float, units: int, ranked: bool) -> tuple[float, float, float]:
    """Return the 95 % interval over units of a correlation less a bound, and this in standard errors.

    By Fisher's z (1921), whose variance is larger by 1 + r^2 / 2 for correlations of ranks (Bonett and Wright 2000).
    """
    error = math.sqrt((1 + correlation**2 / 2 if ranked else 1) / (units - 3))
    with np.errstate(divide="ignore", invalid="ignore"):  # a correlation of 1 lies at infinity
        middle, at = np.arctanh([correlation, bound])
    half = float(special.ndtri(1 - statistics.ALPHA / 2)) * error
    low, high = np.tanh([middle - half, middle + half]) - bound
    return float(low), float(high), float((middle - at) / error)


def _by_interval(relation: str, low: float, high: float, margin: float) -> str:
    """Judge a difference by its interval; what is `not below` (or above) 0 may fall short by the margin."""
    if relation in ("below", "not above"):
        relation, low, high = {"below": "above", "not above": "not below"}[relation], -high, -low
    if high < 0:
        return DIFFERS
    holds = low > 0 if relation == "above" else low >= -margin
    return AGREES if holds else OPEN


def _direction(results: Results, row: "pd.Series[str]") -> Iterator[dict[str, Any]]:
    """Yield the comparison of each target sparsity of the cells that a direction is about."""
    first, second = chosen(row), chosen(row, versus=True)
    says = f"{said(first)}: {row['relation']} {row['versus']}"
    targets = {cells["sparsity_target"].iloc[0] for cells in _groups(results.frame, first)}
    if not targets:
        yield {"kind": "direction", "says": says} | _open("no such cell")
    for target in sorted(targets):
        at = {"sparsity_target": target}
        claim = {"name": "", "says": "", "first": first | at, "second": second | at, "margin": None}
        claim |= {"relation": "above", "measure": "accuracy"}
        judged = claims.judged(Results(results.plan | {"claims": [claim]}, results.frame, results.outside))
        for _, found in judged.iterrows():
            yield {"kind": "direction", "says": says} | at | _judged(found, row["relation"])


def _judged(found: "pd.Series[Any]", relation: str) -> dict[str, Any]:
    facts = {"ours": found["first"], "ours_n": found["pairs"], "planned": found["planned"]}
    facts |= {name: found[name] for name in ("difference", "low", "high", "reason")}
    if pd.isna(found["low"]):
        return facts | _open(found["reason"])
    # Half a t interval is so many standard errors of the mean of the pairs.
    quantile = float(special.stdtrit(found["pairs"] - 1, 1 - statistics.ALPHA / 2))
    facts |= _in_errors(found["difference"], (found["high"] - found["low"]) / 2 / quantile)
    return facts | {"verdict": _by_interval(relation, found["low"], found["high"], MARGIN)}


def _orders(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield, for each two figures of one measure whose order the paper's own errors bear out, whether ours is that."""
    figures = [row for row in rows if row["kind"] == "figure" and not math.isnan(row.get("theirs_std", math.nan))]
    for one, other in itertools.combinations(figures, 2):
        published = welch(*(Sample(row["theirs"], row["theirs_std"], row["theirs_n"], 2) for row in (one, other)))
        if one["measure"] == other["measure"] and published.low * published.high > 0:
            above, under = (one, other) if published.value > 0 else (other, one)
            yield _order(above, under)


def _order(above: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    sides = [Sample(row["ours"], row["ours_std"], row["ours_n"], statistics.LEAST_PAIRS) for row in (above, under)]
    found = welch(*sides)
    facts = {name: above[name] for name in ("measure", "source", "place", "how", "checked")}
    facts |= {
        "kind": "order",
        "says": f"{_full(above)}: above {_full(under)}",
        "relation": "above",
        "ours": above["ours"],
    }
    facts |= {"ours_n": above["ours_n"], "planned": above["planned"], "difference": found.value, "reason": ""}
    if not all(side.error for side in sides) or math.isnan(found.low):
        return facts | _open(f"fewer than {statistics.LEAST_PAIRS} seeds, or no spread")
    facts |= {"low": found.low, "high": found.high} | _in_errors(found.value, found.error)
    return facts | {"verdict": _by_interval("above", found.low, found.high, 0)}


def said(selected: dict[str, str | float]) -> str:
    """Return `criterion=snip, ablation=shuffle` of what columns choose."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in selected.items()
    )


def _full(row: dict[str, Any]) -> str:
    return f"{row['says']}{_at(row['sparsity_target'])}"


def _at(target: Any) -> str:
    return "" if pd.isna(target) or not target else f" at {heading(target)}"
