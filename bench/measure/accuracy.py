"""Loss and accuracy (r2 in a regression) over a split, and batch-norm statistics re-estimated on the scoring set."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.mode import in_mode

Batches = Iterable[tuple[Tensor, Tensor]]
BATCH = 500
"""Samples a forward pass in evaluation; fixed, since sums depend on it in the last bits."""


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, loss_fn: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Any]:
    """Return the means over all samples in eval mode: loss, top1 and top5 in percent (top5 null below 6 classes).

    Targets in floating point are a regression's: then loss and r2. `loss_fn` is the mean over a batch; each batch
    counts by its samples, never as one. The mode is restored.
    """
    loss, samples, sums = 0.0, 0, defaultdict[str, float](int)
    with in_mode(model, train=False):
        for inputs, targets in batches:
            outputs = model(inputs)
            loss += float(loss_fn(outputs, targets)) * len(targets)
            samples += len(targets)
            measured = _errors(outputs, targets) if targets.is_floating_point() else _hits(outputs, targets)
            for name, value in measured.items():
                sums[name] += value
    return {"loss": loss / samples} | (_r2(sums, samples) if "errors" in sums else _accuracies(sums, samples))


def _errors(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    values = targets.double()
    errors = (outputs[:, 0].double() - values).square().sum()
    return {"errors": float(errors), "values": float(values.sum()), "squares": float(values.square().sum())}


def _r2(sums: Mapping[str, float], samples: int) -> dict[str, float | None]:
    """Return the coefficient of determination: 1 - squared errors / squared deviations from the split's own mean."""
    deviations = sums["squares"] - sums["values"] ** 2 / samples
    return {"r2": 1 - sums["errors"] / deviations if deviations > 0 else None}


def _hits(outputs: Tensor, targets: Tensor) -> dict[str, float]:
    hits = _ranked(outputs).eq(targets[:, None])
    top1: dict[str, float] = {"top1": int(hits[:, :1].sum())}
    return top1 | {"top5": int(hits.sum())} if outputs.shape[1] > 5 else top1


def _accuracies(sums: Mapping[str, float], samples: int) -> dict[str, float | None]:
    return {name: 100 * sums[name] / samples if name in sums else None for name in ("top1", "top5")}


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
