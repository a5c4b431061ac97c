"""score = w^2 / sum of w'^2 over all w' of the layer with w'^2 >= w^2; 0 where w = 0.

The largest weight of each layer scores 1, so a global threshold empties no layer; within a layer the order is that of
magnitude. Equal weights share one denominator, which counts all of them.
"""

import torch
from torch import Tensor, nn

from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning, arXiv:2010.07611"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the share of each weight in the layer's weights that are at least as large, in float64; reads no data."""
    return {name: shares(w.detach()).to(w.device) for name, w in prunable(model).items()}


def shares(weight: Tensor) -> Tensor:
    """Sum up from the largest, in float64 and on the CPU, where the order of a cumulative sum is fixed."""
    magnitudes = weight.cpu().double().abs()
    distinct, place, count = torch.unique(magnitudes, return_inverse=True, return_counts=True)  # ascending
    squares = distinct.square()
    remaining = (squares * count).flip(0).cumsum(0).flip(0)
    return torch.where(squares > 0, squares / remaining, 0)[place]
