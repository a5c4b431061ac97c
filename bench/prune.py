"""One pruning step: the criterion's scores of the network as it is, then the masks that they give."""

import time
from typing import Any

import torch
from torch import Tensor, nn

from bench.cell import Cell, spelled
from bench.data import Data
from bench.errors import UserError
from bench.granularity import divides, select_nm, unit_masks, unit_scores, weight_masks
from bench.lineage import Lineage, copied
from bench.loss import loss_function
from bench.masks import Masks, apply_masks_, select, share_within, threshold
from bench.regrow import random_masks, traded
from bench.schema import NM, Regrow
from bench.score import load, score, scoring_set, taking_part
from bench.seeds import generator
from bench.stage import Workbench
from criteria.tools.gradients import mean_gradients


class Pruner:
    """Prunes a lineage step by step."""

    def __init__(self, cell: Cell, samples: Data, bench: Workbench) -> None:
        self.cell = cell
        self.bench = bench
        self.batches = scoring_set(cell, samples)
        self.criterion = load(cell)

    def prune_(self, lineage: Lineage, target: float | None) -> None:
        """Mask a lineage to sparsity `target` over all weights that take part, within its masks so far."""
        weights = taking_part(self.cell, lineage.model)
        if isinstance(self.cell.schedule, Regrow) and not lineage.masks:
            masks = self._random(weights, target or 0.0)
        else:
            masks = self._selected(self._scores(lineage, weights), lineage.masks, target, weights)
        self._mask_(lineage, masks)

    def trade_(self, lineage: Lineage, share: float, step: int) -> Masks:
        """Let each layer of a lineage drop a `share` of its weights by the criterion and grow as many; return the new.

        Grown weights start at zero.
        """
        assert isinstance(self.cell.schedule, Regrow)
        weights = taking_part(self.cell, lineage.model)
        drop, old = self._scores(lineage, weights), lineage.masks
        scored = {name: mask for name, mask in old.items() if name in drop}
        if self.cell.schedule.grow == "random":
            chance = generator(self.cell.seed, "grow", step)
            grow = {name: torch.rand(w.shape, generator=chance).to(w.device) for name, w in weights.items()}
        else:
            grow = self._dense_gradients(lineage.model)
        self._mask_(lineage, old | traded(scored, drop, grow, share))
        return {name: lineage.masks[name] & ~mask for name, mask in old.items()}

    def _dense_gradients(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the size of the mean gradient on the scoring set, of masked weights too."""
        was_training = model.training
        model.eval()
        try:
            gradients = mean_gradients(model, self.batches, loss_function(self.cell.recipe))
        finally:
            model.train(was_training)
        return {name: gradient.abs() for name, gradient in gradients.items()}

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
        return random_masks(values, sparsity, self.cell.scope.name, self.cell.scope.keeps, chance)

    def _scores(self, lineage: Lineage, weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        self.bench.tell("stage", {"stage": "score"})
        if lineage.masks or self.criterion.description.observes:
            facts, scores = self._score(lineage.model)
        else:
            # The untouched checkpoint's scores serve all sparsities, scopes and fine-tunings.
            facts, scores = self.bench.stage(f"scores-{self.cell.scores_key}", lambda: self._score(lineage.model))
        lineage.columns["score_s"] = lineage.columns.get("score_s", 0.0) + facts["score_s"]
        grain = self.cell.granularity
        assert grain is not None
        taken = [name for name, weight in weights.items() if name in scores and divides(grain, weight.shape)]
        if not taken:
            raise UserError(f"granularity={spelled(grain)}: no layer of {self.cell.model.name} divides into such units")
        lineage.columns["left_dense"] = ", ".join(name for name in weights if name not in taken) or None
        sign = -1 if self.cell.ablation == "invert" else 1
        return {name: sign * scores[name] for name in taken}

    def _score(self, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        started = time.perf_counter()
        scores = score(self.cell, self.criterion, model, self.batches)
        return {"score_s": time.perf_counter() - started}, scores

    def _selected(
        self, scores: dict[str, Tensor], masks: Masks, target: float | None, weights: dict[str, nn.Parameter]
    ) -> Masks:
        # What this step does not score stays as it is, so that a later step never revives what an earlier one removed.
        held = {name: masks.get(name, _kept_whole(weight)) for name, weight in weights.items() if name not in scores}
        try:
            selected = self._select(scores, masks, target, weights, held)
        except ValueError as error:
            raise UserError(f"{self.cell.criterion}: {error}") from error
        return {name: (selected | held)[name] for name in weights}

    def _select(
        self,
        scores: dict[str, Tensor],
        masks: Masks,
        target: float | None,
        weights: dict[str, nn.Parameter],
        held: Masks,
    ) -> Masks:
        """Rank the units of the cell's granularity over its scope."""
        scope, grain = self.cell.scope, self.cell.granularity
        assert grain is not None
        if isinstance(grain, NM):
            return select_nm(scores, grain)
        assert scope is not None
        units, former = unit_scores(scores, grain), unit_masks({n: masks[n] for n in scores if masks}, grain)
        if scope.value is not None:
            return weight_masks(threshold(units, scope.value, former or None), grain)
        assert target is not None
        if scope.name not in ("layer", "row"):
            target = _share_of_scored(target, scores, held, weights)
        values = {name: weights[name].detach() for name in scores} if scope.name == "lamp" else None
        kept = select(units, target, scope.name, former or None, min_keep=scope.keeps, weights=values)
        return weight_masks(kept, grain)


def _share_of_scored(target: float, scores: dict[str, Tensor], held: Masks, weights: dict[str, nn.Parameter]) -> float:
    """Return the sparsity of the scored weights at which the target holds over all weights."""
    total, gone = sum(w.numel() for w in weights.values()), sum(int((~mask).sum()) for mask in held.values())
    return share_within(target - gone / total, sum(s.numel() for s in scores.values()), total)


def all_kept(cell: Cell, model: nn.Module) -> Masks:
    """Return the masks of a network that is not pruned."""
    return {name: _kept_whole(weight) for name, weight in taking_part(cell, model).items()}


def _kept_whole(weight: Tensor) -> Tensor:
    return weight.new_ones(weight.shape, dtype=torch.bool)
