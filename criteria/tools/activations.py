"""What flows into each prunable weight, seen where the functions are called: the model gets no hooks."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from criteria.tools.parameters import prunable
from criteria.tools.types import Batches


def input_energy(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Return, for each entry of each prunable weight, the sum of squares of the input elements that it multiplies.

    Summed over samples, leading dimensions and positions (zero padding counts as zeros), and over all uses of a shared
    weight. Shape of the weight, float64. A weight that no call uses as it is (only a function of it) is absent.
    """
    weights = prunable(model)
    uses = _Uses({id(weight): name for name, weight in weights.items()})
    with torch.no_grad(), uses:
        for inputs, _ in batches:
            model(inputs)
    return {name: uses.energy[name] for name in weights if name in uses.energy}


class _Uses(TorchFunctionMode):
    """Adds up the energy of every linear map, convolution and attention whose weight is named."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names = names
        self.energy: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _MAPS:
            self._map(func, *args, **kwargs)
        elif func is F.multi_head_attention_forward:
            self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _map(self, func: Any, input: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **options: Any) -> None:
        if id(weight) in self.names:
            self._add(weight, _energy(lambda x, w: func(x, w, None, *rest, **options), input, weight))

    def _attention(self, *args: Any, **kwargs: Any) -> None:
        """Read the inputs of the packed projection, and of the output projection by making that the identity."""
        given = dict(_ATTENTION.bind(*args, **kwargs).arguments)
        packed, output = given["in_proj_weight"], given["out_proj_weight"]
        if id(packed) in self.names:
            parts = zip(("query", "key", "value"), packed.chunk(3), strict=True)
            self._add(packed, torch.cat([_energy(F.linear, given[role], part) for role, part in parts]))
        if id(output) in self.names:
            given |= {"out_proj_weight": torch.eye(len(output)).to(output), "out_proj_bias": None}
            self._add(output, _energy(F.linear, F.multi_head_attention_forward(**given)[0], output))

    def _add(self, weight: Tensor, energy: Tensor) -> None:
        name = self.names[id(weight)]
        self.energy[name] = self.energy.get(name, 0) + energy


def _energy(apply: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, weight: Tensor) -> Tensor:
    """Return per entry of the weight the sum of squared inputs that it multiplies.

    `apply` is linear in the weight, so this is the derivative of its summed outputs for squared inputs: groups,
    strides, dilation and padding are those of the layer itself.
    """
    squares = inputs.double().square()
    if squares.dim() >= weight.dim():  # there is a batch: its sum costs one sample
        squares = squares.sum(dim=0, keepdim=True)
    with torch.enable_grad():
        any_weight = torch.zeros_like(weight, dtype=torch.float64, requires_grad=True)
        (energy,) = torch.autograd.grad(apply(squares, any_weight).sum(), any_weight)
    return energy


_ATTENTION = inspect.signature(F.multi_head_attention_forward)
_MAPS = {
    *(F.linear, F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
}
