"""One cell, top to bottom: dense checkpoint -> scores -> mask -> fine-tune -> measure -> record."""

import math
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn

from bench import artefacts, data, models, store
from bench.artefacts import MASKS, PRUNED, WEIGHTS
from bench.data import Data, batches
from bench.lineage import Lineage, Progress, copied
from bench.loss import loss_function
from bench.masks import Masks, layer_counts
from bench.measure import machine
from bench.measure.accuracy import BATCH, evaluate, reestimated_batchnorm
from bench.measure.cost import flops, parameters
from bench.measure.effective import effective_sparsity
from bench.measure.memory import PeakMemory
from bench.plan import CONTROLS, Cell
from bench.prune import Pruner, all_kept
from bench.schedule import boundaries, finetuning_rates, sparsities, training_rates
from bench.schema import Iterative
from bench.score import scoring_set
from bench.stage import Made, Workbench
from bench.train import NonFiniteError, Trainer, steps_per_epoch, validate


def run_cell(cell: Cell, bench: Workbench) -> dict[str, Any]:
    """Make, commit and return a cell's record. Non-finite numbers make a failed record; anything else raises."""
    folder = bench.root / "cells" / cell.id
    started = datetime.now(UTC).isoformat(timespec="seconds")
    peak = PeakMemory(bench.device)
    # cuDNN rounds to TF32 unless it is told not to; bf16 is the trainer's.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = cell.environment.precision == "tf32"
    samples = data.load(cell.dataset, bench.device)
    lineage = Lineage(initial(cell, samples, bench.device))
    files: dict[str, bytes] = {}
    layers: list[dict[str, Any]] = []
    try:
        train_and_prune(cell, lineage, samples, bench)
        bench.tell("stage", {"stage": "measure"})
        files = stored(cell, lineage)
        layers = [{"name": name, "kept": kept, "total": total} for name, kept, total in layer_counts(lineage.masks)]
        outcome = {"status": "ok"} | measure(cell, lineage, samples, files[WEIGHTS], bench)
    except NonFiniteError as error:
        outcome = {"status": "failed", "reason": str(error)}
    columns = cell.columns() | lineage.columns | machine.describe(bench.device) | outcome
    columns |= {"started": started, "peak_memory_mb": peak.mb()}
    record = store.cell_record(columns, cell.config(), final=True, curves=lineage.curves, layers=layers)
    store.commit(folder, record, files)
    for unfinished in folder.glob("*.resume"):
        unfinished.unlink()
    return record


