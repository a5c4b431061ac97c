"""Batches of samples; images normalised and augmented on the device, without work in Python for single ones.

An epoch of CIFAR-10 (50,000 images, batches of 128) takes 0.1 s on one CPU core, 0.25 s with crops and flips.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.data.samples import Data, Split
from bench.data.streaming import ImageFiles, stream


def batches(
    data: Data,
    split: Split,
    size: int | None,
    order: torch.Generator | None = None,
    augmentation: torch.Generator | None = None,
    crop_padding: int = 0,
    flip: bool = False,
    crop_area: float | None = None,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (inputs [B, ...], targets [B]) of a split of `data`, once over.

    Images come as float32 [B, C, H, W] in channels_last, normalised; features and tokens as they are.
    size: samples a batch; None = all in one. order: shuffles with this CPU generator; None keeps the split's order, as
    evaluation does. augmentation: moves each image by up to `crop_padding` pixels, black ones coming in from outside,
    and mirrors it with probability 1/2 (`flip`); None augments nothing. Of images in files it takes random resized
    crops of at least `crop_area` of the image in place of the padded ones. first: number of the first batch that is
    made; those before it cost no decoding. The last batch may be smaller, but a shuffled remainder of one sample is
    left out: batch norm cannot train on it.
    """
    count = len(split)
    size = size or max(count, 1)
    positions = (torch.arange(count) if order is None else torch.randperm(count, generator=order)).to(data.device)
    if order is not None:
        positions = positions[: size * batch_count(count, size)]
    if isinstance(split.inputs, ImageFiles):
        normalise = _normaliser(data, split.inputs.shape)
        chance = augmentation if flip or crop_area else None
        decoded = stream(split.inputs, positions, size, data.device, chance, crop_area, flip, first)
        for chosen, images in zip(positions.split(size)[first:], decoded, strict=True):
            yield normalise(images), split.targets[chosen]
        return
    if split.inputs.dtype == torch.uint8:
        yield from _images(data, split, size, positions, augmentation, crop_padding, flip, first)
        return
    for start in range(first * size, len(positions), size):
        chosen = positions[start : start + size]
        yield split.inputs[chosen], split.targets[chosen]


def batch_count(samples: int, size: int) -> int:
    """Return the number of shuffled batches that so many samples make."""
    if samples <= size:
        return 1
    return -(-samples // size) - (samples % size == 1)


def _images(
    data: Data,
    split: Split,
    size: int,
    positions: Tensor,
    augmentation: torch.Generator | None,
    crop_padding: int,
    flip: bool,
    first: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images at these positions, normalised and augmented."""
    images = split.inputs.permute(0, 2, 3, 1)
    pixels = None
    if augmentation is not None and (crop_padding or flip):
        pixels = _rows_and_columns(images.shape, crop_padding, flip, augmentation, data.device)
    normalise = _normaliser(data, split.inputs.shape)
    for start in range(first * size, len(positions), size):
        chosen = positions[start : start + size]
        batch = images.index_select(0, chosen)
        if pixels:
            rows, columns = (index[start : start + size] for index in pixels)
            batch = _moved(batch, rows, columns, crop_padding)
        yield normalise(batch), split.targets[chosen]


def _normaliser(data: Data, shape: torch.Size) -> Callable[[Tensor], Tensor]:
    """Return what makes uint8 images [B, H, W, C] the inputs of a network, float32 [B, C, H, W]; shape: of a split."""
    _, channels, height, width = shape
    # As large as an image: spread over the pixels beforehand, the inner loop of the arithmetic is long.
    values = (torch.tensor(of, device=data.device).mul(255) for of in (data.mean, data.std))
    mean, std = (value.expand(height, width, channels).contiguous() for value in values)
    return lambda images: images.float().sub_(mean).div_(std).permute(0, 3, 1, 2)


def _rows_and_columns(
    shape: torch.Size, padding: int, flip: bool, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw for a whole epoch which rows [N, H] and columns [N, W] of its padded image each image is made of."""
    count, height, width, _ = shape
    down, right = torch.randint(2 * padding + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < (0.5 if flip else 0)
    across = torch.where(mirrored, torch.arange(width).flip(0), torch.arange(width))
    return (down + torch.arange(height)).to(device), (right + across).to(device)


def _moved(batch: Tensor, rows: Tensor, columns: Tensor, padding: int) -> Tensor:
    """Return images [B, H, W, C] cut out of their padded selves: crop and flip in one gather of pixels."""
    padded = F.pad(batch, (0, 0, *(4 * [padding])))
    count, height, width, channels = padded.shape
    first = torch.arange(count, device=batch.device)[:, None, None] * (height * width)
    pixels = first + rows[:, :, None] * width + columns[:, None, :]
    return padded.reshape(-1, channels).index_select(0, pixels.flatten()).view(batch.shape)
