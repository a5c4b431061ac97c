"""Fisher: per-sample gradients, batched, equal those taken one by one."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import criteria
from criteria import CriterionError
from criteria.tools import samples
from criteria.tools.samples import sample_gradients


def one_by_one(model: nn.Module, batches, loss=cross_entropy) -> dict[str, Tensor]:
    """Return the score by one backward a sample."""
    weights = {name: model.get_parameter(name) for name in criteria.load("magnitude").score(model, batches, None)}
    total, count = {name: torch.zeros_like(w) for name, w in weights.items()}, 0
    for inputs, targets in batches:
        for i in range(len(targets)):
            grads = torch.autograd.grad(loss(model(inputs[i : i + 1]), targets[i : i + 1]), list(weights.values()))
            for name, g in zip(weights, grads, strict=True):
                total[name] += (g * weights[name].detach()) ** 2 / 2
            count += 1
    return {name: value / count for name, value in total.items()}


def close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert actual.keys() == expected.keys()
    for name, score in expected.items():
        assert score.abs().max() > 0
        assert (actual[name] - score).abs().max() <= tolerance * score.abs().max()


def fisher(case, **options) -> dict[str, Tensor]:
    return criteria.load("fisher", **options).score(case.model, case.batches, cross_entropy)


@pytest.fixture
def fallbacks(monkeypatch) -> list[int]:
    """Return the sizes of the chunks that were run one sample at a time."""
    sizes, original = [], samples._one_by_one
    monkeypatch.setattr(samples, "_one_by_one", lambda *a: sizes.append(len(a[2])) or original(*a))
    return sizes


def test_it_is_the_mean_square_of_gradients_taken_one_by_one(case, fallbacks):
    close(fisher(case), one_by_one(case.model, case.batches))
    assert fallbacks == []


def test_it_is_the_mean_square_of_slopes_found_by_finite_differences(build_case):
    case = build_case("mlp")
    inputs, targets = (torch.cat(parts) for parts in zip(*case.batches, strict=True))
    for name, score in fisher(case).items():
        weight, expected = case.model.get_parameter(name).data, torch.zeros_like(score)
        for i in range(weight.numel()):
            value, losses = float(weight.view(-1)[i]), []
            for step in (1e-5, -1e-5):
                weight.view(-1)[i] = value + step
                losses.append(cross_entropy(case.model(inputs), targets, reduction="none").detach())
            weight.view(-1)[i] = value
            slopes = (losses[0] - losses[1]) / 2e-5
            expected.view(-1)[i] = (slopes * value).square().mean() / 2
        close({"": score}, {"": expected}, 1e-7)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_the_chunk_bounds_memory_and_changes_nothing_else(case, chunk):
    close(fisher(case, chunk=chunk), fisher(case))
    sizes = [len(next(iter(g.values()))) for g in sample_gradients(case.model, case.batches, cross_entropy, chunk)]
    assert max(sizes) == min(chunk, 5)
    assert sum(sizes) == 9


@pytest.mark.parametrize("cut", [[9], [2, 7], [1] * 9])
def test_the_unit_is_the_sample(case, cut):
    assert criteria.describe("fisher").facts["UNIT"] == "sample"
    inputs, targets = (torch.cat(parts) for parts in zip(*case.batches, strict=True))
    batches = list(zip(inputs.split(cut), targets.split(cut), strict=True))
    close(criteria.load("fisher").score(case.model, batches, cross_entropy), fisher(case))


def test_taylor_with_batches_of_one_is_twice_fisher(case):
    pairs = [(x[i : i + 1], y[i : i + 1]) for x, y in case.batches for i in range(len(y))]
    taylor = criteria.load("taylor").score(case.model, pairs, cross_entropy)
    close({name: score / 2 for name, score in taylor.items()}, fisher(case))


class Branches(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.small(inputs) if inputs.sum() < 0 else self.large(inputs) * 2


class WritesInPlace(nn.Module):
    """Adds a sample into a constant, which torch.func cannot batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        offset = torch.zeros(len(inputs), 3, dtype=inputs.dtype)
        offset += self.linear(inputs)
        return torch.tanh(offset)


class Square(torch.autograd.Function):
    """A function of the old style, with no rule for torch.func."""

    @staticmethod
    def forward(context, inputs):
        context.save_for_backward(inputs)
        return inputs**2

    @staticmethod
    def backward(context, grad):
        return 2 * context.saved_tensors[0] * grad


class OldFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return Square.apply(self.linear(inputs))


@pytest.mark.parametrize("net", [Branches, WritesInPlace, OldFunction])
def test_what_cannot_be_batched_is_run_one_sample_at_a_time(net, build_case, fallbacks):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = net().double()
    batches = [(x, y % 3) for x, y in build_case("mlp").batches]
    score = criteria.load("fisher", chunk=4).score(model, batches, cross_entropy)
    assert fallbacks == [4, 1, 1, 3]

    weights = [module.weight for module in model.children()]
    expected = [torch.zeros_like(w) for w in weights]
    for x, y in batches:
        for i in range(len(y)):
            loss = cross_entropy(model(x[i : i + 1]), y[i : i + 1])
            for total, g in zip(expected, torch.autograd.grad(loss, weights, materialize_grads=True), strict=True):
                total += g**2 / 18
    for total, weight, value in zip(expected, weights, score.values(), strict=True):
        torch.testing.assert_close(value, total * weight.detach() ** 2, rtol=1e-12, atol=0)


def test_in_place_activations_are_batched(fallbacks):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).double()
    batches = [(torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3)]
    close(criteria.load("fisher").score(model, batches, cross_entropy), one_by_one(model, batches))
    assert fallbacks == []


def test_batch_norm_in_train_mode_sees_one_sample_and_moves_nothing(build_case, fallbacks):
    case = build_case("conv")
    case.model.train()
    before = {name: value.clone() for name, value in case.model.named_buffers()}
    scores = fisher(case)
    assert sum(fallbacks) == 9
    assert all(torch.equal(value, before[name]) for name, value in case.model.named_buffers())
    close(scores, one_by_one(case.model, case.batches))


def test_an_error_of_the_model_and_lack_of_memory_are_not_hidden(build_case, monkeypatch):
    case = build_case("mlp")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        criteria.load("fisher").score(case.model, [(torch.ones(2, 4).double(), torch.zeros(2).long())], cross_entropy)

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(samples, "_together", out_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        fisher(case)


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_without_samples_is_refused(chunk, build_case):
    with pytest.raises(CriterionError, match=rf"fisher: chunk={chunk}: it is a number of samples, at least 1"):
        fisher(build_case("mlp"), chunk=chunk)


def test_other_losses():
    model = nn.Linear(4, 1).double()
    batches = [(torch.randn(5, 4, dtype=torch.float64), torch.randn(5, dtype=torch.float64))]

    def squared(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, 0] - targets).square().mean()

    close(criteria.load("fisher").score(model, batches, squared), one_by_one(model, batches, squared))
