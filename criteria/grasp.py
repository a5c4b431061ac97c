"""score = w * Hg, signed: high where removal would most reduce the gradient flow, so that weight is kept.

H is the Hessian and g the gradient of the mean loss over all samples, with logits divided by `temperature`.
The product is exact (double backward): a finite difference changes the mask.
"""

import torch
from torch import Tensor, nn

from criteria.tools.gradients import gradients, mean_gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Wang et al. 2020, Picking winning tickets before training by preserving gradient flow, arXiv:2002.07376"
WHEN = "init"
SIGNED = True


def score(model: nn.Module, batches: Batches, loss_fn: Loss, *, temperature: float = 200.0) -> dict[str, Tensor]:
    """Return w * Hg of each weight; weights whose score is negative hold the gradient flow back."""

    def tempered(outputs: Tensor, targets: Tensor) -> Tensor:
        return loss_fn(outputs / temperature, targets)

    weights = prunable(model)
    g = mean_gradients(model, batches, tempered)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    samples = 0
    for inputs, targets in batches:
        batch_g = gradients(tempered(model(inputs), targets), weights, create_graph=True)
        flow = sum(((batch_g[name] * g[name]).sum() for name in weights), torch.zeros(()))
        samples += len(targets)
        if flow.requires_grad:  # else the loss is linear in the weights: no curvature
            for name, hg in gradients(flow, weights).items():
                total[name].add_(hg, alpha=len(targets))
    return {name: weights[name].detach() * hg / samples for name, hg in total.items()}
