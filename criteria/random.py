"""score = uniform noise in [0, 1): the control that knows nothing.

One draw per `seed`: a schedule that scores several times sees the same noise each time.
"""

import torch
from torch import Tensor, nn

from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "control"


def score(model: nn.Module, batches: Batches, loss_fn: Loss, *, seed: int = 0) -> dict[str, Tensor]:
    """Return noise drawn on the CPU, so that every device sees the same."""
    noise = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=noise).to(w.device) for name, w in prunable(model).items()}
