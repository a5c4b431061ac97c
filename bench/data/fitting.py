"""Statistics of the training part alone: the scale of features and of a regression's targets, the vocabulary."""

import torch
from torch import Tensor

from bench.data.samples import Split

PADDING, UNKNOWN = 0, 1
"""The first token ids: what fills up a short text, and a word without an id of its own."""

Splits = tuple[Split, Split, Split]
"""Training, validation, test."""


def standardised(train: Split, validation: Split, test: Split) -> Splits:
    """Return the splits with all that is floating point at mean 0 and variance 1 over the training part.

    Features [N, F] each for itself; one that is constant there becomes 0. Images and tokens stay as they are.
    """
    inputs = _scaled(train.inputs, validation.inputs, test.inputs)
    targets = _scaled(train.targets, validation.targets, test.targets)
    one, two, three = map(Split, inputs, targets)
    return one, two, three


def _scaled(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Return all tensors, shifted and scaled by the first one's mean and standard deviation."""
    if not train.is_floating_point():
        return [train, *others]
    std, mean = torch.std_mean(train.double(), dim=0, correction=0)
    std = torch.where(std > 0, std, 1)
    return [((values.double() - mean) / std).float() for values in (train, *others)]


def indexed(train: Split, validation: Split, test: Split, vocabulary: int) -> Splits:
    """Return tokens below `vocabulary`: the training part's most frequent words by rank, all others UNKNOWN.

    Words that occur equally often keep the order of their former ids.
    """
    former = max(int(split.inputs.max()) for split in (train, validation, test) if len(split)) + 1
    counts = train.inputs.flatten().bincount(minlength=former)
    counts[: UNKNOWN + 1] = 0
    words = counts.argsort(descending=True, stable=True)[: vocabulary - UNKNOWN - 1]
    words = words[counts[words] > 0]
    ids = torch.full((former,), UNKNOWN)
    ids[PADDING] = PADDING
    ids[words] = torch.arange(len(words)) + UNKNOWN + 1
    one, two, three = (Split(ids[split.inputs], split.targets) for split in (train, validation, test))
    return one, two, three
