"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 60,000 colour images of 32x32, through torchvision and its checksums."""

import contextlib
import os
import pickle
import shutil
import socket
import sys
import tarfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import calculate_md5, check_integrity, download_url, extract_archive

from bench import identity, schema, store
from bench.data.samples import Raw, Split
from bench.errors import UserError

TIMEOUT_S = 30.0
"""A server that sends nothing for so long is given up; without it a machine behind a firewall waits for minutes."""


def cifar10(dataset: schema.Dataset) -> Raw:
    """Return the images of ten classes; UserError for files that are absent or do not have their checksum."""
    return _read(CIFAR10, dataset)


def cifar100(dataset: schema.Dataset) -> Raw:
    """Return the images of a hundred classes; UserError for files that are absent or do not have their checksum."""
    return _read(CIFAR100, dataset)


def _read(kind: type[CIFAR10], dataset: schema.Dataset) -> Raw:
    if not identity.is_present(dataset):
        raise UserError(f"dataset {dataset.name} is not there: {identity.where(dataset)}")
    root = identity.folder(dataset)
    try:
        published = [kind(root, train=train) for train in (True, False)]
    except (RuntimeError, OSError, pickle.UnpicklingError) as error:
        path = _first_corrupt(kind, root) or root
        raise UserError(f"{path} is corrupt: remove the folder {path.parent} and run again") from error
    train, test = (
        Split(torch.from_numpy(part.data).permute(0, 3, 1, 2), torch.tensor(part.targets)) for part in published
    )
    return Raw(train, test, num_classes=len(published[0].classes))


def _first_corrupt(kind: type[CIFAR10], root: Path) -> Path | None:
    checksums = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]
    paths = ((root / kind.base_folder / name, md5) for name, md5 in checksums)
    return next((path for path, md5 in paths if not check_integrity(path, md5)), None)


def fetch(dataset: schema.Dataset) -> None:
    """Download (from `dataset.url` where given) and unpack what is absent; progress on stderr.

    An archive that is there with the published checksum is not downloaded again, a broken one is. A kill at any moment
    leaves nothing that is taken for the dataset. Raises UserError that says which file to put where.
    """
    archive, root = identity.ARCHIVES[dataset.reader], identity.folder(dataset)
    url = dataset.url or archive.url
    try:
        with store.locked(root, archive.folder), contextlib.redirect_stdout(sys.stderr), timeout():
            if not identity.is_present(dataset):
                download_url(url, root, archive.file, archive.md5)
                _unpack(root / archive.file, root / archive.folder)
    except (OSError, RuntimeError, ValueError, HTTPException, EOFError, tarfile.TarError) as error:
        reason = _corruption(root / archive.file, archive.md5) or f"{type(error).__name__}: {error}"
        raise UserError(
            f"dataset {dataset.name} cannot be fetched from {url} ({' '.join(reason.split())}): "
            f"{identity.where(dataset)}, or name another address with dataset.url=URL"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack beside the folder and rename: the folder is there whole or not at all."""
    scratch = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    extract_archive(archive, scratch)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch / folder.name, folder)
    scratch.rmdir()


def _corruption(archive: Path, md5: str) -> str | None:
    """Return what is wrong with an archive that is there, None where nothing is or there is none."""
    actual = calculate_md5(archive) if archive.is_file() else md5
    return None if actual == md5 else f"{archive.name} is incomplete or corrupt, its md5 is {actual}"


@contextlib.contextmanager
def timeout() -> Iterator[None]:
    """Give up a server that is silent for TIMEOUT_S, inside the block."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
