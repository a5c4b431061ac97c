"""Losses by the recipe's name, each a mean over the batch."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from bench.schema import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]


def output_count(recipe: Recipe, classes: int | None) -> int:
    """Return K, the outputs a sample that the recipe's loss takes; classes: None in a regression."""
    return 1 if recipe.loss == "bce" else classes or 1


def loss_function(recipe: Recipe, smoothing: bool = False) -> Loss:
    """Return loss(outputs [B, K], targets [B]) -> scalar; label smoothing is for training alone.

    Targets: classes int64, or in a regression (mse alone, K = 1) values in floating point.
    """
    epsilon = recipe.label_smoothing if smoothing else 0.0

    def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=epsilon)

    def mse(outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.is_floating_point():
            return F.mse_loss(outputs[:, 0], targets)
        return F.mse_loss(outputs, F.one_hot(targets, outputs.shape[1]).to(outputs.dtype))

    def bce(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))

    return {"cross_entropy": cross_entropy, "mse": mse, "bce": bce}[recipe.loss]
