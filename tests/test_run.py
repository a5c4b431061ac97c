"""One cell, top to bottom: what becomes of numbers that are none."""

import math
from pathlib import Path
from typing import Any

import pytest

from bench import run, store
from bench.axes import Low
from bench.run import run_cell
from tests.helpers import cell, recipe, workbench

TRAINED = {"when": "trained", "finetune": Low(name="low"), "finetune_epochs": 1, "recipe": recipe(epochs=1)}
DENSE = dict.fromkeys(("granularity", "scope", "schedule", "ablation", "target_kind", "score_mode"))


@pytest.mark.parametrize("criterion", ["dense", "magnitude"])
def test_a_dense_net_whose_test_loss_is_not_finite_is_a_final_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, criterion: str
) -> None:
    """Without a validation split nothing before the test set has read what the last steps made of the network."""
    original = run.read_test

    def overflowing(*arguments: Any) -> dict[str, Any]:
        return original(*arguments) | {"loss": math.nan}

    monkeypatch.setattr(run, "read_test", overflowing)
    control = DENSE | {"finetune": None, "finetune_epochs": None} if criterion == "dense" else {}
    one = cell(**TRAINED | control, criterion=criterion)
    columns = run_cell(one, workbench(tmp_path))["columns"]
    assert columns["status"] == "failed"
    assert columns["reason"] == "the dense net's test loss is not finite; lower recipe.lr"
    assert store.finished(tmp_path / "cells" / one.id)
    assert not [*tmp_path.glob("stages/dense_read-*")]
