"""A network without what masks remove whole computes what the masked network computes, and trains as it does."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import ConvNeXt, MobileNetV2, ResNet, vgg
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

from bench.axes import Layer
from bench.models.digits_net import digits_net
from bench.models.lenet import lenet300_100
from bench.models.mlp import mlp
from bench.models.resnet import resnet
from bench.models.text_transformer import text_transformer
from bench.models.vgg import vgg as vgg_small
from bench.models.wide_resnet import wide_resnet
from bench.schedule import training_rates
from bench.schema import Recipe
from bench.structured import Kept, Structure
from bench.train import Trainer
from tests.helpers import data, recipe, weights
from tests.structures import check, inputs, seeded, some, structure


def vgg_bn() -> nn.Module:
    """Return torchvision's VGG with fewer channels: 7x7 maps, pooled adaptively, are read by a linear layer."""
    features = vgg.make_layers([8, "M", 16, 16, "M"], batch_norm=True)
    head = (nn.Linear(16 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *head)


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(24, 48, 2), CNBlockConfig(48, 96, 1), CNBlockConfig(96, None, 1)], num_classes=10)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=10)


def resnext() -> nn.Module:
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10, groups=32, width_per_group=4)


SHIPPED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "digits_net": (lambda: digits_net((1, 8, 8), 10), (1, 8, 8)),
    "lenet": (lambda: lenet300_100((1, 8, 8), 10), (1, 8, 8)),
    "resnet8": (lambda: resnet((3, 8, 8), 10, depth=8), (3, 8, 8)),
    "resnet20": (lambda: resnet((3, 8, 8), 10, depth=20), (3, 8, 8)),
    "vgg16": (lambda: vgg_small((3, 32, 32), 10), (3, 32, 32)),
    "wide_resnet": (lambda: wide_resnet((3, 8, 8), 10, depth=16, width=2), (3, 8, 8)),
    "mlp": (lambda: mlp((10,), 1), (10,)),
    "text_transformer": (lambda: text_transformer((12,), 3, vocabulary=50), (12,)),
}
TORCHVISION: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet18": (lambda: ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10), (3, 32, 32)),
    "resnet50": (lambda: ResNet(Bottleneck, [2, 1, 2, 1], num_classes=10), (3, 32, 32)),
    "resnext50": (resnext, (3, 32, 32)),
    "mobilenet_v2": (lambda: MobileNetV2(10), (3, 64, 64)),
    "vgg_bn": (vgg_bn, (3, 32, 32)),
    "convnext": (convnext, (3, 64, 64)),
    "vit": (vit, (3, 64, 64)),
}
"""The architectures at their own widths, less deep where that leaves nothing out."""


@pytest.mark.parametrize("name", SHIPPED)
def test_masked_is_compacted_in_what_ships(name: str) -> None:
    make, shape = SHIPPED[name]
    model = seeded(make, inputs(shape))
    whole = structure(model, inputs(shape)[:1])
    for seed, share in enumerate([0.5] if name == "vgg16" else [0.2, 0.5, 0.8]):
        check(model, whole, some(whole.groups, seed, share), inputs(shape))


@pytest.mark.parametrize("name", TORCHVISION)
def test_masked_is_compacted_in_torchvision_and_timm(name: str) -> None:
    make, shape = TORCHVISION[name]
    model = seeded(make, inputs(shape))
    whole = structure(model, inputs(shape)[:1])
    check(model, whole, some(whole.groups), inputs(shape))


# training


class Double(nn.Module):
    """Trains in float64, so that two ways of computing the same differ by next to nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.double())


SAMPLES = data(shape=(1, 8, 8))
RECIPES = {
    "momentum": {"momentum": 0.9, "weight_decay": 1e-2},
    "nesterov": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2, "decay_norm_and_bias": False},
    "plain": {"gamma_l1": 1e-3},
    "adamw": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1},
}


def trainer(r: Recipe) -> Trainer:
    model = Double(seeded(lambda: resnet((1, 8, 8), 3, depth=14), inputs((1, 8, 8))))
    return Trainer(model, SAMPLES, r, training_rates(r, 3), seed=0, stream="finetune", precision="fp32")


def nested(whole: Structure) -> list[Kept]:
    """Return what two pruning steps keep."""
    if all(units.count == 1 for units in whole.groups):  # blocks
        first, _, third, *_ = (units.name for units in whole.groups)
        return [{first: torch.tensor([False])}, {first: torch.tensor([False]), third: torch.tensor([False])}]
    kept, more = some(whole.groups, 0, 0.3), some(whole.groups, 1, 0.3)
    return [kept, {name: kept[name] & more[name] if (kept[name] & more[name]).any() else kept[name] for name in kept}]


def trained(one: Trainer, whole: Structure, compacted: bool) -> list[dict[str, Any]]:
    """Prune, train into the midst of an epoch, prune more, train to the end; return the curves."""
    rows: list[dict[str, Any]] = []
    for kept, until in zip(nested(whole), (5, 15), strict=True):
        one.mask(whole.masks(one.model, kept))
        if compacted:
            one.run_compacted(whole.compacted(one.model, one.masks), until, rows.append)
        else:
            one.run(until, rows.append)
    return rows


@pytest.mark.parametrize(
    ("name", "layer"),
    [*((name, False) for name in RECIPES), ("nesterov", True), ("adamw", True)],
)
def test_training_the_compacted_network_trains_the_masked_one(name: str, layer: bool) -> None:
    r = recipe(**{"epochs": 5, "lr": 0.05} | RECIPES[name])
    masked, small = trainer(r), trainer(r)
    grain = {"granularity": Layer(name="layer")} if layer else {}
    whole = structure(masked.model, inputs((1, 8, 8))[:1], **grain)
    expected, rows = trained(masked, whole, compacted=False), trained(small, whole, compacted=True)
    masks = masked.masks
    assert small.step == masked.step == 15
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    assert len(rows) == 5
    for row, other in zip(rows, expected, strict=True):
        assert row == {"stage": "finetune"} | {k: pytest.approx(v, rel=1e-9) for k, v in other.items() if k != "stage"}
    index = whole.compacted(masked.model, masks).index
    for (key, got), other in zip(weights(small.model).items(), weights(masked.model).values(), strict=True):
        at = index.get(key, torch.empty(0, dtype=torch.long))
        torch.testing.assert_close(got.reshape(-1)[at], other.reshape(-1)[at], rtol=1e-9, atol=1e-11)
    for key, mask in masks.items():
        assert not weights(small.model)[key][~mask].any()  # not even after weight decay: biases and norms too
    memory, other_memory = small.state()["memory"], masked.state()["memory"]
    for key in index.keys() & other_memory.keys():
        assert memory[key].keys() == other_memory[key].keys()
        for kind, value in other_memory[key].items():
            at = index[key] if value.dim() else 0
            torch.testing.assert_close(memory[key][kind].reshape(-1)[at], value.reshape(-1)[at], rtol=1e-8, atol=1e-12)
