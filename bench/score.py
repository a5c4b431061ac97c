"""Asks a criterion for its scores, in the mode and on the scoring set that are the same for all criteria."""

from fnmatch import fnmatch
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import criteria
from bench.axes import Filter
from bench.cell import Cell
from bench.data import Data, batches, scoring_positions
from bench.errors import UserError
from bench.loss import loss_function
from bench.mode import in_mode
from bench.seeds import derived_seed, global_stream
from criteria._guard import Criterion
from criteria.tools.parameters import prunable

MIN_BATCHES = {"taylor": 8}
"""With one batch taylor is snip squared, with batches of one sample twice fisher."""


def scoring_set(cell: Cell, data: Data, trial: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Return the batches of the scoring set, not augmented, or for a `trial` its first one or two samples.

    In train mode it is one batch, so that batch statistics are those of all.
    """
    chosen = scoring_positions(data, cell.seed, cell.scoring.samples, cell.scoring.batch)
    size = len(chosen) if cell.score_mode == "train" else cell.scoring.batch
    count = len(chosen) // size
    if cell.score_mode != "train" and count < MIN_BATCHES.get(cell.criterion, 1):
        raise UserError(
            f"{cell.criterion} needs at least {MIN_BATCHES[cell.criterion]} batches to score, the scoring set has "
            f"{count}: raise scoring.samples or lower scoring.batch"
        )
    return list(batches(data, data.train[chosen[: min(2, size)] if trial else chosen], size))


def load(cell: Cell) -> Criterion:
    """Return the cell's criterion with its options and those of the harness; UserError where its file has changed."""
    criterion = criteria.load(cell.criterion_file, **harness_options(cell))
    if criterion.description.fingerprint != cell.fingerprint:
        raise UserError(f"criterion file {criterion.description.path} has changed since the run began; run again")
    return criterion


def score(
    cell: Cell, criterion: Criterion, model: nn.Module, batches: list[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return the criterion's scores of the model as it is; eval mode unless the cell says train. Mode is restored."""
    # A stream of its own for what a model draws in train mode (dropout); the guard restores the global generators.
    # Plain attention: the fused kernels have no second derivative, and torch.func cannot batch them.
    mode = in_mode(model, train=cell.score_mode == "train")
    with mode, global_stream(cell.seed, "score"), sdpa_kernel(SDPBackend.MATH):
        return criterion.score(model, batches, loss_function(cell.recipe))


def harness_options(cell: Cell) -> dict[str, Any]:
    """Return the cell's options plus those that the harness gives where the criterion has them and the user did not.

    seed: from a stream of its own. granularity: that of the cell, where the criterion has a filter form beside the
    other. grasp's temperature: 1 where the loss has no logits to temper.
    """
    given: dict[str, Any] = {}
    options = criteria.describe(cell.criterion_file).options
    if "granularity" in options and isinstance(cell.granularity, Filter):
        given["granularity"] = "filter"
    if "seed" in options:
        given["seed"] = derived_seed(cell.seed, "criterion")
    if cell.criterion == "grasp" and cell.recipe.loss == "mse":
        given["temperature"] = 1.0
    return given | cell.criterion_options


def taking_part(cell: Cell, model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the prunable weights that no `prunable.exclude` pattern names; UserError where none is named, or all."""
    patterns, every = cell.prunable.exclude, prunable(model)
    weights = {n: w for n, w in every.items() if not any(fnmatch(n, pattern) for pattern in patterns)}
    if not weights:
        if not patterns:
            raise UserError(f"model {cell.model.name} has nothing to prune: no convolution and no linear layer")
        raise UserError(f"prunable.exclude={list(patterns)} leaves nothing to prune in {cell.model.name}")
    if patterns and len(weights) == len(every):
        names = f"{', '.join([*every][:3])}{', ...' if len(every) > 3 else ''}"
        raise UserError(f"prunable.exclude={list(patterns)} names no weight of {cell.model.name} ({names})")
    return weights
