"""Each forgery is sealed again as the store does, and found all the same."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from bench import store
from tests.audit.conftest import edit, find, records, relabel, replan, reseal, tables

Audit = Callable[..., tuple[int, str]]
Forge = Callable[[Path], object]


def column(name: str, value: Any, **cell: Any) -> Forge:
    """Return a forgery that changes one column; a function changes the present value."""

    def forge(out: Path) -> None:
        def change(record: dict[str, Any]) -> None:
            columns = record["columns"]
            columns[name] = value(columns[name]) if callable(value) else value

        reseal(find(out, **cell), change)

    return forge


def one_more_hit(top1: float) -> float:
    """Return the accuracy of one more, or one fewer, of the 360 test images."""
    hits = round(top1 * 3.6)
    return 100 * (hits + 1 if hits < 360 else hits - 1) / 360


def swapped(out: Path, *names: str) -> None:
    """Exchange files of taylor and magnitude."""
    one, other = find(out), find(out, criterion="magnitude")
    files = {folder: {name: (folder / name).read_bytes() for name in names} for folder in (one, other)}
    reseal(one, lambda record: None, files[other])
    reseal(other, lambda record: None, files[one])


def whole_cells_swapped(out: Path) -> None:
    one, other = find(out), find(out, criterion="magnitude")
    kept = out / "kept"
    shutil.copytree(one, kept)
    relabel(other, one)
    shutil.copytree(kept, out / "third")
    relabel(out / "third", other)
    for name in ("kept", "third"):
        shutil.rmtree(out / name)


def failure_dropped(out: Path) -> None:
    shutil.rmtree(find(out, criterion="broken"))


def failure_dropped_from_plan(out: Path) -> None:
    gone = find(out, criterion="broken", seed=1)
    shutil.rmtree(gone)
    replan(out, lambda rows: [row for row in rows if row["cell"] != gone.name])


def worst_seed_dropped(out: Path) -> None:
    """Seed 1 of one criterion leaves plan and folder."""
    worst = {"criterion": "taylor", "seed": 1}
    gone = [folder.name for folder, record in records(out) if worst.items() <= record["columns"].items()]
    for name in gone:
        shutil.rmtree(out / "cells" / name)
    replan(out, lambda rows: [row for row in rows if row["cell"] not in gone])


def seed_left_out_everywhere(out: Path) -> None:
    """Seed 1 leaves the plan, not the folder."""
    replan(out, lambda rows: [row for row in rows if row["seed"] == 0])


def failure_called_ok(out: Path) -> None:
    """A failure gets the numbers of a rival."""
    rival = store.read_record(find(out))
    assert rival is not None

    def change(record: dict[str, Any]) -> None:
        told = {name: rival["columns"][name] for name, value in record["columns"].items() if value is None}
        record["columns"] |= told | {"status": "ok", "reason": None}
        record |= {"curves": rival["curves"], "layers": rival["layers"]}

    reseal(find(out, criterion="broken"), change)


def seed_reused(out: Path) -> None:
    """Seed 0's result is given out as seed 1's, with the accuracies of seed 1's dense net."""
    target = find(out, seed=1)
    dense = store.read_record(find(out, criterion="dense", seed=1))
    assert dense is not None
    relabel(find(out, seed=0), target)

    def change(record: dict[str, Any]) -> None:
        record["columns"]["top1_dense"] = dense["columns"]["top1"]
        record["curves"][: len(dense["curves"])] = dense["curves"]

    reseal(target, change)


def dense_net_reused(out: Path) -> None:
    """All of seed 1, its dense net included, is seed 0's."""
    for folder, record in [*records(out)]:
        columns = record["columns"]
        if columns["seed"] == 1 and columns["status"] == "ok":
            names = ("criterion", "schedule", "sparsity_target")
            relabel(find(out, **{name: columns[name] for name in names}, seed=0), folder)
    wanted = (find(out, criterion="dense") / "weights.safetensors").read_bytes()
    source = next(p for p in out.glob("stages/dense-*") if (p / "tensors.safetensors").read_bytes() == wanted)
    (other,) = {*out.glob("stages/dense-*")} - {source}
    shutil.rmtree(other)
    shutil.copytree(source, other)


