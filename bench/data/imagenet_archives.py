"""The archives of ImageNet (ILSVRC 2012) become class folders, by torchvision and its checksums."""

import os
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets import imagenet

from bench import catalogue, schema, store
from bench.data.download import scratch_folder
from bench.errors import UserError


def unpack(dataset: schema.Dataset) -> None:
    """Make train/ and val/ from the archives in the dataset's root, which stay; 150 GB more are needed.

    Each folder is there whole or not at all, whenever it is killed. Raises UserError that names absent or damaged
    archives (md5).
    """
    root = catalogue.folder(dataset)
    there = [part for part in ("train", "val") if (root / part).is_dir()]
    needed = [name for name in catalogue.IMAGENET_ARCHIVES if not any(part in name for part in there)]
    if missing := [name for name in needed if not (root / name).is_file()]:
        raise UserError(f"{catalogue.absent(dataset)} ({missing[0]} is missing)")
    try:
        with store.locked(root, "unpacking"):
            imagenet.parse_devkit_archive(root)  # leaves meta.bin, which names the class of each image of val/
            _unpacked(root, "train", imagenet.parse_train_archive)
            _unpacked(root, "val", imagenet.parse_val_archive)
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"dataset {dataset.name}: the archives in {root} cannot be unpacked ({reason})") from error


def _unpacked(root: Path, part: str, parse: Callable[..., None]) -> None:
    if not (root / part).is_dir():
        with scratch_folder(root / part) as scratch:
            parse(root, folder=scratch.name)
            os.replace(scratch, root / part)
