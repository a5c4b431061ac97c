"""A network for 8x8 images with a residual block and channels that nothing ties, and a handful of the digits."""

import torch
from torch import Tensor, nn

from bench.data import Raw
from bench.data.digits import read as digits
from bench.schema import Dataset


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + x)


def net(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(input_shape[0], 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        Block(8),
        *(nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(48, num_classes),
    )


def read(dataset: Dataset) -> Raw:
    """Return 160 of the digits to train and validate on, and 80 to test."""
    raw = digits(dataset.model_copy(update={"reader": "bench.data.digits:read"}))
    return Raw(raw.train[torch.arange(160)], raw.test[torch.arange(80)], raw.num_classes)
