"""The residual blocks of a network, which can be skipped."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from bench.units import Part, Removal, Units
from criteria.tools.parameters import prunable


def blocks(model: nn.Module, sample: Tensor) -> list[Units]:
    """Return the residual blocks: the innermost modules that pass their input on where all their weights are 0."""
    model = copy.deepcopy(model).eval()
    found = [name for name, module, inputs in _calls(model, sample) if _passes_on(module, inputs)]
    weights = prunable(model)
    return [
        _block(name, model.get_submodule(name), weights)
        for name in found
        if not any(other.startswith(f"{name}.") for other in found)
    ]


def _calls(model: nn.Module, sample: Tensor) -> list[tuple[str, nn.Module, Tensor]]:
    """Return (name, module, input) of each module that maps one tensor to one of the same shape."""
    calls: list[tuple[str, nn.Module, Tensor]] = []
    names = {module: name for name, module in model.named_modules()}

    def note(module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        tensors = isinstance(outputs, Tensor) and bool(inputs) and isinstance(inputs[0], Tensor)
        if names[module] and tensors and inputs[0].shape == outputs.shape and prunable(module):
            calls.append((names[module], module, inputs[0].clone()))

    hooks = [module.register_forward_hook(note) for module in names]
    with torch.no_grad():
        model(sample)
    for hook in hooks:
        hook.remove()
    return calls


def _passes_on(module: nn.Module, inputs: Tensor) -> bool:
    emptied = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in emptied.parameters():
            parameter.zero_()
        for buffer in emptied.buffers():
            if buffer.is_floating_point():
                buffer.fill_(0.5)  # a batch norm without a scale adds something, once it is trained
        return bool(inputs.any()) and torch.equal(emptied(inputs.clone()), inputs)


def _block(name: str, module: nn.Module, weights: dict[str, nn.Parameter]) -> Units:
    parts = [
        Part(f"{name}.{parameter}", 0, torch.zeros(len(value), dtype=torch.long))
        for parameter, value in module.named_parameters()
        if value.dim()
    ]
    produced = tuple(part for part in parts if part.parameter in weights)
    others = tuple(part for part in parts if part.parameter not in weights)
    return Units(name, 1, produced, others, (Removal(name, None, torch.zeros(1, dtype=torch.long)),))
