"""Which channels go together, as a reader of each network would say."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ConvNeXt, MobileNetV2
from torchvision.models.convnext import CNBlockConfig

from bench.channels import channels
from bench.errors import UserError
from bench.masks import apply_masks_
from bench.models.resnet import resnet
from bench.models.text_transformer import text_transformer
from bench.structured import Structure
from bench.units import Units
from criteria.tools.parameters import prunable
from tests.helpers import cell, same, weights
from tests.structures import FILTER, check, seeded, some, structure

IMAGE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def owners(units: Units) -> dict[str, list[int]]:
    return {part.parameter: part.owner.tolist() for part in units.produced}


def by_name(groups: list[Units]) -> dict[str, Units]:
    return {units.name: units for units in groups}


def test_a_shortcut_of_zero_padding_couples_equal_numbers() -> None:
    groups = channels(resnet((3, 8, 8), 10, depth=8), IMAGE[:1])
    counts = {units.name: units.count for units in groups}
    inner = {f"stage{i}.0.conv1.weight": count for i, count in ((1, 16), (2, 32), (3, 64))}
    assert counts == {"conv.weight": 16, "stage2.0.conv2.weight": 16, "stage3.0.conv2.weight": 32} | inner
    sixteen, none = list(range(16)), [-1] * 16
    found = by_name(groups)
    assert owners(found["conv.weight"]) == {
        "conv.weight": sixteen,
        "stage1.0.conv2.weight": sixteen,
        "stage2.0.conv2.weight": sixteen + none,
        "stage3.0.conv2.weight": sixteen + none * 3,
    }
    assert owners(found["stage2.0.conv2.weight"]) == {
        "stage2.0.conv2.weight": none + sixteen,
        "stage3.0.conv2.weight": none + sixteen + none * 2,
    }
    assert owners(found["stage3.0.conv2.weight"]) == {"stage3.0.conv2.weight": none * 2 + list(range(32))}
    read = {part.parameter: part.owner.tolist() for part in found["stage3.0.conv2.weight"].others if part.dim == 1}
    assert read == {"linear.weight": none * 2 + list(range(32))}


def test_tracing_leaves_model_gradients_mode_and_generator_as_they_were() -> None:
    model = resnet((3, 8, 8), 10, depth=8).eval()
    model.conv.weight.requires_grad_(False)
    before, state = weights(model), torch.get_rng_state()
    structure(model, IMAGE[:1])
    assert same(weights(model), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.conv.weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def small(model: nn.Module, seed: int = 0) -> nn.Module:
    whole = structure(model, IMAGE[:1])
    masks = whole.masks(model, some(whole.groups, seed))
    apply_masks_(model, masks)
    return whole.compacted(model, masks).model


def grouped() -> nn.Module:
    first = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1, groups=4))
    second = (nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 6, 1, groups=2), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU())
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(64, 5))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_group_of_a_convolution_loses_as_many(seed: int) -> None:
    model = seeded(grouped, IMAGE)
    whole = structure(model, IMAGE[:1])
    # 8 inputs in 4 groups: pairs. 12 channels, made by 4 groups of 3 and read by 2 of 6: what makes both balance.
    assert {units.name: units.count for units in whole.groups} == {
        "0.weight": 2,
        "3.weight": 3,
        "6.weight": 3,
        "8.weight": 4,
    }
    check(model, whole, some(whole.groups, seed), IMAGE)
    kept = some(whole.groups, seed)
    mask = whole.masks(model, kept)["3.weight"].flatten(1).any(1)
    assert len(set(mask.view(4, 3).sum(1).tolist())) == len(set(mask.view(2, 6).sum(1).tolist())) == 1


def test_depthwise_convolutions_go_with_what_they_read() -> None:
    groups = channels(MobileNetV2(10), torch.randn(1, 3, 32, 32))
    block = next(units for units in groups if units.name == "features.2.conv.0.0.weight")
    assert owners(block) == {name: list(range(96)) for name in (block.name, "features.2.conv.1.0.weight")}
    compact = MobileNetV2(10).eval()
    compact.load_state_dict(seeded(lambda: MobileNetV2(10), torch.randn(2, 3, 64, 64)).state_dict())
    for module in small(compact).modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            assert module.groups == module.in_channels == module.out_channels


@pytest.mark.parametrize("name", ["text", "vit"])
def test_attention_loses_heads_whole(name: str) -> None:
    if name == "text":
        model: nn.Module = text_transformer((12,), 3, vocabulary=50, width=32, heads=4, depth=1)
        sample, width = torch.ones(1, 12, dtype=torch.long), 32
    else:
        model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
        sample, width = torch.randn(1, 3, 32, 32), 192
    found = by_name(channels(model, sample))
    assert set(found) == {"blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"}  # the rest is read by a LayerNorm
    heads = found["blocks.0.attn.qkv.weight"]
    each = [head for head in range(heads.count) for _ in range(width // heads.count)]
    assert heads.count == (4 if name == "text" else 3)
    assert owners(heads) == {"blocks.0.attn.qkv.weight": each * 3}
    parts = {(part.parameter, part.dim): part.owner.tolist() for part in heads.others}
    assert parts == {("blocks.0.attn.qkv.bias", 0): each * 3, ("blocks.0.attn.proj.weight", 1): each}


class Net(nn.Module):
    """A user's network: layers by name, and what it does with them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def normed(norm: nn.Module) -> nn.Module:
    return nn.Sequential(conv(3, 8), norm, nn.ReLU(), conv(8, 6), nn.Flatten(), nn.Linear(96, 5))


