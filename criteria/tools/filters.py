"""Filters: the weights that make one output channel of a layer, and what the layer is seen to do when it is called."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from criteria.tools.parameters import prunable

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_CALLS = {F.linear, F.conv1d, F.conv2d, F.conv3d}


def filters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return name -> weight [filters, ...] of every prunable layer whose rows are filters.

    Not transposed convolutions (their first dimension is the input), nor attention's packed projection, whose rows are
    parts of heads.
    """
    owned = {id(module.weight) for module in model.modules() if isinstance(module, _LAYERS)}
    return {name: weight for name, weight in prunable(model).items() if id(weight) in owned}


def filter_sums(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return name -> [filters], the sums over each filter of [filters, ...]."""
    return {name: value.flatten(1).sum(1) for name, value in values.items()}


def names_by_id(weights: dict[str, nn.Parameter]) -> dict[int, str]:
    """Return id -> name, to know a parameter again where a function is called with it."""
    return {id(weight): name for name, weight in weights.items()}


def layer_weight(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """Return the weight where a call is that of a convolution or linear layer, else None."""
    return _second(*args, **kwargs) if func in _CALLS else None


def _second(input: Tensor, weight: Tensor, *rest: Any, **options: Any) -> Tensor:
    return weight


def tensors(*values: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results, also those in lists, tuples and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(*value)
        elif isinstance(value, dict):
            yield from tensors(*value.values())
