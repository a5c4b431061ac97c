"""A user's own weights, as safetensors or as a file that torch.save wrote."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.errors import UserError, one_line


def load_weights_(network: nn.Module, file: str) -> None:
    """Set a network's weights and buffers from a state dict in place (also one kept under `state_dict` or `model`).

    Raises UserError in one line for a file that cannot be read and for weights of another architecture.
    """
    path = Path(file).expanduser()
    try:
        found: dict[str, Any] = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
    except Exception as error:  # whatever a damaged file makes the readers raise
        raise UserError(f"model.weights={file} cannot be read: {one_line(error)}") from error
    state: dict[str, Tensor] = next(
        (found[key] for key in ("state_dict", "model") if isinstance(found.get(key), dict)), found
    )
    expected = network.state_dict()
    if problem := _difference(state, expected):
        raise UserError(f"model.weights={file} is of another architecture: {problem}")
    network.load_state_dict(state)


def _difference(state: dict[str, Tensor], expected: dict[str, Tensor]) -> str | None:
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        return f"{len(missing)} tensors missing {missing[:1]}, {len(extra)} unknown {extra[:1]}"
    for name, tensor in expected.items():
        if tuple(state[name].shape) != tuple(tensor.shape):
            return f"{name} is {tuple(state[name].shape)}, the model's is {tuple(tensor.shape)}"
    return None
