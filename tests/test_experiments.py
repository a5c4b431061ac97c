"""The experiments that reproduce papers: each composes, plans what its file says, and has cells for each figure."""

import functools
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import torch

import criteria
from bench import config, models
from bench.cell import CONTROLS
from bench.compact import Compacted
from bench.plan import Plan, make
from bench.report import agreement, published
from bench.report.frame import Results, tabulate
from bench.schema import Model
from bench.score import taking_part
from bench.store import write_plan
from bench.structured import Structure
from bench.verbs.oracle import _nets
from tests.images import image_folder

FOLDER = config.conf_folder() / "experiment"

CELLS = {
    "synflow2020_vgg16": {"random": 60, "magnitude": 60, "snip": 60, "grasp": 60, "synflow": 60},
    "synflow2020_resnet18": {"random": 60, "magnitude": 60, "snip": 60, "grasp": 60, "synflow": 60},
    "frankle2021": {"random": 72, "magnitude": 72, "snip": 72, "grasp": 72, "synflow": 72},
    "frankle2021_trained": {"magnitude": 108, "snip": 108},
    "renda2020": {"magnitude": 45},
    "renda2020_reinit": {"magnitude": 30},
    "liu2019": {"l1_norm": 5},
    "liu2019_scratch": {"l1_norm": 10},
    "wang2023": {"l1_norm": 30},
    "molchanov2019": {"random": 1, "l2_norm": 1, "bn_scale": 1, "taylor": 3},
}
"""Experiment -> criterion -> cells: sparsities x seeds x what varies."""
RUNS = sorted(CELLS.keys() - {"molchanov2019"})


@functools.cache
def planned(name: str, root: Path) -> Plan:
    data = [f"dataset.root={image_folder(root / 'images', train=1, val=1)}"] if name == "molchanov2019" else []
    return make(config.load([f"experiment={name}", f"out={root}", *data]), "cuda")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.mark.parametrize("name", CELLS)
def test_an_experiment_plans_what_its_file_says(name: str, root: Path) -> None:
    plan = planned(name, root)
    assert Counter(cell.criterion for cell in plan.cells if cell.criterion not in CONTROLS) == CELLS[name]
    assert not plan.broken
    assert all(cell.environment.precision == "fp32" and "arXiv" in cell.recipe.source for cell in plan.cells)


@pytest.mark.parametrize("name", [name for name in RUNS if (FOLDER / f"{name}.csv").is_file()])
def test_every_published_row_is_about_cells_of_its_plan(name: str, root: Path) -> None:
    write_plan(root / name, planned(name, root).to_json())
    results = tabulate(root / name)
    rows = published.read(FOLDER / f"{name}.csv")
    found = agreement.compared(results, rows)
    assert set(found["verdict"]) == {agreement.OPEN}
    assert "no such cell" not in set(found["reason"])
    assert len(found[found["kind"] == "figure"]) == (rows["relation"] == "").sum()
    for _, row in rows[rows["versus"] != ""].iterrows():
        first, second = (_cells(results, published.chosen(row, versus)) for versus in (False, True))
        keys = ["seed", "sparsity_target"]
        assert not first.duplicated(keys).any(), "more than one cell a seed: the direction does not say which"
        assert len(first.merge(second, on=keys, validate="one_to_one")) == len(first) > 0


def _cells(results: Results, chosen: dict[str, str | float]) -> pd.DataFrame:
    frame = results.frame[~results.frame["criterion"].isin(CONTROLS)]
    return frame[(frame[list(chosen)] == pd.Series(chosen)).all(axis=1)]


def test_every_row_of_the_oracle_is_about_one_of_its_criteria(root: Path) -> None:
    (net,) = _nets(planned("molchanov2019", root))
    rows = published.read(FOLDER / "molchanov2019.csv")
    assert set(rows["criterion"]) <= net.criteria.keys()


def test_experiments_with_figures_are_those_tested_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.csv")} == CELLS.keys() - {"renda2020_reinit"}


@pytest.mark.parametrize("name", CELLS)
def test_each_file_says_how_to_run_it_and_what_deviates(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert "arXiv:" in text
    assert f"experiment={name}" in text.replace("EXPERIMENT=", "experiment=")
    assert "deviates" in text
    assert (FOLDER / f"{name}.csv").is_file() == (f"bench compare {name}" in text)


def test_compressions_are_those_of_the_paper(root: Path) -> None:
    sparsities = sorted({cell.sparsity for cell in planned("synflow2020_vgg16", root).cells if cell.sparsity})
    assert sparsities == pytest.approx([1 - 10 ** (-step / 4) for step in range(1, 13)], abs=1e-9)


def test_synflow_prunes_in_steps_and_the_others_at_once(root: Path) -> None:
    schedules = {cell.criterion: cell.columns()["schedule"] for cell in planned("synflow2020_resnet18", root).cells}
    assert schedules.pop("synflow") == "{name: iterative, steps: 100, curve: exponential}"
    assert {schedules[name] for name in ("random", "magnitude", "snip", "grasp")} == {"one_shot"}


def test_resnet56_a_loses_the_filters_that_its_paper_removes(root: Path) -> None:
    cell = next(cell for cell in planned("liu2019", root).cells if cell.criterion == "l1_norm")
    model = models.build(cell.model, (3, 32, 32), 10, seed=0).eval()
    structure = Structure(cell, model, taking_part(cell, model), torch.zeros(1, 3, 32, 32))
    scores = criteria.load("l1_norm").score(model, [], torch.nn.functional.cross_entropy)
    masks = structure.select(cell, model, scores, "mean", {}, cell.sparsity)
    small = Compacted(model, structure.groups, masks).model
    # Li et al. 2017 (arXiv:1608.08710), table 1: 7.73e5 parameters, 9.4 % fewer.
    assert sum(weight.numel() for weight in small.parameters()) == 773_336


def test_resnet18_for_cifar() -> None:
    model = models.build(Model(name="r", factory="bench.models.resnet18_cifar:resnet18"), (3, 32, 32), 10, seed=0)
    # Tanaka et al.'s code (weiaicunzai's networks): 64-128-256-512 channels, two blocks each, 3x3 stem.
    assert sum(weight.numel() for weight in model.parameters()) == 11_173_962
    sizes = []
    for stage in (model.layer1, model.layer4):
        stage.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape)))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [(2, 64, 32, 32), (2, 512, 4, 4)]
