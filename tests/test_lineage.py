"""Progress of a training: saved now and then, and exact where a killed process is followed by another."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import lineage as module
from bench.axes import Iterative, Low
from bench.cell import Cell
from bench.lineage import Lineage, Progress, copied
from bench.run import run_cell
from bench.schedule import training_rates
from bench.schema import Recipe
from bench.train import Trainer
from tests.helpers import cell, data, net, recipe, same, weights, workbench

RECIPE = recipe(epochs=6, momentum=0.9, nesterov=True, weight_decay=1e-2, flip=True, crop_padding=1)
STEPS = 18


class Killed(BaseException):
    """What ends a process, in a test."""


def begun(root: Path, tell: Any = lambda kind, facts: None, r: Recipe = RECIPE, saves: bool = True) -> Progress:
    model = net()
    line = Lineage(model, masks={"4.weight": torch.arange(192).view(3, 64) % 3 > 0}, pruned=copied(model))
    line.columns["score_s"] = 1.5
    trainer = Trainer(model, data(), r, training_rates(r, 3), 0, "finetune", "fp32")
    return Progress(line, trainer, workbench(root, tell), "cells/x", saves)


def killer(after: int) -> Any:
    """Return a `tell` that ends the process when this many epochs have been told of."""
    epochs: list[dict[str, Any]] = []

    def tell(kind: str, facts: dict[str, Any]) -> None:
        epochs.extend([facts] * (kind == "epoch"))
        if len(epochs) == after:
            raise Killed

    return tell


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step counts as a minute."""
    monkeypatch.setattr(module, "SAVE_EVERY_S", -1.0)


@pytest.mark.usefixtures("saving")
@pytest.mark.parametrize("after", [1, 2, 4, 6])
def test_after_a_kill_the_rest_is_the_same_bit_for_bit(tmp_path: Path, after: int) -> None:
    whole = begun(tmp_path / "whole")
    whole.run(STEPS)
    with pytest.raises(Killed):
        begun(tmp_path, killer(after)).run(STEPS)
    again = begun(tmp_path)
    assert again.trainer.step == 3 * after - 1, "what was saved last is the step before"
    again.run(STEPS)
    assert same(weights(whole.lineage.model), weights(again.lineage.model))
    assert whole.lineage.curves == again.lineage.curves
    assert [row["epoch"] for row in again.lineage.curves] == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("saving")
def test_masks_pruned_weights_and_columns_come_back(tmp_path: Path) -> None:
    first = begun(tmp_path)
    first.run(6)
    trainer = Trainer(net(seed=5), data(), RECIPE, training_rates(RECIPE, 3), 0, "finetune", "fp32")
    later = Progress(Lineage(trainer.model), trainer, workbench(tmp_path), "cells/x")
    assert same(later.lineage.masks, first.lineage.masks)
    assert later.lineage.masks["4.weight"].dtype == torch.bool
    assert same(later.lineage.pruned, first.lineage.pruned)
    assert later.lineage.columns["score_s"] == 1.5
    assert later.lineage.curves == first.lineage.curves
    assert later.trainer.step == 6
    later.run(STEPS)
    first.run(STEPS)
    assert same(weights(later.lineage.model), weights(first.lineage.model))


@pytest.mark.usefixtures("saving")
@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_a_state_that_cannot_be_read_is_a_start_anew(tmp_path: Path, content: bytes | None) -> None:
    one = begun(tmp_path)
    one.run(6)
    assert one.path == tmp_path / "cells" / "x" / "finetune.resume"
    one.path.write_bytes(one.path.read_bytes()[:-200] if content is None else content)
    again = begun(tmp_path)
    assert again.trainer.step == 0
    assert again.lineage.curves == []


