"""What is removed whole from a network, in numbers: which positions of which parameters belong together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Part:
    """A dimension of a parameter, and the unit that owns each of its positions (-1: none of these units)."""

    parameter: str
    dim: int
    owner: Tensor


@dataclass(frozen=True, eq=False)
class Removal:
    """How a module of a copied network loses positions; None takes the module out, its input passes on."""

    module: str
    remove: Callable[[nn.Module, list[int]], Any] | None
    owner: Tensor


@dataclass(frozen=True, eq=False)
class Units:
    """Units of the same layers, numbered from 0; each is removed or kept whole."""

    name: str
    """That of the first weight that makes them."""
    count: int
    produced: tuple[Part, ...]
    """Prunable weights that make the units: their scores are the units' scores."""
    others: tuple[Part, ...]
    """Biases and norms of the same channels, and the weights that read them."""
    removals: tuple[Removal, ...]
