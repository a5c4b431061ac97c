"""Small float64 nets in eval mode with their batches, and a writer of plugin files."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

CLASSES = 3
Batches = list[tuple[Tensor, Tensor]]


class Case(NamedTuple):
    """A net, three unequal batches, and the names of its prunable weights as a reader of the net would list them."""

    model: nn.Module
    batches: Batches
    weights: tuple[str, ...]


class Tied(nn.Module):
    """Two layers that share one weight, each with a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(inputs)))))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4, bias=False), nn.Tanh(), nn.Linear(4, CLASSES))


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, CLASSES)
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.GELU(),
        nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.GELU(),
        nn.Conv2d(4, 6, 3, stride=2, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], tuple[str, ...]]] = {
    "mlp": (mlp, (5,), ("0.weight", "2.weight", "4.weight")),
    "conv": (conv, (2, 4, 4), ("0.weight", "4.weight")),
    "grouped": (grouped, (2, 4, 4), ("0.weight", "3.weight", "5.weight", "8.weight")),
    "tied": (Tied, (4,), ("first.weight", "head.weight")),
}


def build(net: str) -> Case:
    factory, shape, weights = NETS[net]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = factory().double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics and scales that a forward pass in train mode would move
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
        inputs = torch.randn(9, *shape, dtype=torch.float64)
    targets = torch.arange(9) % CLASSES
    return Case(model, list(zip(inputs.split([5, 1, 3]), targets.split([5, 1, 3]), strict=True)), weights)


@pytest.fixture(params=NETS)
def case(request: pytest.FixtureRequest) -> Case:
    return build(request.param)


@pytest.fixture
def build_case() -> Callable[[str], Case]:
    return build


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes `name` (a path below tmp_path) with a plugin around `body` and gives its path."""

    def write_plugin(
        name: str, body: str = "return {k: p.abs() for k, p in prunable(model).items()}", **parts: str
    ) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = '"""score = mine."""\nimport torch\nfrom criteria.tools.parameters import prunable\n{top}\n\n'
        text += "def score(model, batches, loss_fn{options}):\n    {body}\n"
        options = f", *, {parts['options']}" if "options" in parts else ""
        path.write_text(text.format(top=parts.get("top", ""), options=options, body=body.replace("\n", "\n    ")))
        return str(path)

    return write_plugin