def test_saving_waits_for_a_minute_and_not_for_an_epochs_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, saved = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(module.artefacts, "save_state", lambda path, state: saved.append(state["trainer"]["step"]))
    one = begun(tmp_path)
    step = one.trainer._update

    def slow(*batch: Any) -> Any:
        now[0] += 25.0
        return step(*batch)

    monkeypatch.setattr(one.trainer, "_update", slow)
    one.run(STEPS)
    assert module.SAVE_EVERY_S == 60
    assert saved == [3, 6, 9, 12, 15, 18]  # each time 75 s later


@pytest.mark.usefixtures("saving")
def test_a_training_that_may_be_taken_back_is_not_saved(tmp_path: Path) -> None:
    begun(tmp_path, saves=False).run(STEPS)
    assert list(tmp_path.rglob("*.resume")) == []


def test_it_tells_of_stage_and_epochs_and_notes_seconds(tmp_path: Path) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    one = begun(tmp_path, lambda kind, facts: told.append((kind, facts)))
    one.run(6)
    assert told == [("stage", {"stage": "finetune"}), *(("epoch", row) for row in one.lineage.curves)]
    assert one.lineage.columns["finetune_s"] == one.trainer.seconds > 0


def test_masks_act_even_where_nothing_is_left_to_train(tmp_path: Path) -> None:
    one = begun(tmp_path)
    one.run(6)
    one.lineage.masks = {"0.weight": torch.zeros(4, 1, 3, 3, dtype=torch.bool)}
    before = weights(one.lineage.model)
    one.run(3)
    assert one.trainer.step == 6
    after = weights(one.lineage.model)
    assert not after["0.weight"].any()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "0.weight")


def test_where_nothing_is_left_to_train_no_smaller_copy_is_made(tmp_path: Path) -> None:
    progress = begun(tmp_path)
    progress.lineage.structure = NeverCompacted()  # type: ignore[assignment]
    progress.run(0)
    with pytest.raises(AssertionError, match="compacted"):
        progress.run(1)


class NeverCompacted:
    def compacted(self, *_: Any) -> None:
        raise AssertionError("compacted")


def test_a_copy_does_not_follow_the_model() -> None:
    model = net()
    copy = copied(model)
    assert same(copy, weights(model))
    model.train()(torch.randn(5, 1, 4, 4))
    with torch.no_grad():
        model[4].bias.add_(1)
    assert copy["1.num_batches_tracked"] == 0
    assert not torch.equal(copy["4.bias"], model[4].bias)


# A whole cell, killed at each epoch of its training and of its fine-tuning between pruning steps


def small_cell(**changes: Any) -> Cell:
    short = recipe(epochs=2, batch_size=512, momentum=0.9, weight_decay=1e-3)
    fields = {"when": "trained", "finetune": Low(name="low"), "finetune_epochs": 3, "recipe": short, "sparsity": 0.9}
    schedule = Iterative(name="iterative", steps=2)  # prunes at steps 0 and 4, in the midst of an epoch of three steps
    return cell(**fields | {"schedule": schedule, "criterion": "snip"} | changes)


def results(record: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return what is to be reproduced: all columns but times and memory, curves, layers, and the files of tensors."""
    columns = {k: v for k, v in record["columns"].items() if not k.endswith("_s") and k not in ("started", "git")}
    columns.pop("peak_memory_mb")
    files = {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}
    return columns | {"curves": record["curves"], "layers": record["layers"]}, files


@pytest.mark.usefixtures("saving")
@pytest.mark.parametrize("changes", [{}, {"when": "init", "finetune": None, "finetune_epochs": None}])
def test_a_cell_that_was_killed_again_and_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    one = small_cell(**changes)
    expected = results(run_cell(one, workbench(tmp_path / "whole")), tmp_path / "whole" / "cells" / one.id)
    root, kills = tmp_path / "killed", 0
    while True:
        try:
            record = run_cell(one, workbench(root, killer(2)))  # dies in the second epoch that it trains
            break
        except Killed:
            kills += 1
            assert kills < 20
    assert kills >= 3
    assert results(record, root / "cells" / one.id) == expected
    assert "weights.safetensors" in expected[1]
    assert list((root / "cells").rglob("*.resume")) == []
