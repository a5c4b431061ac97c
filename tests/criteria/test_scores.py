"""Every score equals a computation that shares no code with it: finite differences, a full Hessian, a closed form."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy

import criteria

FIRST_ORDER = ("gradient", "snip", "taylor")
BUILT_IN = ("gradient", "grasp", "magnitude", "random", "snip", "taylor")


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-7) -> None:
    """Equal up to a share of the largest expected value."""
    assert actual.dtype == expected.dtype == torch.float64
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()
    assert expected.abs().max() > 0


def whole(batches):
    """Return all samples as one batch."""
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


def loss_of(model: nn.Module, batch, loss=cross_entropy) -> float:
    with torch.no_grad():
        return float(loss(model(batch[0]), batch[1]))


def differences(model: nn.Module, weight: nn.Parameter, batch, loss=cross_entropy, step: float = 1e-5) -> Tensor:
    """Return the central finite differences of the loss of one batch, one entry of the weight at a time."""
    result = torch.zeros_like(weight)
    flat, slopes = weight.data.view(-1), result.view(-1)
    for i in range(len(flat)):
        value = float(flat[i])
        flat[i] = value + step
        above = loss_of(model, batch, loss)
        flat[i] = value - step
        slopes[i] = (above - loss_of(model, batch, loss)) / (2 * step)
        flat[i] = value
    return result


def curvature_flow(model: nn.Module, batch, names, temperature: float) -> dict[str, Tensor]:
    """Return Hg per weight from the full Hessian of the tempered loss over all prunable weights."""
    shapes = [model.get_parameter(name).shape for name in names]
    sizes = [shape.numel() for shape in shapes]

    def loss(flat: Tensor) -> Tensor:
        parts = {n: part.view(s) for n, part, s in zip(names, flat.split(sizes), shapes, strict=True)}
        return cross_entropy(functional_call(model, parts, (batch[0],)) / temperature, batch[1])

    flat = torch.cat([model.get_parameter(name).detach().view(-1) for name in names])
    product = hessian(loss)(flat) @ torch.func.grad(loss)(flat)
    return {n: part.view(s) for n, part, s in zip(names, product.split(sizes), shapes, strict=True)}


def scores_of(name: str, case, loss=cross_entropy, **options) -> dict[str, Tensor]:
    return criteria.load(name, **options).score(case.model, case.batches, loss)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_prunable_weight_is_scored_in_the_order_of_the_model(name, case):
    assert tuple(scores_of(name, case)) == case.weights


def test_gradient_is_the_slope_of_the_loss_over_all_samples(case):
    for name, score in scores_of("gradient", case).items():
        close(score, differences(case.model, case.model.get_parameter(name), whole(case.batches)).abs())


def test_snip_is_the_slope_times_the_weight(case):
    for name, score in scores_of("snip", case).items():
        weight = case.model.get_parameter(name)
        close(score, (differences(case.model, weight, whole(case.batches)) * weight.detach()).abs())


def test_taylor_is_the_mean_square_over_batches(case):
    for name, score in scores_of("taylor", case).items():
        weight = case.model.get_parameter(name)
        changes = [differences(case.model, weight, batch) * weight.detach() for batch in case.batches]
        close(score, torch.stack(changes).square().mean(dim=0))


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_grasp_is_the_weight_times_the_hessian_times_the_gradient(case, temperature):
    flow = curvature_flow(case.model, whole(case.batches), case.weights, temperature)
    for name, score in scores_of("grasp", case, temperature=temperature).items():
        close(score, case.model.get_parameter(name).detach() * flow[name], 1e-10)


def test_grasp_uses_temperature_200_unless_told(build_case):
    case = build_case("mlp")
    plain, told, other = (scores_of("grasp", case, **t) for t in ({}, {"temperature": 200.0}, {"temperature": 1.0}))
    assert torch.equal(plain["0.weight"], told["0.weight"])
    assert not torch.allclose(plain["0.weight"], other["0.weight"])


def test_grasp_score_ranks_the_loss_of_gradient_flow(case):
    """Shrinking w by the factor (1 - eps) lowers the squared gradient norm by 2 eps w Hg: most at the highest score."""
    inputs, targets = whole(case.batches)

    def flow() -> float:
        weights = [case.model.get_parameter(name) for name in case.weights]
        grads = torch.autograd.grad(cross_entropy(case.model(inputs), targets), weights)
        return float(sum(grad.square().sum() for grad in grads))

    epsilon, before, lowered = 1e-6, flow(), []
    for name in case.weights:
        flat = case.model.get_parameter(name).data.view(-1)
        for i in range(len(flat)):
            value = float(flat[i])
            flat[i] = value * (1 - epsilon)
            lowered.append(before - flow())
            flat[i] = value
    scores = torch.cat([score.view(-1) for score in scores_of("grasp", case, temperature=1.0).values()])
    assert int(scores.argmax()) == max(range(len(lowered)), key=lowered.__getitem__)
    assert int(scores.argmin()) == min(range(len(lowered)), key=lowered.__getitem__)
    close(2 * epsilon * scores, torch.tensor(lowered, dtype=torch.float64), 1e-4)
    assert scores.min() < 0 < scores.max()


def test_least_squares_in_closed_form():
    """loss = mean (xw - y)^2 / 2: g = X'(Xw - y) / n, H = X'X / n; temperature T turns x into x / T."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((12, 5), (12, 1)))
    model = nn.Linear(5, 1, bias=False).double()
    model.weight.data = torch.randn(1, 5, generator=generator, dtype=torch.float64)
    w = model.weight.detach().T
    batches = list(zip(x.split([7, 5]), y.split([7, 5]), strict=True))

    def score(name: str, **options) -> Tensor:
        criterion = criteria.load(name, **options)
        return criterion.score(model, batches, lambda out, target: (out - target).square().mean() / 2)["weight"].T

    g = x.T @ (x @ w - y) / 12
    parts = [a.T @ (a @ w - b) / len(a) for a, b in batches]
    close(score("gradient"), g.abs(), 1e-12)
    close(score("snip"), (g * w).abs(), 1e-12)
    close(score("taylor"), ((parts[0] * w) ** 2 + (parts[1] * w) ** 2) / 2, 1e-12)
    close(score("magnitude"), w.abs(), 1e-12)
    for t in (1.0, 4.0):
        g = (x / t).T @ (x / t @ w - y) / 12
        close(score("grasp", temperature=t), w * ((x / t).T @ (x / t) / 12 @ g), 1e-12)


