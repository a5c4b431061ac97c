"""The contract of a criterion as a list of cases, each answered in plain words: the suite behind `bench check`.

It calls the bare function, outside the guard, on the small nets of bench.trial. So it shows what the guard would hide,
though left-over gradients are allowed. A criterion that is a class gets a new instance for each call. One that scores
weights and filters is asked for both.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from bench.errors import UserError
from bench.plan import defaults
from bench.trial import NETS, Trial, observation, trial
from criteria import CriterionError, load
from criteria._guard import Criterion, form_shape, same_generators
from criteria._registry import NO_FORMULA

OTHER_CUTS = ((8,), (5, 2, 1))
TOLERANCE = 1e-4
"""How far a score may move with the cut, as a share of the layer's largest score, on float64 nets."""


@dataclass(frozen=True)
class Case:
    """One rule of the contract and whether the criterion keeps it."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    message: str = ""
    """What is wrong, where, and what to do; or why the case was skipped. One line."""


Rule = Callable[[Criterion, Trial], str]
"""What is wrong with a call, in words; empty where nothing is."""


def check(name: str) -> list[Case]:
    """Return every case for the criterion `name`, or for the file `path/to/mine.py`; raises nothing.

    A criterion may refuse a net by raising CriterionError; one that refuses every net fails. One that does not load
    has that one case.
    """
    try:
        criterion = load(name)
        both = len(criterion.description.forms) > 1
        forms = [load(name, granularity=form) for form in criterion.description.forms] if both else [criterion]
    except CriterionError as error:
        return [Case("loads", "failed", str(error))]
    with same_generators(), torch.enable_grad():
        first, *others = (_cases(form) for form in forms)
    marked = [replace(case, name=f"filter: {case.name}") for cases in others for case in cases]
    return [Case("loads", "ok"), _formula(criterion), _facts(criterion), *first, *marked]


def _cases(criterion: Criterion) -> list[Case]:
    """Return the cases of one form of a criterion."""
    trials = [trial(criterion, net) for net in NETS]
    ran = [t for t in trials if t.error is None]
    scored = [t for t in ran if not _returns(criterion, t)]
    cases = [_runs(trials)]
    cases += [_case(case, rule, criterion, ran) for case, rule in RULES.items()]
    cases += [_case(case, rule, criterion, scored) for case, rule in SCORE_RULES.items()]
    cases.append(_case("deterministic", _deterministic, criterion, scored))
    # What differs by itself would fail the next cases too, for a wrong reason.
    repeated = scored if cases[-1].status == "ok" else []
    cases += [_case(case, rule, criterion, repeated) for case, rule in REPEAT_RULES.items()]
    if criterion.description.observes:
        cases.append(_case("observe", _observes, criterion, ran))
    return cases


def report(cases: Iterable[Case]) -> str:
    """Return one aligned line a case, then how many passed, failed and were skipped."""
    cases = list(cases)
    width = max(len(case.name) for case in cases)
    lines = [f"{case.status:8} {case.name:{width}}  {case.message}".rstrip() for case in cases]
    passed, failed, skipped = (sum(c.status == status for c in cases) for status in ("ok", "failed", "skipped"))
    return "\n".join([*lines, f"{passed} passed, {failed} failed, {skipped} skipped"])


def _formula(criterion: Criterion) -> Case:
    if criterion.description.formula != NO_FORMULA:
        return Case("formula", "ok")
    return Case(
        "formula", "failed", 'begin the file with a docstring whose first line is the formula: """score = ..."""'
    )


def _facts(criterion: Criterion) -> Case:
    """Whether a run knows its name and constants."""
    try:
        defaults(criterion.description)
    except (UserError, CriterionError) as error:
        return Case("facts", "failed", str(error))
    return Case("facts", "ok")


def _runs(trials: list[Trial]) -> Case:
    refused = [t for t in trials if isinstance(t.error, CriterionError)]
    broken = [t for t in trials if t.error and not isinstance(t.error, CriterionError)]
    if broken:
        return Case("runs", "failed", f"on the net {broken[0].net} it {_raised(broken[0])}")
    reasons = "; ".join(f"it refuses the net {t.net}: {t.error}" for t in refused)
    if len(refused) == len(trials):
        return Case("runs", "failed", f"it refuses every net, so nothing of it is tested: {reasons}")
    return Case("runs", "ok", reasons)


def _case(name: str, rule: Rule, criterion: Criterion, trials: list[Trial]) -> Case:
    """Ask the rule about each call; the first net on which it is broken is named."""
    if not trials:
        return Case(name, "skipped", "there is nothing to look at: see what failed above")
    if rule is _cut and criterion.description.facts["UNIT"] == "batch":
        return Case(name, "skipped", "UNIT is batch: the score is meant to depend on the cut")
    for one in trials:
        if message := rule(criterion, one):
            return Case(name, "failed", f"on the net {one.net}: {message}")
    return Case(name, "ok")


def _raised(one: Trial) -> str:
    return " ".join(f"raises {type(one.error).__name__}: {one.error} ({one.line})".split())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _keeps(kind: str, advice: str) -> Rule:
    """Return the rule that the call leaves this part of the state as it was."""

    def rule(_: Criterion, one: Trial) -> str:
        before, after = one.before[kind], one.after[kind]
        changed = [name for name in {**before, **after} if not _same(before.get(name), after.get(name))]
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return f"it changes the {kind} of {', '.join(changed[:3])}{more}; {advice}" if changed else ""

    return rule


def _returns(_: Criterion, one: Trial) -> str:
    if not isinstance(one.scores, dict):
        return f"it returns {type(one.scores).__name__}; return a dict of parameter name -> tensor"
    wrong = [
        f"{name!r} is {type(score).__name__}" for name, score in one.scores.items() if not isinstance(score, Tensor)
    ]
    return f"the score of {wrong[0]}; make every score a tensor" if wrong else ""


def _names(_: Criterion, one: Trial) -> str:
    wrong = [repr(name) for name in one.scores if name not in one.weights]
    advice = f"score weights of convolutions and linear layers only, here {', '.join(one.weights)}"
    return f"it scores {', '.join(wrong)}, no prunable parameter; {advice}" if wrong else ""


def _layers(_: Criterion, one: Trial) -> str:
    scored = any(name in one.weights for name in one.scores)
    return "" if scored else f"it scores no layer; score at least one of {', '.join(one.weights)}"


def _shapes(criterion: Criterion, one: Trial) -> str:
    what = "its first dimension, one score a filter" if criterion.form == "filter" else "the shape of the parameter"
    for name, weight in one.weights.items():
        needed = form_shape(weight, criterion.form)
        if name in one.scores and one.scores[name].shape != needed:
            return f"the score of {name} has shape {tuple(one.scores[name].shape)}; give it {what}, {tuple(needed)}"
    return ""


def _precision(_: Criterion, one: Trial) -> str:
    wrong = [f"{name} is {s.dtype}" for name, s in one.scores.items() if s.dtype not in (torch.float32, torch.float64)]
    return f"the score of {wrong[0]}; return float32 or float64" if wrong else ""


def _finite(_: Criterion, one: Trial) -> str:
    wrong = [name for name, score in one.scores.items() if not torch.isfinite(score).all()]
    return (
        f"the score of {wrong[0]} holds NaN or infinity; look for a division by zero, a log or a root" if wrong else ""
    )


def _moves(criterion: Criterion, one: Trial, other: Trial, tolerance: float) -> str:
    """Return which score differs by more than this share of its layer's largest, or nothing."""
    for t in (one, other):
        if t.error or _returns(criterion, t):
            return _raised(t) if t.error else _returns(criterion, t)
    for name, score in one.scores.items():
        if name not in other.scores or other.scores[name].shape != score.shape:
            return f"the score of {name} has another shape or is absent"
        first, second = (t.scores[name].detach().double().nan_to_num() for t in (one, other))
        if torch.equal(first, second):
            continue
        share = float((first - second).abs().max() / first.abs().max().clamp(min=1e-300))
        if share > tolerance:
            return f"the score of {name} moves by {share:.2g} times its largest value"
    return ""


