"""A smaller copy of a network, without what masks remove whole, and the way back to the full one."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bench.masks import Masks
from bench.units import Units

State = dict[str, Any]
"""model: state dict; memory: parameter name -> the optimiser's tensors; step; seconds (bench.train.Trainer.state)."""


class Compacted:
    """A smaller copy of a network that computes what the masked network does.

    model: the copy, in the mode of the full one. index: for each of its parameters and buffers the positions in the
    full one's, flattened.
    """

    def __init__(self, model: nn.Module, groups: Iterable[Units], masks: Masks) -> None:
        gone = [(units, ~kept_units(units, masks)) for units in groups]
        small = _without(copy.deepcopy(model), gone)
        self.model = nn.utils.convert_conv2d_weight_memory_format(small, torch.channels_last)
        numbered = copy.deepcopy(model)
        with torch.no_grad():
            for tensor in (*numbered.parameters(), *numbered.buffers()):
                # In float64 an index is exact, and parameters cannot be integers.
                tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape).to(tensor.device)
        self.index = {name: at.long() for name, at in _without(numbered, gone).state_dict().items()}

    def shrunk(self, state: State) -> State:
        """Return what the copy holds of the full network's training state."""
        memory = {n: {kind: self._part(n, v) for kind, v in kept.items()} for n, kept in state["memory"].items()}
        return state | {
            "model": {name: self._part(name, state["model"][name]) for name in self.index},
            "memory": {name: kept for name, kept in memory.items() if name in self.index},
        }

    def grown(self, small: State, full: State) -> State:
        """Return the full network's training state with the copy's in its place; what is gone stays as it was."""
        memory = dict(full["memory"])
        for name, kept in small["memory"].items():
            like = full["model"][name]
            old = memory.get(name, {})
            memory[name] = {
                kind: self._whole(name, v, old.get(kind, torch.zeros_like(like))) for kind, v in kept.items()
            }
        model = full["model"] | {n: self._whole(n, v, full["model"][n]) for n, v in small["model"].items()}
        return small | {"model": model, "memory": memory}

    def _part(self, name: str, tensor: Tensor) -> Tensor:
        """Return what the copy holds of a parameter or its optimiser memory; a count of steps stays."""
        at = self.index.get(name)
        return tensor if at is None or tensor.dim() == 0 else tensor.reshape(-1)[at]

    def _whole(self, name: str, part: Tensor, full: Tensor) -> Tensor:
        if part.dim() == 0:
            return part
        flat = full.reshape(-1).clone()
        flat[self.index[name]] = part
        return flat.view(full.shape)


def kept_units(units: Units, masks: Masks) -> Tensor:
    """Return a bool per unit: whether the masks keep anything of the weights that make it."""
    kept = torch.zeros(units.count, dtype=torch.bool)
    for part in units.produced:
        alive = masks[part.parameter].movedim(part.dim, 0).flatten(1).any(1).cpu()
        kept[part.owner[alive & (part.owner >= 0)]] = True
    return kept


class _Skipped(nn.Module):
    """Passes its first input on, whatever else the block was given (an attention mask)."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x


def _without(model: nn.Module, gone: list[tuple[Units, Tensor]]) -> nn.Module:
    """Take units out of a model in place; torch-pruning's functions know what each layer holds."""
    positions: dict[tuple[str, Any], set[int]] = {}
    for units, dead in gone:
        for removal in units.removals:
            lost = (dead[removal.owner] & (removal.owner >= 0)).nonzero().flatten().tolist()
            # Together, because numbers shift with the first removal from a layer.
            positions.setdefault((removal.module, removal.remove), set()).update(lost)
    for (name, remove), numbers in positions.items():
        if numbers and remove is None:
            model.set_submodule(name, _Skipped())
        elif numbers:
            remove(model.get_submodule(name), sorted(numbers))
    return model
