"""From scores to masks: which weights are kept."""

from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

Masks = dict[str, Tensor]


def select(scores: dict[str, Tensor], sparsity: float, scope: str = "global", within: Masks | None = None) -> Masks:
    """Return parameter name -> bool mask of the score's shape, True = kept; the lowest scores are removed.

    global: exactly round(sparsity * N) entries are False over all layers; layer: exactly round(sparsity * n) in each.
    Among equal scores the earlier position (dict order, then row-major) is kept, so that ties never remove more or
    less. `within` is the mask of the step before: what is False there stays False and counts as removed.
    Raises ValueError for a score that is not finite, a sparsity outside [0, 1), an unknown scope, and a `within` that
    has removed more than the target.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity {sparsity} is outside [0, 1): it is the share of weights to remove")
    for name, score in scores.items():
        if not torch.isfinite(score).all():
            raise ValueError(f"the scores of {name} are not finite: NaN or infinity cannot be ranked")
        if within is not None and (name not in within or within[name].shape != score.shape):
            raise ValueError(f"the mask of the step before has no entry of the shape of {name}")
    if scope == "global":
        return _select_together(scores, sparsity, within)
    if scope == "layer":
        layers = ({name: score} for name, score in scores.items())
        return {name: mask for layer in layers for name, mask in _select_together(layer, sparsity, within).items()}
    raise ValueError(f"unknown scope {scope!r}: global or layer")


def _select_together(scores: dict[str, Tensor], sparsity: float, within: Masks | None) -> Masks:
    """Rank all entries of all tensors together."""
    if not scores:
        return {}
    dtype = torch.float64 if any(s.dtype == torch.float64 for s in scores.values()) else torch.float32
    flat = torch.cat([score.detach().flatten().to(dtype) for score in scores.values()])
    if within is None:
        kept = _lowest_removed(flat, round(sparsity * len(flat)))
    else:
        alive = torch.cat([within[name].flatten().to(flat.device) for name in scores])
        remove = round(sparsity * len(flat)) - int((~alive).sum())
        if remove < 0:
            raise ValueError(f"the mask of the step before has removed more than the sparsity {sparsity} asks for")
        kept = alive.clone()
        kept[alive] = _lowest_removed(flat[alive], remove)
    parts = torch.split(kept, [score.numel() for score in scores.values()])
    return {name: part.view(score.shape).clone() for (name, score), part in zip(scores.items(), parts, strict=True)}


def _lowest_removed(flat: Tensor, count: int) -> Tensor:
    """Return a mask over a vector in which exactly the `count` lowest are False, of equal ones the later."""
    if count == 0:
        return torch.ones_like(flat, dtype=torch.bool)
    if count == len(flat):
        return torch.zeros_like(flat, dtype=torch.bool)
    threshold = _kth_lowest(flat, count)
    kept = flat > threshold
    ties = torch.nonzero(flat == threshold).flatten()
    kept[ties[: len(flat) - count - int(kept.sum())]] = True
    return kept


def _kth_lowest(flat: Tensor, k: int) -> Tensor:
    """Return the k-th lowest value, k from 1."""
    if flat.device.type == "cpu":
        # numpy's introselect takes less than half the time of torch.kthvalue on the CPU.
        return torch.from_numpy(np.partition(flat.numpy(), k - 1)[k - 1 : k])[0]
    return flat.kthvalue(k).values


def apply_masks_(model: nn.Module, masks: Masks) -> None:
    """Set the masked weights of a model to zero, in place."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)


def share_within(sparsity: float, scored: int, total: int) -> float:
    """Return the sparsity of the scored weights that removes round(sparsity * total) of all prunable ones.

    Weights that a criterion does not score stay dense and count. Raises ValueError where too few are scored.
    """
    remove = round(sparsity * total)
    if remove >= scored:
        raise ValueError(
            f"sparsity {sparsity} removes {remove} of {total} prunable weights, but the criterion scores only {scored}"
        )
    return float(Fraction(remove, scored))


def layer_counts(masks: Masks) -> list[tuple[str, int, int]]:
    """Return (parameter name, kept, total) of every layer."""
    return [(name, int(mask.sum()), mask.numel()) for name, mask in masks.items()]
