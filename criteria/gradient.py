"""score = abs(g), g = gradient of the mean loss: the control that knows the gradient alone."""

from torch import Tensor, nn

from criteria.tools.gradients import mean_gradients
from criteria.tools.types import Batches, Loss

SOURCE = "control"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the absolute mean gradient of each weight."""
    return {name: g.abs() for name, g in mean_gradients(model, batches, loss_fn).items()}
