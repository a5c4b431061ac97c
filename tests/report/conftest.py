"""Small OUT folders made by the store alone: a plan of named cells, and records for those that are to have one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import store
from bench.report import tables
from bench.report.frame import Results, tabulate

Cell = dict[str, Any]

PRUNED: Cell = {
    "dataset": "digits",
    "model": "digits_net",
    "recipe": "short",
    "seed": 0,
    "criterion": "taylor",
    "criterion_options": "",
    "criterion_fingerprint": "f" * 16,
    "granularity": "weight",
    "scope": "global",
    "schedule": "one_shot",
    "when": "trained",
    "finetune": "low",
    "finetune_epochs": 10,
    "ablation": "none",
    "prunable": "all",
    "target_kind": "weights",
    "sparsity_target": 0.9,
    "epochs_total": 40,
    "score_mode": "eval",
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "torch": "2.11.0",
    "numerics": 1,
    "recipe_hash": "r" * 16,
    "dataset_hash": "d" * 16,
}
ABSENT = dict.fromkeys(("granularity", "scope", "schedule", "ablation", "target_kind", "score_mode"))


def pruned(criterion: str, sparsity: float | None, seed: int, **columns: Any) -> Cell:
    """Return a plan's cell of a criterion."""
    own = {"criterion": criterion, "sparsity_target": sparsity, "seed": seed} | columns
    return _identified(PRUNED | {"criterion_fingerprint": store.digest(criterion)} | own)


def at_init(criterion: str, sparsity: float, seed: int, **columns: Any) -> Cell:
    """Return a plan's cell pruned at initialisation and trained by the recipe."""
    nothing = {"when": "init", "finetune": None, "finetune_epochs": None, "epochs_total": 30}
    return pruned(criterion, sparsity, seed, **nothing | columns)


def controls(*seeds: int, **columns: Any) -> list[Cell]:
    """Return the cells `dense` and `dense_longer` of every seed."""
    like = PRUNED | ABSENT | {"criterion_fingerprint": "", "sparsity_target": 0.0} | columns
    dense = {"criterion": "dense", "finetune": None, "finetune_epochs": None, "epochs_total": 30}
    longer = {"criterion": "dense_longer"}
    return [_identified(like | own | {"seed": seed}) for seed in seeds for own in (dense, longer)]


def _identified(cell: Cell) -> Cell:
    return {"cell": store.digest({key: value for key, value in cell.items() if key != "cell"})} | cell


def write_plan(root: Path, cells: list[Cell], **facts: Any) -> None:
    """Write a plan of the experiment `digits`."""
    plan = {
        "experiment": "digits",
        "hash": store.digest([cell["cell"] for cell in cells]),
        "written": "2026-01-01T00:00:00.000+00:00",
        "titles": {"digits": "Digits", "cifar10": "CIFAR-10"},
        "recipes": {"short": "chosen for tests"},
        "vary": [],
        "changed": [],
        "cells": cells,
    }
    store.write_plan(root, plan | facts)


def record(root: Path, cell: Cell, top1: float | None = None, **columns: Any) -> None:
    """Commit the record of a cell: ok with this top1, or failed where there is none."""
    ok = {
        "status": "ok",
        "top1": top1,
        "top1_pruned": 50.0,
        "top1_pruned_bn": 60.0,
        "sparsity": cell["sparsity_target"],
        "sparsity_effective": cell["sparsity_target"],
        "collapsed_layers": 0,
        "params": 1000,
        "flops": 5000.0,
    }
    outcome = ok if top1 is not None else {"status": "failed", "reason": "the loss is not finite"}
    store.commit(
        root / "cells" / cell["cell"],
        store.cell_record(cell | {"cpu": "A CPU", "git": "abc"} | outcome | columns, {}, final=True),
        {},
    )


class Out:
    """An OUT folder under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pruned, self.at_init, self.controls = pruned, at_init, controls

    def plan(self, *cells: Cell, **facts: Any) -> None:
        write_plan(self.root, list(cells), **facts)

    def record(self, cell: Cell, top1: float | None = None, **columns: Any) -> None:
        record(self.root, cell, top1, **columns)

    def seeds(self, criterion: str, sparsity: float | None, *top1: float | None, **columns: Any) -> list[Cell]:
        """Return one cell a seed and record those that have a top1."""
        cells = [pruned(criterion, sparsity, seed, **columns) for seed in range(len(top1))]
        for cell, value in zip(cells, top1, strict=True):
            if value is not None:
                self.record(cell, value)
        return cells

    def dense(self, *top1: float, longer: float = 98.0, **columns: Any) -> list[Cell]:
        """Return both controls, recorded, of one seed for each top1."""
        cells = controls(*range(len(top1)), **columns)
        for cell in cells:
            self.record(cell, top1[cell["seed"]] if cell["criterion"] == "dense" else longer)
        return cells

    def results(self, experiment: str | None = None, details: Mapping[str, Any] | None = None) -> Results:
        """Return the results of a plan; details: cell -> what its record is to hold beside its columns."""
        found = tabulate(self.root, experiment)
        return found if details is None else replace(found, details=details)


def written(results: Results, ending: str) -> str:
    """Return the accuracy table as it is written: md, csv, tex or html."""
    return tables.files(results)[f"accuracy.{ending}"].decode()


@pytest.fixture
def out(tmp_path: Path) -> Out:
    return Out(tmp_path)
