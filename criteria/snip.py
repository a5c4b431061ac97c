"""score = abs(g * w), g = gradient of the mean loss: the connection sensitivity."""

from torch import Tensor, nn

from criteria.tools.gradients import mean_gradients
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Lee et al. 2019, SNIP: single-shot network pruning based on connection sensitivity, arXiv:1810.02340"
WHEN = "init"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return the absolute first-order change of the mean loss when each weight is set to zero."""
    weights = prunable(model)
    return {name: (g * weights[name].detach()).abs() for name, g in mean_gradients(model, batches, loss_fn).items()}
