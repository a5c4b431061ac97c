"""A network on its way from initialisation to the end of fine-tuning, and how a killed training goes on."""

import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bench import artefacts
from bench.masks import Masks, in_order
from bench.stage import Workbench
from bench.structured import Structure
from bench.train import Trainer

SAVE_EVERY_S = 60.0
"""An unfinished training is saved when this time has passed, so that a kill costs about a minute."""


@dataclass
class Lineage:
    """One network's weights and masks now, and what was noted on the way."""

    model: nn.Module
    structure: Structure | None = None
    """What is removed whole from the network, where the granularity says so."""
    masks: Masks = field(default_factory=dict)
    """Empty until the first pruning step."""
    pruned: dict[str, Tensor] = field(default_factory=dict)
    """The weights right after the last pruning step."""
    curves: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    """Columns of the record that are known so far, and `histogram` (bench.measure.histogram) of the last step."""

    def notes(self) -> dict[str, Any]:
        """Return what is no tensor."""
        return {"curves": self.curves, "columns": self.columns}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors under names of their own."""
        groups = {"model": self.model.state_dict(), "masks": self.masks, "pruned": self.pruned}
        return {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}

    def restore(self, notes: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Become what `notes` and `tensors` were taken of."""
        self.curves, self.columns = notes["curves"], notes["columns"]
        self.model.load_state_dict(below("model/", tensors))
        self.masks = in_order(self.model, below("masks/", tensors))
        self.pruned = below("pruned/", tensors)


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


class Progress:
    """Runs a trainer, tells of each epoch, saves now and then, and starts where a killed process was."""

    def __init__(
        self,
        lineage: Lineage,
        trainer: Trainer,
        bench: Workbench,
        folder: str,
        saves: bool = True,
        gathered: dict[str, Any] | None = None,
    ) -> None:
        """Go on from what a killed process saved; `gathered` is what a criterion holds, saved along and filled in."""
        self.lineage = lineage
        self.trainer = trainer
        self.bench = bench
        self.path = bench.root / folder / f"{trainer.stream}.resume"
        self.saves = saves
        self.gathered = {} if gathered is None else gathered
        self.saved_at = time.monotonic()
        state = artefacts.load_state(self.path, bench.device) if self.path.is_file() else None
        if state is not None:
            trainer.resume(state["trainer"])
            lineage.masks, lineage.pruned = state["masks"], state["pruned"]
            lineage.curves, lineage.columns = state["curves"], state["columns"]
            self.gathered.update(state["gathered"])

    def run(self, until: int) -> None:
        """Train up to step `until` with the lineage's masks; nothing is trained where that lies behind."""
        self.bench.tell("stage", {"stage": self.trainer.stream})
        self.trainer.mask(self.lineage.masks)
        smaller = self.lineage.structure if self.lineage.masks and not self.trainer.observe else None
        while self.trainer.step < until:
            if smaller:
                small = smaller.compacted(self.lineage.model, self.lineage.masks)
                self.trainer.run_compacted(small, until, self._after_epoch, SAVE_EVERY_S)
            else:
                self.trainer.run(until, self._after_epoch, SAVE_EVERY_S)
            self._save()
        self.lineage.columns[f"{self.trainer.stream}_s"] = self.trainer.seconds

    def _after_epoch(self, row: dict[str, Any]) -> None:
        self.lineage.curves.append(row)
        self.bench.tell("epoch", row)

    def _save(self) -> None:
        if self.saves and time.monotonic() - self.saved_at > SAVE_EVERY_S:
            lineage = {name: getattr(self.lineage, name) for name in ("masks", "pruned", "curves", "columns")}
            artefacts.save_state(self.path, {"trainer": self.trainer.state(), "gathered": self.gathered} | lineage)
            self.saved_at = time.monotonic()
