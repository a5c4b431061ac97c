"""What a run will do: the list of its cells, each with an identity computed from what it reads. No torch."""

import importlib.metadata
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

import criteria
from bench import NUMERICS, identity
from bench.errors import UserError
from bench.schema import (
    Choice,
    Criterion,
    Dataset,
    Finetune,
    Frozen,
    Iterative,
    Low,
    Model,
    Prunable,
    Recipe,
    Schedule,
    Scope,
    Scoring,
    Settings,
)
from bench.store import digest
from criteria import BrokenCriterionError, CriterionError, Description

CONTROLS = ("dense", "dense_longer")
"""Reserved names: the dense net, and the dense net trained for the fine-tuning epochs more."""


class Environment(Frozen):
    """What else moves the last bits of a result."""

    device: str
    precision: str
    threads: int
    torch: str
    numerics: int


class Cell(Frozen):
    """One row of a paper's table; everything that a worker needs to make it."""

    dataset: Dataset
    dataset_hash: str
    model: Model
    model_hash: str
    recipe: Recipe
    seed: int
    criterion: str
    """Name, or one of CONTROLS."""
    criterion_file: str
    """Name or path by which it is loaded; no part of the identity."""
    criterion_options: dict[str, Any]
    fingerprint: str
    granularity: str | None
    scope: Scope | None
    schedule: Schedule | None
    when: str
    finetune: Finetune | None
    finetune_epochs: int | None
    ablation: str | None
    target_kind: str | None
    sparsity: float | None
    """Target; null where the schedule's `stop` decides."""
    prunable: Prunable
    scoring: Scoring
    score_mode: str | None
    environment: Environment

    @cached_property
    def _data(self) -> dict[str, Any]:
        return {"dataset": self.dataset.model_dump(exclude={"title", "root", "url"}), "hash": self.dataset_hash}

    @cached_property
    def _net(self) -> dict[str, Any]:
        unnamed = {"factory"} if self.model_hash else set()
        return {"model": self.model.model_dump(exclude=unnamed), "hash": self.model_hash, "seed": self.seed}

    @cached_property
    def _training(self) -> dict[str, Any]:
        return self.recipe.model_dump(exclude={"source", "finetune_epochs"})

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return self.environment.model_dump()

    @cached_property
    def id(self) -> str:
        """Hash of all that decides the result; paths, logger, launcher and progress are no part of it."""
        own = self.model_dump(
            exclude={"dataset", "model", "recipe", "criterion_file", "environment", "dataset_hash", "model_hash"}
        )
        return digest([own, self._data, self._net, self._training, self._environment])

    @cached_property
    def dense_key(self) -> str:
        """Key of the dense checkpoint, shared by all criteria."""
        return digest([self._data, self._net, self._training, self._environment])

    @cached_property
    def scores_key(self) -> str:
        """Key of the scores of the untouched checkpoint, shared by all sparsities, scopes and fine-tunings."""
        checkpoint = self.dense_key if self.when == "trained" else [self._data, self._net, self._environment]
        criterion = [self.criterion, self.criterion_options, self.fingerprint, self.granularity]
        return digest([checkpoint, criterion, self.scoring.model_dump(), self.score_mode, self.recipe.loss])

    @property
    def epochs_total(self) -> int:
        """Epochs of training behind the final weights."""
        return self.recipe.epochs + (self.finetune_epochs or 0)

    @property
    def epochs_to_train(self) -> int:
        """Epochs that this cell itself trains, once the dense checkpoint is there."""
        starts_dense = self.when == "trained" and self.criterion != "dense"
        return (self.finetune_epochs or 0) if starts_dense else self.epochs_total

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration that a record keeps."""
        return self.model_dump(mode="json", exclude={"criterion_file"})

    def columns(self) -> dict[str, Any]:
        """Return the configuration columns of this cell's record."""
        excluded = self.prunable.exclude
        return {
            "cell": self.id,
            "dataset": self.dataset.name,
            "model": self.model.name,
            "recipe": self.recipe.name,
            "seed": self.seed,
            "criterion": self.criterion,
            "criterion_options": spelled(self.criterion_options),
            "criterion_fingerprint": self.fingerprint,
            "granularity": self.granularity,
            "scope": spelled(self.scope),
            "schedule": spelled(self.schedule),
            "when": self.when,
            "finetune": spelled(self.finetune),
            "finetune_epochs": self.finetune_epochs,
            "ablation": self.ablation,
            "prunable": f"all but {', '.join(excluded)}" if excluded else "all",
            "target_kind": self.target_kind,
            "sparsity_target": self.sparsity,
            "epochs_total": self.epochs_total,
            "score_mode": self.score_mode,
            "device": self.environment.device,
            "precision": self.environment.precision,
            "threads": self.environment.threads,
            "torch": self.environment.torch,
            "numerics": self.environment.numerics,
            "recipe_hash": digest(self._training),
            "dataset_hash": self.dataset_hash,
        }