def test_magnitude_is_the_absolute_weight_and_reads_no_data(case):
    scores = criteria.load("magnitude").score(case.model, [], cross_entropy)
    for name in case.weights:
        assert torch.equal(scores[name], case.model.get_parameter(name).detach().abs())


def test_random_is_one_uniform_draw_per_seed():
    wide = nn.Sequential(nn.Linear(200, 250), nn.Linear(250, 200))
    first, again, other = (criteria.load("random", seed=seed).score(wide, [], cross_entropy) for seed in (7, 7, 8))
    for name in ("0.weight", "1.weight"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
    noise = torch.cat([score.view(-1) for score in first.values()]).double().sort().values
    assert noise[0] >= 0
    assert noise[-1] < 1
    ranks = torch.arange(len(noise), dtype=torch.float64) / len(noise)
    assert (noise - ranks).abs().max() < 1.95 / len(noise) ** 0.5  # Kolmogorov-Smirnov at p = .001
    correlation = torch.corrcoef(torch.stack([first["0.weight"].reshape(-1), first["1.weight"].reshape(-1)]))
    assert abs(correlation[0, 1]) < 0.02


def test_random_ignores_weights_data_and_the_global_generator(build_case):
    case, before = build_case("conv"), scores_of("random", build_case("conv"), seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        case.model[0].weight.data.normal_()
        after = criteria.load("random", seed=3).score(case.model, [], cross_entropy)
    assert all(torch.equal(before[name], after[name]) for name in case.weights)


@pytest.mark.parametrize("name", ["gradient", "snip", "grasp"])
@pytest.mark.parametrize("cut", [[9], [2, 7], [1] * 9, [5, 1, 3]])
def test_unit_mean_does_not_depend_on_the_cut(name, cut, build_case):
    assert criteria.describe(name).facts["UNIT"] == "mean"
    case = build_case("grouped")
    inputs, targets = whole(case.batches)
    batches = list(zip(inputs.split(cut), targets.split(cut), strict=True))
    scores, expected = criteria.load(name).score(case.model, batches, cross_entropy), scores_of(name, case)
    for weight in case.weights:
        close(scores[weight], expected[weight], 1e-12)


def test_unit_mean_is_one_objective_not_a_mean_of_absolute_values():
    """Two batches with opposite gradients cancel."""
    model = nn.Linear(1, 1, bias=False).double()
    batches = [(torch.ones(1, 1).double(), torch.full((1, 1), sign).double()) for sign in (1.0, -1.0)]

    def linear(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs * targets).mean()

    assert criteria.load("snip").score(model, batches, linear)["weight"].item() == 0
    assert criteria.load("gradient").score(model, batches, linear)["weight"].item() == 0
    expected = model.weight.item() ** 2
    assert criteria.load("taylor").score(model, batches, linear)["weight"].item() == pytest.approx(expected)


def test_unit_of_taylor_is_the_batch(case):
    assert criteria.describe("taylor").facts["UNIT"] == "batch"
    one = [whole(case.batches)]
    taylor, snip = (criteria.load(name).score(case.model, one, cross_entropy) for name in ("taylor", "snip"))
    many = scores_of("taylor", case)
    for name in case.weights:
        close(taylor[name], snip[name].square(), 1e-12)
        assert not torch.allclose(many[name], taylor[name], rtol=0.01, atol=0)


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_the_highest_first_order_score_is_the_weight_that_matters_most(name, build_case):
    """Highest = kept: of all weights, a small move (gradient) or shrinking (snip, taylor) of it moves the loss most."""
    case = build_case("conv")
    batch = whole(case.batches)
    scores = criteria.load(name).score(case.model, [batch], cross_entropy)
    before, changes = loss_of(case.model, batch), []
    for weight in case.weights:
        flat = case.model.get_parameter(weight).data.view(-1)
        for i in range(len(flat)):
            value = float(flat[i])
            flat[i] = value - 1e-6 if name == "gradient" else value * (1 - 1e-6)
            changes.append(abs(loss_of(case.model, batch) - before))
            flat[i] = value
    flat_scores = torch.cat([score.view(-1) for score in scores.values()])
    assert int(flat_scores.argmax()) == max(range(len(changes)), key=changes.__getitem__)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_pruned_weight_scores_zero_where_the_weight_is_a_factor(name, build_case):
    case = build_case("mlp")
    case.model[0].weight.data[0, 0] = 0
    score = scores_of(name, case)["0.weight"][0, 0]
    assert (score == 0) == (name in ("magnitude", "snip", "taylor", "grasp"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_stale_gradients_do_not_enter(name, case):
    """Also not into the bare function, outside the guard."""
    expected, bare = scores_of(name, case), criteria.load(name)
    for parameter in case.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e3)
    guarded = scores_of(name, case)
    alone = bare.function(case.model, case.batches, cross_entropy)
    for weight in case.weights:
        assert torch.equal(guarded[weight], expected[weight])
        assert torch.equal(alone[weight].to(expected[weight].dtype), expected[weight])
    assert all((p.grad == 1e3).all() for p in case.model.parameters())


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("training", [True, False])
def test_scoring_moves_no_batch_norm_statistics_in_either_mode(name, training, build_case):
    case = build_case("grouped")
    case.model.train(training)
    before = {key: value.clone() for key, value in case.model.named_buffers()}
    scores_of(name, case)
    assert case.model.training is training
    assert all(torch.equal(value, before[key]) for key, value in case.model.named_buffers())


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_criterion_never_sets_the_mode(name, build_case, monkeypatch):
    """The harness does: calls of train() or eval() (which calls train) are refused, in either mode."""
    case = build_case("conv")
    case.model.train()
    monkeypatch.setattr(nn.Module, "train", lambda *_: pytest.fail("the criterion set the mode"))
    criteria.load(name).function(case.model, case.batches, cross_entropy)
    scores_of(name, case)


@pytest.mark.parametrize("name", ["gradient", "snip", "taylor", "grasp"])
def test_the_mode_of_the_model_decides(name, build_case):
    case = build_case("conv")
    stored = scores_of(name, case)["0.weight"]
    case.model.train()
    case.batches[:] = [whole(case.batches)]
    assert not torch.allclose(stored, scores_of(name, case)["0.weight"], rtol=0.01)


def test_a_weight_that_the_loss_does_not_reach_scores_zero():
    model = nn.ModuleDict({"used": nn.Linear(2, 3), "idle": nn.Linear(2, 3)}).double()
    model.forward = lambda inputs: model["used"](inputs)
    batches = [(torch.ones(3, 2).double(), torch.arange(3))]
    for name in ("gradient", "snip", "taylor", "grasp"):
        scores = criteria.load(name).score(model, batches, cross_entropy)
        assert (scores["idle.weight"] == 0).all()
        assert (scores["used.weight"] != 0).any()


@pytest.mark.parametrize("name", BUILT_IN)
def test_float32_nets_score_like_float64_nets(name, build_case):
    case = build_case("grouped")
    double = scores_of(name, case)
    case.model.float()
    single = criteria.load(name).score(case.model, [(x.float(), y) for x, y in case.batches], cross_entropy)
    for weight in case.weights:
        assert single[weight].dtype == torch.float32
        assert (single[weight] - double[weight]).abs().max() <= 2e-4 * double[weight].abs().max()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (nn.Conv1d(2, 3, 3), {"weight"}),
        (nn.ConvTranspose2d(2, 3, 3), {"weight"}),
        (nn.MultiheadAttention(4, 2), {"in_proj_weight", "out_proj.weight"}),
        (nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.Linear(4, 2)), {"3.weight"}),
    ],
)
def test_what_is_prunable(module: nn.Module, names: set[str]):
    assert set(criteria.load("magnitude").score(module, [], cross_entropy)) == names


def test_batches_are_iterated_as_often_as_needed_and_need_nothing_but_iteration(build_case):
    case = build_case("mlp")

    class Iterable:
        def __iter__(self):
            return iter(case.batches)

    for name in BUILT_IN:
        expected = scores_of(name, case)
        scores = criteria.load(name).score(case.model, Iterable(), cross_entropy)
        assert all(torch.equal(scores[weight], expected[weight]) for weight in case.weights)
