"""Where the files of each dataset are, and what a user is told when they are not: imports no torch, no scikit-learn."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from bench import folders
from bench.errors import UserError
from bench.schema import Dataset
from bench.source import own_file


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
        return [sklearn_folder() / name for name in names]
    root = folder(dataset)
    if dataset.reader == TEXT:
        return _text_files(root)
    if archive := ARCHIVES.get(dataset.reader):
        return [root / archive.folder / member for member in archive.members]
    if names := FILES.get(dataset.reader):
        return [root / name for name in names]
    if not root.is_dir():
        return [root]
    # Importing a reader that lies there makes a __pycache__.
    return sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def sklearn_folder() -> Path:
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
        return f"{sklearn_folder() / embedded[0]} is missing: install scikit-learn again"
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


def require(dataset: Dataset) -> None:
    """Raise the error of a dataset that is not there."""
    if not is_present(dataset):
        raise absent(dataset)


def absent(dataset: Dataset) -> UserError:
    """Return the error of a dataset that is not there."""
    return UserError(f"dataset {dataset.name} is not there: {where(dataset)}")


def reader_file(dataset: Dataset) -> Path | None:
    """Return the file of a reader given as `path/to/data.py:reader`, None for `module:reader`.

    Raises UserError where the file does not exist or no reader is named.
    """
    return own_file(dataset.reader, "dataset")
