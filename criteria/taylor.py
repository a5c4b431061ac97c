"""score = mean over batches of (g_b * w)^2, g_b = gradient of the batch's mean loss; of a filter: that of its gate.

A second moment: at a trained minimum the mean gradient is near zero and would rank nothing. The gates of filters:
weight      (sum over the filter of g_b * w)^2: a factor on the filter's weights
bn          (gamma * g_gamma + beta * g_beta)^2: a factor on what the filter's own batch norm returns
activation  per sample, abs of the mean over positions of the first activation output after the layer times its
            gradient; averaged over samples, over the layer's l2 norm (Molchanov 2017, arXiv:1611.06440)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from criteria import CriterionError
from criteria.tools.filters import filter_sums, filters
from criteria.tools.gradients import gradients
from criteria.tools.norms import affine, gates, needed_norms, own_norms
from criteria.tools.parameters import prunable
from criteria.tools.saliency import activation_saliency
from criteria.tools.types import Batches, Loss

SOURCE = "Molchanov et al. 2019, Importance estimation for neural network pruning, arXiv:1906.10771"
UNIT = "batch"
COUPLED = "sum"
Values = dict[str, Tensor]


def score(
    model: nn.Module, batches: Batches, loss_fn: Loss, *, granularity: str = "weight", gate: str | None = None
) -> Values:
    """Return the mean squared first-order change of a batch's loss when each weight, or filter, is set to zero.

    gate: for filters; where None it is bn if every convolution has a batch norm of its own, else weight.
    """
    if granularity == "weight" and gate is None:
        return moments(model, batches, loss_fn, prunable(model), lambda changes: changes)
    if granularity == "weight" or gate not in (None, "weight", "bn", "activation"):
        raise CriterionError(f"taylor: gate={gate}: it is weight, bn or activation, and needs granularity=filter")
    return of_filters(model, batches, loss_fn, gate or default_gate(model, batches))


def default_gate(model: nn.Module, batches: Batches) -> str:
    """Return bn where every convolution has a batch norm of its own, else weight."""
    convolutions = {name for name, weight in filters(model).items() if weight.dim() > 2}
    return "bn" if convolutions and convolutions <= own_norms(model, batches).keys() else "weight"


def of_filters(model: nn.Module, batches: Batches, loss_fn: Loss, gate: str) -> Values:
    """Return the score of each filter's gate, [filters] a layer."""
    if gate == "activation":
        means = activation_saliency(model, batches, loss_fn)
        return {name: mean / mean.norm().clamp(min=torch.finfo(mean.dtype).tiny) for name, mean in means.items()}
    if gate == "bn":
        norms = needed_norms(model, batches)
        return moments(model, batches, loss_fn, affine(model), lambda changes: gates(changes, norms))
    return moments(model, batches, loss_fn, filters(model), filter_sums)


def moments(
    model: nn.Module,
    batches: Batches,
    loss_fn: Loss,
    parameters: dict[str, nn.Parameter],
    units: Callable[[Values], Values],
) -> Values:
    """Return the mean over batches of units(g_b * p)^2."""
    total: Values = {}
    count = 0
    for inputs, targets in batches:
        grads = gradients(loss_fn(model(inputs), targets), parameters)
        for name, change in units({n: g * parameters[n].detach() for n, g in grads.items()}).items():
            total.setdefault(name, torch.zeros_like(change)).add_(change.square())
        count += 1
    return {name: value / count for name, value in total.items()}
