"""What a table is, whatever it is printed in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd


@dataclass(frozen=True)
class Column:
    """One column's heading; neighbours of the same span share a heading above theirs."""

    name: str
    span: str = ""


@dataclass(frozen=True)
class Row:
    """One line: a text a column, empty where there is nothing to say."""

    cells: tuple[str, ...]
    best: frozenset[int] = frozenset()
    """Columns in which this row is the best."""
    rule: bool = False
    """Whether a group of rows begins here."""


@dataclass(frozen=True)
class Table:
    """Plain texts in rows and columns: each renderer escapes them and finds its own marks."""

    subject: str
    """What the cells are: `top-1 test accuracy (%) by target sparsity`."""
    title: str
    """What tells it from the report's other tables; empty where it is the only one."""
    about: str
    """What all rows share."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Sentences; the first says over what the means are taken."""
    stub: int = 1
    """Leading columns that name a row."""

    def column(self, number: int) -> list[str]:
        """Return the texts of a column, without its headings."""
        return [row.cells[number] for row in self.rows]

    def spans(self) -> list[tuple[str, list[int]]]:
        """Return (span, its columns), the stub left out; a column without a span stands alone."""
        numbers = range(self.stub, len(self.columns))
        grouped = groupby(numbers, lambda number: self.columns[number].span or number)
        return [("" if isinstance(span, int) else span, list(own)) for span, own in grouped]

    def folded(self, widths: Sequence[float], room: float) -> list["Table"]:
        """Return the table cut between spans into pieces that fit `room`, the stub in each; widths: one a column.

        A span that is wider is cut, too. A piece leaves out the rows that say nothing in it.
        """
        room -= sum(widths[: self.stub])
        units: list[list[int]] = []
        for _, own in self.spans():
            units += [own] if sum(widths[number] for number in own) <= room else [[number] for number in own]
        needs = [sum(widths[number] for number in unit) for unit in units]
        pieces = _packed(needs, room)
        # Of all foldings in as few pieces the most even one.
        while 1 < len(pieces) < len(units) and len(_packed(needs, 0.95 * room)) == len(pieces):
            room *= 0.95
        cuts = [[number for unit in piece for number in units[unit]] for piece in _packed(needs, room)]
        return [self._cut(cut) for cut in cuts] if len(cuts) > 1 else [self]

    def paged(self, most: int) -> list["Table"]:
        """Return the table cut into pieces of at most `most` rows, about as many in each."""
        size = math.ceil(len(self.rows) / math.ceil(len(self.rows) / most))
        return [replace(self, rows=self.rows[start : start + size]) for start in range(0, len(self.rows), size)]

    def _cut(self, piece: list[int]) -> "Table":
        numbers = [*range(self.stub), *piece]
        rows = [
            Row(
                tuple(row.cells[n] for n in numbers), frozenset(numbers.index(n) for n in row.best & {*piece}), row.rule
            )
            for row in self.rows
            if any(row.cells[n] for n in piece)
        ]
        return replace(self, columns=tuple(self.columns[n] for n in numbers), rows=tuple(rows))


def _packed(needs: Sequence[float], room: float) -> list[list[int]]:
    """Return the places of `needs`, in order, together as long as their sum fits."""
    pieces: list[list[int]] = [[]]
    free = room
    for place, need in enumerate(needs):
        if pieces[-1] and need > free:
            pieces, free = [*pieces, []], room
        pieces[-1].append(place)
        free -= need
    return pieces


@dataclass(frozen=True)
class Report:
    """The tables that answer one question about a plan."""

    name: str
    """Of its files, without an ending."""
    experiment: str
    subject: str
    tables: tuple[Table, ...]
    legend: tuple[str, ...]
    """Sentences that hold for all tables."""
    tidy: pd.DataFrame
    """The same and more, unrounded, one observation a row."""

    @property
    def heading(self) -> str:
        """`digits: top-1 test accuracy (%) by target sparsity`."""
        return f"{self.experiment}: {self.subject}"
