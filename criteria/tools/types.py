"""The types in the signature of a criterion's `score`."""

from collections.abc import Callable, Iterable

from torch import Tensor

Batches = Iterable[tuple[Tensor, Tensor]]
"""(inputs, targets), read as often as needed by iterating again."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, targets) -> scalar, the mean over the batch."""
