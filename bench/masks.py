"""From scores to masks: which weights are kept."""

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from bench.scopes import PER_LAYER, removed_per_layer

Masks = dict[str, Tensor]


def select(
    scores: dict[str, Tensor],
    sparsity: float,
    scope: str = "global",
    within: Masks | None = None,
    *,
    min_keep: float = 0,
    weights: dict[str, Tensor] | None = None,
) -> Masks:
    """Return parameter name -> bool mask of the score's shape, True = kept; the lowest scores are removed.

    global: exactly round(sparsity * N) entries are False over all layers. layer: exactly round(sparsity * n) in each.
    erk, lamp: exactly round(sparsity * N), by densities of their own (bench.scopes; lamp needs the `weights`). row:
    round(sparsity * n) in each layer, where rows (outputs) differ by at most one.
    Among equal scores the earlier position (dict order, then row-major) is kept, so that ties never remove more or
    less. `within` is the mask of the step before: what is False there stays False and counts as removed. `min_keep` (a
    count, or a share of the layer when below 1) is kept in every layer; what it blocks is removed elsewhere at global,
    erk and lamp scope, and not at all at layer and row scope.
    Raises ValueError for a score that is not finite, a sparsity outside [0, 1), an unknown scope, and a target that
    `within` or `min_keep` makes unreachable.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity {sparsity} is outside [0, 1): it is the share of weights to remove")
    _check(scores, within)
    if not scores:
        return {}
    least = {name: _least(min_keep, score.numel()) for name, score in scores.items()}
    gone = {name: int((~within[name]).sum()) if within else 0 for name in scores}
    if scope == "global":
        return _select_together(scores, round(sparsity * sum(s.numel() for s in scores.values())), within, least)
    if scope not in (*PER_LAYER, "row"):
        raise ValueError(f"unknown scope {scope!r}: global, layer, erk, lamp or row")
    if scope == "lamp" and weights is None:
        raise ValueError("scope lamp takes its densities from the weights: give `weights`")
    given = {name: weights[name] if weights is not None else score for name, score in scores.items()}
    room = [score.numel() - least[name] for name, score in scores.items()]
    densities = "layer" if scope == "row" else scope
    counts = removed_per_layer(densities, given, sparsity, list(gone.values()), room)
    one_layer = _select_rows if scope == "row" else _select_together
    return {
        name: one_layer({name: score}, count, within, {})[name]
        for (name, score), count in zip(scores.items(), counts, strict=True)
    }


def in_order(model: nn.Module, masks: Masks) -> Masks:
    """Return the masks in the order of the model's parameters, which files of tensors do not keep."""
    return {name: masks[name] for name, _ in model.named_parameters() if name in masks}


def threshold(scores: dict[str, Tensor], value: float, within: Masks | None = None) -> Masks:
    """Return the masks that keep every score of at least `value`; `within` as in `select`."""
    _check(scores, within)
    return {name: (score >= value) & (within[name] if within else True) for name, score in scores.items()}


def _check(scores: dict[str, Tensor], within: Masks | None) -> None:
    for name, score in scores.items():
        # NaN passes through aminmax, which takes a tenth of the time of looking at each score.
        if score.numel() and not torch.isfinite(torch.stack(score.aminmax())).all():
            raise ValueError(f"the scores of {name} are not finite: NaN or infinity cannot be ranked")
        if within is not None and (name not in within or within[name].shape != score.shape):
            raise ValueError(f"the mask of the step before has no entry of the shape of {name}")


def _least(min_keep: float, size: int) -> int:
    # Rounded first: 0.07 * 100 is a little more than 7.
    return min(size, math.ceil(round(min_keep * size if min_keep < 1 else min_keep, 9)))


def _select_together(scores: dict[str, Tensor], count: int, within: Masks | None, least: dict[str, int]) -> Masks:
    """Rank all entries of all tensors together and remove `count`, those that are gone already included."""
    dtype = torch.float64 if any(s.dtype == torch.float64 for s in scores.values()) else torch.float32
    parts = [_with_spared(s.detach().flatten().to(dtype), name, within, least) for name, s in scores.items()]
    flat = torch.cat(parts)
    if within is None:
        kept = _lowest_removed(flat, count)
    else:
        alive = torch.cat([within[name].flatten().to(flat.device) for name in scores])
        remove = count - int((~alive).sum())
        if remove < 0:
            raise ValueError(f"the mask of the step before has removed more than the {count} weights asked for")
        kept = alive.clone()
        kept[alive] = _lowest_removed(flat[alive], remove)
    if count > len(flat) - sum(least.values()):
        raise ValueError(f"min_keep lets fewer than the {count} of {len(flat)} go that the sparsity asks for")
    pieces = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape).clone() for (name, score), part in zip(scores.items(), pieces, strict=True)}


