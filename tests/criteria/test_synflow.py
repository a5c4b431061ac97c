"""SynFlow: the sum over paths, conservation, deep nets, and what it refuses."""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import criteria
from bench.masks import apply_masks_, select
from bench.models.resnet import resnet
from bench.models.vgg import vgg
from criteria import CriterionError


def synflow(model: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    batches = [(torch.full((2, *shape), -3.0, dtype=dtype), torch.zeros(2, dtype=torch.int64))]
    return criteria.load("synflow").score(model, batches, F.cross_entropy)


def seeded(factory, seed: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = factory().double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model


def bias_free() -> nn.Module:
    convolutions = (nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(5, 4, 3, stride=2, bias=False))
    linear = (nn.Linear(16, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False))
    return nn.Sequential(*convolutions, nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), *linear)


def test_every_weight_gets_the_sum_over_the_paths_through_it():
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False)))
    model.append(nn.ReLU()).append(nn.Linear(2, 3, bias=False).double())
    matrices = [model[i].weight.detach() for i in (0, 2, 4)]
    scores = [torch.zeros_like(matrix) for matrix in matrices]
    for neurons in itertools.product(range(3), range(4), range(2), range(3)):
        places = [(neurons[layer + 1], neurons[layer]) for layer in range(3)]
        path = math.prod(abs(float(matrix[place])) for matrix, place in zip(matrices, places, strict=True))
        for score, place in zip(scores, places, strict=True):
            score[place] += path
    for actual, expected in zip(synflow(model, (3,)).values(), scores, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)


def test_paths_begin_at_biases_too_and_batch_norm_scales_them():
    """Each hidden neuron passes on (sum abs(w) + abs(b)) * abs(gamma) / sqrt(var + eps) + abs(beta)."""
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)))
    first, norm, _, last = model.requires_grad_(False)
    scores = synflow(model, (3,))
    for j in range(4):
        scale = abs(float(norm.weight[j])) / math.sqrt(float(norm.running_var[j]) + norm.eps)
        out = sum(abs(float(w)) for w in last.weight[:, j])
        for i in range(3):
            assert float(scores["0.weight"][j, i]) == pytest.approx(abs(float(first.weight[j, i])) * scale * out)
        signal = sum(abs(float(w)) for w in first.weight[j]) + abs(float(first.bias[j]))
        value = signal * scale + abs(float(norm.bias[j]))
        for k in range(2):
            assert float(scores["3.weight"][k, j]) == pytest.approx(value * abs(float(last.weight[k, j])))


def test_convolutions_lose_what_setting_a_weight_to_zero_takes_from_the_flow():
    """R is linear in each weight: w * dR/dw is R less R without w. Groups, stride, dilation, batch norm, biases."""
    model = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 3, 3, dilation=2, stride=2, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
            *(nn.Flatten(), nn.Linear(3, 2)),
        )
    )
    scores, positive = synflow(model, (2, 7, 7)), copy.deepcopy(model)
    for parameter in positive.parameters():
        parameter.data.abs_()
    positive[1].running_mean.zero_()
    ones = torch.ones(1, 2, 7, 7, dtype=torch.float64)
    with torch.no_grad():
        whole = float(positive(ones).sum())
        for name, score in scores.items():
            weights = positive.get_parameter(name).view(-1)
            for i, value in enumerate(weights.tolist()):
                weights[i] = 0
                lost = whole - float(positive(ones).sum())
                weights[i] = value
                assert float(score.view(-1)[i]) == pytest.approx(lost, rel=1e-9, abs=1e-12 * whole)


def test_the_flow_is_the_same_in_every_layer():
    sums = [float(score.sum()) for score in synflow(seeded(bias_free), (2, 8, 8)).values()]
    assert len(sums) == 4
    assert max(sums) / min(sums) - 1 < 1e-8
    assert sums[0] > 0


def test_what_flows_into_a_neuron_flows_out():
    scores = list(synflow(seeded(bias_free), (2, 8, 8)).values())
    into = [score.flatten(1).sum(dim=1) for score in scores[:-1]]
    out = [scores[1].sum(dim=(0, 2, 3)), scores[2].view(6, 4, 4).sum(dim=(0, 2)), scores[3].sum(dim=0)]
    for one, other in zip(into, out, strict=True):
        assert ((one - other).abs() <= 1e-8 * one.max()).all()
        assert (one > 0).all()


