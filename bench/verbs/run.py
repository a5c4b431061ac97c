"""`run`: make the cells of an experiment that are missing, then print its table."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import config, store
from bench.cell import CONTROLS, Cell, named
from bench.errors import UserError
from bench.launch import Pool, worker_count
from bench.logger import Logger, open_logger
from bench.plan import Plan, make
from bench.progress import Progress, tell
from bench.report import frame, tables, tradeoff
from bench.report.places import table_folder
from bench.report.write import accuracy_files, write
from bench.store import digest
from bench.tasks import Result, record_failure
from bench.workplace import opened


def main(arguments: list[str]) -> int:
    """Run what is missing; return 1 where cells have failed, with a line for each."""
    settings = config.load(arguments)
    root = Path(settings.out)
    with opened(settings) as (pool, device, gpus):
        plan = make(settings, device)
        store.write_plan(root, plan.to_json())
        finished = _finished(root, plan.cells)
        pending = [cell for cell in plan.cells if cell.id not in finished]
        failed_before = [cell for cell in plan.cells if cell.id in finished and _failed(finished[cell.id])]
        for cell in failed_before:
            tell(f"failed before, finally: {named(cell.columns())}: {_failed(finished[cell.id])}")
        logger = open_logger(settings.logger, settings.experiment, root) if pending else Logger()
        try:
            results = _make_missing(plan, pending, finished, pool, device, gpus, logger) if pending else []
            _report(plan, root, logger)
        finally:
            warning = logger.close()
    if warning:
        tell(warning)
    failed = len(failed_before) + sum(result.status == "failed" for result in results)
    if failed:
        tell(f"error: {failed} of {len(plan.cells)} cells failed; the others are kept")
    return 1 if failed else 0


def _finished(root: Path, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
    """Return the records of the cells that need not run again; name those that are corrupt."""
    finished = {}
    for cell in cells:
        try:
            if record := store.finished(root / "cells" / cell.id):
                finished[cell.id] = record
        except store.CorruptError as error:
            tell(f"{error}; it is made again")
    return finished


def _make_missing(
    plan: Plan,
    pending: list[Cell],
    finished: dict[str, dict[str, Any]],
    pool: Pool,
    device: str,
    gpus: int,
    logger: Logger,
) -> list[Result]:
    """Make the pending cells, those of criteria that cannot be loaded, or refuse a network, as failures."""
    problems = _tried(pool, pending, plan.broken)
    for problem in dict.fromkeys(problems.values()):
        tell(problem)
    if problems and all(cell.id in problems for cell in plan.cells if cell.criterion not in CONTROLS):
        raise UserError("no criterion of this run can be used; nothing was run")
    results = [record_failure(pool.root, cell, problems[cell.id]) for cell in pending if cell.id in problems]
    cells = [cell for cell in pending if cell.id not in problems]
    pool.grow(worker_count(plan.settings.workers, plan.settings.threads, device, gpus, len(cells)), device)
    progress = Progress(cells, len(plan.cells))

    def listen(kind: str, cell: Cell, facts: Any) -> None:
        progress.listen(kind, cell, facts)
        if kind == "start":
            logger.start(cell.id, store.without_folders(cell.config()))
        elif kind == "epoch":
            logger.epoch(cell.id, facts)
        elif kind == "result":
            logger.finish(cell.id, facts.columns or {})

    try:
        return results + pool.run(cells, _failed_dense(plan, finished), listen)
    finally:
        progress.close()


def _tried(pool: Pool, cells: list[Cell], broken: dict[str, str]) -> dict[str, str]:
    """Try once, before any training, whatever the cells need; return id of a cell -> what is wrong with its criterion.

    Raises UserError for what all criteria share (data, model, scoring set) and for a target that cannot be reached.
    """
    questions = {cell.id: _question(cell) for cell in cells}
    problems = {questions[cell.id]: broken[cell.criterion] for cell in cells if cell.criterion in broken}
    asked = {*problems}
    for cell in cells:
        if questions[cell.id] in asked:
            continue
        asked.add(questions[cell.id])
        pool.ask("check", cell)
        if cell.criterion not in CONTROLS:
            try:
                if remark := pool.ask("check_criterion", cell):
                    tell(f"criterion {cell.criterion} fails on two samples, and its cells may fail: {remark}")
            except UserError as error:
                problems[questions[cell.id]] = f"criterion {cell.criterion}: {error}"
    first = min((cell.seed for cell in cells), default=0)
    for cell in cells:
        if cell.seed == first and cell.criterion not in CONTROLS and questions[cell.id] not in problems:
            pool.ask("check_target", cell)
    return {cell.id: problems[questions[cell.id]] for cell in cells if questions[cell.id] in problems}


def _question(cell: Cell) -> str:
    """Return a hash of what the answer of a trial depends on: all that meets the criterion but the seed."""
    net = [cell.data, cell.network, cell.training, cell.environment.precision, cell.scoring.model_dump()]
    return digest([net, cell.criterion, cell.criterion_options, cell.form, cell.structured, cell.score_mode])


def _failed_dense(plan: Plan, finished: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return dense key -> reason for the dense controls whose failure is final."""
    return {
        cell.dense_key: f"its dense net failed: {_failed(finished[cell.id])}"
        for cell in plan.cells
        if cell.criterion == "dense" and cell.id in finished and _failed(finished[cell.id])
    }


def _report(plan: Plan, root: Path, logger: Logger) -> None:
    def outside(error: store.CorruptError) -> None:
        tell(f"{error}; it is no part of this run: remove its folder")

    results = frame.joined(store.load(root, outside), plan.to_json())
    logger.table(plan.hash, *tables.table(results))
    tell(tables.text(results), stream="stdout")
    folder = table_folder(root, results)
    files = accuracy_files(results) or tradeoff.files(results)
    try:
        names = ", ".join(path.name for path in write(files, folder))
    except OSError as error:
        raise UserError(
            f"the tables cannot be written to {folder}: {error.strerror}; make room and run again"
        ) from error
    settings = plan.settings
    place = shlex.quote(str(root).replace("$", "$$"))  # make reads a dollar as its own
    where = f" OUT={place}" if "out" in settings.named else ""
    where += f" EXPERIMENT={settings.experiment}" if settings.experiment != "digits" else ""
    lines = (f"records  {root / 'cells'}", f"tables   {folder}: {names}")
    following = (f"next     make bench CRITERION=taylor,magnitude,snip,random{where}", "         make list")
    tell(*lines, *following, stream="stdout")


def _failed(record: dict[str, Any]) -> str | None:
    """Return why a recorded cell has failed, None where it has not."""
    columns = record["columns"]
    return str(columns["reason"]) if columns["status"] == "failed" else None
