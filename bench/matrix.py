"""Which pairs of a criterion and the axes are defined, asked of the rules that a plan keeps. No torch."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import criteria
from bench import config, plan
from bench.axes import (
    NM,
    REWIND_TO,
    Block,
    Filter,
    Gradual,
    Granularity,
    Iterative,
    Layer,
    OneShot,
    Regrow,
    Schedule,
    Scope,
    Weight,
    default_target_kind,
)
from bench.cell import Cell
from bench.refusals import refusal
from criteria import CriterionError

GRANULARITIES: tuple[Granularity, ...] = (
    Weight(name="weight"),
    NM(name="nm"),
    Block(name="block"),
    Filter(name="filter"),
    Layer(name="layer"),
)
SCOPES = tuple(
    Scope.model_validate({"name": name} | ({"value": 0.1} if name == "threshold" else {}))
    for name in ("global", "layer", "erk", "lamp", "row", "threshold")
)
SCHEDULES: tuple[Schedule, ...] = (
    OneShot(name="one_shot"),
    Iterative(name="iterative"),
    Gradual(name="gradual"),
    Regrow(name="regrow"),
)
TIMES = ("trained", "init", "rewind")


@dataclass
class Grid:
    """Rows x columns of `+` or the number of a reason; reasons are shared by all grids."""

    title: str
    columns: Sequence[str]
    rows: dict[str, list[str]] = field(default_factory=dict)


def matrix() -> tuple[list[Grid], list[str]]:
    """Return criterion x granularity and scope, criterion x time and schedule, and the reasons of what is refused."""
    with tempfile.TemporaryDirectory() as out:  # making a plan keeps hashes of the data there
        base = plan.make(config.load([f"out={out}"]), "cpu").cells[-1]
    reasons: list[str] = []
    grids = []
    for title, axes in (("granularity:scope", _places), ("time:schedule", _times)):
        grid = Grid(title, [name for name, _ in axes(base)])
        for name in criteria.available():
            try:
                description = criteria.describe(name)
            except CriterionError:
                continue
            own = base.model_copy(update={"criterion": name, "criterion_file": name, "criterion_options": {}})
            if "weight" not in description.forms:
                own = at(own, granularity=Filter(name="filter"), scope=Scope(name="layer"))
            lines = [refusal(cell, description) for _, cell in axes(own)]
            grid.rows[name] = [_mark(line and line.removeprefix(f"{name}: "), reasons) for line in lines]
        grids.append(grid)
    return grids, reasons


def _places(base: Cell) -> Iterator[tuple[str, Cell]]:
    for grain in GRANULARITIES:
        for scope in (None,) if isinstance(grain, NM) else SCOPES:
            yield f"{grain.name}:{scope.name if scope else '-'}", at(base, granularity=grain, scope=scope)


def _times(base: Cell) -> Iterator[tuple[str, Cell]]:
    for when in TIMES:
        for schedule in SCHEDULES:
            yield f"{when}:{schedule.name}", at(base, when=when, schedule=schedule)


def at(base: Cell, **axes: object) -> Cell:
    """Return a cell elsewhere on the axes, with the fields that follow from them."""
    cell = base.model_copy(update=axes)
    trained, rewound = cell.when == "trained", cell.when == "rewind"
    return cell.model_copy(
        update={
            "target_kind": default_target_kind(cell.granularity),
            "sparsity": None if cell.scope and cell.scope.name == "threshold" else base.sparsity,
            "finetune": base.finetune if trained else None,
            "finetune_epochs": base.finetune_epochs if trained else None,
            "rewind_to": REWIND_TO if rewound else None,
        }
    )


def _mark(reason: str | None, reasons: list[str]) -> str:
    if not reason:
        return "+"
    if reason not in reasons:
        reasons.append(reason)
    return str(reasons.index(reason) + 1)
