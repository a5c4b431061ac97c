"""A model in train or eval mode for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

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