def _deterministic(criterion: Criterion, one: Trial) -> str:
    moves = _moves(criterion, one, trial(criterion, one.net, seed=1), 0)
    advice = "draw from torch.Generator().manual_seed(seed) with an option `seed`, and keep nothing between calls"
    return f"a second call differs: {moves}; {advice}" if moves else ""


def _stale(criterion: Criterion, one: Trial) -> str:
    moves = _moves(criterion, one, trial(criterion, one.net, stale=1e3), 0)
    advice = "use torch.autograd.grad, or model.zero_grad() before the first backward"
    return f"gradients left from training enter: {moves}; {advice}" if moves else ""


def _cut(criterion: Criterion, one: Trial) -> str:
    base = trial(criterion, one.net, dtype=torch.float64)
    others = (trial(criterion, one.net, cut=cut, dtype=torch.float64) for cut in OTHER_CUTS)
    moves = next(filter(None, (_moves(criterion, base, other, TOLERANCE) for other in others)), "")
    advice = "weight each batch by its samples and take abs or squares last, or declare UNIT = 'batch'"
    return f"the same samples cut into other batches score otherwise: {moves}; {advice}" if moves else ""


def _observes(criterion: Criterion, one: Trial) -> str:
    """Ask all rules about `observe` and about the scores that it leads to."""
    seen = observation(criterion, one.net)
    if seen.error:
        return f"with one step observed it {_raised(seen)}"
    gradients = _keeps("gradients", "the optimiser reads them next")
    rules = (*RULES.values(), gradients, *SCORE_RULES.values())
    message = next(filter(None, (rule(criterion, seen) for rule in rules)), "")
    return f"with one step observed: {message}" if message else ""


RULES: dict[str, Rule] = {
    "returns": _returns,
    "weights": _keeps("weights", "work on a copy, or restore them before returning"),
    "buffers": _keeps("buffers", "batch norm moves its statistics in train mode: leave the mode as it is"),
    "mode": _keeps("mode", "call neither train() nor eval(): the harness sets the mode"),
    "hooks": _keeps("hooks", "remove() each hook, and do not replace forward"),
    "generators": _keeps("generators", "draw from torch.Generator().manual_seed(seed) with an option `seed`"),
    "data": _keeps("data", "do not write into the batches: every criterion reads the same ones"),
}
SCORE_RULES: dict[str, Rule] = {
    "names": _names,
    "layers": _layers,
    "shapes": _shapes,
    "precision": _precision,
    "finite": _finite,
}
REPEAT_RULES: dict[str, Rule] = {
    "stale gradients": _stale,
    "batch cut": _cut,
}
