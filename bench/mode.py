"""What holds for a while: a model in train or eval mode, torch's kernels exact or fast."""

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def kernels(deterministic: bool = True, tf32: bool = False) -> Iterator[None]:
    """Compute inside the block as a worker does (bench.worker); not deterministic: as fast as cuDNN can. Restored."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (torch.are_deterministic_algorithms_enabled(), cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32)
    torch.use_deterministic_algorithms(deterministic)
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = not deterministic, tf32, tf32
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before[1:]
