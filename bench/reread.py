"""What stored weights and masks say: test results, sizes and masks computed again, without training anything."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from bench import artefacts, data
from bench.axes import Iterative, OneShot
from bench.cell import CONTROLS, Cell
from bench.data import Data
from bench.errors import UserError
from bench.lineage import Lineage, copied
from bench.masks import Masks, apply_masks_, in_order
from bench.measure import machine
from bench.mode import set_kernels
from bench.prune import Pruner, structure_of
from bench.run import ablate, become_dense, initial, read_pruned, read_test, sizes
from bench.schedule import pruning_steps
from bench.stage import Made, Workbench
from bench.store import MASKS, PRUNED, WEIGHTS
from bench.tasks import Reread
from criteria import CriterionError


class AbsentError(Exception):
    """Shared work that is not stored any more."""


@dataclass(frozen=True)
class Archive(Workbench):
    """A folder of results that is read and never written."""

    def stage(self, key: str, make: Any) -> Made:
        """Return (facts, tensors) of a stage; AbsentError where it is gone, CorruptError where it does not hold."""
        known = self.stored(key)
        if known is None:
            raise AbsentError(f"stages/{key} is not stored any more")
        return known


def reread(cell: Cell, bench: Workbench) -> Reread:
    """Compute a cell's measured columns again from what is stored, with the columns of this machine.

    Nothing is trained or written. UserError where data or model are not there.
    """
    archive = Archive(bench.root, bench.device, bench.tell)
    torch.set_num_threads(cell.environment.threads)
    set_kernels(cell.environment.precision)
    samples = data.load(cell.dataset, bench.device)
    here = machine.describe(bench.device)
    found = Reread({"cpu": here["cpu"], "gpu": here["gpu"], "torch": version("torch")})
    lineage = _stored(cell, samples, bench)
    found.columns |= sizes(cell, lineage, samples)
    if cell.untrained:
        return found
    found.columns |= read_test(lineage.model, cell, samples)
    with _noting(found):
        dense = _fresh(cell, samples, bench)
        become_dense(cell, dense, samples, archive)
        found.columns[f"{samples.measure}_dense"] = read_test(dense.model, cell, samples)[samples.measure]
    if cell.criterion not in CONTROLS:
        with _noting(found):
            _read_pruned(cell, lineage.masks, samples, archive, found)
    return found


@contextlib.contextmanager
def _noting(found: Reread) -> Iterator[None]:
    """Note why the block could not read something, rather than fail."""
    try:
        yield
    except (AbsentError, CriterionError, UserError) as error:
        found.unread.append(" ".join(str(error).split()))


def _fresh(cell: Cell, samples: Data, bench: Workbench) -> Lineage:
    model = initial(cell, samples, bench.device)
    return Lineage(model, structure_of(cell, model, samples))


def _stored(cell: Cell, samples: Data, bench: Workbench) -> Lineage:
    """Return the final network of a cell."""
    folder = bench.root / "cells" / cell.id
    lineage = _fresh(cell, samples, bench)
    lineage.model.load_state_dict(artefacts.read(folder, WEIGHTS, bench.device))
    lineage.masks = in_order(lineage.model, artefacts.read(folder, MASKS, bench.device))
    return lineage


def _read_pruned(cell: Cell, masks: Masks, samples: Data, archive: Archive, found: Reread) -> None:
    """Prune again where no training lies before the last step; read the network as it was right after pruning."""
    folder = archive.root / "cells" / cell.id
    again = None
    # Where training lies between pruning steps, the masks cannot be made again without it.
    kinds = (OneShot, Iterative) if cell.when == "init" else (OneShot,)
    if isinstance(cell.schedule, kinds):
        with _noting(found):
            again = _pruned_again(cell, samples, archive)
            found.moved = sum(int((again.masks[name] != mask).sum()) for name, mask in masks.items())
    lineage = again or _fresh(cell, samples, archive)
    if (folder / PRUNED).is_file():
        lineage.model.load_state_dict(artefacts.read(folder, PRUNED, archive.device))
    elif again is None:
        if cell.when != "init":
            become_dense(cell, lineage, samples, archive)
        apply_masks_(lineage.model, masks)
    found.columns |= read_pruned(lineage.model, cell, samples)


def _pruned_again(cell: Cell, samples: Data, archive: Archive) -> Lineage:
    lineage = _fresh(cell, samples, archive)
    if cell.when != "init":
        become_dense(cell, lineage, samples, archive)
    before = copied(lineage.model)
    pruner = Pruner(cell, samples, archive)
    assert cell.schedule is not None
    for _, target in pruning_steps(cell.schedule, cell.sparsity, 1, trains_between=False):
        pruner.prune_(lineage, target)
    ablate(cell, lineage, before, samples, archive)
    return lineage
