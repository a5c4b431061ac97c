"""One pruning step: the criterion's scores of the network as it is, then the mask at a target sparsity."""

import time
from typing import Any

import torch
from torch import Tensor, nn

from bench.data import Data
from bench.errors import UserError
from bench.lineage import Lineage, copied
from bench.masks import Masks, apply_masks_, select, share_within
from bench.plan import Cell
from bench.score import score, scoring_set, taking_part
from bench.stage import Workbench


class Pruner:
    """Prunes a lineage step by step, each mask within the one before."""

    def __init__(self, cell: Cell, samples: Data, bench: Workbench) -> None:
        self.cell = cell
        self.bench = bench
        self.batches = scoring_set(cell, samples)

    def prune_(self, lineage: Lineage, target: float) -> None:
        """Mask a lineage to sparsity `target` over all weights that take part; unscored ones are kept whole."""
        self.bench.tell("stage", {"stage": "score"})
        if lineage.masks:
            facts, scores = self._score(lineage.model)
        else:
            # The untouched checkpoint's scores serve all sparsities, scopes and fine-tunings.
            facts, scores = self.bench.stage(f"scores-{self.cell.scores_key}", lambda: self._score(lineage.model))
        weights = taking_part(self.cell, lineage.model)
        scores = {name: scores[name] for name in weights if name in scores}
        try:
            lineage.masks = self._select(scores, lineage.masks, target, weights)
        except ValueError as error:
            raise UserError(f"{self.cell.criterion}: {error}") from error
        apply_masks_(lineage.model, lineage.masks)
        lineage.pruned = copied(lineage.model)
        sizes = [len(targets) for _, targets in self.batches]
        lineage.columns |= {"score_samples": sum(sizes), "score_batch": max(sizes)}
        lineage.columns["score_s"] = lineage.columns.get("score_s", 0.0) + facts["score_s"]

    def _select(
        self, scores: dict[str, Tensor], masks: Masks, target: float, weights: dict[str, nn.Parameter]
    ) -> Masks:
        assert self.cell.scope is not None
        # What this step does not score stays as it is, so that a later step never revives what an earlier one removed.
        held = {name: masks.get(name, _kept_whole(weight)) for name, weight in weights.items() if name not in scores}
        share = target
        if self.cell.scope.name == "global":
            total, gone = sum(w.numel() for w in weights.values()), sum(int((~mask).sum()) for mask in held.values())
            share = share_within(target - gone / total, sum(s.numel() for s in scores.values()), total)
        selected = select(scores, share, self.cell.scope.name, masks or None)
        return {name: (selected | held)[name] for name in weights}

    def _score(self, model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
        started = time.perf_counter()
        scores = score(self.cell, model, self.batches)
        return {"score_s": time.perf_counter() - started}, scores


def all_kept(cell: Cell, model: nn.Module) -> Masks:
    """Return the masks of a network that is not pruned."""
    return {name: _kept_whole(weight) for name, weight in taking_part(cell, model).items()}


def _kept_whole(weight: Tensor) -> Tensor:
    return weight.new_ones(weight.shape, dtype=torch.bool)
