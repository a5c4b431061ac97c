"""A cell whose process dies again and again."""

from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.run import run_cell
from tests.helpers import workbench


class Killed(BaseException):
    """What ends a process, in a test."""


def made_despite_kills(one: Cell, root: Path, most: int = 20) -> tuple[dict[str, Any], int]:
    """Make a cell whose processes each die in the second epoch that they train; return its record and the deaths."""
    for kills in range(most):
        epochs: list[str] = []

        def tell(kind: str, _: dict[str, Any], epochs: list[str] = epochs) -> None:
            epochs.extend([kind] * (kind == "epoch"))
            if len(epochs) == 2:
                raise Killed

        try:
            return run_cell(one, workbench(root, tell)), kills
        except Killed:
            pass
    raise AssertionError(f"not made after {most} deaths")
