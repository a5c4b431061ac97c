from collections.abc import Callable

import pytest
import torch

from bench.data import Data, Split, batches, load, scoring_positions
from bench.errors import UserError
from bench.schema import Dataset
from tests.helpers import scoring_batches

CPU = torch.device("cpu")


@pytest.fixture
def data(make_split: Callable[..., Split], make_data: Callable[..., Data]) -> Data:
    return make_data(make_split(1500))


def targets_of(read: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return torch.cat([targets for _, targets in read])


@pytest.mark.parametrize(
    ("samples", "size", "expected"),
    [(None, 32, 1024), (None, 100, 1000), (100, 32, 96), (40, 40, 40), (9000, 32, 1472), (1, 1, 1)],
)
def test_sizes(data: Data, samples: int | None, size: int, expected: int) -> None:
    read = scoring_batches(data, 0, samples, size)
    assert [len(targets) for _, targets in read] == [size] * (expected // size)


def test_the_default_grows_with_the_classes_and_is_capped_at_the_training_set(
    make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    split = make_split(1100, (1, 2, 2), classes=105)
    assert len(targets_of(scoring_batches(make_data(split, 105), 0, None, 32))) == 1050 // 32 * 32
    assert len(targets_of(scoring_batches(make_data(split, 500), 0, None, 32))) == 1100 // 32 * 32


def test_it_is_balanced_and_shuffled(data: Data) -> None:
    read = scoring_batches(data, 0, 1000, 8)
    counts = targets_of(read).bincount()
    assert counts.max() - counts.min() <= 1
    assert len({tuple(targets.tolist()) for _, targets in read}) > 100


def test_it_is_of_the_training_set_without_augmentation(data: Data) -> None:
    ((inputs, targets),) = batches(data, data.train, None)
    known = {image.numpy().tobytes(): int(target) for image, target in zip(inputs, targets, strict=True)}
    seen = []
    for batch, labels in scoring_batches(data, 0, None, 32):
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert [known[image.numpy().tobytes()] for image in batch] == labels.tolist()
        seen += [image.numpy().tobytes() for image in batch]
    assert len(set(seen)) == len(seen) == 1024


def test_it_is_drawn_once_a_seed(data: Data) -> None:
    first, again, other = (scoring_batches(data, seed, None, 32) for seed in (0, 0, 1))
    for (inputs, targets), (same, labels) in zip(first, again, strict=True):
        assert torch.equal(inputs, same)
        assert torch.equal(targets, labels)
    assert not torch.equal(first[0][0], other[0][0])


def test_it_holds_no_validation_or_test_image(make_dataset: Callable[..., Dataset]) -> None:
    digits = load(make_dataset(validation=140, mean=(0.5,), std=(0.2,)), CPU)
    seen = {image.numpy().tobytes() for inputs, _ in scoring_batches(digits, 0, None, 32) for image in inputs}
    for split in (digits.validation, digits.test):
        ((inputs, _),) = batches(digits, split, None)
        assert not seen & {image.numpy().tobytes() for image in inputs}


def test_fewer_than_a_batch_is_a_users_mistake(
    data: Data, make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    with pytest.raises(UserError, match=r"smaller than one batch of 32.*10 samples.*scoring\.batch"):
        scoring_positions(data, 0, 10, 32)
    with pytest.raises(UserError, match="training set has 20"):
        scoring_positions(make_data(make_split(20)), 0, None, 32)