def _with_spared(flat: Tensor, name: str, within: Masks | None, least: dict[str, int]) -> Tensor:
    """Lift a layer's `least` best entries above all others."""
    if not least.get(name):
        return flat
    alive = within[name].flatten() if within else torch.ones_like(flat, dtype=torch.bool)
    best = torch.where(alive, flat, -torch.inf).sort(descending=True, stable=True).indices[: least[name]]
    return flat.index_fill(0, best, torch.inf)


def _select_rows(scores: dict[str, Tensor], count: int, within: Masks | None, least: dict[str, int]) -> Masks:
    """Remove `count` entries of one layer, from each row (output) the same number up to one.

    The rows that lose one more are those whose next entry is lowest.
    """
    ((name, score),) = scores.items()
    rows = score.detach().flatten(1)
    if within is not None:
        rows = rows.masked_fill(~within[name].flatten(1), -torch.inf)
    each, more = divmod(count, len(rows))
    # Sorted from the back, so that of equal scores the later come first and are removed.
    values, order = rows.flip(1).sort(dim=1, stable=True)
    losing = torch.full((len(rows),), each, device=rows.device)
    if more:
        losing[len(rows) - 1 - values[:, each].flip(0).argsort(stable=True)[:more]] += 1
    removed = torch.arange(rows.shape[1], device=rows.device) < losing[:, None]
    kept = torch.empty_like(removed).scatter_(1, order, ~removed).flip(1).view(score.shape)
    if within is not None and bool((kept & ~within[name]).any()):
        raise ValueError(f"the mask of the step before has removed more of a row of {name} than the sparsity asks for")
    return {name: kept}


def _lowest_removed(flat: Tensor, count: int) -> Tensor:
    """Return a mask over a vector in which exactly the `count` lowest are False, of equal ones the later."""
    if count == 0:
        return torch.ones_like(flat, dtype=torch.bool)
    if count == len(flat):
        return torch.zeros_like(flat, dtype=torch.bool)
    highest_removed = _kth_lowest(flat, count)
    kept = flat > highest_removed
    ties = torch.nonzero(flat == highest_removed).flatten()
    kept[ties[: len(flat) - count - int(kept.count_nonzero())]] = True
    return kept


def _kth_lowest(flat: Tensor, k: int) -> Tensor:
    """Return the k-th lowest value, k from 1."""
    if flat.device.type == "cpu":
        # numpy's introselect takes less than half the time of torch.kthvalue on the CPU.
        return torch.from_numpy(np.partition(flat.numpy(), k - 1)[k - 1 : k])[0]
    # Not torch.kthvalue: on CUDA deterministic mode refused it before torch 2.10.
    return flat.sort().values[k - 1]


def shuffled(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Return a mask permuted within its layer: as many kept, elsewhere."""
    order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
    return mask.flatten()[order].view(mask.shape)


def apply_masks_(model: nn.Module, masks: Masks) -> None:
    """Set the masked weights of a model to zero, in place."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)


def share_within(sparsity: float, scored: int, total: int, what: str = "weights") -> float:
    """Return the sparsity of the scored weights (or units: `what`) that removes round(sparsity * total) of all.

    What a criterion does not score stays dense and counts. Raises ValueError where too few are scored.
    """
    remove = round(sparsity * total)
    if remove >= scored:
        raise ValueError(
            f"sparsity {sparsity} removes {remove} of {total} prunable {what}, but the criterion scores only {scored}"
        )
    return float(Fraction(remove, scored))


def layer_counts(masks: Masks) -> list[tuple[str, int, int]]:
    """Return (parameter name, kept, total) of every layer."""
    return [(name, int(mask.sum()), mask.numel()) for name, mask in masks.items()]
