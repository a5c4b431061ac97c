"""Published weights: downloaded once into torch hub's cache, and taken only with the sha256 that they are pinned to."""

import re
from functools import lru_cache
from pathlib import Path

import torch

from bench import identity
from bench.data.download import timeout
from bench.errors import UserError, one_line


def published_file(url: str, sha256: str | None = None) -> Path:
    """Return the file of an address, from the cache of torch hub or downloaded into it; progress on stderr.

    sha256: hexadecimal digits that the file's sha256 begins with; None = those in the file's name, as in
    resnet50-0676ba61.pth: eight, the only ones that torchvision and timm publish. Give all 64 to pin it for good.
    Raises UserError where the download fails (with the file to put into which folder), where no digits are known, and
    where the file's sha256 does not begin with them.
    """
    name = url.rpartition("/")[2]
    in_name = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    digits = sha256 or (in_name[1] if in_name else "")
    if not re.fullmatch("[0-9a-f]{8,64}", digits):
        raise UserError(f"{url} has no sha256 in its name: pin the file yourself with +model.options.sha256=HEX")
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        _download(url, path, digits)
    stat = path.stat()
    found = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if not found.startswith(digits):
        raise UserError(f"{path} is damaged or another file: its sha256 is {found}, not {digits}...; remove it")
    return path


def _download(url: str, path: Path, digits: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with timeout():
            torch.hub.download_url_to_file(url, str(path), digits)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"weights cannot be fetched from {url} ({one_line(error)}): put {path.name} (sha256 {digits}...) "
            f"into {path.parent}, or name a file of yours with model.weights=FILE"
        ) from error


@lru_cache
def _sha256(path: Path, size: int, time: int) -> str:
    """Return the sha256 of a file; read again when its size or time changes."""
    return identity.sha256(path)
