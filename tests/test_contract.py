"""The contract suite passes every criterion that there is, and catches a plugin that breaks one rule by that rule."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import criteria
from bench.contract import Case, check, report
from bench.trial import NETS, trial

CASES = [
    *("loads", "formula", "facts", "runs", "returns", "weights", "buffers", "mode", "hooks", "generators", "data"),
    *("names", "layers", "shapes", "precision", "finite", "deterministic", "stale gradients", "batch cut"),
]
HEAD = '''"""score = mine."""
import random
import numpy
import torch
from criteria import CriterionError
from criteria.tools.gradients import gradients, mean_gradients
from criteria.tools.parameters import prunable
'''
GOOD = "return {k: p.detach().abs() for k, p in prunable(model).items()}"
BACKWARD = "for x, y in batches: loss_fn(model(x), y).backward()\n"


@pytest.fixture
def plugin(tmp_path):
    """Return a function that writes a plugin and gives its path."""

    def write(body: str, top: str = "", options: str = "", head: str = HEAD) -> str:
        signature = f"def score(model, batches, loss_fn{options}):"
        body = body.replace("\n", "\n    ")
        (tmp_path / "mine.py").write_text(f"{head}{top}\n{signature}\n    {body}\n")
        return str(tmp_path / "mine.py")

    return write


def failed(cases: list[Case]) -> dict[str, str]:
    return {case.name: case.message for case in cases if case.status == "failed"}


@pytest.mark.parametrize("name", criteria.available())
def test_every_criterion_keeps_the_contract(name):
    cases = check(name)
    assert not failed(cases), report(cases)
    description = criteria.describe(name)
    form = [*CASES[3:], *["observe"] * description.observes]
    filters = [f"filter: {case}" for case in form] if len(description.forms) > 1 else []
    assert [case.name for case in cases] == [*CASES[:3], *form, *filters]
    skipped = {case.name for case in cases if case.status == "skipped"}
    assert skipped == ({"batch cut", "filter: batch cut"} if description.facts["UNIT"] == "batch" else set())


def test_a_good_plugin_passes_by_its_path(plugin):
    assert not failed(check(plugin(GOOD)))


BROKEN = {
    "formula": [
        (GOOD, {"head": HEAD.split("\n", 1)[1]}, "begin the file with a docstring whose first line is the form")
    ],
    "runs": [
        ("return 1 / 0", {}, r"on the net mlp it raises ZeroDivisionError: division by zero \(mine\.py, line 10\)"),
        ("return {} if len(batches) else {}", {}, r"it raises TypeError: object of type 'Batches' has no len"),
        ("raise SystemExit('bye')", {}, "it raises SystemExit: bye"),
        ("raise CriterionError('needs a transformer')", {}, "it refuses every net.*mlp: needs a transformer"),
    ],
    "returns": [
        ("pass", {}, "on the net mlp: it returns NoneType; return a dict of parameter name -> tensor"),
        ("return list(model.parameters())", {}, "it returns list; return a dict"),
        (
            "return {k: p.tolist() for k, p in prunable(model).items()}",
            {},
            r"'1\.weight' is list; make every score a t",
        ),
    ],
    "weights": [
        (
            "[p.data.mul_(2) for p in prunable(model).values()]\n" + GOOD,
            {},
            r"changes the weights of 1\.weight, 3\.weight",
        ),
        ("[p.data.zero_() for k, p in model.named_parameters() if 'bias' in k]\n" + GOOD, {}, r"weights of 1\.bias"),
        (
            "m = list(model)[-1]\nm.mask = torch.nn.Parameter(m.bias * 0)\n" + GOOD,
            {},
            r"the weights of 3\.mask; work on a",
        ),
        (
            "for p in model.parameters(): p.data = p.data.double()\n" + GOOD,
            {},
            "the weights of .* and 1 more; work on a copy",
        ),
    ],
    "buffers": [
        (
            "[b.fill_(1) for b in model.buffers()]\n" + GOOD,
            {},
            r"on the net conv: it changes the buffers of 1\.running_me",
        ),
        (
            "for m in model: setattr(m, 'running_var', 2 * m.running_var) if hasattr(m, 'running_var') else None\n"
            + GOOD,
            {},
            r"it changes the buffers of 1\.running_var; batch norm moves",
        ),
    ],
    "mode": [
        (
            "model.train()\n" + GOOD,
            {},
            r"the mode of \(Sequential\), 0 \(Flatten\), 1 \(Linear\) and 1 more; call neither",
        ),
        ("was = model.training\nmodel.eval()\nmodel.train(was)\n" + GOOD, {}, r"the mode of 2 \(ReLU\); call neither"),
    ],
    "hooks": [
        (
            "model[1].register_forward_hook(lambda *_: None)\n" + GOOD,
            {},
            r"the hooks of 1 \(Linear\); remove\(\) each hook",
        ),
        ("model[1].forward = lambda x: x\n" + GOOD, {}, r"the hooks of 1 \(Linear\); .*do not replace forward"),
    ],
    "generators": [
        ("torch.manual_seed(0)\n" + GOOD, {}, "it changes the generators of torch; draw from torch.Generator"),
        ("random.seed(0)\n" + GOOD, {}, "it changes the generators of random; draw from"),
        ("numpy.random.seed(0)\n" + GOOD, {}, r"it changes the generators of numpy\.random; draw from"),
    ],
    "data": [
        ("[x.abs_() for x, _ in batches]\n" + GOOD, {}, "the data of batch 0, batch 1; do not write into the batches"),
        ("[y.zero_() for _, y in batches]\n" + GOOD, {}, "the data of batch 0, batch 1"),
    ],
    "names": [
        (
            "return {k: p.detach() for k, p in model.named_parameters()}",
            {},
            r"it scores '1\.bias', '3\.bias', no prunable",
        ),
        (
            "scores = {k: p.detach() for k, p in prunable(model).items()}\nreturn scores | {'ghost': torch.ones(1)}",
            {},
            r"it scores 'ghost', no prunable parameter; score weights .* here 1\.weight, 3\.weight",
        ),
    ],
    "layers": [("return {}", {}, r"it scores no layer; score at least one of 1\.weight, 3\.weight")],
    "shapes": [
        (
            GOOD.replace("abs()", "abs().flatten()"),
            {},
            r"1\.weight has shape \(864,\); give it .* parameter, \(8, 108\)",
        ),
        (GOOD.replace("abs()", "abs().sum(0)"), {}, r"score of 1\.weight has shape \(108,\)"),
        (GOOD.replace("abs()", "new_zeros(0)"), {}, r"score of 1\.weight has shape \(0,\)"),
    ],
    "precision": [
        (GOOD.replace("abs()", "half()"), {}, r"1\.weight is torch\.float16; return float32 or float64"),
        (GOOD.replace("abs()", "ge(0)"), {}, r"1\.weight is torch\.bool"),
        (GOOD.replace("abs()", "long()"), {}, r"1\.weight is torch\.int64"),
    ],
    "finite": [
        (GOOD.replace("abs()", "sqrt()"), {}, r"1\.weight holds NaN or infinity; look for a division by zero"),
        (GOOD.replace("abs()", "mul(torch.inf)"), {}, "holds NaN or infinity"),
    ],
    "deterministic": [
        (
            "with torch.random.fork_rng(): return {k: torch.rand(p.shape) for k, p in prunable(model).items()}",
            {},
            r"a second call differs: the score of 1\.weight moves by .* draw from torch\.Generator",
        ),
        (
            "calls.append(1)\n" + GOOD.replace("abs()", "abs() * len(calls)"),
            {"top": "calls = []"},
            "a second call differs",
        ),
        (
            "import os\n" + GOOD.replace("abs()", "add(int.from_bytes(os.urandom(3), 'big'))"),
            {},
            "a second call differs",
        ),
        (
            "calls.append(1)\n" + GOOD.replace("abs()", "abs() * (1 if len(calls) < 6 else torch.nan)"),
            {"top": "calls = []"},
            "a second call differs",
        ),
        (
            "calls.append(1)\nassert len(calls) < 6\n" + GOOD,
            {"top": "calls = []"},
            "second call differs: raises AssertionE",
        ),
    ],
    "stale gradients": [
        (
            BACKWARD + "return {k: p.grad.abs() for k, p in prunable(model).items()}",
            {"top": "UNIT = 'batch'"},
            r"gradients left from training enter: the score of 1\.weight moves .* use torch\.autograd\.grad",
        ),
        (
            "return {k: p * (p.grad is None) for k, p in prunable(model).items()}",
            {},
            "gradients left from training enter",
        ),
    ],
    "batch cut": [
        (
            "w = prunable(model)\ntotal = {k: 0 for k in w}\nfor x, y in batches:\n"
            "    for k, g in gradients(loss_fn(model(x), y), w).items(): total[k] += g.abs() * len(y)\nreturn total",
            {},
            r"the same samples cut into other batches score otherwise: .*or declare UNIT = 'batch'",
        ),
        (
            "w = prunable(model)\nx, y = next(iter(batches))\nreturn gradients(loss_fn(model(x), y), w)",
            {"top": "UNIT = 'sample'"},
            "the same samples cut into other batches score otherwise",
        ),
        (
            "w = prunable(model)\ntotal = {k: 0 for k in w}\nfor n, (x, y) in enumerate(batches, 1):\n"
            "    for k, g in gradients(loss_fn(model(x), y), w).items(): total[k] = total[k] + (g - total[k]) / n\n"
            "return total",
            {},
            "weight each batch by its samples",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "body", "parts", "words"), [(name, *example) for name, examples in BROKEN.items() for example in examples]
)
def test_a_broken_rule_is_the_only_case_that_fails(name, body, parts, words, plugin):
    cases = check(plugin(body, **parts))
    assert list(failed(cases)) == [name]
    message = failed(cases)[name]
    assert re.search(words, message), message
    assert "\n" not in message
    assert [case.name for case in cases] == CASES


def test_every_rule_has_a_plugin_that_breaks_it():
    assert set(BROKEN) == set(CASES) - {"loads", "facts"}


def test_what_a_run_would_not_take_fails(plugin, tmp_path):
    cases = check(plugin(GOOD, "WHEN = 'never'"))
    assert list(failed(cases)) == ["facts"]
    assert "WHEN = 'never': Input should be 'trained', 'init' or 'rewind'" in failed(cases)["facts"]
    (tmp_path / "mine.py").rename(tmp_path / "dense.py")
    assert "reserved for a control row" in failed(check(str(tmp_path / "dense.py")))["facts"]


FILTERS = "{k: p.detach().abs().flatten(1).sum(1) for k, p in prunable(model).items()}"
BOTH = f"if granularity == 'weight': {GOOD}\n"
GRANULARITY = ", *, granularity='weight'"


def test_a_criterion_of_filters_alone_gives_one_score_a_filter(plugin):
    top = "GRANULARITY = 'filter'"
    assert not failed(check(plugin(f"return {FILTERS}", top)))
    words = r"1\.weight has shape \(8, 108\); give it its first dimension, one score a filter, \(8,\)"
    assert re.search(words, failed(check(plugin(GOOD, top)))["shapes"])


@pytest.mark.parametrize(
    ("body", "case", "words"),
    [
        (f"return {FILTERS}", None, ""),
        (GOOD, "filter: shapes", r"score of 1\.weight has shape \(8, 108\); give it its first dimension"),
        ("raise CriterionError('no batch norm')", "filter: runs", "it refuses every net, so nothing of it is tested"),
        (f"model.train()\nreturn {FILTERS}", "filter: mode", "the mode of"),
    ],
)
def test_both_forms_of_a_criterion_are_asked(body, case, words, plugin):
    cases = check(plugin(BOTH + body, options=GRANULARITY))
    assert [c.name for c in cases] == [*CASES, *(f"filter: {name}" for name in CASES[3:])]
    assert list(failed(cases)) == ([case] if case else [])
    assert re.search(words, failed(cases).get(case, ""))


OBSERVER = (
    HEAD
    + """
