"""What a run says while it works: lines, and a bar with the stage, the cells done, and how long it will still take."""

import os
import sys
import time
from typing import Any

from tqdm import tqdm

from bench.cell import Cell, named

LINE_EVERY_S = 30.0
"""Where there is no terminal, a line this often."""


def tell(*lines: str, stream: str = "stderr") -> None:
    """Print lines, unless whoever read them has left (head, less, a pipe that broke): a run does not depend on it."""
    try:
        print(*lines, sep="\n", file=getattr(sys, stream), flush=True)
    except BrokenPipeError:
        setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115


class Progress:
    """Shows what the workers tell. The unit of work is an epoch; its price is measured, all else included."""

    def __init__(self, cells: list[Cell], total_cells: int) -> None:
        self.left = {cell.id: cell.epochs_to_train for cell in cells}
        self.work = sum(self.left.values())
        self.cells = total_cells
        self.started = self.line_at = time.monotonic()
        self.now = ""
        self.bar = tqdm(
            total=total_cells,
            initial=total_cells - len(cells),
            bar_format="{desc} {percentage:3.0f}%|{bar:24}|{postfix}",
            disable=None,  # no bar where there is no terminal
            leave=False,
        )

    def listen(self, kind: str, cell: Cell, facts: Any) -> None:
        """Take one message of a worker, or the launcher's "result"."""
        if kind == "note":
            self.say(facts["text"])
            return
        if kind == "result":
            self.left.pop(cell.id, None)
            self.bar.update()
            if facts.status == "failed":
                self.say(f"failed: {named(cell.columns())}: {facts.reason}")
        elif kind == "epoch":
            self.left[cell.id] = max(0, self.left[cell.id] - 1)
            self.now = f"{named(cell.columns())}: {facts['stage']} epoch {facts['epoch']}"
        elif kind == "stage":
            self.now = f"{named(cell.columns())}: {facts['stage']}"
        self._show()

    def say(self, line: str) -> None:
        """Print a line without tearing the bar."""
        with self.bar.external_write_mode(file=sys.stderr):
            tell(line)

    def close(self) -> None:
        """Take the bar away."""
        self.bar.close()

    def _show(self) -> None:
        done = self.cells - len(self.left)
        status = f"{done}/{self.cells} cells"
        self.bar.set_description_str(status, refresh=False)
        self.bar.set_postfix_str(f" {self._eta()} {self.now}", refresh=False)
        if not self._due(LINE_EVERY_S if self.bar.disable else 0.1):
            return
        if self.bar.disable:
            tell(f"{status}, {self._eta()}, {self.now}")
        else:
            self.bar.refresh()

    def _due(self, seconds: float) -> bool:
        if time.monotonic() - self.line_at < seconds:
            return False
        self.line_at = time.monotonic()
        return True

    def _eta(self) -> str:
        """Return the time that the rest takes at the pace so far, scoring and measuring included."""
        left = sum(self.left.values())
        if left == self.work:
            return "ETA --:--"
        seconds = (time.monotonic() - self.started) * left / (self.work - left)
        return f"ETA {tqdm.format_interval(seconds)}"
