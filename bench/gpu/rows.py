"""What a check says: one number with its bound."""

import math
from dataclasses import dataclass

from bench.errors import one_line


@dataclass(frozen=True)
class Row:
    """A number, or in `note` why there is none."""

    name: str
    value: float | None = None
    bound: float | None = None
    """The largest value that passes; None where nothing is demanded."""
    ok: bool | None = None
    """None where nothing is demanded, or could be measured."""
    note: str = ""


def bounded(name: str, value: float, bound: float, note: str = "") -> Row:
    """Return the row of a value that must not exceed `bound`; NaN and infinity fail."""
    if not math.isfinite(value):
        return Row(name, None, bound, False, f"the value is {value} {note}".rstrip())
    return Row(name, value, bound, value <= bound, note)


def failure(name: str, error: Exception) -> Row:
    """Return the row of a check that did not come to its end."""
    return Row(name, ok=False, note=one_line(error))
