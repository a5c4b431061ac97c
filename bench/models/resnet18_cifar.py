"""ResNet-18 for images of 32x32: torchvision's with a 3x3 stem and without its pooling, as pruning papers use it."""

from torch import nn
from torchvision import models


def resnet18(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return a ResNet-18 (64-128-256-512 channels, 11.2 M weights) for images [C, H, W], made for 32x32.

    Initialised as torchvision's, which is as Tanaka et al. 2020 (arXiv:2006.05467) do it: convolutions from
    N(0, 2 / fan_out).
    """
    network: nn.Module = models.resnet18(weights=None, num_classes=num_classes)
    network.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network
