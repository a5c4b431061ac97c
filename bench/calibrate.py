"""A short measurement of what the pieces of a run take: a few training steps, a pass, scores by a few batches."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bench import data
from bench.axes import Layer
from bench.cell import Cell
from bench.data import Data, batches, scoring_positions
from bench.estimate import scored_as
from bench.lineage import Lineage
from bench.loss import loss_function
from bench.measure.accuracy import BATCH, evaluate
from bench.measure.memory import PeakMemory
from bench.mode import set_kernels
from bench.prune import all_kept, structure_of
from bench.run import initial, sizes
from bench.score import load, score, scoring_set
from bench.stage import Workbench
from bench.tasks import Price
from bench.train import Trainer, steps_per_epoch

STEPS_S = 3.0
"""Training steps are measured for this long, or an epoch."""
LONG_S = 2.0
"""Scores that take longer than this by one batch are not tried by more."""
SAMPLES = 2000
"""Of the training set, that a pass is timed on; the test set is read by nobody but a run."""


def calibrate(cells: Sequence[Cell], bench: Workbench) -> Price:
    """Return the prices for cells that differ in their criterion or granularity alone; the first is any of them."""
    peak = PeakMemory(bench.device)
    started = _clock()
    (cell, *_), pruned = cells, [cell for cell in cells if cell.score_mode]
    set_kernels(cell.environment.precision)
    samples = data.load(cell.dataset, bench.device)
    load_s = _clock() - started
    model = initial(cell, samples, bench.device)
    step_s, steps = _training(cell, model, samples)
    sample_s = _pass(cell, model, samples)
    masks = all_kept(cell, model)
    lineage = Lineage(model, masks=masks)
    structured = next((cell for cell in pruned if cell.structured), None)
    shared = (cell.seed, cell.scoring.samples, cell.scoring.batch)
    scoring = len(scoring_positions(samples, *shared)) if pruned else 0
    return Price(
        load_s=load_s,
        step_s=step_s,
        steps=steps,
        validation_s=sample_s * len(samples.validation.targets),
        test_s=sample_s * len(samples.test.targets),
        forward_s=sample_s * scoring,
        sizes_s=_timed(lambda: sizes(cell, lineage, samples)),
        structure_s=_timed(lambda: structure_of(structured, model, samples)) if structured else 0.0,
        half_share=_halved(structured, model, samples) / step_s if structured else 1.0,
        scores_s={scored_as(cell): _scoring(cell, model, samples) for cell in pruned},
        weights_mb=sum(tensor.nbytes for tensor in model.state_dict().values()) / 1e6,
        masks_mb=sum(mask.numel() for mask in masks.values()) / 1e6,
        peak_mb=peak.mb(),
    )


def _clock() -> float:
    """Return seconds: on CPU those that this process has computed, so that what else runs here does not count."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def _timed(work: Callable[[], Any]) -> float:
    """Return the seconds of a second call: the first imports and allocates."""
    work()
    return _once(work)


def _once(work: Callable[[], Any]) -> float:
    started = _clock()
    work()
    return _clock() - started


def _training(cell: Cell, model: nn.Module, samples: Data) -> tuple[float, int]:
    """Return (seconds of one training step, steps an epoch); the first steps, which allocate, do not count."""
    steps = steps_per_epoch(samples, cell.recipe)
    # Rates of its own: a recipe of no epochs has none, and fine-tunes all the same.
    rates = [cell.recipe.lr / 100] * max(2, steps)
    trainer = Trainer(model, samples, cell.recipe, rates, cell.seed, "train", cell.environment.precision)
    warm = min(3, steps // 4)
    trainer.run(warm, lambda row: None)
    started = _clock()
    trainer.run(max(warm + 1, steps - 1), lambda row: None, STEPS_S)  # not to the epoch's end: validation comes there
    return (_clock() - started) / (trainer.step - warm), steps


def _halved(cell: Cell, model: nn.Module, samples: Data) -> float:
    """Return the seconds of a training step of a network without every other filter, or block."""
    structure = structure_of(cell, model, samples)
    assert structure is not None
    shift = isinstance(cell.granularity, Layer)
    kept = {u.name: (torch.arange(u.count) + shift * i) % 2 == 0 for i, u in enumerate(structure.groups)}
    small = structure.compacted(model, structure.masks(model, kept)).model
    return _training(cell, small, samples)[0]


def _pass(cell: Cell, model: nn.Module, samples: Data) -> float:
    """Return the seconds that the network takes a sample in evaluation."""
    part = samples.train[torch.arange(min(SAMPLES, len(samples.train.targets)), device=samples.device)]
    loss_fn = loss_function(cell.recipe)
    return _timed(lambda: evaluate(model, batches(samples, part, BATCH), loss_fn)) / len(part.targets)


def _scoring(cell: Cell, model: nn.Module, samples: Data) -> float:
    """Return the seconds of one pass over the scoring set, from those over one batch and over four."""
    criterion, found = load(cell), scoring_set(cell, samples)
    score(cell, criterion, model, [(inputs[:2], targets[:2]) for inputs, targets in found[:1]])
    one = _once(lambda: score(cell, criterion, model, found[:1]))
    if len(found) == 1 or one > LONG_S:
        return one * len(found)
    more = min(len(found), 4)
    several = _once(lambda: score(cell, criterion, model, found[:more]))
    return one + max(0.0, several - one) / (more - 1) * (len(found) - 1)
