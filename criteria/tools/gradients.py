"""Gradients of the loss with respect to the prunable weights."""

import torch
from torch import Tensor, nn

from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss


def gradients(value: Tensor, weights: dict[str, nn.Parameter], create_graph: bool = False) -> dict[str, Tensor]:
    """Return d value / d weight for each named weight; zeros for a weight that `value` does not depend on."""
    grads = torch.autograd.grad(value, list(weights.values()), create_graph=create_graph, materialize_grads=True)
    return dict(zip(weights, grads, strict=True))


def mean_gradients(
    model: nn.Module, batches: Batches, loss_fn: Loss, weights: dict[str, nn.Parameter] | None = None
) -> dict[str, Tensor]:
    """Return the gradient of ONE objective, the mean loss over all samples of all batches, per named weight.

    weights: the prunable ones where None. Each batch counts by its number of samples, so the result does not depend on
    how the samples are cut.
    """
    weights = prunable(model) if weights is None else weights
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for inputs, targets in batches:
        for name, gradient in gradients(loss_fn(model(inputs), targets), weights).items():
            total[name].add_(gradient, alpha=len(targets))
        samples += len(targets)
    return {name: gradient / samples for name, gradient in total.items()}
