import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import catalogue, identity
from bench.errors import UserError
from bench.schema import Dataset, Model

ROOT = Path(__file__).parents[1]
PARQUET = "bench.data.parquet:read"


def dataset(reader: str, root: Path | None = None, **fields: Any) -> Dataset:
    values = {"name": "d", "title": "D", "validation": 0, "mean": (0.5,), "std": (0.5,)}
    return Dataset(**values, reader=reader, root=str(root) if root else None, **fields)


def model(factory: str) -> Model:
    return Model(name="m", factory=factory)


@pytest.fixture
def parquet(tmp_path: Path) -> Dataset:
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(name.encode())
    return dataset(PARQUET, tmp_path)


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose bytes were hashed, in turn."""
    seen: list[Path] = []
    original: Callable[[Path], str] = identity.sha256
    monkeypatch.setattr(identity, "sha256", lambda path: (seen.append(path), original(path))[1])
    return seen


def test_it_imports_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from bench import catalogue, identity, schema; "
        "d = dict(name='d', title='D', reader='bench.data.digits:read', validation=0, mean=(.5,), std=(.5,)); "
        "d = schema.Dataset(**d); "
        "print(identity.content_hash(d), catalogue.is_present(d), catalogue.where(d)); "
        "m = schema.Model(name='m', factory='bench.models.resnet:resnet'); print(identity.model_hash(m)); "
        "heavy = {'torch', 'torchvision', 'sklearn', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_digits_are_the_sha256_of_scikit_learns_file() -> None:
    import sklearn.datasets

    file = Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"
    digits = dataset("bench.data.digits:read")
    assert identity.content_hash(digits) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert catalogue.is_present(digits)


def test_scikit_learn_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="scikit-learn, which is not installed"):
        identity.content_hash(dataset("bench.data.digits:read"))


def test_several_files_of_scikit_learn_need_no_root() -> None:
    diabetes = dataset("bench.data.tabular:diabetes")
    names = [path.name for path in catalogue.files(diabetes)]
    assert names == ["diabetes_data_raw.csv.gz", "diabetes_target.csv.gz"]
    assert catalogue.is_present(diabetes)
    assert identity.content_hash(diabetes) != identity.content_hash(dataset("bench.data.tabular:breast_cancer"))


def test_the_hash_of_several_files_is_of_their_content_not_of_their_place(parquet: Dataset, tmp_path: Path) -> None:
    first = identity.content_hash(parquet)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("train", "test"):
        (moved / f"{name}.parquet").write_bytes((tmp_path / f"{name}.parquet").read_bytes())
    assert identity.content_hash(dataset(PARQUET, moved)) == first
    (moved / "test.parquet").write_bytes(b"tesu")
    assert identity.content_hash(dataset(PARQUET, moved)) != first
    for name, content in (("train", b"test"), ("test", b"train")):  # swapped
        (moved / f"{name}.parquet").write_bytes(content)
    assert identity.content_hash(dataset(PARQUET, moved)) != first


def test_the_cache_saves_reading_until_a_file_changes(parquet: Dataset, tmp_path: Path, read_files: list[Path]) -> None:
    cache = tmp_path / "cache" / "hashes.json"
    first = identity.content_hash(parquet, cache)
    assert len(read_files) == 2
    assert identity.content_hash(parquet, cache) == first
    assert len(read_files) == 2
    train = tmp_path / "train.parquet"
    train.write_bytes(b"other")
    os.utime(train, ns=(1, 1))
    changed = identity.content_hash(parquet, cache)
    assert read_files[2:] == [train]
    assert changed != first
    assert changed == identity.content_hash(parquet)  # without any cache
    assert len(json.loads(cache.read_text())) == 3


@pytest.mark.parametrize("content", [b"{", b"[1]", b""])
def test_a_broken_cache_is_made_again(parquet: Dataset, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "hashes.json"
    cache.write_bytes(content)
    assert identity.content_hash(parquet, cache) == identity.content_hash(parquet)
    assert len(json.loads(cache.read_text())) == 2


def test_a_readers_own_files_are_all_below_its_root(tmp_path: Path) -> None:
    own = dataset("mine:read", tmp_path / "data")
    assert not catalogue.is_present(own)
    (tmp_path / "data" / "deep").mkdir(parents=True)
    assert not catalogue.is_present(own)
    for name in ("a.csv", "deep/b.csv"):
        (tmp_path / "data" / name).write_text(name)
    both = identity.content_hash(own)
    (tmp_path / "data" / "deep" / "b.csv").rename(tmp_path / "data" / "b.csv")
    assert identity.content_hash(own) != both
    single = dataset("mine:read", tmp_path / "data" / "a.csv")
    assert identity.content_hash(single) == hashlib.sha256(b"a.csv").hexdigest()


def test_built_in_models_have_no_fingerprint() -> None:
    assert identity.model_hash(model("bench.models.resnet:resnet")) == ""
    assert identity.model_file(model("bench.models.resnet:resnet")) is None


def test_a_model_files_fingerprint_follows_its_code_and_its_helpers(tmp_path: Path) -> None:
    net, helper = tmp_path / "net.py", tmp_path / "layers.py"
    net.write_text("import layers\n")
    helper.write_text("A = 1\n")
    prints = [identity.model_hash(model(f"{net}:f"))]
    (tmp_path / "unrelated.py").write_text("B = 1\n")
    assert identity.model_hash(model(f"{net}:g")) == prints[0]
    for path, text in ((helper, "A = 2\n"), (net, "import layers  # edited\n")):
        path.write_text(text)
        prints.append(identity.model_hash(model(f"{net}:f")))
    assert len(set(prints)) == 3
    assert "" not in prints


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("absent/net.py:f", r"model file absent/net\.py not found: .*path/to/net\.py:factory"),
        ("absent.py:f", r"model file absent\.py not found"),
        ("some/net.py", r"some/net\.py names no factory: write path/to/net\.py:factory"),
        ("some/net.py:", "names no factory"),
    ],
)
def test_a_model_file_that_cannot_be_found(factory: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        identity.model_hash(model(factory))


def test_a_model_file_with_a_syntax_error(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(UserError, match=r"net\.py, line 2: invalid syntax"):
        identity.model_hash(model(f"{tmp_path}/net.py:f"))
