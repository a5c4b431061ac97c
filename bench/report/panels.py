"""What may be compared with what: the panels of a plan, and the names of their rows."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from bench.cell import CONTROLS
from bench.report.frame import MEASURES, PANEL, ROW, Results, measures
from bench.report.summary import summarise

FINETUNING = ("finetune", "finetune_epochs")
"""Null for cells pruned at initialisation; where `when` is under study these join the panel of those trained."""

USUAL = {"ablation": "none", "target_kind": "weights", "score_mode": "eval", "prunable": "all", "precision": "fp32"}
"""Values that go without saying."""

Key = dict[str, Any]
"""What the criteria of a panel have in common: column -> value (None where it does not apply)."""


@dataclass(frozen=True)
class Panel:
    """Criteria that differ in nothing but what is under study, and their controls."""

    settings: tuple[str, ...]
    """The columns in which it differs from the plan's other panels, `scope=global`; none where it is the only one."""
    short: str
    """As little of the title as tells it from the others, for a figure."""
    suffix: str
    """What the names of its own files end in: -1, -2, ... in the plan's order; empty where it is the only panel."""
    about: str
    """Data, model, recipe and what else its criteria share."""
    cells: pd.DataFrame
    """Its cells of Results.frame, with `row` (the name of the row they belong to) and `control`."""
    table: pd.DataFrame
    """See summarise."""

    @property
    def title(self) -> str:
        """Its settings in one line; empty where it is the only panel."""
        return ", ".join(self.settings)

    @property
    def measure(self) -> str:
        """What its table shows, as text."""
        return MEASURES[measures(self.cells)[0]]


@lru_cache(maxsize=16)
def panels(results: Results) -> tuple[Panel, ...]:
    """Return the panels of a plan, in its order, each with the controls that match it; made once for all tables."""
    vary = [column for column in PANEL if column in results.plan["vary"]]
    keys = _keys(results.frame, vary)
    differ = [column for column in keys[0] if len({key[column] for key in keys}) > 1]
    short = _short(keys)
    suffixes = [f"-{number}" for number in range(1, 1 + len(keys))] if len(keys) > 1 else [""]
    named = zip(keys, short, suffixes, strict=True)
    return tuple(_panel(results, key, vary, differ, said, suffix) for key, said, suffix in named)


def _short(keys: list[Key]) -> list[str]:
    """Return a title for each: no column that follows from those before it, of options the name where that will do."""
    told: list[str] = []
    for column in keys[0]:
        before, after = (len({tuple(key[c] for c in own) for key in keys}) for own in (told, [*told, column]))
        told += [column] * (after > before)
    said = {column: _names([key[column] for key in keys]) for column in told}
    return [", ".join(_said(column, said[column][key[column]]) for column in told) for key in keys]


def _names(values: list[Any]) -> Key:
    """Return `iterative` for `{name: iterative, steps: 5}` where no other value has that name."""
    names = {v: _plain(v).partition(" ")[0] if isinstance(v, str) and v.startswith("{name: ") else v for v in values}
    return names if len({*names.values()}) == len(names) else {value: value for value in values}


def _panel(results: Results, key: Key, vary: list[str], differ: list[str], short: str, suffix: str) -> Panel:
    control = results.frame["criterion"].isin(CONTROLS)
    pruned = _agrees(results.frame, key, FINETUNING if "when" in vary else ())
    dense = _agrees(results.frame, {c: v for c, v in key.items() if c != "when"}, PANEL)
    cells = results.frame[pruned.where(~control, dense)].assign(control=control)
    cells = cells.assign(row=_row_names(cells, vary))
    settings = tuple(_said(c, key[c]) for c in differ if key[c] is not None or c != "finetune_epochs")
    about = _about(results, {c: v for c, v in key.items() if c in PANEL[:3] or c not in differ})
    if len(measures(results.frame)) > 1:
        about += f"; {MEASURES[measures(cells)[0]]}"
    return Panel(settings, short, suffix, about, cells, summarise(cells))


def _about(results: Results, key: Key) -> str:
    """Return `The digits, digits_net, recipe digits; scope=global, ...`."""
    titles = results.plan["titles"]
    names = [titles.get(key[c], key[c]) if c == "dataset" else key[c] for c in PANEL[:2] if c in key]
    names += [f"recipe {key['recipe']}"] if "recipe" in key else []
    facts = [_said(c, v) for c, v in key.items() if c in PANEL[3:] and v is not None and v != USUAL.get(c)]
    return "; ".join(filter(None, [", ".join(names), ", ".join(facts)]))


def _keys(frame: pd.DataFrame, vary: list[str]) -> list[Key]:
    # A recipe brings its own number of fine-tuning epochs.
    free = {*vary, "finetune_epochs"} if "recipe" in vary else {*vary}
    criteria = frame.loc[~frame["criterion"].isin(CONTROLS), [c for c in PANEL if c not in free]].drop_duplicates()
    keys = [{str(c): None if pd.isna(v) else v for c, v in row.items()} for row in criteria.to_dict("records")]
    return [key for key in keys if "when" not in vary or not any(_has_room(other, key) for other in keys)]


def _has_room(key: Key, guest: Key) -> bool:
    """Whether `guest`, which is not fine-tuned, has its place in a panel whose other cells are."""
    loose = [column for column in FINETUNING if column in guest and guest[column] is None]
    return key != guest and all(key[column] == value for column, value in guest.items() if column not in loose)


def _agrees(frame: pd.DataFrame, key: Key, loose: Collection[str]) -> "pd.Series[bool]":
    """Return which cells equal the key; in the columns of `loose`, null agrees with everything."""
    agrees = pd.Series(True, index=frame.index)
    for column, value in key.items():
        null = frame[column].isna()
        same = null if value is None else frame[column].eq(value)
        agrees &= (same | null | (value is None)) if column in loose else same
    return agrees


def _row_names(cells: pd.DataFrame, vary: list[str]) -> "pd.Series[str]":
    """Return each cell's row: criterion, options, columns under study, and what else tells it from another row."""
    names = cells.apply(lambda cell: _name(cell, [] if cell["control"] else vary), axis=1)
    for _, alike in cells.groupby(names, sort=False):
        own = [] if alike["control"].iloc[0] else vary
        told = [c for c in (*ROW, *PANEL) if c in own or alike[c].nunique(dropna=False) > 1]
        names[alike.index] = alike.apply(_name, axis=1, columns=told)
    return names


def _name(cell: "pd.Series[Any]", columns: list[str]) -> str:
    """Return e.g. `grasp (temperature=1, scope=layer)`."""
    options = _plain(cell["criterion_options"])
    parts = [*([options] if options else []), *(_said(c, cell[c]) for c in columns if not pd.isna(cell[c]))]
    return f"{cell['criterion']} ({', '.join(parts)})" if parts else str(cell["criterion"])


def _said(column: str, value: Any) -> str:
    """Return `scope=layer`."""
    if column == "criterion_fingerprint":
        return f"fingerprint={value[:8]}"
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else _plain(str(value))
    return f"{column}={text}"


def _plain(spelled: str) -> str:
    """Return `{name: iterative, steps: 5}` as `iterative steps=5`, `{temperature: 1}` as `temperature=1`."""
    if not spelled.startswith("{"):
        return spelled
    return spelled[1:-1].removeprefix("name: ").replace(": ", "=").replace(", ", " ")
