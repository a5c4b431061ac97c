"""Criteria ranked over networks: mean ranks, and from six networks on the critical-difference diagram (Demsar 2006)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.report import statistics
from bench.report.frame import ENVIRONMENT, PANEL, Results, measures
from bench.report.panels import USUAL, Panel, panels
from bench.report.style import CHARACTER, DOUBLE, SINGLE, SMALL, STYLE, Look, looks, rendered, wrapped
from bench.report.table import Column, Row, Table

BLOCK = ["dataset", "model"]
PLACE = [*BLOCK, "sparsity_target", "seed"]
OWN = ["recipe", "finetune_epochs"]
"""What each pair of BLOCK may have for itself."""
LEAST = 2
"""Pairs below which there are no ranks: those of one pair are the order of its accuracies."""
SUBJECT = "mean ranks of the criteria, 1 is best"
NAME = 30
"""Longest name in a diagram, in characters."""
LINE, BAR, TOP = 0.16, 0.55, -3.0
"""Inches between two lines of a diagram; lines from one bar to the next; the diagram's top, in lines from its axis."""


@dataclass(frozen=True)
class Ranking:
    """Criteria of one setting over the networks on which all of them were measured."""

    about: str
    """The setting, in words."""
    blocks: pd.DataFrame
    """See blocks."""
    ranks: statistics.Ranks
    left_out: str = ""
    """See left_out."""


def pruned(panel: Panel) -> pd.DataFrame:
    """Return the cells that can be ranked, with `value`; a net that decides itself how far to go is none of them."""
    cells = panel.cells[~panel.cells["control"] & panel.cells["sparsity_target"].notna()]
    return cells.assign(value=cells[measures(panel.cells)[0]].where(cells["status"] == "ok"))


def blocks(cells: pd.DataFrame) -> pd.DataFrame:
    """Return mean `value`, a line for each (dataset, model), a column for each `row` of the cells.

    The mean is over the sparsities and seeds that all rows have from one environment; a pair without any is left out.
    """
    # Equal counts of test images can differ in their last bits, which would break ties.
    return _by_row(cells).dropna().groupby(level=BLOCK, sort=False).mean().round(10)


def _by_row(cells: pd.DataFrame) -> pd.DataFrame:
    """Return `value`, a line for each PLACE and environment, a column for each `row`, with gaps."""
    made = cells.groupby([*ENVIRONMENT], sort=False, dropna=False).ngroup()
    return cells.assign(made=made).groupby([*PLACE, "made", "row"], sort=False)["value"].mean().unstack("row")


def left_out(cells: pd.DataFrame) -> str:
    """Return how many pairs and cells blocks takes and why not the others; nothing where it takes all."""
    planned = cells[PLACE].drop_duplicates()
    used = _by_row(cells).dropna()
    if len(used) == len(planned):
        return ""
    pairs, all_pairs = len(used.groupby(level=BLOCK)), len(planned.groupby(BLOCK))
    return (
        f"Used are {pairs} of {all_pairs} planned pairs and {len(used)} of {len(planned)} planned (dataset, model, "
        "target, seed); the others were left out, since not all criteria have them from one environment."
    )


def rankings(results: Results) -> list[Ranking]:
    """Return a ranking for each setting in which all criteria were measured on LEAST (dataset, model) pairs or more."""
    found = [_ranking(about, own) for about, own in _settings(results)]
    return [ranking for ranking in found if ranking.ranks.blocks >= LEAST]


