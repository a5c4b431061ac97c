"""What holds for a while: a model in train or eval mode, torch's kernels exact or fast, its memory left as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def in_mode(model: nn.Module, train: bool) -> Iterator[None]:
    """Give the block a model in train or eval mode; the mode is restored."""
    was_training = model.training
    model.train(train)
    try:
        yield
    finally:
        model.train(was_training)


def set_kernels(precision: str = "fp32", deterministic: bool = True) -> None:
    """Let torch compute as workers do, by deterministic kernels, or as fast as cuDNN can; on CUDA round to TF32 or not.

    cuDNN rounds unless it is told. precision: as in a cell's environment; bf16 is the trainer's.
    """
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


@contextmanager
def kernels(precision: str = "fp32", deterministic: bool = True) -> Iterator[None]:
    """Compute inside the block by these kernels (set_kernels); what was set is restored."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    set_kernels(precision, deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before[1:]


@contextmanager
def unfilled() -> Iterator[None]:
    """Let torch hand out memory inside the block as it is; the switch is restored.

    Deterministic mode fills every new tensor with NaN, so that a fault which reads memory before anything was written
    shows. A training step writes whatever it reads: there the filling costs time and changes no bit.
    """
    switch: Any = torch.utils.deterministic  # its module puts a class of its own in its place
    filled = switch.fill_uninitialized_memory
    switch.fill_uninitialized_memory = False
    try:
        yield
    finally:
        switch.fill_uninitialized_memory = filled
