"""A network against itself: a hundred races, in which the same network twice must not differ."""

import copy

import pytest
import torch

from bench.measure.latency import race
from bench.mode import kernels
from bench.report.latency import speed_up
from bench.seeds import generator
from tests.helpers import net
from tests.perf.timing import one_thread

REPEATS = 100


@pytest.mark.perf
def test_a_network_differs_from_its_copy_in_at_most_5_of_100_races() -> None:
    model, inputs, chance = net().eval(), torch.randn(8, 1, 4, 4), generator(0, "race")
    gains = []
    with one_thread(), kernels(deterministic=False), torch.inference_mode():
        for _ in range(REPEATS):
            one, other = copy.deepcopy(model), copy.deepcopy(model)
            runs = {"one": lambda one=one: one(inputs), "other": lambda other=other: other(inputs)}
            times = race(runs, torch.device("cpu"), 1, chance)
            gains.append(speed_up(times["one"].turns_s, times["other"].turns_s))
    found = sum(gain.differs for gain in gains)
    widest = sorted(gain.high - gain.low for gain in gains)
    print(f"\n{found} of {REPEATS} races show a difference, bound 5; median width of the interval {widest[50]:.3f}")
    assert found <= 5


@pytest.mark.perf
def test_a_network_of_twice_the_work_is_found_slower() -> None:
    model, inputs = net().eval(), torch.randn(64, 1, 4, 4)
    with one_thread(), kernels(deterministic=False), torch.inference_mode():
        runs = {"once": lambda: model(inputs), "twice": lambda: (model(inputs), model(inputs))}
        times = race(runs, torch.device("cpu"), 1, generator(0, "race"))
    gain = speed_up(times["twice"].turns_s, times["once"].turns_s)
    print(f"\ntwice / once {gain}")
    assert gain.differs
    assert gain.low > 1