def convolution_last() -> nn.Module:
    return nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def tied() -> nn.Module:
    one, other = nn.Linear(8, 8), nn.Linear(8, 8)
    other.weight = one.weight
    inner = (nn.Linear(48, 8), nn.Tanh(), one, nn.Tanh(), other, nn.Tanh(), nn.Linear(8, 6), nn.Tanh())
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(6, 3))


def called_twice() -> nn.Module:
    return Net(
        lambda m, x: m.c(m.b(torch.relu(m.b(m.a(x)))).mean((2, 3))), a=conv(3, 8), b=conv(8, 8), c=nn.Linear(8, 5)
    )


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=5)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (convolution_last, ["0.weight"]),
        (lambda: normed(nn.GroupNorm(2, 8)), ["3.weight"]),
        (lambda: normed(nn.LayerNorm([8, 4, 4])), ["3.weight"]),
        (lambda: normed(nn.InstanceNorm2d(8, affine=True)), ["0.weight", "3.weight"]),
        (lambda: normed(nn.PReLU()), ["0.weight", "3.weight"]),
        (lambda: normed(nn.PReLU(8)), ["0.weight", "3.weight"]),
        (tied, ["7.weight"]),
        (called_twice, ["a.weight"]),
    ],
    ids=["output", "group norm", "layer norm", "instance norm", "PReLU", "PReLUs", "tied", "called twice"],
)
def test_what_is_left_alone(make: Callable[[], nn.Module], names: list[str]) -> None:
    model = seeded(make, IMAGE)
    whole = structure(model, IMAGE[:1])
    assert [units.name for units in whole.groups] == names
    check(model, whole, some(whole.groups), IMAGE)


def test_a_convnext_loses_only_what_its_blocks_widen_to() -> None:
    groups = channels(convnext(), torch.randn(1, 3, 16, 16))
    assert {units.name: units.count for units in groups} == {
        "features.1.0.block.3.weight": 32,
        "features.3.0.block.3.weight": 64,
    }


# users' networks


def dense() -> nn.Module:
    """Each layer reads all before it, and the last maps of 4x4 are flattened."""

    def run(m: Any, x: Tensor) -> Tensor:
        first = torch.relu(m.norm(m.a(x)))
        second = torch.cat([first, torch.relu(m.b(first))], 1)
        third = torch.cat([torch.relu(m.c(second)), second], 1)
        return m.out(m.last(third).flatten(1))

    layers = {"a": conv(3, 6), "norm": nn.BatchNorm2d(6), "b": conv(6, 4), "c": conv(10, 5), "last": nn.BatchNorm2d(15)}
    return Net(run, **layers, out=nn.Linear(15 * 16, 4))


