"""A real run of the digits, small, and what honest people and forgers do to copies of it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import config, store
from bench.plan import Plan, make
from bench.report.frame import tabulate
from bench.report.places import table_folder
from bench.report.write import accuracy_files, write
from bench.run import run_cell
from bench.verbs import verify
from tests.helpers import plugin, workbench

TINY = ("recipe.epochs=2", "recipe.finetune_epochs=2", "sparsity=[0.5,0.9]", "seed=[0,1]", "logger=none")


def run(out: Path, *arguments: str) -> Plan:
    """Make what is missing of a run in this process."""
    plan = make(config.load([*TINY, *arguments, f"out={out}"]), "cpu")
    store.write_plan(out, plan.to_json())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers do, and as the records say
    for cell in plan.cells:
        if not store.finished(out / "cells" / cell.id):
            run_cell(cell, workbench(out))
    torch.set_num_threads(threads)
    return plan


def tables(out: Path) -> Path:
    """Write what a run writes at its end of the last plan, and return the folder."""
    results = tabulate(out)
    write(accuracy_files(results), table_folder(out, results))
    return table_folder(out, results)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two criteria and one that fails, two sparsities, two seeds."""
    folder = tmp_path_factory.mktemp("base")
    nan = plugin(folder, "return {n: w * float('nan') for n, w in prunable(model).items()}", name="broken")
    run(folder / "out", f"criterion=[taylor,magnitude,{nan['criterion_file']}]")
    return folder / "out"


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    shutil.copytree(base, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def audited(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return what verify returns and prints."""

    def audit(out: Path, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        status = verify.main([str(out), *options])
        return status, capsys.readouterr().out

    return audit


def records(out: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in store.cell_folders(out):
        record = store.read_record(folder)
        assert record is not None
        yield folder, record


def find(out: Path, **columns: Any) -> Path:
    """Return the folder of the first cell with these columns; one-shot, sparsity .9 and seed 0 unless said."""
    wanted = {"criterion": "taylor", "schedule": "one_shot", "sparsity_target": 0.9, "seed": 0} | columns
    if wanted["criterion"].startswith("dense"):
        wanted |= {"schedule": None, "sparsity_target": 0.0}
    return next(folder for folder, record in records(out) if wanted.items() <= record["columns"].items())


def reseal(folder: Path, change: Callable[[dict[str, Any]], object], files: dict[str, bytes] | None = None) -> None:
    """Change a record and its artefacts and seal them again, as the store itself does."""
    record = store.read_record(folder)
    assert record is not None
    kept = {name: (folder / name).read_bytes() for name in record.pop("artefacts")}
    change(record)
    store.commit(folder, record, kept | (files or {}))


def relabel(source: Path, target: Path) -> None:
    """Give one cell's results out as another's: its numbers and tensors, the other's name and configuration."""
    record, name = store.read_record(source), store.read_record(target)
    assert record is not None
    assert name is not None
    files = {file: (source / file).read_bytes() for file in record.pop("artefacts")}
    configured = make_columns(name)
    record = record | {"config": name["config"], "columns": record["columns"] | configured}
    shutil.rmtree(target)
    store.commit(target, record, files)


def make_columns(record: dict[str, Any]) -> dict[str, Any]:
    from bench.cell import Cell

    known = record["config"] | {"criterion_file": record["config"]["criterion"]}
    return Cell.model_validate_json(json.dumps(known)).columns()


def edit(path: Path, pattern: str, text: str) -> None:
    """Replace the first match in a file, which has one."""
    edited, count = re.subn(pattern, text, path.read_text(), count=1)
    assert count
    path.write_text(edited)


def replan(out: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Change a plan's cells and hash it again."""
    (path,) = (out / "plans").glob("*.json")
    plan = json.loads(path.read_text())
    plan["cells"] = change(plan["cells"])
    plan["hash"] = store.digest(sorted(row["cell"] for row in plan["cells"]))
    path.unlink()
    store.write_plan(out, plan)
