"""One plan joined with the records of its folder: what every table and figure is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import UserError
from bench.store import COLUMNS, Records, load, load_plan

PANEL = (
    "dataset model recipe granularity scope schedule when finetune finetune_epochs ablation target_kind score_mode "
    "prunable precision device"
).split()
"""Criteria that differ in one of these share no panel, unless the plan varies it. epochs_total follows from recipe and
finetune_epochs."""

ROW = ("criterion", "criterion_options", "criterion_fingerprint")
"""What makes a row of a panel."""

MEAN = [*PANEL, *ROW, "sparsity_target"]
"""Cells that are equal in these differ in their seeds alone: a mean is taken over them."""

NET = ["dataset", "model", "recipe", "precision", "device"]
"""Cells equal in these have one dense net a seed. A panel has several where the plan varies one of these."""

ENVIRONMENT = ("cpu", "gpu", "torch", "numerics", "threads", "recipe_hash", "dataset_hash")
"""What must not differ inside a mean. `git` may: where the code's numbers move, `numerics` does."""

WHOLE = "filter|layer"
"""Matches the granularities that remove whole filters, heads or blocks, so that the network can be made smaller."""

MEASURED = (
    "top1 top1_pruned top1_pruned_bn sparsity sparsity_effective collapsed_layers params flops epochs_total "
    "r2 r2_pruned r2_pruned_bn"
).split()
"""Columns of which tables show means over seeds."""

MEASURES = {"top1": "top-1 test accuracy (%)", "r2": "test R²"}
"""What tables and figures show, by its column: top1, or r2 where the cells are a regression's."""


@dataclass(frozen=True, eq=False)  # two are the same only where they are one, so that a cache can hold them
class Results:
    """What a plan set out to do and what came of it."""

    plan: dict[str, Any]
    """As OUT/plans keeps it (bench.plan.Plan.to_json)."""
    frame: pd.DataFrame
    """COLUMNS, one row a cell of the plan, in its order; status `ok`, `failed` (with a reason) or `missing`."""
    outside: dict[str, int]
    """Criterion -> number of records in the folder that are no part of the plan."""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Cell -> what its record holds beside its columns (bench.store.DETAILS)."""


def measures(cells: pd.DataFrame) -> list[str]:
    """Return which of MEASURES these cells have; top1 where they have none yet."""
    return [name for name in MEASURES if cells[name].notna().any()] or [*MEASURES][:1]


def untrained(cells: pd.DataFrame) -> bool:
    """Whether cells are done and none of them was trained: they have masks, and no accuracies."""
    return bool(cells["status"].eq("ok").any() and not cells[[*MEASURES]].notna().any(axis=None))


def tabulate(root: Path, experiment: str | None = None) -> Results:
    """Join the plan written last (of one experiment, where named) with the records of `root`.

    Raises UserError where there is no plan, where two cells claim one place in a table, and where cells of one mean
    were made in different environments; CorruptError for a record that does not hold.
    """
    plan = load_plan(root, experiment)
    return joined(load(root), plan)


def joined(records: Records, plan: dict[str, Any]) -> Results:
    """Join one plan with the records of its folder, as `tabulate` does."""
    inside = records.frame["cell"].isin([cell["cell"] for cell in plan["cells"]])
    outside = records.frame.loc[~inside, "criterion"].value_counts().sort_index()
    stored = _by_cell(records.frame[inside])
    frame = pd.DataFrame([_row(cell, stored.get(cell["cell"], {})) for cell in plan["cells"]], columns=COLUMNS)
    numbers = [*MEASURED, "sparsity_target"]
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    _check_places(frame, plan)
    check_environment(frame[frame["status"] == "ok"], MEAN, "cells")
    details = {cell: records.details[cell] for cell in stored if cell in records.details}
    return Results(plan, frame, {str(name): int(count) for name, count in outside.items()}, details)


def _by_cell(records: pd.DataFrame) -> dict[str, dict[str, Any]]:
    twice = records.loc[records["cell"].duplicated(), "cell"]
    if len(twice):
        raise UserError(f"there are two records of cell {twice.iloc[0]}; remove one of them")
    return {str(row["cell"]): {str(key): value for key, value in row.items()} for row in records.to_dict("records")}


def _row(cell: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's cell with what its record says; a schedule that stops by itself changes its epochs, too."""
    return cell | {"status": "missing"} | {name: value for name, value in record.items() if not pd.isna(value)}


def _check_places(frame: pd.DataFrame, plan: dict[str, Any]) -> None:
    """Refuse two cells of the same configuration and seed: a mean would count that seed twice."""
    cells = _first_repeated(frame, [*MEAN, "seed"])
    if len(cells):
        one, two = (plan["cells"][place] for place in cells.index[:2])
        differ = [f"{name} {one[name]!r} and {two[name]!r}" for name in one if one[name] != two[name]]
        raise UserError(
            f"two cells of the plan are {_named(cells.iloc[0])}, seed {one['seed']}; they differ in "
            f"{'; '.join(differ)}; run them as two experiments"
        )


def check_environment(done: pd.DataFrame, mean: list[str], what: str) -> None:
    """Refuse a mean over `what` that are equal in the columns `mean` and differ in one of ENVIRONMENT they have."""
    for column in (name for name in ENVIRONMENT if name in done):
        mixed = _first_repeated(done.drop_duplicates([*mean, column]), mean)
        if len(mixed):
            pairs = zip(mixed[column], mixed["seed"], strict=True)
            raise UserError(
                f"the mean of {_named(mixed.iloc[0])} would mix {column} "
                f"{' and '.join(f'{value!r} (seed {seed})' for value, seed in pairs)}; make its {what} in one "
                "environment, in a folder of their own (out=DIR)"
            )


def _first_repeated(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the rows, if any, that equal each other in all of `columns`; nulls are equal."""
    repeated = frame[frame.duplicated(columns, keep=False)]
    return next((rows for _, rows in repeated.groupby(columns, dropna=False, sort=False)), repeated)


def _named(cell: "pd.Series[Any]") -> str:
    target = "" if pd.isna(cell.get("sparsity_target")) else f" at sparsity {cell['sparsity_target']:g}"
    return f"{cell['dataset']} {cell['model']} {cell['criterion']}{target}"
