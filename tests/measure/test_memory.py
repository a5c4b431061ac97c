"""Peak memory: of one cell, not of those before it."""

import mmap
from pathlib import Path

import pytest
import torch

from bench.measure.memory import PeakMemory

CPU = torch.device("cpu")


@pytest.mark.skipif(not PeakMemory(CPU).measurable, reason="the system does not let the peak be reset")
def test_peak_counts_what_was_freed_and_starts_anew() -> None:
    first = PeakMemory(CPU)
    base = first.mb()
    # Fresh pages, which no allocator has kept from earlier tests.
    with mmap.mmap(-1, 200_000_000) as pages:
        for start in range(0, len(pages), mmap.PAGESIZE):
            pages[start] = 1
    peak, second = first.mb(), PeakMemory(CPU).mb()
    assert base is not None
    assert peak is not None
    assert second is not None
    assert peak - base > 180
    assert peak - second > 150


def test_null_where_the_system_does_not_reset_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, text: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "write_text", refused)
    assert PeakMemory(CPU).mb() is None


def test_null_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = PeakMemory(CPU)
    peak.measurable = True
    monkeypatch.setattr(Path, "read_text", lambda path: "VmRSS: 5 kB\n")
    assert peak.mb() is None
    monkeypatch.setattr(Path, "read_text", lambda path: "VmPeak: 9 kB\nVmHWM:\t  2000 kB\n")
    assert peak.mb() == pytest.approx(2.048)
