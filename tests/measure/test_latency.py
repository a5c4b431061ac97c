"""The race: fair turns, numbers a contestant, and a process that is left as it was."""

import itertools
import statistics
import time

import pytest
import torch

from bench.measure import latency
from bench.measure.latency import conditions, race
from bench.mode import kernels
from bench.seeds import generator

CPU = torch.device("cpu")


def test_all_have_a_turn_a_round_in_changing_order_and_the_first_round_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "TURN_S", 1e-5)
    calls: list[str] = []
    threads = torch.get_num_threads()
    runs = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = race(runs, CPU, 1, generator(0, "race"), rounds=12)
    assert {name: len(own.turns_s) for name, own in times.items()} == dict.fromkeys("abc", 12)
    turns = [name for place, name in enumerate(calls) if place == 0 or calls[place - 1] != name]
    assert {calls.count(name) > 12 for name in "abc"} == {True}
    assert len({*itertools.pairwise(turns)}) == 6  # each follows each
    assert torch.get_num_threads() == threads
    for own in times.values():
        assert own.median_s > 0
        assert own.iqr_s >= 0
        assert min(own.turns_s) <= own.median_s <= max(own.turns_s)


def test_the_slower_one_is_slower_in_every_round_and_long_races_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "RACE_S", 0.0)
    times = race({"slow": lambda: time.sleep(0.011), "fast": lambda: None}, CPU, 1, generator(0, "race"), rounds=31)
    slow, fast = times["slow"].turns_s, times["fast"].turns_s
    assert len(slow) == len(fast) == latency.LEAST_ROUNDS
    assert all(one > other for one, other in zip(slow, fast, strict=True))
    assert statistics.median(slow) > 0.01


def test_inside_fastest_nothing_is_deterministic_and_outside_all_is_as_before() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with kernels(deterministic=False):
            inside = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        assert inside == (False, True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(before)


def test_conditions_name_cores_load_and_clock() -> None:
    known = conditions(CPU)
    assert list(known) == ["cores", "load", "clock_mhz"]
    assert known["cores"] >= 1
    assert known["clock_mhz"] is None or 100 < known["clock_mhz"] < 10_000


def test_on_a_gpu_each_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    latency._timer(lambda: calls.append("run"), 3, torch.device("cuda"), 1).timeit(1)
    assert calls == ["run", "wait"] * (len(calls) // 2) != []
    calls.clear()
    latency._timer(lambda: calls.append("run"), 3, CPU, 1).timeit(1)
    assert set(calls) == {"run"}


def test_a_round_that_warms_up_is_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[None] = []
    real = latency.Timer.blocked_autorange
    monkeypatch.setattr(
        latency.Timer, "blocked_autorange", lambda self, **how: (turns.append(None), real(self, **how))[1]
    )
    times = race({"a": lambda: None, "b": lambda: None}, torch.device("cpu"), 1, generator(0, "race"), rounds=9)
    assert len(turns) == 2 * (9 + 1)
    assert {len(own.turns_s) for own in times.values()} == {9}
