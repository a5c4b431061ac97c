"""Tensors to bytes and back: weights, masks and scores as safetensors, in the folders of the store."""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from bench import store


def pack(tensors: dict[str, Tensor]) -> bytes:
    """Return named tensors as safetensors bytes; the same values give the same bytes.

    Tied weights are stored once a name: safetensors refuses tensors that share their memory.
    """
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})


def unpack(data: bytes, device: torch.device) -> dict[str, Tensor]:
    """Return named tensors on a device from their safetensors bytes."""
    return {key: tensor.to(device) for key, tensor in load(data).items()}


def read(folder: Path, name: str, device: torch.device) -> dict[str, Tensor]:
    """Return the named tensors of a record's file; CorruptError where they are not those that were written."""
    return unpack(store.read_artefact(folder, name), device)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of an unfinished training (tensors, numbers, lists)."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    store.write(path, buffer.getvalue())


def load_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state of an unfinished training, or None where there is none that can be read."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception:
        return None
    return state
