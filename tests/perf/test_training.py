"""What the harness adds to the arithmetic of training: data order, crops and flips, rates, losses, masks."""

import multiprocessing
import resource
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench.data import batches
from bench.mode import kernels
from bench.models.resnet import resnet
from bench.schedule import training_rates
from bench.train import Trainer, make_optimizer
from bench.worker import keep_freed_memory
from criteria.tools.parameters import prunable
from tests.helpers import data, recipe
from tests.perf.timing import one_thread, race

STEPS = 8
RECIPE = recipe(epochs=99, batch_size=128, momentum=0.9, nesterov=True, weight_decay=5e-4, crop_padding=4, flip=True)
SAMPLES = data(train=STEPS * 128, validation=0, test=1, shape=(3, 32, 32), classes=10)


def network() -> nn.Module:
    return resnet((3, 32, 32), 10, depth=20).to(memory_format=torch.channels_last)


class Epochs:
    """The trainer; each call is an epoch."""

    def __init__(self, sparsity: float | None = None) -> None:
        rates = training_rates(RECIPE, STEPS)
        self.trainer = Trainer(network(), SAMPLES, RECIPE, rates, seed=0, stream="train", precision="fp32")
        if sparsity is not None:
            weights = prunable(self.trainer.model)
            self.trainer.mask({name: torch.rand(weight.shape) >= sparsity for name, weight in weights.items()})

    def __call__(self) -> None:
        self.trainer.run(self.trainer.step + STEPS, lambda row: None)


class Bare:
    """Forward, backward, step on one batch, as often as an epoch has steps."""

    def __init__(self) -> None:
        self.model = network().train()
        self.optimizer = make_optimizer(self.model, RECIPE)
        self.inputs, self.targets = next(batches(SAMPLES, SAMPLES.train, 128))

    def __call__(self) -> None:
        for _ in range(STEPS):
            F.cross_entropy(self.model(self.inputs), self.targets).backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


@pytest.mark.perf
def test_an_epoch_costs_hardly_more_than_its_arithmetic_and_masks_next_to_nothing() -> None:
    with one_thread():
        seconds = race(9, bare=Bare(), trainer=Epochs(), masked=Epochs(sparsity=0.9))
    print(f"trainer / bare {seconds['trainer'] / seconds['bare']:.3f}, bound 1.05")
    print(f"masked / trainer {seconds['masked'] / seconds['trainer']:.3f}, bound 1.03")
    assert seconds["trainer"] <= 1.05 * seconds["bare"]
    assert seconds["masked"] <= 1.03 * seconds["trainer"]


@pytest.mark.perf
def test_exact_kernels_do_not_pay_for_filling_new_memory() -> None:
    """As a worker trains: torch's deterministic mode fills every new tensor, unless it is told not to."""
    with one_thread(), kernels():
        seconds = race(9, filled=Bare(), trainer=Epochs())
    print(f"trainer / bare with filling {seconds['trainer'] / seconds['filled']:.3f}, bound 1")
    assert seconds["trainer"] <= seconds["filled"]


def _faults(keep: bool) -> int:
    """Return how many pages the kernel had to provide for an epoch after the first."""
    if keep:
        keep_freed_memory()
    epoch = Bare()
    epoch()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    epoch()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.perf
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_a_workers_steps_take_their_memory_from_the_steps_before() -> None:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        plain, kept = pool.map(_faults, [False, True], chunksize=1)
    print(f"page faults an epoch: {plain} plain, {kept} kept")
    assert kept < plain / 4
