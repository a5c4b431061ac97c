"""From a criterion's scores to the masks of a network that loses single weights, N of M, or blocks of weights."""

import torch
from torch import Tensor, nn

from bench.axes import NM
from bench.cell import Cell
from bench.granularity import select_nm, unit_masks, unit_scores, weight_masks
from bench.masks import Masks, select, share_within, threshold

Weights = dict[str, nn.Parameter]


def select_weights(
    cell: Cell, scores: dict[str, Tensor], masks: Masks, target: float | None, weights: Weights
) -> Masks:
    """Return the masks of all `weights` that take part, of which `target` is removed; within the masks so far.

    What is not scored stays as it is, so that a later step never revives what an earlier one removed. Raises
    ValueError for a target that cannot be reached.
    """
    held = {name: masks.get(name, kept_whole(weight)) for name, weight in weights.items() if name not in scores}
    selected = _select(cell, scores, masks, target, weights, held)
    return {name: (selected | held)[name] for name in weights}


def _select(
    cell: Cell, scores: dict[str, Tensor], masks: Masks, target: float | None, weights: Weights, held: Masks
) -> Masks:
    """Rank the units of the cell's granularity over its scope."""
    scope, grain = cell.scope, cell.granularity
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
    kept = select(units, target, scope.name, former or None, min_keep=cell.min_keep, weights=values)
    return weight_masks(kept, grain)


def _share_of_scored(target: float, scores: dict[str, Tensor], held: Masks, weights: Weights) -> float:
    """Return the sparsity of the scored weights at which the target holds over all weights."""
    total, gone = sum(w.numel() for w in weights.values()), sum(int((~mask).sum()) for mask in held.values())
    return share_within(target - gone / total, sum(s.numel() for s in scores.values()), total)


def kept_whole(weight: Tensor) -> Tensor:
    """Return the mask of a weight of which nothing is removed."""
    return weight.new_ones(weight.shape, dtype=torch.bool)
