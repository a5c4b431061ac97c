"""The initialisation of the built-in networks but resnet18_cifar and text_transformer (He et al. 2015, 1502.01852)."""

from torch import nn


def kaiming_(model: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 2 / fan_in) in place; their biases become 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
