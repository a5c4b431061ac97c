"""Data sets that are published as one archive: downloaded once, checked, and unpacked whole or not at all."""

import contextlib
import os
import shutil
import socket
import sys
import tarfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets.utils import calculate_md5, download_url, extract_archive

from bench import catalogue, schema, store
from bench.errors import UserError, one_line

TIMEOUT_S = 30.0
"""A server that sends nothing for so long is given up; without it a machine behind a firewall waits for minutes."""


def fetch(dataset: schema.Dataset) -> None:
    """Download (from `dataset.url` where given) and unpack what is absent; progress on stderr.

    An archive that is there with the published checksum is not downloaded again, a broken one is. A kill at any moment
    leaves nothing that is taken for the dataset. Raises UserError that says which file to put where.
    """
    archive, root = catalogue.ARCHIVES[dataset.reader], catalogue.folder(dataset)
    url = dataset.url or archive.url
    try:
        with store.locked(root, archive.folder), contextlib.redirect_stdout(sys.stderr), timeout():
            if not catalogue.is_present(dataset):
                download_url(url, root, archive.file, archive.md5)
                _unpack(root / archive.file, root / archive.folder)
    except (OSError, RuntimeError, ValueError, HTTPException, EOFError, tarfile.TarError) as error:
        reason = _corruption(root / archive.file, archive.md5) or one_line(error)
        raise UserError(
            f"dataset {dataset.name} cannot be fetched from {url} ({reason}): "
            f"{catalogue.where(dataset)}, or name another address with dataset.url=URL"
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    with scratch_folder(folder) as scratch:
        extract_archive(archive, scratch)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(scratch / folder.name, folder)


@contextlib.contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Give the block the path of a folder beside `folder`, from which it is to rename: `folder` is there whole or not.

    What an earlier kill has left of it is removed before, what the block leaves of it after.
    """
    scratch = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