def better_of_two(out: Path) -> None:
    """A second result of a configuration lies under an id of its own."""
    shutil.copytree(find(out), out / "cells" / "0123456789abcdef")


def another_run_in_its_place(out: Path) -> None:
    """The better of two: a result at another sparsity and seed is given out as this one's."""
    target = find(out, seed=1)
    relabel(find(out, seed=0, sparsity_target=0.5), target)


def kept_beside(out: Path) -> None:
    folder = find(out)
    shutil.copy(folder / "weights.safetensors", folder / "weights.second.safetensors")


def weights_revived(out: Path) -> None:
    folder = find(out)
    weights, masks = (load((folder / f"{n}.safetensors").read_bytes()) for n in ("weights", "masks"))
    name = max(masks, key=lambda name: masks[name].size)
    weights[name] = np.where(masks[name], weights[name], np.float32(0.01))
    reseal(folder, lambda record: None, {"weights.safetensors": save(weights)})


def mask_of_more(out: Path) -> None:
    """A mask that keeps more, with weights, layers and columns that agree with it."""
    folder = find(out)
    masks = load((folder / "masks.safetensors").read_bytes())
    largest = max(masks, key=lambda name: masks[name].size)
    freed = np.flatnonzero(~masks[largest])[:50]
    masks[largest].flat[freed] = True

    def change(record: dict[str, Any]) -> None:
        for layer in record["layers"]:
            layer["kept"] += 50 * (layer["name"] == largest)
        kept, total = (sum(layer[key] for layer in record["layers"]) for key in ("kept", "total"))
        record["columns"]["sparsity"] = record["columns"]["sparsity_effective"] = 1 - kept / total
        record["columns"]["params"] += 50

    reseal(folder, change, {"masks.safetensors": save(masks)})


