"""A small convolutional network for scikit-learn's digits: the whole pipeline in minutes on a laptop."""

from torch import nn

from bench.models.kaiming import kaiming_


def digits_net(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a network for images [C, H, W] of at least 4x4: 15,248 prunable weights for [1, 8, 8] and ten classes."""
    channels, height, width = input_shape
    model = nn.Sequential(
        *_block(channels, 16),
        *_block(16, 32),
        nn.MaxPool2d(2),
        *_block(32, 32),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), num_classes),
    )
    kaiming_(model)
    return model


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
