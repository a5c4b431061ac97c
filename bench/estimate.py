"""What a run will take: its work counted as the run does it, each piece priced by what this machine measured. No torch.

Shared work is counted once: a dense net for all criteria of a seed, first scores for all sparsities, an early state for
all that rewind to it. What is stored already costs nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import criteria
from bench.axes import Regrow
from bench.cell import CONTROLS, Cell, spelled
from bench.schedule import pruning_steps
from bench.store import digest
from bench.tasks import Price

RECORD_MB = 0.02


def priced_as(cell: Cell) -> str:
    """Return the key of what has one price: data, network, training and device, whatever the seed and criterion."""
    own = [cell.dataset_hash, cell.model_hash, cell.dataset.name, cell.scoring.model_dump()]
    return digest([own, cell.model.model_dump(), cell.recipe.model_dump(), cell.environment.model_dump()])


def scored_as(cell: Cell) -> str:
    """Return the name of a criterion's form, as `grasp {temperature: 1} weight eval`."""
    return f"{cell.criterion} {spelled(cell.criterion_options)} {cell.form} {cell.score_mode}"


@dataclass
class Need:
    """What one cell still takes, shared work included where it is the first to need it."""

    cell: Cell
    epochs: float = 0.0
    passes: int = 0
    """Of its criterion over the scoring set."""
    reads: int = 0
    """Of the test set."""
    seconds: float = 0.0
    """Of one worker."""
    mb: float = 0.0
    """On disk, 10^6 bytes."""


@dataclass
class Ledger:
    """Writes down what cells need, in the order of a plan."""

    prices: Mapping[str, Price]
    """By priced_as."""
    stored: set[str]
    """Names of the stages that are there, or that an earlier cell pays for."""
    needs: list[Need] = field(default_factory=list)

    def add(self, cells: Iterable[Cell]) -> "Ledger":
        """Add cells; return the ledger."""
        for cell in cells:
            self.needs.append(Need(cell))
            self._dense(self.needs[-1])
            if cell.criterion not in CONTROLS:
                self._pruning(self.needs[-1])
            self._own_training(self.needs[-1])
            self._measuring(self.needs[-1])
        return self

    def _price(self, need: Need) -> Price:
        return self.prices[priced_as(need.cell)]

    def _first(self, stage: str) -> bool:
        """Whether a stage has still to be made; from now on it is paid for."""
        new = stage not in self.stored
        self.stored.add(stage)
        return new

    def _train(self, need: Need, epochs: float, share: float = 1.0) -> None:
        price = self._price(need)
        need.epochs += epochs
        need.seconds += epochs * (price.steps * price.step_s * share + price.validation_s)

    def _dense(self, need: Need) -> None:
        price, cell = self._price(need), need.cell
        if cell.untrained:
            return
        if self._first(f"dense-{cell.dense_key}"):
            self._train(need, cell.recipe.epochs)
            need.mb += price.weights_mb
        if self._first(f"dense_read-{cell.dense_key}"):
            need.reads += 1
            need.seconds += price.test_s

    def _pruning(self, need: Need) -> None:
        price, cell = self._price(need), need.cell
        assert cell.schedule is not None
        steps, trained = cell.pruning_epochs * price.steps, cell.when == "trained"
        passes = len(pruning_steps(cell.schedule, cell.sparsity, steps, trains_between=trained))
        if isinstance(cell.schedule, Regrow):
            passes -= 1  # it begins at random; the gradients that it grows by are a pass more
            need.seconds += passes * 2 * price.forward_s * (cell.schedule.grow == "gradient")
        elif cell.shares_scores(criteria.describe(cell.criterion_file)):
            new = self._first(f"scores-{cell.scores_key}")
            passes -= not new
            need.mb += 4 * price.masks_mb * new
        need.passes += passes
        need.seconds += passes * price.scores_s.get(scored_as(cell), 0.0)
        need.seconds += price.structure_s * cell.structured

    def _own_training(self, need: Need) -> None:
        price, cell = self._price(need), need.cell
        # Beyond a half hardly more time goes: a ResNet-20 takes .40 of it at 50 % of the filters, .37 at 70 %.
        share = price.half_share ** min(1.0, 2 * (cell.sparsity or 0.0)) if cell.structured else 1.0
        if cell.rewind_to is None:
            self._train(need, cell.epochs_to_train if cell.criterion != "dense" else 0, share)
            return
        if self._first(f"early-{cell.dense_key}-{round(cell.rewind_to * cell.recipe.epochs * price.steps)}"):
            self._train(need, cell.rewind_to * cell.recipe.epochs)
            need.mb += 2 * price.weights_mb
        for number in range(1, 1 + cell.rounds):
            if self._first(f"round-{cell.id}-{number}"):
                self._train(need, cell.recipe.epochs * (1 - cell.rewind_to), share)
                need.mb += 2 * price.weights_mb + price.masks_mb

    def _measuring(self, need: Need) -> None:
        price, cell = self._price(need), need.cell
        pruned = cell.criterion not in CONTROLS
        reads = 0 if cell.untrained else 1 + 2 * pruned
        need.reads += reads
        need.seconds += reads * price.test_s + price.sizes_s + price.forward_s * (pruned and reads > 0)
        need.mb += price.weights_mb * (1 if cell.pruned_follows else 2) + price.masks_mb + RECORD_MB


def wall_s(needs: list[Need], workers: int) -> float:
    """Return how long workers take: dense controls first, which the others wait for."""
    dense = [need.seconds for need in needs if need.cell.criterion == "dense"]
    rest = [need.seconds for need in needs if need.cell.criterion != "dense"]
    return sum(max(sum(part) / workers, max(part)) for part in (dense, rest) if part)
