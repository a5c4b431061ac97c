"""The guard: whatever a criterion does, the model comes back as it was, and bad scores are refused by name."""

import copy
import math
import random
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import criteria
from criteria._guard import checked, untouched


class StopError(Exception):
    """Raised inside the block."""


def rebind_buffer(model):
    model[1].running_mean = torch.full_like(model[1].running_mean, 7)


def rebind_weight(model):
    model[0].weight = nn.Parameter(torch.zeros_like(model[0].weight))


def replace_weight_data(model):
    model[0].weight.data = torch.zeros(1)


def draw_everywhere(model):
    torch.rand(3), random.random(), np.random.rand(3)


def backward(model):
    model(torch.randn(4, 2, 4, 4, dtype=next(model.parameters()).dtype)).sum().backward()


def add_parameter(model):
    model[0].register_parameter("mask", nn.Parameter(torch.ones(1)))
    model[0].register_buffer("extra", torch.ones(1))


def patch_forward(model):
    model[0].forward = lambda inputs: inputs


# What published criteria do to a model.
MESSES = {
    "overwrites the weights": lambda m: [p.data.abs_() for p in m.parameters()],
    "fills weights with NaN": lambda m: [p.data.fill_(math.nan) for p in m.parameters()],
    "rebinds a weight": rebind_weight,
    "rebinds a weight's data": replace_weight_data,
    "deletes a weight": lambda m: delattr(m[0], "weight"),
    "overwrites the buffers": lambda m: [b.fill_(3) for b in m.buffers()],
    "rebinds a buffer": rebind_buffer,
    "forward in train mode": lambda m: m.train()(torch.randn(4, 2, 4, 4).double()),
    "eval mode": lambda m: m.eval(),
    "freezes": lambda m: m.requires_grad_(False),
    "calls backward": backward,
    "zeroes gradients in place": lambda m: m.zero_grad(set_to_none=False),
    "draws from every global generator": draw_everywhere,
    "sets every global seed": lambda m: (torch.manual_seed(1), random.seed(1), np.random.seed(1)),
    "changes the precision": lambda m: m.half(),
    "adds a parameter and a buffer": add_parameter,
    "patches forward": patch_forward,
    "leaves hooks": lambda m: [module.register_forward_hook(lambda *_: None) for module in m.modules()],
    "replaces a layer": lambda m: m.__setitem__(0, nn.Identity()),
    "appends a layer": lambda m: m.append(nn.Identity()),
}


@pytest.fixture
def model(build_case):
    """A net in a state that no default has: mixed modes, a frozen weight, some gradients, a hook."""
    model = build_case("conv").model
    model[1].train()
    model[4].weight.requires_grad_(False)
    model[0].weight.grad = torch.full_like(model[0].weight, 5)
    model[2].register_forward_hook(lambda *_: None)
    return model


