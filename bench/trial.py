"""One call of a criterion's bare function on a small net, with the state around it: what bench.contract looks at."""

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.seeds import generator, global_stream
from criteria._guard import Criterion
from criteria._import import line_of
from criteria.tools.parameters import prunable

CLASSES = 3
SHAPE = (3, 6, 6)
CUT = (4, 4)
"""Samples of each batch; their sum is the number of samples."""

State = dict[str, dict[str, Any]]
"""What a criterion must leave as it was: kind -> name -> a copy."""


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, CLASSES))


def _conv() -> nn.Module:
    first = (nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5, CLASSES))


def _grouped() -> nn.Module:
    depthwise = (nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    grouped = nn.Conv2d(4, 6, 3, stride=2, groups=2)
    return nn.Sequential(*depthwise, grouped, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))


def _tied() -> nn.Module:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    inner = (nn.Linear(108, 8), nn.ReLU(), first, nn.ReLU(), second, nn.ReLU())
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(8, CLASSES))


class _Block(nn.Module):
    """Two convolutions with batch norms of their own and an addition; the ReLU of the net is called twice."""

    def __init__(self, relu: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2, self.relu = nn.BatchNorm2d(4), nn.BatchNorm2d(4), relu

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + x)  # type: ignore[no-any-return]


def _residual() -> nn.Module:
    relu = nn.ReLU(inplace=True)
    first = (nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), relu, _Block(relu))
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))


NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": _mlp,
    "conv": _conv,
    "grouped": _grouped,
    "tied": _tied,
    "residual": _residual,
}


class Batches:
    """Batches that can be iterated over again and again, and nothing else: no length, no index."""

    def __init__(self, inputs: Tensor, cut: tuple[int, ...]) -> None:
        targets = torch.arange(len(inputs)) % CLASSES
        ends = [sum(cut[: i + 1]) for i in range(len(cut))]
        self._pairs = [(inputs[end - n : end], targets[end - n : end]) for n, end in zip(cut, ends, strict=True)]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._pairs)


@dataclass(frozen=True)
class Trial:
    """What one call returned or raised."""

    net: str
    weights: dict[str, nn.Parameter]
    """The prunable parameters of the net."""
    before: State
    after: State
    scores: Any = None
    error: BaseException | None = None
    line: str = ""
    """Where in the criterion's file the error arose."""


def trial(
    criterion: Criterion,
    net: str,
    *,
    cut: tuple[int, ...] = CUT,
    dtype: torch.dtype = torch.float32,
    stale: float | None = None,
    seed: int = 9173,
) -> Trial:
    """Call the bare function on a fresh net of NETS in eval mode on the CPU; raises nothing.

    cut: samples of each batch. stale: gradients left on the net. seed: what the global generators are set to.
    """
    model, batches = _net(net).to(dtype), _batches(cut, dtype)
    for parameter in model.parameters():
        parameter.grad = None if stale is None else torch.full_like(parameter, stale)
    _seed_all(seed)
    if criterion.observer is None:
        score = partial(criterion.function, **criterion.options)
    else:
        score = _new_observer(criterion).score
    return _watched(criterion, net, model, batches, lambda: score(model, batches, cross_entropy))


def observation(criterion: Criterion, net: str) -> Trial:
    """Let a new instance of a criterion that observes see a training step, then score; raises nothing.

    The state is that around `observe`: with the gradients, which the optimiser reads next.
    """
    model, batches, observer = _net(net), _batches(CUT, torch.float32), _new_observer(criterion)
    for inputs, targets in batches:
        cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
    observed = _watched(criterion, net, model, batches, lambda: observer.observe(model))
    if observed.error:
        return observed
    scored = _watched(criterion, net, model, batches, lambda: observer.score(model, batches, cross_entropy))
    return replace(observed, scores=scored.scores, error=scored.error, line=scored.line)


def _new_observer(criterion: Criterion) -> Any:
    """Return an instance that has gathered nothing yet."""
    return type(criterion.observer)(**criterion.options)


def _watched(criterion: Criterion, net: str, model: nn.Module, batches: Batches, call: Callable[[], Any]) -> Trial:
    weights, before = prunable(model), _state(model, batches)
    try:
        scores = call()
    except (Exception, SystemExit) as error:
        path = criterion.description.path
        return Trial(net, weights, before, _state(model, batches), error=error, line=path.name + line_of(error, path))
    return Trial(net, weights, before, _state(model, batches), scores)


def _batches(cut: tuple[int, ...], dtype: torch.dtype) -> Batches:
    return Batches(torch.randn(sum(CUT), *SHAPE, generator=generator(0, "contract", "inputs")).to(dtype), cut)


def _net(name: str) -> nn.Module:
    """Return the net in eval mode, but for its ReLUs, which do not care: so a criterion that sets the mode shows."""
    with global_stream(0, "contract", name):
        model = NETS[name]().eval()
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.train()
            elif isinstance(module, nn.BatchNorm2d):
                for value in (module.weight, module.bias, module.running_mean, module.running_var):
                    nn.init.uniform_(value, 0.5, 1.5)  # type: ignore[arg-type]
    return model


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


def _generators() -> dict[str, Any]:
    states = {"torch": torch.get_rng_state(), "random": random.getstate()}
    if numpy := sys.modules.get("numpy"):
        _, keys, position, *_ = numpy.random.get_state()
        states["numpy.random"] = (keys.tolist(), position)
    return states


def _state(model: nn.Module, batches: Batches) -> State:
    modules = {f"{name} ({type(module).__name__})".strip(): module for name, module in model.named_modules()}
    return {
        "weights": {name: value.detach().clone() for name, value in model.named_parameters()},
        "buffers": {name: value.clone() for name, value in model.named_buffers()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()},
        "mode": {name: module.training for name, module in modules.items()},
        "hooks": {name: _hooks(module) for name, module in modules.items()},
        "generators": _generators(),
        "data": {f"batch {i}": torch.cat([x.flatten(), y]) for i, (x, y) in enumerate(batches)},
    }


def _hooks(module: nn.Module) -> tuple[int, bool]:
    """Return how many hooks the module has, and whether its forward was replaced."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return sum(map(len, hooks)), "forward" in vars(module)
