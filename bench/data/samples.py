"""What readers return and what the rest of the program sees of the data."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled samples.

    inputs: images uint8 [N, C, H, W], features float32 [N, F], or tokens int64 [N, T] (ids; 0 pads, 1 is an unknown
    word); or images in files, which have a tensor's shape and indexing (bench.data.streaming.ImageFiles). targets:
    classes int64 [N], or the values of a regression float32 [N].
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> "Split":
        """Return the samples at integer positions, or where a bool mask is True."""
        return Split(self.inputs[index], self.targets[index])


@dataclass(frozen=True, eq=False)
class Raw:
    """What a reader returns: the publisher's two splits, on the CPU."""

    train: Split
    test: Split
    num_classes: int | None
    """None in a regression."""


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset on one device, its validation split held out; images lie in memory as channels_last.

    mean, std: of images, per channel, for pixels scaled to [0, 1]. Features and the targets of a regression are
    standardised (see bench.data.fitting).
    """

    train: Split
    validation: Split
    test: Split
    num_classes: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: [C, H, W], [F] or [T]."""
        return tuple(self.train.inputs.shape[1:])

    @property
    def measure(self) -> str:
        """The column that says how good a network is: `top1`, or `r2` in a regression."""
        return "r2" if self.num_classes is None else "top1"

    @property
    def device(self) -> torch.device:
        """Where all splits lie."""
        return self.train.targets.device
