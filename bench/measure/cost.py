"""Parameters and FLOPs, dense and masked."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.masks import Masks


def parameters(model: nn.Module, masks: Masks) -> tuple[int, int]:
    """Return (all parameters, all less the masked ones)."""
    dense = sum(parameter.numel() for parameter in model.parameters())
    return dense, dense - sum(int((~mask).sum()) for mask in masks.values())


def flops(model: nn.Module, masks: Masks, sample: Tensor) -> tuple[int, int]:
    """Return (dense, masked) FLOPs of one forward pass of `sample` [1, ...], as 2 x multiply-adds.

    Masked: the dense FLOPs of each layer times the kept share of its weight, grouped convolutions counted as such. The
    mode is restored.
    """
    was_training = model.training
    model.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(sample)
    model.train(was_training)
    dense = counter.get_total_flops()
    by_module = {path: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}
    removed = 0.0
    root = type(model).__name__
    for name, mask in masks.items():
        weight = model.get_parameter(name)
        users = [
            path for path, module in model.named_modules() if any(p is weight for p in module._parameters.values())
        ]
        layer = sum(by_module.get(f"{root}.{path}" if path else root, 0) for path in users)
        removed += layer * (1 - int(mask.sum()) / mask.numel())
    return dense, round(dense - removed)
