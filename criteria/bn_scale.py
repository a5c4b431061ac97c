"""score = abs(gamma), the scale of the batch norm that reads this filter's layer and nothing else.

The ranking of network slimming, which trains gamma under an l1 penalty; without that it is "gamma without slimming's
l1". Layers whose output goes elsewhere too, or to no batch norm, are omitted. At initialisation every gamma is 1.
"""

from torch import Tensor, nn

from criteria.tools.norms import affine, needed_norms
from criteria.tools.types import Batches, Loss

SOURCE = "Liu et al. 2017, Learning efficient convolutional networks through network slimming, arXiv:1708.06519"
GRANULARITY = "filter"
SCOPE = "layer"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the absolute scale of each channel; reads of the data only what feeds what."""
    scales = affine(model)
    return {layer: scales[f"{norm}.weight"].detach().abs() for layer, norm in needed_norms(model, batches).items()}
