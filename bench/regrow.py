"""Drop and grow: a sparse network trades weights during training, the number of each layer fixed."""

import torch
from torch import Tensor

from bench.masks import Masks, select


def random_masks(
    weights: dict[str, Tensor], sparsity: float, scope: str, min_keep: float, generator: torch.Generator
) -> Masks:
    """Return random masks at the densities of a scope; global means the same density in every layer."""
    noise = {name: torch.rand(w.shape, generator=generator).to(w.device) for name, w in weights.items()}
    return select(noise, sparsity, "layer" if scope == "global" else scope, min_keep=min_keep, weights=weights)


def traded(masks: Masks, drop: dict[str, Tensor], grow: dict[str, Tensor], share: float) -> Masks:
    """Return masks in which each layer has lost the `share` of its weights with the lowest `drop` and grown as many.

    Grown are the positions of highest `grow` among those that were not kept and those just dropped (Evci et al. 2020).
    """
    new = {}
    for name, mask in masks.items():
        active, size = int(mask.sum()), mask.numel()
        # As many as there is room for: a nearly dense layer has little to grow, and none drops its last weight.
        count = max(0, min(round(share * active), size - active, active - 1))
        if not count:
            new[name] = mask
            continue
        kept = select({name: drop[name]}, (size - active + count) / size, within={name: mask})[name]
        candidates = grow[name].masked_fill(kept, torch.finfo(grow[name].dtype).min)
        new[name] = kept | select({name: candidates}, (size - count) / size)[name]
    return new
