"""Ours beside a paper's, as a report: figures one by one, then what the paper states in words."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from bench.report import grid, statistics
from bench.report.agreement import AGREES, DIFFERS, MARGIN, OPEN, SAME, compared
from bench.report.frame import Results
from bench.report.notes import changed
from bench.report.oracle import MEASURES as CORRELATIONS
from bench.report.summary import heading, signed

LEGEND = (
    "difference: ours less the published figure, with Welch's 95 % interval, which takes the published spread as a "
    "sample standard deviation; where none is published, ours alone counts. In standard errors: difference over its "
    "standard error.",
    f"{SAME}: the interval, widened by half a unit of the published figure's last digit, holds 0, which a wide one "
    f"does easily. {DIFFERS}: it does not. {OPEN}: fewer than {statistics.LEAST_PAIRS} "
    "seeds of ours, or no spread.",
    "Statements are judged cell by cell, by the 95 % interval of the difference of pairs of the same seed (for a "
    "bound: of our mean; for a correlation of one network: over its units). above and below agree where it lies on "
    f"that side, differ where it lies on the other; not below agrees where it lies above -{MARGIN:g} points, differs "
    "where it lies below 0.",
    "Difference of a statement: from the lowest to the highest of its cells, of a bound ours less it; of the 95 % "
    "intervals, from the lowest to the highest end. In standard errors: difference over that of the mean of the pairs "
    "(for a bound: of our mean; for a correlation of one network: on Fisher's scale).",
)


def files(results: Results, published: pd.DataFrame) -> dict[str, bytes]:
    """Return compare.md and compare.csv; the same records and figures give the same bytes."""
    found = compared(results, published)
    csv = found.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    return {"compare.md": _markdown(results, found).encode(), "compare.csv": csv.encode()}


def _markdown(results: Results, found: pd.DataFrame) -> str:
    sources = found[SOURCE].drop_duplicates().reset_index(drop=True)
    numbers = {tuple(source): str(place + 1) for place, source in enumerate(sources.to_numpy())}
    found = found.assign(number=[numbers[tuple(source)] for source in found[SOURCE].to_numpy()])
    figures, stated = found[found["kind"] == "figure"], found[found["kind"] != "figure"]
    parts = [f"# {grid.escaped(results.plan['experiment'])}: ours beside the published figures"]
    parts += [grid.items(_setting(results))]
    if len(figures):
        parts += ["## Figures", grid.table([FIGURES, *(_figure(row) for _, row in figures.iterrows())])]
    if len(stated):
        rows = [_statement(rows) for _, rows in stated.groupby(["kind", "says", "measure", "number"], sort=False)]
        parts += ["## Statements", grid.table([STATEMENTS, *rows])]
    lines = [f"{number}: {_source(source)}." for source, number in numbers.items()]
    return "\n\n".join([*parts, grid.items([*lines, *LEGEND])]) + "\n"


SOURCE = ["source", "place", "how", "checked"]
FIGURES = ["cells", "measure", "ours", "published", "difference", "95 % interval", "in s.e.", "verdict", "source"]
STATEMENTS = ["cells", "measure", "ours", "difference", "95 % interval", "in s.e.", "cell by cell", "source"]


def _setting(results: Results) -> list[str]:
    """Return what ours was run on, and what of the experiment was changed."""
    nets = results.frame[["dataset", "model", "recipe"]].drop_duplicates().to_numpy()
    titles = results.plan["titles"]
    lines = [f"Ours: {titles.get(data, data)}, {model}, recipe {recipe}." for data, model, recipe in nets]
    return lines + changed(results)


def _source(source: tuple[str, ...]) -> str:
    """Return paper, place, how, and where the figure was read if that is not the paper."""
    paper, place, how, checked = source
    return f"{paper}, {place} ({how})" + ("" if checked == "read" else f"; {checked}")


def _figure(row: "pd.Series[Any]") -> list[str]:
    ours = _spread(row["ours"], row["ours_std"], row["ours_n"], row["measure"])
    if row["ours_n"] and row["ours_n"] < row["planned"]:
        ours += f" of {row['planned']:g}"
    cells = [
        _cells(row),
        _measure(row),
        ours,
        _spread(row["theirs"], row["theirs_std"], row["theirs_n"], row["measure"]),
    ]
    interval = "" if pd.isna(row["low"]) else f"{_signed(row['low'], row)} to {_signed(row['high'], row)}"
    error = "" if pd.isna(row["in_standard_errors"]) else signed(row["in_standard_errors"], 1)
    return [*cells, _signed(row["difference"], row), interval, error, _verdict(row), row["number"]]


def _spread(mean: float, std: float, n: float, measure: str) -> str:
    """Return `93.1 ± 0.1 (n = 5)`, as far as it is known."""
    if pd.isna(mean):
        return ""
    spread = "" if pd.isna(std) else f" ± {_number(std, measure)}"
    return f"{_number(mean, measure)}{spread}" + ("" if pd.isna(n) else f" (n = {n:g})")


def _number(value: float, measure: str) -> str:
    return f"{value:.{_places(measure)}f}"


def _places(measure: str) -> int:
    return 3 if measure in CORRELATIONS or measure.startswith("r2") else 2


def _signed(value: float, row: "pd.Series[Any]") -> str:
    return "" if pd.isna(value) else signed(value, _places(row["measure"]))


def _verdict(row: "pd.Series[Any]") -> str:
    return f"**{row['verdict']}**" + (f" ({grid.escaped(row['reason'])})" if row["reason"] else "")


def _statement(rows: pd.DataFrame) -> list[str]:
    """Return one line for a statement: how far its cells lie, how many of them agree, and where they do not."""
    row = rows.iloc[0]
    bound = f": {row['relation']} {row['theirs']:g}" if row["kind"] == "bound" else ""
    columns = [
        _range(rows["ours"], rows["ours"], lambda mean: _number(mean, row["measure"])),
        _range(rows["difference"], rows["difference"], lambda value: _signed(value, row)),
        _range(rows["low"], rows["high"], lambda end: _signed(end, row)),
        _range(rows["in_standard_errors"], rows["in_standard_errors"], lambda error: signed(error, 1)),
    ]
    verdicts = [
        f"**{verdict}** {len(own)} of {len(rows)}{_where(own)}"
        for verdict in (AGREES, DIFFERS, OPEN)
        if len(own := rows[rows["verdict"] == verdict])
    ]
    text = grid.escaped(re.sub(r"\s+", " ", row["says"]) + bound)
    return [text, _measure(row), *columns, "; ".join(verdicts), row["number"]]


def _range(lows: "pd.Series[float]", highs: "pd.Series[float]", shown: Callable[[float], str]) -> str:
    """Return `+1.2 to +3.4`: the lowest and the highest of what is known, once where they look the same."""
    ends = [shown(end) for end in (lows.min(), highs.max()) if not pd.isna(end)]
    return " to ".join(dict.fromkeys(ends))


def _where(rows: pd.DataFrame) -> str:
    """Return ` (at 90 %, 98 %; 3 missing)`: the sparsities, where there are any, and the reasons."""
    targets = rows["sparsity_target"].dropna()
    parts = [f"at {_listed([heading(float(target)) for target in targets])}"] if len(targets) else []
    parts += [grid.escaped(str(reason)) for reason in rows["reason"].unique() if reason]
    return f" ({'; '.join(parts)})" if parts else ""


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def _cells(row: "pd.Series[Any]") -> str:
    target = row["sparsity_target"]
    shown = "" if pd.isna(target) or not target or "sparsity_target" in row["says"] else f", {heading(target)}"
    return grid.escaped(f"{row['says']}{shown}")


def _measure(row: "pd.Series[Any]") -> str:
    return CORRELATIONS.get(str(row["measure"]), str(row["measure"]))
