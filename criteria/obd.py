"""score = w^2 * H_ww / 2, H_ww = the weight's entry on the Hessian's diagonal: the change of loss at a minimum.

H is the Hessian of the mean loss over all samples. Its diagonal is an estimate, with noise from the other entries.
"""

from torch import Tensor, nn

from criteria import CriterionError
from criteria.tools.curvature import hessian_diagonal
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "LeCun et al. 1990, Optimal brain damage, NeurIPS 2; the estimator as in Yao et al. 2021, arXiv:2006.00719"
SIGNED = True


def score(
    model: nn.Module, batches: Batches, loss_fn: Loss, *, probes: int = 100, seed: int = 0, clamp: bool = False
) -> dict[str, Tensor]:
    """Return half the curvature of the loss along each weight, times its square.

    probes: random vectors of the estimate, drawn from `seed`. clamp: negative curvature counts as 0.
    """
    if probes < 1:
        raise CriterionError(f"obd: probes={probes}: it is a number of random vectors, at least 1")
    weights, curvature = prunable(model), hessian_diagonal(model, batches, loss_fn, probes, seed)
    if clamp:
        curvature = {name: h.clamp(min=0) for name, h in curvature.items()}
    return {name: weights[name].detach().square() * h / 2 for name, h in curvature.items()}
