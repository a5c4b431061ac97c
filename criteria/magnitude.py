"""score = abs(w)."""

from torch import Tensor, nn

from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Han et al. 2015, Learning both weights and connections for efficient neural networks, arXiv:1506.02626"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the absolute value of each weight; reads no data."""
    return {name: w.detach().abs() for name, w in prunable(model).items()}
