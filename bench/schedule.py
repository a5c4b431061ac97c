"""Functions of time: the sparsity after each pruning step, and the learning rate at each training step."""

import itertools
import math

from bench.schema import Finetune, Iterative, Recipe, Schedule


def sparsities(schedule: Schedule, target: float | None) -> list[float]:
    """Return the sparsity after each pruning step; the last is exactly the target, or the path's end where it is null.

    With u = i/n: exponential 1-(1-s)^u (each step removes the same share of what is left), linear s*u,
    cosine s(1-cos(pi*u))/2.
    """
    if not isinstance(schedule, Iterative):
        assert target is not None
        return [target]
    target = schedule.end if target is None else target
    assert target is not None
    steps = [i / schedule.steps for i in range(1, schedule.steps)]
    return [_reached(schedule.curve, target, u) for u in steps] + [target]


def _reached(curve: str, target: float, u: float) -> float:
    """Return the sparsity after the share `u` of the steps."""
    if curve == "exponential":
        return float(1 - (1 - target) ** u)
    return target * u if curve == "linear" else target * (1 - math.cos(math.pi * u)) / 2


def boundaries(steps: int, pieces: int) -> list[tuple[int, int]]:
    """Cut `steps` training steps into `pieces` equal parts, as (first, end) pairs; equal up to one step."""
    cuts = [round(i * steps / pieces) for i in range(pieces + 1)]
    return list(itertools.pairwise(cuts))


def training_rates(recipe: Recipe, steps_per_epoch: int) -> list[float]:
    """Return the recipe's learning rate at each training step, from `lr` (its peak)."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    steps = recipe.epochs * steps_per_epoch
    return [
        recipe.lr * ((step + 1) / warmup if step < warmup else _decay(recipe, step, warmup, steps, steps_per_epoch))
        for step in range(steps)
    ]


def _decay(recipe: Recipe, step: int, warmup: int, steps: int, steps_per_epoch: int) -> float:
    """Return the factor on the peak rate after the warm-up."""
    if recipe.lr_schedule == "cosine":
        return (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
    if recipe.lr_schedule == "step":
        return float(recipe.gamma ** sum(step >= milestone * steps_per_epoch for milestone in recipe.milestones))
    return 1.0


def finetuning_rates(finetune: Finetune, epochs: int, recipe: Recipe, steps_per_epoch: int) -> list[float]:
    """Return the learning rate at each of the epochs * steps_per_epoch steps after pruning."""
    steps = epochs * steps_per_epoch
    if finetune.name == "rewound":
        rates = training_rates(recipe, steps_per_epoch)
        return rates[len(rates) - steps :]
    if finetune.name == "cosine":
        peak = finetune.peak or recipe.lr
        return [peak * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    last = training_rates(recipe, 1)[-1] if recipe.lr_schedule == "step" else recipe.lr / 100
    return [last] * steps
