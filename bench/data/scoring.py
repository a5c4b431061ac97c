"""The scoring set: the same training samples for every criterion of one (dataset, seed)."""

from torch import Tensor

from bench.data.batching import batches
from bench.data.samples import Data
from bench.data.splits import balanced
from bench.errors import UserError
from bench.seeds import generator


def scoring_batches(data: Data, seed: int, samples: int | None, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches as `batches` yields them: training samples, balanced where there are classes, shuffled.

    Nothing is augmented. samples: None = max(10 x classes, 1,024); capped at the training set and rounded down to a
    multiple of `batch_size`. Raises UserError where not even one batch is left.
    """
    wanted = samples or max(10 * (data.num_classes or 0), 1024)
    count = min(wanted, len(data.train)) // batch_size * batch_size
    if not count:
        raise UserError(
            f"the scoring set is smaller than one batch of {batch_size}: {wanted} samples are asked for, the training "
            f"set has {len(data.train)}; lower scoring.batch or raise scoring.samples"
        )
    chosen = balanced(data.train.targets.cpu(), count, generator(seed, "scoring")).to(data.device)
    return list(batches(data, data.train[chosen], batch_size))
