"""One row of a paper's table: everything that decides its numbers, and the identity computed from it. No torch."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from bench.axes import Filter, Finetune, Gradual, Granularity, Iterative, Layer, Schedule, Scope
from bench.frozen import Frozen
from bench.schema import Dataset, Model, Prunable, Recipe, Scoring
from bench.store import digest
from criteria import Description

CONTROLS = ("dense", "dense_longer")
"""Reserved names: the dense net, and the dense net trained for the fine-tuning epochs more."""


HARNESS_OPTIONS = ("granularity", "seed", "temperature")
"""Options of criteria that the harness sets where the user does not (bench.score): given ones differ from absent ones
also at the criterion's default."""


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
    weights_hash: str = ""
    recipe: Recipe
    seed: int
    criterion: str
    """Name, or one of CONTROLS."""
    criterion_file: str
    """Name or path by which it is loaded; no part of the identity."""
    criterion_options: dict[str, Any]
    fingerprint: str
    granularity: Granularity | None
    scope: Scope | None
    schedule: Schedule | None
    when: str
    rewind_to: float | None = None
    """Share of the training that a rewound network keeps; null where nothing is rewound."""
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

    # Fields at their defaults are left out, so that a new field changes no identity. Whoever changes a default raises
    # NUMERICS.

    @cached_property
    def data(self) -> dict[str, Any]:
        """Return what of the data is part of the identity."""
        # A reader in a user's own file is known by its code, which is part of the hash.
        paths = {"title", "root", "url", *(("reader",) if ".py:" in self.dataset.reader else ())}
        return {
            "dataset": self.dataset.model_dump(exclude=paths, exclude_defaults=True),
            "hash": self.dataset_hash,
        }

    @cached_property
    def network(self) -> dict[str, Any]:
        """Return what of the network is part of the identity."""
        paths = {"weights", *(("factory",) if self.model_hash else ())}
        return {
            "model": self.model.model_dump(exclude=paths, exclude_defaults=True),
            "hashes": [self.model_hash, self.weights_hash],
        }

    @property
    def _net(self) -> dict[str, Any]:
        return self.network | {"seed": self.seed}

    @cached_property
    def training(self) -> dict[str, Any]:
        """Return what of the recipe is part of the identity; the epochs of fine-tuning are an axis."""
        return self.recipe.model_dump(exclude={"source", "finetune_epochs"}, exclude_defaults=True)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return self.environment.model_dump()

    @cached_property
    def id(self) -> str:
        """Hash of all that decides the result; paths, logger, launcher and progress are no part of it."""
        own = self.model_dump(
            exclude={"dataset", "model", "recipe", "criterion_file", "environment", "dataset_hash", "model_hash"}
        )
        return digest([own, self.data, self._net, self.training, self._environment])

    @cached_property
    def dense_key(self) -> str:
        """Key of the dense checkpoint, shared by all criteria."""
        return digest([self.data, self._net, self.training, self._environment])

    @cached_property
    def scores_key(self) -> str:
        """Key of the scores of the untouched checkpoint, shared by all sparsities, scopes and fine-tunings."""
        checkpoint = self.dense_key if self.when != "init" else [self.data, self._net, self._environment]
        criterion = [self.criterion, self.criterion_options, self.fingerprint, self.form]
        return digest([checkpoint, criterion, self.scoring.model_dump(), self.score_mode, self.recipe.loss])

    @property
    def form(self) -> str:
        """What the criterion scores: filters where they are removed, weights for all other granularities."""
        return "filter" if isinstance(self.granularity, Filter) else "weight"

    def shares_scores(self, description: Description) -> bool:
        """Whether its first pruning step takes scores that serve all sparsities, scopes and fine-tunings.

        Not where training precedes them: of the network, or of what the criterion gathers.
        """
        return not (isinstance(self.schedule, Gradual) or description.observes)

    @property
    def min_keep(self) -> float:
        """What every layer keeps: weights, or filters where those are removed; a count, or a share when below 1."""
        if self.scope and self.scope.min_keep is not None:
            return self.scope.min_keep
        return 1 if isinstance(self.granularity, Filter) or (self.scope and self.scope.name == "row") else 0

    @property
    def stop(self) -> float | None:
        """How far validation accuracy may fall before pruning ends by itself; null where the target says how far."""
        return self.schedule.stop if isinstance(self.schedule, Iterative) else None

    @property
    def pruned_follows(self) -> bool:
        """Whether the weights right after pruning are those of the dense (or initial) net under the final mask."""
        one_step = self.schedule is None or self.schedule.name == "one_shot"
        return one_step and self.ablation in (None, "none") and self.when != "rewind"

    @property
    def structured(self) -> bool:
        """Whether filters or blocks are removed whole, so that the network becomes smaller."""
        return isinstance(self.granularity, Filter | Layer)

    @property
    def untrained(self) -> bool:
        """Whether no step of training lies behind the final weights."""
        return not (self.epochs_total or self.weights_hash or self.model.weights)

    @property
    def rounds(self) -> int:
        """Times that the network is rewound and trained again."""
        if self.rewind_to is None:
            return 0
        return self.schedule.steps if isinstance(self.schedule, Iterative) else 1

    @property
    def pruning_epochs(self) -> int:
        """Epochs of the training in which, or before which, pruning lies."""
        return (self.finetune_epochs or 0) if self.when == "trained" else self.recipe.epochs

    @property
    def epochs_total(self) -> float:
        """Epochs of training behind the final weights, dense training and each rewound round included."""
        if self.rewind_to is not None:
            return round(self.recipe.epochs * (1 + self.rounds * (1 - self.rewind_to)), 2)
        return self.recipe.epochs + (self.finetune_epochs or 0)

    @property
    def epochs_to_train(self) -> float:
        """Epochs that this cell itself trains, once the dense checkpoint is there."""
        starts_dense = self.when != "init" and self.criterion != "dense"
        return self.epochs_total - self.recipe.epochs if starts_dense else self.epochs_total

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
            "granularity": spelled(self.granularity),
            "scope": spelled(self.scope),
            "schedule": spelled(self.schedule),
            "when": self.when if self.rewind_to is None else f"{{name: rewind, to: {self.rewind_to}}}",
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
            "recipe_hash": digest(self.training),
            "dataset_hash": self.dataset_hash,
        }


def spelled(value: Any) -> str | None:
    """Return an axis value as the command line spells it: `iterative`'s full form, or a bare name without options."""
    if value is None:
        return None
    items = value if isinstance(value, dict) else value.model_dump(exclude_none=True)
    if list(items) == ["name"]:
        return str(items["name"])
    return "{" + ", ".join(f"{key}: {item}" for key, item in items.items()) + "}" if items else ""


def named(columns: Mapping[str, Any]) -> str:
    """Return a cell as a person would name it, `digits digits_net taylor 0.9 seed 1`, from its columns."""
    target = columns.get("sparsity_target")
    shown = "" if target is None or columns.get("criterion") in CONTROLS else f" {target:g}"
    dataset, model, criterion, seed = (columns.get(name) for name in ("dataset", "model", "criterion", "seed"))
    return f"{dataset} {model} {criterion}{shown} seed {seed}"


def quoted(text: str) -> str:
    """Return a text in quotes as Hydra reads it back: a backslash escapes a quote, and is doubled only before one."""
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"
