"""score = mean over batches of (g_b * w)^2, g_b = gradient of the batch's mean loss.

A second moment: at a trained minimum the mean gradient is near zero and would rank nothing.
"""

import torch
from torch import Tensor, nn

from criteria.tools.gradients import gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Molchanov et al. 2019, Importance estimation for neural network pruning, arXiv:1906.10771"
UNIT = "batch"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the mean squared first-order change of a batch's loss when each weight is set to zero."""
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    count = 0
    for inputs, targets in batches:
        for name, g in gradients(loss_fn(model(inputs), targets), weights).items():
            total[name] += (g * weights[name].detach()).square()
        count += 1
    return {name: value / count for name, value in total.items()}
