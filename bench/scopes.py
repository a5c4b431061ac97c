"""How many weights each layer loses, for the scopes that give every layer a number of its own."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from criteria.lamp import shares as lamp_shares

PER_LAYER = ("layer", "erk", "lamp")


def removed_per_layer(
    scope: str, weights: dict[str, Tensor], sparsity: float, low: Sequence[int], high: Sequence[int]
) -> list[int]:
    """Return how many entries each layer loses, between `low` (already gone) and `high` (n less min_keep).

    layer: round(sparsity * n) in each. erk, lamp: round(sparsity * N) together, by densities that do not ask the
    criterion: Erdos-Renyi-kernel (Evci et al. 2020, arXiv:1911.11134), or those that global LAMP gives (Lee et al.
    2021, arXiv:2010.07611; `weights` are then the values, for the others the shapes are enough).
    """
    sizes = [weight.numel() for weight in weights.values()]
    if scope == "layer":
        return [min(round(sparsity * n), hi) for n, hi in zip(sizes, high, strict=True)]
    total = round(sparsity * sum(sizes))
    # Density times size, up to one factor for all layers.
    wanted = [sum(weight.shape) for weight in weights.values()] if scope == "erk" else _lamp([*weights.values()], total)
    least = [n - hi for n, hi in zip(sizes, high, strict=True)]
    kept = shared_out(wanted, sum(sizes) - total, least, sizes)
    return apportion([n - k for n, k in zip(sizes, kept, strict=True)], total, low, high)


def shared_out(wanted: Sequence[int], total: int, least: Sequence[int], most: Sequence[int]) -> list[float]:
    """Return numbers that sum to `total`, proportional to `wanted` where that lies between `least` and `most`.

    A layer that would leave its bounds gets the nearer one, and the factor of the others is solved again.
    """
    fixed: dict[int, int] = {}
    while True:
        free = [i for i in range(len(wanted)) if i not in fixed]
        weight = sum(wanted[i] for i in free)
        factor = (total - sum(fixed.values())) / weight if weight else 0.0
        over = {i: most[i] for i in free if factor * wanted[i] > most[i]}
        under = {i: least[i] for i in free if factor * wanted[i] < least[i]}
        if not over and not under:
            return [fixed[i] if i in fixed else factor * wanted[i] for i in range(len(wanted))]
        excess = sum(factor * wanted[i] - most[i] for i in over)
        deficit = sum(least[i] - factor * wanted[i] for i in under)
        fixed |= over if excess >= deficit else under


def _lamp(weights: list[Tensor], removed: int) -> list[int]:
    """Return how many entries of each layer are above the `removed` lowest global LAMP scores."""
    scores = torch.cat([lamp_shares(weight.detach()).flatten() for weight in weights])
    # From the back, so that of equal scores the later are removed, as everywhere.
    lowest = len(scores) - 1 - torch.argsort(scores.flip(0), stable=True)[:removed]
    layer = torch.repeat_interleave(torch.arange(len(weights)), torch.tensor([w.numel() for w in weights]))
    gone = torch.bincount(layer[lowest.cpu()], minlength=len(weights)).tolist()
    return [weight.numel() - count for weight, count in zip(weights, gone, strict=True)]


def apportion(shares: Sequence[float], total: int, low: Sequence[int], high: Sequence[int]) -> list[int]:
    """Return whole numbers nearest to `shares` that sum to `total`, each between its `low` and `high`.

    Raises ValueError where no such numbers exist.
    """
    if not sum(low) <= total <= sum(high):
        raise ValueError(f"{total} weights cannot be removed: between {sum(low)} and {sum(high)} can")
    counts = [min(max(math.floor(x), lo), hi) for x, lo, hi in zip(shares, low, high, strict=True)]
    step = 1 if sum(counts) < total else -1
    while sum(counts) != total:
        able = [i for i, c in enumerate(counts) if (c < high[i] if step > 0 else c > low[i])]
        counts[max(able, key=lambda i: step * (shares[i] - counts[i]))] += step
    return counts
