"""score = mean over samples of (g_n * w)^2 / 2, g_n = gradient of the sample's own loss: the empirical Fisher diagonal.

Of a filter: g_n * w summed over the filter, then squared. Empirical: the labels are the true ones, not drawn from the
model. Costs one backward pass a sample, batched.
"""

import torch
from torch import Tensor, nn

from criteria import CriterionError
from criteria.tools.filters import filter_sums, filters
from criteria.tools.parameters import prunable
from criteria.tools.samples import sample_gradients
from criteria.tools.types import Batches, Loss

SOURCE = "Theis et al. 2018, Faster gaze prediction with dense networks and Fisher pruning, arXiv:1801.05787"
UNIT = "sample"
COUPLED = "sum"


def score(
    model: nn.Module, batches: Batches, loss_fn: Loss, *, granularity: str = "weight", chunk: int = 8
) -> dict[str, Tensor]:
    """Return half the mean squared first-order change of a sample's loss when each weight, or filter, is set to zero.

    chunk: samples whose gradients are held at once; memory grows with it, the score stays the same up to rounding.
    """
    if chunk < 1:
        raise CriterionError(f"fisher: chunk={chunk}: it is a number of samples, at least 1")
    return (_of_filters if granularity == "filter" else _of_weights)(model, batches, loss_fn, chunk)


def _of_weights(model: nn.Module, batches: Batches, loss_fn: Loss, chunk: int) -> dict[str, Tensor]:
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    samples = 0
    for grads in sample_gradients(model, batches, loss_fn, chunk):
        for name, g in grads.items():
            for sample in g:  # makes no copy of g, so it is many times as fast as g.square().sum(0)
                total[name].addcmul_(sample, sample)
        samples += len(g)
    return {name: weights[name].detach().square() * value / (2 * samples) for name, value in total.items()}


def _of_filters(model: nn.Module, batches: Batches, loss_fn: Loss, chunk: int) -> dict[str, Tensor]:
    weights = {name: w.detach() for name, w in filters(model).items()}
    total = {name: w.new_zeros(len(w)) for name, w in weights.items()}
    samples = 0
    for grads in sample_gradients(model, batches, loss_fn, chunk):
        for sample in zip(*(grads[name] for name in weights), strict=True):
            changes = {name: g * weights[name] for name, g in zip(weights, sample, strict=True)}
            for name, change in filter_sums(changes).items():
                total[name] += change.square()
            samples += 1
    return {name: value / (2 * samples) for name, value in total.items()}
