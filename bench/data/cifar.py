"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 colour images of 32x32, through torchvision and its checksums."""

import pickle
from pathlib import Path

import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from bench import catalogue, schema
from bench.data.download import fetch as fetch  # bench.data asks a reader's module for it
from bench.data.samples import Raw, Split
from bench.errors import UserError


def cifar10(dataset: schema.Dataset) -> Raw:
    """Return the images of ten classes; UserError for files that are absent or do not have their checksum."""
    return _read(CIFAR10, dataset)


def cifar100(dataset: schema.Dataset) -> Raw:
    """Return the images of a hundred classes; UserError for files that are absent or do not have their checksum."""
    return _read(CIFAR100, dataset)


def _read(kind: type[CIFAR10], dataset: schema.Dataset) -> Raw:
    catalogue.require(dataset)
    root = catalogue.folder(dataset)
    try:
        published = [kind(root, train=train) for train in (True, False)]
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        folder = root / kind.base_folder
        path = _first_corrupt(kind, root) or folder
        raise UserError(f"{path} is corrupt: remove the folder {folder} and run again") from error
    train, test = (
        Split(torch.from_numpy(part.data).permute(0, 3, 1, 2), torch.tensor(part.targets)) for part in published
    )
    return Raw(train, test, num_classes=len(published[0].classes))


def _first_corrupt(kind: type[CIFAR10], root: Path) -> Path | None:
    checksums = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    paths = ((root / kind.base_folder / name, md5) for name, md5 in checksums)
    return next((path for path, md5 in paths if not check_integrity(path, md5)), None)
