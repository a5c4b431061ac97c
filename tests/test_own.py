"""A dataset and a model in a user's own files."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import catalogue, config, data, identity, models
from bench.errors import UserError
from bench.schema import Choice

READER = """
import torch
from bench.data import Raw, Split
from colours import dark

def read(dataset):
    images = torch.arange(3 * 40 * 16).reshape(40, 3, 4, 4).mul(7).remainder(256).to(torch.uint8)
    split = Split(dark(images), torch.arange(40) % 4)
    return Raw(split, split[torch.arange(8)], num_classes=4)

def wrong(dataset):
    return 3

def failing(dataset):
    return 1 / 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A reader with a helper in its folder."""
    data.load.cache_clear()
    (tmp_path / "colours.py").write_text("def dark(images):\n    return images // 2\n")
    (tmp_path / "my data.py").write_text(READER)
    yield tmp_path / "my data.py"
    data.load.cache_clear()


def choice(*arguments: str) -> Choice:
    return config.load(list(arguments)).choices[0]


def test_a_reader_of_ones_own(file: Path) -> None:
    given = choice(f"dataset={file}:read", "dataset.validation=8").dataset
    assert (given.name, given.title) == ("my data.read", "my data.read")
    loaded = data.load(given, torch.device("cpu"))
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (32, 8, 8)
    assert int(loaded.train.inputs.max()) <= 127
    pixels = loaded.train.inputs.double() / 255
    torch.testing.assert_close(loaded.mean, tuple(pixels.mean((0, 2, 3)).tolist()))
    torch.testing.assert_close(loaded.std, tuple(pixels.std((0, 2, 3), correction=0).tolist()))


def test_its_hash_follows_its_code_its_helpers_and_its_files(file: Path) -> None:
    given = choice(f"dataset={file}:read").dataset
    (file.parent / "set").mkdir()
    rooted = choice(f"dataset={file}:read", f"dataset.root={file.parent / 'set'}").dataset
    with pytest.raises(UserError, match="is not there: put its files into the folder"):
        identity.content_hash(rooted)
    hashes = [identity.content_hash(given)]
    (file.parent / "set" / "a.bin").write_text("a")
    hashes.append(identity.content_hash(rooted))
    (file.parent / "set" / "a.bin").write_text("b")
    hashes.append(identity.content_hash(rooted))
    (file.parent / "colours.py").write_text("def dark(images):\n    return images // 3\n")
    hashes.append(identity.content_hash(given))
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("reed", r"dataset file .*my data\.py has no reader 'reed'; .*read"),
        ("wrong", r"wrong returned a int, not bench\.data\.Raw"),
        ("failing", r"dataset my data\.failing, line 15 .*failed: ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_a_reader(file: Path, function: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        data.load(choice(f"dataset={file}:{function}").dataset, torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_reader_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset file .*none\.py not found: .*path/to/data\.py:reader"):
        catalogue.is_present(choice(f"dataset={tmp_path}/none.py:read").dataset)


def test_models_by_name_and_options_of_ones_own_files(tmp_path: Path) -> None:
    given = choice("model=timm:vit_tiny_patch16_224", "+model.options.depth=1", "experiment=cifar10_resnet20").model
    assert given.name == "vit_tiny_patch16_224"
    assert len(models.build(given, (3, 32, 32), 10, 0).get_submodule("blocks")) == 1
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net(shape, classes, width=2):\n    return nn.Linear(1, width)"
    )
    network = models.build(choice(f"model={tmp_path}/net.py:net", "model.options.width=5").model, (1,), 2, 0)
    assert network.weight.shape == (5, 1)
