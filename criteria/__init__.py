"""Pruning criteria: one file each, `score(model, batches, loss_fn, *, option=default)`, higher = more important.

Importing this package, `available` and `describe` read files and import no torch; `load` does.
"""

from typing import TYPE_CHECKING, Any

from criteria._registry import (
    BrokenCriterionError,
    CriterionError,
    Description,
    NonFiniteScoresError,
    available,
    describe,
)

if TYPE_CHECKING:
    from criteria._guard import Criterion

__all__ = [
    "BrokenCriterionError",
    "CriterionError",
    "Description",
    "NonFiniteScoresError",
    "available",
    "describe",
    "load",
]


def load(name: str, **options: Any) -> "Criterion":
    """Return the criterion called `name` (or the one in the file `path/to/mine.py`) with its options set.

    Raises CriterionError (a ValueError) for an unknown name or option, naming the near misses, and for a file that
    cannot be parsed or imported.
    """
    from criteria._guard import Criterion

    return Criterion(describe(name), options)
