"""Wanda: input norms against loops over samples, positions and kernel positions."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import criteria


def wanda(model: nn.Module, batches: list[Tensor]) -> dict[str, Tensor]:
    return criteria.load("wanda").score(model, [(inputs, None) for inputs in batches], None)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv2d_by_loops(layer: nn.Conv2d, inputs: Tensor, padding: tuple[int, int, int, int], mode: str) -> Tensor:
    """Return abs(w) * norm: for every output position, collect the input element under each weight."""
    weight, (stride, dilation) = layer.weight.detach(), (layer.stride, layer.dilation)
    padded = F.pad(inputs, padding, mode=mode)
    outputs, per_group, height, width = weight.shape
    positions = [
        (size - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, gap in zip(padded.shape[2:], (height, width), stride, dilation, strict=True)
    ]
    score = torch.zeros_like(weight)
    for o, i, u, v in itertools.product(range(outputs), range(per_group), range(height), range(width)):
        channel = o // (outputs // layer.groups) * per_group + i
        total = 0.0
        for n, y, x in itertools.product(range(len(inputs)), range(positions[0]), range(positions[1])):
            total += float(padded[n, channel, y * stride[0] + u * dilation[0], x * stride[1] + v * dilation[1]]) ** 2
        score[o, i, u, v] = abs(float(weight[o, i, u, v])) * total**0.5
    return score


CONVOLUTIONS = {
    "plain": ({"kernel_size": 3}, (0, 0, 0, 0), "constant"),
    "padded": ({"kernel_size": 3, "padding": (1, 2)}, (2, 2, 1, 1), "constant"),
    "strided": ({"kernel_size": (3, 2), "stride": (2, 3), "padding": 1}, (1, 1, 1, 1), "constant"),
    "dilated": ({"kernel_size": 2, "dilation": (2, 3)}, (0, 0, 0, 0), "constant"),
    "grouped": ({"kernel_size": 3, "groups": 2, "stride": 2, "padding": 1}, (1, 1, 1, 1), "constant"),
    "depthwise": (
        {"kernel_size": 3, "groups": 4, "dilation": 2, "padding": 2, "bias": False},
        (2, 2, 2, 2),
        "constant",
    ),
    "same": ({"kernel_size": (2, 3), "padding": "same"}, (1, 1, 0, 1), "constant"),
    "reflected": ({"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}, (1, 1, 1, 1), "reflect"),
    "circular": ({"kernel_size": 3, "padding": 1, "padding_mode": "circular"}, (1, 1, 1, 1), "circular"),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_by_loops(kind):
    options, padding, mode = CONVOLUTIONS[kind]
    layer = nn.Conv2d(4, 4, **options).double()
    batches = [drawn(2, 4, 6, 7), drawn(1, 4, 6, 7, seed=1)]
    expected = conv2d_by_loops(layer, torch.cat(batches), padding, mode)
    torch.testing.assert_close(wanda(layer, batches)["weight"], expected, rtol=1e-12, atol=0)


def test_other_numbers_of_dimensions_and_transposed_convolutions():
    line, inputs = nn.Conv1d(2, 3, 3, stride=2).double(), drawn(3, 2, 8)
    squares = inputs.unfold(2, 3, 2).square().sum(dim=(0, 2))
    expected = line.weight.detach().abs() * squares.sqrt()
    torch.testing.assert_close(wanda(line, [inputs])["weight"], expected, rtol=1e-12, atol=0)

    volume, inputs = nn.Conv3d(2, 3, 2).double(), drawn(2, 2, 3, 3, 3)
    squares = torch.zeros(2, 2, 2, 2, dtype=torch.float64)
    for u, v, w in itertools.product(range(2), repeat=3):
        squares[:, u, v, w] = inputs[:, :, u : u + 2, v : v + 2, w : w + 2].square().sum(dim=(0, 2, 3, 4))
    expected = volume.weight.detach().abs() * squares.sqrt()
    torch.testing.assert_close(wanda(volume, [inputs])["weight"], expected, rtol=1e-12, atol=0)

    # Each weight [in, out, u, v] of a transposed convolution multiplies every position of its input channel.
    transposed, inputs = nn.ConvTranspose2d(2, 3, 2).double(), drawn(2, 2, 3, 3)
    norms = inputs.square().sum(dim=(0, 2, 3)).sqrt()
    expected = transposed.weight.detach().abs() * norms[:, None, None, None]
    torch.testing.assert_close(wanda(transposed, [inputs])["weight"], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(6, 4), (2, 3, 4), (2, 1, 3, 4)])
def test_leading_dimensions_of_a_linear_layer_are_samples(shape):
    layer, inputs = nn.Linear(4, 3).double(), drawn(*shape)
    norms = torch.tensor([sum(float(x) ** 2 for x in inputs.reshape(6, 4)[:, i]) ** 0.5 for i in range(4)])
    expected = layer.weight.detach().abs() * norms.double()
    torch.testing.assert_close(wanda(layer, [inputs])["weight"], expected, rtol=1e-6, atol=0)


def test_the_norms_are_of_what_reaches_the_layer():
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    inputs = drawn(7, 4)
    hidden = model[0](inputs).relu().detach()
    expected = model[2].weight.detach().abs() * hidden.norm(dim=0)
    torch.testing.assert_close(wanda(model, [inputs])["2.weight"], expected, rtol=1e-12, atol=0)


def test_norms_of_a_shared_weight_add_up_over_its_uses(build_case):
    case = build_case("tied")
    inputs = torch.cat([x for x, _ in case.batches])
    hidden = torch.tanh(case.model.first(inputs)).detach()
    expected = case.model.first.weight.detach().abs() * torch.cat([inputs, hidden]).norm(dim=0)
    torch.testing.assert_close(wanda(case.model, [inputs])["first.weight"], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_attention_by_its_definition(batch_first, training):
    """The packed projection reads queries, keys and values; the output projection the heads' weighted values."""

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(4, 2, batch_first=batch_first)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.inner(inputs, inputs * 2, inputs + 1)[0]

    model, inputs = Attends().double().train(training), drawn(2, 2, 4)
    scores, weight = wanda(model, [inputs]), model.inner.in_proj_weight.detach()
    norms = [x.reshape(-1, 4).norm(dim=0).expand(4, 4) for x in (inputs, inputs * 2, inputs + 1)]
    torch.testing.assert_close(scores["inner.in_proj_weight"], weight.abs() * torch.cat(norms), rtol=1e-12, atol=0)

    x = inputs if batch_first else inputs.transpose(0, 1)
    q, k, v = (a @ w.T for a, w in zip((x, x * 2, x + 1), weight.chunk(3), strict=True))
    heads = torch.zeros(2, 2, 4, dtype=torch.float64)
    for n, part in itertools.product(range(2), (slice(0, 2), slice(2, 4))):
        attention = (q[n, :, part] @ k[n, :, part].T / 2**0.5).softmax(dim=1)
        heads[n, :, part] = attention @ v[n, :, part]
    expected = model.inner.out_proj.weight.detach().abs() * heads.view(-1, 4).norm(dim=0)
    torch.testing.assert_close(scores["inner.out_proj.weight"], expected, rtol=1e-12, atol=0)


