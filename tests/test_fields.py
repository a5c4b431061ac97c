"""Other fields than images: two classes of tabular data, a regression, texts."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench.axes import Iterative, Low
from bench.cell import Cell
from bench.errors import UserError
from bench.run import run_cell
from bench.schema import Dataset, Model, Recipe, Scoring
from bench.store import load_records
from bench.worker import Worker
from tests import helpers
from tests.helpers import cell, recipe, workbench

MLP = Model(name="mlp", factory="bench.models.mlp:mlp", options={"hidden": [16]})


def run(out: Path, *arguments: str) -> str:
    """Return what `bench run` prints; two epochs and one seed."""
    short = ("recipe.epochs=2", "recipe.finetune_epochs=1", "finetune=low", "seed=0", "sparsity=0.5")
    return helpers.run(out, *short, *arguments).stdout


def table(name: str, loss: str, **fields: Any) -> Cell:
    """Return a cell of one of scikit-learn's tables."""
    data = Dataset(name=name, title=name, reader=f"bench.data.tabular:{name}", validation=50)
    return cell(**{"dataset": data, "model": MLP, "scoring": Scoring(), "recipe": trained(loss)} | fields)


def trained(loss: str, **changes: Any) -> Recipe:
    return recipe(**{"loss": loss, "epochs": 4, "batch_size": 32, "lr": 0.02, "momentum": 0.9} | changes)


def test_a_regression_and_two_classes_in_one_run(tmp_path: Path) -> None:
    text = run(tmp_path, "experiment=diabetes", "dataset=[diabetes,breast_cancer]", "criterion=[taylor,random]")
    frame = load_records(tmp_path).set_index("dataset")
    assert frame["status"].eq("ok").all()
    assert frame["criterion"].value_counts().to_dict() == dict.fromkeys(
        ("dense", "dense_longer", "taylor", "random"), 2
    )
    for name, measure, other in (("diabetes", "r2", "top1"), ("breast_cancer", "top1", "r2")):
        rows = frame.loc[name]
        pruned = rows[rows["criterion"].isin(["taylor", "random"])]
        assert rows[[measure, f"{measure}_dense", "loss"]].notna().all(axis=None)
        assert pruned[[f"{measure}_pruned", f"{measure}_pruned_bn"]].notna().all(axis=None)
        assert rows[[other, f"{other}_dense", f"{other}_pruned", f"{other}_pruned_bn", "top5"]].isna().all(axis=None)
        records = [json.loads((tmp_path / "cells" / cell / "record.json").read_text()) for cell in rows["cell"]]
        assert all(f"val/{measure}" in row and f"val/{other}" not in row for r in records for row in r["curves"])
    assert frame.loc["breast_cancer", "top1"].max() > 80
    assert text.startswith("diabetes: top-1 test accuracy (%) or test R² by target sparsity")


def test_bce_learns_two_classes_from_one_logit(tmp_path: Path) -> None:
    record = run_cell(table("breast_cancer", "bce", criterion="snip"), workbench(tmp_path))
    columns = record["columns"]
    assert columns["status"] == "ok"
    assert columns["top1"] > 90
    assert columns["top1_dense"] > 90
    assert (columns["top5"], columns["r2"]) == (None, None)
    assert [layer["total"] for layer in record["layers"]] == [30 * 16, 16]


VOLUMES = """
import torch
from torch import nn
from bench.data import Raw, Split

def read(dataset):
    targets = torch.arange(120) % 3
    noise = torch.randn(120, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    split = Split(noise + targets[:, None, None, None, None], targets)
    return Raw(split, split[torch.arange(30)], num_classes=3)

def net(input_shape, num_classes):
    return nn.Sequential(
        *(nn.Conv3d(input_shape[0], 8, 3, padding=1, bias=False), nn.BatchNorm3d(8), nn.ReLU()),
        *(nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()),
        nn.Linear(8, num_classes),
    )
"""


def test_filters_of_a_network_for_volumes(tmp_path: Path) -> None:
    """Their weights and inputs have five dimensions, for which there is no channels_last."""
    file = tmp_path / "volumes.py"
    file.write_text(VOLUMES)
    words = ("dataset.validation=20", "recipe=digits", "recipe.batch_size=8", "granularity=filter", "criterion=l1_norm")
    run(tmp_path / "out", f"dataset={file}:read", f"model={file}:net", *words)
    (pruned,) = load_records(tmp_path / "out").query("criterion == 'l1_norm'").to_dict("records")
    assert pruned["status"] == "ok"
    assert pruned["flops"] < 0.75 * pruned["flops_dense"]
    assert pruned["top1"] > 60


def test_until_converged_watches_r2(tmp_path: Path) -> None:
    path = Iterative(name="iterative", steps=6, stop=0.1, end=0.99)
    fields = {"schedule": path, "sparsity": None, "when": "trained", "finetune": Low(name="low"), "finetune_epochs": 6}
    columns = run_cell(table("diabetes", "mse", **fields), workbench(tmp_path))["columns"]
    assert columns["status"] == "ok"
    assert 0 < columns["sparsity"] < 0.99
    assert columns["r2_dense"] > 0.3
    assert columns["r2"] > 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("diabetes", {"loss": "cross_entropy"}, r"loss=cross_entropy is for classes, and diabetes is a regression"),
        ("diabetes", {"loss": "bce"}, r"loss=bce is for classes, and diabetes is a regression; use recipe\.loss=mse"),
        (
            "breast_cancer",
            {"loss": "bce", "flip": True},
            r"crop_padding and recipe\.flip are for images \(uint8\); breast_cancer",
        ),
    ],
)
def test_a_recipe_for_other_data_is_refused(tmp_path: Path, name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Worker(workbench(tmp_path), debug=False).check(table(name, "mse", recipe=trained(**changes)))


def write_reviews(path: Path, count: int) -> None:
    """Write sentences whose label is told by one word."""
    chance = random.Random(0)
    words = {"pos": ("great", "superb", "lovely"), "neg": ("dull", "awful", "boring")}
    rows = []
    for number in range(count):
        label = ("pos", "neg")[number % 2]
        about, when = chance.choice(("plot", "acting", "music")), chance.choice(("On Sunday", "Last week"))
        rows.append((f"{when}, we saw it: the {about} was {chance.choice(words[label])}!", label))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("review", "verdict"), *rows])


def test_a_transformer_on_a_file_of_texts(tmp_path: Path) -> None:
    write_reviews(tmp_path / "reviews.csv", 400)
    columns = ("dataset.text.column=review", "dataset.text.label=verdict")
    small = ("dataset.text.length=12", "dataset.text.vocabulary=40", "model.options.width=16", "recipe.lr=0.01")
    root = f"dataset.root={tmp_path / 'reviews.csv'}"
    run(tmp_path / "out", "experiment=text", root, *columns, *small, "criterion=[taylor,fisher]", "recipe.epochs=4")
    frame = load_records(tmp_path / "out")
    assert frame["status"].eq("ok").all()
    assert frame.loc[frame["criterion"].isin(["dense", "taylor"]), "top1"].gt(90).all()
    assert frame["sparsity_effective"].isna().all()  # attention
    pruned = frame[frame["criterion"] == "taylor"].iloc[0]
    assert pruned["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert pruned["flops"] < pruned["flops_dense"]
    assert pruned["params"] < pruned["params_dense"]