def _settings(results: Results) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each setting in words, and its cells: several criteria, all of them planned on LEAST pairs or more.

    The cells are equal in PANEL but for what is under study, and for OWN where each pair has one value of it.
    """
    vary = {*results.plan["vary"]}
    free = vary | ({*OWN} if "recipe" in vary else set())  # a recipe brings its own number of fine-tuning epochs
    setting = [column for column in PANEL if column not in {*BLOCK, *OWN, *vary}]
    cells = pd.concat([pruned(panel) for panel in panels(results)])
    for _, alike in cells.groupby(setting, dropna=False, sort=False):
        counts = alike.groupby(BLOCK)[OWN].nunique(dropna=False).max()
        equal = [*setting, *(column for column in OWN if column not in free and counts[column] > 1)]
        for _, own in alike.groupby(equal, dropna=False, sort=False):
            rows = own["row"].nunique()
            if rows > 1 and (own.groupby(BLOCK)["row"].nunique() == rows).sum() >= LEAST:
                yield _about(own[equal].iloc[0].dropna()), own


def _about(same: "pd.Series[Any]") -> str:
    """Return `scope=global, finetune_epochs=5`."""
    told = {str(name): value for name, value in same.items() if value != USUAL.get(str(name))}
    texts = {name: f"{value:g}" if isinstance(value, float) else value for name, value in told.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def _ranking(about: str, cells: pd.DataFrame) -> Ranking:
    scores = blocks(cells)
    if _tied(scores):  # Friedman's statistic would be 0 / 0, or by rounding errors anything
        ranks = statistics.Ranks(scores.rank(axis=1).mean(), len(scores), np.nan, np.nan)
    else:
        ranks = statistics.average_ranks(scores)
    return Ranking(about, scores, ranks, left_out(cells))


def _tied(scores: pd.DataFrame) -> bool:
    """Whether all criteria score the same in each block."""
    return bool(scores.nunique(axis=1).max() == 1)


def tables(results: Results) -> list[Table]:
    """Return a table for each setting: the ranks with what their test says in words, or why there are none."""
    found = []
    for about, cells in _settings(results):
        ranking = _ranking(about, cells)
        found.append(_table(ranking) if ranking.ranks.blocks >= LEAST else _unranked(about, cells))
    return found


def _unranked(about: str, cells: pd.DataFrame) -> Table:
    """Return on how many pairs each criterion was measured at all."""
    measured = _by_row(cells).notna().groupby(level=BLOCK).any()
    rows = tuple(Row((str(row), f"{count} of {len(measured)}")) for row, count in measured.sum().items())
    why = f"No ranks: fewer than {LEAST} (dataset, model) pairs on which all criteria were measured."
    columns = (Column("criterion"), Column("pairs measured"))
    return Table(SUBJECT, "No mean ranks", about, columns, rows, (why, left_out(cells)))


def _table(ranking: Ranking) -> Table:
    ranks = ranking.ranks
    pairs = f"{ranks.blocks} (dataset, model) pairs"
    headings = ["criterion", "mean rank"]
    rows = [[str(row), f"{rank:.2f}"] for row, rank in ranks.mean.items()]
    if ranks.blocks >= statistics.LEAST_UNITS:
        headings.append("95 % interval (bootstrap)")
        placed = ranking.blocks.rank(axis=1, ascending=False)[list(ranks.mean.index)].to_numpy().T
        for row, low, high in zip(rows, *statistics.bootstrap(placed, np.random.default_rng(0)), strict=True):
            row.append(f"{low:.2f} to {high:.2f}")
    if ranks.p < statistics.ALPHA:
        headings.append("p (Nemenyi) against the first")
        against = statistics.nemenyi(ranking.blocks).loc[ranks.mean.index[0]]
        for row in rows[1:]:
            row.append(shown(float(against[row[0]])))
        rows[0].append("")
    lines = tuple(Row(tuple(row)) for row in rows)
    first = f"Ranks over {pairs}, targets and seeds averaged inside."
    notes = (first, *filter(None, [ranking.left_out]), *_said(ranking))
    return Table(SUBJECT, f"Mean ranks over {pairs}", ranking.about, tuple(map(Column, headings)), lines, notes)


def _said(ranking: Ranking) -> Iterator[str]:
    """Yield what the tests say, or why there is none."""
    ranks = ranking.ranks
    reasons = {
        f"fewer than {statistics.LEAST_BLOCKS} pairs": ranks.blocks < statistics.LEAST_BLOCKS,
        "fewer than three criteria": len(ranks.mean) < 3,
        "all criteria tie on every pair": _tied(ranking.blocks),
    }
    if np.isnan(ranks.p):
        yield f"Ranks without a test: {', '.join(reason for reason, holds in reasons.items() if holds)}."
        return
    yield f"Friedman's test that all rank alike: p {shown(ranks.p)}."
    if ranks.p < statistics.ALPHA:
        yield (
            f"Nemenyi's test at {100 * statistics.ALPHA:g} %: mean ranks that differ by less than the critical "
            f"difference, {ranks.critical:.2f}, are not told apart."
        )
    else:
        yield "It does not tell any apart, so pairs are not tested."


def shown(p: float) -> str:
    """Return a p as a table shows it; nothing for NaN."""
    return "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


@mpl.rc_context(STYLE)
def files(results: Results) -> dict[str, bytes]:
    """Return ranks.pdf and .png, a critical-difference diagram for each ranking that has a test; none, no file."""
    tested = [ranking for ranking in rankings(results) if not np.isnan(ranking.ranks.p)]
    if not tested:
        return {}
    return rendered(figure(tested, looks(pd.concat([panel.table for panel in panels(results)]))), "ranks")


@mpl.rc_context(STYLE)
def figure(tested: list[Ranking], look: dict[str, Look]) -> Figure:
    """Return the diagrams, one below the other: each criterion at its mean rank, bars over what is not told apart."""
    longest = CHARACTER * max(len(_named(*item)) for ranking in tested for item in ranking.ranks.mean.items())
    most = max(len(ranking.ranks.mean) for ranking in tested)
    width = SINGLE if 2 * longest + max(1.2, 0.17 * most) <= SINGLE else DOUBLE
    heads = [wrapped(_head(ranking, several=len(tested) > 1), width - 0.3) for ranking in tested]
    lines = [_depth(ranking.ranks) - TOP for ranking in tested]
    titles = sum(head.count("\n") + 2 for head in heads)
    drawn = Figure(figsize=(width, LINE * (sum(lines) + 0.8 * titles)), layout="constrained")
    places = drawn.subplots(len(tested), 1, squeeze=False, height_ratios=lines)[:, 0]
    for axes, ranking, head in zip(places, tested, heads, strict=True):
        axes.set_title(head)
        _draw(axes, ranking.ranks, look, longest / width)
    return drawn


def _head(ranking: Ranking, several: bool) -> str:
    ranks = ranking.ranks
    test = "bars: not told apart by Nemenyi's test" if ranks.p < statistics.ALPHA else "pairs are not tested"
    facts = f"{ranks.blocks} (dataset, model) pairs; Friedman's p {shown(ranks.p)}; {test}"
    return f"{ranking.about}: {facts}" if several and ranking.about else facts


def _named(row: object, rank: float) -> str:
    name = str(row) if len(str(row)) <= NAME else f"{str(row)[: NAME - 1]}…"
    return f"{name}  {rank:.2f}"


def _depth(ranks: statistics.Ranks) -> float:
    """Return the lines of a diagram below its axis."""
    return 1 + BAR * len(ranks.alike()) + (len(ranks.mean) + 1) // 2


def _draw(axes: Axes, ranks: statistics.Ranks, look: dict[str, Look], margin: float) -> None:
    """Draw one diagram, in lines from its axis down; margin: the share of its width that names take on each side."""
    count, half = len(ranks.mean), (len(ranks.mean) + 1) // 2
    unit = (count - 1) / (0.92 - 2 * margin)
    axes.set_xlim(1 - (margin + 0.04) * unit, count + (margin + 0.04) * unit)
    axes.set_ylim(_depth(ranks) - 0.4, TOP)
    axes.axis("off")
    axes.plot([1, count], [0, 0], color="black", linewidth=0.8)
    every = 1 if (count - 1) / unit * axes.figure.bbox.width / axes.figure.dpi > 0.2 * count else 2
    for place in range(1, count + 1):
        axes.plot([place, place], [0, -0.25], color="black", linewidth=0.8)
        if (place - 1) % every == 0:
            axes.text(place, -0.4, f"{place}", ha="center", va="bottom", fontsize=SMALL)
    if ranks.p < statistics.ALPHA:
        axes.plot([1, 1 + ranks.critical], [TOP + 1, TOP + 1], color="black", linewidth=1.5, marker="|")
        text = f"critical difference {ranks.critical:.2f}"
        axes.text(1, TOP + 0.75, text, ha="left", va="bottom", fontsize=SMALL)
    for level, names in enumerate(ranks.alike(), start=1):
        ends = [ranks.mean[names[0]], ranks.mean[names[-1]]]
        axes.plot(ends, [BAR * level] * 2, color="black", linewidth=2.5, solid_capstyle="round", zorder=3)
    for place, (row, rank) in enumerate(ranks.mean.items()):
        left = place < half
        line = _depth(ranks) - half + (place if left else count - 1 - place)
        end = 1 - 0.02 * unit if left else count + 0.02 * unit
        axes.plot([rank, rank, end], [0, line, line], color="0.5", linewidth=0.7, zorder=1)
        axes.plot(end, line, markersize=5, zorder=4, **look[str(row)])
        side = "right" if left else "left"
        at = end - 0.025 * unit if left else end + 0.025 * unit
        axes.text(at, line, _named(row, rank), ha=side, va="center", fontsize=SMALL)
