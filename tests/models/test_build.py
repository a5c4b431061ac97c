import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from bench.errors import UserError
from bench.models import build
from bench.schema import Model

CONF = Path(__file__).parents[2] / "conf" / "model"
NET = """
from torch import nn
def net(input_shape, num_classes, hidden=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], hidden), nn.Linear(hidden, num_classes))
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., nn.Module]:
    """Write a model file with its helpers and build its factory for inputs [4] and two classes."""

    def write(code: str, factory: str = "net", seed: int = 0, folder: str = "a", **helpers: str) -> nn.Module:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        for name, text in {"mine": code, **helpers}.items():
            (place / f"{name}.py").write_text(text)
        return build(Model(name="mine", factory=f"{place}/mine.py:{factory}"), (4,), 2, seed)

    return write


def built_in(factory: str, **options: Any) -> Model:
    return Model(name="net", factory=f"bench.models.{factory}", options=options)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


IMAGES = sorted(path for path in CONF.glob("*.yaml") if path.stem != "text_transformer")


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_every_configured_model_is_a_network_from_images_to_logits(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    assert set(values) == {"name", "factory", "options"}
    assert values["name"] == path.stem
    shape = (1, 8, 8) if path.stem == "digits_net" else (3, 32, 32)
    # Shapes alone: drawing their 500 million weights takes ten times as long.
    with torch.device("meta"):
        assert build(Model(**values), shape, 7, 0)(torch.zeros(2, *shape)).shape == (2, 7)


def test_the_seed_alone_decides_the_weights_and_no_global_generator_moves() -> None:
    model = built_in("resnet:resnet", depth=8)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = weights(build(model, (3, 8, 8), 10, 0))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(weights(build(model, (3, 8, 8), 10, 0)), first)
    assert not torch.equal(weights(build(model, (3, 8, 8), 10, 1)), first)


def test_a_model_file(make: Callable[..., nn.Module]) -> None:
    model = make(NET)
    assert model(torch.zeros(1, 4)).shape == (1, 2)
    assert torch.equal(weights(model), weights(make(NET)))
    assert not torch.equal(weights(model), weights(make(NET, seed=1)))
    assert make(NET.replace("hidden=3", "hidden=5"))[1].out_features == 5  # the file that is there now


def test_what_a_model_file_draws_when_imported_is_always_the_same(make: Callable[..., nn.Module]) -> None:
    code = "import torch\nSTART = torch.rand(2, 4)\n" + NET + "    # late\n"
    code += "def drawn(input_shape, num_classes):\n    layer = nn.Linear(4, 2)\n"
    code += "    layer.weight.data = START\n    return layer\n"
    state = torch.get_rng_state()
    first = make(code, "drawn")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(make(code, "drawn", seed=1).weight, first.weight)


@pytest.mark.parametrize("late", [False, True], ids=["at the top", "in the factory"])
def test_helpers_come_from_the_models_own_folder(make: Callable[..., nn.Module], late: bool) -> None:
    top, inside = ("", "    from helpers import WIDTH\n") if late else ("from helpers import WIDTH\n", "")
    code = f"from torch import nn\n{top}def net(input_shape, num_classes):\n{inside}    return nn.Linear(4, WIDTH)\n"
    search = sys.path.copy()
    widths = [make(code, folder=folder, helpers=f"WIDTH = {w}\n").out_features for folder, w in (("a", 3), ("b", 5))]
    assert widths == [3, 5]
    assert sys.path == search


def test_a_class_can_be_the_factory_and_may_be_a_dataclass(make: Callable[..., nn.Module]) -> None:
    code = """
from dataclasses import dataclass
from torch import nn
@dataclass
class Sizes:
    hidden: "int" = 3
class Net(nn.Module):
    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.layer = nn.Linear(input_shape[0], num_classes + Sizes().hidden)
"""
    assert make(code, "Net").layer.out_features == 5


@pytest.mark.parametrize(
    ("code", "factory", "message"),
    [
        (NET, "nett", r"mine\.py has no factory 'nett'; did you mean net\? known: net"),
        ("X = 3\n", "X", "has no factory 'X'"),
        ("def net(:\n", "net", r"mine\.py, line 1: invalid syntax"),
        ("import no_such_module\n", "net", r"mine\.py, line 1 cannot be imported: ModuleNotFoundError: No module"),
        ("\n1 / 0\n", "net", r"mine\.py, line 2 cannot be imported: ZeroDivisionError"),
        ("def net(a, b):\n    return 3\n", "net", r"returned a int, not an nn\.Module"),
        ("def net(a, b):\n    return None\n", "net", r"returned a NoneType, not an nn\.Module"),
        ("def net(a, b):\n    return a + 1\n", "net", r"model mine, line 2 .*:net failed: TypeError: can only"),
        ("def net(a):\n    return a\n", "net", r"cannot be called with \(input_shape, num_classes\).*too many"),
    ],
)
def test_what_is_wrong_with_a_model_file(make: Callable[..., nn.Module], code: str, factory: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        make(code, factory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (built_in("resnet:resnet", dept=20), r"options \['dept'\]: .*unexpected.*'dept'; its options: depth"),
        (built_in("lenet:lenet300_100", depth=1), "its options: none"),
        (built_in("resnet:resnet", depth="deep"), r"resnet:resnet failed: TypeError"),
        (built_in("resnet:resnet", depth=21), r"depth=21 is not 6n \+ 2"),
        (built_in("resnet:resnet", depth=2), r"depth=2 is not 6n \+ 2"),
        (built_in("wide_resnet:wide_resnet", depth=20), r"depth=20 is not 6n \+ 4"),
        (built_in("vgg:vgg", depth=13), "depth=13 is not known"),
        (built_in("vgg:vgg"), r"for images of 32x32, not 8x8"),
        (built_in("resnet:resnot"), r"factory bench\.models\.resnet:resnot cannot be found"),
        (built_in("resnot:resnet"), r"cannot be found: No module"),
    ],
)
def test_users_mistakes_with_built_in_models(model: Model, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(model, (1, 8, 8), 10, 0)
    assert "\n" not in str(error.value)
