"""Which samples form a split: stratified for held-out ones, balanced for the scoring set; random in a regression."""

import torch
from torch import Tensor

from bench.data.samples import Split


def hold_out(split: Split, count: int, generator: torch.Generator) -> tuple[Split, Split]:
    """Return (the rest, `count` samples), each class within one of its share in `split`; both in its order."""
    held = torch.zeros(len(split), dtype=torch.bool)
    held[_stratified(split.targets, count, generator)] = True
    return split[~held], split[held]


def _stratified(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` positions at equal distances in a random order that is sorted by class, or any without classes."""
    shuffled = torch.randperm(len(targets), generator=generator)
    if targets.is_floating_point():
        return shuffled[:count]
    by_class = shuffled[targets[shuffled].argsort(stable=True)]
    return by_class[torch.arange(count) * len(targets) // max(count, 1)]


def balanced(targets: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` positions in random order, as many of each class to within one (as far as a class has them).

    Targets without classes (floating point) are drawn at random.
    """
    shuffled = torch.randperm(len(targets), generator=generator)
    if targets.is_floating_point():
        return shuffled[:count]
    # One sample of each class, then the second of each, and so on; which classes lead a round is random.
    rounds = _rank_in_class(targets[shuffled]).argsort(stable=True)[:count]
    return shuffled[rounds][torch.randperm(count, generator=generator)]


def _rank_in_class(targets: Tensor) -> Tensor:
    """Return for each sample how many of its class come before it."""
    by_class = targets.argsort(stable=True)
    sizes = targets.bincount()
    starts = sizes.cumsum(0) - sizes
    ranks = torch.empty_like(targets)
    ranks[by_class] = torch.arange(len(targets)) - starts.repeat_interleave(sizes)
    return ranks
