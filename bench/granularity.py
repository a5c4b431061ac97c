"""What is removed together: single weights, N of M, or blocks. Between a weight's scores and its units' scores."""

import torch
from torch import Tensor, nn

from bench.axes import NM, Block, Granularity
from bench.masks import Masks, select


def divides(granularity: Granularity, shape: torch.Size) -> bool:
    """Return whether a weight of this shape, [out, in, ...], falls into whole units."""
    if isinstance(granularity, NM):
        return len(shape) > 1 and shape[1] % granularity.m == 0
    if isinstance(granularity, Block):
        return len(shape) > 1 and shape[0] % granularity.rows == 0 and shape[1] % granularity.cols == 0
    return True


def transposed(model: nn.Module) -> set[str]:
    """Return the weights of transposed convolutions, [in, out, ...]: their dim 1, which N:M runs along, is no input."""
    layers = (name for name, m in model.named_modules() if isinstance(m, nn.modules.conv._ConvTransposeNd))
    return {f"{name}.weight".removeprefix(".") for name in layers}


def unit_scores(scores: dict[str, Tensor], granularity: Granularity) -> dict[str, Tensor]:
    """Return the score of each unit: of a block [out / rows, in / cols, ...] the mean of its weights' scores."""
    if not isinstance(granularity, Block):
        return scores
    return {name: _tiled(score, granularity).mean((1, 3)) for name, score in scores.items()}


def unit_masks(masks: Masks, granularity: Granularity) -> Masks:
    """Return which units the masks of a former step keep."""
    if not isinstance(granularity, Block):
        return masks
    return {name: _tiled(mask, granularity).any(3).any(1) for name, mask in masks.items()}


def weight_masks(units: Masks, granularity: Granularity) -> Masks:
    """Return the masks of the weights that kept units make up."""
    if not isinstance(granularity, Block):
        return units
    rows, cols = granularity.rows, granularity.cols
    return {name: unit.repeat_interleave(rows, 0).repeat_interleave(cols, 1) for name, unit in units.items()}


def _tiled(tensor: Tensor, block: Block) -> Tensor:
    """Return a weight's tensor as [out / rows, rows, in / cols, cols, ...]."""
    out, inputs, *kernel = tensor.shape
    return tensor.reshape(out // block.rows, block.rows, inputs // block.cols, block.cols, *kernel)


def select_nm(scores: dict[str, Tensor], granularity: NM) -> Masks:
    """Return masks that keep the N highest of each M weights that follow each other along the input channels.

    Groups lie at each kernel position of its own, as hardware reads them. Among equal scores the earlier is kept.
    """
    masks = {}
    for name, score in scores.items():
        inputs_last = score.movedim(1, -1)
        # Each group is a row, and each row loses the same number.
        groups = inputs_last.reshape(-1, granularity.m)
        kept = select({name: groups}, 1 - granularity.n / granularity.m, "row")[name]
        masks[name] = kept.view(inputs_last.shape).movedim(-1, 1).contiguous()
    return masks
