import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data import Split
from bench.data.fitting import PADDING, UNKNOWN, indexed, standardised


def draw(count: int, seed: int) -> Split:
    g = torch.Generator().manual_seed(seed)
    return Split(
        torch.randn(count, 3, generator=g) * torch.tensor([1.0, 50.0, 0.0]) + 7, torch.rand(count, generator=g)
    )


def test_features_and_targets_have_the_scale_of_the_training_part_alone() -> None:
    train, validation, test = draw(40, 0), draw(10, 1), draw(10, 2)
    scaled = standardised(train, validation, test)
    for of in ("inputs", "targets"):
        values = getattr(train, of).double()
        mean, std = values.mean(0), values.std(0, correction=0)
        for before, after in zip((train, validation, test), scaled, strict=True):
            expected = (getattr(before, of).double() - mean) / torch.where(std > 0, std, 1)
            torch.testing.assert_close(getattr(after, of), expected.float())
            assert getattr(after, of).dtype == torch.float32
    assert scaled[0].inputs[:, 2].eq(0).all()  # constant


def test_images_and_classes_stay() -> None:
    split = Split(torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([0, 1]))
    for after in standardised(split, split, split):
        assert after.inputs is split.inputs
        assert after.targets is split.targets


TOKENS = st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=8)


@given(train=TOKENS, test=TOKENS, vocabulary=st.integers(3, 12))
def test_the_training_parts_most_frequent_words_have_an_id(
    train: list[list[int]], test: list[list[int]], vocabulary: int
) -> None:
    seen = [word for row in train for word in row if word > UNKNOWN]
    ranked = sorted(set(seen), key=lambda word: (-seen.count(word), word))[: vocabulary - 2]
    ids = {PADDING: PADDING} | {word: place for place, word in enumerate(ranked, start=2)}
    splits = [Split(torch.tensor(rows), torch.zeros(len(rows))) for rows in (train, test, test)]
    for rows, after in zip((train, test), indexed(*splits, vocabulary), strict=False):
        assert after.inputs.tolist() == [[ids.get(word, UNKNOWN) for word in row] for row in rows]
        assert int(after.inputs.max()) < vocabulary
