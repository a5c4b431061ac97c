"""score = -(w * g) summed over training steps: high where training moves a weight away from zero.

Of a filter: -(gamma * g_gamma + beta * g_beta) of its own batch norm; a layer without one is omitted. g is the gradient
of the step's loss, with the masks of that step, before the optimiser's step and without weight decay. Without any
observed step: the same at the present weights, g = gradient of the mean loss over the given batches.
"""

import torch
from torch import Tensor, nn

from criteria.tools.gradients import mean_gradients
from criteria.tools.norms import affine, gates, needed_norms
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Sanh et al. 2020, Movement pruning: adaptive sparsity by fine-tuning, arXiv:2005.07683"
SCHEDULE = {"name": "gradual"}
SIGNED = True


class Movement:
    """Gathers -(w * g) at each training step, of the prunable weights or of the batch norms' scales and shifts."""

    def __init__(self, *, granularity: str = "weight") -> None:
        self.by_filter = granularity == "filter"
        self.total: dict[str, Tensor] = {}

    def observe(self, model: nn.Module) -> None:
        """Add the step whose gradients lie in `parameter.grad`."""
        for name, w in self._moving(model).items():
            total = self.total.setdefault(name, torch.zeros_like(w))
            if w.grad is not None:
                total.addcmul_(w.detach(), w.grad, value=-1)

    def score(self, model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
        """Return what the observed steps add up to; where there were none, that of the given batches.

        Raises CriterionError for filters of a net in which no layer has a batch norm of its own.
        """
        norms = needed_norms(model, batches) if self.by_filter else {}
        total = self.total or self._present(model, batches, loss_fn)
        return gates(total, norms) if self.by_filter else dict(total)

    def _present(self, model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
        moving = self._moving(model)
        return {n: -(moving[n].detach() * g) for n, g in mean_gradients(model, batches, loss_fn, moving).items()}

    def _moving(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return affine(model) if self.by_filter else prunable(model)
