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
    shares = _erk(list(weights.values()), total) if scope == "erk" else _lamp(list(weights.values()), total)
    return apportion(shares, total, low, high)


def _erk(weights: list[Tensor], removed: int) -> list[float]:
    """Return the removed numbers for densities min(1, e * sum(shape) / prod(shape)), with e solved exactly.

    A layer whose density would exceed 1 is dense; what it cannot take raises e for the others.
    """
    sizes = [weight.numel() for weight in weights]
    raw = [sum(weight.shape) for weight in weights]  # density times size, up to e
    kept, dense = sum(sizes) - removed, [False] * len(sizes)
    while True:
        free = sum(r for r, full in zip(raw, dense, strict=True) if not full)
        room = kept - sum(n for n, full in zip(sizes, dense, strict=True) if full)
        e = room / free if free else 0.0
        over = [not full and e * r > n for r, n, full in zip(raw, sizes, dense, strict=True)]
        if not any(over):
            return [0.0 if full else n - e * r for r, n, full in zip(raw, sizes, dense, strict=True)]
        dense = [full or more for full, more in zip(dense, over, strict=True)]


def _lamp(weights: list[Tensor], removed: int) -> list[float]:
    """Return how many entries of each layer are among the `removed` lowest global LAMP scores."""
    scores = torch.cat([lamp_shares(weight.detach()).flatten() for weight in weights])
    # From the back, so that of equal scores the later are removed, as everywhere.
    lowest = len(scores) - 1 - torch.argsort(scores.flip(0), stable=True)[:removed]
    layer = torch.repeat_interleave(torch.arange(len(weights)), torch.tensor([w.numel() for w in weights]))
    return [float(count) for count in torch.bincount(layer[lowest.cpu()], minlength=len(weights))]


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
