"""Networks whose units are removed at random, and what tests of structured pruning ask of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.schema import Filter, Model, Scope
from bench.seeds import global_stream
from bench.structured import Kept, Structure
from bench.units import Units
from criteria.tools.parameters import prunable
from tests.helpers import cell

FILTER = Filter(name="filter")


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Return a network in eval mode in which nothing is trivially zero or one."""
    with global_stream(seed, "structures"):
        model = make().eval()
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.dim() == 1:
                nn.init.uniform_(value, 0.3, 1.3)
                value.data *= torch.randint(0, 2, value.shape) * 2 - 1
    return model


def structure(model: nn.Module, sample: Tensor, **changes: Any) -> Structure:
    fields = {"granularity": FILTER, "scope": Scope(name="global"), "model": Model(name="net", factory="a:b")}
    return Structure(cell(**fields | changes), model, prunable(model).keys(), sample)


def some(groups: list[Units], seed: int = 0, share: float = 0.4) -> Kept:
    """Keep a random part of each group, at least one unit of it."""
    chance = torch.Generator().manual_seed(seed)
    kept = {units.name: torch.rand(units.count, generator=chance) >= share for units in groups}
    for mask in kept.values():
        mask[int(torch.randint(len(mask), (1,), generator=chance))] = True
    return kept
