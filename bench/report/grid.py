"""Grids of text: aligned, and as Markdown."""

import re
from collections.abc import Iterable

LEAST = 3
"""Characters of the narrowest column: what Markdown's rule below a header needs."""


def aligned(grid: list[list[str]]) -> list[list[str]]:
    """Return the grid padded: names to the left, numbers to the right."""
    widths = [max(LEAST, *map(len, column)) for column in zip(*grid, strict=True)]
    pads = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return [[pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)] for row in grid]


def table(grid: list[list[str]]) -> str:
    """Return header and rows, escaped where they need it, as an aligned table in GitHub's Markdown."""
    header, *rows = aligned(grid)
    rule = ["-" * len(header[0]), *("-" * (len(cell) - 1) + ":" for cell in header[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def items(lines: Iterable[str]) -> str:
    """Return a bullet list in Markdown, escaped."""
    return "\n".join(f"- {escaped(line)}" for line in lines)


def escaped(text: str) -> str:
    """Escape what Markdown would read as markup; underscores inside a word are none."""
    return re.sub(r"[\\|*<`~\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))
