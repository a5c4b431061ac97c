"""Optimal brain damage: Hutchinson's diagonal against the whole Hessian."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

import criteria
from criteria import CriterionError
from criteria.tools import curvature


def exact(case, loss=cross_entropy) -> dict[str, Tensor]:
    """Return w^2 * diag(H) / 2 from the whole Hessian of the mean loss over all samples."""
    weights = {name: case.model.get_parameter(name).detach() for name in case.weights}
    inputs, targets = (torch.cat(parts) for parts in zip(*case.batches, strict=True))
    sizes = [weight.numel() for weight in weights.values()]

    def objective(flat: Tensor) -> Tensor:
        pieces = flat.split(sizes)
        parts = {n: piece.view(w.shape) for (n, w), piece in zip(weights.items(), pieces, strict=True)}
        return loss(functional_call(case.model, parts, (inputs,)), targets)

    flat = torch.cat([w.flatten() for w in weights.values()])
    scores = flat.square() * hessian(objective)(flat).diag() / 2
    return {n: s.view(w.shape) for (n, w), s in zip(weights.items(), scores.split(sizes), strict=True)}


def obd(case, **options) -> dict[str, Tensor]:
    return criteria.load("obd", **options).score(case.model, case.batches, cross_entropy)


def flat(scores: dict[str, Tensor]) -> Tensor:
    return torch.cat([score.detach().flatten() for score in scores.values()])


def correlation(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.corrcoef(torch.stack([flat(one), flat(other)]))[0, 1])


def test_a_thousand_probes_come_close_to_the_exact_diagonal(case):
    whole = case._replace(batches=[tuple(torch.cat(parts) for parts in zip(*case.batches, strict=True))])
    assert correlation(obd(whole, probes=1000), exact(case)) > 0.95


def test_more_probes_come_closer(build_case):
    case = build_case("grouped")
    expected = flat(exact(case))
    errors = [float((flat(obd(case, probes=n)) - expected).norm() / expected.norm()) for n in (4, 40, 400)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_the_mean_over_all_sign_vectors_is_the_exact_diagonal(monkeypatch):
    """No statistics: all 2^8 probes of a net with eight weights, biases left out of the Hessian."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2)).double()
        inputs = torch.randn(7, 2, dtype=torch.float64)
    batches = [(inputs[:3], torch.tensor([0, 1, 1])), (inputs[3:], torch.tensor([0, 0, 1, 0]))]

    def every_one(weights, count, seed):
        for signs in itertools.product((-1.0, 1.0), repeat=8):
            vector = torch.tensor(signs, dtype=torch.float64)
            yield {"0.weight": vector[:4].view(2, 2), "2.weight": vector[4:].view(2, 2)}

    monkeypatch.setattr(curvature, "_probes", every_one)
    score = criteria.load("obd", probes=256).score(model, batches, cross_entropy)
    from_hessian = exact(type("Case", (), {"model": model, "batches": batches, "weights": tuple(score)}))
    for name, expected in from_hessian.items():
        torch.testing.assert_close(score[name], expected, rtol=1e-11, atol=1e-16)


def test_one_probe_is_exact_where_the_hessian_is_diagonal():
    """One-hot inputs: each weight is one output of one sample; its loss is a_k * (w - y)^4."""
    model = nn.Linear(4, 3, bias=False).double()
    scale = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    targets = torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)

    def loss(outputs: Tensor, wanted: Tensor) -> Tensor:
        return ((outputs - wanted) ** 4 * scale).sum(dim=1).mean()

    identity = torch.eye(4, dtype=torch.float64)
    batches = [(identity[:1], targets[:1]), (identity[1:], targets[1:])]
    w = model.weight.detach()
    expected = w**2 * 12 * scale[:, None] * (w - targets.T) ** 2 / 4 / 2
    for seed in (0, 1):
        score = criteria.load("obd", probes=1, seed=seed).score(model, batches, loss)["weight"]
        torch.testing.assert_close(score, expected, rtol=1e-12, atol=0)
    assert (expected < 0).any()
    clamped = criteria.load("obd", probes=1, clamp=True).score(model, batches, loss)["weight"]
    torch.testing.assert_close(clamped, expected.clamp(min=0), rtol=1e-12, atol=0)


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature():
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "idle": nn.Linear(2, 2)})
    model.forward = lambda inputs: model["used"](inputs)
    batches = [(torch.ones(3, 2), torch.ones(3))]
    scores = criteria.load("obd", probes=2).score(model, batches, lambda out, y: (out[:, 0] * y).mean())
    assert all((score == 0).all() for score in scores.values())
    assert set(scores) == {"used.weight", "idle.weight"}


@pytest.mark.parametrize("cut", [[9], [2, 7], [1] * 9])
def test_the_same_probes_whatever_the_cut(case, cut):
    inputs, targets = (torch.cat(parts) for parts in zip(*case.batches, strict=True))
    batches = list(zip(inputs.split(cut), targets.split(cut), strict=True))
    again = criteria.load("obd", probes=5).score(case.model, batches, cross_entropy)
    expected = obd(case, probes=5)
    assert (flat(again) - flat(expected)).abs().max() <= 1e-12 * flat(expected).abs().max()


def test_the_seed_decides_and_the_global_generator_does_not(build_case):
    case = build_case("conv")
    first = obd(case, probes=3, seed=7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert torch.equal(flat(first), flat(obd(case, probes=3, seed=7)))
    assert not torch.equal(flat(first), flat(obd(case, probes=3, seed=8)))


def test_probes_are_signs_that_differ(build_case):
    weights = dict(build_case("conv").model.named_parameters())
    one, other = (torch.cat([v.flatten() for v in probe.values()]) for probe in curvature._probes(weights, 2, 0))
    assert set(one.tolist()) == {-1.0, 1.0}
    assert abs(float(one.mean())) < 0.3
    assert not torch.equal(one, other)


def test_without_a_probe_there_is_no_estimate(build_case):
    with pytest.raises(CriterionError, match="obd: probes=0: it is a number of random vectors, at least 1"):
        obd(build_case("mlp"), probes=0)


def test_fused_attention_has_a_second_derivative_here():
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            x = self.inner(inputs)[:, None]
            return self.head(F.scaled_dot_product_attention(x, x, x).mean(dim=(1, 2)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs = Attends().double(), torch.randn(6, 5, 4, dtype=torch.float64)
    case = type("Case", (), {"model": model, "batches": [(inputs, torch.arange(6) % 3)]})
    case.weights = ("inner.weight", "head.weight")
    with sdpa_kernel(SDPBackend.MATH):
        expected = exact(case)
    assert correlation(obd(case, probes=1000), expected) > 0.9