@dataclass(frozen=True)
class Plan:
    """The cells of one run, controls first, and the criteria among them that cannot be read."""

    settings: Settings
    cells: tuple[Cell, ...]
    broken: dict[str, str]
    """Criterion name -> what is wrong with its file, in one line."""

    @cached_property
    def hash(self) -> str:
        """Hash of the cells' ids."""
        return digest(sorted(cell.id for cell in self.cells))

    def to_json(self) -> dict[str, Any]:
        """Return what OUT/plans keeps: enough to tabulate, missing cells included, without the configuration."""
        first = self.cells[0]
        return {
            "experiment": self.settings.experiment,
            "hash": self.hash,
            "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "titles": {cell.dataset.name: cell.dataset.title for cell in self.cells},
            "recipes": {cell.recipe.name: cell.recipe.source for cell in self.cells},
            "vary": list(self.settings.vary),
            "validation": first.dataset.validation,
            "cells": [cell.columns() for cell in self.cells],
        }


def spelled(value: Any) -> str | None:
    """Return an axis value as the command line spells it: `iterative`'s full form, or a bare name without options."""
    if value is None:
        return None
    items = value if isinstance(value, dict) else value.model_dump(exclude_none=True)
    if list(items) == ["name"]:
        return str(items["name"])
    return "{" + ", ".join(f"{key}: {item}" for key, item in items.items()) + "}" if items else ""


def make(settings: Settings, device: str) -> Plan:
    """Return exactly the product of the axes plus the controls; UserError for a combination that is not defined."""
    broken: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    for choice, precision in itertools.product(settings.choices, settings.precision):
        environment = Environment(
            device=device,
            precision=precision,
            threads=settings.threads,
            torch=importlib.metadata.version("torch"),
            numerics=NUMERICS,
        )
        pruned = [
            cell
            for criterion in settings.criterion
            for cell in _criterion_cells(settings, choice, criterion, environment, broken)
        ]
        _check_finetune_is_used(settings, pruned)
        for cell in [*_controls(settings, pruned, choice), *pruned]:
            cells.setdefault(cell.id, cell)
    return Plan(settings, tuple(sorted(cells.values(), key=lambda cell: cell.criterion not in CONTROLS)), broken)


def _criterion_cells(
    settings: Settings, choice: Choice, criterion: Criterion, environment: Environment, broken: dict[str, str]
) -> list[Cell]:
    description = _describe(criterion, broken)
    cells = []
    axes = (
        *(settings.granularity, settings.scope, settings.schedule, settings.when, settings.finetune),
        *(settings.finetune_epochs, settings.ablation, settings.target_kind, settings.budget, settings.score_mode),
    )
    for granularity, scope, schedule, when, finetune, epochs, ablation, kind, budget, mode in itertools.product(*axes):
        facts = description.facts
        timed = when or facts["WHEN"]
        retrains = timed == "trained" or budget == "equal"
        path = schedule or _fact(Schedule, facts["SCHEDULE"], description)
        shares: tuple[float | None, ...] = settings.sparsity
        if isinstance(path, Iterative) and path.stop is not None:
            path, shares = path.model_copy(update={"end": max(settings.sparsity)}), (None,)
        for sparsity, seed in itertools.product(shares, settings.seed):
            cell = Cell(
                **_shared(choice, settings.out),
                seed=seed,
                criterion=description.name,
                criterion_file=criterion.name,
                criterion_options=criterion.options,
                fingerprint=description.fingerprint,
                granularity=granularity or facts["GRANULARITY"],
                scope=scope or _fact(Scope, facts["SCOPE"], description),
                schedule=path,
                when=timed,
                finetune=(finetune or Low(name="low")) if retrains else None,
                finetune_epochs=_epochs(epochs, choice.recipe) if retrains else None,
                ablation=ablation or "none",
                target_kind=kind or "weights",
                sparsity=sparsity,
                score_mode=mode or "eval",
                environment=environment,
            )
            _check_defined(cell, description)
            cells.append(cell)
    return cells


