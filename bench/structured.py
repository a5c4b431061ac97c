"""From a criterion's scores to the masks of a network that loses channels, heads or blocks whole."""

import copy
from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn

from bench.axes import Filter, Layer
from bench.blocks import blocks
from bench.cell import Cell
from bench.compact import Compacted, kept_units
from bench.errors import UserError, one_line
from bench.masks import Masks, apply_masks_, in_order, select, share_within, shuffled, threshold
from bench.measure.cost import flops_by_weight
from bench.mode import kernels
from bench.units import Units

STEPS = 24
"""Halvings of the interval in which the share of units lies that reaches a target."""
Kept = dict[str, Tensor]
"""Group of units -> a bool per unit, True = kept."""


class Structure:
    """The units of one network that a granularity removes, and what removing them means."""

    def __init__(self, cell: Cell, model: nn.Module, takes_part: Collection[str], sample: Tensor) -> None:
        """Find the units of a model that takes `sample` [1, ...]; those of excluded layers stay, and those that
        cannot be taken out by themselves (see `sound`).

        Raises UserError where there are none.
        """
        self.sample = sample
        self.takes_part = takes_part
        self.groups: list[Units] = []
        found = [
            units for units in self._found(cell, model) if all(part.parameter in takes_part for part in units.produced)
        ]
        if isinstance(cell.granularity, Layer) or sound(model, found, sample):
            self.groups = found
        else:
            self.groups = [units for units in found if sound(model, [units], sample)]
        if not self.groups:
            what = "residual blocks" if isinstance(cell.granularity, Layer) else "channels that can be removed whole"
            raise UserError(f"model {cell.model.name} has no {what}: take another granularity")

    def _found(self, cell: Cell, model: nn.Module) -> list[Units]:
        try:
            if isinstance(cell.granularity, Layer):
                return blocks(model, self.sample)
            # Here: torch-pruning brings timm and torchvision along, seconds that others need not pay.
            from bench.channels import channels

            return channels(model, self.sample)
        except Exception as error:  # whatever tracing raises on a network that it cannot follow
            raise UserError(
                f"model {cell.model.name}: which of its parts go together cannot be traced ({one_line(error)}); "
                "take granularity=weight"
            ) from error

    def select(
        self, cell: Cell, model: nn.Module, scores: dict[str, Tensor], coupled: str, masks: Masks, target: float | None
    ) -> Masks:
        """Return the masks of all parameters of units, of which `target` is removed; within the masks so far.

        cell: of this network and granularity; its scope, target kind and min_keep count. scores: of each weight, or of
        each filter. Raises ValueError for a target that cannot be reached.
        """
        scope = cell.scope
        assert scope is not None
        grain = cell.granularity if isinstance(cell.granularity, Filter) else None
        ranked = group_scores(self.groups, scores, grain, coupled)
        if scope.value is not None:
            kept = threshold(ranked, scope.value)
            for name, score in ranked.items():
                kept[name][score.argmax()] |= grain is not None  # a layer without filters cannot be built
            return self.masks(model, kept)
        assert target is not None
        if cell.target_kind == "filters" and scope.name != "layer":
            target = share_within(target, sum(map(len, ranked.values())), sum(u.count for u in self.groups), "units")
        within = {u.name: kept_units(u, masks) for u in self.groups if masks and u.name in ranked}
        return self.masks(
            model, select_units(ranked, target, scope.name, within, cell.min_keep, self._cost(cell.target_kind, model))
        )

    def scored(self, scores: Collection[str]) -> set[str]:
        """Return the weights that make units of which something is scored."""
        groups = [u for u in self.groups if any(part.parameter in scores for part in u.produced)]
        return {part.parameter for units in groups for part in units.produced}

    def masks(self, model: nn.Module, kept: Kept) -> Masks:
        """Return the masks of all parameters that make up units or read them, and of all weights that take part."""
        return weight_masks(model, self.groups, kept, self.takes_part)

    def shuffled(self, model: nn.Module, masks: Masks, chance: torch.Generator) -> Masks:
        """Return masks that keep as many units of each group, others."""
        return self.masks(model, {u.name: shuffled(kept_units(u, masks), chance) for u in self.groups})

    def compacted(self, model: nn.Module, masks: Masks) -> Compacted:
        """Return the model without what the masks remove."""
        return Compacted(model, self.groups, masks)

    def _cost(self, kind: str | None, model: nn.Module) -> Callable[[Kept], float] | None:
        """Return what share of the target's kind is gone where these units are kept; None where it is their number."""
        if kind == "filters":
            return None
        sizes: dict[str, float] = {name: weight.numel() for name, weight in model.named_parameters()}
        if kind == "weights":
            sizes = {name: size for name, size in sizes.items() if name in self.takes_part}
        total, products = sum(sizes.values()), dict[str, float]()
        if kind == "flops":
            # Not the biases: the operation that adds one reads a weight too, and would count twice.
            weights = [name for name, weight in model.named_parameters() if weight.dim() > 1]
            total, reads = flops_by_weight(model, weights, self.sample)
            sizes = {name: float(count) for name, count in reads.items()}
            products = self._products(model, sizes, total) if total > sum(sizes.values()) else {}

        def cost(kept: Kept) -> float:
            masks = self.masks(model, kept)
            gone = _gone(sizes, masks) + sum(
                each * int((~kept[name]).sum()) for name, each in products.items() if name in kept
            )
            return gone / total

        return cost

    def _products(self, model: nn.Module, sizes: dict[str, float], total: float) -> dict[str, float]:
        """Return by group the FLOPs that go with each head or block and read no weight: attention's products."""
        products: dict[str, float] = {}
        for units in self.groups:
            # What one module holds alone; other channels have one that makes and one that reads them.
            if len(units.removals) == 1 and (units.count > 1 or units.removals[0].remove is None):
                masks = weight_masks(model, [units], {units.name: torch.arange(units.count) > 0}, ())
                left, _ = flops_by_weight(Compacted(model, [units], masks).model, (), self.sample)
                products[units.name] = total - left - _gone(sizes, masks)
        return products