def squeezed() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.out(
            (x * torch.sigmoid(m.up(torch.relu(m.down(x.mean((2, 3)))))).view(2 if len(x) == 2 else 1, -1, 1, 1)).mean(
                (2, 3)
            )
        )

    return Net(run, a=conv(3, 8), down=nn.Linear(8, 4), up=nn.Linear(4, 8), out=nn.Linear(8, 5))


def padded(front: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.out(
            (F.pad(m.a(x), (0, 0, 0, 0, front, m.b.out_channels - m.a.out_channels - front)) + m.b(x)).mean((2, 3))
        )

    return Net(run, a=conv(3, 4), b=conv(3, 8), out=nn.Linear(8, 5))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (dense, {"a.weight": 6, "b.weight": 4, "c.weight": 5}),
        (squeezed, {"a.weight": 8, "down.weight": 4}),
        (lambda: padded(0), {"a.weight": 4, "b.weight": 4}),
        (lambda: padded(2), {"a.weight": 4}),  # the number 2 would have to change with b
    ],
    ids=["concatenated and flattened", "squeezed and excited", "padded", "padded in front"],
)
def test_a_users_network(make: Callable[[], nn.Module], counts: dict[str, int], seed: int) -> None:
    model = seeded(make, IMAGE)
    whole = structure(model, IMAGE[:1])
    assert {units.name: units.count for units in whole.groups} == counts
    check(model, whole, some(whole.groups, seed), IMAGE)


def rearranged(run: Callable[[Tensor], Tensor], width: int = 8) -> Callable[[], nn.Module]:
    layers = {"a": conv(3, 8), "b": conv(width, 6), "out": nn.Linear(6, 5)}
    return lambda: Net(lambda m, x: m.out(m.b(run(m.a(x))).mean((2, 3))), **layers)


@pytest.mark.parametrize(
    "make",
    [
        rearranged(lambda x: x.flip(1)),
        rearranged(lambda x: x - x.mean(1, keepdim=True)),
        rearranged(lambda x: x.softmax(1)),
        rearranged(lambda x: x[:, :4], 4),
        rearranged(lambda x: F.glu(x, 1), 4),
        rearranged(lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1], 4),
        rearranged(lambda x: x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)),
    ],
    ids=["flip", "mean", "softmax", "slice", "glu", "chunk", "shuffle"],
)
def test_channels_that_a_models_own_code_counts_or_moves_are_left_alone(make: Callable[[], nn.Module]) -> None:
    """The graph takes these for operations on single elements: masked and compacted would differ, or shapes not fit."""
    model = seeded(make, IMAGE)
    whole = structure(model, IMAGE[:1])
    assert [units.name for units in whole.groups] == ["b.weight"]
    check(model, whole, some(whole.groups), IMAGE)


def test_a_network_that_cannot_be_traced_is_refused_in_one_line() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(conv(3, 8)), nn.Flatten(), nn.Linear(128, 5))
    with pytest.raises(UserError, match=r"^model net: which of its parts go together cannot be traced .*weight$"):
        structure(model, IMAGE[:1])
    with pytest.raises(UserError, match=r"^model net has no channels that can be removed whole"):
        structure(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), IMAGE[:1])


def test_channels_of_excluded_layers_stay_and_with_them_all_that_is_coupled() -> None:
    model = resnet((3, 8, 8), 10, depth=8)
    part = prunable(model).keys() - {"stage2.0.conv2.weight"}
    one = cell(granularity=FILTER)
    names = [units.name for units in Structure(one, model, part, torch.randn(1, 3, 8, 8)).groups]
    assert names == ["stage1.0.conv1.weight", "stage2.0.conv1.weight", "stage3.0.conv1.weight", "stage3.0.conv2.weight"]
