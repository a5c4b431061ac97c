"""score = mean over samples of the matrix rank of this filter's map in the first activation output after the layer.

After the layer's batch norm, and after the addition for a block's last convolution; the scale is that of the map's
size. Omitted are linear layers, maps of a side below 2 (their rank says on or off), and convolutions whose channels
reach no activation. The rank is numerical: singular values above eps * side * the largest count.
"""

import torch
from torch import Tensor, nn

from criteria import CriterionError, NonFiniteScoresError
from criteria.tools.outputs import first_activations
from criteria.tools.types import Batches, Loss

SOURCE = "Lin et al. 2020, HRank: filter pruning using high-rank feature map, arXiv:2002.10179"
UNIT = "sample"
GRANULARITY = "filter"
SCOPE = "layer"
SCALE = "layer"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the mean rank, 0 to the map's shorter side, in float64; reads no targets, computes no gradients."""
    total: dict[str, Tensor] = {}
    samples = 0
    for inputs, _ in batches:
        with torch.no_grad():
            _, found = first_activations(model, inputs)
        for channels, output in found:
            maps = channels.of(output)  # [samples, channels, *positions]
            if channels.dim == 1 and maps.dim() == 4 and min(maps.shape[2:]) > 1:
                total[channels.layer] = total.get(channels.layer, 0) + ranks(maps, channels.layer).sum(0)
        samples += len(inputs)
    if not total:
        raise CriterionError("hrank: no convolution is followed by an activation function with maps of 2x2 or more")
    return {name: value.double() / samples for name, value in total.items()}


def ranks(maps: Tensor, layer: str) -> Tensor:
    """Return the rank of each map, [samples, channels]."""
    if not torch.isfinite(maps).all():
        raise NonFiniteScoresError(f"hrank: the activations after {layer} are not finite (NaN or infinity)")
    found: Tensor = torch.linalg.matrix_rank(maps)
    return found
