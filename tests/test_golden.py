"""One small fixed run: were its numbers to move, old and new records would be mixed up. See bench.NUMERICS.

`python -m tests.test_golden` writes golden.json anew.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from bench import NUMERICS
from bench.artefacts import unpack
from bench.axes import Iterative, Low, Scope
from bench.cell import Cell
from bench.run import run_cell
from bench.schema import Model, Scoring
from bench.store import TENSORS
from tests.helpers import cell, recipe, workbench

GOLDEN = Path(__file__).with_name("golden.json")
MOVED = "numbers moved: raise NUMERICS in bench/__init__.py and write the golden anew by `python -m tests.test_golden`"
BEFORE_MASKS = ("trained, loss of train epoch 1", "init, sum of scores", "init, params", "trained, params")
"""Here CPUs differ by 2e-5; later a weight more or less at the edge of a mask moves a loss by up to 2e-3."""
RECIPE = recipe(
    epochs=1,
    lr=0.05,
    batch_size=128,
    lr_schedule="cosine",
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    crop_padding=1,
    flip=True,
    label_smoothing=0.1,
)


def golden_cells() -> dict[str, Cell]:
    """Return cells that pass every stage: trained and pruned in two steps, pruned at initialisation, lamp's densities.

    Chosen so that what CPUs differ in stays small: few steps, moderate rates, masks whose edge weighs little.
    """
    path = {"schedule": Iterative(name="iterative", steps=2), "finetune": Low(name="low"), "finetune_epochs": 1}
    trained = cell(recipe=RECIPE, scoring=Scoring(), when="trained", criterion="taylor", **path)
    net = Model(name="digits_net", factory="bench.models.digits_net:digits_net")
    longer = RECIPE.model_copy(update={"epochs": 2})
    init = cell(recipe=longer, scoring=Scoring(), model=net, criterion="snip")
    # Its densities come from criteria/lamp.py, which is no part of the fingerprint of snip.
    lamp = cell(recipe=RECIPE, scoring=Scoring(), model=net, criterion="snip", scope=Scope(name="lamp"))
    return {"trained": trained, "init": init, "lamp": lamp}


@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def numbers(root: Path) -> dict[str, float]:
    """Return a handful of numbers that every part of the program has a hand in."""
    found: dict[str, float] = {}
    with one_thread():
        for when, one in golden_cells().items():
            record = run_cell(one, workbench(root))
            columns, curves = record["columns"], record["curves"]
            scores = unpack((root / f"stages/scores-{one.scores_key}/{TENSORS}").read_bytes(), torch.device("cpu"))
            found |= {f"{when}, loss of {row['stage']} epoch {row['epoch']}": row["train/loss"] for row in curves}
            found |= {f"{when}, validation loss": curves[-1]["val/loss"], f"{when}, test loss": columns["loss"]}
            found[f"{when}, sum of scores"] = sum(float(score.double().sum()) for score in scores.values())
            found |= {f"{when}, {name}": columns[name] for name in ("sparsity_effective", "params", "flops")}
            found |= {f"{when}, kept in {layer['name']}": layer["kept"] for layer in record["layers"]}
    return found


@pytest.fixture(scope="module")
def got(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return numbers(tmp_path_factory.mktemp("golden"))


def test_numbers_are_those_that_were_written_down(got: dict[str, float]) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert list(golden) == [str(NUMERICS)], MOVED
    expected = golden[str(NUMERICS)]
    assert got.keys() == expected.keys(), MOVED
    off = {
        name: (value, got[name])
        for name, value in expected.items()
        if got[name] != pytest.approx(value, rel=1e-3 if name in BEFORE_MASKS else 5e-3)
    }
    assert not off, f"{MOVED}; (golden, now): {off}"


def test_fp32_is_not_tf32(got: dict[str, float]) -> None:
    """Convolutions on GPUs round to TF32 unless they are told not to."""
    assert got
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps({str(NUMERICS): numbers(Path(folder))}, indent=1) + "\n")
