"""The true change of the loss when a filter, or a single weight, is removed from a trained network.

Every criterion estimates it; Molchanov et al. 2019 (arXiv:1906.10771) compare criteria by their correlation with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench import data
from bench.axes import Filter
from bench.cell import Cell
from bench.data import Data, batches, scoring_positions
from bench.errors import UserError
from bench.lineage import Lineage
from bench.loss import Loss, loss_function
from bench.measure import machine
from bench.measure.accuracy import BATCH
from bench.mode import in_mode, set_kernels
from bench.prune import Pruner, structure_of
from bench.run import become_dense, initial
from bench.score import taking_part
from bench.seeds import generator
from bench.stage import Made, Workbench
from bench.store import digest
from bench.structured import Structure, group_scores
from bench.units import Part

IMAGES = 2000
"""Training samples whose mean loss is measured; fewer where the scoring set leaves fewer."""
WEIGHTS = 1000
"""Single weights that are removed, where the units are weights."""

Batches = list[tuple[Tensor, Tensor]]
Positions = tuple[Tensor | slice, ...]


@dataclass(frozen=True, eq=False)
class Unit:
    """What is removed at once."""

    layer: str
    """The weight, or the first of the coupled weights, that it belongs to."""
    number: int
    """Of the filter in its group, or of the weight in its layer (row-major)."""
    parts: tuple[tuple[str, Positions], ...]
    """Parameters and their positions that become zero."""


@dataclass(frozen=True, eq=False)
class Net:
    """A trained network, what can be removed from it, and the samples that say what that costs."""

    lineage: Lineage
    units: list[Unit]
    samples: Batches
    loss: float
    """Mean loss of the whole network."""

    @property
    def images(self) -> int:
        """Number of samples."""
        return sum(len(targets) for _, targets in self.samples)


class Oracle:
    """Answers what the verb `oracle` asks; questions about the same network share it.

    A cell (when=trained) says the network, the granularity and, for scores, the criterion; its target has no effect.
    Scores are asked for by a name, which the asker needs, and a cell.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._net: tuple[str, Net] | None = None

    def units(self, cell: Cell) -> tuple[list[tuple[str, int]], int]:
        """Return (layer, number) of each unit of a cell's trained network, and how many samples the loss is over."""
        net = self._trained(cell)
        return [(unit.layer, unit.number) for unit in net.units], net.images

    def changes(self, part: tuple[Cell, int, int]) -> tuple[list[float], dict[str, str | None]]:
        """Return the loss without each of the units [first, last), less the loss of the whole network.

        With it come cpu and gpu of the machine that measured this, which may have been another one.
        """
        cell, first, last = part

        def make() -> Made:
            net, loss_fn = self._trained(cell), loss_function(cell.recipe)
            model = net.lineage.model
            changes = [loss_without(model, unit, net.samples, loss_fn) - net.loss for unit in net.units[first:last]]
            return machine.describe(self.bench.device), {"changes": torch.tensor(changes, dtype=torch.float64)}

        facts, tensors = self.bench.stage(f"oracle-{net_key(cell)}-{first}-{last}", make)
        return tensors["changes"].tolist(), {name: facts.get(name) for name in ("cpu", "gpu")}

    def scores(self, named: tuple[str, Cell]) -> list[float]:
        """Return a criterion's score of each unit of the trained network; NaN where it scores none."""
        _, cell = named
        net = self._trained(cell)
        pruner = Pruner(cell, self._samples(cell), self.bench)
        scores = pruner.scores(net.lineage)
        if isinstance(cell.granularity, Filter) and net.lineage.structure is not None:
            facts = pruner.criterion.description.facts
            # Units of all layers are compared: as at scope=global, where this has to be asked for.
            layer_mean = {"normalise": "layer_mean"} if facts["SCALE"] == "layer" else {}
            grain = cell.granularity.model_copy(update=layer_mean)
            scores = group_scores(net.lineage.structure.groups, scores, grain, str(facts["COUPLED"]))
        flat = {name: score.detach().flatten().double().tolist() for name, score in scores.items()}
        return [flat[unit.layer][unit.number] if unit.layer in flat else float("nan") for unit in net.units]

    def _samples(self, cell: Cell) -> Data:
        return data.load(cell.dataset, self.bench.device)

    def _trained(self, cell: Cell) -> Net:
        key = net_key(cell)
        if self._net is None or self._net[0] != key:
            self._net = (key, self._train(cell))
        return self._net[1]

    def _train(self, cell: Cell) -> Net:
        samples = self._samples(cell)
        set_kernels(cell.environment.precision)
        model = initial(cell, samples, self.bench.device)
        lineage = Lineage(model, structure_of(cell, model, samples))
        become_dense(cell, lineage, samples, self.bench)
        units = filters(lineage.structure) if lineage.structure else some_weights(cell, model)
        held = held_samples(cell, samples)
        return Net(lineage, units, held, mean_loss(model, held, loss_function(cell.recipe)))


