import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as tv

from bench.data import Data, Split, batches

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normalised(image: Tensor) -> Tensor:
    """As torchvision's ToTensor and Normalize do it for one image, uint8 [C, H, W]."""
    return tv.normalize(image.float() / 255, list(MEAN), list(STD))


def as_uint8(inputs: Tensor) -> Tensor:
    mean, std = (torch.tensor(of)[:, None, None] for of in (MEAN, STD))
    return ((inputs * std + mean) * 255).round().to(torch.uint8)


def moves_of(image: Tensor, result: Tensor, padding: int, flip: bool) -> list[tuple[int, int, bool]]:
    """Return every (down, right, mirrored) that makes `result` of `image`, by trying all."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = image.numpy()

    def moved(down: int, right: int, mirrored: bool) -> np.ndarray:
        crop = padded[:, down : down + height, right : right + width]
        return crop[:, :, ::-1] if mirrored else crop

    steps = range(2 * padding + 1)
    moves = itertools.product(steps, steps, (False, True) if flip else (False,))
    return [move for move in moves if np.array_equal(moved(*move), result.numpy())]


def test_evaluation_keeps_the_order_and_normalises_as_torchvision_does(
    make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    split = make_split(11)
    read = list(batches(make_data(split), split, 4))
    assert [len(targets) for _, targets in read] == [4, 4, 3]
    assert torch.equal(torch.cat([targets for _, targets in read]), split.targets)
    expected = torch.stack([normalised(image) for image in split.inputs])
    torch.testing.assert_close(torch.cat([inputs for inputs, _ in read]), expected)


def test_batches_are_float32_in_channels_last(make_split: Callable[..., Split], make_data: Callable[..., Data]) -> None:
    split = make_split(5)
    for augmentation in (None, seeded()):
        for inputs, targets in batches(make_data(split), split, 4, seeded(), augmentation, 2, True):
            assert inputs.dtype == torch.float32
            assert inputs.is_contiguous(memory_format=torch.channels_last)
            assert targets.dtype == torch.int64


def test_size_none_is_the_whole_split_and_an_empty_split_has_no_batches(
    make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    split = make_split(7)
    data = make_data(split)
    (batch,) = batches(data, split, None, order=seeded())
    assert len(batch[1]) == 7
    nothing = split[torch.arange(0)]
    assert list(batches(data, nothing, None)) == list(batches(data, nothing, 3)) == []


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 9))
def test_an_epoch_is_a_permutation_but_for_a_remainder_of_one(count: int, size: int, seed: int) -> None:
    split = Split(torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(count))
    data = Data(split, split, split, count, (0.5,), (0.2,))
    sizes, seen = [], []
    for inputs, targets in batches(data, split, size, order=seeded(seed)):
        sizes.append(len(targets))
        seen += targets.tolist()
        assert torch.equal(((inputs.flatten() * 0.2 + 0.5) * 255).round().long(), targets)  # image and label together
    leaves_one_out = size > 1 and count > size and count % size == 1
    assert len(set(seen)) == len(seen) == count - leaves_one_out
    assert set(sizes[:-1]) <= {size}
    assert (sizes[-1] > 1) or size == 1 or count == 1


def test_the_order_is_the_generators(make_split: Callable[..., Split], make_data: Callable[..., Data]) -> None:
    split = Split(make_split(60).inputs, torch.arange(60))
    data = make_data(split)
    first, again, other = (
        torch.cat([targets for _, targets in batches(data, split, 7, order=seeded(seed))]) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, split.targets)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.just(3), st.integers(2, 6), st.integers(2, 6)),
    padding=st.integers(0, 3),
    flip=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_image_is_a_crop_of_its_padded_self(
    shape: tuple[int, int, int], padding: int, flip: bool, seed: int
) -> None:
    inputs = torch.randint(1, 256, (9, *shape), generator=seeded(seed), dtype=torch.uint8)
    split = Split(inputs, torch.arange(9))
    data = Data(split, split, split, 9, MEAN, STD)
    for results, targets in batches(data, split, 4, seeded(seed), seeded(seed + 1), padding, flip):
        for result, target in zip(as_uint8(results), targets, strict=True):
            assert moves_of(inputs[target], result, padding, flip)


def test_each_image_has_a_move_of_its_own_and_all_moves_occur(make_data: Callable[..., Data]) -> None:
    inputs = torch.randint(1, 256, (1, 3, 6, 6), generator=seeded(), dtype=torch.uint8).expand(1800, -1, -1, -1)
    split = Split(inputs, torch.zeros(1800, dtype=torch.int64))
    moves: Counter[tuple[int, int, bool]] = Counter()
    for results, _ in batches(make_data(split), split, 600, augmentation=seeded(), crop_padding=1, flip=True):
        of_batch = [moves_of(inputs[0], result, 1, True) for result in as_uint8(results)]
        assert all(len(found) == 1 for found in of_batch)
        assert len({found[0] for found in of_batch}) == 18
        moves.update(found[0] for found in of_batch)
    # 1,800 draws of 18 equally likely moves: mean 100, standard deviation 9.7.
    assert min(moves.values()) > 60
    assert max(moves.values()) < 140


def test_what_comes_in_from_outside_is_black_before_normalising(make_data: Callable[..., Data]) -> None:
    split = Split(torch.full((50, 3, 4, 4), 255, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64))
    ((results, _),) = batches(make_data(split), split, None, augmentation=seeded(), crop_padding=2)
    black, white = normalised(torch.zeros(3, 1, 1)), normalised(torch.full((3, 1, 1), 255.0))
    is_black = torch.isclose(results, black, atol=1e-5)
    assert is_black.any()
    assert torch.isclose(results, torch.where(is_black, black, white), atol=1e-5).all()


@pytest.mark.parametrize(("padding", "flip"), [(2, False), (0, True), (2, True)])
def test_augmentation_is_its_own_generators_whatever_the_order_and_batch_size(
    make_split: Callable[..., Split], make_data: Callable[..., Data], padding: int, flip: bool
) -> None:
    split = make_split(20)
    data = make_data(split)

    def augmented(seed: int, size: int | None) -> Tensor:
        return torch.cat([x for x, _ in batches(data, split, size, None, seeded(seed), padding, flip)])

    assert torch.equal(augmented(0, 20), augmented(0, 6))
    assert not torch.equal(augmented(0, 20), augmented(1, 20))


def test_nothing_is_augmented_without_a_generator_or_without_a_kind(
    make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    split = make_split(6)
    data = make_data(split)
    ((plain, _),) = batches(data, split, None)
    for options in ({"crop_padding": 2, "flip": True}, {"augmentation": seeded()}):
        ((inputs, _),) = batches(data, split, None, **options)
        assert torch.equal(inputs, plain)


def test_batches_leave_the_data_and_the_global_generator_alone(
    make_split: Callable[..., Split], make_data: Callable[..., Data]
) -> None:
    split = make_split(9)
    before, state = split.inputs.clone(), torch.get_rng_state()
    for inputs, _ in batches(make_data(split), split, 4, seeded(), seeded(1), 2, True):
        inputs.zero_()
    assert torch.equal(split.inputs, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_features_and_tokens_come_as_they_are(dtype: torch.dtype) -> None:
    rows = torch.arange(21, dtype=dtype).view(7, 3)
    split = Split(rows, torch.arange(7) / 2)
    data = Data(split, split, split, None, (), ())
    read = list(batches(data, split, 4))
    assert [len(targets) for _, targets in read] == [4, 3]
    assert torch.equal(torch.cat([inputs for inputs, _ in read]), rows)
    shuffled = list(batches(data, split, 3, order=seeded()))  # without the remainder of one
    assert [len(targets) for _, targets in shuffled] == [3, 3]
    for inputs, targets in shuffled:
        assert inputs.dtype == dtype
        assert torch.equal(inputs, rows[(2 * targets).long()])
    assert list(batches(data, split[torch.arange(0)], 3)) == []
    assert (data.input_shape, data.measure) == ((3,), "r2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_sees_the_same_batches(make_split: Callable[..., Split], make_data: Callable[..., Data]) -> None:
    split = make_split(50)
    on_gpu = Split(split.inputs.cuda(), split.targets.cuda())
    pairs = zip(
        batches(make_data(split), split, 16, seeded(), seeded(1), 2, True),
        batches(make_data(on_gpu), on_gpu, 16, seeded(), seeded(1), 2, True),
        strict=True,
    )
    for (inputs, targets), (gpu_inputs, gpu_targets) in pairs:
        assert gpu_inputs.is_cuda
        assert torch.equal(targets, gpu_targets.cpu())
        torch.testing.assert_close(inputs, gpu_inputs.cpu())


@pytest.mark.parametrize("kind", ["images", "features"])
def test_an_epoch_can_begin_at_a_later_batch(
    make_split: Callable[..., Split], make_data: Callable[..., Data], kind: str
) -> None:
    images = make_split(20)
    data, features = make_data(images), Split(torch.arange(40.0).view(20, 2), images.targets)
    split = images if kind == "images" else features

    def read(first: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(batches(data, split, 6, seeded(1), seeded(2), crop_padding=1, flip=True, first=first))

    for (inputs, targets), (same, labels) in zip(read(2), read(0)[2:], strict=True):
        assert torch.equal(inputs, same)
        assert torch.equal(targets, labels)
