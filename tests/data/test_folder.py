"""The readers of image folders, and the archives that they are made from."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
import yaml
from torchvision.datasets import imagenet as torchvisions

from bench import catalogue, config, identity
from bench.data import fetch, load
from bench.data.streaming import ImageFiles
from bench.errors import UserError
from bench.schema import Dataset
from tests.images import CLASSES, image_folder, spoil

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    load.cache_clear()
    yield
    load.cache_clear()


def configured(file: str, root: Path, **fields: Any) -> Dataset:
    values = yaml.safe_load((config.conf_folder() / "dataset" / f"{file}.yaml").read_text())
    values |= {"root": str(root), "size": 16, "resize": 20, "validation": 8} | fields
    return Dataset(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def test_imagenet_from_class_folders_stays_in_its_files(tmp_path: Path) -> None:
    data = load(configured("imagenet", image_folder(tmp_path)), CPU)
    assert isinstance(data.train.inputs, ImageFiles)
    assert (data.input_shape, data.num_classes) == ((3, 16, 16), 4)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 12)
    assert data.validation.targets.bincount().tolist() == [2] * 4
    held, trained = ({split.inputs.paths[i] for i in split.inputs.positions} for split in (data.validation, data.train))
    assert not held & trained
    assert data.test.targets.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_what_cannot_be_read_is_left_out_when_asked(tmp_path: Path) -> None:
    spoil(image_folder(tmp_path) / "val" / "n02" / "0.JPEG")
    data = load(configured("imagenet", tmp_path, skip_unreadable=True), CPU)
    assert data.test.targets.bincount().tolist() == [3, 2, 3, 3]
    with pytest.raises(UserError, match=r"dataset\.size=224"):
        load(configured("imagenet", tmp_path, size=None), CPU)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def archived(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The three archives of a small ImageNet as published: a tar of tars, a flat tar, a devkit."""
    source, root = image_folder(tmp_path / "source"), tmp_path / "root"
    root.mkdir()
    (train, val, devkit) = (root / name for name in catalogue.IMAGENET_ARCHIVES)
    inner = {}
    for name in CLASSES:
        archived(
            tmp_path / "one.tar", {f"{name}_{p.name}": p.read_bytes() for p in (source / "train" / name).iterdir()}
        )
        inner[f"{name}.tar"] = (tmp_path / "one.tar").read_bytes()
    archived(train, inner)
    images = [path for i in range(3) for path in sorted((source / "val").glob(f"*/{i}.JPEG"))]
    archived(val, {f"ILSVRC2012_val_{n:08}.JPEG": path.read_bytes() for n, path in enumerate(images, start=1)})
    kind = np.dtype([(key, object) for key in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children")])
    # Numbered against the order of the names, with an inner node that is no class.
    rows = [(4 - i, name, f"word {i}", "gloss", 0) for i, name in enumerate(CLASSES)] + [(5, "n99", "all", "gloss", 4)]
    synsets = np.array(rows, dtype=kind)
    scipy.io.savemat(tmp_path / "meta.mat", {"synsets": synsets})
    labels = "".join(f"{4 - CLASSES.index(path.parent.name)}\n" for path in images)
    folder = "ILSVRC2012_devkit_t12/data"
    truth = {f"{folder}/meta.mat": (tmp_path / "meta.mat").read_bytes()}
    truth |= {f"{folder}/ILSVRC2012_validation_ground_truth.txt": labels.encode()}
    archived(devkit, truth, "w:gz")
    for part, path in (("train", train), ("val", val), ("devkit", devkit)):
        monkeypatch.setitem(torchvisions.ARCHIVE_META, part, (path.name, md5(path)))
    return root


def test_imagenet_from_the_published_archives(archives: Path, tmp_path: Path) -> None:
    dataset = configured("imagenet", archives)
    assert not catalogue.is_present(dataset)
    fetch(dataset)
    (train, val), (_, source) = identity.images(dataset), identity.images(configured("imagenet", tmp_path / "source"))
    assert (len(train.paths), train.labels) == (40, [i for i in range(4) for _ in range(10)])
    assert sorted(zip(val.labels, val.sizes, strict=True)) == sorted(zip(source.labels, source.sizes, strict=True))
    fetch(dataset)


@pytest.mark.parametrize("there", ["train", "val"])
def test_an_archive_is_not_asked_for_where_its_images_are_unpacked(archives: Path, there: str) -> None:
    dataset = configured("imagenet", archives)
    fetch(dataset)
    other = ({"train", "val"} - {there}).pop()
    shutil.rmtree(archives / other)
    (archives / f"ILSVRC2012_img_{there}.tar").unlink()
    fetch(dataset)
    assert catalogue.is_present(dataset)


def test_archives_that_are_absent_or_damaged(archives: Path) -> None:
    dataset = configured("imagenet", archives)
    spoil(archives / "ILSVRC2012_img_val.tar")
    with pytest.raises(UserError, match=r"cannot be unpacked .*img_val\.tar"):
        fetch(dataset)
    assert not (archives / "val").exists()
    (archives / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    with pytest.raises(UserError, match=r"devkit_t12\.tar\.gz is missing"):
        fetch(dataset)


def test_the_archives_are_those_that_torchvision_knows() -> None:
    assert dict(torchvisions.ARCHIVE_META.values()) == catalogue.IMAGENET_ARCHIVES


def test_tiny_imagenet_is_unpacked_and_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, archive = image_folder(tmp_path / "s"), tmp_path / "root" / "tiny-imagenet-200.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in source.rglob("*.JPEG"):
            part, name = path.parent.parent.name, path.parent.name
            inner = f"train/{name}/images/{path.name}" if part == "train" else f"val/images/{name}_{path.name}"
            zipped.write(path, f"tiny-imagenet-200/{inner}")
        lines = [
            f"{path.parent.name}_{path.name}\t{path.parent.name}\t0\t0\n" for path in (source / "val").rglob("*.JPEG")
        ]
        zipped.writestr("tiny-imagenet-200/val/val_annotations.txt", "".join(lines))
    published = catalogue.ARCHIVES[catalogue.TINY_IMAGENET]
    monkeypatch.setitem(catalogue.ARCHIVES, catalogue.TINY_IMAGENET, replace(published, md5=md5(archive)))
    dataset = configured("tiny_imagenet", archive.parent)
    fetch(dataset)
    data = load(dataset, CPU)
    assert (data.train.inputs.shape, data.train.inputs.dtype) == ((32, 3, 16, 16), torch.uint8)
    assert data.test.targets.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    plain = load(configured("imagenet", source, name="tiny_imagenet"), CPU)
    assert torch.equal(data.test.inputs[4], plain.test.inputs.image(4, None, None, False))  # type: ignore[attr-defined]
    assert len(identity.content_hash(dataset)) == 16


def test_imagenette_is_there_below_its_archives_folder(tmp_path: Path) -> None:
    image_folder(tmp_path / "imagenette2-160")
    assert len(load(configured("imagenette", tmp_path), CPU).test) == 12
    with pytest.raises(UserError, match=r"put imagenette2-160\.tgz \(md5 e793"):
        load(configured("imagenette", tmp_path / "absent"), CPU)
