"""Accuracy and loss over a split, and batch-norm statistics re-estimated on the scoring set."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Batches = Iterable[tuple[Tensor, Tensor]]
BATCH = 500
"""Samples a forward pass in evaluation; fixed, since sums depend on it in the last bits."""


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, loss_fn: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
    """Return the means over all samples in eval mode: loss, top1 and top5 in percent (top5 null below 6 classes).

    `loss_fn` is the mean over a batch; each batch counts by its samples, never as one. The mode is restored.
    """
    was_training = model.training
    model.eval()
    loss, top1, top5, samples, classes = 0.0, 0, 0, 0, 0
    for inputs, targets in batches:
        outputs = model(inputs)
        loss += float(loss_fn(outputs, targets)) * len(targets)
        hits = _ranked(outputs).eq(targets[:, None])
        top1 += int(hits[:, :1].sum())
        top5 += int(hits.sum())
        samples += len(targets)
        classes = max(outputs.shape[1], 2)
    model.train(was_training)
    return {
        "loss": loss / samples,
        "top1": 100 * top1 / samples,
        "top5": 100 * top5 / samples if classes > 5 else None,
    }


def _ranked(outputs: Tensor) -> Tensor:
    """Return the five likeliest classes of each sample; one logit stands for two classes."""
    if outputs.shape[1] == 1:
        return (outputs > 0).long()
    return outputs.topk(min(5, outputs.shape[1])).indices


@contextmanager
def reestimated_batchnorm(model: nn.Module, batches: Batches) -> Iterator[None]:
    """Give the block a model whose BN statistics are the averages over `batches`; the stored ones come back."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    stored = [({name: buffer.clone() for name, buffer in norm.named_buffers()}, norm.momentum) for norm in norms]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain average over all batches
                norm.train()
            for inputs, _ in batches:
                model(inputs)
            for norm in norms:
                norm.eval()
        yield
    finally:
        for norm, (buffers, momentum) in zip(norms, stored, strict=True):
            norm.load_state_dict(buffers, strict=False)
            norm.momentum = momentum
        model.train(was_training)