def net_key(cell: Cell) -> str:
    """Return the key of what the changes of the loss depend on."""
    assert cell.granularity is not None
    own = [cell.granularity.name, cell.prunable.model_dump(), cell.scoring.model_dump(), IMAGES, WEIGHTS]
    return digest([cell.dense_key, own])


def held_samples(cell: Cell, samples: Data) -> Batches:
    """Return batches of up to IMAGES training samples, not augmented, that share none with the cell's scoring set.

    Raises UserError where the scoring set leaves none.
    """
    targets = samples.train.targets
    free = torch.ones(len(targets), dtype=torch.bool)
    free[scoring_positions(samples, cell.seed, cell.scoring.samples, cell.scoring.batch).cpu()] = False
    rest = free.nonzero().flatten()
    if not len(rest):
        raise UserError("the scoring set takes all training samples, the oracle needs others: lower scoring.samples")
    chosen = rest[torch.randperm(len(rest), generator=generator(cell.seed, "oracle"))[:IMAGES]]
    return list(batches(samples, samples.train[chosen.to(samples.device)], BATCH))


def filters(structure: Structure) -> list[Unit]:
    """Return all units of a structure, group after group."""
    return [
        Unit(group.name, number, tuple(_positions(group.produced + group.others, number)))
        for group in structure.groups
        for number in range(group.count)
    ]


def _positions(parts: tuple[Part, ...], number: int) -> Iterator[tuple[str, Positions]]:
    for part in parts:
        owned = (part.owner == number).nonzero().flatten()
        if len(owned):
            yield part.parameter, (*[slice(None)] * part.dim, owned)


def some_weights(cell: Cell, model: nn.Module) -> list[Unit]:
    """Return about WEIGHTS single weights drawn at random, as many of each layer as far as it has them."""
    chance = generator(cell.seed, "oracle", "weights")
    layers = taking_part(cell, model)
    each = max(1, WEIGHTS // len(layers))
    return [
        Unit(name, number, ((name, torch.unravel_index(torch.tensor(number), weight.shape)),))
        for name, weight in layers.items()
        for number in torch.randperm(weight.numel(), generator=chance)[:each].sort().values.tolist()
    ]


def loss_without(model: nn.Module, unit: Unit, samples: Batches, loss_fn: Loss) -> float:
    """Return the mean loss of a model in eval mode without a unit; the model comes back as it was, bit for bit."""
    with _removed_(model, unit):
        return mean_loss(model, samples, loss_fn)


@contextmanager
def _removed_(model: nn.Module, unit: Unit) -> Iterator[None]:
    """Give the block a model in which a unit is zero."""
    saved: list[tuple[Tensor, Positions, Tensor]] = []
    try:
        for name, at in unit.parts:
            weight = model.get_parameter(name).detach()
            saved.append((weight, at, weight[at].clone()))
            weight[at] = 0
        yield
    finally:
        # Backwards: a weight that both makes and reads the unit was saved twice, the second time half zero.
        for weight, at, values in reversed(saved):
            weight[at] = values


@torch.inference_mode()
def mean_loss(model: nn.Module, samples: Batches, loss_fn: Loss) -> float:
    """Return the mean loss over samples in eval mode, summed in float64: single units change it in the last digits."""
    total = 0.0
    with in_mode(model, train=False):
        for inputs, targets in samples:
            exact = targets.double() if targets.is_floating_point() else targets
            total += float(loss_fn(model(inputs).double(), exact)) * len(targets)
    return total / sum(len(targets) for _, targets in samples)