def state_of(model: nn.Module):
    """Return everything the guard promises to keep: identities, values, gradients, modes, hooks, generators."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "modules": {name: id(module) for name, module in model.named_modules()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: set(vars(module)) for name, module in model.named_modules()},
        "hooks": {name: list(module._forward_hooks) for name, module in model.named_modules()},
        "identities": {name: (id(t), t.data_ptr(), t.dtype, t.shape) for name, t in tensors.items()},
        "values": {name: t.tolist() for name, t in tensors.items()},
        "gradients": {
            n: (id(p.grad), None if p.grad is None else p.grad.tolist()) for n, p in model.named_parameters()
        },
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": str(np.random.get_state(legacy=False)["state"]["key"].tolist()),
        "numpy position": np.random.get_state(legacy=False)["state"]["pos"],
    }


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("mess", MESSES)
def test_the_model_comes_back_exactly_as_it_was(model, mess, raises):
    before = state_of(model)
    try:
        with untouched(model):
            MESSES[mess](model)
            if raises:
                raise StopError
    except StopError:
        assert raises
    assert state_of(model) == before


@pytest.mark.parametrize("mess", MESSES)
def test_the_messes_are_real(model, mess):
    """Each changes something when nothing guards the model; so the test above cannot pass idly."""
    before = state_of(model)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        MESSES[mess](model)
        after = state_of(model)
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    assert after != before


def test_the_block_sees_no_gradients_and_trainable_weights(model):
    with untouched(model):
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert [module.training for module in model] == [False, True, False, False, False]


def test_integer_parameters_are_left_alone(build_case):
    model = build_case("mlp").model
    model.index = nn.Parameter(torch.arange(3), requires_grad=False)
    with untouched(model):
        model.index.data += 1
    assert model.index.tolist() == [0, 1, 2]


def test_an_old_handle_still_removes_its_hook(build_case):
    model, calls = build_case("mlp").model, []
    handle = model[0].register_forward_hook(lambda *_: calls.append(1))
    with untouched(model):
        model[0].register_forward_hook(lambda *_: calls.append(2))
    model(torch.zeros(1, 5).double())
    handle.remove()
    model(torch.zeros(1, 5).double())
    assert calls == [1]


def test_an_optimiser_goes_on_with_the_same_parameters(build_case):
    case = build_case("mlp")
    optimiser = torch.optim.SGD(case.model.parameters(), lr=0.1, momentum=0.9)
    twin = copy.deepcopy(case.model)
    other = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)

    def step(model, optimiser):
        optimiser.zero_grad()
        cross_entropy(model(case.batches[0][0]), case.batches[0][1]).backward()
        optimiser.step()

    step(case.model, optimiser), step(twin, other)
    with untouched(case.model):
        rebind_weight(case.model)
        case.model[2].weight.data = torch.zeros_like(case.model[2].weight)
    step(case.model, optimiser), step(twin, other)
    assert all(torch.equal(a, b) for a, b in zip(case.model.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize("name", criteria.available())
def test_every_criterion_leaves_the_model_as_it_was(name, model, build_case):
    before = state_of(model)
    criteria.load(name).score(model, build_case("conv").batches, cross_entropy)
    assert state_of(model) == before


@pytest.mark.parametrize("name", criteria.available())
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_score_works_in_any_gradient_context(name, context, build_case):
    case = build_case("conv")
    expected = criteria.load(name).score(case.model, case.batches, cross_entropy)
    with context():
        enabled = torch.is_grad_enabled()
        scores = criteria.load(name).score(case.model, case.batches, cross_entropy)
        assert torch.is_grad_enabled() == enabled
    assert list(scores) == list(expected)
    assert all(torch.equal(scores[weight], expected[weight]) for weight in scores)
    assert not any(score.requires_grad for score in scores.values())


def test_frozen_weights_are_scored(build_case):
    case = build_case("mlp")
    expected = criteria.load("snip").score(case.model, case.batches, cross_entropy)
    case.model.requires_grad_(False)
    scores = criteria.load("snip").score(case.model, case.batches, cross_entropy)
    assert all(torch.equal(scores[weight], expected[weight]) for weight in case.weights)
    assert not any(parameter.requires_grad for parameter in case.model.parameters())


def test_a_score_that_is_a_view_of_an_overwritten_weight_keeps_its_value(write, build_case):
    case = build_case("mlp")
    body = "[p.data.abs_() for p in model.parameters()]\nreturn {k: p.data for k, p in prunable(model).items()}"
    scores = criteria.load(write("views.py", body)).score(case.model, case.batches, cross_entropy)
    assert all((score >= 0).all() for score in scores.values())
    assert (case.model[0].weight < 0).any()


@pytest.mark.parametrize("raising", ["ValueError('no')", "KeyError('x')"])
def test_an_error_of_the_criterion_passes_and_the_model_is_restored(write, raising, model, build_case):
    before = state_of(model)
    body = f"[p.data.zero_() for p in model.parameters()]\nmodel.train()\nraise {raising}"
    with pytest.raises((ValueError, KeyError), match=r"no|x"):
        criteria.load(write("raises.py", body)).score(model, build_case("conv").batches, cross_entropy)
    assert state_of(model) == before


SHAPE = (6, 5)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (None, "returned no scores: it must return a dict"),
        ([torch.ones(SHAPE)], "returned no scores: it must return a dict"),
        ({}, "returned no scores"),
        ({"nothing.weight": torch.ones(SHAPE)}, "scored 'nothing.weight', which is no prunable parameter"),
        ({"0.bias": torch.ones(6)}, "scored '0.bias', which is no prunable parameter"),
        ({"0.weight": torch.ones(5, 6)}, "the score of 0.weight is (5, 6), it must be (6, 5)"),
        ({"0.weight": torch.ones(6)}, "the score of 0.weight is (6,), it must be (6, 5)"),
        ({"0.weight": 1.0}, "the score of 0.weight is float, it must be (6, 5)"),
        ({"0.weight": torch.full(SHAPE, math.nan)}, "the score of 0.weight is not finite"),
        ({"0.weight": torch.full(SHAPE, -math.inf)}, "the score of 0.weight is not finite"),
        ({"0.weight": torch.ones(SHAPE), "2.weight": torch.tensor([[math.inf] * 6] * 4)}, "2.weight is not finite"),
    ],
)
def test_bad_scores_are_named_in_one_line(scores, words, build_case):
    with pytest.raises(criteria.CriterionError, match=re.escape(words)) as error:
        checked(scores, build_case("mlp").model, "mine")
    assert "mine" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
    ],
)
def test_scores_come_in_float32_or_float64(given, returned, build_case):
    score = checked({"0.weight": torch.arange(30).view(SHAPE).to(given)}, build_case("mlp").model, "mine")["0.weight"]
    assert score.dtype == returned
    assert score.view(-1).tolist() == list(range(30))


def test_scores_come_detached_in_model_order_and_may_omit_layers(build_case):
    model = build_case("mlp").model
    scores = checked({name: model.get_parameter(name) * 2 for name in ("4.weight", "0.weight")}, model, "mine")
    assert list(scores) == ["0.weight", "4.weight"]
    assert not any(score.requires_grad for score in scores.values())


def test_scores_of_filters_have_one_dimension(write, build_case):
    case, options = build_case("conv"), "granularity='weight', wrong=False"
    body = "by_filter = (granularity == 'filter') != wrong\n"
    body += "return {k: p.flatten(1).sum(1) if by_filter else p for k, p in prunable(model).items()}"
    path = write("both.py", body, options=options)
    for granularity, shapes in {"filter": [(3,), (3,)], "weight": [(3, 2, 3, 3), (3, 48)]}.items():
        scores = criteria.load(path, granularity=granularity).score(case.model, case.batches, cross_entropy)
        assert [tuple(score.shape) for score in scores.values()] == shapes
        wrong = criteria.load(path, granularity=granularity, wrong=True)
        with pytest.raises(criteria.CriterionError, match=re.escape(f"it must be {shapes[0]}")):
            wrong.score(case.model, case.batches, cross_entropy)


def test_bad_scores_do_not_pass_the_guard(write, build_case):
    case = build_case("mlp")
    criterion = criteria.load(write("half.py", "return {k: p[:1] for k, p in prunable(model).items()}"))
    with pytest.raises(criteria.CriterionError, match=r"half: the score of 0\.weight is \(1, 5\), it must be \(6, 5\)"):
        criterion.score(case.model, case.batches, cross_entropy)
