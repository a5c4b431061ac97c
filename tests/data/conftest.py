"""Makers of small data: configurations, random images, and data sets held in memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.data import Data, Split
from bench.schema import Dataset


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    def make(**fields: Any) -> Dataset:
        defaults = {
            "name": "tiny",
            "title": "Tiny",
            "reader": "bench.data.digits:read",
            "validation": 0,
            "mean": (0.5, 0.4, 0.3),
            "std": (0.2, 0.3, 0.4),
        }
        return Dataset(**(defaults | fields))

    return make


@pytest.fixture
def make_split() -> Callable[..., Split]:
    def make(count: int, shape: tuple[int, ...] = (3, 6, 5), classes: int = 4, seed: int = 0) -> Split:
        generator = torch.Generator().manual_seed(seed)
        # No black pixel: what comes in from outside can be told from the image.
        inputs = torch.randint(1, 256, (count, *shape), generator=generator, dtype=torch.uint8)
        return Split(inputs, torch.arange(count) % classes)

    return make


@pytest.fixture
def make_data(make_split: Callable[..., Split]) -> Callable[..., Data]:
    def make(train: Split, classes: int = 4) -> Data:
        channels = train.inputs.shape[1]
        other = make_split(8, tuple(train.inputs.shape[1:]), classes, seed=1)
        return Data(train, other, other, classes, (0.5, 0.4, 0.3)[:channels], (0.2, 0.3, 0.4)[:channels])

    return make
