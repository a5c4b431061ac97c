"""Makers of small things: images in memory, recipes, cells, workbenches."""

import contextlib
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import criteria
from bench import NUMERICS
from bench.__main__ import main
from bench.axes import OneShot, Scope, Weight
from bench.cell import CONTROLS, Cell, Environment
from bench.data import Data, Split, batches, scoring_positions
from bench.schema import Dataset, Model, Prunable, Recipe, Scoring
from bench.seeds import global_stream
from bench.stage import Workbench


def split(count: int, shape: tuple[int, ...] = (1, 4, 4), classes: int = 3, seed: int = 0) -> Split:
    """Return random images, laid out in memory as `bench.data.load` does, and classes that take turns."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return Split(inputs.contiguous(memory_format=torch.channels_last), torch.arange(count) % classes)


def data(
    train: int = 20, validation: int = 6, test: int = 8, shape: tuple[int, ...] = (1, 4, 4), classes: int = 3
) -> Data:
    splits = (split(count, shape, classes, seed) for seed, count in enumerate((train, validation, test)))
    return Data(*splits, classes, mean=(0.5,) * shape[0], std=(0.25,) * shape[0])


def scoring_batches(data: Data, seed: int, samples: int | None, size: int) -> list[tuple[Tensor, Tensor]]:
    """Return the scoring set of a seed in batches of this size."""
    return list(batches(data, data.train[scoring_positions(data, seed, samples, size)], size))


def recipe(**changes: Any) -> Recipe:
    fields = {"name": "r", "source": "test", "epochs": 3, "batch_size": 8, "optimizer": "sgd", "lr": 0.1}
    return Recipe.model_validate(fields | {"lr_schedule": "constant", "finetune_epochs": 2} | changes)


def dataset(**changes: Any) -> Dataset:
    fields = {"name": "tiny", "title": "Tiny", "reader": "bench.data.digits:read", "validation": 140}
    return Dataset.model_validate(fields | {"mean": (0.305,), "std": (0.3757,)} | changes)


def cell(**changes: Any) -> Cell:
    """Return a cell of the digits with LeNet-300-100; the fields as `bench.plan.make` fills them."""
    fields: dict[str, Any] = {
        "dataset": dataset(),
        "dataset_hash": "d",
        "model": Model(name="lenet", factory="bench.models.lenet:lenet300_100"),
        "model_hash": "",
        "recipe": recipe(),
        "seed": 0,
        "criterion": "magnitude",
        "criterion_options": {},
        "granularity": Weight(name="weight"),
        "scope": Scope(name="global"),
        "schedule": OneShot(name="one_shot"),
        "when": "init",
        "finetune": None,
        "finetune_epochs": None,
        "ablation": "none",
        "target_kind": "weights",
        "sparsity": 0.5,
        "prunable": Prunable(),
        "scoring": Scoring(samples=64, batch=8),
        "score_mode": "eval",
        "environment": Environment(device="cpu", precision="fp32", threads=1, torch="t", numerics=NUMERICS),
    } | changes
    file = fields.setdefault("criterion_file", fields["criterion"])
    fingerprint = "" if file in CONTROLS else criteria.describe(file).fingerprint
    return Cell(**{"fingerprint": fingerprint} | fields)


def plugin(folder: Path, body: str, name: str = "mine", options: str = "") -> dict[str, str]:
    """Write a criterion whose `score` has this body; return the cell's fields that name it."""
    path = folder / f"{name}.py"
    code = "\n".join(f"    {line}" for line in body.splitlines())
    path.write_text(
        '"""score = mine."""\nimport torch\nfrom criteria.tools.parameters import prunable\n\n'
        f"def score(model, batches, loss_fn{', *, ' + options if options else ''}):\n{code}\n"
    )
    return {"criterion": name, "criterion_file": str(path)}


def workbench(root: Path, tell: Callable[[str, dict[str, Any]], None] = lambda kind, facts: None) -> Workbench:
    return Workbench(root, torch.device("cpu"), tell)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Return what the command line prints and returns, called in this process: workers come from one forkserver."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = main([*words])
    return subprocess.CompletedProcess(words, status, stdout.getvalue(), stderr.getvalue())


def run(out: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Make a run from this process, where a process of its own is not what is tested: that costs three seconds.

    It has one worker unless told: each imports anew what only some cells need.
    """
    done = call("run", f"out={out}", "logger=none", "workers=1", *arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def net(shape: tuple[int, ...] = (1, 4, 4), classes: int = 3, seed: int = 0) -> nn.Module:
    """Return a small network with a convolution, batch norm and biases, in channels_last as `bench.run` has it."""
    with global_stream(seed, "test"):
        model = nn.Sequential(
            nn.Conv2d(shape[0], 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * shape[1] * shape[2], classes),
        )
    return model.to(memory_format=torch.channels_last)


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two sets of named tensors are equal bit for bit."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
