"""Networks whose units are removed at random, and what tests of structured pruning ask of them."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.axes import Filter, Scope
from bench.cell import Cell
from bench.compact import kept_units
from bench.masks import apply_masks_
from bench.measure.cost import parameters
from bench.schema import Model
from bench.seeds import global_stream
from bench.structured import Kept, Structure
from bench.units import Units
from criteria.tools.parameters import prunable
from tests.helpers import cell

FILTER = Filter(name="filter")


def seeded(make: Callable[[], nn.Module], sample: Tensor, seed: int = 0) -> nn.Module:
    """Return a network in eval mode in which nothing is trivially zero or one, and whose output depends on its input.

    Batch norms take statistics of the sample, so that signals neither die nor explode, and are then moved off them.
    """
    with global_stream(seed, "structures"):
        model = make()
        for value in model.parameters():
            if bool((value == value.flatten()[0]).all()):
                value.data.normal_(std=0.3) if not value.any() else value.data.uniform_(0.5, 1.5)
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = None
        with torch.no_grad():
            model.train()(sample)
        for norm in norms:
            norm.running_mean += torch.randn_like(norm.running_mean) * norm.running_var.sqrt() / 5
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return model.eval()


def filter_cell(**changes: Any) -> Cell:
    fields = {"granularity": FILTER, "scope": Scope(name="global"), "model": Model(name="net", factory="a:b")}
    return cell(**fields | changes)


def structure(model: nn.Module, sample: Tensor, **changes: Any) -> Structure:
    return Structure(filter_cell(**changes), model, prunable(model).keys(), sample)


def some(groups: list[Units], seed: int = 0, share: float = 0.4) -> Kept:
    """Keep a random part of each group, at least one unit of it."""
    chance = torch.Generator().manual_seed(seed)
    kept = {units.name: torch.rand(units.count, generator=chance) >= share for units in groups}
    for mask in kept.values():
        mask[int(torch.randint(len(mask), (1,), generator=chance))] = True
    return kept


def inputs(shape: tuple[int, ...]) -> Tensor:
    chance = torch.Generator().manual_seed(0)
    if shape == (12,):  # words, the last of which are padding
        return torch.randint(1, 50, (2, 12), generator=chance) * (torch.arange(12) < 9)
    return torch.randn(2, *shape, generator=chance)


def check(full: nn.Module, whole: Structure, kept: Kept, x: Tensor) -> None:
    """Compare the masked with the compacted network, and the masks with what compaction took away."""
    model = copy.deepcopy(full)
    masks = whole.masks(model, kept)
    assert all(torch.equal(kept_units(units, masks), kept[units.name]) for units in whole.groups)
    apply_masks_(model, masks)
    small = whole.compacted(model, masks)
    with torch.no_grad():
        expected, got, before = model(x), small.model(x), full(x)
    largest = expected.abs().max()
    assert (got - expected).abs().max() <= 1e-5 * largest
    assert (expected[0] - expected[1]).abs().max() > 1e-3 * largest  # the input arrives
    assert (expected - before).abs().max() > 1e-3 * largest  # and so does what was removed
    assert parameters(model, masks) == (
        sum(p.numel() for p in full.parameters()),
        sum(p.numel() for p in small.model.parameters()),
    )
    seen: dict[str, Tensor] = {}
    for part in (part for units in whole.groups for part in units.produced):
        made = part.owner >= 0
        assert not (seen.setdefault(part.parameter, torch.zeros_like(made)) & made).any()  # of one group alone
        seen[part.parameter] |= made
    left = dict(small.model.named_parameters())
    for name, weight in full.named_parameters():
        mask = masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        at = small.index.get(name, torch.empty(0, dtype=torch.long))  # nothing is left of a block
        assert torch.equal(at.flatten().sort().values, mask.flatten().nonzero().flatten())
        assert name not in left or torch.equal(left[name], weight.reshape(-1)[at])