def train_and_prune(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Bring a lineage from initialisation to the cell's final network."""
    if cell.when == "init":
        prune_at_initialisation(cell, lineage, samples, bench)
        train(cell, lineage, samples, bench, f"cells/{cell.id}")
    else:
        become_dense(cell, lineage, samples, bench)
    if cell.criterion in CONTROLS:
        lineage.masks = all_kept(cell, lineage.model)
    if cell.finetune:
        finetune(cell, lineage, samples, bench)


def initial(cell: Cell, samples: Data, device: torch.device) -> nn.Module:
    """Return the network as its seed initialises it, the same for every criterion."""
    outputs = 1 if cell.recipe.loss == "bce" else samples.num_classes
    model = models.build(cell.model, samples.input_shape, outputs, cell.seed).to(device)
    # Convolutions run faster in this layout on CPUs, and tensor cores want it.
    return model.to(memory_format=torch.channels_last)


def become_dense(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Bring a lineage to the end of the recipe without pruning; trained once for all criteria."""
    key = f"dense-{cell.dense_key}"

    def make() -> Made:
        train(cell, lineage, samples, bench, f"stages/{key}")
        return {"curves": lineage.curves, "train_s": lineage.columns["train_s"]}, lineage.model.state_dict()

    facts, weights = bench.stage(key, make)
    lineage.model.load_state_dict(weights)
    lineage.curves = facts["curves"]
    lineage.columns["train_s"] = facts["train_s"]


def train(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench, folder: str) -> None:
    """Train a lineage by the whole recipe, its masks held."""
    rates = training_rates(cell.recipe, steps_per_epoch(samples, cell.recipe))
    trainer = Trainer(lineage.model, samples, cell.recipe, rates, cell.seed, "train", cell.environment.precision)
    Progress(lineage, trainer, bench, folder).run(len(rates))


def prune_at_initialisation(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Set a lineage's masks by all steps of the schedule, without training between them."""
    assert cell.schedule is not None
    assert cell.sparsity is not None
    pruner = Pruner(cell, samples, bench)
    for target in sparsities(cell.schedule, cell.sparsity):
        pruner.prune_(lineage, target)


def finetune(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Train for the fine-tuning epochs; a trained network is pruned on the way."""
    assert cell.finetune is not None
    assert cell.finetune_epochs is not None
    steps = steps_per_epoch(samples, cell.recipe)
    rates = finetuning_rates(cell.finetune, cell.finetune_epochs, cell.recipe, steps)
    trainer = Trainer(lineage.model, samples, cell.recipe, rates, cell.seed, "finetune", cell.environment.precision)
    if cell.when == "init" or cell.criterion in CONTROLS:
        Progress(lineage, trainer, bench, f"cells/{cell.id}").run(len(rates))
    else:
        prune_while_finetuning(cell, lineage, trainer, bench)


def prune_while_finetuning(cell: Cell, lineage: Lineage, trainer: Trainer, bench: Workbench) -> None:
    """Take the gradient, prune, update, repeat: to the target or, where the schedule has `stop`, until converged."""
    assert cell.schedule is not None
    stop = cell.schedule.stop if isinstance(cell.schedule, Iterative) else None
    floor = -math.inf if stop is None else validate(lineage.model, trainer.data, cell.recipe)["top1"] - stop
    path = sparsities(cell.schedule, cell.sparsity)
    pruner = Pruner(cell, trainer.data, bench)
    progress = Progress(lineage, trainer, bench, f"cells/{cell.id}", saves=stop is None)
    for target, (first, end) in zip(path, boundaries(len(trainer.rates), len(path)), strict=True):
        before = (copied(lineage.model), lineage.masks, lineage.pruned, first) if stop is not None else None
        if trainer.step == first:
            pruner.prune_(lineage, target)
        progress.run(end)
        if before and validate(lineage.model, trainer.data, cell.recipe)["top1"] < floor:
            weights, lineage.masks, lineage.pruned, steps = before
            lineage.model.load_state_dict(weights)
            lineage.masks = lineage.masks or all_kept(cell, lineage.model)
            lineage.columns["epochs_total"] = cell.recipe.epochs + steps / trainer.steps_per_epoch
            break


def stored(cell: Cell, lineage: Lineage) -> dict[str, bytes]:
    """Return a record's files; the weights right after pruning only where dense net and masks do not give them."""
    files = {WEIGHTS: artefacts.pack(lineage.model.state_dict()), MASKS: artefacts.pack(lineage.masks)}
    return files | ({PRUNED: artefacts.pack(lineage.pruned)} if isinstance(cell.schedule, Iterative) else {})


def measure(cell: Cell, lineage: Lineage, samples: Data, weights: bytes, bench: Workbench) -> dict[str, Any]:
    """Return the measured columns; the test set is read after all training has ended, from stored weights."""
    model, masks = lineage.model, lineage.masks
    columns: dict[str, Any] = {"top1_dense": read_dense(cell, samples, bench)}
    if lineage.pruned:
        model.load_state_dict(lineage.pruned)
        columns["top1_pruned"] = read_test(model, cell, samples)["top1"]
        with reestimated_batchnorm(model, scoring_set(cell, samples)):
            columns["top1_pruned_bn"] = read_test(model, cell, samples)["top1"]
    model.load_state_dict(artefacts.unpack(weights, bench.device))
    columns |= read_test(model, cell, samples)
    if not math.isfinite(columns["loss"]):
        raise NonFiniteError("the final test loss is not finite; lower recipe.lr")
    return columns | structure(model, masks, samples)


def structure(model: nn.Module, masks: Masks, samples: Data) -> dict[str, Any]:
    """Return the columns that depend on the masks alone: sparsity, what it leaves connected, parameters and FLOPs."""
    sample = next(iter(batches(samples, samples.test, 1)))[0]
    kept = [(kept, total) for _, kept, total in layer_counts(masks)]
    effective, disconnected, _ = effective_sparsity(model, masks, sample)
    params_dense, params = parameters(model, masks)
    flops_dense, flops_masked = flops(model, masks, sample)
    return {
        "sparsity": 1 - sum(k for k, _ in kept) / sum(total for _, total in kept),
        "sparsity_effective": effective,
        "collapsed_layers": sum(k == 0 for k, _ in kept),
        "disconnected": disconnected,
        "params_dense": params_dense,
        "params": params,
        "flops_dense": flops_dense,
        "flops": flops_masked,
    }


def read_test(model: nn.Module, cell: Cell, samples: Data) -> dict[str, Any]:
    """Return loss, top1 and top5 on the test set."""
    return evaluate(model, batches(samples, samples.test, BATCH), loss_function(cell.recipe))


def read_dense(cell: Cell, samples: Data, bench: Workbench) -> float:
    """Return the dense network's top1 on the test set, read once for all criteria."""

    def make() -> Made:
        lineage = Lineage(initial(cell, samples, bench.device))
        become_dense(cell, lineage, samples, bench)
        return read_test(lineage.model, cell, samples), {}

    return float(bench.stage(f"dense_read-{cell.dense_key}", make)[0]["top1"])
