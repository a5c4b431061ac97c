"""LeNet-300-100 (LeCun et al. 1998): two hidden linear layers, the smallest network of the pruning literature."""

import math

from torch import nn

from bench.models.kaiming import kaiming_


def lenet300_100(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Return the network for inputs of any shape, which it flattens."""
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(input_shape), 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )
    kaiming_(model)
    return model
