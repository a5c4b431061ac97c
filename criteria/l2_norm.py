"""score = l2 norm of the filter's weights; the scale is that of the layer."""

import torch
from torch import Tensor, nn

from criteria.tools.filters import filters
from criteria.tools.types import Batches, Loss

SOURCE = "Li et al. 2017, Pruning filters for efficient ConvNets, arXiv:1608.08710"
GRANULARITY = "filter"
SCOPE = "layer"
SCALE = "layer"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the norm of each filter; reads no data."""
    return {name: torch.linalg.vector_norm(w.detach().flatten(1), 2, dim=1) for name, w in filters(model).items()}
