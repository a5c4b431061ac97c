"""score = abs(w) * l2 norm, over samples, of the input element that w multiplies.

For a convolution the element is one of the unfolded input: a channel at a kernel position, over all positions and with
the zero padding. Compared within a row (one output), where all weights see the same samples.
"""

from torch import Tensor, nn

from criteria.tools.activations import input_energy
from criteria.tools.parameters import prunable
from criteria.tools.types import Batches, Loss

SOURCE = "Sun et al. 2024, A simple and effective pruning approach for large language models, arXiv:2306.11695"
UNIT = "sample"
SCOPE = "row"


def score(model: nn.Module, batches: Batches, loss_fn: Loss) -> dict[str, Tensor]:
    """Return, in float64, each weight's size times that of what it reads; reads no targets, computes no gradients."""
    energy, weights = input_energy(model, batches), prunable(model)
    return {name: weights[name].detach().abs() * squares.sqrt() for name, squares in energy.items()}
