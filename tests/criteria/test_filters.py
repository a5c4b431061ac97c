"""Scores of filters, each against a computation that shares no code with it, in float64."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import criteria
from criteria import CriterionError, NonFiniteScoresError

CONVOLUTIONS = {"0.weight": "1", "3.conv1.weight": "3.bn1", "3.conv2.weight": "3.bn2"}
"""Weight -> its batch norm, as a reader of the net would say."""
LAYERS = (*CONVOLUTIONS, "6.weight", "8.weight")


class Block(nn.Module):
    """conv - norm - ReLU - conv - norm - addition - ReLU; may share its ReLU with others."""

    def __init__(self, relu1: nn.Module, relu2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2, self.relu1, self.relu2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3), relu1, relu2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out += x
        return self.relu2(out)


def residual(shared: bool = True) -> nn.Module:
    """Return a net with one in-place ReLU for all layers, or the same with ReLUs of their own that copy."""
    one = nn.ReLU(inplace=True)
    relus = [one if shared else nn.ReLU() for _ in range(4)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = Block(relus[1], relus[2])
        first = (nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), relus[0], block, nn.MaxPool2d(2), nn.Flatten())
        model = nn.Sequential(*first, nn.Linear(12, 5), relus[3], nn.Linear(5, 3)).double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias, std=0.5)
    return model


def batches() -> list[tuple[Tensor, Tensor]]:
    inputs = torch.randn(9, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return list(zip(inputs.split([5, 1, 3]), (torch.arange(9) % 3).split([5, 1, 3]), strict=True))


def scored(name: str, model: nn.Module | None = None, **options) -> dict[str, Tensor]:
    if "granularity" in criteria.describe(name).options:
        options["granularity"] = "filter"
    return criteria.load(name, **options).score(model or residual(), batches(), cross_entropy)


def close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Equal up to a share of the layer's largest expected value."""
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].shape == value.shape
        assert (actual[name] - value).abs().max() <= tolerance * value.abs().max()
        assert value.abs().max() > 0


def slopes(loss, count: int, step: float = 1e-5) -> Tensor:
    """Return the derivatives of loss(factors) at ones, by central differences."""
    sides = [
        [loss(torch.ones(count).double().index_fill_(0, torch.tensor(i), 1 + d)).item() for d in (step, -step)]
        for i in range(count)
    ]
    return torch.tensor([above - below for above, below in sides], dtype=torch.float64) / (2 * step)


def test_taylor_by_weight_is_the_squared_derivative_for_a_factor_on_the_filter():
    model = residual()
    expected = {}
    for name in LAYERS:
        weight = model.get_parameter(name).detach()
        total = torch.zeros(len(weight), dtype=torch.float64)
        for x, y in batches():

            def loss(factors, x=x, y=y, name=name, weight=weight):
                gated = weight * factors.view(-1, *[1] * (weight.dim() - 1))
                return cross_entropy(functional_call(model, {name: gated}, (x,)), y)

            total += slopes(loss, len(weight)).square() / 3
        expected[name] = total
    close(scored("taylor", gate="weight"), expected, 1e-7)  # measured 2e-9: that of the differences


def gated_norms(model: nn.Module, norm: str, factors: Tensor, x: Tensor) -> Tensor:
    """Run the model with factors on what a batch norm returns."""
    handle = model.get_submodule(norm).register_forward_hook(lambda _, __, out: out * factors.view(1, -1, 1, 1))
    try:
        return model(x)
    finally:
        handle.remove()


def test_taylor_by_bn_is_the_squared_derivative_for_a_factor_on_the_norms_output():
    """Exactly: a factor z on gamma * x + beta has the derivative gamma * g_gamma + beta * g_beta at z = 1."""
    model, differences, derivatives = residual(), {}, {}
    for name, norm in CONVOLUTIONS.items():
        differences[name] = derivatives[name] = torch.zeros(3, dtype=torch.float64)
        for x, y in batches():
            run = lambda z, x=x, y=y, norm=norm: cross_entropy(gated_norms(model, norm, z, x), y)  # noqa: E731
            differences[name] = differences[name] + slopes(run, 3).square() / 3
            z = torch.ones(3, dtype=torch.float64, requires_grad=True)
            derivatives[name] = derivatives[name] + torch.autograd.grad(run(z), z)[0].square() / 3
    close(scored("taylor", gate="bn"), differences, 1e-7)  # measured 2e-9: that of the differences
    close(scored("taylor", gate="bn"), derivatives, 1e-13)  # measured 7e-16
    assert all(torch.equal(score, scored("taylor", gate="bn")[name]) for name, score in scored("taylor").items())


