import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench.models.mlp import mlp


@pytest.mark.parametrize(("hidden", "widths"), [((7, 5), [6, 7, 5, 2]), ((), [6, 2])])
def test_widths_and_activations(hidden: tuple[int, ...], widths: list[int]) -> None:
    model = mlp((2, 3), 2, hidden)
    linear = [module for module in model if isinstance(module, nn.Linear)]
    assert [layer.in_features for layer in linear] == widths[:-1]
    assert [layer.out_features for layer in linear] == widths[1:]
    inputs = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    x = inputs.flatten(1)
    for layer in linear[:-1]:
        x = F.linear(x, layer.weight, layer.bias).relu()
    torch.testing.assert_close(model(inputs), F.linear(x, linear[-1].weight, linear[-1].bias))
