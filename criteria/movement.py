"""score = -(w * g) summed over training steps: high where training moves a weight away from zero.

g is the gradient of the step's loss, with the masks of that step, before the optimiser's step and without weight decay.
Without any observed step: -(w * g) at the present weights, g = gradient of the mean loss over the given batches.
"""

import torch
from torch import Tensor, nn

from criteria.tools.gradients import mean_gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Sanh et al. 2020, Movement pruning: adaptive sparsity by fine-tuning, arXiv:2005.07683"
SCHEDULE = {"name": "gradual"}


class Movement:
    """Gathers -(w * g) at each training step."""

    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}

    def observe(self, model: nn.Module) -> None:
        """Add the step whose gradients lie in `parameter.grad`."""
        for name, w in prunable(model).items():
            total = self.total.setdefault(name, torch.zeros_like(w))
            if w.grad is not None:
                total.addcmul_(w.detach(), w.grad, value=-1)

    def score(self, model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
        """Return what the observed steps add up to; where there were none, that of the given batches."""
        if self.total:
            return dict(self.total)
        weights = prunable(model)
        return {name: -(weights[name].detach() * g) for name, g in mean_gradients(model, batches, loss_fn).items()}
