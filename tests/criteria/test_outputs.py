"""The first activation output after each layer: found through additions, norms, pooling and concatenation."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.resnet import resnet
from bench.models.vgg import vgg
from bench.models.wide_resnet import wide_resnet
from criteria.tools.outputs import first_activations


def hooked(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return what each ReLU module returns."""
    outputs: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
    with torch.no_grad():
        model(inputs)
    return outputs


def vgg_relus(_: nn.Module) -> dict[str, str]:
    convolutions = [i for i, module in enumerate(vgg((3, 32, 32), 10)) if isinstance(module, nn.Conv2d)]
    return {f"{i}.weight": f"{i + 2}" for i in convolutions}


def resnet_relus(_: nn.Module) -> dict[str, str]:
    """After the batch norm; for a block's last convolution after the addition."""
    blocks = [f"stage{s}.{b}" for s in (1, 2, 3) for b in (0, 1)]
    return {"conv.weight": "relu"} | {f"{b}.conv{i}.weight": f"{b}.relu{i}" for b in blocks for i in (1, 2)}


def wide_relus(model: nn.Module) -> dict[str, str]:
    """A block's last convolution and its shortcut are first seen by the next block's first ReLU."""
    blocks = [f"stage{s}.{b}" for s in (1, 2, 3) for b in (0, 1)]
    following = dict(zip(blocks, [*(f"{block}.relu1" for block in blocks[1:]), "relu"], strict=True))
    inner = {f"{b}.conv1.weight": f"{b}.relu2" for b in blocks}
    last = {f"{b}.{layer}.weight": following[b] for b in blocks for layer in ("conv2", "shortcut")}
    expected = {"conv.weight": "stage1.0.relu1"} | inner | last
    return {name: relu for name, relu in expected.items() if name in dict(model.named_parameters())}


@pytest.mark.parametrize(
    ("build", "relus"),
    [
        (lambda: vgg((3, 32, 32), 10), vgg_relus),
        (lambda: resnet((3, 32, 32), 10, depth=14), resnet_relus),
        (lambda: wide_resnet((3, 32, 32), 10, depth=16, width=2), wide_relus),
    ],
)
def test_the_networks_of_the_suite(build, relus):
    model = build().eval()
    inputs = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs, found = first_activations(model, inputs)
    expected, by_relu = relus(model), hooked(model, inputs)
    assert {channels.layer for channels, _ in found} == set(expected)
    for channels, output in found:
        assert torch.equal(output, by_relu[expected[channels.layer]])
        assert (channels.dim, channels.start, channels.size) == (1, 0, output.shape[1])
    assert torch.equal(outputs, model(inputs))


class Flows(nn.Module):
    """Convolutions 2 -> 3 -> 3 (or 5 -> 3), joined as told; returns what the first activation shall be."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.relu = how, nn.ReLU(inplace=True)
        self.one, self.two = nn.Conv2d(2, 3, 1), nn.Conv2d(5 if how == "joined" else 3, 3, 1)
        self.linear = nn.Linear(2, 3)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x):
        one = self.one(x)
        return getattr(self, "_" + self.how)(x, one)

    def _pooled(self, x, one):
        return F.relu(F.max_pool2d(one, 2))

    def _in_place(self, x, one):
        one = one * 2
        self.relu(one)  # its result is dropped
        return one

    def _written_into(self, x, one):
        activated = self.relu(one)
        expected = activated.clone()
        activated += 7
        return expected

    def _shared(self, x, one):
        activated = self.relu(one)
        self.relu(self.two(activated))
        return activated

    def _joined(self, x, one):
        activated = F.gelu(self.norm(torch.cat([x, one], dim=1)))
        self.two(activated)
        return activated

    def _twice(self, x, one):
        return one.relu() + self.one(x).relu()

    def _straight(self, x, one):
        return F.relu(self.two(one))

    def _moved(self, x, one):
        return one.transpose(1, 2).relu()

    def _tokens(self, x, one):
        return F.gelu(self.linear(x.movedim(1, -1)))


@pytest.mark.parametrize(
    ("how", "places"),
    [
        ("pooled", {"one.weight": (1, 0)}),
        ("in_place", {"one.weight": (1, 0)}),
        ("written_into", {"one.weight": (1, 0)}),
        ("shared", {"one.weight": (1, 0)}),
        ("joined", {"one.weight": (1, 2)}),
        ("twice", {}),  # which of the two calls it would be about is not defined
        ("straight", {"two.weight": (1, 0)}),  # the other's channels reach a layer before an activation
        ("moved", {}),
        ("tokens", {"linear.weight": (3, 0)}),
    ],
)
@pytest.mark.parametrize("size", [(4, 4), (3, 6)])
def test_what_happens_on_the_way(how, places, size):
    model = Flows(how).eval()
    with torch.no_grad():
        expected, found = first_activations(model, torch.randn(2, 2, *size))
    found = [(channels, output) for channels, output in found if how != "shared" or channels.layer == "one.weight"]
    assert {channels.layer: (channels.dim, channels.start) for channels, output in found} == places
    for channels, output in found:
        assert torch.equal(output, expected)
        assert channels.of(output).shape[:2] == (2, 3)
        if how == "joined":
            assert torch.equal(channels.of(output), expected[:, 2:])