def test_every_weight_of_a_transformer_is_scored_and_the_output_is_as_ever():
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    before = layer(drawn(2, 3, 4))
    assert set(wanda(layer, [drawn(2, 3, 4)])) == set(criteria.load("magnitude").score(layer, [], None))
    assert torch.equal(layer(drawn(2, 3, 4)), before)


@pytest.mark.parametrize("cut", [[9], [2, 7], [1] * 9])
def test_the_cut_does_not_matter(case, cut):
    assert criteria.describe("wanda").facts["UNIT"] == "sample"
    inputs = torch.cat([x for x, _ in case.batches])
    expected, scores = wanda(case.model, [inputs]), wanda(case.model, list(inputs.split(cut)))
    assert tuple(scores) == case.weights
    for name in case.weights:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-12, atol=0)


def test_no_hooks_and_no_gradients_are_left(build_case):
    case = build_case("grouped")
    scores = criteria.load("wanda").function(case.model, case.batches, None)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in case.model.modules())
    assert not any(score.requires_grad for score in scores.values())
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert not case.model(case.batches[0][0]).isnan().any()


def test_a_weight_called_as_a_function_is_seen_and_one_that_is_not_used_is_left_out():
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.idle = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            return F.linear(F.linear(inputs, self.one.weight), bias=None, weight=self.two.weight)

    model, inputs = ByHand().double(), drawn(5, 3)
    scores = wanda(model, [inputs])
    assert set(scores) == {"one.weight", "two.weight"}
    expected = model.one.weight.detach().abs() * inputs.norm(dim=0)
    torch.testing.assert_close(scores["one.weight"], expected, rtol=1e-12, atol=0)


def test_its_defaults_are_the_papers():
    facts = criteria.describe("wanda").facts
    assert (facts["SCOPE"], facts["SCHEDULE"], facts["WHEN"]) == ("row", "one_shot", "trained")
    assert "arXiv:2306.11695" in facts["SOURCE"]
