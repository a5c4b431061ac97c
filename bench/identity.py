"""What data and model code a cell reads, as hashes, for the planning process: imports no torch, no scikit-learn."""

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path

from bench import folders, store
from bench.errors import UserError
from bench.schema import Dataset, Model
from bench.source import code_hash, own_file


@dataclass(frozen=True)
class Archive:
    """A published archive: its checksum identifies the data, whether it has been downloaded or not."""

    url: str
    md5: str
    folder: str
    """The folder that it unpacks to, below the dataset's root."""
    members: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the archive's file."""
        return self.url.rpartition("/")[2]


SKLEARN = {
    "bench.data.digits:read": ("digits.csv.gz",),
    "bench.data.tabular:breast_cancer": ("breast_cancer.csv",),
    "bench.data.tabular:diabetes": ("diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"),
}
"""Reader -> the files it reads among those that scikit-learn brings along."""
TEXT = "bench.data.text:read"
FILES = {"bench.data.parquet:read": ("train.parquet", "test.parquet")}
"""Reader -> the files it reads below the dataset's root."""
IMAGENET, IMAGENETTE = "bench.data.folder:imagenet", "bench.data.folder:imagenette"
TINY_IMAGENET, IMAGES = "bench.data.folder:tiny_imagenet", "bench.data.folder:read"
FOLDERS = (IMAGENET, IMAGENETTE, TINY_IMAGENET, IMAGES)
"""Readers of image files in class folders (bench.folders)."""
IMAGENET_ARCHIVES = {
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}
"""File -> md5; what ImageNet's class folders can be made from (bench.data.imagenet_archives)."""
ARCHIVES = {
    "bench.data.cifar:cifar10": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    ),
    "bench.data.cifar:cifar100": Archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
        ("train", "test", "meta"),
    ),
    TINY_IMAGENET: Archive(
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        "90528d7ca1a48142e341f4ef8d21d0de",
        "tiny-imagenet-200",
        folders.PARTS,
    ),
    IMAGENETTE: Archive(
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
        "e793b78cc4c9e9a4ccc0c1155377a412",
        "imagenette2-160",
        folders.PARTS,
    ),
}


ZOO = ("bench.models.zoo:torchvision_model", "bench.models.zoo:timm_model")
"""Factories that know published weights."""


def folder(dataset: Dataset) -> Path:
    """Return the dataset's root; UserError where none is given."""
    if not dataset.root:
        raise UserError(f"dataset {dataset.name} needs a folder: give dataset.root=DIR")
    return Path(dataset.root).expanduser()


def image_folder(dataset: Dataset) -> Path:
    """Return the folder that holds train/ and val/: the root, or what an archive unpacks to below it."""
    root = folder(dataset)
    archive = ARCHIVES.get(dataset.reader)
    return root / archive.folder if archive and not folders.is_present(root) else root


def files(dataset: Dataset) -> list[Path]:
    """Return the files that a dataset is read from, there or not; for a reader of a user's own, all below the root."""
    if names := SKLEARN.get(dataset.reader):
        return [_sklearn_folder() / name for name in names]
    root = folder(dataset)
    if dataset.reader == TEXT:
        return _text_files(root)
    if archive := ARCHIVES.get(dataset.reader):
        return [root / archive.folder / member for member in archive.members]
    if names := FILES.get(dataset.reader):
        return [root / name for name in names]
    return sorted(path for path in root.rglob("*") if path.is_file()) if root.is_dir() else [root]


def _sklearn_folder() -> Path:
    """Return where scikit-learn keeps its data, without the second that importing scikit-learn takes."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError("the dataset is part of scikit-learn, which is not installed: pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data"


def _text_files(root: Path) -> list[Path]:
    """Return the root where it is a file, else train.* and, if there is one, test.* in it."""
    if root.is_file():
        return [root]
    found = []
    for part in ("train", "test"):
        paths = [path for suffix in ("csv", "parquet") if (path := root / f"{part}.{suffix}").is_file()]
        if len(paths) > 1:
            raise UserError(f"{root} holds {paths[0].name} and {paths[1].name}: remove one of them")
        found += paths or ([root / "train.csv"] if part == "train" else [])
    return found


def is_present(dataset: Dataset) -> bool:
    """Whether the dataset's files are there; whether they are whole is checked where they are read."""
    if dataset.reader in FOLDERS:
        return folders.is_present(image_folder(dataset))
    if reader_file(dataset) and not dataset.root:  # it makes its data, or knows where they are
        return True
    paths = files(dataset)
    return bool(paths) and all(path.is_file() for path in paths)


