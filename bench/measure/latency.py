"""How long a network takes to answer: contestants take turns, so that what else the machine does falls on all alike."""

import os
import re
import statistics
import subprocess
import time
import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Timer

from bench.cores import cores

ROUNDS, LEAST_ROUNDS = 31, 9
"""Turns of each contestant: with 31 a third of them may be disturbed; of 8 a 99 % interval of a median can be told."""
TURN_S = 0.01
"""Seconds of a turn at least; one answer, where that takes longer."""
WARM_S = 0.03
"""Seconds of single answers that warm a contestant up and say how many of them make a block."""
BLOCK_S = 0.001
"""Seconds between two readings of the clock, about the same for all: what interrupts a process hits longer blocks more.
With twice as long ones the intervals are ten times wider on a busy machine."""
RACE_S = 60.0
"""A race that would take longer has fewer rounds, LEAST_ROUNDS at least."""

Run = Callable[[], Any]


@dataclass(frozen=True)
class Times:
    """What the clock said of one contestant, in seconds an answer."""

    turns_s: list[float]
    """Median of each turn, in the order of the rounds."""
    median_s: float
    """Of all blocks of answers that were timed; iqr_s: their inter-quartile range."""
    iqr_s: float


def race(
    contestants: Mapping[str, Run],
    device: torch.device,
    threads: int,
    chance: torch.Generator,
    rounds: int = ROUNDS,
) -> dict[str, Times]:
    """Return the times of each contestant: `rounds` rounds in which all have a turn, in an order drawn anew each time.

    A round before them warms up and does not count; where it shows that they would take more than RACE_S, there are
    fewer. On CUDA the device is waited for after each answer.
    """
    answers = [max(1, round(BLOCK_S / _quickest(_timer(run, 1, device, threads)))) for run in contestants.values()]
    timers = [_timer(run, n, device, threads) for run, n in zip(contestants.values(), answers, strict=True)]

    def turns() -> list[list[float]]:
        order = torch.randperm(len(timers), generator=chance).tolist()
        blocks = {place: timers[place].blocked_autorange(min_run_time=TURN_S).times for place in order}
        return [[seconds / answers[place] for seconds in blocks[place]] for place in range(len(timers))]

    started = time.perf_counter()
    turns()
    fit = int(RACE_S / (time.perf_counter() - started))
    blocks = [turns() for _ in range(min(rounds, max(LEAST_ROUNDS, fit)))]
    return {name: _times(list(own)) for name, own in zip(contestants, zip(*blocks, strict=True), strict=True)}


def _timer(run: Run, answers: int, device: torch.device, threads: int) -> Timer:
    # Whoever waits for an answer asks the next question then: on a GPU each is waited for. Torch's own clock would wait
    # for a whole block, and be read so slowly that it makes blocks of a tenth of a second.
    statement = "for _ in answers: run(); wait()" if device.type == "cuda" else "for _ in answers: run()"
    names = {"run": run, "answers": range(answers), "wait": torch.cuda.synchronize}
    return Timer(statement, globals=names, num_threads=threads, timer=timeit.default_timer)


def _quickest(timer: Timer) -> float:
    """Return the seconds of the quickest of many single answers: what interrupted the others is no part of it."""
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - started < WARM_S:
        seconds.append(timer.timeit(1).median)
    return min(seconds)


def _times(turns: list[list[float]]) -> Times:
    low, median, high = np.quantile(np.concatenate(turns), [0.25, 0.5, 0.75]).tolist()
    return Times([_rounded(statistics.median(turn)) for turn in turns], _rounded(median), _rounded(high - low))


def _rounded(seconds: float) -> float:
    """Return six digits: more than a clock is good for."""
    return float(f"{seconds:.6g}")


def conditions(device: torch.device) -> dict[str, Any]:
    """Return cores (that this process may use), load (running processes, mean of the last minute) and clock_mhz.

    clock_mhz: of the device, now: null where the system does not say. Under a hypervisor it may be a constant.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    clock = _gpu_mhz(device.index or 0) if device.type == "cuda" else _cpu_mhz()
    return {"cores": cores(), "load": load, "clock_mhz": clock}


def _cpu_mhz() -> float | None:
    """Return the mean over all cores."""
    scaled = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    try:
        clocks = [float(path.read_text()) / 1000 for path in scaled]
        clocks = clocks or [float(mhz) for mhz in re.findall(r"cpu MHz\s*:\s*(\S+)", Path("/proc/cpuinfo").read_text())]
    except OSError:
        return None
    return round(statistics.mean(clocks)) if clocks else None


def _gpu_mhz(index: int) -> float | None:
    uuid = torch.cuda.get_device_properties(index).uuid
    query = ["nvidia-smi", f"--id=GPU-{uuid}", "--query-gpu=clocks.sm", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.check_output(query, text=True, stderr=subprocess.DEVNULL, timeout=10))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
