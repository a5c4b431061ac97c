"""The work that is counted before a run is the work that the run does."""

import tempfile
from pathlib import Path
from typing import Any

import pytest

from bench import config, prune, run, store
from bench.cell import Cell
from bench.estimate import Ledger, Need, priced_as, scored_as, wall_s
from bench.plan import make
from bench.run import run_cell
from bench.tasks import Price
from tests.helpers import cell, recipe, workbench
from tests.structures import FILTER

TINY = ("recipe.epochs=2", "recipe.finetune_epochs=2", "seed=0", "logger=none")
RUNS = (
    ("criterion=[taylor,snip]", "sparsity=[0.5,0.9]"),
    ("criterion=magnitude", "sparsity=0.9", "schedule={name: iterative, steps: 2}"),
    ("criterion=magnitude", "sparsity=0.9", "when={name: rewind, to: 0.5}", "schedule={name: iterative, steps: 2}"),
    ("criterion=magnitude", "sparsity=0.9", "schedule=[{name: gradual, every: 9},{name: regrow, every: 9}]"),
    ("criterion=taylor", "sparsity=0.5", "granularity=filter", "scope=layer"),
)
STEPS = 21


def price(**changes: Any) -> Price:
    """Return the prices of the digits' pieces: sizes as they are, a second for nothing but a training step."""
    seconds = dict.fromkeys("load_s validation_s test_s forward_s sizes_s structure_s".split(), 0.0)
    sizes: dict[str, Any] = {
        "steps": STEPS,
        "half_share": 1.0,
        "weights_mb": 0.0623,
        "masks_mb": 0.0152,
        "peak_mb": None,
    }
    return Price(**{**seconds, "step_s": 1.0, "scores_s": {}} | sizes | changes)


def ledger(cells: list[Cell], stored: set[str] | None = None, **changes: Any) -> list[Need]:
    prices = {priced_as(one): price(**changes) for one in cells}
    return Ledger(prices, stored or set()).add(cells).needs


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    with tempfile.TemporaryDirectory() as out:  # making a plan keeps hashes of the data there
        plans = [make(config.load([*TINY, *words, f"out={out}"]), "cpu") for words in RUNS]
    return [*{one.id: one for plan in plans for one in plan.cells}.values()]


def test_epochs_passes_reads_and_bytes_are_those_of_a_run(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"epoch": 0, "score": 0, "read_test": 0}

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def wrapper(*arguments: Any) -> Any:
            calls[name] += 1
            return original(*arguments)

        monkeypatch.setattr(module, name, wrapper)

    counted(prune, "score")
    counted(run, "read_test")
    needs = ledger(cells)
    for one in cells:
        run_cell(one, workbench(tmp_path, lambda kind, facts: calls.update(epoch=calls["epoch"] + (kind == "epoch"))))
    assert sum(need.epochs for need in needs) == calls["epoch"]
    assert sum(need.passes for need in needs) == calls["score"]
    assert sum(need.reads for need in needs) == calls["read_test"]
    files = [path for kind in ("cells", "stages") for path in (tmp_path / kind).rglob("*") if path.is_file()]
    measured = sum(path.stat().st_size for path in files) / 1e6
    assert sum(need.mb for need in needs) == pytest.approx(measured, rel=0.25)
    stored = {path.parent.name for path in tmp_path.glob(f"stages/*/{store.RECORD}")}
    again = ledger([one for one in cells if one.criterion == "taylor"], stored)
    # With its dense net and scores there, a cell takes its fine-tuning alone.
    assert {need.epochs for need in again} == {2}
    assert {need.passes for need in again} == {0}


def test_what_gathers_during_training_is_scored_for_each_cell() -> None:
    words = ("criterion=[movement,taylor]", "sparsity=[0.5,0.9]", "schedule=one_shot")
    with tempfile.TemporaryDirectory() as out:
        needs = ledger([*make(config.load([*TINY, *words, f"out={out}"]), "cpu").cells])
    passes = [(need.cell.criterion, need.passes) for need in needs if need.cell.score_mode]
    assert passes == [("movement", 1), ("movement", 1), ("taylor", 1), ("taylor", 0)]


def test_seconds_are_steps_passes_and_reads_at_their_prices() -> None:
    one = cell(when="init", recipe=recipe(epochs=3))
    scores = {scored_as(one): 100.0}
    (need,) = ledger([one], scores_s=scores, step_s=1.0, validation_s=10.0, test_s=1000.0, sizes_s=7.0)
    # Dense and its own 3 epochs, its scores, the dense net's read and three of its own, its sizes.
    assert need.seconds == 6 * (STEPS * 1 + 10) + 100 + 4 * 1000 + 7
    alone = cell(when="init", recipe=recipe(epochs=3), seed=1)
    assert [need.seconds for need in ledger([one, alone, one], scores_s=scores)] == [226.0, 226.0, 63.0]


def test_a_network_without_filters_takes_less_time_and_beyond_a_half_hardly_less() -> None:
    filters = {"granularity": FILTER, "when": "init", "recipe": recipe(epochs=3)}
    dense = cell(criterion="dense", recipe=recipe(epochs=3))
    cells = [dense, *(cell(sparsity=share, **filters) for share in (0.25, 0.5, 0.9))]
    own = [need.seconds for need in ledger(cells, half_share=0.36)[1:]]
    assert own == pytest.approx([3 * STEPS * factor for factor in (0.6, 0.36, 0.36)])


def test_workers_wait_for_the_dense_nets() -> None:
    dense = Need(cell(criterion="dense", when="trained"), seconds=60.0)
    others = [Need(cell(), seconds=10.0) for _ in range(4)]
    assert wall_s([dense, *others], workers=1) == 100
    assert wall_s([dense, *others], workers=2) == 80
    assert wall_s([dense, *others], workers=100) == 70
    assert wall_s([], workers=2) == 0