class Mine:
    def __init__(self, *, power=1):
        self.total = {}

    def observe(self, model):
        OBSERVE

    def score(self, model, batches, loss_fn):
        SCORE
        return self.total or {k: p.detach().abs() for k, p in prunable(model).items()}
"""
)
GATHER = "[self.total.setdefault(k, torch.zeros_like(p)).add_(p * p.grad) for k, p in prunable(model).items()]"


@pytest.mark.parametrize(
    ("observe", "score", "words"),
    [
        ("model.zero_grad(set_to_none=False)", "", r"the gradients of 1\.weight, .*; the optimiser reads them next"),
        (
            "[p.data.mul_(2) for p in model.parameters()]",
            "",
            r"with one step observed: it changes the weights of 1\.wei",
        ),
        ("model.train()", "", "with one step observed: it changes the mode of"),
        ("torch.rand(1)", "", "with one step observed: it changes the generators of torch"),
        ("1 / 0", "", r"with one step observed it raises ZeroDivisionError: .* \(mine\.py, line 14\)"),
        (f"{GATHER}; self.total['1.weight'].fill_(torch.nan)", "", r"step observed: the score of 1\.weight holds NaN"),
        ("self.total = {'1.weight': torch.ones(3)}", "", r"step observed: the score of 1\.weight has shape \(3,\)"),
        (GATHER, "assert not self.total", r"with one step observed it raises AssertionError.*line 17"),
    ],
)
def test_a_class_that_observes_wrongly_fails_by_that_case(observe, score, words, tmp_path):
    (tmp_path / "mine.py").write_text(OBSERVER.replace("OBSERVE", observe).replace("SCORE", score))
    cases = check(str(tmp_path / "mine.py"))
    assert list(failed(cases)) == ["observe"]
    assert re.search(words, failed(cases)["observe"]), failed(cases)["observe"]
    assert [case.name for case in cases] == [*CASES, "observe"]


def test_a_good_class_passes_and_keeps_what_it_gathered_to_its_instance(tmp_path):
    (tmp_path / "mine.py").write_text(OBSERVER.replace("OBSERVE", GATHER).replace("SCORE", "self.total = self.total"))
    assert not failed(check(str(tmp_path / "mine.py")))


@pytest.mark.parametrize("remember", ["Mine.total = {}", "Mine.seen = getattr(Mine, 'seen', 0) + 1"])
def test_a_class_that_remembers_between_instances_is_caught(remember, tmp_path):
    body = OBSERVER.replace("OBSERVE", GATHER).replace("return self.total or", "return")
    body = body.replace("SCORE", remember).replace("p.detach().abs()", "p.detach().abs() * getattr(Mine, 'seen', 1)")
    (tmp_path / "mine.py").write_text(body)
    assert ("deterministic" in failed(check(str(tmp_path / "mine.py")))) == ("seen" in remember)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def score(model, batches, loss_fn):\n    return {\n", r"mine\.py cannot be read: .*\(mine\.py, line 2\)"),
        (
            "import nothing_like_it\ndef score(model, batches, loss_fn): ...\n",
            r"mine\.py, line 1 .*No module named 'noth",
        ),
        ("x = 1\nraise SystemExit(3)\ndef score(model, batches, loss_fn): ...\n", r"mine\.py, line 2 .*SystemExit: 3"),
        ("def rank(model): ...\n", "has no function `score"),
        ("def score(model): ...\n", r"`score` takes \(model, batches, loss_fn\)"),
        ("def score(model, batches, loss_fn, *, power): ...\n", "option 'power' of `score` needs a default"),
        ("def score(model, batches, loss_fn, *, power=float('inf')): ...\n", "option 'power' must be a literal"),
        ("UNIT = 'step'\ndef score(model, batches, loss_fn): ...\n", "mean, batch or sample"),
    ],
)
def test_a_file_that_does_not_load_fails_by_that_alone(text, words, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    (case,) = check(str(tmp_path / "mine.py"))
    assert (case.name, case.status) == ("loads", "failed")
    assert re.search(words, case.message), case.message
    assert str(tmp_path / "mine.py") in case.message


def test_an_unknown_name_fails_with_its_near_miss():
    (case,) = check("magnitud")
    assert case == Case("loads", "failed", case.message)
    assert "did you mean magnitude?" in case.message


def test_a_criterion_that_refuses_one_net_passes_and_says_so(plugin):
    body = "if any(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in model.modules()):\n"
    cases = check(plugin(body + "    raise CriterionError('grouped convolutions are not handled')\n" + GOOD))
    assert not failed(cases)
    (runs,) = (case for case in cases if case.name == "runs")
    assert runs.message == "it refuses the net grouped: grouped convolutions are not handled"


def test_nothing_is_tested_where_nothing_ran(plugin):
    cases = check(plugin("raise CriterionError('no')"))
    assert [case.name for case in cases if case.status == "skipped"] == CASES[4:]
    assert list(failed(cases)) == ["runs"]


def test_left_over_gradients_and_requires_grad_are_allowed(plugin):
    body = f"model.zero_grad()\nmodel.requires_grad_(True)\n{BACKWARD}"
    body += (
        "scores = {k: p.grad.square() for k, p in prunable(model).items()}\nmodel.requires_grad_(False)\nreturn scores"
    )
    assert not failed(check(plugin(body, "UNIT = 'batch'")))


def test_a_criterion_may_score_some_layers_only_in_float64_with_a_graph(plugin):
    assert not failed(check(plugin("return dict([next((k, p.double() ** 2) for k, p in prunable(model).items())])")))


def test_options_take_their_defaults(plugin):
    assert not failed(check(plugin(GOOD.replace("abs()", "abs() ** power"), options=", *, power=2")))


def test_a_seeded_draw_of_its_own_is_deterministic(plugin):
    body = "g = torch.Generator().manual_seed(seed)\n"
    body += "return {k: torch.rand(p.shape, generator=g) for k, p in prunable(model).items()}"
    assert not failed(check(plugin(body, options=", *, seed=0")))


def test_the_suite_leaves_the_global_generators_alone(plugin):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    check(plugin("torch.rand(1), random.random(), numpy.random.rand()\n" + GOOD))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]


def test_it_gives_the_same_answer_twice_and_under_no_grad():
    with torch.no_grad():
        assert check("grasp") == check("grasp")
        assert not torch.is_grad_enabled()


def test_the_nets_hold_what_the_contract_speaks_of():
    models = {name: NETS[name]() for name in NETS}
    convolutions = [m for model in models.values() for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert any(m.groups == m.in_channels > 1 for m in convolutions)
    assert any(1 < m.groups < m.in_channels for m in convolutions)
    assert {m.bias is None for m in convolutions} == {True, False}
    assert any(isinstance(m, nn.BatchNorm2d) for model in models.values() for m in model.modules())
    assert models["tied"][3].weight is models["tied"][5].weight
    weights = trial(criteria.load("magnitude"), "tied").weights
    assert list(weights) == ["1.weight", "3.weight", "7.weight"]


def test_the_report_is_aligned_and_counts():
    cases = [Case("loads", "ok"), Case("batch cut", "skipped", "why"), Case("finite", "failed", "NaN")]
    assert report(cases).splitlines() == [
        "ok       loads",
        "skipped  batch cut  why",
        "failed   finite     NaN",
        "1 passed, 1 failed, 1 skipped",
    ]


def test_the_report_of_a_criterion_that_does_not_load():
    assert report(check("no/such/file.py")).splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_the_built_in_files_pass_by_path_too():
    assert not failed(check(str(Path(criteria.__file__).parent / "snip.py")))
