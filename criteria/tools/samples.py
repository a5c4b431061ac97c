"""Gradients of the loss of each sample alone."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from criteria.tools.gradients import gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss


def sample_gradients(model: nn.Module, batches: Batches, loss_fn: Loss, chunk: int) -> Iterator[dict[str, Tensor]]:
    """Yield, for at most `chunk` samples at a time, each prunable weight's gradients [samples, *shape of the weight].

    The samples of a chunk are computed together, which takes about `chunk` times the memory of the prunable weights.
    A model that torch.func cannot batch (control flow that depends on data, batch norm in train mode, in-place writes
    into constants) is run one sample at a time: slower, the same gradients.
    """
    for inputs, targets in batches:
        for x, y in zip(torch.split(inputs, chunk), torch.split(targets, chunk), strict=True):
            try:
                yield _together(model, x, y, loss_fn)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                yield _one_by_one(model, x, y, loss_fn)


def _together(model: nn.Module, inputs: Tensor, targets: Tensor, loss_fn: Loss) -> dict[str, Tensor]:
    # Buffers as copies: batch norm in train mode writes into them before torch.func refuses it.
    rest = {name: value.detach() for name, value in model.named_parameters()}
    rest |= {name: value.clone() for name, value in model.named_buffers()}

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return loss_fn(functional_call(model, rest | weights, (x[None],)), y[None])

    weights = {name: w.detach() for name, w in prunable(model).items()}
    per_sample: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(weights, inputs, targets)
    return per_sample


def _one_by_one(model: nn.Module, inputs: Tensor, targets: Tensor, loss_fn: Loss) -> dict[str, Tensor]:
    weights = prunable(model)
    pairs = zip(torch.split(inputs, 1), torch.split(targets, 1), strict=True)
    rows = [gradients(loss_fn(model(x), y), weights) for x, y in pairs]
    return {name: torch.stack([row[name] for row in rows]) for name in weights}
