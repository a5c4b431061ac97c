"""One pruning step: the criterion's scores of the network as it is, then the masks that they give."""

import time
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bench.axes import NM, Regrow
from bench.cell import Cell, spelled
from bench.data import Data, batches
from bench.errors import UserError
from bench.granularity import divides, transposed
from bench.lineage import Lineage, copied
from bench.loss import loss_function
from bench.masks import Masks, apply_masks_
from bench.measure.histogram import histogram
from bench.mode import in_mode
from bench.regrow import random_masks, traded
from bench.score import load, score, scoring_set, taking_part
from bench.seeds import generator
from bench.stage import Workbench
from bench.structured import Structure
from bench.unstructured import kept_whole, select_weights
from criteria.tools.gradients import mean_gradients


class Pruner:
    """Prunes a lineage step by step."""

    def __init__(self, cell: Cell, samples: Data, bench: Workbench) -> None:
        self.cell = cell
        self.samples = samples
        self.bench = bench
        self.criterion = load(cell)

    @cached_property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The scoring set; read when first asked for, which takes minutes where images are in files."""
        return scoring_set(self.cell, self.samples)

    def prune_(self, lineage: Lineage, target: float | None, last: bool = True) -> None:
        """Mask a lineage to sparsity `target` over all weights that take part, within its masks so far.

        last: whether this may be the last step, whose histogram is what the record keeps.
        """
        if isinstance(self.cell.schedule, Regrow) and not lineage.masks:
            masks = self._random(taking_part(self.cell, lineage.model), target or 0.0)
        else:
            scores = self.scores(lineage)
            masks = self.selected(lineage, scores, target)
            if last:
                lineage.columns["histogram"] = histogram(scores, masks, lineage.masks)
        self._mask_(lineage, masks)

    def trade_(self, lineage: Lineage, share: float, step: int) -> Masks:
        """Let each layer of a lineage drop a `share` of its weights by the criterion and grow as many; return the new.

        Grown weights start at zero.
        """
        assert isinstance(self.cell.schedule, Regrow)
        drop, old = self.scores(lineage), lineage.masks
        scored = {name: mask for name, mask in old.items() if name in drop}
        if self.cell.schedule.grow == "random":
            chance = generator(self.cell.seed, "grow", step)
            grow = {n: torch.rand(mask.shape, generator=chance).to(mask.device) for n, mask in old.items()}
        else:
            with in_mode(lineage.model, train=False):
                gradients = mean_gradients(lineage.model, self.batches, loss_function(self.cell.recipe))
            grow = {name: gradient.abs() for name, gradient in gradients.items()}
        self._mask_(lineage, old | traded(scored, drop, grow, share))
        return {name: lineage.masks[name] & ~mask for name, mask in old.items()}

    def selected(self, lineage: Lineage, scores: dict[str, Tensor], target: float | None) -> Masks:
        """Return the masks that a lineage's scores give; UserError for a target that cannot be reached."""
        try:
            if lineage.structure is not None:
                coupled = str(self.criterion.description.facts["COUPLED"])
                return lineage.structure.select(self.cell, lineage.model, scores, coupled, lineage.masks, target)
            return select_weights(self.cell, scores, lineage.masks, target, taking_part(self.cell, lineage.model))
        except ValueError as error:
            raise UserError(f"{self.cell.criterion}: {error}") from error

    def _mask_(self, lineage: Lineage, masks: Masks) -> None:
        lineage.masks = masks
        apply_masks_(lineage.model, masks)
        lineage.pruned = copied(lineage.model)
        sizes = [len(targets) for _, targets in self.batches]
        lineage.columns |= {"score_samples": sum(sizes), "score_batch": max(sizes)}

    def _random(self, weights: dict[str, nn.Parameter], sparsity: float) -> Masks:
        assert self.cell.scope is not None
        values: dict[str, Tensor] = {name: weight.detach() for name, weight in weights.items()}
        chance = generator(self.cell.seed, "regrow")
        return random_masks(values, sparsity, self.cell.scope.name, self.cell.min_keep, chance)

    def scores(self, lineage: Lineage) -> dict[str, Tensor]:
        """Return the criterion's scores of a lineage as it is, for the layers that the granularity can use.

        Those of the untouched checkpoint are a stage of their own. With ablation=invert the signs are turned.
        """
        self.bench.tell("stage", {"stage": "score"})
        if not lineage.masks and self.cell.shares_scores(self.criterion.description):
            facts, scores = self.bench.stage(f"scores-{self.cell.scores_key}", lambda: self._score(lineage.model))
        else:
            facts, scores = self._score(lineage.model)
        lineage.columns["score_s"] = lineage.columns.get("score_s", 0.0) + facts["score_s"]
        taken, pruned = self.removable(lineage, scores)
        left = [name for name in taking_part(self.cell, lineage.model) if name not in pruned]
        lineage.columns["left_dense"] = ", ".join(left) or None
        sign = -1 if self.cell.ablation == "invert" else 1
        return {name: sign * scores[name] for name in taken}

    def removable(self, lineage: Lineage, scores: dict[str, Tensor]) -> tuple[list[str], set[str]]:
        """Return the scored weights that the granularity can use, and all of which it can remove something."""
        grain = self.cell.granularity
        assert grain is not None
        other = transposed(lineage.model) if isinstance(grain, NM) else set()
        weights = {n: w for n, w in taking_part(self.cell, lineage.model).items() if n in scores and n not in other}
        taken = [name for name, weight in weights.items() if divides(grain, weight.shape)]
        pruned = set(taken) if lineage.structure is None else lineage.structure.scored(taken)
        if not pruned:
            raise UserError(f"granularity={spelled(grain)}: no layer of {self.cell.model.name} divides into such units")
        return taken, pruned

    def _score(self, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        started = time.perf_counter()
        scores = score(self.cell, self.criterion, model, self.batches)
        return {"score_s": time.perf_counter() - started}, scores


def structure_of(cell: Cell, model: nn.Module, samples: Data) -> Structure | None:
    """Return what a cell's granularity removes whole from a model; None where it removes weights."""
    if not cell.structured:
        return None
    sample = next(iter(batches(samples, samples.train, 1)))[0]
    return Structure(cell, model, taking_part(cell, model).keys(), sample)


def all_kept(cell: Cell, model: nn.Module) -> Masks:
    """Return the masks of a network that is not pruned."""
    return {name: kept_whole(weight) for name, weight in taking_part(cell, model).items()}
