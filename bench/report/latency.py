"""What a network gains in time, in one row with its accuracy, parameters and FLOPs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.report import render
from bench.report.frame import NET, Results, measures
from bench.report.notes import of_weights, seeds
from bench.report.panels import Panel, panels
from bench.report.summary import SHORT, heading, ratio, removed, significant
from bench.report.table import Column, Report, Row, Table
from bench.report.times import PLACE, SETTING, Timed
from bench.tasks import VARIANTS

LEVEL = 0.99
"""Of the interval of a speed-up: of 100 comparisons of a network with itself at most five may show a difference."""
SPREAD = 0.1
"""Inter-quartile ranges above this share of the median are flagged."""
MARK = "!"
"""Stands behind what is flagged."""
ORDER = ("eager", "compile", "onnx", "fp32", "bf16", "fp16")
PLACED = ["sparsity_target", "n", "value", "shown"]
RATED = ("params_fewer", "flops_fewer", "speed_up", "low", "high", "differs", "flagged")
TIMED = ("median_s", "iqr_s", "reason", "load", "clock_mhz", "started", "cell")
NUMBERS = ("median_s", "iqr_s", "load", "clock_mhz")


@dataclass(frozen=True)
class SpeedUp:
    """How many times faster than dense: the median over pairs of turns, and its interval at LEVEL (NaN: too few)."""

    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 1."""
        return self.low > 1 or self.high < 1

    def __str__(self) -> str:
        """Return `1.32 (1.29–1.34)`; no interval where there is none."""
        return ratio(self.ratio) + ("" if np.isnan(self.low) else f" ({ratio(self.low)}–{ratio(self.high)})")


def speed_up(dense: Sequence[float], other: Sequence[float]) -> SpeedUp:
    """Return how many times faster `other` is, from the seconds of turns that were taken in pairs [rounds].

    The interval is that of order statistics: exact, whatever the distribution of the noise, which is far from normal.
    """
    ratios = np.asarray(dense, dtype=float) / np.asarray(other, dtype=float)
    interval = stats.quantile_test(ratios, q=1.0, p=0.5).confidence_interval(LEVEL)
    return SpeedUp(float(np.median(ratios)), float(interval.low), float(interval.high))


def files(results: Results, measured: Sequence[Timed]) -> dict[str, bytes]:
    """Return latency.md, .csv, .tex and .html by name; nothing where no cell of the plan was timed."""
    return render.files(report(results, measured))


def report(results: Results, measured: Sequence[Timed]) -> Report:
    """Return a table for each panel and machine, a row for each of its rows and sparsities that were timed."""
    found = [(panel, rated(panel, measured)) for panel in panels(results)]
    shown = [(panel, own) for panel, own in found if own["median_s"].any()]
    bare = [panel.title for panel, own in found if not own["median_s"].any()]
    machines = {one for _, own in shown for one in own[PLACE].astype(str).itertuples(index=False, name=None)}
    tables = [
        _table(panel, machine, own, several=len(machines) > 1)
        for panel, all_rows in shown
        for machine, own in all_rows.groupby(PLACE, dropna=False, sort=False)
    ]
    tidy = pd.concat([_tidy(panel, own) for panel, own in shown], ignore_index=True) if shown else pd.DataFrame()
    subject = "latency beside accuracy, parameters and FLOPs"
    legend = (*_legend(results), *([f"Nothing was timed of: {'; '.join(bare)}."] if bare else []))
    return Report("latency", str(results.plan["experiment"]), subject, tuple(tables), legend, tidy)


def _tidy(panel: Panel, own: pd.DataFrame) -> pd.DataFrame:
    named = own.rename(columns={"value": measures(panel.cells)[0]}).drop(columns=["shown", "turns_s"])
    return named.assign(rounds=own["turns_s"].str.len())


def rated(panel: Panel, measured: Sequence[Timed]) -> pd.DataFrame:
    """Return the panel's timed rows in its order, with what its table says of them and RATED."""
    cells = panel.cells[~panel.cells["control"]]
    counts = cells[["params_dense", "params", "flops_dense", "flops"]].apply(pd.to_numeric)
    means = counts.groupby([cells["row"], cells["sparsity_target"]], dropna=False, sort=False).mean()
    fewer = {f"{kind}_fewer": means[f"{kind}_dense"] / means[kind] for kind in ("params", "flops")}
    sizes = pd.DataFrame(fewer).reset_index()
    table = panel.table[["row", *PLACED]].merge(sizes).sort_values("sparsity_target", kind="stable")
    order = list(panel.table["row"].unique())
    table = table.sort_values("row", key=lambda names: names.map(order.index), kind="stable")
    timed = pd.DataFrame(measured, columns=["variant", *PLACE, *SETTING, "turns_s", *TIMED])
    timed[[*NUMBERS]] = timed[[*NUMBERS]].apply(pd.to_numeric)
    rows = table.merge(cells[["row", "sparsity_target", "cell"]]).merge(timed)
    rows = rows.assign(panel=panel.title, **_compared(rows))
    return rows[["panel", "row", *PLACED, "variant", *PLACE, *SETTING, *RATED, *TIMED, "turns_s"]]


