"""One cell, top to bottom: dense checkpoint -> scores -> mask -> fine-tune -> measure -> record."""

import contextlib
import math
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor, nn

from bench import artefacts, data, models, store
from bench.axes import Regrow
from bench.cell import CONTROLS, Cell
from bench.data import Data, batches
from bench.lineage import Lineage, Progress, copied
from bench.loss import loss_function, output_count
from bench.masks import apply_masks_, layer_counts, shuffled
from bench.measure import machine
from bench.measure.accuracy import BATCH, evaluate, reestimated_batchnorm
from bench.measure.cost import flops, parameters
from bench.measure.effective import effective_sparsity
from bench.measure.memory import PeakMemory
from bench.mode import set_kernels
from bench.prune import Pruner, all_kept, structure_of
from bench.schedule import finetuning_rates, pruning_steps, replaced_share, training_rates
from bench.score import scoring_set, taking_part
from bench.seeds import derived_seed, generator
from bench.stage import Made, Workbench
from bench.store import MASKS, PRUNED, WEIGHTS
from bench.train import NonFiniteError, Trainer, steps_per_epoch, validate
from criteria import NonFiniteScoresError


def run_cell(cell: Cell, bench: Workbench) -> dict[str, Any]:
    """Make, commit and return a cell's record. Non-finite numbers make a failed record; anything else raises."""
    folder = bench.root / "cells" / cell.id
    started = datetime.now(UTC).isoformat(timespec="seconds")
    peak = PeakMemory(bench.device)
    set_kernels(cell.environment.precision)
    samples = data.load(cell.dataset, bench.device)
    model = initial(cell, samples, bench.device)
    lineage = Lineage(model, structure_of(cell, model, samples))
    files: dict[str, bytes] = {}
    layers: list[dict[str, Any]] = []
    try:
        train_and_prune(cell, lineage, samples, bench)
        bench.tell("stage", {"stage": "measure"})
        files = artefact_files(cell, lineage)
        counts = layer_counts({name: lineage.masks[name] for name in taking_part(cell, lineage.model)})
        layers = [{"name": name, "kept": kept, "total": total} for name, kept, total in counts]
        outcome = {"status": "ok"} | measure(cell, lineage, samples, files[WEIGHTS], bench)
    except (NonFiniteError, NonFiniteScoresError) as error:
        outcome = {"status": "failed", "reason": str(error)}
    columns = cell.columns() | lineage.columns | machine.describe(bench.device) | outcome
    columns |= {"started": started, "peak_memory_mb": peak.mb()}
    histogram = lineage.columns.get("histogram")
    record = store.cell_record(columns, cell.config(), True, lineage.curves, layers, histogram)
    store.commit(folder, record, files)
    store.forget_unfinished(folder)
    return record


def train_and_prune(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Bring a lineage from initialisation to the cell's final network."""
    folder = f"cells/{cell.id}"
    if cell.when == "init":
        prune_while_training(cell, lineage, recipe_trainer(cell, lineage.model, samples), bench)
    else:
        become_dense(cell, lineage, samples, bench)
    if cell.when == "rewind":
        prune_and_rewind(cell, lineage, samples, bench)
    if cell.criterion in CONTROLS:
        lineage.masks = all_kept(cell, lineage.model)
    if cell.finetune:
        trainer = finetuning_trainer(cell, lineage.model, samples)
        if cell.when == "trained" and cell.criterion not in CONTROLS:
            prune_while_training(cell, lineage, trainer, bench)
        else:
            Progress(lineage, trainer, bench, folder).run(len(trainer.rates))


def initial(cell: Cell, samples: Data, device: torch.device, *use: str) -> nn.Module:
    """Return the network as its seed initialises it, the same for every criterion; with a `use`, another draw."""
    outputs = output_count(cell.recipe, samples.num_classes)
    seed = derived_seed(cell.seed, *use) if use else cell.seed
    network = cell.model.model_copy(update={"weights": None}) if use else cell.model
    model = models.build(network, samples.input_shape, outputs, seed).to(device)
    # 2-d convolutions run faster in this layout on CPUs, and tensor cores want it.
    return nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)


