"""Effective sparsity: a kept weight that no path from input to output uses does not count as kept.

The network is run in float64 on an input of ones with its weights replaced by their masks, so every value is a count of
paths. Biases and shifts are 0; scales, normalisation and activations are the identity; max pooling averages. A kept
weight lies on a path iff the gradient of the summed output is not 0 there.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bench.masks import Masks


def effective_sparsity(model: nn.Module, masks: Masks, sample: Tensor) -> tuple[float | None, bool | None, str | None]:
    """Return (share of the masks' weights off every path, whether no path is left, why it is not defined).

    `sample` [1, ...] gives the input's shape. (None, None, reason) for a network with attention.
    """
    # On the CPU: a GPU may convolve by transforms, whose rounding leaves no exact zeros.
    masks = {name: mask.cpu() for name, mask in masks.items()}
    counting, sample = _with_masks_as_weights(model, masks), sample.cpu()
    weights = {name: counting.get_parameter(name) for name in masks}
    # Tokens stay: an embedding, all ones, gives the ones.
    ones = torch.ones_like(sample, dtype=torch.float64) if sample.is_floating_point() else sample
    try:
        with _PathCounting():
            paths = counting(ones).sum()
    except _NotCountableError as error:
        return None, None, str(error)
    grads = torch.autograd.grad(paths, list(weights.values()), allow_unused=True)
    used = sum(int((g != 0)[m].sum()) for g, m in zip(grads, masks.values(), strict=True) if g is not None)
    return 1 - used / sum(mask.numel() for mask in masks.values()), float(paths.detach()) == 0, None


def _with_masks_as_weights(model: nn.Module, masks: Masks) -> nn.Module:
    counting = copy.deepcopy(model).cpu().double().eval()
    with torch.no_grad():
        for name, parameter in counting.named_parameters():
            parameter.requires_grad_(name in masks)
            parameter.copy_(masks[name] if name in masks else torch.full_like(parameter, not name.endswith("bias")))
    return counting


class _NotCountableError(Exception):
    """An operation through which paths cannot be counted."""


class _PathCounting(TorchFunctionMode):
    """Replaces functions by what they mean for counting paths, called as modules or as functions."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _IDENTITY:
            return args[0]
        if func in _NOT_COUNTABLE:
            raise _NotCountableError(f"paths through {_NOT_COUNTABLE[func]} are not counted")
        if func in _MAX_POOL:
            return _average_pool(_MAX_POOL[func], *args, **kwargs)
        result = func(*args, **kwargs)
        if func in _WEIGHTED:  # rescaled, so that 110 layers do not overflow
            largest = result.max().detach()
            return result / torch.where(largest > 0, largest, 1)
        return result


_IDENTITY = {
    *(F.relu, F.relu6, F.gelu, F.silu, F.mish, F.elu, F.selu, F.celu, F.leaky_relu, F.hardswish, F.hardsigmoid),
    *(F.hardtanh, F.softplus, F.sigmoid, F.tanh, F.logsigmoid, F.softsign, F.tanhshrink, F.prelu, F.threshold),
    *(F.rrelu, F.hardshrink, F.softshrink, torch.relu, torch.relu_, torch.sigmoid, torch.sigmoid_, torch.tanh),
    *(torch.tanh_, Tensor.relu, Tensor.relu_, Tensor.sigmoid, Tensor.sigmoid_, Tensor.tanh, Tensor.tanh_),
    *(F.batch_norm, F.layer_norm, F.rms_norm, F.group_norm, F.instance_norm, F.local_response_norm, F.normalize),
    *(F.softmax, F.softmin, F.log_softmax, torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax),
    *(F.dropout, F.dropout2d, F.alpha_dropout),
}
_WITH_INDICES = (
    *(F.max_pool1d_with_indices, F.max_pool2d_with_indices, F.max_pool3d_with_indices),
    *(F.adaptive_max_pool1d_with_indices, F.adaptive_max_pool2d_with_indices),
)
_NOT_COUNTABLE = {
    **dict.fromkeys((F.scaled_dot_product_attention, F.multi_head_attention_forward), "attention"),
    **dict.fromkeys(_WITH_INDICES, "max pooling that returns indices"),
}
_WEIGHTED = {F.linear, F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d, F.bilinear}
_MAX_POOL: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((F.max_pool1d, torch.max_pool1d), F.avg_pool1d),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), F.avg_pool2d),
    **dict.fromkeys((F.max_pool3d, torch.max_pool3d), F.avg_pool3d),
    F.adaptive_max_pool1d: F.adaptive_avg_pool1d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
}


def _average_pool(pool: Callable[..., Tensor], inputs: Tensor, kernel: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Average over the windows of the max pooling; dilation has no average form and is refused."""
    if kwargs.pop("dilation", 1) not in (1, (1, 1)) or any(option not in (1, (1, 1)) for option in args[2:3]):
        raise _NotCountableError("paths through dilated max pooling are not counted")
    kwargs.pop("return_indices", None)
    return pool(inputs, kernel, *args[:2], **kwargs)
