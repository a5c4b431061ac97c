"""The residual blocks whose input passes on where their weights are zero."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torchvision.models import ConvNeXt, ResNet
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock

from bench.axes import Layer
from bench.blocks import blocks
from bench.errors import UserError
from bench.models.digits_net import digits_net
from bench.models.resnet import resnet
from bench.models.text_transformer import text_transformer
from bench.models.wide_resnet import wide_resnet
from tests.helpers import same, weights
from tests.structures import check, inputs, seeded, structure

LAYER = {"granularity": Layer(name="layer")}
IMAGE, TEXT = (3, 32, 32), (12,)
ENCODER = [f"blocks.{i}.{part}" for i in range(2) for part in ("attn", "mlp")]

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "resnet20": (
        lambda: resnet(IMAGE, 10, depth=20),
        IMAGE,
        ["stage1.0", "stage1.1", "stage1.2", "stage2.1", "stage2.2", "stage3.1", "stage3.2"],
    ),
    # A stage's first block has a convolution in its shortcut.
    "wide_resnet": (
        lambda: wide_resnet(IMAGE, 10, depth=16, width=2),
        IMAGE,
        ["stage1.1", "stage2.1", "stage3.1"],
    ),
    "resnet18": (
        lambda: ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10),
        IMAGE,
        ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    ),
    "convnext": (
        lambda: ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)], num_classes=5),
        IMAGE,
        ["features.1.0", "features.1.1", "features.3.0"],
    ),
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5),
        IMAGE,
        ["blocks.0", "blocks.1"],
    ),
    "text_transformer": (lambda: text_transformer(TEXT, 3, vocabulary=50, depth=2), TEXT, ["blocks.0", "blocks.1"]),
}


@pytest.mark.parametrize("name", NETS)
def test_blocks_that_pass_their_input_on_are_found_and_skipped(name: str) -> None:
    make, shape, expected = NETS[name]
    model = seeded(make, inputs(shape))
    model.train()
    before, state = weights(model), torch.get_rng_state()
    found = blocks(model, inputs(shape)[:1])
    assert same(weights(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert [units.name for units in found] == expected
    model.eval()
    whole = structure(model, inputs(shape)[:1], **LAYER)
    check(model, whole, {units.name: torch.tensor([i % 2 == 1]) for i, units in enumerate(found)}, inputs(shape))
    gone = whole.masks(model, {expected[0]: torch.tensor([False])})
    dead = {name for name, mask in gone.items() if not mask.any()}
    assert dead == {name for name, _ in model.named_parameters() if name.startswith(f"{expected[0]}.")}
    assert all(mask.all() for name, mask in gone.items() if name not in dead)


@pytest.mark.parametrize(
    "make", [lambda: digits_net((1, 8, 8), 10), lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))]
)
def test_a_network_without_blocks_is_refused(make: Callable[[], nn.Module]) -> None:
    model = make()
    assert blocks(model, torch.randn(1, 1, 8, 8)) == []
    with pytest.raises(UserError, match=r"^model net has no residual blocks: take another granularity$"):
        structure(model, torch.randn(1, 1, 8, 8), **LAYER)


@pytest.mark.parametrize("affine", [True, False])
def test_a_block_whose_batch_norm_has_no_scale_adds_its_mean_and_is_none(affine: bool) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
            self.bn = nn.BatchNorm2d(4, affine=affine)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x + self.bn(self.conv(x)))  # type: ignore[no-any-return]

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Residual(), nn.Flatten(), nn.Linear(144, 5))
    assert [units.name for units in blocks(model, torch.rand(1, 3, 8, 8))] == (["2"] if affine else [])
