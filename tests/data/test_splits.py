import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data import Split
from bench.data.splits import balanced, hold_out

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(labels: list[int]) -> Split:
    """Images whose only pixel is their number."""
    return Split(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels))


@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 9))
def test_hold_out_parts_the_images_and_takes_each_class_by_its_share(
    labels: list[int], share: float, seed: int
) -> None:
    count = round(share * len(labels))
    rest, held = hold_out(numbered(labels), count, seeded(seed))
    numbers = [split.inputs.flatten().tolist() for split in (rest, held)]
    assert len(held) == count
    assert sorted(numbers[0] + numbers[1]) == list(range(len(labels)))
    for split, of in zip((rest, held), numbers, strict=True):
        assert split.targets.tolist() == [labels[number] for number in of]
    for label in set(labels):
        expected = labels.count(label) * count / len(labels)
        assert abs(held.targets.tolist().count(label) - expected) < 1


def test_hold_out_is_fixed_by_the_generator_and_random_within_a_class() -> None:
    split = numbered([0, 1] * 100)
    first, again, other = (hold_out(split, 20, seeded(seed))[1].inputs.flatten().tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first != list(range(20))


@given(labels=LABELS, share=st.floats(0, 1), seed=st.integers(0, 9))
def test_balanced_takes_as_many_of_each_class_as_it_can(labels: list[int], share: float, seed: int) -> None:
    count = round(share * len(labels))
    chosen = balanced(torch.tensor(labels), count, seeded(seed)).tolist()
    assert len(set(chosen)) == len(chosen) == count
    taken = {label: sum(labels[position] == label for position in chosen) for label in set(labels)}
    # A class lies more than one behind another only where all of it has been taken.
    for label, number in taken.items():
        assert number == labels.count(label) or number >= max(taken.values()) - 1


def test_a_regressions_targets_are_drawn_at_random() -> None:
    values = Split(torch.zeros(200, 1), torch.arange(200.0))
    rest, held = hold_out(values, 50, seeded())
    assert sorted([*rest.targets.tolist(), *held.targets.tolist()]) == values.targets.tolist()
    chosen = balanced(values.targets, 50, seeded()).tolist()
    assert len(set(chosen)) == 50
    for numbers in (held.targets, torch.tensor(chosen).double()):
        assert 75 < float(numbers.mean()) < 125
        assert numbers.diff().unique().numel() > 5  # neither a block nor equal steps
    assert not torch.equal(held.targets, hold_out(values, 50, seeded(1))[1].targets)


def test_balanced_is_shuffled_and_which_classes_lead_is_random() -> None:
    labels = torch.arange(10).repeat_interleave(100)
    chosen = [labels[balanced(labels, 105, seeded(seed))] for seed in range(20)]
    assert all(not torch.equal(of, of.sort().values) for of in chosen)
    # A shuffled half is not balanced: sorted or dealt in rounds it would be.
    assert any(of[:50].bincount(minlength=10).ne(5).any() for of in chosen)
    leading = torch.stack([of.bincount() == 11 for of in chosen])
    assert (leading.sum(1) == 5).all()
    assert leading.any(0).all()