def _gone(sizes: dict[str, float], masks: Masks) -> float:
    return sum(sizes.get(name, 0) * (1 - int(mask.sum()) / mask.numel()) for name, mask in masks.items())


def weight_masks(model: nn.Module, groups: Iterable[Units], kept: Kept, names: Collection[str]) -> Masks:
    """Return the masks of all parameters that make up units of `groups` or read them, and of those in `names`."""
    masks = {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in names}
    for units in groups:
        dead = ~kept.get(units.name, torch.ones(units.count, dtype=torch.bool))
        for part in (*units.produced, *units.others):
            weight = model.get_parameter(part.parameter)
            mask = masks.setdefault(part.parameter, torch.ones_like(weight, dtype=torch.bool))
            gone = (dead[part.owner] & (part.owner >= 0)).nonzero().flatten()
            mask.index_fill_(part.dim, gone.to(mask.device), False)
    return in_order(model, masks)


def sound(model: nn.Module, groups: list[Units], sample: Tensor) -> bool:
    """Whether taking the first third of each group out of a model does what masking it does.

    It does not where the model's own code counts, splits, reorders or averages channels.
    """
    model, chance = copy.deepcopy(model).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if bool((weight == weight.flatten()[0]).all()):  # what begins at zero passes nothing on
                weight.add_(torch.randn(weight.shape, generator=chance).to(weight), alpha=0.1)
    masks = weight_masks(model, groups, {u.name: torch.arange(u.count) >= (u.count + 1) // 3 for u in groups}, ())
    apply_masks_(model, masks)
    try:
        with torch.no_grad(), kernels():
            expected, got = model(sample), Compacted(model, groups, masks).model(sample)
    except Exception:  # shapes that do not fit
        return False
    return bool(torch.allclose(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max())))


def group_scores(
    groups: Iterable[Units], scores: dict[str, Tensor], grain: Filter | None, coupled: str
) -> dict[str, Tensor]:
    """Return the score of each unit by group; a group of which no layer is scored is absent.

    scores: of each weight, or of each filter [out_channels]. grain: how a filter's weights become one score; None for
    blocks, whose score is the mean over all their weights. coupled: "sum" adds the members up; "mean" takes the mean
    over the weights that make the unit, each layer's scores divided by their mean absolute value and put back on the
    scale that the members have on average, so that coupled groups and single layers compare.
    """
    return {
        units.name: _unit_scores(units, scores, grain, coupled)
        for units in groups
        if any(part.parameter in scores for part in units.produced)
    }


def _unit_scores(units: Units, scores: dict[str, Tensor], grain: Filter | None, coupled: str) -> Tensor:
    members = [
        (part.owner, scores[part.parameter].detach().double().cpu())
        for part in units.produced
        if part.parameter in scores
    ]
    whole = grain is None or (grain.reduce == "mean" and coupled == "mean")
    sizes = [score[0].numel() if whole else 1 for _, score in members]
    rows = [_filters(score, grain.reduce if grain else "mean") for _, score in members]
    scales = [_mean_size(row) for row in rows]
    if grain and grain.normalise == "layer_mean":
        rows, scales = [row / scale for row, scale in zip(rows, scales, strict=True)], [1.0] * len(rows)
    total = torch.zeros(units.count, dtype=torch.float64)
    weight = torch.zeros(units.count, dtype=torch.float64)
    divides = grain is not None and coupled == "mean" and len(rows) > 1
    for (owner, _), row, size, scale in zip(members, rows, sizes, scales, strict=True):
        mine = owner >= 0
        total.index_add_(0, owner[mine], row[mine] * size / (scale if divides else 1))
        weight.index_add_(0, owner[mine], torch.full_like(row[mine], size))
    if coupled == "sum":
        return total
    common = sum(scale * size for scale, size in zip(scales, sizes, strict=True)) / sum(sizes) if divides else 1.0
    return total / weight.clamp(min=1) * common


def _filters(score: Tensor, reduce: str) -> Tensor:
    """Return one score a filter [out_channels] from those of its weights; a filter's own score is taken as it is."""
    if score.dim() == 1:
        return score
    rows = score.flatten(1)
    if reduce == "l2":
        return rows.square().sum(1).sqrt()
    return rows.sum(1) if reduce == "sum" else rows.mean(1)


def _mean_size(row: Tensor) -> float:
    return float(row.abs().mean()) or 1.0


def select_units(
    scores: dict[str, Tensor],
    target: float,
    scope: str,
    within: Kept,
    min_keep: float,
    cost: Callable[[Kept], float] | None,
) -> Kept:
    """Return which units to keep, by group, so that the target is reached.

    cost None: `target` is the share of units. Else it is the share that `cost` returns: units go in ascending order of
    score, and so many that the share comes closest to the target. Raises ValueError for a target that `min_keep` makes
    unreachable.
    """

    def removing(share: float) -> Kept:
        return select(scores, share, scope, within or None, min_keep=min_keep)

    if cost is None:
        return removing(target)
    best, low, high = within or removing(0.0), 0.0, 1.0
    reached = most = cost(best)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _below(middle, scores, scope, within):
            low = middle
            continue
        try:
            kept = removing(middle)
        except ValueError:  # more than min_keep lets go
            high = middle
            continue
        share = cost(kept)
        most = max(most, share)
        if abs(share - target) < abs(reached - target):
            best, reached = kept, share
        low, high = (middle, high) if share < target else (low, middle)
    if most < target - 0.01:
        raise ValueError(f"no more than {most:.4f} of the target's kind can be removed, {target:g} is asked for")
    return best


def _below(share: float, scores: dict[str, Tensor], scope: str, within: Kept) -> bool:
    """Whether more than this share is gone already."""
    gone = [(int((~within[name]).sum()) if within else 0, len(score)) for name, score in scores.items()]
    counted = gone if scope == "layer" else [tuple(map(sum, zip(*gone, strict=True)))]
    return any(round(share * count) < less for less, count in counted)
