"""Ratios of times inside one run: contestants take turns, so that what else the machine does falls on all alike."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def race(
    repeats: int, clock: Callable[[], float] = time.process_time, **contestants: Callable[[], object]
) -> dict[str, float]:
    """Return the median seconds of each contestant; they take turns, after one round that does not count.

    clock: the process's own time by default, which leaves out what other processes take.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, contestant in contestants.items():
            started = clock()
            contestant()
            if turn:
                times[name].append(clock() - started)
    print()
    for name, seconds in times.items():
        low, median, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:12} {median:8.4f} s, median of {repeats}, {low:.4f} to {high:.4f}")
    return {name: statistics.median(seconds) for name, seconds in times.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
