"""`oracle`: what removing each filter (or some weights) of a trained net does to its loss, and which criterion knew."""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from bench import config
from bench.axes import Filter, Low, OneShot, Weight, When
from bench.cell import CONTROLS, Cell
from bench.errors import UserError
from bench.launch import Pool, worker_count
from bench.plan import Plan, make
from bench.report import oracle
from bench.report.frame import ENVIRONMENT
from bench.report.places import UNITS
from bench.report.write import write
from bench.workplace import opened

PART = 16
"""Units measured in one go and kept together: what a kill can cost."""
FREE: dict[str, Any] = {
    **dict.fromkeys(("scope", "ablation", "target_kind", "budget"), (None,)),
    "sparsity": (0.5,),
    "when": (When(name="trained"),),
    "schedule": (OneShot(name="one_shot"),),
    "finetune": (Low(name="low"),),
    "finetune_epochs": (0,),
}
"""Axes of a run that mean nothing here: one unit at a time is removed from the trained network, and nothing follows."""
Question = tuple[str, Any]
"""A method of bench.oracle.Oracle, and its argument."""


@dataclass
class Net:
    """A trained network, the criteria that score it, and what is known of its units so far."""

    criteria: dict[str, Cell] = field(default_factory=dict)
    """Name of a row -> a cell that says the criterion."""
    units: list[tuple[str, int]] = field(default_factory=list)
    images: int = 0
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Number of a unit -> change, and cpu and gpu that measured it."""
    scores: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    """Criterion -> why it has no scores."""

    def note(self, criterion: str, reason: str) -> None:
        """Keep and print why a criterion has no scores."""
        self.reasons[criterion] = reason
        print(f"failed: {self.name}: criterion {criterion}: {reason}", file=sys.stderr)

    @property
    def cell(self) -> Cell:
        """Any of the cells: they share data, model, recipe, seed and granularity."""
        return next(iter(self.criteria.values()))

    @property
    def name(self) -> str:
        """As a person would name it."""
        return f"{self.cell.dataset.name} {self.cell.model.name} seed {self.cell.seed}"


def main(arguments: list[str]) -> int:
    """Measure what is missing, write tables and figure to OUT/oracle; return 1 where a net or a criterion failed.

    The settings are a run's; scope, ablation, target_kind, budget, sparsity, when, schedule, finetune and
    finetune_epochs have no effect.
    """
    settings = config.load(arguments)
    root = Path(settings.out)
    with opened(settings) as (pool, device, gpus):
        plan = make(settings.model_copy(update=FREE), device)
        nets = _nets(plan)
        _try(pool, nets, plan.broken)

        def grow(questions: int) -> None:
            pool.grow(worker_count(settings.workers, settings.threads, device, gpus, questions), device)

        grow(len(nets))
        trained = _train(pool, nets)
        questions = [question for net in trained for question in _questions(net)]
        grow(len(questions))
        _measure(pool, questions)
    failed = len(nets) - len(trained) + sum(len(net.reasons) for net in nets)
    units = pd.DataFrame(row for net in trained for row in _rows(net))
    files = oracle.files(units) | {UNITS: oracle.stored(units)}
    paths = write(files, root / "oracle" / f"{settings.experiment}-{plan.hash}")
    print(oracle.markdown(units))
    print(*paths, sep="\n")
    return 1 if failed else 0


def _nets(plan: Plan) -> list[Net]:
    """Return the networks of a plan; UserError where no cell removes filters or single weights."""
    nets: dict[Any, Net] = {}
    for cell in plan.cells:
        if cell.criterion not in CONTROLS and isinstance(cell.granularity, Filter | Weight):
            key = (cell.dense_key, cell.granularity.name, cell.prunable, cell.scoring)
            nets.setdefault(key, Net()).criteria.setdefault(_row(cell), cell)
    if not nets:
        raise UserError("the oracle removes filters or single weights: give granularity=filter or granularity=weight")
    return list(nets.values())


def _row(cell: Cell) -> str:
    """Return e.g. `taylor (gate=activation)`: what decides the scores, beside the network."""
    grain = cell.granularity.model_dump(exclude_defaults=True, exclude={"name"}) if cell.granularity else {}
    parts = [f"{name}={value}" for name, value in (cell.criterion_options | grain).items()]
    parts += ["score_mode=train"] if cell.score_mode == "train" else []
    return f"{cell.criterion} ({', '.join(parts)})" if parts else cell.criterion


def _try(pool: Pool, nets: list[Net], broken: dict[str, str]) -> None:
    """Try data, models and criteria before any training; note the criteria that fail. UserError where all do."""
    tried: dict[tuple[str, str, str], str | None] = {}
    for net in nets:
        pool.ask("check", net.cell)
        for name, cell in net.criteria.items():
            key = (cell.dataset.name, cell.model.name, name)
            if key not in tried:
                tried[key] = broken.get(cell.criterion) or _refused(pool, cell)
            if reason := tried[key]:
                net.note(name, reason)
    if all(len(net.reasons) == len(net.criteria) for net in nets):
        raise UserError("no criterion can score these networks; nothing was measured")


def _refused(pool: Pool, cell: Cell) -> str | None:
    try:
        pool.ask("check_criterion", cell)
    except UserError as error:
        return str(error)
    return None


def _train(pool: Pool, nets: list[Net]) -> list[Net]:
    """Let the workers train the networks; return those that are there, with their units."""
    for net, _, answer, reason in _answers(pool, "networks", [(net, ("units", net.cell)) for net in nets]):
        if reason:
            print(f"failed: {net.name}: {reason}", file=sys.stderr)
        else:
            net.units, net.images = answer
    trained = [net for net in nets if net.units]
    if not trained:
        raise UserError("no network could be trained; nothing was measured")
    return trained


def _questions(net: Net) -> list[tuple[Net, Question]]:
    """Return what has to be asked of a trained network: the scores, and the changes part by part."""
    scores = [("scores", (name, cell)) for name, cell in net.criteria.items() if name not in net.reasons]
    changes = [("changes", (net.cell, first, first + PART)) for first in range(0, len(net.units), PART)]
    return [(net, question) for question in (*scores, *changes)]


def _measure(pool: Pool, questions: list[tuple[Net, Question]]) -> None:
    """Let the workers answer; changes and scores go into their networks."""
    for net, (verb, argument), answer, reason in _answers(pool, "removals", questions):
        if verb == "changes" and reason:
            raise UserError(f"{net.name}: {reason}")
        if verb == "changes":
            changes, place = answer
            net.changes |= {unit: {"change": change} | place for unit, change in enumerate(changes, start=argument[1])}
        elif reason:
            net.note(argument[0], reason)
        else:
            net.scores[argument[0]] = answer


def _answers(
    pool: Pool, label: str, questions: list[tuple[Net, Question]]
) -> Iterator[tuple[Net, Question, Any, str | None]]:
    """Let all workers answer; yield (net, question, answer, reason) as they come."""
    answers = pool.ask_all("oracle", [question for _, question in questions])
    for number, answer in tqdm(answers, desc=label, total=len(questions), leave=False, disable=None):
        yield *questions[number], *answer


def _rows(net: Net) -> Iterator[dict[str, Any]]:
    """Yield what bench.report.oracle reads: a row for each unit and criterion."""
    columns = net.cell.columns()
    shared = {name: columns[name] for name in (*oracle.NET, "seed", *ENVIRONMENT) if name in columns}
    shared |= {
        "dataset": net.cell.dataset.title,
        "images": net.images,
        "granularity": net.cell.granularity.name if net.cell.granularity else None,
    }
    for criterion in net.criteria:
        scores = net.scores.get(criterion, [math.nan] * len(net.units))
        for number, ((layer, unit), score) in enumerate(zip(net.units, scores, strict=True)):
            own = {"layer": layer, "unit": unit} | net.changes[number] | {"criterion": criterion, "score": score}
            yield shared | own | {"reason": net.reasons.get(criterion)}