def _compared(rows: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns of RATED that come from times: each row against the dense network of its own race."""
    race = ["cell", *PLACE, *SETTING]
    dense = {tuple(row[race].astype(str)): row for _, row in rows[rows["variant"] == "dense"].iterrows()}
    columns: dict[str, list[Any]] = {name: [] for name in ("speed_up", "low", "high", "differs", "flagged")}
    for _, row in rows.iterrows():
        against = dense.get(tuple(row[race].astype(str)))
        known = against is not None and isinstance(row["turns_s"], list) and isinstance(against["turns_s"], list)
        gain = speed_up(against["turns_s"], row["turns_s"]) if known and against is not None else None
        pair = [one for one in (row, against) if one is not None]
        columns["flagged"].append(any(one["iqr_s"] > SPREAD * one["median_s"] for one in pair))
        columns["speed_up"].append(gain.ratio if gain else float("nan"))
        columns["low"].append(gain.low if gain else float("nan"))
        columns["high"].append(gain.high if gain else float("nan"))
        columns["differs"].append(gain.differs if gain else None)
    return columns


def _table(panel: Panel, machine: tuple[Any, ...], own: pd.DataFrame, several: bool) -> Table:
    timed = own.loc[own["median_s"].notna(), SETTING]
    places = sorted(timed.drop_duplicates().itertuples(index=False, name=None), key=_rank)
    said = [[_said(*setting) for setting in zip(SETTING, place, strict=True)] for place in places]
    shared = [len({*values}) == 1 for values in zip(*said, strict=True)][:-1]
    spans = [" ".join(itertools.compress(values, [not same for same in shared])) for values in said]
    columns = [Column(values[-1], span) for values, span in zip(said, spans, strict=True)]
    short = SHORT[measures(panel.cells)[0]].replace("top-1", "top-1 (%)")
    stub = [Column(name) for name in ("criterion", removed(panel.cells), "network", short, "params ×", "FLOPs ×")]
    pruned = list(_pruned(own, places))
    rows = [*_dense(panel, own, places), *pruned]
    forms = {row.cells[2] for row in pruned}
    if len(forms) == 1:  # told once, in the notes: with intervals a line has no room for what all rows share
        del stub[2]
        rows = [replace(row, cells=row.cells[:2] + row.cells[3:]) for row in rows]
    where = ", ".join([_machine(dict(zip(PLACE, machine, strict=True))), *itertools.compress(said[0], shared)])
    return Table(
        subject=f"speed-up over the dense network beside {panel.measure}",
        title=", ".join(filter(None, (panel.title, where if several else ""))),
        about="; ".join(filter(None, (panel.about, "" if several else where))),
        columns=(*stub, *columns),
        rows=tuple(rows),
        notes=(seeds(panel.cells), *filter(None, [of_weights(panel)]), *_notes(panel, own, forms)),
        stub=len(stub),
    )


def _rank(place: tuple[Any, ...]) -> list[int]:
    return [ORDER.index(value) if value in ORDER else value for value in place]


def _said(column: str, value: Any) -> str:
    if column == "threads":
        return f"{value} thread{'s' if value > 1 else ''}"
    return f"batch {value}" if column == "batch" else str(value)


def _machine(place: Mapping[str, Any]) -> str:
    """Return `AMD EPYC, 2 cores, torch 2.11.0, ONNX Runtime 1.20.0`."""
    name = place["gpu"] if place["device"] == "cuda" else f"{place['cpu']}, {place['cores']} cores"
    runtime = place["device"] == "cpu" and pd.notna(place["onnxruntime"])
    return f"{name}, torch {place['torch']}" + (f", ONNX Runtime {place['onnxruntime']}" if runtime else "")


def _dense(panel: Panel, own: pd.DataFrame, places: list[tuple[Any, ...]]) -> Iterator[Row]:
    """Yield a row for each dense network: milliseconds, time and spread medians over the races that it took part in."""
    dense = panel.cells.loc[panel.cells["criterion"] == "dense", ["row", *NET]].drop_duplicates(NET)
    nets = dense.merge(panel.table[["row", "shown"]]).merge(panel.cells[["cell", *NET]])[["row", "shown", "cell"]]
    raced = nets.merge(own[own["variant"] == "dense"].drop(columns=["row", "shown"]), on="cell")
    for (name, shown), races in raced.groupby(["row", "shown"], sort=False):
        medians = races.groupby(SETTING)[["median_s", "iqr_s"]].median().itertuples(name=None)
        cells = {place: _milliseconds(time, spread) for place, time, spread in medians}
        yield Row((str(name), "", "dense", str(shown), "1.00", "1.00", *(cells.get(place, "") for place in places)))


def _milliseconds(time: float, spread: float) -> str:
    return f"{significant(1e3 * time)} ms{MARK * (spread > SPREAD * time)}" if time > 0 else "–"


def _pruned(own: pd.DataFrame, places: list[tuple[Any, ...]]) -> Iterator[Row]:
    """Yield a line for each row and sparsity: the network that its granularity makes fastest."""
    before = None
    for (name, _), rows in own.groupby(["row", "sparsity_target"], dropna=False, sort=False):
        variant, first = _best_form(rows), rows.iloc[0]
        times = rows[rows["variant"] == variant].set_index(SETTING)
        cells = [_shown(times.loc[[place]].iloc[0]) if place in times.index else "" for place in places]
        fewer = [ratio(first[column]) for column in ("params_fewer", "flops_fewer")]
        names = (str(name), heading(first["sparsity_target"]), variant, first["shown"])
        yield Row((*names, *fewer, *cells), rule=name != before)
        before = name


def _best_form(rows: pd.DataFrame) -> str:
    timed = {*rows.loc[rows["median_s"].notna(), "variant"]} - {"dense"}
    return max(timed, key=VARIANTS.index, default="masked")


def _shown(row: "pd.Series[Any]") -> str:
    if pd.isna(row["speed_up"]):
        return "–"
    return f"{SpeedUp(row['speed_up'], row['low'], row['high'])}{MARK * bool(row['flagged'])}"


def _notes(panel: Panel, own: pd.DataFrame, forms: set[str]) -> Iterator[str]:
    timed = panel.cells.loc[panel.cells["cell"].isin(own["cell"]), "seed"].unique()
    load, clock = _spread(own["load"], 1), _spread(own["clock_mhz"], 0)
    busy = ": other work ran beside it" if (own["load"] > own["threads"] + 0.5).any() else ""
    what = f"{next(iter(forms))} networks" if len(forms) == 1 else "networks"
    yield (
        f"Timed on the {what} of seed {', '.join(map(str, sorted(timed)))}, {own['started'].min()[:10]}; clock "
        f"{clock} MHz; mean load {load}{busy}."
    )
    masked = own[own["variant"].eq("masked") & own["speed_up"].notna()]
    if count := len(masked):
        differ = int(masked["differs"].sum())
        yield (
            f"masked (the zeros stay where they are): {ratio(masked['speed_up'].median())} times as fast as dense, the "
            f"median of {count} comparison{'s' * (count > 1)}, of which {differ} show{'s' * (differ == 1)} a "
            "difference."
        )
    yield from _reasons(own)
    yield from _absent(panel, own)


def _reasons(own: pd.DataFrame) -> Iterator[str]:
    """Yield in a sentence for each reason what could not be timed: `dense, masked with onnx in bf16: ...`."""
    for reason, rows in own[own["reason"].notna()].groupby("reason", sort=False):
        what = ", ".join(rows["variant"].unique())
        for column, word in (("engine", "with"), ("dtype", "in")):
            some = rows[column].unique()
            what += f" {word} {', '.join(some)}" if len(some) < own[column].nunique() else ""
        yield f"Not timed: {what}: {reason}."


def _absent(panel: Panel, own: pd.DataFrame) -> Iterator[str]:
    """Yield in a sentence for each state the criteria without a row: `Not timed: random, snip at 90 % and 98 %.`."""
    points = panel.table[~panel.table["control"]]
    planned = points["row"].value_counts()
    here = {*zip(own["row"], own["sparsity_target"].map(heading), strict=True)}
    absent = points[[point not in here for point in zip(points["row"], points["column"], strict=True)]]
    state = absent["shown"].where(absent["n"].eq(0), "not timed")
    for why, cases in absent.groupby(state, sort=False):
        rows = cases.groupby("row", sort=False)["column"]
        names = [str(name) + f" at {' and '.join(at)}" * bool(len(at) < planned[name]) for name, at in rows]
        yield f"{str(why).capitalize()}: {', '.join(names)}."


def _spread(values: "pd.Series[float]", decimals: int) -> str:
    known = values.dropna().astype(float)
    if known.empty:
        return "unknown"
    low, high = (f"{value:.{decimals}f}" for value in (known.min(), known.max()))
    return low if low == high else f"{low} to {high}"


def _legend(results: Results) -> tuple[str, ...]:
    shown = " or ".join(SHORT[name] for name in measures(results.frame))
    flagged = f"{MARK}: an inter-quartile range above {100 * SPREAD:.0f} % of its median."
    return (
        "Speed-up: time of the dense network / time of this one, the median over rounds in which they take turns, with "
        f"its {100 * LEVEL:.0f} % interval in brackets; one that reaches 1 shows no difference. Row dense: its median "
        f"time for one batch. {flagged}",
        f"{shown}: mean ± sample standard deviation over seeds.",
        "params ×, FLOPs ×: how many times fewer than dense, means over seeds. masked: the dense network with zeros; "
        "compacted: without the removed channels or blocks; 2:4: with kernels for 2 zeros in 4.",
    )
