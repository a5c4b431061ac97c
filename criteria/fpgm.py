"""score = sum of the Euclidean distances from this filter to the layer's other filters.

A filter near the layer's geometric median can be replaced by the others, and scores low; the scale is the layer's.
"""

import torch
from torch import Tensor, nn

from criteria.tools.filters import filters
from criteria.tools.types import Batches, Loss

SOURCE = "He et al. 2019, Filter pruning via geometric median for deep CNN acceleration, arXiv:1811.00250"
GRANULARITY = "filter"
SCOPE = "layer"
SCALE = "layer"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return how far each filter lies from the others, in float64; reads no data."""
    return {name: distances(w.detach().flatten(1).double()).sum(1) for name, w in filters(model).items()}


def distances(points: Tensor) -> Tensor:
    """Return [points, points]; by differences, since matrix products would part filters that are equal."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
