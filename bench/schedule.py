"""Functions of time: the sparsity after each pruning step, and the learning rate at each training step."""

import itertools
import math

from bench.axes import Finetune, Gradual, Iterative, Regrow, Schedule
from bench.schema import Recipe

LAST = 0.75
"""Share of the surrounding training after which gradual and regrow leave the masks alone."""


def pruning_steps(
    schedule: Schedule, target: float | None, steps: int, trains_between: bool
) -> list[tuple[int, float | None]]:
    """Return (training step, sparsity to reach there) of every pruning step in a training of `steps` steps.

    iterative spreads its steps over the training, or takes all before it where nothing trains between them; gradual and
    regrow act every `every` steps up to 75 % of it. A null target stays null where no sparsity is asked for.
    """
    if isinstance(schedule, Gradual):
        assert target is not None
        times = _every(schedule.every, steps)
        return [*((t, target * (1 - (1 - t / times[-1]) ** 3)) for t in times[:-1]), (times[-1], target)]
    if isinstance(schedule, Regrow):
        return [(0, target), *((t, target) for t in _every(schedule.every, steps) if t)]
    if not isinstance(schedule, Iterative):
        return [(0, target)]
    path = sparsities(schedule, target)
    starts = [first for first, _ in boundaries(steps, len(path))] if trains_between else [0] * len(path)
    return list(zip(starts, path, strict=True))


def _every(interval: int, steps: int) -> list[int]:
    """Return the multiples of `interval` up to 75 % of the training, or that step alone where none fits."""
    last = int(LAST * steps)
    return list(range(interval, last + 1, interval)) or [last]


def replaced_share(schedule: Regrow, step: int, steps: int) -> float:
    """Return the share of the active weights that regrow replaces at a step: `fraction`, falling to 0 as a cosine."""
    return schedule.fraction * (1 + math.cos(math.pi * min(1.0, step / (LAST * steps)))) / 2


def sparsities(schedule: Iterative, target: float | None) -> list[float]:
    """Return the sparsity after each step; the last is exactly the target, or the path's end where it is null.

    With u = i/n: exponential 1-(1-s)^u (each step removes the same share of what is left), linear s*u,
    cosine s(1-cos(pi*u))/2.
    """
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
    passed = [milestone for milestone in recipe.milestones if milestone < recipe.epochs or not recipe.epochs]
    return [recipe.lr * recipe.gamma ** len(passed) if recipe.lr_schedule == "step" else recipe.lr / 100] * steps
