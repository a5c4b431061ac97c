"""Movement, and the form of a criterion that is a class: it gathers during training, each instance for itself."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import criteria
from bench.masks import apply_masks_
from criteria import BrokenCriterionError, CriterionError


def trained(case, criterion, steps: int = 4, masks=None):
    """Train by SGD with momentum and weight decay; return -(w * g) summed up by hand."""
    optimizer = torch.optim.SGD(case.model.parameters(), lr=0.3, momentum=0.9, weight_decay=0.1)
    total = {name: torch.zeros_like(case.model.get_parameter(name)) for name in case.weights}
    for step in range(steps):
        apply_masks_(case.model, masks or {})
        inputs, targets = case.batches[step % len(case.batches)]
        optimizer.zero_grad()
        cross_entropy(case.model(inputs), targets).backward()
        for name in case.weights:
            weight = case.model.get_parameter(name)
            total[name] -= weight.detach() * weight.grad
        criterion.observe(case.model)
        optimizer.step()
    return total


def test_it_sums_up_what_the_steps_move(case):
    criterion = criteria.load("movement")
    expected = trained(case, criterion)
    scores = criterion.score(case.model, case.batches, cross_entropy)
    assert tuple(scores) == case.weights
    for name in case.weights:
        torch.testing.assert_close(scores[name], expected[name], rtol=1e-12, atol=1e-15)
        assert (scores[name] < 0).any()
        assert (scores[name] > 0).any()


def test_a_weight_that_moves_away_from_zero_scores_high():
    model = nn.Linear(2, 1, bias=False).double()
    model.weight.data = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    criterion = criteria.load("movement")
    (1.0 * model.weight[0, 1] - 1.0 * model.weight[0, 0]).backward()  # descent raises the first, lowers the second
    criterion.observe(model)
    assert criterion.score(model, [], cross_entropy)["weight"].tolist() == [[0.5, -0.5]]


def test_a_masked_weight_gathers_nothing(build_case):
    case = build_case("mlp")
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[0] = False
    criterion = criteria.load("movement")
    trained(case, criterion, masks={"0.weight": mask})
    score = criterion.score(case.model, case.batches, cross_entropy)["0.weight"]
    assert (score[0] == 0).all()
    assert (score[1:] != 0).all()


def test_without_a_step_it_is_that_of_the_given_batches(case):
    inputs, targets = (torch.cat(parts) for parts in zip(*case.batches, strict=True))
    weights = [case.model.get_parameter(name) for name in case.weights]
    grads = torch.autograd.grad(cross_entropy(case.model(inputs), targets), weights)
    scores = criteria.load("movement").score(case.model, case.batches, cross_entropy)
    for name, weight, g in zip(case.weights, weights, grads, strict=True):
        torch.testing.assert_close(scores[name], -(weight.detach() * g), rtol=1e-11, atol=1e-16)


def test_a_weight_without_a_gradient_scores_zero():
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    model["used"](torch.ones(1, 2)).sum().backward()
    criterion = criteria.load("movement")
    criterion.observe(model)
    scores = criterion.score(model, [], cross_entropy)
    assert (scores["idle.weight"] == 0).all()
    assert (scores["used.weight"] != 0).any()


def test_each_loaded_criterion_gathers_for_itself_and_goes_on_after_scoring(build_case):
    case = build_case("mlp")
    one, other = criteria.load("movement"), criteria.load("movement")
    blank = other.score(case.model, case.batches, cross_entropy)
    first = copy.deepcopy(trained(case, one, steps=2))
    scores = one.score(case.model, case.batches, cross_entropy)
    kept = {name: score.clone() for name, score in scores.items()}
    second = trained(case, one, steps=1)
    for name in case.weights:
        assert torch.equal(scores[name], kept[name]), "a score is a copy"
        after = one.score(case.model, case.batches, cross_entropy)[name]
        torch.testing.assert_close(after, first[name] + second[name], rtol=1e-12, atol=1e-15)
        assert not torch.equal(other.score(case.model, case.batches, cross_entropy)[name], after)
        assert blank[name].shape == after.shape


def test_observing_changes_neither_the_model_nor_its_gradients(build_case):
    case = build_case("grouped")
    cross_entropy(case.model(case.batches[0][0]), case.batches[0][1]).backward()
    before = copy.deepcopy([(p, p.grad) for p in case.model.parameters()])
    criteria.load("movement").observe(case.model)
    for (value, grad), parameter in zip(before, case.model.parameters(), strict=True):
        assert torch.equal(value, parameter)
        assert torch.equal(grad, parameter.grad)


def test_what_was_gathered_can_be_stored_and_taken_up_again(build_case):
    """For a run that is killed and goes on: the state is that of the instance."""
    case, criterion, again = build_case("mlp"), criteria.load("movement"), criteria.load("movement")
    trained(case, criterion)
    vars(again.observer).update(pickle.loads(pickle.dumps(vars(criterion.observer))))
    scores = [c.score(case.model, case.batches, cross_entropy) for c in (criterion, again)]
    assert all(torch.equal(scores[0][name], scores[1][name]) for name in case.weights)


def test_its_defaults_are_the_papers():
    description = criteria.describe("movement")
    assert description.observes is True
    assert description.facts["SCHEDULE"] == {"name": "gradual"}
    assert (description.facts["UNIT"], description.facts["WHEN"]) == ("mean", "trained")
    assert description.options == {"granularity": "weight"}
    assert "arXiv:2005.07683" in description.facts["SOURCE"]


def test_a_criterion_that_is_a_function_observes_nothing():
    assert criteria.describe("snip").observes is False
    with pytest.raises(CriterionError, match="criterion snip gathers nothing during training"):
        criteria.load("snip").observe(nn.Linear(2, 2))


CLASS = '''"""score = steps seen."""
from criteria.tools.parameters import prunable

class anyCase:
    def __init__(self, *, power=1, name="x"):
        self.power, self.steps = power, 0

    def observe(self, model):
        self.steps += 1

    def score(self, model, batches, loss_fn):
        return {k: p * 0 + self.steps**self.power for k, p in prunable(model).items()}
'''


@pytest.fixture
def plugin(tmp_path):
    """Return a function that writes the class above, with a change, and gives its path."""

    def write(old: str = "", new: str = "") -> str:
        assert old in CLASS
        (tmp_path / "mine.py").write_text(CLASS.replace(old, new) if old else CLASS)
        return str(tmp_path / "mine.py")

    return write


def test_a_plugin_may_be_a_class_and_takes_its_options_when_made(plugin, build_case):
    case, path = build_case("mlp"), plugin()
    description = criteria.describe(path)
    assert (description.observes, description.observer) == (True, "anyCase")
    assert description.options == {"power": 1, "name": "x"}
    criterion = criteria.load(path, power=3)
    criterion.observe(case.model)
    criterion.observe(case.model)
    assert (criterion.score(case.model, case.batches, cross_entropy)["0.weight"] == 8).all()
    with pytest.raises(CriterionError, match="criterion mine has no option 'powr'; did you mean power"):
        criteria.load(path, powr=1)


def test_it_needs_no_init_and_observe_runs_without_a_graph(plugin, build_case):
    old = '    def __init__(self, *, power=1, name="x"):\n        self.power, self.steps = power, 0\n'
    criterion = criteria.load(plugin(old, "    power, steps = 1, 0\n"))
    assert criterion.options == {}
    case = build_case("mlp")
    criterion.observe(case.model)
    assert (criterion.score(case.model, case.batches, cross_entropy)["0.weight"] == 1).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def observe(", "def look(", r"no function `score.* and no class with `score` and `observe`"),
        ("(self, model, batches, loss_fn)", "(self, model)", r"`score` takes \(self, model, batches, loss_fn\)"),
        ("loss_fn)", "loss_fn, *, power=1)", r"`score` of the class takes .*; give the options to `__init__`"),
        ("observe(self, model)", "observe(self)", r"`observe` takes \(self, model\)"),
        ("observe(self, model)", "observe(self, model, *, a=1)", r"`observe` of the class takes .* to `__init__`"),
        ("(self, *, power=1", "(self, power=1", r"`__init__` takes \(self\) and keyword-only options after"),
        ("power=1, name", "power, name", "option 'power' of `__init__` needs a default"),
        ("power=1, name", "power=1 + 1, name", "line 5: the default of option 'power' must be a literal"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_in_one_line(plugin, old, new, words):
    with pytest.raises(BrokenCriterionError, match=words) as error:
        criteria.describe(plugin(old, new))
    assert "\n" not in str(error.value)


def test_a_class_that_cannot_be_made_is_named_in_one_line(plugin):
    path = plugin("self.power, self.steps = power, 0", "self.power, self.steps = power / 0, 0")
    with pytest.raises(CriterionError, match=r"mine\.py, line 6 cannot be made: ZeroDivisionError: division by zero"):
        criteria.load(path)


def test_a_function_of_the_module_comes_before_a_class(plugin):
    path = plugin("from criteria.tools", "def score(model, batches, loss_fn): ...\nfrom criteria.tools")
    assert not criteria.describe(path).observes


def test_the_guard_holds_for_a_class_too(plugin, build_case):
    case = build_case("mlp")
    before = copy.deepcopy(dict(case.model.named_parameters()))
    path = plugin("return {k: p * 0", "[p.data.zero_() for p in model.parameters()]\n        return {k: p * 0")
    criteria.load(path).score(case.model, case.batches, cross_entropy)
    assert all(torch.equal(value, before[name]) for name, value in case.model.named_parameters())
