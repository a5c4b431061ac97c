"""The built-in networks against their papers."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.digits_net import digits_net
from bench.models.lenet import lenet300_100
from bench.models.resnet import Block, resnet
from bench.models.resnet18_cifar import resnet18
from bench.models.vgg import vgg
from bench.models.wide_resnet import wide_resnet
from criteria.tools.parameters import prunable

CIFAR = (3, 32, 32)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def seeded(factory: Any, *args: Any, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = factory(*args, **options)
    return model


@pytest.mark.parametrize(
    ("depth", "parameters", "published_m", "digits"),
    # Millions: He et al. 2016 (arXiv:1512.03385), table 6.
    [
        (20, 269_722, 0.27, 2),
        (32, 464_154, 0.46, 2),
        (44, 658_586, 0.66, 2),
        (56, 853_018, 0.85, 2),
        (110, 1_727_962, 1.7, 1),
    ],
)
def test_resnet_sizes(depth: int, parameters: int, published_m: float, digits: int) -> None:
    assert size(resnet(CIFAR, 10, depth)) == parameters
    assert round(parameters / 1e6, digits) == published_m


@pytest.mark.parametrize("depth", [8, 20, 56])
def test_resnet_has_as_many_layers_as_its_name_says(depth: int) -> None:
    weights = [name for name, parameter in resnet(CIFAR, 10, depth).named_parameters() if parameter.dim() > 1]
    assert len(weights) == depth


@pytest.mark.parametrize(
    ("depth", "convolutions", "published_m"),
    # VGG-16: 1.5e7, Li et al. 2017 (arXiv:1608.08710), table 1, which adds a hidden linear layer of 512.
    # VGG-19: 20.04 million, Liu et al. 2017 (arXiv:1708.06519), table 1.
    [(16, [2, 2, 3, 3, 3], 14.7), (19, [2, 2, 4, 4, 4], 20.0)],
)
def test_vgg_sizes(depth: int, convolutions: list[int], published_m: float) -> None:
    channels = [c for c, count in zip([64, 128, 256, 512, 512], convolutions, strict=True) for _ in range(count)]
    expected = sum(9 * a * b + 2 * b for a, b in zip([3, *channels], channels, strict=False)) + 512 * 10 + 10
    model = vgg(CIFAR, 10, depth)
    assert size(model) == expected
    assert round(expected / 1e6, 1) == published_m
    assert len(prunable(model)) == depth - 2  # the two hidden linear layers are left out
    if depth == 19:
        assert round(expected / 1e6, 2) == 20.04


def test_wide_resnet_size() -> None:
    # 36.5 million: Zagoruyko and Komodakis 2016 (arXiv:1605.07146), table 4.
    with torch.device("meta"):
        model = wide_resnet(CIFAR, 10, 28, 10)
    expected, inputs = 3 * 16 * 9, 16
    for outputs in (160, 320, 640):
        for _ in range(4):
            expected += 2 * inputs + 9 * inputs * outputs + 2 * outputs + 9 * outputs * outputs
            expected += inputs * outputs if inputs != outputs else 0
            inputs = outputs
    expected += 2 * 640 + 640 * 10 + 10
    assert size(model) == expected == 36_479_194
    assert round(expected / 1e6, 1) == 36.5


def test_lenet_size() -> None:
    # 266,200 weights on 28x28 images: Frankle and Carbin 2019 (arXiv:1803.03635) round it to 266 thousand (figure 2).
    model = lenet300_100((1, 28, 28), 10)
    assert sum(weight.numel() for weight in prunable(model).values()) == 784 * 300 + 300 * 100 + 100 * 10 == 266_200


def test_digits_net_size() -> None:
    weights = prunable(digits_net((1, 8, 8), 10))
    assert sum(weight.numel() for weight in weights.values()) == 9 * (16 + 16 * 32 + 32 * 32) + 128 * 10 == 15_248


def small_nets() -> list[Any]:
    return [
        pytest.param(resnet, (3, 9, 9), {"depth": 8}, id="resnet"),
        pytest.param(wide_resnet, (3, 9, 9), {"depth": 10, "width": 2}, id="wide_resnet"),
        pytest.param(vgg, CIFAR, {"depth": 16}, id="vgg"),
        pytest.param(lenet300_100, (2, 3, 5), {}, id="lenet"),
        pytest.param(digits_net, (1, 8, 8), {}, id="digits_net"),
    ]


@pytest.mark.parametrize(("factory", "shape", "options"), small_nets())
def test_every_weight_takes_part_and_each_sample_is_on_its_own(
    factory: Any, shape: tuple[int, ...], options: dict[str, int]
) -> None:
    model = seeded(factory, shape, 6, **options)
    inputs = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    outputs = model(inputs)
    assert outputs.shape == (4, 6)
    F.cross_entropy(outputs, torch.arange(4)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    model.eval()
    with torch.inference_mode():
        together, alone = model(inputs), torch.cat([model(one) for one in inputs.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("factory", "shape", "options"), small_nets())
def test_the_memory_format_is_the_harnesss_choice(
    factory: Any, shape: tuple[int, ...], options: dict[str, int]
) -> None:
    model = seeded(factory, shape, 6, **options).eval()
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(inputs)
        model.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            model(inputs.contiguous(memory_format=torch.channels_last)), expected, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(("factory", "shape", "options"), small_nets())
def test_the_initialisation_is_he_normal(factory: Any, shape: tuple[int, ...], options: dict[str, int]) -> None:
    model = seeded(factory, shape, 6, **options)
    for name, parameter in prunable(model).items():
        weight = parameter.detach()
        fan_in = math.prod(weight.shape[1:])
        spread = 1 / math.sqrt(2 * weight.numel())  # of the standard deviation itself, relative
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / fan_in), rel=max(0.02, 5 * spread)), name
        assert abs(float(weight.mean())) < 5 * math.sqrt(2 / fan_in / weight.numel()), name
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name


def test_a_resnet_block_adds_its_input_or_every_second_pixel_with_empty_channels() -> None:
    def shortcut(inputs: int, outputs: int, stride: int, x: Tensor) -> Tensor:
        block = Block(inputs, outputs, stride).eval()
        nn.init.zeros_(block.conv2.weight)  # nothing but the shortcut is left
        with torch.inference_mode():
            return block(x)  # type: ignore[no-any-return]

    x = torch.rand(2, 16, 7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shortcut(16, 16, 1, x), x)
    down = shortcut(16, 32, 2, x)
    assert down.shape == (2, 32, 4, 4)
    for row in range(4):
        for column in range(4):
            assert torch.equal(down[:, :16, row, column], x[:, :, 2 * row, 2 * column])
    assert not down[:, 16:].any()


def test_a_wide_resnet_shortcut_reads_the_activated_input_where_the_shape_changes() -> None:
    from bench.models.wide_resnet import Block as WideBlock

    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    for outputs, stride in ((4, 1), (8, 2)):
        block = WideBlock(4, outputs, stride).eval()
        nn.init.zeros_(block.conv2.weight)
        with torch.inference_mode():
            result = block(x)
            scaled = F.relu(x / math.sqrt(1 + block.bn1.eps))
            expected = x if outputs == 4 else F.conv2d(scaled, block.shortcut.weight, stride=2)
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("factory", "options"),
    [(resnet, {"depth": 8}), (wide_resnet, {"depth": 10, "width": 1}), (vgg, {"depth": 16}), (resnet18, {})],
)
def test_gradients_keep_the_memory_format_of_the_activations(factory: Any, options: dict[str, int]) -> None:
    # A slice's gradient did not: ReLU's backward then read two formats side by side, at a tenth of a step's time.
    model = factory(CIFAR, 10, **options)
    formats: list[bool] = []

    def remember(gradient: Tensor) -> None:
        formats.append(gradient.is_contiguous(memory_format=torch.channels_last))

    for layer in (m for m in model.modules() if isinstance(m, nn.ReLU)):
        layer.register_forward_hook(lambda module, inputs, output: output.register_hook(remember) and None)
    images = torch.rand(2, *CIFAR).to(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)(images).sum().backward()
    # The last one's comes from the mean over positions, which has no format of its own.
    assert formats[1:] == [True] * (len(formats) - 1)
    assert len(formats) > 4
