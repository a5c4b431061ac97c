"""Parameters and FLOPs, dense and masked."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.masks import Masks
from bench.mode import in_mode


def parameters(model: nn.Module, masks: Masks) -> tuple[int, int]:
    """Return (all parameters, all less the masked ones)."""
    dense = sum(parameter.numel() for parameter in model.parameters())
    return dense, dense - sum(int((~mask).sum()) for mask in masks.values())


def flops(model: nn.Module, masks: Masks, sample: Tensor) -> tuple[int, int]:
    """Return (dense, masked) FLOPs of one forward pass of `sample` [1, ...], as 2 x multiply-adds.

    Masked: the dense FLOPs of each operation that reads a weight times the kept share of that weight, grouped
    convolutions counted as such; what reads no weight (attention's products) stays. The mode is restored.
    """
    dense, reads = flops_by_weight(model, masks, sample)
    removed = sum(reads[name] * (1 - int(mask.sum()) / mask.numel()) for name, mask in masks.items())
    return dense, round(dense - removed)


def flops_by_weight(model: nn.Module, names: Iterable[str], sample: Tensor) -> tuple[int, Counter[str]]:
    """Return (FLOPs of one dense forward pass of `sample` [1, ...], those of them that read each named weight)."""
    counter = FlopCounterMode(display=False)
    reads = _ByWeight(counter, {name: model.get_parameter(name) for name in names})
    # With gradients and plain attention: the fused forms, one on each device, are not counted.
    with in_mode(model, train=False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter, reads:
        model(sample)
    return counter.get_total_flops(), reads.flops


class _ByWeight(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the FLOPs of the operations that read each weight, whichever module or function calls them."""

    def __init__(self, counter: FlopCounterMode, weights: dict[str, nn.Parameter]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counter = counter
        # By storage: a linear layer reads a transposed view of its weight.
        self.names = {weight.untyped_storage().data_ptr(): name for name, weight in weights.items()}
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = self.counter.get_total_flops()
        result = func(*args, **(kwargs or {}))
        for name in {self.names.get(arg.untyped_storage().data_ptr()) for arg in args if isinstance(arg, Tensor)}:
            if name is not None:
                self.flops[name] += self.counter.get_total_flops() - before
        return result
