"""score = w * dR/dw, R = sum of the outputs for an input of ones, with all parameters replaced by absolute values.

Batch norm is in eval mode, with mean 0 and the variance as stored. Computed in float64: R grows by a decade or more a
layer (10^139 at ResNet-110, 10^225 at ResNet-152), beyond float32 and within float64, so nothing is rescaled.
"""

import torch
from torch import Tensor, nn

from criteria import CriterionError
from criteria.tools.flow import Conserving, positive
from criteria.tools.gradients import gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Tanaka et al. 2020, Pruning neural networks without any data by conserving synaptic flow, arXiv:2006.05467"
WHEN = "init"
SCHEDULE = {"name": "iterative", "steps": 100, "curve": "exponential"}


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return, in float64, the flow from input to output through each weight; reads the shape of one sample, no data."""
    sample = next((inputs[:1] for inputs, _ in batches), None)
    if sample is None or not sample.is_floating_point():
        raise CriterionError("synflow needs a batch of real-valued inputs, in whose place ones are put")
    net = positive(model)
    weights = prunable(net)
    with Conserving():
        flow = net(torch.ones_like(sample, dtype=torch.float64)).sum()
    if not torch.isfinite(flow):
        raise CriterionError("synflow: the flow through this net is larger than float64 holds")
    return {name: weights[name].detach() * slope for name, slope in gradients(flow, weights).items()}
