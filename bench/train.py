"""The training step and its loop: one optimiser, a rate for each step, masked weights held at zero."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bench.compact import Compacted, State
from bench.data import Data, batches
from bench.data.batching import batch_count
from bench.loss import loss_function
from bench.masks import Masks, apply_masks_
from bench.measure.accuracy import BATCH, evaluate
from bench.mode import unfilled
from bench.schema import Recipe
from bench.seeds import derived_seed, generator, restored_generators


class NonFiniteError(Exception):
    """A loss became NaN or infinite."""


class Trainer:
    """A network in training: call `run(until)` to go on to a step; masks may change in between.

    rates: the learning rate of each step. stream: names the random streams of this training ("train", "finetune").
    """

    def __init__(
        self, model: nn.Module, data: Data, recipe: Recipe, rates: list[float], seed: int, stream: str, precision: str
    ) -> None:
        self.model = model
        self.data = data
        self.recipe = recipe
        self.rates = rates
        self.seed = seed
        self.stream = stream
        self.precision = precision
        self.steps_per_epoch = steps_per_epoch(data, recipe)
        self.optimizer = make_optimizer(model, recipe)
        self.loss_fn = loss_function(recipe, smoothing=True)
        self._scales = [
            m.weight for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.affine
        ]
        self.masks: Masks = {}
        self.observe: Callable[[nn.Module], None] | None = None
        """Called at each step when the gradients of the loss are there, before any penalty and the optimiser's move."""
        self.step = 0
        self.seconds = 0.0
        self._batches: Iterator[tuple[Tensor, Tensor]] = self._stream_of_batches()
        # Summed on the device and read once an epoch: reading it each step would make a GPU wait.
        self._loss_sum = torch.zeros((), device=data.device)
        self._seen = 0

    def mask(self, masks: Masks) -> None:
        """Set the masked weights to zero, now and after each step from now on."""
        self.masks = masks
        apply_masks_(self.model, masks)

    def forget(self, where: Masks) -> None:
        """Set the optimiser's memory (momentum, Adam's moments) of the weights that are True in `where` to zero."""
        for name, mask in where.items():
            weight = self.model.get_parameter(name)
            for memory in self.optimizer.state[weight].values():
                if isinstance(memory, Tensor) and memory.shape == weight.shape:
                    memory.masked_fill_(mask, 0)

    def run(self, until: int, on_epoch: Callable[[dict[str, Any]], None], limit: float = math.inf) -> None:
        """Train up to step `until`, or one step at least for about `limit` seconds; in pieces it is the same.

        Calls `on_epoch` with a row of the curves at each epoch's end. Raises NonFiniteError. The time that is kept
        excludes validation.
        """
        self.model.train()
        parameters = dict(self.model.named_parameters())
        masked: list[Tensor] = [parameters[name].data for name in self.masks]
        # Laid out as the weights, so that one kernel multiplies them all.
        masks = [torch.empty_like(parameters[name]).copy_(mask) for name, mask in self.masks.items()]
        started = self._now()
        ends = started + limit
        with restored_generators(self.data.device), unfilled():
            while self.step < until:
                # What the model itself draws (dropout) must not depend on what this process ran before.
                torch.manual_seed(derived_seed(self.seed, self.stream, "model", self.step))
                inputs, targets = next(self._batches)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rates[self.step]
                self._loss_sum += self._update(inputs, targets)
                self._seen += len(targets)
                if masks:
                    # After the step: momentum, weight decay and Adam would otherwise revive pruned weights.
                    torch._foreach_mul_(masked, masks)
                self.step += 1
                if self.step % self.steps_per_epoch == 0:
                    self.seconds += self._now() - started
                    self._finish_epoch(on_epoch)
                    started = self._now()
                if time.perf_counter() > ends:
                    break
        self.seconds += self._now() - started
        self._check_finite("the training loss", self._loss_sum)
        if self.step == len(self.rates):
            # The last step can break weights that no loss has seen yet.
            total = sum(parameter.detach().double().sum() for parameter in self.model.parameters())
            self._check_finite("a weight", total)

    def _now(self) -> float:
        """Return the time at which the device has done what it was told to."""
        if self.data.device.type == "cuda":
            torch.cuda.synchronize(self.data.device)
        return time.perf_counter()

    def _update(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.loss_fn(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.observe:
            self.observe(self.model)
        if self.recipe.gamma_l1:
            for scale in self._scales:
                if scale.grad is not None:  # the forward pass may leave a layer out
                    scale.grad.add_(scale.detach().sign(), alpha=self.recipe.gamma_l1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach() * len(targets)

    def _finish_epoch(self, on_epoch: Callable[[dict[str, Any]], None]) -> None:
        self._check_finite("the training loss", self._loss_sum)
        row: dict[str, Any] = {
            "stage": self.stream,
            "epoch": self.step // self.steps_per_epoch,
            "lr": self.rates[self.step - 1],
            "train/loss": float(self._loss_sum) / self._seen,
        }
        if len(self.data.validation.targets):
            read = validate(self.model, self.data, self.recipe)
            self._check_finite("the validation loss", read["loss"])
            row |= {"val/loss": read["loss"], f"val/{self.data.measure}": read[self.data.measure]}
        self._loss_sum.zero_()
        self._seen = 0
        on_epoch(row)

    def _check_finite(self, what: str, value: Tensor | float) -> None:
        if not math.isfinite(value):
            epoch = (self.step - 1) // self.steps_per_epoch + 1
            raise NonFiniteError(f"{what} is not finite in {self.stream} epoch {epoch}; lower recipe.lr")

    def _stream_of_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches for ever, from the step's epoch on; each epoch has streams of its own, so resuming is exact."""
        while True:
            epoch = self.step // self.steps_per_epoch
            yield from batches(
                self.data,
                self.data.train,
                self.recipe.batch_size,
                order=generator(self.seed, self.stream, "order", epoch),
                augmentation=generator(self.seed, self.stream, "augmentation", epoch),
                crop_padding=self.recipe.crop_padding,
                flip=self.recipe.flip,
                crop_area=self.recipe.crop_area,
                first=self.step % self.steps_per_epoch,
            )

    def run_compacted(
        self, small: Compacted, until: int, on_epoch: Callable[[dict[str, Any]], None], limit: float = math.inf
    ) -> None:
        """Do what `run` does on a smaller copy, in less time; the masked network takes over what it gives."""
        inner = Trainer(small.model, self.data, self.recipe, self.rates, self.seed, self.stream, self.precision)
        inner.resume(small.shrunk(self.state()))
        inner.run(until, on_epoch, limit)
        self.resume(small.grown(inner.state(), self.state()))

    def state(self) -> State:
        """Return what is needed to go on from this step, bit for bit."""
        memory = {name: self.optimizer.state.get(p, {}) for name, p in self.model.named_parameters()}
        return {
            "model": self.model.state_dict(),
            "memory": {n: {k: v for k, v in kept.items() if v is not None} for n, kept in memory.items() if kept},
            "step": self.step,
            "seconds": self.seconds,
            "loss_sum": self._loss_sum,
            "seen": self._seen,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the state's tensors under names of their own (see `state_of`)."""
        state = self.state()
        memory = {f"memory/{n}/{kind}": tensor for n, kept in state["memory"].items() for kind, tensor in kept.items()}
        return {f"model/{name}": tensor for name, tensor in state["model"].items()} | memory

    @staticmethod
    def state_of(tensors: dict[str, Tensor], step: int) -> State:
        """Return the state at a step whose tensors these are; the loss of its epoch counts from there."""
        state: State = {"model": {}, "memory": {}, "step": step, "seconds": 0.0}
        for path, tensor in tensors.items():
            group, _, name = path.partition("/")
            if group == "model":
                state["model"][name] = tensor
            else:
                parameter, _, kind = name.rpartition("/")
                state["memory"].setdefault(parameter, {})[kind] = tensor
        return state

    def resume(self, state: State) -> None:
        """Go on from a state; without `seen` and `loss_sum` the loss of its epoch counts from there."""
        self.model.load_state_dict(state["model"])
        number = {id(p): i for i, p in enumerate(p for group in self.optimizer.param_groups for p in group["params"])}
        memory = {number[id(self.model.get_parameter(name))]: kept for name, kept in state["memory"].items()}
        # A copy: torch would go on in the state's own tensors, and a second round from the same state would differ.
        memory = copy.deepcopy(memory)
        for kept in memory.values():
            if "step" in kept:  # Adam's count: on a GPU it would be read there at every step, for each parameter
                kept["step"] = kept["step"].cpu()
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": memory})
        self.step, self.seconds = state["step"], state["seconds"]
        self._batches = self._stream_of_batches()
        self._seen = state.get("seen", 0)
        self._loss_sum = state["loss_sum"].clone() if self._seen else torch.zeros_like(self._loss_sum)


def validate(model: nn.Module, data: Data, recipe: Recipe) -> dict[str, Any]:
    """Return loss and top1 (r2 in a regression) on the validation split."""
    return evaluate(model, batches(data, data.validation, BATCH), loss_function(recipe))


def steps_per_epoch(data: Data, recipe: Recipe) -> int:
    """Return the number of optimiser steps in one epoch."""
    samples = len(data.train.targets)
    return batch_count(samples, recipe.batch_size or samples)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; weight decay on biases and normalisation is the recipe's choice."""
    parameters = list(model.parameters())
    free = [] if recipe.decay_norm_and_bias else [p for p in parameters if p.dim() <= 1]
    decayed = [p for p in parameters if recipe.decay_norm_and_bias or p.dim() > 1]
    groups: list[dict[str, Any]] = [{"params": decayed}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    common: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, foreach=True, **common)
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(groups, foreach=True, **common)
