"""Where the files of a dataset are, and what is said when they are not."""

from pathlib import Path

import pytest

from bench import catalogue, identity
from bench.errors import UserError
from tests.helpers import dataset


def test_a_known_archive_is_its_published_checksum_before_it_is_there(tmp_path: Path) -> None:
    cifar = dataset(reader="bench.data.cifar:cifar10", root=str(tmp_path))
    assert identity.content_hash(cifar) == "c58f30108f718f92721af3b95e74349a"
    assert not catalogue.is_present(cifar)
    checksum = "c58f30108f718f92721af3b95e74349a"
    assert catalogue.where(cifar) == f"put cifar-10-python.tar.gz (md5 {checksum}) into the folder {tmp_path}"


def test_texts_are_one_file_or_train_and_test_of_either_kind(tmp_path: Path) -> None:
    text = dataset(reader=catalogue.TEXT, root=str(tmp_path))
    with pytest.raises(UserError, match=r"tiny is not there: put train\.csv or train\.parquet .*dataset\.root=PATH"):
        identity.content_hash(text)
    (tmp_path / "train.parquet").write_bytes(b"a")
    single = dataset(reader=catalogue.TEXT, root=str(tmp_path / "train.parquet"))
    assert catalogue.files(text) == [tmp_path / "train.parquet"]
    assert identity.content_hash(text) == identity.content_hash(single)
    (tmp_path / "test.csv").write_bytes(b"b")
    assert catalogue.files(text) == [tmp_path / "train.parquet", tmp_path / "test.csv"]
    (tmp_path / "train.csv").write_bytes(b"c")
    with pytest.raises(UserError, match=r"holds train\.csv and train\.parquet: remove one"):
        catalogue.files(text)


def test_absent_files(tmp_path: Path) -> None:
    parquet = dataset(reader="bench.data.parquet:read", root=str(tmp_path))
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(name.encode())
    assert catalogue.is_present(parquet)
    (tmp_path / "train.parquet").unlink()
    assert not catalogue.is_present(parquet)
    with pytest.raises(
        UserError, match=r"tiny is not there: put train\.parquet and test\.parquet into .*dataset\.root="
    ):
        identity.content_hash(parquet)
    with pytest.raises(UserError, match=r"tiny needs a folder: give dataset\.root=DIR"):
        catalogue.is_present(dataset(reader="bench.data.parquet:read"))


def test_what_importing_a_reader_leaves_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "read.py").write_text("def read(dataset):\n    return None\n")
    own = dataset(reader=f"{tmp_path}/read.py:read", root=str(tmp_path))
    before = identity.content_hash(own)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "read.cpython-311.pyc").write_bytes(b"code")
    assert identity.content_hash(own) == before
