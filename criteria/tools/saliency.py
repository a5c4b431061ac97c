"""What a sample's loss would lose with a channel of an activation."""

import torch
from torch import Tensor, nn

from criteria import CriterionError
from criteria.tools.outputs import first_activations
from criteria.tools.types import Batches, Loss


def activation_saliency(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return per layer [filters], in float64, the mean over samples of abs(mean over positions of a * dL_n/da).

    a is the first activation output after the layer, L_n the sample's own loss, so the cut does not matter. Raises
    CriterionError where no layer's channels reach an activation.
    """
    total: dict[str, Tensor] = {}
    samples = 0
    for inputs, targets in batches:
        outputs, found = first_activations(model, inputs)
        if not found:
            raise CriterionError("no layer's channels reach an activation function, so there is none to score")
        summed = loss_fn(outputs, targets) * len(targets)  # the gradient of each sample is that of its own loss
        slopes = torch.autograd.grad(summed, [output for _, output in found], materialize_grads=True)
        for (channels, output), slope in zip(found, slopes, strict=True):
            change = channels.of(output.detach() * slope)[..., None].flatten(2).double().mean(2)
            total[channels.layer] = total.get(channels.layer, 0) + change.abs().sum(0)
        samples += len(targets)
    return {name: value / samples for name, value in total.items()}
