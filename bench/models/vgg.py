"""VGG with batch norm for 32x32: the features of Simonyan and Zisserman 2015 (arXiv:1409.1556), one linear layer.

The form that pruning papers use for CIFAR (Liu et al. 2017, arXiv:1708.06519): convolutions have no bias, since batch
norm takes it out again, and the two hidden linear layers are left out.
"""

from torch import nn

from bench.errors import UserError
from bench.models.kaiming import kaiming_

CHANNELS = (64, 128, 256, 512, 512)
LAYERS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions before each of the five poolings."""


def vgg(input_shape: tuple[int, ...], num_classes: int, depth: int = 16) -> nn.Module:
    """Return VGG-16-BN or VGG-19-BN for images [C, 32, 32]."""
    if depth not in LAYERS:
        raise UserError(f"vgg: depth={depth} is not known; take 16 or 19")
    if tuple(input_shape[1:]) != (32, 32):
        raise UserError(f"vgg is for images of 32x32, not {input_shape[1]}x{input_shape[2]}; take a resnet")
    layers: list[nn.Module] = []
    inputs = input_shape[0]
    for outputs, count in zip(CHANNELS, LAYERS[depth], strict=True):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, num_classes))
    kaiming_(model)
    return model
