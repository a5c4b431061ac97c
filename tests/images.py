"""Makers of small folders of images."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03", "n04")


def jpeg(path: Path, seed: int, size: tuple[int, int] = (56, 40), quality: int = 90) -> Path:
    """Write smooth colours with noise, `size` wide and high, in the format of the suffix (.JPEG)."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noisy = np.asarray(coarse).astype(int) + rng.integers(-12, 13, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=quality)
    return path


def image_folder(root: Path, train: int = 10, val: int = 3, size: tuple[int, int] = (56, 40)) -> Path:
    """Write train/CLASS/I.JPEG and val/CLASS/I.JPEG for four classes, so many images a class; the widths differ."""
    for part, count in (("train", train), ("val", val)):
        for number, name in enumerate(CLASSES):
            for i in range(count):
                jpeg(
                    root / part / name / f"{i}.JPEG", 1000 * number + i + 500 * (part == "val"), (size[0] + i, size[1])
                )
    return root


def spoil(path: Path) -> Path:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:700])
    return path