def where(dataset: Dataset) -> str:
    """Return one line: which file to put where."""
    if embedded := SKLEARN.get(dataset.reader):
        return f"{_sklearn_folder() / embedded[0]} is missing: install scikit-learn again"
    put, root = f"put {held(dataset)} into", folder(dataset)
    if dataset.reader == TEXT:
        return f"{put} {root}, or name a folder or file: dataset.root=PATH"
    if dataset.reader in ARCHIVES:
        return f"{put} the folder {root}"
    if dataset.reader in FOLDERS:
        return f"{put} {root}, or name another: dataset.root=DIR"
    return f"{put} the folder {root}, or name another with dataset.root=DIR"


def held(dataset: Dataset) -> str:
    """Return what the folder of a dataset is to hold."""
    if dataset.reader == TEXT:
        return "train.csv or train.parquet (and test.*)"
    if archive := ARCHIVES.get(dataset.reader):
        return f"{archive.file} (md5 {archive.md5})"
    if dataset.reader in FOLDERS:
        archives = f", or {', '.join(IMAGENET_ARCHIVES)}," if dataset.reader == IMAGENET else ""
        return f"train/CLASS/IMAGE and val/CLASS/IMAGE{archives}"
    return " and ".join(FILES.get(dataset.reader, ("its files",)))


def content_hash(dataset: Dataset, cache_file: Path | None = None) -> str:
    """Return the published checksum of a known archive, the sha256 of a single file, or a hash of several files'.

    Of a folder of images: a hash of their paths, classes and sizes, without those that are skipped.
    cache_file: JSON that keeps the sha256 of files by path, size and time of change, and which images are unreadable.
    UserError for absent files, and for unreadable images that are not to be skipped.
    """
    if dataset.reader in FOLDERS:
        parts = images(dataset, cache_file)
        return store.digest([[part.paths, part.labels, part.sizes] for part in parts])
    if archive := ARCHIVES.get(dataset.reader):
        return archive.md5
    if not is_present(dataset):
        raise UserError(f"dataset {dataset.name} is not there: {where(dataset)}")
    if code := reader_hash(dataset):
        return store.digest([code, _hash_of_files(dataset, cache_file) if dataset.root else ""])
    return _hash_of_files(dataset, cache_file)


def _hash_of_files(dataset: Dataset, cache_file: Path | None) -> str:
    paths = files(dataset)
    hashes = _hashes(paths, cache_file)
    if len(paths) == 1:
        return hashes[0]
    root = _sklearn_folder() if dataset.reader in SKLEARN else folder(dataset)
    names = [path.relative_to(root).as_posix() for path in paths]
    return store.digest(sorted(zip(names, hashes, strict=True)))


def images(dataset: Dataset, cache_file: Path | None = None) -> tuple[folders.Part, folders.Part]:
    """Return the readable images (train, val) of a dataset of image files.

    Each is decoded once to see whether it can be, unless `cache_file` knows; 1.3 million take minutes. Raises UserError
    where the folders are absent, or where images are unreadable and `dataset.skip_unreadable` is false.
    """
    root = image_folder(dataset)
    if not folders.is_present(root):
        raise UserError(f"dataset {dataset.name} is not there: {where(dataset)}")
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
    return own_file(model.factory, "model", "factory")


def reader_file(dataset: Dataset) -> Path | None:
    """Return the file of a reader given as `path/to/data.py:reader`, None for `module:reader`; errors as above."""
    return own_file(dataset.reader, "dataset", "reader")


def reader_hash(dataset: Dataset) -> str:
    """Return a hash of a reader's file and the modules it imports from its own folder; "" for a `module:reader`."""
    return code_hash(reader_file(dataset), "dataset")


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


def fingerprint(model: Model) -> str:
    """Return a hash of a model file and the modules it imports from its own folder; "" for a `module:factory`."""
    return code_hash(model_file(model), "model")
