"""Images that stay in their files: decoded when they are asked for, by threads that work ahead.

Most of the work runs outside Python's lock. One core decodes, crops and resizes to 224x224 about 700 JPEGs of 500x375
(66 kB) a second, 1.3 times as many as torchvision's ImageFolder and transforms (tests/perf/test_images.py). What comes
out depends on the generator alone, not on the number of threads.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.cores import cores
from bench.errors import UserError

AHEAD = 2
"""Batches that are decoded while one is used."""
TRIES, ASPECT = 10, (3 / 4, 4 / 3)
"""Of random resized crops: how often a box is drawn until it fits, and the range of its width / height."""
DRAWS = 2 * TRIES + 3
"""Uniform numbers an image: areas, aspects, top, left, mirror; as many for each image, whatever its size."""

Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Colour images in files; to the splits it is a uint8 tensor [N, 3, size, size]."""

    root: Path
    paths: list[str]
    """Relative to the root."""
    size: int
    """Side of the squares that come out, in pixels."""
    resize: int
    """Shorter side before the centre crop, at least `size`."""
    positions: Tensor
    """int64 [N]: which of the paths."""

    dtype = torch.uint8

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor that it stands for."""
        return torch.Size((len(self.positions), 3, self.size, self.size))

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Tensor) -> "ImageFiles":
        return replace(self, positions=self.positions[index.cpu()])

    def is_floating_point(self) -> bool:
        """Return False."""
        return False

    def image(self, position: int, chance: list[float] | None, crop_area: float | None, flip: bool) -> Tensor:
        """Return one image, uint8 [3, size, size]; chance: DRAWS numbers in [0, 1), None augments nothing."""
        image = _decoded(self.root / self.paths[int(self.positions[position])])
        if chance is None or crop_area is None:
            square = self._centre(image)
        else:
            top, left, height, width = random_box(image.height, image.width, chance, crop_area)
            square = _resized(image.crop((left, top, left + width, top + height)), self.size, self.size)
        return square.flip(2) if chance is not None and flip and chance[-1] < 0.5 else square

    def _centre(self, image: Image.Image) -> Tensor:
        """Return the centre of an image whose shorter side becomes `resize`, as torchvision's Resize and CenterCrop."""
        short = min(image.size)
        pixels = _resized(image, self.resize * image.height // short, self.resize * image.width // short)
        top, left = (round((side - self.size) / 2) for side in pixels.shape[1:])
        return pixels[:, top : top + self.size, left : left + self.size]


def random_box(height: int, width: int, chance: list[float], crop_area: float) -> Box:
    """Return where to crop (Szegedy et al. 2015, arXiv:1409.4842, section 6): a random area and aspect, at random.

    The first of ten boxes that fits is taken; where none does, the largest centred one of an aspect in the range.
    """
    low, high = (math.log(aspect) for aspect in ASPECT)
    for try_ in range(TRIES):
        area = height * width * (crop_area + (1 - crop_area) * chance[try_])
        aspect = math.exp(low + (high - low) * chance[TRIES + try_])
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return int(chance[-3] * (height - tall + 1)), int(chance[-2] * (width - wide + 1)), tall, wide
    aspect = min(max(width / height, ASPECT[0]), ASPECT[1])
    wide, tall = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def stream(
    files: ImageFiles,
    positions: Tensor,
    size: int,
    device: torch.device,
    augmentation: torch.Generator | None = None,
    crop_area: float | None = None,
    flip: bool = False,
    first: int = 0,
    threads: int | None = None,
) -> Iterator[Tensor]:
    """Yield the images at these positions in batches of `size`, uint8 [B, H, W, 3] on the device, decoded ahead.

    augmentation: draws what `crop_area` and `flip` need; None augments nothing. threads: None = all cores where a GPU
    is to be fed, else those of a worker. first: number of the first batch that is yielded. Raises UserError for an
    unreadable file.
    """
    pool = ThreadPoolExecutor(threads or (torch.get_num_threads() if device.type == "cpu" else cores()))
    pending: deque[tuple[Tensor, list[Future[None]]]] = deque()
    positions = positions.cpu()  # once: reading some at each step would make it wait for a GPU
    try:
        for start in range(0, len(positions), size):
            chosen = positions[start : start + size].tolist()
            chances = torch.rand(len(chosen), DRAWS, generator=augmentation).tolist() if augmentation else [None] * size
            if start < first * size:
                continue
            shape = (len(chosen), files.size, files.size, 3)
            batch = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")

            def decode(row: int, position: int, chance: list[float] | None, batch: Tensor = batch) -> None:
                batch[row] = files.image(position, chance, crop_area, flip).permute(1, 2, 0)

            jobs = [pool.submit(decode, row, *job) for row, job in enumerate(zip(chosen, chances, strict=False))]
            pending.append((batch, jobs))
            if len(pending) > AHEAD:
                yield _finished(*pending.popleft(), device)
        while pending:
            yield _finished(*pending.popleft(), device)
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(batch: Tensor, jobs: list[Future[None]], device: torch.device) -> Tensor:
    for job in jobs:
        job.result()
    return batch.to(device, non_blocking=True)


def _decoded(path: Path) -> Image.Image:
    """Return an image in RGB."""
    try:
        with Image.open(path) as image:
            image.load()
            return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # whatever the decoder of its format raises
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} cannot be read as an image ({reason}): replace it, or dataset.skip_unreadable=true"
        ) from error


def _resized(image: Image.Image, height: int, width: int) -> Tensor:
    """Return an image in another size, uint8 [3, height, width], smoothed where it shrinks."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if pixels.shape[1:] == (height, width):
        return pixels
    # torch does it in a third of Pillow's time.
    return F.interpolate(pixels[None], (height, width), mode="bilinear", antialias=True)[0]
