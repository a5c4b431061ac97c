import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from bench import catalogue
from bench.data import Data, Raw, Split, fetch, load
from bench.errors import UserError
from bench.schema import Dataset

CPU = torch.device("cpu")
CONF = Path(__file__).parents[2] / "conf" / "dataset"


def configured(name: str, **fields: Any) -> Dataset:
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text()) | fields
    assert set(values) <= set(Dataset.model_fields)
    return Dataset(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


@pytest.fixture
def reader(make_split: Callable[..., Split]) -> Iterator[ModuleType]:
    """A user's module whose `read` counts its calls."""
    module = ModuleType("users_reader")

    def read(dataset: Dataset) -> Raw:
        module.calls += 1
        return Raw(make_split(40), make_split(12, seed=1), num_classes=4)

    module.calls = 0
    module.read = read
    read.__module__ = "users_reader"
    sys.modules["users_reader"] = module
    load.cache_clear()
    yield module
    del sys.modules["users_reader"]
    load.cache_clear()


def images(split: Split) -> set[bytes]:
    return {image.contiguous().numpy().tobytes() for image in split.inputs}


def test_the_validation_split_comes_out_of_the_training_set_alone(
    reader: ModuleType, make_dataset: Callable[..., Dataset], make_split: Callable[..., Split]
) -> None:
    data = load(make_dataset(reader="users_reader:read", validation=8), CPU)
    assert images(data.train) | images(data.validation) == images(make_split(40))
    assert not images(data.train) & images(data.validation)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 12)
    assert data.validation.targets.bincount().tolist() == [2, 2, 2, 2]
    assert images(data.test) == images(make_split(12, seed=1))
    assert (data.input_shape, data.num_classes, data.device) == ((3, 6, 5), 4, CPU)


def test_the_validation_split_is_fixed_by_the_datasets_name(
    reader: ModuleType, make_dataset: Callable[..., Dataset]
) -> None:
    def held(**fields: Any) -> set[bytes]:
        return images(load(make_dataset(reader="users_reader:read", validation=8, **fields), CPU).validation)

    assert held() == held(title="Other", mean=(0.1, 0.1, 0.1))
    assert held() != held(name="other")


def test_a_dataset_is_read_once_a_process(reader: ModuleType, make_dataset: Callable[..., Dataset]) -> None:
    loaded = [load(make_dataset(reader="users_reader:read"), CPU) for _ in range(2)]
    assert loaded[0] is loaded[1]
    assert reader.calls == 1


@pytest.mark.parametrize(("validation", "held"), [(0.1, 4), (0.49, 20), (0.0, 0), (3, 3)])
def test_a_validation_split_below_one_is_a_share(
    reader: ModuleType, make_dataset: Callable[..., Dataset], validation: float, held: int
) -> None:
    data = load(make_dataset(reader="users_reader:read", validation=validation), CPU)
    assert (len(data.train), len(data.validation)) == (40 - held, held)


def test_no_validation_split(reader: ModuleType, make_dataset: Callable[..., Dataset]) -> None:
    data = load(make_dataset(reader="users_reader:read", validation=0), CPU)
    assert (len(data.train), len(data.validation)) == (40, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation": 40}, r"dataset\.validation=40 leaves nothing.*has 40 samples"),
        ({"mean": (0.5,)}, r"tiny has 3 channels: dataset\.mean and std"),
        ({"reader": "users_reader:reed"}, r"dataset\.reader=users_reader:reed is no `module:function`"),
        ({"reader": "no_such_module:read"}, r"dataset\.reader=no_such_module:read .*No module"),
    ],
)
def test_users_mistakes(
    reader: ModuleType, make_dataset: Callable[..., Dataset], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(make_dataset(**{"reader": "users_reader:read", **fields}), CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": [1, 2]}, "inputs and targets are list and Tensor, not tensors, in its training set"),
        ({"targets": torch.zeros(3, dtype=torch.int64)}, "there are 40 inputs and 3 targets in its training set"),
        ({"targets": torch.full((40,), 4)}, "targets go from 4 to 4, not from 0 to 3, in its training set"),
        ({"targets": torch.zeros(40)}, "targets are torch.float32, not int64, in its training set"),
        ({"inputs": torch.full((40, 2), float("nan"))}, "inputs are not finite in its training set"),
    ],
)
def test_what_a_reader_must_not_return(
    reader: ModuleType,
    make_dataset: Callable[..., Dataset],
    make_split: Callable[..., Split],
    change: dict[str, Any],
    message: str,
) -> None:
    good = make_split(40)
    bad = Split(**({"inputs": good.inputs, "targets": good.targets} | change))
    reader.read = lambda dataset: Raw(bad, good, num_classes=4)
    reader.read.__module__ = "users_reader"
    with pytest.raises(UserError, match=f"dataset tiny: {message}"):
        load(make_dataset(reader="users_reader:read", mean=(), std=()), CPU)


def test_targets_of_a_regression_are_finite_numbers_and_images_are_no_text(
    reader: ModuleType, make_dataset: Callable[..., Dataset], make_split: Callable[..., Split]
) -> None:
    good = make_split(40)
    with pytest.raises(UserError, match=r"dataset tiny is no text: leave dataset\.text out"):
        load(make_dataset(reader="users_reader:read", text={"column": "a", "label": "b"}), CPU)
    reader.read = lambda dataset: Raw(good, good, num_classes=None)
    reader.read.__module__ = "users_reader"
    with pytest.raises(UserError, match="targets are no finite numbers in its training set"):
        load(make_dataset(reader="users_reader:read"), CPU)


def test_fetch_says_where_the_files_belong_when_the_reader_cannot_download(
    reader: ModuleType, make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = make_dataset(reader="users_reader:read", root=str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"tiny is not there: put .* into the folder .*absent"):
        fetch(dataset)
    reader.fetch = lambda dataset: Path(dataset.root).mkdir()
    fetch(dataset)
    assert (tmp_path / "absent").is_dir()


@pytest.mark.parametrize("name", ["digits", "cifar10", "cifar100", "cifar10_parquet", "breast_cancer", "diabetes"])
def test_configurations_hold_no_other_fields(name: str, tmp_path: Path) -> None:
    root = {"root": str(tmp_path)} if name == "cifar10_parquet" else {}
    dataset = configured(name, **root)
    assert dataset.name == name
    assert catalogue.where(dataset)


def test_the_digits_constants_are_those_of_its_training_split() -> None:
    dataset = configured("digits")
    pixels = load(dataset, CPU).train.inputs.double() / 255
    assert dataset.mean == (round(float(pixels.mean()), 4),)
    assert dataset.std == (round(float(pixels.std(correction=0)), 4),)


JPEG = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10-jpeg"


@pytest.mark.skipif(not JPEG.is_dir(), reason="the development data are not there")
def test_the_jpeg_encoded_cifar10_has_the_published_statistics() -> None:
    dataset = configured("cifar10_parquet", root=str(JPEG))
    data: Data = load(dataset, CPU)
    assert (len(data.train), len(data.validation), len(data.test)) == (45_000, 5_000, 10_000)
    assert data.validation.targets.bincount().tolist() == [500] * 10
    pixels = data.train.inputs[::10].float() / 255
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.tensor(dataset.mean), atol=0.005, rtol=0)
    torch.testing.assert_close(pixels.std((0, 2, 3)), torch.tensor(dataset.std), atol=0.005, rtol=0)
