"""What readers return and what the rest of the program sees of the data."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images: inputs uint8 [N, C, H, W], targets int64 [N]."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> "Split":
        """Return the images at integer positions, or where a bool mask is True."""
        return Split(self.inputs[index], self.targets[index])


@dataclass(frozen=True, eq=False)
class Raw:
    """What a reader returns: the publisher's two splits, on the CPU."""

    train: Split
    test: Split
    num_classes: int


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset on one device, its validation split held out; images lie in memory as channels_last.

    mean, std: per channel, for pixels scaled to [0, 1].
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image, [C, H, W]."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def device(self) -> torch.device:
        """Where all splits lie."""
        return self.train.targets.device