def _controls(settings: Settings, pruned: list[Cell], choice: Choice) -> list[Cell]:
    """Return `dense` and `dense_longer` once per seed and fine-tuning; where no cell fine-tunes, the experiment's."""
    finetunings = {(cell.finetune, cell.finetune_epochs): cell for cell in pruned if cell.finetune} or {
        (finetune or Low(name="low"), _epochs(epochs, choice.recipe)): pruned[0]
        for finetune, epochs in itertools.product(settings.finetune, settings.finetune_epochs)
    }
    nothing: dict[str, Any] = dict.fromkeys(
        ("granularity", "scope", "schedule", "ablation", "target_kind", "score_mode")
    )
    nothing |= {"criterion_options": {}, "fingerprint": "", "when": "trained", "sparsity": 0.0}
    controls = []
    for seed, ((finetune, epochs), like) in itertools.product(settings.seed, finetunings.items()):
        for name in CONTROLS:
            longer = name == "dense_longer"
            own = {"criterion": name, "criterion_file": name, "seed": seed, "scoring": Scoring()}
            own |= {"finetune": finetune if longer else None, "finetune_epochs": epochs if longer else None}
            controls.append(Cell(**{field: getattr(like, field) for field in Cell.model_fields} | nothing | own))
    return controls


def _shared(choice: Choice, out: str) -> dict[str, Any]:
    return {
        "dataset": choice.dataset,
        "dataset_hash": identity.content_hash(choice.dataset, Path(out) / "cache" / "hashes.json"),
        "model": choice.model,
        "model_hash": identity.fingerprint(choice.model),
        "recipe": choice.recipe,
        "prunable": choice.prunable,
        "scoring": choice.scoring,
    }


def _epochs(given: int | None, recipe: Recipe) -> int:
    return recipe.finetune_epochs if given is None else given


def _describe(criterion: Criterion, broken: dict[str, str]) -> Description:
    try:
        description = criteria.describe(criterion.name)
        description.check_options(criterion.options)
    except BrokenCriterionError as error:
        broken[error.description.name] = str(error)
        return error.description
    except CriterionError as error:
        raise UserError(str(error)) from error
    if description.name in CONTROLS:
        raise UserError(f"criterion {description.name!r}: the name is reserved for a control row; rename the file")
    return description


def _fact(kind: Any, value: Any, description: Description) -> Any:
    try:
        return TypeAdapter(kind).validate_python({"name": value} if isinstance(value, str) else value)
    except ValidationError as error:
        raise UserError(f"criterion {description.path}: its default {value!r}: {error.errors()[0]['msg']}") from error


def _check_defined(cell: Cell, description: Description) -> None:
    unit, stop = description.facts["UNIT"], getattr(cell.schedule, "stop", None)
    if cell.score_mode == "train" and unit != "mean":
        raise UserError(f"score_mode=train is not defined for {cell.criterion}: its unit is the {unit}; use eval")
    if stop is not None and cell.when == "init":
        raise UserError("schedule stop at when=init: nothing is trained between the steps, so nothing can converge")
    if stop is not None and not cell.dataset.validation:
        raise UserError("schedule stop needs a validation split: set dataset.validation above 0")
    if cell.finetune and cell.finetune.name == "rewound" and (cell.finetune_epochs or 0) > cell.recipe.epochs:
        raise UserError(
            f"finetune=rewound takes the last epochs of the recipe: finetune_epochs={cell.finetune_epochs} is more "
            f"than recipe.epochs={cell.recipe.epochs}"
        )


def _check_finetune_is_used(settings: Settings, cells: list[Cell]) -> None:
    named = sorted({"finetune", "finetune_epochs"} & set(settings.named))
    if named and not any(cell.finetune for cell in cells):
        raise UserError(
            f"{named[0]} has no effect: every cell is pruned at initialisation and trained by the whole recipe; "
            "leave it out, or give budget=equal"
        )
