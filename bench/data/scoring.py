"""The scoring set: the same training samples for every criterion of one (dataset, seed)."""

from torch import Tensor

from bench.data.samples import Data
from bench.data.splits import balanced
from bench.errors import UserError
from bench.seeds import generator


def scoring_positions(data: Data, seed: int, samples: int | None, batch_size: int) -> Tensor:
    """Return positions in the training set [n], int64 on its device: balanced where there are classes, shuffled.

    samples: None = max(10 x classes, 1,024); capped at the training set and rounded down to a multiple of `batch_size`.
    Raises UserError where not even one batch is left.
    """
    wanted = samples or max(10 * (data.num_classes or 0), 1024)
    count = min(wanted, len(data.train)) // batch_size * batch_size
    if not count:
        raise UserError(
            f"the scoring set is smaller than one batch of {batch_size}: {wanted} samples are asked for, the training "
            f"set has {len(data.train)}; lower scoring.batch or raise scoring.samples"
        )
    return balanced(data.train.targets.cpu(), count, generator(seed, "scoring")).to(data.device)
