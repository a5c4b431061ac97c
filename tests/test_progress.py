"""What a run says while it works."""

import sys

import pytest

from bench.progress import Progress, tell
from bench.tasks import Result
from tests.helpers import cell


class Broken:
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_lines_that_nobody_reads_stop_nothing(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, stream, Broken())
    tell("one", "two", stream=stream)
    tell("three", stream=stream)


def test_a_bar_that_nobody_reads_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken())
    one = cell()
    progress = Progress([one], 1)
    progress.line_at -= 60  # a line is due
    progress.listen("stage", one, {"stage": "train"})
    progress.listen("result", one, Result("failed", "why"))
    progress.close()
