"""Folders of image files: which images they hold, of which class, and which cannot be read. Imports no torch.

`train/CLASS/...` and `val/CLASS/...` (ImageNet, Imagenette, a user's own), at any depth below CLASS; TinyImageNet's
val names its classes in val_annotations.txt. Classes are numbered in the order of their folders' names, as torchvision
does.
"""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from bench.cores import cores
from bench.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
PARTS = ("train", "val")
ANNOTATIONS = "val_annotations.txt"
CHUNK = 10_000
"""Images that are queued at a time for a look: a million would take gigabytes."""


@dataclass(frozen=True)
class Part:
    """The images of one part, sorted by path."""

    paths: list[str]
    """Relative to the root, with `/`."""
    labels: list[int]
    sizes: list[int]
    """In bytes."""
    times: list[int]
    """Of the last change, in nanoseconds."""

    def without(self, paths: set[str]) -> "Part":
        """Return the part less some of its images."""
        kept = [i for i, path in enumerate(self.paths) if path not in paths]
        return Part(*([column[i] for i in kept] for column in vars(self).values()))


def is_present(root: Path) -> bool:
    """Whether both parts are there."""
    return all((root / part).is_dir() for part in PARTS)


def classes(root: Path) -> list[str]:
    """Return the sorted names of the class folders of train/; UserError where they are fewer than two."""
    names = sorted(entry.name for entry in os.scandir(root / "train") if entry.is_dir() and entry.name[0] != ".")
    if len(names) < 2:
        raise UserError(f"{root / 'train'} holds {len(names)} class folders, at least 2 are needed: train/CLASS/IMAGE")
    return names


def parts(root: Path) -> tuple[Part, Part]:
    """Return (train, val). Raises UserError for a class without training images, or one that val alone has.

    1.3 million files take some seconds, since the size of each is read.
    """
    numbers = {name: number for number, name in enumerate(classes(root))}
    train = _by_folder(root, "train", numbers)
    labels = {*train.labels}
    if empty := [name for name, number in numbers.items() if number not in labels]:
        raise UserError(f"{root / 'train' / empty[0]} holds no images (by their suffix: {' '.join(SUFFIXES)})")
    val = (_annotated if (root / "val" / ANNOTATIONS).is_file() else _by_folder)(root, "val", numbers)
    if not val.paths:
        raise UserError(f"{root / 'val'} holds no images: it must be laid out as val/CLASS/IMAGE")
    return train, val


def _by_folder(root: Path, part: str, numbers: dict[str, int]) -> Part:
    paths, sizes, times = _images(root / part, part)
    names = [path.split("/")[1] for path in paths]
    if unknown := sorted({*names} - numbers.keys()):
        raise UserError(f"{root / part / unknown[0]} is no class folder of {root / 'train'}: images lie in PART/CLASS/")
    return Part(paths, [numbers[name] for name in names], sizes, times)


def _annotated(root: Path, part: str, numbers: dict[str, int]) -> Part:
    """Return a part whose classes a table names: lines of file name, class, and more, between tabs."""
    table = root / part / ANNOTATIONS
    try:
        rows = [line.split("\t") for line in table.read_text("utf-8").splitlines() if line]
        label = {row[0]: numbers[row[1]] for row in rows}
        paths, sizes, times = _images(root / part, part)
        labels = [label[path.rpartition("/")[2]] for path in paths]
    except (IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{table} cannot be read: lines of FILE<tab>CLASS are needed") from error
    except KeyError as error:
        raise UserError(f"{table}: {error.args[0]!r} is no class of train/, or an image without a line") from error
    return Part(paths, labels, sizes, times)


def _images(folder: Path, prefix: str) -> tuple[list[str], list[int], list[int]]:
    """Return paths, sizes and times of all images below a folder."""
    found = sorted(_walk(folder, prefix))
    return [path for path, _ in found], [stat[0] for _, stat in found], [stat[1] for _, stat in found]


def _walk(folder: str | Path, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            if entry.name.startswith("."):  # what systems leave behind
                continue
            if entry.is_dir():
                yield from _walk(entry.path, path)
            elif entry.name.lower().endswith(SUFFIXES):
                stat = entry.stat()
                yield path, (stat.st_size, stat.st_mtime_ns)


def unreadable(root: Path, paths: list[str]) -> list[str]:
    """Return those images that cannot be decoded, in their order; each is decoded at an eighth of its size."""
    bad: list[str] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # about metadata, which nothing here reads
        chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
        for some in tqdm(chunks, "looking whether images can be read", unit="0,000", disable=len(chunks) < 2):
            good = pool.map(_readable, (root / path for path in some))
            bad += [path for path, readable in zip(some, good, strict=True) if not readable]
    return bad


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except Exception:  # whatever the decoder of its format raises
        return False
    return True
