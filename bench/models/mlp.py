"""A multi-layer perceptron for tables of features."""

import math
from itertools import pairwise

from torch import nn

from bench.models.kaiming import kaiming_


def mlp(input_shape: tuple[int, ...], num_classes: int, hidden: tuple[int, ...] = (64, 64)) -> nn.Module:
    """Return linear layers of `hidden` widths with ReLU between them, for inputs of any shape, which it flattens."""
    widths = [math.prod(input_shape), *hidden]
    inner = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    model = nn.Sequential(nn.Flatten(), *inner, nn.Linear(widths[-1], num_classes))
    kaiming_(model)
    return model
