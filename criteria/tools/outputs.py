"""The first activation output after each layer, followed through what the functions do: the model gets no hooks."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from criteria.tools.filters import filters, layer_weight, names_by_id, tensors

ACTIVATIONS = set(
    "relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid tanh "
    "softplus softsign log_sigmoid threshold hardshrink softshrink tanhshrink clamp clamp_min clip".split()
)
"""Functions of single elements that are not linear, by name without the underscores of the in-place and inner forms."""
CARRIERS = set(
    "batch_norm instance_norm group_norm layer_norm add radd iadd sub rsub isub mul rmul imul div truediv itruediv "
    "dropout alpha_dropout feature_alpha_dropout dropout1d dropout2d dropout3d pad interpolate contiguous clone "
    "to float double type_as".split()
)
"""Functions, with all that pool, after which a channel is still the same channel."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Where the channels that a layer made lie in a tensor."""

    layer: str
    """Name of the layer's weight."""
    dim: int
    start: int
    size: int

    def of(self, values: Tensor) -> Tensor:
        """Return the channels as [samples, channels, *positions]."""
        return values.movedim(self.dim, 1).narrow(1, self.start, self.size)


def first_activations(model: nn.Module, inputs: Tensor) -> tuple[Any, list[tuple[Channels, Tensor]]]:
    """Return the model's outputs and, per layer, the first activation output after it with the channels' place there.

    After the layer's batch norm, and after the addition for the last convolution of a residual block. The tensor is
    part of the graph, kept from what is later written into it. Layers whose channels reach another layer or the output
    before any activation are absent, and those that are called more than once.
    """
    following = _Following(names_by_id(filters(model)))
    with following:
        outputs = model(inputs)
    return outputs, [found for name, found in following.found.items() if following.calls[name] == 1]


class _Following(TorchFunctionMode):
    """Follows each layer's output until an activation."""

    def __init__(self, layers: dict[int, str]) -> None:
        super().__init__()
        self.layers = layers
        self.calls: Counter[str] = Counter()
        self.waiting: Any = WeakTensorKeyDictionary()
        """Tensor -> the channels in it that no activation has seen."""
        self.found: dict[str, tuple[Channels, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function and see what becomes of the channels in its arguments."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        name = getattr(func, "__name__", "").strip("_")
        weight = layer_weight(func, args, kwargs)
        if weight is not None:
            self._made(weight, result)
        elif name in ACTIVATIONS:
            return self._activated(self._carried(args, kwargs, result), result)
        elif name in ("cat", "concat", "concatenate"):
            self.waiting[result] = self._joined(*args, **kwargs)
        elif name in CARRIERS or "pool" in name:
            self.waiting[result] = self._carried(args, kwargs, result)
        return result

    def _made(self, weight: Tensor, output: Tensor) -> None:
        if id(weight) in self.layers:
            name = self.layers[id(weight)]
            self.calls[name] += 1
            dim = output.dim() - 1 if weight.dim() == 2 else 1
            self.waiting[output] = [Channels(name, dim, 0, len(weight))]

    def _carried(self, args: Any, kwargs: Any, result: Tensor) -> list[Channels]:
        """Return the channels of all arguments that lie in the result where they lay before."""
        return [
            channels
            for tensor in tensors(args, kwargs)
            for channels in self.waiting.get(tensor, ())
            if tensor.dim() == result.dim() and tensor.shape[channels.dim] == result.shape[channels.dim]
        ]

    def _joined(self, parts: Any, dim: int = 0, **options: Any) -> list[Channels]:
        carried, start = [], 0
        for part in parts:
            for channels in self.waiting.get(part, ()):
                moved = start if channels.dim == dim % part.dim() else 0
                carried.append(replace(channels, start=channels.start + moved))
            start += part.shape[dim]
        return carried

    def _activated(self, channels: list[Channels], output: Tensor) -> Tensor:
        """Keep the output for layers that have none yet; hand on a copy, since what follows may write into it."""
        self.waiting.pop(output, None)  # an activation in place returns its input
        for one in channels:
            self.found.setdefault(one.layer, (one, output))
        return output.clone() if channels else output
