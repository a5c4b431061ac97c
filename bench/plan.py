"""What a run will do: the list of its cells, each with an identity computed from what it reads. No torch."""

import importlib.metadata
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import criteria
from bench import NUMERICS, identity
from bench.axes import (
    NM,
    REWIND_TO,
    Cosine,
    Finetune,
    Granularity,
    Iterative,
    Layer,
    Low,
    OneShot,
    Rewound,
    Schedule,
    Scope,
    Weight,
    When,
    default_target_kind,
)
from bench.cell import CONTROLS, HARNESS_OPTIONS, Cell, Environment
from bench.errors import UserError, near_misses
from bench.frozen import Frozen
from bench.refusals import refusal
from bench.schema import Choice, Criterion, Recipe, Scoring, Settings
from bench.source import OWN
from bench.store import COLUMNS, digest
from criteria import BrokenCriterionError, CriterionError, Description


class Defaults(Frozen):
    """A criterion's own choice on the axes that the run leaves open."""

    granularity: Granularity = Weight(name="weight")
    scope: Scope = Scope(name="global")
    schedule: Schedule = OneShot(name="one_shot")
    when: When = When(name="trained")


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
        return {
            "experiment": self.settings.experiment,
            "hash": self.hash,
            "written": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "titles": {cell.dataset.name: cell.dataset.title for cell in self.cells},
            "recipes": {cell.recipe.name: cell.recipe.source for cell in self.cells},
            "vary": list(self.settings.vary),
            "claims": [claim.model_dump() for claim in self.settings.claims],
            "changed": list(self.settings.changed),
            "cells": [cell.columns() for cell in self.cells],
        }


def make(settings: Settings, device: str) -> Plan:
    """Return exactly the product of the axes plus the controls; UserError for a combination that is not defined."""
    broken: dict[str, str] = {}
    cells: dict[str, Cell] = {}
    _check_names(settings)
    named = {"vary": {*settings.vary}} | {f"claim {c.name}": {*c.first, *c.second} for c in settings.claims}
    for where, columns in named.items():
        if unknown := sorted(columns - {*COLUMNS}):
            raise UserError(
                f"{where} names no column of the records: {unknown[0]!r}; {near_misses(unknown[0], COLUMNS)}"
            )
    for choice, precision in itertools.product(settings.choices, settings.precision):
        if precision == "tf32" and device == "cpu":
            raise UserError("precision=tf32 is a mode of CUDA devices, and this run is on the CPU; take fp32 or bf16")
        environment = Environment(
            device=device,
            precision=precision,
            threads=settings.threads,
            torch=importlib.metadata.version("torch"),
            numerics=NUMERICS,
        )
        shared = _shared(choice, settings.out)  # reads and hashes files: once, not for each criterion
        pruned = [
            cell
            for criterion in settings.criterion
            for cell in _criterion_cells(settings, choice, criterion, shared | {"environment": environment}, broken)
        ]
        _check_used(settings, pruned)
        for cell in [*_controls(settings, pruned, choice), *pruned]:
            cells.setdefault(cell.id, cell)
    return Plan(settings, tuple(sorted(cells.values(), key=lambda cell: cell.criterion not in CONTROLS)), broken)


def _criterion_cells(
    settings: Settings, choice: Choice, criterion: Criterion, shared: dict[str, Any], broken: dict[str, str]
) -> list[Cell]:
    description, own = _describe(criterion, broken)
    given = {
        name: value
        for name, value in criterion.options.items()
        if value != description.options.get(name) or name in HARNESS_OPTIONS
    }
    cells = []
    axes = (
        *(settings.granularity, settings.scope, settings.schedule, settings.when, settings.finetune),
        *(settings.finetune_epochs, settings.ablation, settings.target_kind, settings.budget, settings.score_mode),
    )
    for granularity, scope, schedule, when, finetune, epochs, ablation, kind, budget, mode in itertools.product(*axes):
        timed = when or own.when
        retrains = timed.name == "trained" or (timed.name == "init" and budget == "equal")
        path = schedule or own.schedule
        grain = granularity or own.granularity
        region = scope if isinstance(grain, NM) else scope or _default_scope(own.scope, grain)
        shares = _shares(settings.sparsity, grain, region)
        if isinstance(path, Iterative) and path.stop is not None:
            path, shares = path.model_copy(update={"end": max(settings.sparsity)}), (None,)
        for sparsity, seed in itertools.product(shares, settings.seed):
            cell = Cell(
                **shared,
                seed=seed,
                criterion=description.name,
                criterion_file=criterion.name,
                criterion_options=given,
                fingerprint=description.fingerprint,
                granularity=grain,
                scope=region,
                schedule=path,
                when=timed.name,
                rewind_to=(REWIND_TO if timed.to is None else timed.to) if timed.name == "rewind" else None,
                finetune=_tuning(finetune, choice.recipe) if retrains else None,
                finetune_epochs=_epochs(epochs, choice.recipe) if retrains else None,
                ablation=ablation or "none",
                target_kind=kind or default_target_kind(grain),
                sparsity=sparsity,
                score_mode=mode or "eval",
            )
            if line := refusal(cell, description):
                raise UserError(line)
            cells.append(cell)
    return cells