def become_dense(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Bring a lineage to the end of the recipe without pruning; trained once for all criteria."""
    key = f"dense-{cell.dense_key}"

    def make() -> Made:
        trainer = recipe_trainer(cell, lineage.model, samples)
        Progress(lineage, trainer, bench, f"stages/{key}").run(len(trainer.rates))
        return {"curves": lineage.curves, "train_s": lineage.columns["train_s"]}, lineage.model.state_dict()

    facts, weights = bench.stage(key, make)
    lineage.model.load_state_dict(weights)
    lineage.curves = facts["curves"]
    lineage.columns["train_s"] = facts["train_s"]


def recipe_trainer(cell: Cell, model: nn.Module, samples: Data) -> Trainer:
    """Return what trains a network by the whole recipe."""
    rates = training_rates(cell.recipe, steps_per_epoch(samples, cell.recipe))
    return Trainer(model, samples, cell.recipe, rates, cell.seed, "train", cell.environment.precision)


def finetuning_trainer(cell: Cell, model: nn.Module, samples: Data) -> Trainer:
    """Return what trains a network for the fine-tuning epochs."""
    assert cell.finetune is not None
    assert cell.finetune_epochs is not None
    steps = steps_per_epoch(samples, cell.recipe)
    rates = finetuning_rates(cell.finetune, cell.finetune_epochs, cell.recipe, steps)
    return Trainer(model, samples, cell.recipe, rates, cell.seed, "finetune", cell.environment.precision)


def prune_while_training(cell: Cell, lineage: Lineage, trainer: Trainer, bench: Workbench) -> None:
    """Take the gradient, prune, update, repeat: to the target or, where the schedule has `stop`, until converged."""
    assert cell.schedule is not None
    stop, measured = cell.stop, trainer.data.measure
    floor = -math.inf if stop is None else validate(lineage.model, trainer.data, cell.recipe)[measured] - stop
    pruner = Pruner(cell, trainer.data, bench)
    trainer.observe = pruner.criterion.observe if pruner.criterion.observer else None
    gathered = vars(pruner.criterion.observer) if pruner.criterion.observer else {}
    progress = Progress(lineage, trainer, bench, f"cells/{cell.id}", saves=stop is None, gathered=gathered)
    path = pruning_steps(cell.schedule, cell.sparsity, len(trainer.rates), trains_between=cell.when == "trained")
    progress.run(path[0][0])
    unmasked = copied(lineage.model) if cell.ablation == "shuffle" else {}
    for number, (first, target) in enumerate(path, start=1):
        end = path[number][0] if number < len(path) else len(trainer.rates)
        now = (lineage.masks, lineage.pruned, lineage.columns.get("histogram"), len(lineage.curves), first)
        before = (copied(lineage.model), *now) if stop is not None else None
        if trainer.step == first:
            if isinstance(cell.schedule, Regrow) and lineage.masks:
                share = replaced_share(cell.schedule, first, len(trainer.rates))
                trainer.forget(pruner.trade_(lineage, share, first))
            else:
                pruner.prune_(lineage, target, last=number == len(path) or stop is not None)
            if number == len(path):
                ablate(cell, lineage, unmasked, trainer.data, bench)
        progress.run(end)
        if before and validate(lineage.model, trainer.data, cell.recipe)[measured] < floor:
            weights, lineage.masks, lineage.pruned, lineage.columns["histogram"], epochs, steps = before
            lineage.model.load_state_dict(weights)
            del lineage.curves[epochs:]
            lineage.masks = lineage.masks or all_kept(cell, lineage.model)
            lineage.pruned = lineage.pruned or weights
            lineage.columns["epochs_total"] = cell.recipe.epochs + steps / trainer.steps_per_epoch
            break


def prune_and_rewind(cell: Cell, lineage: Lineage, samples: Data, bench: Workbench) -> None:
    """Prune the trained network, go back to an early step with that mask, train the rest; once a step of the schedule.

    With magnitude and an iterative schedule: the lottery ticket (Frankle et al. 2020, arXiv:1912.05671).
    """
    assert cell.schedule is not None
    assert cell.rewind_to is not None
    pruner = Pruner(cell, samples, bench)
    total = cell.recipe.epochs * steps_per_epoch(samples, cell.recipe)
    path = pruning_steps(cell.schedule, cell.sparsity, total, trains_between=False)
    early = early_state(cell, samples, bench, round(cell.rewind_to * total))
    for number, (_, target) in enumerate(path, start=1):

        def make(number: int = number, target: float | None = target) -> Made:
            pruner.prune_(lineage, target, last=number == len(path))
            trainer = recipe_trainer(cell, lineage.model, samples)
            trainer.resume(early)
            if number == len(path):
                ablate(cell, lineage, copied(lineage.model), samples, bench)
            Progress(lineage, trainer, bench, f"stages/round-{cell.id}-{number}").run(total)
            return lineage.notes(), lineage.tensors()

        lineage.restore(*bench.stage(f"round-{cell.id}-{number}", make))


def early_state(cell: Cell, samples: Data, bench: Workbench, step: int) -> dict[str, Any]:
    """Return the trainer's state at an early step of the dense training, trained once for all that rewind there."""

    key = f"early-{cell.dense_key}-{step}"

    def make() -> Made:
        lineage = Lineage(initial(cell, samples, bench.device))
        trainer = recipe_trainer(cell, lineage.model, samples)
        Progress(lineage, trainer, bench, f"stages/{key}").run(step)
        return {}, trainer.tensors()

    _, tensors = bench.stage(key, make)
    return Trainer.state_of(tensors, step)


def ablate(cell: Cell, lineage: Lineage, unmasked: dict[str, Tensor], samples: Data, bench: Workbench) -> None:
    """Change the final mask, or the weights under it, before retraining (Frankle et al. 2021, arXiv:2009.08576).

    shuffle: the mask is permuted within each layer and laid on the `unmasked` weights. reinit: weights are drawn anew.
    (invert ranks backwards: see Pruner.)
    """
    if cell.ablation == "shuffle":
        chance = generator(cell.seed, "shuffle")
        if lineage.structure is not None:
            lineage.masks = lineage.structure.shuffled(lineage.model, lineage.masks, chance)
        else:
            lineage.masks = {name: shuffled(mask, chance) for name, mask in lineage.masks.items()}
        lineage.model.load_state_dict(unmasked)
    elif cell.ablation == "reinit":
        lineage.model.load_state_dict(initial(cell, samples, bench.device, "reinit").state_dict())
    apply_masks_(lineage.model, lineage.masks)
    lineage.pruned = copied(lineage.model)


def artefact_files(cell: Cell, lineage: Lineage) -> dict[str, bytes]:
    """Return a record's files; the weights right after pruning only where dense net and masks do not give them."""
    files = {WEIGHTS: artefacts.pack(lineage.model.state_dict()), MASKS: artefacts.pack(lineage.masks)}
    return files if cell.pruned_follows else files | {PRUNED: artefacts.pack(lineage.pruned)}


def measure(cell: Cell, lineage: Lineage, samples: Data, weights: bytes, bench: Workbench) -> dict[str, Any]:
    """Return the measured columns; the test set is read after all training has ended, from stored weights.

    A net that nothing has trained is at chance: only its masks are measured, and the test set is not read.
    """
    if cell.untrained:
        return sizes(cell, lineage, samples)
    model, measured = lineage.model, samples.measure
    columns: dict[str, Any] = {}
    # A net pruned at initialisation does not start from the dense one, and outlives its failure.
    with contextlib.suppress(*([NonFiniteError] if cell.when == "init" else [])):
        columns[f"{measured}_dense"] = read_dense(cell, samples, bench)
    if lineage.pruned:
        model.load_state_dict(lineage.pruned)
        columns |= read_pruned(model, cell, samples)
    model.load_state_dict(artefacts.unpack(weights, bench.device))
    columns |= _finite(read_test(model, cell, samples), "final")
    return columns | sizes(cell, lineage, samples)


def sizes(cell: Cell, lineage: Lineage, samples: Data) -> dict[str, Any]:
    """Return the columns that depend on the masks alone: sparsity, what it leaves connected, parameters and FLOPs."""
    model, structure = lineage.model, lineage.structure
    sample = next(iter(batches(samples, samples.test, 1)))[0]
    masks = {name: lineage.masks[name] for name in taking_part(cell, model)}
    kept = [(kept, total) for _, kept, total in layer_counts(masks)]
    effective, disconnected, _ = effective_sparsity(model, masks, sample)
    params_dense, params = parameters(model, lineage.masks)
    flops_dense, flops_left = flops(model, masks, sample)
    if structure is not None:
        flops_left, _ = flops(structure.compacted(model, lineage.masks).model, {}, sample)
    return {
        "sparsity": 1 - sum(k for k, _ in kept) / sum(total for _, total in kept),
        "sparsity_effective": effective,
        "collapsed_layers": sum(k == 0 for k, _ in kept),
        "disconnected": disconnected,
        "params_dense": params_dense,
        "params": params,
        "flops_dense": flops_dense,
        "flops": flops_left,
    }


def read_test(model: nn.Module, cell: Cell, samples: Data) -> dict[str, Any]:
    """Return loss, top1 and top5 (r2 in a regression) on the test set."""
    return evaluate(model, batches(samples, samples.test, BATCH), loss_function(cell.recipe))


def _finite(columns: dict[str, Any], whose: str) -> dict[str, Any]:
    """Return what was read from the test set; NonFiniteError where the loss is none."""
    if not math.isfinite(columns["loss"]):
        raise NonFiniteError(f"the {whose} test loss is not finite; lower recipe.lr")
    return columns


def read_pruned(model: nn.Module, cell: Cell, samples: Data) -> dict[str, Any]:
    """Return top1 (r2 in a regression) right after pruning, by stored and by re-estimated batch-norm statistics."""
    measured = samples.measure
    columns = {f"{measured}_pruned": read_test(model, cell, samples)[measured]}
    with reestimated_batchnorm(model, scoring_set(cell, samples)):
        return columns | {f"{measured}_pruned_bn": read_test(model, cell, samples)[measured]}


def read_dense(cell: Cell, samples: Data, bench: Workbench) -> float | None:
    """Return the dense network's top1 (r2 in a regression) on the test set, read once for all criteria."""

    def make() -> Made:
        lineage = Lineage(initial(cell, samples, bench.device))
        become_dense(cell, lineage, samples, bench)
        return _finite(read_test(lineage.model, cell, samples), "dense net's"), {}

    read: float | None = bench.stage(f"dense_read-{cell.dense_key}", make)[0][samples.measure]
    return read
