"""Grids of text: aligned, and as Markdown."""

import re
from collections.abc import Callable, Iterable

from bench.report.table import Report, Table

LEAST = 3
"""Characters of the narrowest column: what Markdown's rule below a header needs."""

ROOM = 150
"""Characters of a line of Markdown from which a table is folded."""


def document(report: Report) -> str:
    """Return a report in GitHub's Markdown; the best of a column is bold."""
    parts = [f"# {escaped(report.heading)}"]
    for one in report.tables:
        parts += [f"## {escaped(one.title)}"] if one.title else []
        parts += [escaped(one.about)] if one.about else []
        parts += [table(part) for part in texts(one, escaped, "**{}**".format, ROOM, 3)]
        parts += [items(one.notes)]
    return "\n\n".join([*parts, items(report.legend)]) + "\n"


def texts(
    one: Table, escape: Callable[[str], str], mark: Callable[[str], str], room: int, gap: int
) -> list[list[list[str]]]:
    """Return header and rows, folded to lines of `room` characters with `gap` between columns.

    A span stands before the names of its columns; `mark` is put on the best of a column.
    """
    whole = _grid(one, escape, mark)
    widths = [max(LEAST, *map(len, column)) + gap for column in zip(*whole, strict=True)]
    return [_grid(piece, escape, mark) for piece in one.folded(widths, room)]


def _grid(one: Table, escape: Callable[[str], str], mark: Callable[[str], str]) -> list[list[str]]:
    header = [" ".join(filter(None, (column.span, column.name))) for column in one.columns]
    lines = [(header, frozenset[int]()), *((row.cells, row.best) for row in one.rows)]
    grid = [
        [mark(escape(text)) if n in best else escape(text) for n, text in enumerate(cells)] for cells, best in lines
    ]
    # What names a row is never marked, and needs no place for it.
    return [[*(name.strip() for name in row[: one.stub]), *row[one.stub :]] for row in grid]


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
