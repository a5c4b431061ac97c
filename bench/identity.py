"""What data and model code a cell reads, as hashes, for the planning process: imports no torch, no scikit-learn."""

import hashlib
import json
import re
from pathlib import Path

from bench import catalogue, folders, store
from bench.errors import UserError
from bench.schema import Dataset, Model
from bench.source import code_hash, own_file

ZOO = ("bench.models.zoo:torchvision_model", "bench.models.zoo:timm_model")
"""Factories that know published weights."""


def content_hash(dataset: Dataset, cache_file: Path | None = None) -> str:
    """Return the published checksum of a known archive, the sha256 of a single file, or a hash of several files'.

    Of a folder of images: a hash of their paths, classes and sizes, without those that are skipped.
    cache_file: JSON that keeps the sha256 of files by path, size and time of change, and which images are unreadable.
    UserError for absent files, and for unreadable images that are not to be skipped.
    """
    if dataset.reader in catalogue.FOLDERS:
        parts = images(dataset, cache_file)
        return store.digest([[part.paths, part.labels, part.sizes] for part in parts])
    if archive := catalogue.ARCHIVES.get(dataset.reader):
        return archive.md5
    catalogue.require(dataset)
    if code := reader_hash(dataset):
        return store.digest([code, _hash_of_files(dataset, cache_file) if dataset.root else ""])
    return _hash_of_files(dataset, cache_file)


def _hash_of_files(dataset: Dataset, cache_file: Path | None) -> str:
    paths = catalogue.files(dataset)
    hashes = _hashes(paths, cache_file)
    if len(paths) == 1:
        return hashes[0]
    root = catalogue.sklearn_folder() if dataset.reader in catalogue.SKLEARN else catalogue.folder(dataset)
    names = [path.relative_to(root).as_posix() for path in paths]
    return store.digest(sorted(zip(names, hashes, strict=True)))


def images(dataset: Dataset, cache_file: Path | None = None) -> tuple[folders.Part, folders.Part]:
    """Return the readable images (train, val) of a dataset of image files.

    Each is decoded once to see whether it can be, unless `cache_file` knows; 1.3 million take minutes. Raises UserError
    where the folders are absent, or where images are unreadable and `dataset.skip_unreadable` is false.
    """
    root = catalogue.image_folder(dataset)
    if not folders.is_present(root):
        raise catalogue.absent(dataset)
    train, val = folders.parts(root)
    bad = _unreadable(root, (train, val), cache_file)
    if bad and not dataset.skip_unreadable:
        named = ", ".join(str(root / path) for path in bad[:3]) + (", ..." if len(bad) > 3 else "")
        total = len(train.paths) + len(val.paths)
        raise UserError(
            f"dataset {dataset.name}: {len(bad)} of {total} images are unreadable: {named}; "
            "replace or remove them, or leave them out with dataset.skip_unreadable=true"
        )
    return (train.without({*bad}), val.without({*bad})) if bad else (train, val)


def _unreadable(root: Path, parts: tuple[folders.Part, ...], cache_file: Path | None) -> list[str]:
    key = f"unreadable {root.resolve()} {store.digest([[part.paths, part.sizes, part.times] for part in parts])}"
    known = _read_cache(cache_file)
    if key not in known:
        known[key] = json.dumps(folders.unreadable(root, [path for part in parts for path in part.paths]))
        if cache_file:
            store.write(cache_file, json.dumps(known, indent=1).encode())
    bad: list[str] = json.loads(known[key])
    return bad


def _hashes(paths: list[Path], cache_file: Path | None) -> list[str]:
    """Return the sha256 of each file; only files that changed since the cache was written are read."""
    known = _read_cache(cache_file)
    keys = [_state(path) for path in paths]
    new = {key: sha256(path) for key, path in zip(keys, paths, strict=True) if key not in known}
    if new and cache_file:
        store.write(cache_file, json.dumps(known | new, indent=1).encode())
    return [(known | new)[key] for key in keys]


def _read_cache(path: Path | None) -> dict[str, str]:
    try:
        known = json.loads(path.read_bytes()) if path else {}
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_file(model: Model) -> Path | None:
    """Return the file of a factory given as `path/to/net.py:factory`, None for `module:factory`.

    Raises UserError where the file does not exist or no factory is named.
    """
    return own_file(model.factory, "model")


def reader_hash(dataset: Dataset) -> str:
    """Return a hash of a reader's file and the modules it imports from its own folder; "" for a `module:reader`."""
    return code_hash(catalogue.reader_file(dataset), "dataset")


def published_weights(model: Model) -> str | None:
    """Return the name of published weights (of torchvision and timm), None where the model begins with a file's."""
    named = model.factory in ZOO and model.weights is not None and re.fullmatch(r"\w+", model.weights)
    return model.weights if named else None


def weights_hash(model: Model) -> str:
    """Return the sha256 of the model's weights file, the name of published ones (which are pinned), "" without any.

    UserError where the file is not there.
    """
    if not model.weights:
        return ""
    if name := published_weights(model):
        return name
    path = Path(model.weights).expanduser()
    if not path.is_file():
        raise UserError(f"model.weights={model.weights} not found: give a file of a state dict (.safetensors or .pt)")
    return sha256(path)


def model_hash(model: Model) -> str:
    """Return a hash of a model file and the modules it imports from its own folder; "" for a `module:factory`."""
    return code_hash(model_file(model), "model")
