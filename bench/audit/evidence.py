"""What is audited: the records of a folder, and the plans that tabulate them."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cell import CONTROLS, Cell, named

Row = dict[str, Any]
"""Column -> value, None where there is none."""
CHOICE = ("dataset", "model", "recipe", "precision", "device")
"""Columns that name what criteria are compared on."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One record."""

    id: str
    """As its folder, or its row, calls it."""
    where: str
    columns: Row
    config: Row | None = None
    curves: list[Row] | None = None
    layers: list[Row] | None = None
    folder: Path | None = None
    """Where weights and masks are, None in published results."""
    artefacts: tuple[str, ...] = ()

    @cached_property
    def cell(self) -> Cell | None:
        """The cell that its configuration describes, None where it has none or one of another schema."""
        if self.config is None:
            return None
        known = self.config | {"criterion_file": self.config.get("criterion")}
        try:
            return Cell.model_validate_json(json.dumps(known))
        except ValidationError:
            return None

    @property
    def ok(self) -> bool:
        """Whether it holds measurements."""
        return self.columns.get("status") == "ok"

    @property
    def control(self) -> bool:
        """Whether it is a dense net's."""
        return self.columns.get("criterion") in CONTROLS

    def __str__(self) -> str:
        return f"{self.where}, {named(self.columns)}"


@dataclass(frozen=True, eq=False)
class Table:
    """One plan and those of its cells that have a record."""

    where: str
    plan: dict[str, Any]
    entries: dict[str, Entry]

    @property
    def rows(self) -> list[Row]:
        """The plan's cells: columns of their configuration."""
        rows: list[Row] = self.plan["cells"]
        return rows


@dataclass
class Evidence:
    """Everything below one folder."""

    root: Path
    tables: list[Table] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    stages: list[Path] = field(default_factory=list)
    """Folders of shared work: dense nets, their reads, scores."""