@pytest.mark.parametrize(
    ("factory", "variance"),
    [
        (lambda: vgg((3, 32, 32), 10, 19), 1.0),
        (lambda: vgg((3, 32, 32), 10, 19), 1e-4),
        (lambda: resnet((3, 32, 32), 10, 110), 1.0),
        (lambda: resnet((3, 32, 32), 10, 110), 1e-2),
    ],
)
def test_deep_nets_neither_overflow_nor_underflow(factory, variance):
    """Checked by conservation: no bias, so all of the flow passes each layer of a chain, and stem and head of a ResNet.

    Float32 would not do: it ends at 10^38.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = factory().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(variance)
    scores = synflow(model, (3, 32, 32), torch.float32)
    sums = {name: float(score.sum()) for name, score in scores.items()}
    chain = list(sums) if len(sums) < 20 else ["conv.weight", "linear.weight"]
    assert all(torch.isfinite(score).all() and (score >= 0).all() for score in scores.values())
    assert max(sums[name] for name in chain) / min(sums[name] for name in chain) - 1 < 1e-8
    if len(sums) > 20:
        assert 1e130 < sums["conv.weight"] < 1e300
        assert all((score[model.get_parameter(name) != 0] > 0).all() for name, score in scores.items())
        for name in (name for name in sums if name.endswith("conv1.weight")):  # what enters a branch leaves it
            assert sums[name] == pytest.approx(sums[name.replace("conv1", "conv2")], rel=1e-8)
            assert sums[name] < sums["conv.weight"]


def test_pruning_in_a_hundred_steps_leaves_every_layer_connected():
    """The paper's claim: down to one path nothing collapses, where one shot empties a layer."""
    model = seeded(bias_free)
    dense, total = copy.deepcopy(model), sum(p.numel() for p in model.parameters())
    left, masks = 12, None
    for step in range(1, 101):
        masks = select(synflow(model, (2, 8, 8)), 1 - (left / total) ** (step / 100), "global", masks)
        apply_masks_(model, masks)
    assert sum(int(mask.sum()) for mask in masks.values()) == left
    assert all(mask.any() for mask in masks.values())
    assert all(float(score.sum()) > 0 for score in synflow(model, (2, 8, 8)).values())
    one_shot = select(synflow(dense, (2, 8, 8)), 1 - left / total, "global")
    assert not all(mask.any() for mask in one_shot.values())


def test_neither_signs_nor_data_nor_means_nor_the_mode_matter():
    build = lambda: seeded(  # noqa: E731
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2)
        )
    )
    expected, changed = synflow(build(), (2, 6, 6)), build()
    changed[1].running_mean.fill_(100)
    for parameter in changed.parameters():
        parameter.data.neg_()
    changed.train()
    data = [(torch.randn(5, 2, 6, 6), torch.arange(5) % 2), (torch.randn(3, 2, 6, 6), torch.arange(3) % 2)]
    scores = criteria.load("synflow").score(changed, data, None)
    assert all(torch.equal(scores[name], expected[name]) for name in expected)
    changed[1].running_var.mul_(4)
    assert not torch.equal(synflow(changed, (2, 6, 6))["0.weight"], expected["0.weight"])


def test_nets_in_float32_are_scored_in_float64():
    single = seeded(bias_free).float()
    scores, expected = synflow(single, (2, 8, 8), torch.float32), synflow(single.double(), (2, 8, 8))
    assert all(torch.equal(scores[name], expected[name]) for name in expected)
    assert all(score.dtype == torch.float64 for score in scores.values())


def test_a_shared_weight_gets_the_flow_of_all_its_uses(build_case):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False)).double()
    model[2].weight = model[0].weight
    w = model[0].weight.detach().abs()
    expected = w * (w.sum(dim=0)[:, None].expand(2, 2) + (w @ torch.ones(2, dtype=torch.float64))[None])
    torch.testing.assert_close(synflow(model, (2,))["0.weight"], expected, rtol=1e-13, atol=0)


class Function(nn.Module):
    """A linear layer and a function after it, or a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.function = nn.Linear(4, 4), function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.first(inputs))


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attention(inputs, inputs, inputs)[0]


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (nn.LayerNorm(4), "LayerNorm"),
        (lambda x: F.layer_norm(x, (4,)), "LayerNorm"),
        (nn.GroupNorm(1, 3), "GroupNorm"),
        (nn.InstanceNorm1d(3), "InstanceNorm"),
        (nn.RMSNorm(4), "RMSNorm"),
        (SelfAttention(), "softmax attention"),
        (lambda x: F.scaled_dot_product_attention(x, x, x), "softmax attention"),
        (lambda x: (x @ x.mT).softmax(dim=-1) @ x, "softmax"),
        (nn.Softmax(dim=-1), "softmax"),
        (nn.LogSoftmax(dim=-1), "softmax"),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0), "softmax attention"),
        (nn.BatchNorm1d(3, track_running_stats=False), "batch norm function stores no variance"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_what_does_not_conserve_the_flow_is_refused_in_one_line(function, word, training):
    model = Function(function).double().train(training)
    with pytest.raises(CriterionError, match=word) as error:
        synflow(model, (3, 4))
    assert "\n" not in str(error.value)


def test_integer_inputs_no_batch_and_too_large_a_flow_are_refused():
    tokens = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    criterion = criteria.load("synflow")
    with pytest.raises(CriterionError, match="needs a batch of real-valued inputs"):
        criterion.score(tokens, [(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2))], None)
    with pytest.raises(CriterionError, match="needs a batch of real-valued inputs"):
        criterion.score(nn.Linear(2, 2), [], None)
    huge = nn.Sequential(*(nn.Linear(2, 2) for _ in range(40))).double()
    for parameter in huge.parameters():
        parameter.data.fill_(1e10)
    with pytest.raises(CriterionError, match="larger than float64 holds"):
        synflow(huge, (2,))


def test_its_defaults_are_the_papers():
    facts = criteria.describe("synflow").facts
    assert facts["SCHEDULE"] == {"name": "iterative", "steps": 100, "curve": "exponential"}
    assert (facts["WHEN"], facts["UNIT"], facts["SCOPE"], facts["GRANULARITY"]) == ("init", "mean", "global", "weight")
    assert "arXiv:2006.05467" in facts["SOURCE"]