def _controls(settings: Settings, pruned: list[Cell], choice: Choice) -> list[Cell]:
    """Return `dense` and `dense_longer` once per seed and fine-tuning; where no cell fine-tunes, the experiment's."""
    finetunings = {(cell.finetune, cell.finetune_epochs): cell for cell in pruned if cell.finetune} or {
        (_tuning(finetune, choice.recipe), _longer(finetune, _epochs(epochs, choice.recipe), choice.recipe)): pruned[0]
        for finetune, epochs in itertools.product(settings.finetune, settings.finetune_epochs)
    }
    nothing: dict[str, Any] = dict.fromkeys(
        ("granularity", "scope", "schedule", "ablation", "target_kind", "score_mode")
    )
    nothing |= {"criterion_options": {}, "fingerprint": "", "when": "trained", "rewind_to": None, "sparsity": 0.0}
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
        "model_hash": identity.model_hash(choice.model),
        "weights_hash": identity.weights_hash(choice.model),
        "recipe": choice.recipe,
        "prunable": choice.prunable,
        "scoring": choice.scoring,
    }


def _default_scope(own: Scope, grain: Granularity) -> Scope:
    """Return a criterion's own scope, or what comes nearest where it is for single weights."""
    if isinstance(grain, Layer):
        return Scope(name="global")
    return own if isinstance(grain, Weight) or own.name in ("global", "layer") else Scope(name="layer")


def _shares(given: tuple[float, ...], grain: Granularity, scope: Scope | None) -> tuple[float | None, ...]:
    """Return the sparsities to reach: those given, unless N:M or a threshold has its own."""
    if isinstance(grain, NM):
        return (1 - grain.n / grain.m,)
    return (None,) if scope and scope.name == "threshold" else given


def _tuning(given: Finetune | None, recipe: Recipe) -> Finetune:
    """Return the fine-tuning with its defaults resolved, so that equal meanings have one identity."""
    tuning = given or Low(name="low")
    return tuning.model_copy(update={"peak": recipe.lr}) if tuning == Cosine(name="cosine") else tuning


def _epochs(given: int | None, recipe: Recipe) -> int:
    return recipe.finetune_epochs if given is None else given


def _longer(finetune: Finetune | None, epochs: int, recipe: Recipe) -> int:
    """Return the epochs of a `dense_longer` beside cells that are not fine-tuned; the recipe may not have so many."""
    return min(epochs, recipe.epochs) if isinstance(finetune, Rewound) else epochs


def _describe(criterion: Criterion, broken: dict[str, str]) -> tuple[Description, Defaults]:
    """Return what a criterion says of itself; one that is broken says the usual and is noted in `broken`."""
    try:
        description = criteria.describe(criterion.name)
        description.check_options(criterion.options)
        return description, defaults(description)
    except BrokenCriterionError as error:
        broken[error.description.name] = str(error)
        return error.description, Defaults()
    except CriterionError as error:
        raise UserError(str(error)) from error


def defaults(description: Description) -> Defaults:
    """Return a criterion's own choice on the axes, from the constants of its file.

    Raises UserError for a name that is reserved, BrokenCriterionError for a constant that no axis knows.
    """
    if description.name in CONTROLS:
        raise UserError(f"criterion {description.name!r}: the name is reserved for a control row; rename the file")
    facts = {fact.lower(): description.facts[fact] for fact in ("GRANULARITY", "SCOPE", "SCHEDULE", "WHEN")}
    named = {key: {"name": f} if isinstance(f, str) else f for key, f in facts.items()}
    try:
        return Defaults.model_validate(named)
    except ValidationError as error:
        fact, problem = str(error.errors()[0]["loc"][0]), error.errors()[0]["msg"]
        line = f"criterion {description.path}: {fact.upper()} = {facts[fact]!r}: {problem}"
        raise BrokenCriterionError(line, description) from error


def _check_names(settings: Settings) -> None:
    """Refuse two criteria, networks or readers of one name: their rows could not be told apart."""
    named = {"criteria": [(Path(criterion.name).stem, criterion.name) for criterion in settings.criterion]}
    for group, function in OWN.items():
        chosen = [getattr(choice, group) for choice in settings.choices]
        named[f"{group}s"] = [(one.name, getattr(one, function)) for one in chosen]
    for what, pairs in named.items():
        sources: dict[str, str] = {}
        for name, source in pairs:
            if sources.setdefault(name, source) != source:
                raise UserError(f"two {what} are called {name!r}: {sources[name]} and {source}; rename one file")


def _check_used(settings: Settings, cells: list[Cell]) -> None:
    if cells and "equal" in settings.budget and not any(cell.when == "init" for cell in cells):
        raise UserError("budget=equal has no effect: no cell is pruned at initialisation; leave it out")
    named = sorted({"finetune", "finetune_epochs"} & set(settings.named))
    if named and not any(cell.finetune for cell in cells):
        raise UserError(
            f"{named[0]} has no effect: every cell is pruned at initialisation and trained by the whole recipe; "
            "leave it out, or give budget=equal"
        )
