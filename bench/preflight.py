"""What is tried on an untrained network before any training, so that an error costs seconds and not hours."""

from typing import Any

import torch
from torch import Tensor, nn

from bench import data
from bench.axes import Gradual, Regrow
from bench.cell import CONTROLS, Cell
from bench.data import Data, batches
from bench.data.streaming import ImageFiles
from bench.errors import UserError, one_line
from bench.lineage import Lineage
from bench.loss import output_count
from bench.measure.accuracy import reestimated_batchnorm
from bench.mode import in_mode
from bench.prune import Pruner, structure_of
from bench.run import initial
from bench.schedule import LAST
from bench.score import load, score, scoring_set, taking_part
from bench.stage import Workbench
from bench.structured import Structure
from bench.train import steps_per_epoch
from criteria import CriterionError, NonFiniteScoresError


class Preflight:
    """Tries cells one after the other; questions about the same network share it, its scores and its units."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._network: tuple[str, nn.Module] | None = None
        self._scored: dict[str, dict[str, Tensor]] = {}
        """scores_key -> what _scores returned, for the present network."""
        self._failed: dict[str, str] = {}
        """scores_key -> why a criterion gave no scores of the present network."""
        self._structures: dict[Any, Structure | None] = {}

    def data_and_model(self, cell: Cell) -> None:
        """Load both; UserError for what is wrong with them, or does not fit together."""
        samples, model = self._loaded(cell)
        if cell.criterion not in CONTROLS:
            try:
                with reestimated_batchnorm(model, scoring_set(cell, samples, trial=True)):
                    pass
            except ValueError as error:
                batch = cell.scoring.batch
                raise UserError(
                    f"model {cell.model.name}: batch norm fails at scoring.batch={batch} ({error})"
                ) from error

    def criterion(self, cell: Cell) -> str | None:
        """Import a cell's criterion and score by two samples; return what is wrong with these scores, if anything.

        Its cells may still do better, on all samples and a trained network. UserError where it refuses this network.
        """
        try:
            self._scores(cell)
        except CriterionError as error:
            raise UserError(" ".join(str(error).split())) from error
        return self._failed.get(cell.scores_key)

    def target(self, cell: Cell) -> None:
        """Select as a cell would; UserError for a target that cannot be reached, or a schedule without time to act."""
        samples, model = self._loaded(cell)
        _check_time(cell, samples)
        lineage = Lineage(model, self._structure(cell))
        scores, pruner = self._scores(cell), Pruner(cell, samples, self.bench)
        taken, pruned = pruner.removable(lineage, scores)
        if isinstance(cell.schedule, Regrow) and (left := sorted(taking_part(cell, model).keys() - pruned)):
            raise UserError(
                f"{cell.criterion}: schedule=regrow begins with random masks of all layers, and {left[0]} has no "
                "scores: leave it out by prunable.exclude"
            )
        # Where `stop` decides how far to go, the path's end is what must be reachable.
        target = getattr(cell.schedule, "end", None) if cell.sparsity is None else cell.sparsity
        pruner.selected(lineage, {name: scores[name] for name in taken}, target)

    def _loaded(self, cell: Cell) -> tuple[Data, nn.Module]:
        samples = data.load(cell.dataset, self.bench.device)
        if self._network is None or self._network[0] != cell.dense_key:
            self._network = (cell.dense_key, initial(cell, samples, self.bench.device))
            self._scored, self._failed, self._structures = {}, {}, {}
            _check_fits(cell, samples)
            _check_answers(cell, samples, self._network[1])
            taking_part(cell, self._network[1])
        return samples, self._network[1]

    def _scores(self, cell: Cell) -> dict[str, Tensor]:
        """Return a criterion's scores by two samples; where they fail, which their cells will record, the weights."""
        samples, model = self._loaded(cell)
        if cell.scores_key not in self._scored:
            self._scored[cell.scores_key] = self._trial_scores(cell, samples, model)
        return self._scored[cell.scores_key]

    def _structure(self, cell: Cell) -> Structure | None:
        samples, model = self._loaded(cell)
        key = (type(cell.granularity), cell.prunable)
        if key not in self._structures:
            self._structures[key] = structure_of(cell, model, samples)
        return self._structures[key]

    def _trial_scores(self, cell: Cell, samples: Data, model: nn.Module) -> dict[str, Tensor]:
        criterion = load(cell)
        try:
            return score(cell, criterion, model, scoring_set(cell, samples, trial=True))
        except Exception as error:
            if isinstance(error, CriterionError) and not isinstance(error, NonFiniteScoresError):
                raise
            self._failed[cell.scores_key] = one_line(error)
        return {name: weight.detach().abs() for name, weight in taking_part(cell, model).items()}


def _check_time(cell: Cell, samples: Data) -> None:
    """Refuse a schedule that acts during training where the training is too short for one step of it."""
    if isinstance(cell.schedule, Gradual | Regrow):
        last = int(LAST * cell.pruning_epochs * steps_per_epoch(samples, cell.recipe))
        if cell.schedule.every > last:
            raise UserError(
                f"schedule={cell.schedule.name} acts every {cell.schedule.every} steps, but only the first {last} of "
                f"this training are its own: lower `every` ({{name: {cell.schedule.name}, every: N}}) or train longer"
            )


def _check_answers(cell: Cell, samples: Data, model: nn.Module) -> None:
    """Refuse a network that does not give two training samples the outputs that the loss takes."""
    inputs, _ = next(batches(samples, samples.train, 2))
    expected = [len(inputs), output_count(cell.recipe, samples.num_classes)]
    net, data = f"model {cell.model.name}", cell.dataset.name
    try:
        with in_mode(model, train=False), torch.no_grad():
            outputs = model(inputs)
    except Exception as error:  # whatever a network raises on inputs that are not for it
        shape = list(samples.input_shape)
        raise UserError(f"{net} fails on {data}'s inputs of shape {shape}: {one_line(error)}") from error
    got = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if got != expected:
        raise UserError(f"{net} returns {got} for {len(inputs)} samples of {data}, not {expected}")


def _check_fits(cell: Cell, samples: Data) -> None:
    """Refuse a recipe that is for other data."""
    name, loss, classes = cell.dataset.name, cell.recipe.loss, samples.num_classes
    if loss != "mse" and classes is None:
        raise UserError(f"recipe.loss={loss} is for classes, and {name} is a regression; use recipe.loss=mse")
    if loss == "bce" and classes != 2:
        raise UserError(f"recipe.loss=bce is for two classes; {name} has {classes}")
    inputs = samples.train.inputs
    in_files = isinstance(inputs, ImageFiles)
    images = in_files or (len(samples.input_shape) == 3 and inputs.dtype == torch.uint8)
    if (cell.recipe.crop_padding or cell.recipe.flip) and not images:
        raise UserError(
            f"recipe.crop_padding and recipe.flip are for images (uint8); {name} has none: set them to 0 and false"
        )
    if cell.recipe.crop_padding and in_files:
        raise UserError(f"recipe.crop_padding is for images in memory; {name}'s are in files: use recipe.crop_area")
    if cell.recipe.crop_area and not in_files:
        raise UserError(f"recipe.crop_area is for images in files; {name} has none: set it to null")
