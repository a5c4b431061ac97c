"""Runs a criterion so that the model comes back exactly as it was, and checks what it returns."""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from criteria._import import failed, import_criterion
from criteria._registry import CriterionError, Description, NonFiniteScoresError
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

Scores = dict[str, Tensor]


class Criterion:
    """A loaded criterion with its options set."""

    def __init__(self, description: Description, options: dict[str, Any]) -> None:
        description.check_options(options)
        self.name = description.name
        self.description = description
        self.options = {**description.options, **options}
        self.form = description.form(self.options)
        """What it scores with these options: "weight" or "filter"."""
        scorer: Any = import_criterion(description)
        if description.observes:
            try:
                scorer = getattr(scorer, description.observer)(**self.options)
            except Exception as error:
                raise failed(description.path, "made", error) from error
        self.observer: Any = scorer if description.observes else None
        """The instance that holds what was gathered, where the criterion is a class."""
        self.function: Callable[..., Scores] = scorer.score
        """The bare function, without the guard; it takes the options where the criterion is no class."""

    def score(self, model: nn.Module, batches: Batches, loss_fn: Loss) -> Scores:
        """Return prunable parameter name -> score, higher = more important.

        model: any nn.Module on any device, returned exactly as it came. batches: re-iterable of (inputs, targets) on
        the model's device. loss_fn(outputs, targets): mean over the batch. Scores have their parameter's shape (where
        `form` is "filter" its first dimension alone: [out_channels]), are float32 or float64 and finite; a parameter
        that the criterion cannot score is absent.
        Raises CriterionError where the criterion breaks its contract.
        """
        if not prunable(model):
            raise CriterionError(f"criterion {self.name}: the model has no weight of a convolution or linear layer")
        options = {} if self.description.observes else self.options
        with torch.inference_mode(False), torch.enable_grad(), untouched(model):
            return checked(self.function(model, batches, loss_fn, **options), model, self.name, self.form)

    def observe(self, model: nn.Module) -> None:
        """Let the criterion see a training step: call it after backward, before the optimiser's step.

        Unguarded, since it runs at every step; the contract suite shows that it changes nothing. Raises CriterionError
        for a criterion that gathers nothing (see `description.observes`).
        """
        if not self.description.observes:
            raise CriterionError(f"criterion {self.name} gathers nothing during training: it is a function, no class")
        with torch.no_grad():
            self.observer.observe(model)


def checked(scores: Scores, model: nn.Module, name: str, form: str = "weight") -> Scores:
    """Return copies of the scores, in float32 or float64; raise CriterionError that names what is wrong and where.

    form: "weight" or "filter", what one score is for. Copies, because a score may be a view of a weight that
    `untouched` is about to restore.
    """
    weights = prunable(model)
    if not isinstance(scores, dict) or not scores:
        raise CriterionError(f"criterion {name} returned no scores: it must return a dict of parameter name -> tensor")
    for key, score in scores.items():
        if key not in weights:
            raise CriterionError(f"criterion {name} scored {key!r}, which is no prunable parameter of this model")
        needed = form_shape(weights[key], form)
        if not isinstance(score, Tensor) or score.shape != needed:
            shape = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise CriterionError(f"criterion {name}: the score of {key} is {shape}, it must be {tuple(needed)}")
        if not torch.isfinite(score).all():
            raise NonFiniteScoresError(f"criterion {name}: the score of {key} is not finite (NaN or infinity)")
    return {key: scores[key].detach().to(_wide(scores[key].dtype), copy=True) for key in weights if key in scores}


def form_shape(weight: Tensor, form: str) -> torch.Size:
    """Return the shape of a weight's scores: its own, or where one score is for a filter [out_channels]."""
    return weight.shape[:1] if form == "filter" else weight.shape


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give the block a model without gradients, then restore all of it and the global generators.

    Restored are weights, buffers, gradients, `requires_grad`, and every module's attributes: its mode, its hooks, and
    the parameters, buffers and modules it holds.
    """
    modules = [
        (vars(m), dict(vars(m)), [(held, dict(held)) for held in vars(m).values() if isinstance(held, dict)])
        for m in model.modules()
    ]
    values = [(t, t.data, t.detach().clone()) for t in (*model.parameters(), *model.buffers())]
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    try:
        with same_generators():
            for parameter, _, _ in gradients:
                parameter.grad = None
                parameter.requires_grad_(parameter.is_floating_point())
            yield
    finally:
        for attributes, before, contents in modules:
            _refill(attributes, before)
            for held, content in contents:
                _refill(held, content)
        with torch.no_grad():
            for tensor, data, value in values:
                tensor.data = data
                tensor.copy_(value)
        for parameter, gradient, requires_grad in gradients:
            parameter.grad = gradient
            parameter.requires_grad_(requires_grad)


def _refill(mapping: dict[str, Any], content: dict[str, Any]) -> None:
    """Restore a dict in place: the handle of a hook keeps a reference to it."""
    mapping.clear()
    mapping.update(content)


@contextmanager
def same_generators() -> Iterator[None]:
    """Restore the global generators of torch (CPU and CUDA), Python and, where it is loaded, NumPy after the block."""
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    python_state = random.getstate()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