def best_epoch(out: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for row in record["curves"]:
            row["test/top1"] = row["val/top1"]

    reseal(find(out), change)


def trained_longer(out: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record["curves"].append(record["curves"][-1] | {"epoch": record["curves"][-1]["epoch"] + 1})

    reseal(find(out), change)


def other_data(out: Path) -> None:
    """One criterion's validation split is trained on: its configuration and id say so, the plan names the new id."""
    folder = find(out)

    def change(record: dict[str, Any]) -> None:
        record["config"]["dataset"]["validation"] = 70

    reseal(folder, change)
    from tests.audit.conftest import make_columns

    record = store.read_record(folder)
    assert record is not None
    columns = make_columns(record)
    reseal(folder, lambda record: record["columns"].update(columns))
    folder.rename(folder.with_name(columns["cell"]))
    replan(out, lambda rows: [columns if row["cell"] == folder.name else row for row in rows])


def another_dense_net(out: Path) -> None:
    """The dense row shows another net than the one that criteria started from."""
    folder = find(out, criterion="dense")
    weights = load((folder / "weights.safetensors").read_bytes())
    largest = max(weights, key=lambda name: weights[name].size)
    weights[largest] *= np.float32(1.01)
    reseal(folder, lambda record: None, {"weights.safetensors": save(weights)})


def plan_of_others(out: Path) -> None:
    (path,) = (out / "plans").glob("*.json")
    plan = json.loads(path.read_text())
    plan["cells"] = plan["cells"][:-1]
    path.write_text(json.dumps(plan))


def planned(**values: Any) -> Forge:
    """Return a forgery that changes what a plan says beside its cells, of which alone its hash is."""

    def forge(out: Path) -> None:
        (path,) = (out / "plans").glob("*.json")
        store.write_plan(out, json.loads(path.read_text()) | values)

    return forge


FORGERIES: dict[str, tuple[Forge, str]] = {
    "an accuracy that 360 images cannot give": (column("top1", 99.5), "no whole number of the 360"),
    "one more hit": (column("top1", one_more_hit), "top1 is .* its stored weights give"),
    "one more hit right after pruning": (column("top1_pruned", one_more_hit), "top1_pruned is .* give"),
    "a lower loss": (column("loss", lambda loss: loss * 0.9), "loss is .* its stored weights give"),
    "fewer FLOPs": (column("flops", lambda flops: flops - 1000), "flops is .* its stored weights give"),
    "a better dense net": (column("top1_dense", one_more_hit), "the dense net of its seed has"),
    "a higher sparsity": (column("sparsity", 0.95), "its layers keep"),
    "fewer parameters": (column("params", lambda params: params - 100), "its masks leave"),
    "scored in less than no time": (column("score_s", -5.0), "score_s is -5.0, no time that this takes"),
    "trained in no time": (column("train_s", 1e-9), "train_s is 1e-09, no time that this takes"),
    "fine-tuned in less than no time": (column("finetune_s", -0.1), "finetune_s is -0.1, no time that this takes"),
    "a training whose time is not told": (column("train_s", None), "lacks train_s"),
    "mixed hardware": (column("cpu", "Another CPU"), "cpu is 'Another CPU' in 1 cells"),
    "an environment that is not told": (column("cpu", None), "lacks cpu"),
    "a failure without a reason": (column("reason", None, criterion="broken"), "failed without a reason"),
    "a failure dropped": (failure_dropped, "1 of 16 cells have no record, first digits digits_net broken 0.9 seed 0"),
    "a failure dropped from the plan": (failure_dropped_from_plan, "broken 0.9 lacks seed 1"),
    "a failure called ok": (failure_called_ok, "broken 0.9 seed 0: it has no masks.safetensors, weights.safetensors"),
    "a bad seed dropped": (worst_seed_dropped, "taylor 0.5 lacks seed 1"),
    "a seed left out everywhere": (seed_left_out_everywhere, "taylor 0.9 seed 1: no plan holds it"),
    "a seed reused": (seed_reused, "its loss is that of seed [01] to the last digit"),
    "a dense net reused": (dense_net_reused, "its dense net is that of seed"),
    "better of two, both kept": (better_of_two, "second result of the same configuration"),
    "better of two, one relabelled": (another_run_in_its_place, "weights are gone, 0.9 asks for"),
    "better of two, its weights kept": (kept_beside, "weights.second.safetensors: no record names it"),
    "a swapped mask": (lambda out: swapped(out, "masks.safetensors"), "masked and not zero"),
    "mask and weights swapped": (
        lambda out: swapped(out, "masks.safetensors", "weights.safetensors"),
        "differs at .* places from what the scores of (taylor|magnitude) give",
    ),
    "whole cells swapped": (whole_cells_swapped, "differs at .* places from what the scores of taylor give"),
    "weights revived": (weights_revived, "are masked and not zero"),
    "a mask that keeps more": (mask_of_more, "weights are gone, 0.9 asks for"),
    "the best epoch on the test set": (best_epoch, "its curves hold test/top1"),
    "trained longer": (trained_longer, "finetune epoch 3, its budget is train epoch 2, finetune epoch 2"),
    "trained on other data": (other_data, "configuration of the dataset is .* in 1 cells"),
    "another dense net shown": (another_dense_net, "its weights are not those of stages/dense-"),
    "a plan cut and not hashed": (plan_of_others, "its hash is not that of its cells"),
    "data called otherwise": (planned(titles={"digits": "ImageNet"}), "title of dataset digits is 'ImageNet', its rec"),
    "a recipe of a paper": (planned(recipes={"digits": "He et al. 2016"}), "source of recipe digits is 'He et al. 2"),
    "a recipe that nobody ran": (
        planned(recipes={"digits": "chosen here on the validation split of the digits", "imagenet": "He et al. 2016"}),
        "recipes names digits, imagenet, its cells have digits",
    ),
    "an edited table of a run": (
        lambda out: edit(tables(out) / "accuracy.md", r"\d\d\.\d", "99.9"),
        "accuracy.md: it is not what the records give",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_set_is_rejected_with_what_and_where(copied: Path, audited: Audit, name: str) -> None:
    forge, message = FORGERIES[name]
    forge(copied)
    # By default cells are read again from their weights, which takes most of the time.
    status, text = audited(copied, *([] if "give" in message else ["recompute=0"]))
    assert status == 1
    assert re.search(message, text), text
    assert "corrupt" not in text  # sealed again: no hash gives it away
