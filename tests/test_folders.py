"""Which images a folder holds, and which cannot be read."""

from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from bench import catalogue, folders, identity
from bench.errors import UserError
from bench.schema import Dataset
from tests.helpers import dataset
from tests.images import image_folder, jpeg, spoil


def imagenet(root: Path, **fields: object) -> Dataset:
    return dataset(name="imagenet", reader=catalogue.IMAGENET, root=str(root), size=32, **fields)


def test_classes_and_order_are_those_of_torchvision(tmp_path: Path) -> None:
    root = image_folder(tmp_path)
    (root / "train" / "n02" / ".n.JPEG").write_text("left behind by a system")
    (root / "train" / "n02" / "notes.txt").write_text("no image")
    (root / "train" / "n02" / ".n.JPEG").unlink()
    train, val = folders.parts(root)
    for part, name in ((train, "train"), (val, "val")):
        expected = sorted(
            (str(Path(path).relative_to(root)), label) for path, label in ImageFolder(root / name).samples
        )
        assert list(zip(part.paths, part.labels, strict=True)) == expected
        assert part.sizes == [(root / path).stat().st_size for path in part.paths]


def test_tiny_imagenet_names_the_classes_of_val_in_a_table(tmp_path: Path) -> None:
    for name in ("n01", "n02"):
        jpeg(tmp_path / "train" / name / "images" / "0.JPEG", 0)
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("0.JPEG\t0\t0\t1\t1\n")
    for i in range(3):
        jpeg(tmp_path / "val" / "images" / f"val_{i}.JPEG", i)
    table = tmp_path / "val" / folders.ANNOTATIONS
    table.write_text("val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\nval_2.JPEG\tn02\t0\t0\t1\t1\n")
    train, val = folders.parts(tmp_path)
    assert train.paths == ["train/n01/images/0.JPEG", "train/n02/images/0.JPEG"]
    assert (val.paths[0], val.labels) == ("val/images/val_0.JPEG", [1, 0, 1])
    for text in ("val_0.JPEG\tn09", "val_0.JPEG\tn01", "one word"):
        table.write_text(text)
        with pytest.raises(UserError, match=r"val_annotations\.txt"):
            folders.parts(tmp_path)


def test_what_is_wrong_with_a_folder(tmp_path: Path) -> None:
    jpeg(tmp_path / "train" / "a" / "0.JPEG", 0)
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match=r"train holds 1 class folders"):
        folders.parts(tmp_path)
    (tmp_path / "train" / "b").mkdir()
    with pytest.raises(UserError, match=r"train/b holds no images"):
        folders.parts(tmp_path)
    jpeg(tmp_path / "train" / "b" / "0.png", 0)
    with pytest.raises(UserError, match=r"val holds no images"):
        folders.parts(tmp_path)
    jpeg(tmp_path / "val" / "c" / "0.JPEG", 0)
    with pytest.raises(UserError, match=r"val/c is no class folder"):
        folders.parts(tmp_path)
    with pytest.raises(UserError, match=r"put train/CLASS/IMAGE .*img_train\.tar.*dataset\.root=DIR"):
        identity.content_hash(imagenet(tmp_path / "absent"))


def test_the_hash_follows_paths_sizes_and_classes(tmp_path: Path) -> None:
    given = imagenet(image_folder(tmp_path / "a"))
    first = identity.content_hash(given)
    assert identity.content_hash(imagenet(image_folder(tmp_path / "b"))) == first
    jpeg(tmp_path / "b" / "train" / "n01" / "0.JPEG", 0, quality=50)
    assert identity.content_hash(imagenet(tmp_path / "b")) != first
    (tmp_path / "a" / "train" / "n01" / "0.JPEG").rename(tmp_path / "a" / "train" / "n02" / "99.JPEG")
    assert identity.content_hash(given) != first


@pytest.mark.parametrize("chunk", [7, 10_000])
def test_unreadable_images_are_named_and_counted_or_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(folders, "CHUNK", chunk)
    root, cache = image_folder(tmp_path / "set"), tmp_path / "hashes.json"
    whole = identity.content_hash(imagenet(root), cache)
    for i in range(3):
        spoil(root / "train" / "n02" / f"{i}.JPEG")
    (root / "val" / "n01" / "1.JPEG").write_bytes(b"")
    Image.new("CMYK", (40, 40)).save(root / "val" / "n01" / "2.JPEG")  # unusual, but readable
    for _ in range(2):  # the second time from the cache
        with pytest.raises(
            UserError, match=r"4 of 52 images are unreadable: .*n02/0\.JPEG, .*, \.\.\.; .*skip_unread"
        ) as e:
            identity.content_hash(imagenet(root), cache)
        assert "\n" not in str(e.value)
    skipping = imagenet(root, skip_unreadable=True)
    less = identity.content_hash(skipping, cache)
    assert less != whole
    train, val = identity.images(skipping, cache)
    assert (len(train.paths), len(val.paths)) == (37, 11)
    assert len(train.labels) == len(train.sizes) == 37
    spoil(root / "train" / "n03" / "0.JPEG")  # the cache notices
    assert identity.content_hash(skipping, cache) not in (less, whole)
