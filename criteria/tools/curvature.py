"""The diagonal of the Hessian of the loss, estimated with random vectors."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from criteria.tools.gradients import gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss


def hessian_diagonal(model: nn.Module, batches: Batches, loss_fn: Loss, probes: int, seed: int) -> dict[str, Tensor]:
    """Return Hutchinson's estimate for the mean loss over all samples: the mean of v * Hv over `probes` sign vectors v.

    Exact where H is diagonal; else an entry's variance is the sum of squares of its row's other entries, over `probes`.
    H is that of the prunable weights. The vectors depend on `seed` alone, so the result does not depend on how the
    samples are cut. One double backward a probe and batch, on a graph that is built once a batch.
    """
    weights = prunable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    samples = 0
    for inputs, targets in batches:
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no second derivative
            g = gradients(loss_fn(model(inputs), targets), weights, create_graph=True)
        for probe in _probes(weights, probes, seed):
            for name, hv in _product(g, probe, weights).items():
                total[name].addcmul_(probe[name], hv, value=len(targets))
        samples += len(targets)
    return {name: value / (samples * probes) for name, value in total.items()}


def _probes(weights: dict[str, nn.Parameter], count: int, seed: int) -> Iterator[dict[str, Tensor]]:
    """Yield vectors of random signs, drawn on the CPU, so that every device sees the same."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(count):
        bits = {n: torch.randint(2, w.shape, generator=draw, dtype=torch.int8) for n, w in weights.items()}
        yield {name: (2 * bit - 1).to(weights[name]) for name, bit in bits.items()}


def _product(g: dict[str, Tensor], probe: dict[str, Tensor], weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the Hessian times the probe; zeros for a weight in which the loss is linear."""
    start = torch.zeros((), requires_grad=True)  # so that there is a graph even where no gradient has one
    along = sum(((g[name] * probe[name]).sum() for name in weights), start)
    grads = torch.autograd.grad(along, list(weights.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(weights, grads, strict=True))
