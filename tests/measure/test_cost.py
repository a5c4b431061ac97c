"""Parameters and FLOPs against counts by hand, 2 for each multiply-add."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from bench.masks import Masks
from bench.measure.cost import flops, parameters
from bench.models.resnet import resnet
from criteria.tools.parameters import prunable
from tests.helpers import same, weights


def masks_of(model: nn.Module, density: float = 0.5, seed: int = 0) -> Masks:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=g) < density for name, p in prunable(model).items()}


def share(mask: Tensor) -> float:
    return int(mask.sum()) / mask.numel()


# Layer, shape of the sample, FLOPs as output positions x multiply-adds of each x 2.
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "linear": (lambda: nn.Linear(7, 5), (7,), 2 * 5 * 7),
    "linear at 3 positions": (lambda: nn.Linear(7, 5), (3, 7), 2 * 3 * 5 * 7),
    "conv": (lambda: nn.Conv2d(3, 4, 3, bias=False), (3, 8, 8), 2 * 36 * 4 * 3 * 9),
    "padded": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 8, 8), 2 * 64 * 4 * 3 * 9),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 8, 8), 2 * 16 * 4 * 3 * 9),
    "not square": (lambda: nn.Conv2d(3, 4, (1, 5), stride=(1, 2)), (3, 8, 9), 2 * 8 * 3 * 4 * 3 * 5),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), (4, 8, 8), 2 * 36 * 6 * 2 * 9),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 8, 8), 2 * 36 * 4 * 1 * 9),
    "dilated": (lambda: nn.Conv2d(2, 3, 3, dilation=2), (2, 8, 8), 2 * 16 * 3 * 2 * 9),
    "circular padding": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 8, 8), 2 * 64 * 3 * 2 * 9),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3), (2, 8), 2 * 6 * 3 * 2 * 3),
    "transposed": (lambda: nn.ConvTranspose2d(3, 2, 2, stride=2), (3, 4, 4), 2 * 16 * 3 * 2 * 4),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_flops_of_a_layer_and_of_its_kept_share(layer: str) -> None:
    factory, shape, expected = LAYERS[layer]
    model = factory()
    masks = masks_of(model)
    dense, masked = flops(model, masks, torch.ones(1, *shape))
    assert dense == expected
    assert masked == round(expected * share(masks["weight"]))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.floats(0, 1))
@settings(max_examples=30)
def test_grouped_convolutions(inputs: int, outputs: int, groups: int, kernel: int, stride: int, density: float) -> None:
    model = nn.Conv2d(inputs * groups, outputs * groups, kernel, stride=stride, groups=groups)
    masks = masks_of(model, density)
    positions = ((6 - kernel) // stride + 1) ** 2
    expected = 2 * positions * outputs * groups * inputs * kernel**2
    kept = int(masks["weight"].sum())
    assert flops(model, masks, torch.ones(1, inputs * groups, 6, 6)) == (expected, 2 * positions * kept)


def test_a_network_is_the_sum_of_its_layers_each_at_its_own_share() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    masks = {"0.weight": torch.ones(4, 1, 3, 3, dtype=torch.bool), "4.weight": torch.zeros(10, 144, dtype=torch.bool)}
    conv, linear = 2 * 36 * 4 * 9, 2 * 144 * 10
    assert flops(model, masks, torch.ones(1, 1, 8, 8)) == (conv + linear, conv)
    masks["4.weight"][0, :72] = True
    assert flops(model, masks, torch.ones(1, 1, 8, 8)) == (conv + linear, conv + 2 * 72)
    # A layer without a mask (prunable.exclude) stays dense.
    assert flops(model, {"0.weight": masks["0.weight"] & False}, torch.ones(1, 1, 8, 8)) == (conv + linear, linear)


def test_resnet20_has_the_flops_of_the_literature() -> None:
    """40.8 million multiply-adds with the shortcut of option A (He et al. 2016 and every later count)."""
    dense, masked = flops(resnet((3, 32, 32), 10, depth=20), {}, torch.ones(1, 3, 32, 32))
    assert dense == masked
    assert dense / 2 == pytest.approx(40.6e6, rel=0.01)


# Networks in which a layer is not what it is called


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.layer(inputs))


class Functional(nn.Module):
    """Uses its layer's weight without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs, self.layer.weight)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    return model


def shared() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(Wrapped(layer), Wrapped(layer))


@pytest.mark.parametrize(("factory", "uses"), [(tied, 2), (shared, 2), (Functional, 1)])
def test_every_use_of_a_weight_counts_by_its_share(factory: Callable[[], nn.Module], uses: int) -> None:
    model = factory()
    ((name, mask),) = masks_of(model, 0.3).items()
    assert flops(model, {name: mask}, torch.ones(1, 4)) == (2 * 16 * uses, 2 * int(mask.sum()) * uses)


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_products_of_attention_stay(need_weights: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=need_weights)[0]  # type: ignore[no-any-return]

    model = Attention()
    masks = masks_of(model, 0.5)
    assert len(masks) == 2
    products = 2 * (2 * 5 * 5 * 8)
    dense, masked = flops(model, masks, torch.ones(1, 5, 8))
    assert dense == 2 * 5 * 8 * 32 + products
    assert masked == 2 * 5 * sum(int(mask.sum()) for mask in masks.values()) + products


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_alone(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train(training)
    before = weights(model)
    flops(model, masks_of(model), torch.ones(1, 1, 6, 6))
    assert same(before, weights(model))
    assert all(module.training == training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


# Parameters


def test_parameters_less_the_masked_ones() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 10))
    masks = masks_of(model, 0.3)
    dense = 4 * 9 + 2 * 4 + 16 * 10 + 10
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert parameters(model, masks) == (dense, kept + 2 * 4 + 10)
    assert parameters(model, {}) == (dense, dense)


def test_a_tied_weight_counts_once() -> None:
    model = tied()
    mask = masks_of(model)["0.weight"]
    assert parameters(model, {"0.weight": mask}) == (16 + 8, int(mask.sum()) + 8)
