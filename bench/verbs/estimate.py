"""`estimate`: what a run will take, before it runs."""

import contextlib
import json
import math
import platform
import statistics
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import config, store
from bench.cell import CONTROLS, Cell
from bench.cores import cores
from bench.errors import UserError
from bench.estimate import Ledger, Need, priced_as, scored_as, wall_s
from bench.launch import Pool, worker_count
from bench.plan import make
from bench.tasks import Price, made
from bench.workplace import opened

START_S = 10.0
"""Of a run beside its cells: starting, trying everything once, writing tables."""
TOGETHER = 4
"""Workers that measure at once at most, so that what they take from each other is in the prices."""


def main(arguments: list[str]) -> int:
    """Print cells, epochs, hours and GB of a run that is given as `run` takes it; nothing of it is made."""
    settings = config.load(arguments)
    root = Path(settings.out)
    with opened(settings) as (pool, device, gpus):
        plan = make(settings, device)
        pending = [cell for cell in plan.cells if not made(root, cell)]
        workers = worker_count(settings.workers, settings.threads, device, gpus, max(1, len(pending)))
        pool.grow(min(workers, TOGETHER), device)
        usable = [cell for cell in pending if cell.criterion not in plan.broken]
        prices = {key: _price(pool, root, cells) for key, cells in _networks(usable).items()}
        stored = {path.parent.name for path in root.glob(f"stages/*/{store.RECORD}")}
        needs = Ledger(prices, stored).add(usable).needs
    for problem in plan.broken.values():
        print(problem)
    done = len(plan.cells) - len(pending)
    print(f"{settings.experiment}: {len(plan.cells)} cells, {done} done, {len(pending)} to make")
    if needs:
        print(*_text(needs, prices, workers, device, settings.threads), sep="\n")
    return 0


def _networks(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Return by network one cell of each criterion's form, and a structured one where there are any."""
    networks: dict[str, dict[Any, Cell]] = {}
    for cell in cells:
        form = None if cell.criterion in CONTROLS else (scored_as(cell), cell.structured)
        networks.setdefault(priced_as(cell), {}).setdefault(form, cell)
    return {key: [*forms.values()] for key, forms in networks.items()}


def _price(pool: Pool, root: Path, cells: list[Cell]) -> Price:
    """Return the mean of what the workers measure at once, from OUT/cache where they have measured this before."""
    known = sorted({scored_as(cell) + str(cell.structured) for cell in cells})
    machine = [platform.node(), cores(), version("torch"), len(pool.workers)]
    path = root / "cache" / f"price-{store.digest([priced_as(cells[0]), known, machine])}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # not there, broken, or of another version
        return Price(**json.loads(path.read_text()))
    answers = [answer for _, answer in pool.ask_all("calibrate", [cells] * len(pool.workers))]
    if reasons := [reason for _, reason in answers if reason]:
        raise UserError(f"nothing can be measured here: {reasons[0]}")
    prices: list[Price] = [price for price, _ in answers]
    means = {name: _mean(name, prices) for name in asdict(prices[0]) if name.endswith("_s")}
    price: Price = replace(prices[0], **means)
    store.write(path, json.dumps(asdict(price)).encode())
    return price


def _mean(name: str, prices: list[Price]) -> Any:
    values = [getattr(price, name) for price in prices]
    if isinstance(values[0], dict):
        return {key: statistics.fmean(value[key] for value in values) for key in values[0]}
    return statistics.fmean(values)


def _text(needs: list[Need], prices: dict[str, Price], workers: int, device: str, threads: int) -> list[str]:
    def total(name: str) -> float:
        return math.fsum(getattr(need, name) for need in needs)

    seconds = total("seconds") + workers * sum(price.load_s for price in prices.values())
    wall = wall_s(needs, workers) + START_S + sum(price.load_s for price in prices.values())
    peak = max((price.peak_mb or 0.0 for price in prices.values()), default=0.0)
    kind, busy = ("GPU", seconds) if device == "cuda" else ("CPU", seconds * threads)
    return [
        f"epochs   {total('epochs'):.4g} of training, shared ones once",
        f"scores   {total('passes'):.0f} passes over a scoring set; {total('reads'):.0f} reads of a test set",
        f"time     {_said(busy)} of {kind} time; {_said(wall)} with {workers} worker{'s' * (workers > 1)} here",
        f"disk     {total('mb') / 1e3:.3g} GB of records, masks and weights",
        f"memory   {f'about {peak / 1e3:.2g} GB a worker' if peak else 'not known on this system'}",
        *_doubts(needs),
    ]


def _doubts(needs: list[Need]) -> list[str]:
    """Return what makes the numbers uncertain."""
    cells = [need.cell for need in needs]
    doubts = ["priced by a few seconds of work here; hours are for a machine that does nothing else"]
    if any(cell.structured for cell in cells):
        doubts.append("smaller networks train faster: measured at half of the units, guessed elsewhere")
    if any(cell.stop is not None for cell in cells):
        doubts.append("schedules that stop by themselves are counted to their end")
    return [f"{'note' if not number else '':9}{doubt}" for number, doubt in enumerate(doubts)]


def _said(seconds: float) -> str:
    """Return a time as a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
