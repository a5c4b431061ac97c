"""Work that several cells share, made once and kept under a hash of what it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import artefacts, store
from bench.store import TENSORS

Made = tuple[dict[str, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Workbench:
    """What the cells of one worker share: where results go, the device, and whom to tell about progress."""

    root: Path
    device: torch.device
    tell: Callable[[str, dict[str, Any]], None]
    """tell(kind, facts): kind is "start", "stage", "epoch" or "note"."""

    def stored(self, key: str) -> Made | None:
        """Return (facts, tensors) of a stage, None where it was not made; CorruptError where it does not hold."""
        folder = self.root / "stages" / key
        facts = store.read_record(folder)
        return None if facts is None else (facts, artefacts.read(folder, TENSORS, self.device))

    def stage(self, key: str, make: Callable[[], Made]) -> Made:
        """Return (facts, tensors) of a stage; made by one process while others wait, and again where it is corrupt."""
        folder = self.root / "stages" / key
        with store.locked(self.root, key):
            try:
                if known := self.stored(key):
                    return known
            except store.CorruptError as error:
                self.tell("note", {"text": f"{error}; it is made again"})
            facts, tensors = make()
            packed = artefacts.pack(tensors)
            store.commit(folder, facts, {TENSORS: packed})
            store.forget_unfinished(folder)
            # As the next cell will read them: sums over tensors of another memory format differ in the last bits.
            return facts, artefacts.unpack(packed, self.device)