def test_taylor_by_bn_needs_a_norm_for_every_convolution_to_be_the_default():
    model = nn.Sequential(*residual()[:4], nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(32, 3)).double().eval()
    default, by_weight = scored("taylor", model), scored("taylor", model, gate="weight")
    assert list(default) == [*CONVOLUTIONS, "4.weight", "6.weight"]
    assert all(torch.equal(default[name], by_weight[name]) for name in by_weight)
    assert list(scored("taylor", model, gate="bn")) == list(CONVOLUTIONS)


def activations(model: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outputs and the first activation after each layer, by hooks on ReLUs that no layers share."""
    relus = dict(zip(LAYERS, ("2", "3.relu1", "3.relu2", "7"), strict=False))
    seen: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(relu).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
        for name, relu in relus.items()
    ]
    outputs = model(x)
    for handle in handles:
        handle.remove()
    return outputs, {name: seen[name] for name in relus}


@pytest.mark.parametrize("shared", [True, False])
def test_taylor_by_activation_is_that_of_hooks_and_one_sample_at_a_time(shared):
    total = dict.fromkeys(LAYERS[:4], 0)
    for x, y in itertools.chain(*(zip(x.split(1), y.split(1), strict=True) for x, y in batches())):
        outputs, seen = activations(residual(shared=False), x)
        for activation in seen.values():
            activation.retain_grad()
        cross_entropy(outputs, y).backward()
        for name, a in seen.items():
            positions = (a * a.grad).detach().reshape(a.shape[1], -1)
            total[name] = total[name] + positions.mean(1).abs() / 9
    expected = {name: value / value.square().sum().sqrt() for name, value in total.items()}
    close(scored("taylor", residual(shared), gate="activation"), expected, 1e-13)  # measured 3e-16


def test_taylor_by_activation_of_tokens_and_of_a_layer_that_does_nothing():
    model = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Flatten(), nn.Linear(12, 3)).double()
    x = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    criterion = criteria.load("taylor", granularity="filter", gate="activation")
    score = criterion.score(model, [(x, torch.tensor([0, 1, 2, 0]))], cross_entropy)
    hidden = model[1](model[0](x)).detach().requires_grad_()
    (cross_entropy(model[2:](hidden), torch.tensor([0, 1, 2, 0])) * 4).backward()
    expected = (hidden * hidden.grad).detach().mean(1).abs().mean(0)
    close(score, {"0.weight": expected / expected.norm()}, 1e-13)
    nn.init.zeros_(model[3].weight)
    assert (criterion.score(model, [(x, torch.zeros(4).long())], cross_entropy)["0.weight"] == 0).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "bn"}, "gate=bn: it is weight, bn or activation, and needs granularity=filter"),
        ({"gate": "relu", "granularity": "filter"}, "gate=relu: it is weight, bn or activation"),
        ({"granularity": "filters"}, "unknown granularity 'filters'; did you mean filter"),
    ],
)
def test_taylor_refuses_what_is_not_defined(options, words):
    with pytest.raises(CriterionError, match=words):
        criteria.load("taylor", **options).score(residual(), batches(), cross_entropy)


def test_an_activation_gate_needs_an_activation():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()
    with pytest.raises(CriterionError, match="no layer's channels reach an activation function"):
        scored("taylor", model, gate="activation")


@pytest.mark.parametrize("chunk", [1, 4])
def test_fisher_sums_over_the_filter_before_it_squares(chunk):
    model = residual()
    weights = [model.get_parameter(name) for name in LAYERS]
    expected = {name: torch.zeros(len(w), dtype=torch.float64) for name, w in zip(LAYERS, weights, strict=True)}
    for x, y in itertools.chain(*(zip(x.split(1), y.split(1), strict=True) for x, y in batches())):
        for name, w, g in zip(LAYERS, weights, torch.autograd.grad(cross_entropy(model(x), y), weights), strict=True):
            for filter in range(len(w)):
                expected[name][filter] += (w[filter] * g[filter]).sum().item() ** 2 / (2 * 9)
    close(scored("fisher", chunk=chunk), expected, 1e-13)  # measured 9e-16


def test_movement_sums_up_what_the_steps_do_to_the_norms():
    model, criterion = residual().train(), criteria.load("movement", granularity="filter")
    total = {name: torch.zeros(3, dtype=torch.float64) for name in CONVOLUTIONS}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for x, y in [*batches()[::2], *batches()[::2]]:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        for name, norm in CONVOLUTIONS.items():
            bn = model.get_submodule(norm)
            total[name] -= (bn.weight * bn.weight.grad + bn.bias * bn.bias.grad).detach()
        criterion.observe(model)
        optimizer.step()
    close(criterion.score(model, batches(), cross_entropy), total, 1e-13)  # measured 2e-16


def test_movement_without_a_step_is_that_of_the_given_batches():
    model = residual()
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    cross_entropy(model(x), y).backward()
    norms = {name: model.get_submodule(norm) for name, norm in CONVOLUTIONS.items()}
    expected = {n: -(b.weight * b.weight.grad + b.bias * b.bias.grad).detach() for n, b in norms.items()}
    close(scored("movement"), expected, 1e-13)  # measured 3e-16


def test_bn_scale_is_the_size_of_gamma_and_omits_layers_without_a_norm_of_their_own():
    model = residual()
    gammas = ([0.5, -2.0, 0.0], [-1.0, 3.0, 4.0], [0.1, 0.2, -0.3])
    for norm, gamma in zip(CONVOLUTIONS.values(), gammas, strict=True):
        model.get_submodule(norm).weight.data = torch.tensor(gamma, dtype=torch.float64)
    scores = {name: score.tolist() for name, score in scored("bn_scale", model).items()}
    assert scores == {name: list(map(abs, gamma)) for name, gamma in zip(CONVOLUTIONS, gammas, strict=True)}


@pytest.mark.parametrize("name", ["fpgm", "l1_norm", "l2_norm"])
def test_criteria_of_the_filters_weights_alone(name):
    model, expected = residual(), {}
    model[0].weight.data[2] = model[0].weight.data[0]
    for layer in LAYERS:
        rows = model.get_parameter(layer).detach().flatten(1).tolist()
        expected[layer] = torch.tensor(
            {
                "fpgm": [math.fsum(math.dist(row, other) for other in rows) for row in rows],
                "l1_norm": [math.fsum(map(abs, row)) for row in rows],
                "l2_norm": [math.hypot(*row) for row in rows],
            }[name],
            dtype=torch.float64,
        )
    scores = criteria.load(name).score(model, [], None)
    close(scores, expected, 1e-14)  # measured 2e-16
    assert scores["0.weight"][0] == scores["0.weight"][2], "equal filters score the same to the last bit"


@pytest.mark.parametrize("shared", [True, False])
def test_hrank_is_the_mean_rank_of_hooked_maps(shared):
    total = {name: torch.zeros(3) for name in CONVOLUTIONS}
    model = residual(shared=False)
    for x, _ in batches():
        _, seen = activations(model, x)
        for name, sample, channel in itertools.product(CONVOLUTIONS, range(len(x)), range(3)):
            total[name][channel] += int(torch.linalg.matrix_rank(seen[name][sample, channel].detach()))
    scores = scored("hrank", residual(shared))
    close(scores, {name: value.double() / 9 for name, value in total.items()}, 1e-15)
    assert len(torch.cat(list(scores.values())).unique()) > 4


def test_hrank_omits_maps_of_one_pixel_and_refuses_a_net_without_others():
    model = nn.Sequential(nn.Conv2d(2, 3, 5), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    assert list(scored("hrank", model.double())) == ["0.weight"]
    flat = nn.Sequential(nn.Conv2d(2, 3, 6), nn.ReLU(), nn.Flatten(), nn.Linear(3, 3)).double()
    with pytest.raises(CriterionError, match="hrank: no convolution is followed by an activation function with maps"):
        scored("hrank", flat)
    model[0].bias.data.fill_(math.nan)
    with pytest.raises(NonFiniteScoresError, match=r"hrank: the activations after 0\.weight are not finite"):
        scored("hrank", model)


@pytest.mark.parametrize("name", [name for name in criteria.available() if "filter" in criteria.describe(name).forms])
def test_packed_attention_and_transposed_convolutions_have_no_filters(name):
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.up = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 4, 2)
            self.attention, self.linear = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.up(self.bn(self.conv(x)).relu()).flatten(2).mT
            return self.linear(self.attention(tokens, tokens, tokens)[0].mean(1))

    scores = scored(name, Mixed().double().eval())
    assert "conv.weight" in scores
    assert not {"attention.in_proj_weight", "up.weight"} & set(scores)


def test_the_facts_of_filters_are_declared():
    facts = {name: criteria.describe(name) for name in criteria.available()}
    assert {n for n, d in facts.items() if d.forms == ("weight", "filter")} == {"fisher", "movement", "taylor"}
    only = {n for n, d in facts.items() if d.forms == ("filter",)}
    assert only == {"bn_scale", "fpgm", "hrank", "l1_norm", "l2_norm"}
    assert {n for n, d in facts.items() if d.facts["GRANULARITY"] == "filter" and d.facts["SCOPE"] == "layer"} == only
    assert {n for n, d in facts.items() if d.facts["COUPLED"] == "sum"} == {"fisher", "taylor"}
    assert {n for n, d in facts.items() if d.facts["SIGNED"]} == {"grasp", "movement", "obd"}
    assert {n for n, d in facts.items() if d.facts["SCALE"] == "layer"} == only - {"bn_scale"}
